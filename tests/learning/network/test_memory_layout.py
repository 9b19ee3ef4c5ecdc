"""Memory layout: channels last, but not where cuDNN would prepare every new shape of a depthwise convolution."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.inference.backends import FoldedBackend, TorchBackend
from plankseg.learning.network import memory_layout
from plankseg.learning.network.architecture import build_network, plain_network
from plankseg.learning.network.forward import Predictor
from plankseg.learning.network.memory_layout import memory_format_on, place

pytestmark = pytest.mark.slow

DEPTHWISE = NetworkConfig(encoder="timm-tf_efficientnet_lite0", encoder_weights="none")
PLAIN = NetworkConfig(encoder="resnet18", encoder_weights="none")
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
SQUARES = np.random.default_rng(0).integers(0, 256, (2, 96, 96), np.uint8)

Answer = Callable[[torch.nn.Module], object]
ANSWERS: dict[str, Answer] = {
    "training and pre-masks": lambda network: Predictor(place(network, CPU), CPU).square_probabilities(SQUARES),
    "scoring": lambda network: TorchBackend(network, CPU, "fp32").logits(torch.from_numpy(SQUARES)),
    "scoring with folded batch-norms": lambda network: FoldedBackend(network, CPU, bf16=False).logits(
        torch.from_numpy(SQUARES)
    ),
}


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


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_where_it_is_asked_for_every_convolution_is_contiguous(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; one layer in channels last would be enough to bring cuDNN's depthwise convolutions back."""
    monkeypatch.setattr(memory_layout, "memory_format_on", lambda *_: torch.contiguous_format)
    monkeypatch.setattr("plankseg.inference.backends.memory_format_on", lambda *_: torch.contiguous_format)
    seen: list[bool] = []
    monkeypatch.setattr(torch.nn.Conv2d, "forward", _watched(torch.nn.Conv2d.forward, seen))
    answer(build_network(DEPTHWISE).eval())
    assert len(seen) > 50
    assert all(seen[-50:]), "the last pass: folding looks at the network before it is placed"


def _watched(forward: Callable[..., torch.Tensor], seen: list[bool]) -> Callable[..., torch.Tensor]:
    def watched(module: torch.nn.Conv2d, given: torch.Tensor) -> torch.Tensor:
        seen.append(given.is_contiguous() and module.weight.is_contiguous())
        return forward(module, given)

    return watched


def test_a_placed_network_answers_as_before() -> None:
    network = plain_network(DEPTHWISE).eval()
    squares = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(squares)
        after = place(network, CPU)(squares)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
