"""In which order a network's numbers lie in memory: what is fastest on a device."""

import torch


def memory_format_on(network: torch.nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, but on a GPU of NVIDIA for a network with depthwise convolutions.

    There cuDNN computes depthwise convolutions in channels last, and prepares each shape that it has not seen for half
    a second a layer: on an H200 10 s for the network of `laptop` at each new number and side of squares, of which a
    training at the images' own scale has dozens. In the other order torch's own kernels need no preparation.
    """
    if device.type == "cuda" and any(_is_depthwise(module) for module in network.modules()):
        return torch.contiguous_format
    return torch.channels_last


def place(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Move a network to a device, in the memory format that is fastest there, and return it."""
    placed: torch.nn.Module = network.to(device=device, memory_format=memory_format_on(network, device))
    return placed


def _is_depthwise(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Conv2d) and 1 < module.groups == module.in_channels
