"""The number format of the computation: bf16 where the processor supports it; weights are always fp32."""

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to compute in bf16. `auto` says yes only where it is native: emulated, it is slower than fp32."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))
    return False


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which convolutions compute in the chosen format."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(precision, device))
