"""The memory format of a network on a device: channels last, or contiguous."""

import torch


def memory_format_on(network: torch.nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, except on a GPU for a network with depthwise convolutions.

    In channels last torch leaves these to cuDNN, which prepares every shape that it has not seen: in bf16 for 0.7 s a
    layer, forward and backward, on an H200. For the network of `laptop` that is 10 s for each new number and side of
    squares, of which a training at the images' own scale has dozens. In contiguous format torch's own kernels compute
    them, which need no preparation (decision 28).
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
