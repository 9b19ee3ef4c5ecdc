"""Quantization of the network to int8, by nncf for OpenVINO: twice as fast as bf16, and less exact.

It is used for scores only, where a benchmark finds that it ranks images like the reference; masks come from another
backend. The scales are found on calibration squares. Two runs may find slightly different scales, so the network is
quantized once and stored as bytes, which give the same logits in every process.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import rich
import torch
from jaxtyping import UInt8

from plankseg.errors import BackendError
from plankseg.inference.backends import OpenVinoBackend
from plankseg.inference.openvino_models import has_openvino, openvino, openvino_model, packed, unpacked
from plankseg.learning.network.precision import Precision, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor

CALIBRATION_SQUARES = 16
"""More of them change the ranks no more than another draw of as many does (docs/log.md)."""

_MULTIPLIERS = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}


def quantizes_here(device: torch.device, precision: Precision = "auto") -> bool:
    """Whether 8 bits are worth trying: on a processor that multiplies them, and where a recipe does not say fp32."""
    has = {name for name, is_there in torch.cpu.get_capabilities().items() if is_there is True}
    return device.type == "cpu" and precision != "fp32" and has_openvino() and bool(has & _MULTIPLIERS)


def quantize(network: torch.nn.Module, squares: Sequence[UInt8[torch.Tensor, "_ _ _"]]) -> bytes:
    """The int8 network for squares of any side, as the bytes that `quantized_backend` takes.

    `CALIBRATION_SQUARES` of the grey squares, at even steps, find the scales; those of one tensor have one side. Raises
    BackendError when OpenVINO or nncf is missing, or cannot convert the network.
    """
    openvino()  # first: it turns off the telemetry of both packages
    try:
        import nncf
    except ImportError as error:
        raise BackendError(f"nncf cannot be imported ({error}): pip install 'plankseg[openvino]'.") from error
    ready = copy.deepcopy(network).cpu().float().eval()
    every = [square[None] for part in squares for square in part]
    indices = np.linspace(0, len(every) - 1, min(CALIBRATION_SQUARES, len(every))).round().astype(int)
    calibration = nncf.Dataset([batch_tensor(every[index].numpy()).numpy() for index in indices.tolist()])
    with _quiet():
        try:
            model = nncf.quantize(
                openvino_model(ready),
                calibration,
                subset_size=len(indices),
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
            )
        except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedDatasetError, RuntimeError) as error:
            raise BackendError(f"nncf cannot quantize this network: {str(error)[:300]}.") from error
    return packed(model)


def quantized_backend(data: bytes, device: torch.device) -> OpenVinoBackend:
    """The backend of a network from `quantize`.

    Raises BackendError on any device but a CPU, and, for squares of another side, where a plankseg before 2026-11-26
    made the network for one side.
    """
    return OpenVinoBackend("openvino-int8", lambda: unpacked(data), device, bf16=uses_bf16("auto", device))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and messages of nncf, except warnings and errors."""
    console, logger = rich.get_console(), logging.getLogger("nncf")
    was_quiet, level = console.quiet, logger.level
    console.quiet = True
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        console.quiet = was_quiet
        logger.setLevel(level)
