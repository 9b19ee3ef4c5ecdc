"""The click network: its size of answers, and the weights that come with the installation."""

import torch

from plankseg.interactive.click_features import CHANNELS
from plankseg.interactive.click_network import STEP_PX, WIDTHS, ClickNetwork, widened, widths_of
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


def test_a_widened_network_answers_as_the_one_that_it_was_made_of() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wider = widened(packaged_network(), [width + 5 for width in widths_of(packaged_network().state_dict())]).eval()
        maps = torch.rand(1, CHANNELS, 4 * STEP_PX, 3 * STEP_PX)
        with torch.inference_mode():
            torch.testing.assert_close(wider(maps), packaged_network()(maps), rtol=1e-4, atol=1e-4)


def test_weights_tell_how_wide_their_network_is() -> None:
    assert widths_of(ClickNetwork((3, 4, 5, 6)).state_dict()) == (3, 4, 5, 6)
    assert widths_of(ClickNetwork().state_dict()) == WIDTHS
