"""Converted models are kept: the next process reads them, with the same logits, and a damaged one is made again."""

import logging
import os
import time
from pathlib import Path

import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.errors import ScoreError
from plankseg.inference import openvino_models
from plankseg.inference.backends import make_backend
from plankseg.inference.openvino_models import KEPT, has_openvino, openvino_model
from plankseg.learning.network.architecture import build_network

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed: pip install openvino"),
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLANKSEG_WORK", str(tmp_path))
    return tmp_path / "openvino"


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The networks that were really converted."""
    convert, converted = openvino_models._converted, list[torch.nn.Module]()
    monkeypatch.setattr(openvino_models, "_converted", lambda network: converted.append(network) or convert(network))
    return converted


def network_of(encoder: str = "tu-test_resnet", architecture: str = "Unet") -> torch.nn.Module:
    config = NetworkConfig(architecture=architecture, encoder=encoder, encoder_weights="none")
    return build_network(config).float().eval()


def logits(network: torch.nn.Module, side_px: int = 64) -> torch.Tensor:
    squares = torch.randint(
        0, 256, (2, side_px, side_px), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )
    return make_backend("openvino", network, CPU).logits(squares)


@pytest.mark.parametrize(("encoder", "architecture"), [("resnet18", "Unet"), ("resnet18", "DeepLabV3Plus")])
def test_a_kept_model_answers_as_a_converted_one_to_the_last_bit(
    cache: Path, conversions: list[torch.nn.Module], encoder: str, architecture: str
) -> None:
    network = network_of(encoder, architecture)
    fresh = [logits(network, side_px) for side_px in (64, 96)]
    assert len(conversions) == 1
    assert [oct(path.stat().st_mode & 0o777) for path in cache.glob("*.zip")] == ["0o600"]
    again = [logits(network, side_px) for side_px in (64, 96)]
    assert len(conversions) == 1
    assert all(torch.equal(*pair) for pair in zip(fresh, again, strict=True))


def test_other_weights_are_another_model(cache: Path, conversions: list[torch.nn.Module]) -> None:
    network = network_of()
    before = logits(network)
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.5)
    assert not torch.equal(logits(network), before)
    assert (len(conversions), len(list(cache.glob("*.zip")))) == (2, 2)


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda _: b"", lambda data: data[:60] + b"x" + data[61:]])
def test_a_damaged_one_is_made_again_and_said(
    cache: Path, conversions: list[torch.nn.Module], damage, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of()
    before = logits(network)
    (kept,) = cache.glob("*.zip")
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(network), before)
    assert len(conversions) == 2
    assert "is converted again" in caplog.text
    assert torch.equal(logits(network), before)
    assert len(conversions) == 2


def test_those_not_used_for_longest_are_removed(cache: Path) -> None:
    cache.mkdir()
    for age in range(KEPT + 2):
        path = cache / f"{age}.zip"
        path.write_bytes(b"")
        os.utime(path, (10_000 - age, 10_000 - age))
    openvino_model(network_of())
    left = {path.name for path in cache.iterdir()}
    assert len(left) == KEPT
    assert {"0.zip", f"{KEPT - 2}.zip"} < left
    assert f"{KEPT - 1}.zip" not in left


def test_where_nothing_can_be_written_it_is_converted_each_time_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PLANKSEG_WORK", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert logits(network_of()).shape == (2, 64, 64)
    assert "every start converts it anew" in caplog.text


def test_what_gives_no_logit_per_pixel_is_neither_converted_nor_kept(cache: Path) -> None:
    with pytest.raises(ScoreError, match="one logit per pixel"):
        openvino_model(torch.nn.Conv2d(3, 2, 1).eval())
    assert not cache.exists()


def test_a_cache_that_may_only_be_read_serves_and_says_nothing(
    cache: Path, conversions: list[torch.nn.Module], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of()
    before = logits(network)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(openvino_models.os, "utime", refuse)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(network), before)
    assert len(conversions) == 1
    assert [record for record in caplog.records if record.name.startswith("plankseg")] == []


def test_where_a_model_cannot_be_packed_the_run_goes_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(openvino_models, "packed", full)
    with caplog.at_level(logging.WARNING):
        assert logits(network_of()).shape == (2, 64, 64)
    assert "No space left on device" in caplog.text


def test_a_user_without_a_home_converts_each_time_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(openvino_models, "user_cache", homeless)
    with caplog.at_level(logging.WARNING):
        assert logits(network_of()).shape == (2, 64, 64)
    assert "set PLANKSEG_WORK" in caplog.text


def test_what_a_killed_process_left_is_removed_after_a_day(cache: Path) -> None:
    cache.mkdir()
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 60)):
        path = cache / f".{name}.zip.1.ab.partial"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    openvino_model(network_of())
    assert [path.name for path in cache.glob(".*")] == [".new.zip.1.ab.partial"]
