"""The click network: its size of answers, and the weights that come with the installation."""

import torch

from plankseg.interactive.click_features import CHANNELS
from plankseg.interactive.click_network import STEP_PX, ClickNetwork
from plankseg.interactive.network_part import WEIGHTS, packaged_network


def test_answers_have_the_size_of_the_maps() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ClickNetwork().eval()
        with torch.inference_mode():
            assert network(torch.zeros(2, CHANNELS, STEP_PX, 3 * STEP_PX)).shape == (2, STEP_PX, 3 * STEP_PX)


def test_the_weights_are_small_fit_and_are_finite() -> None:
    assert WEIGHTS.stat().st_size < 500_000
    network = packaged_network()
    assert not network.training
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
