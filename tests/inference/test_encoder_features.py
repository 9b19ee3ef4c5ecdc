"""Vectors of what an encoder sees: one per image, whatever images are beside it and whatever is in the padding."""

import numpy as np
import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.imaging.framing import Framing
from plankseg.inference.encoder_features import encoder_features
from plankseg.learning.network.architecture import build_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(NetworkConfig(encoder="tu-test_resnet", encoder_weights="none"))


def image(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


GREYS = [image(n, shape) for n, shape in enumerate([(30, 50), (200, 20), (1, 1), (97, 96), (300, 310)])]


@pytest.mark.parametrize("framing", [Framing(64), Framing(256, largest_zoom=1.0)])
def test_a_vector_does_not_depend_on_the_images_beside_it(network: torch.nn.Module, framing: Framing) -> None:
    together = encoder_features(network, GREYS, framing)
    alone = np.concatenate([encoder_features(network, [grey], framing) for grey in GREYS])
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together[:, -1], [np.log(grey.size) for grey in GREYS], rtol=1e-6)


def test_the_same_pixels_have_the_same_vector_and_others_have_not(network: torch.nn.Module) -> None:
    first, same, other = encoder_features(network, [GREYS[0], GREYS[0].copy(), image(9, (30, 50))], Framing(64))
    np.testing.assert_allclose(first, same, rtol=1e-4)
    assert np.linalg.norm(first - other) > 1e-3


def test_the_network_stays_in_the_mode_it_was_in(network: torch.nn.Module) -> None:
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    encoder_features(network, GREYS, Framing(64))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()
