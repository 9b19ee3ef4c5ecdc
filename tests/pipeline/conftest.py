"""One tiny network for the tests that look at images with a model."""

import pytest

from tests.support.tiny_recipe import TINY


@pytest.fixture(scope="session")
def weights() -> bytes:
    """Random weights of the tiny recipe's network."""
    import torch

    from plankseg.learning.network.architecture import build_network, tensor_bytes

    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return tensor_bytes(build_network(TINY.network).state_dict())
