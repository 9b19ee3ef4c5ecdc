"""Commands `export-model`, `predict` and `export`, one after the other, as a person gives them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from plankseg import cli
from plankseg.config import settings
from plankseg.storage.store import Store
from tests.support.little_store import add_model, write_images
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store with a model, and five images."""
    import torch

    from plankseg.learning.network.architecture import build_network, tensor_bytes

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PLANKSEG_DEVICE", "cpu")
    settings.cache_clear()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        weights = tensor_bytes(build_network(TINY.network).state_dict())
    add_model(Store.open(tmp_path / "store"), 0, weights=weights)
    write_images(tmp_path / "images" / "copepod", range(5))
    yield tmp_path
    settings.cache_clear()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_model_goes_out_makes_masks_and_they_go_on(work: Path) -> None:
    assert "model.json" in run("export-model", "model", "--no-onnx")
    (work / "images" / "torn.png").write_bytes(b"torn")
    told = run("predict", "images", "--model", "model", "--out", "masks", "--overlays")
    assert "5 masks in" in told
    assert "1 file was left out" in told
    assert "torn.png: A file of 4 bytes" in told
    assert len(list((work / "masks").rglob("*.jpg"))) == 5
    assert np.asarray(Image.open(work / "masks" / "copepod" / "0000.png")).dtype == np.uint8
    run("predict", "images", "--store", "store", "--out", "from-store")
    names = [path.relative_to(work / "masks") for path in (work / "masks").rglob("*.png")]
    assert all((work / "masks" / name).read_bytes() == (work / "from-store" / name).read_bytes() for name in names)
    assert "5 masks written" in run("export", "coco", "masks.json", "--masks", "masks")
    assert len(json.loads((work / "masks.json").read_text())["images"]) == 5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("predict", "images", "--out", "masks", "--views", "all"), "--views all is not known"),
        (("predict", "images", "--out", "masks", "--store", "gone"), "no store at"),
        (("predict", "gone", "--out", "masks"), "gone does not exist; give the folder"),
        (("predict", "gone", "--out", "masks", "--model", "gone"), "gone does not exist; give the folder"),
        (("predict", "images", "--out", "masks", "--model", "gone"), "No model is called 'gone'"),
        (("export", "xml", "masks.xml"), "'xml' is no format"),
        (("export", "coco", "masks.json", "--only", "me"), "--only me is not known"),
        (("export", "coco", "masks.json"), "no mask to export"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    work: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    result = CliRunner().invoke(cli.app, list(arguments))
    assert result.exit_code == 1
    assert complaint in str(result.exception)
    assert not list(work.glob("masks*"))


def test_predicting_loads_nothing_that_only_training_needs() -> None:
    code = "import sys\nimport plankseg.pipeline.prediction.terminal_predict\nprint(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lightning", "pytorch_lightning", "albumentations", "prefect", "label_studio_sdk"} & set(loaded)
