"""A network leaves as smp's own folder: smp reads it by itself, and it gives the same logits."""

from pathlib import Path

import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.learning.network.architecture import build_network, tensor_bytes
from plankseg.learning.network.input_normalisation import INCEPTION, set_normalisation
from plankseg.learning.network.preprocessing import CHANNEL_DEVIATIONS, CHANNEL_MEANS
from plankseg.learning.network.smp_folder import smp_files
from plankseg.learning.network.torchvision_compat import smp
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow  # loads torch


def read_by_smp(config: NetworkConfig, network: torch.nn.Module, folder: Path) -> torch.nn.Module:
    for name, data in smp_files(config, tensor_bytes(network.state_dict())).items():
        (folder / name).write_bytes(data)
    found: torch.nn.Module = smp.from_pretrained(str(folder)).eval()
    return found.to(memory_format=torch.channels_last)  # as ours, for another one rounds differently


def normalised(grey: torch.Tensor, means: tuple[float, ...], deviations: tuple[float, ...]) -> torch.Tensor:
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (means, deviations))
    return (grey / 255 - mean) / deviation


@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus"])
def test_smp_reads_the_folder_and_the_logits_are_the_same_bits(architecture: str, tmp_path: Path) -> None:
    config = NetworkConfig.model_validate(TINY.network.model_dump() | {"architecture": architecture})
    network = build_network(config).eval()
    theirs = read_by_smp(config, network, tmp_path)
    square = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(theirs(square), network(square))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert str(CHANNEL_MEANS) in (tmp_path / "README.md").read_text()


def test_an_encoder_with_a_normalisation_of_its_own_gets_it_from_outside(tmp_path: Path) -> None:
    network = build_network(TINY.network).eval()
    set_normalisation(network.encoder, INCEPTION)
    theirs = read_by_smp(TINY.network, network, tmp_path)
    grey = torch.randint(0, 256, (1, 1, 64, 64)).float()
    with torch.no_grad():
        expected = network(normalised(grey, CHANNEL_MEANS, CHANNEL_DEVIATIONS))
        torch.testing.assert_close(theirs(normalised(grey, *INCEPTION)), expected, rtol=1e-4, atol=1e-4)
    assert f"mean {INCEPTION.mean}" in (tmp_path / "README.md").read_text()
