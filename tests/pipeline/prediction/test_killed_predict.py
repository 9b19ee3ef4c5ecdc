"""`plankseg predict` killed -9 in the middle and run again: nothing doubled, nothing half-written, the same bytes."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from plankseg.local_servers import ROOT
from plankseg.pipeline.models.exported_model import model_of_store, write_model
from plankseg.storage.store import Store
from tests.support.little_store import add_model, write_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
IMAGES = 21


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: bytes) -> Path:
    """Images, an exported model, and what an undisturbed run made of them."""
    folder = tmp_path_factory.mktemp("predict")
    model = add_model(Store.open(folder / "store"), 0, weights=weights)
    write_model(folder / "model", model_of_store(Store.open(folder / "store"), model))
    for taxon, seeds in (("copepod", range(11)), ("salp", range(11, IMAGES))):
        write_images(folder / "images" / taxon, seeds)
    assert run(folder, folder / "calm") == IMAGES
    return folder


def run(folder: Path, out: Path, point: str = "nowhere", count: int = 0) -> int:
    """How many masks a run made; that of one that was killed is its signal."""
    arguments = [point, str(count), str(folder / "images"), str(folder / "model"), str(out)]
    command = [sys.executable, "-m", "tests.support.killed_predict", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        return done.returncode
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1])


def content(out: Path) -> dict[str, bytes]:
    """Every file but the parts, of which a run that was killed has others."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".plankseg" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("point", "count"), [("within a mask", 15), ("after rows", 3), ("a table", 7)])
def test_run_again_it_makes_what_is_missing_and_leaves_the_same_bytes(
    folder: Path, tmp_path: Path, point: str, count: int
) -> None:
    out = tmp_path / "out"
    assert run(folder, out, point, count) == -signal.SIGKILL
    masks = [path for path in out.rglob("*.png") if not path.name.startswith(".")]
    shapes = {np.asarray(Image.open(path)).shape for path in masks}
    assert shapes <= {(34, 41)}, "a mask is there whole or not at all"
    recorded = [row for part in sorted(out.glob(".plankseg/parts/*.parquet")) for row in _paths(part)]
    assert len(recorded) == len(set(recorded))
    assert {f"{path.removesuffix('.png')}.png" for path in recorded} <= {str(mask.relative_to(out)) for mask in masks}

    assert run(folder, out) == IMAGES - len(recorded), "what was recorded is not made again"
    assert content(out) == content(folder / "calm")


def _paths(part: Path) -> list[str]:
    paths: list[str] = pq.read_table(part, columns=["path"])["path"].to_pylist()
    return paths
