"""Memory layout: channels last, but not where cuDNN would prepare every new shape of a depthwise convolution."""

import numpy as np
import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.learning.network.architecture import plain_network
from plankseg.learning.network.memory_layout import memory_format_on, place
from plankseg.learning.network.preprocessing import batch_tensor

pytestmark = pytest.mark.slow

DEPTHWISE = NetworkConfig(encoder="timm-tf_efficientnet_lite0", encoder_weights="none")
PLAIN = NetworkConfig(encoder="resnet18", encoder_weights="none")
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("config", "device", "expected"),
    [
        (DEPTHWISE, CUDA, torch.contiguous_format),
        (DEPTHWISE, CPU, torch.channels_last),
        (PLAIN, CUDA, torch.channels_last),
        (PLAIN, CPU, torch.channels_last),
    ],
)
def test_only_depthwise_convolutions_on_a_gpu_are_not_in_channels_last(
    config: NetworkConfig, device: torch.device, expected: torch.memory_format
) -> None:
    assert memory_format_on(plain_network(config), device) == expected


def test_every_convolution_of_a_contiguous_network_gets_contiguous_input() -> None:
    """One layer in another layout would be enough to bring cuDNN's depthwise convolutions back."""
    network = plain_network(DEPTHWISE).to(memory_format=torch.contiguous_format).train()
    seen: list[bool] = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, _: seen.append(_is_contiguous(module, inputs[0])))
    network(batch_tensor(np.zeros((2, 96, 96), np.uint8)))
    assert len(seen) > 50
    assert all(seen)


def _is_contiguous(module: torch.nn.Module, tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() and all(parameter.is_contiguous() for parameter in module.parameters())


def test_a_placed_network_answers_as_before() -> None:
    network = plain_network(DEPTHWISE).eval()
    squares = batch_tensor(np.full((1, 64, 64), 200, np.uint8))
    with torch.inference_mode():
        before = network(squares)
        after = place(network, CPU)(squares)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
