"""Networks: exact weights or a clear error, never a silent random start."""

import pickle
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from plankseg.config import NetworkConfig
from plankseg.errors import SettingsError, WeightsError
from plankseg.learning.network.architecture import build_network, choose_device, tensor_bytes
from plankseg.learning.network.torchvision_compat import smp
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

NETWORK = TINY.network


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without any weights, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.mark.parametrize(
    ("architecture", "encoder", "side"),
    [("Unet", "tu-test_resnet", 32), ("Unet", "tu-test_resnet", 48), ("DeepLabV3Plus", "mobilenet_v2", 48)],
)
def test_logits_have_one_channel_and_the_inputs_side(architecture, encoder, side):
    network = build_network(NetworkConfig(architecture=architecture, encoder=encoder, encoder_weights="none")).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 1, side, side)


def test_two_saves_are_equal_and_a_loaded_model_saves_the_same_bytes():
    data = tensor_bytes(build_network(NETWORK).state_dict())
    loaded = build_network(NETWORK, weights=data)
    assert tensor_bytes(loaded.state_dict()) == tensor_bytes(loaded.state_dict()) == data
    assert tensor_bytes(loaded.to(memory_format=torch.contiguous_format).state_dict()) == data
    assert tensor_bytes(build_network(NETWORK).state_dict()) != data


def test_stored_weights_need_no_encoder_weights(empty_hub):
    data = tensor_bytes(build_network(NETWORK).state_dict())
    config = NetworkConfig(encoder="tu-test_resnet", encoder_weights="imagenet")
    assert tensor_bytes(build_network(config, weights=data).state_dict()) == data


def test_weights_of_another_architecture_and_rubbish_are_refused():
    other = NetworkConfig(architecture="DeepLabV3Plus", encoder="mobilenet_v2", encoder_weights="none")
    with pytest.raises(WeightsError, match="does not fit the network"):
        build_network(NETWORK, weights=tensor_bytes(build_network(other).state_dict()))
    with pytest.raises(WeightsError, match="no safetensors file"):
        build_network(NETWORK, weights=b"rubbish that is long enough for a header")


@pytest.mark.parametrize("encoder", ["resnet34", "tu-test_resnet"])
def test_missing_imagenet_weights_are_said_at_once_with_three_ways_out(empty_hub, encoder):
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"\$HF_HOME/hub.*encoder_weights=<path>.*encoder_weights=none"):
        build_network(NetworkConfig(encoder=encoder))
    assert time.monotonic() - started < 5


def test_an_unreachable_hub_is_said_at_once_too(empty_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    started = time.monotonic()
    with pytest.raises(WeightsError, match="Three ways out"):
        build_network(NetworkConfig(encoder="resnet18"))
    assert time.monotonic() - started < 8


def test_weights_in_the_hubs_cache_are_taken_without_the_network(empty_hub):
    settings = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    folder = empty_hub / f"models--{settings['repo_id'].replace('/', '--')}" / "snapshots" / settings["revision"]
    folder.mkdir(parents=True)
    encoder = smp.encoders.get_encoder("mobilenet_v2", weights=None)
    safetensors.torch.save_file(_with_classifier(encoder), folder / "model.safetensors")
    network = build_network(NetworkConfig(encoder="mobilenet_v2"))
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(network.encoder.state_dict()[name], tensor, rtol=0, atol=0)


def _with_classifier(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The published files hold the classifier too, which the encoder drops."""
    classifier = {"classifier.1.weight": torch.zeros(2, 2), "classifier.1.bias": torch.zeros(2)}
    return {**encoder.state_dict(), **classifier}


def test_encoder_weights_from_a_file_are_loaded_exactly(tmp_path):
    encoder = build_network(NETWORK).encoder
    (tmp_path / "encoder.safetensors").write_bytes(tensor_bytes(encoder.state_dict()))
    config = NetworkConfig(encoder="tu-test_resnet", encoder_weights=str(tmp_path / "encoder.safetensors"))
    loaded = build_network(config).encoder.state_dict()
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=0, atol=0)


def test_encoder_weights_that_do_not_fit_or_are_missing_are_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    config = NetworkConfig(encoder="tu-test_resnet", encoder_weights=str(path))
    with pytest.raises(WeightsError, match="is no file"):
        build_network(config)
    state = build_network(NETWORK).encoder.state_dict()
    state.pop(next(iter(state)))
    path.write_bytes(tensor_bytes(state))
    with pytest.raises(WeightsError, match="does not fit the network"):
        build_network(config)


class _Hostile:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("hostile-code-ran"),)


def test_a_hostile_pickle_named_safetensors_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(pickle.dumps(_Hostile()))
    with pytest.raises(WeightsError, match="can run"):
        build_network(NetworkConfig(encoder="tu-test_resnet", encoder_weights="encoder.safetensors"))
    assert not (tmp_path / "hostile-code-ran").exists()


def test_unknown_encoders_and_unknown_weights_are_settings_errors():
    with pytest.raises(SettingsError, match="no-such-net"):
        build_network(NetworkConfig(encoder="no-such-net", encoder_weights="none"))
    with pytest.raises(SettingsError, match=r"imagenet.*none"):
        build_network(NetworkConfig(encoder="resnet34", encoder_weights="swsl"))


def test_a_frozen_encoder_stays_in_eval_mode_whatever_is_asked():
    network = build_network(NetworkConfig(encoder="tu-test_resnet", encoder_weights="none", freeze_encoder=True))
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())
    assert all(parameter.requires_grad for parameter in network.decoder.parameters())
    network.train()
    assert not any(module.training for module in network.encoder.modules())
    assert network.decoder.training


def test_devices_are_chosen_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", "cpu:x"):
        with pytest.raises(SettingsError, match=f"no device '{name}'"):
            choose_device(name)
