"""Batch-norm folding: a batch-norm that directly follows a convolution becomes part of its weights.

The pairs are found in one forward pass with hooks, not by tracing the code: any network can be folded, whatever its
control flow. The folded network is then compared with the original, so that a wrong pair cannot go unnoticed.
"""

import copy

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

from plankseg.errors import BackendError

PROBE_PX = 64
TOLERANCE = 1e-4  # of the largest logit: some forty layers of float32 rounding


def fold_batch_norms(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of the network in evaluation mode whose batch-norms after convolutions are part of these.

    Other batch-norms stay as they are. Raises BackendError when the folded network does not answer a probe as the
    original does.
    """
    original = copy.deepcopy(network).cpu().float().eval()
    for parameter in original.parameters():
        parameter.requires_grad_(False)
    folded = copy.deepcopy(original)
    noise = torch.rand((2, 3, PROBE_PX, PROBE_PX), generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.inference_mode():
        expected = original(noise)
        pairs = _pairs(folded, noise)
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(folded.get_submodule(convolution), folded.get_submodule(norm))
        _replace(folded, convolution, fused)
        _replace(folded, norm, torch.nn.Identity())
    with torch.inference_mode():
        difference = float((folded(noise) - expected).abs().max())
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:
        raise BackendError(
            f"With {len(pairs)} batch-norms folded the network answers up to {difference:.2g} differently, allowed is "
            f"{allowed:.2g}. Set the backend to torch or torch-bf16."
        )
    in_channels_last: torch.nn.Module = folded.to(memory_format=torch.channels_last)
    return in_channels_last


def _pairs(network: torch.nn.Module, probe: torch.Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions that are used once, each with the plain batch-norm that takes their very output."""
    producers: dict[int, str] = {}
    outputs: list[torch.Tensor] = []  # kept alive, so that no other tensor gets the same id()
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(module, torch.nn.Conv2d):
            producers[id(output)] = name
            outputs.append(output)
        elif id(inputs[0]) in producers:
            pairs.append((producers[id(inputs[0])], name))

    watched = [(n, m) for n, m in network.named_modules() if type(m) in (torch.nn.Conv2d, torch.nn.BatchNorm2d)]
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: watch(name, module, inputs, output))
        for name, module in watched
    ]
    network(probe)
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]


def _replace(network: torch.nn.Module, name: str, module: torch.nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
