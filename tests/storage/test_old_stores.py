"""A store that plankseg wrote before its parts were moved and journalled opens with today's code and goes on."""

import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from plankseg.config import Settings
from plankseg.doctor import examine_store
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.copy import copy_store
from plankseg.storage.maintenance import maintain
from plankseg.storage.schemas import SCHEMAS
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.annotation_desk import desk_of_round
from tests.support.little_store import noisy_image, square
from tests.support.tiny_recipe import TINY

STORES = Path(__file__).parents[1] / "stores"
OLD = "b45dfc5"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the old code itself read from the store."""
    return dict(json.loads((STORES / f"{OLD}.json").read_text()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The old store with its images, at another place than where it was made."""
    data = lzma.decompress((STORES / f"{OLD}.tar.xz").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(tmp_path, filter="data")
    return Store.open(tmp_path / "work/store")


def as_expected(rows: list[LabelRow]) -> list[dict[str, Any]]:
    names = ("image_id", "round", "origin", "status", "mask_sha", "changed_px", "seconds")
    return [{name: getattr(row, name) for name in names} | {"answered_at": row.answered_at.isoformat()} for row in rows]


def test_it_reads_as_the_old_code_read_it(store: Store, expected: dict[str, Any]) -> None:
    assert as_expected(store.labels.current()) == expected["labels"]
    assert store.catalogue.counts() == expected["roles"]
    assert [row.model_id for row in store.models.all()] == expected["models"]
    assert [row.image_id for row in store.proposals.asked(1)] == expected["asked"]
    progress = read_progress(store)
    assert (progress.round, progress.unanswered) == (1, 2)
    for role in expected["roles"]:
        assert not any(store.catalogue.is_lost(image_id) for image_id in store.catalogue.ids(role))


def test_every_table_has_todays_columns_and_what_it_did_not_have_is_empty(store: Store) -> None:
    for table, schema in SCHEMAS.items():
        assert store.tables.read(table).schema.names == schema.names, table
    assert store.exclusions.current("removed") == {}
    assert store.exclusions.current("unreadable") == {}


def test_doctor_finds_nothing_wrong_and_a_copy_reads_alike(
    store: Store, tmp_path: Path, expected: dict[str, Any]
) -> None:
    findings = list(examine_store(Settings(store=str(store.root))))
    assert [finding for finding in findings if finding.state == "broken"] == []
    copy_store(store.root, tmp_path / "copy")
    assert as_expected(Store.open(tmp_path / "copy").labels.current()) == expected["labels"]


@pytest.mark.slow
def test_the_command_line_shows_it(store: Store, tmp_path: Path) -> None:
    for command in (["status"], ["report", str(tmp_path / "r.html")]):
        done = subprocess.run(
            [sys.executable, "-m", "plankseg.cli", *command],
            env=os.environ | {"PLANKSEG_STORE": str(store.root), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_its_open_images_are_answered_and_collected(store: Store, expected: dict[str, Any]) -> None:
    desk = desk_of_round(store)
    open_ids = {task["data"]["image_id"] for task in desk.server.list_tasks(desk.project)}
    assert len(open_ids) == 2
    for index, image_id in enumerate(desk.ids):
        if image_id in open_ids:
            desk.answer(index, square(noisy_image(0).shape, 9))
    assert (desk.collect().new, desk.collect().open) == (2, 0)
    rows = store.labels.current()
    assert [row for row in as_expected(rows) if row["image_id"] not in open_ids] == [
        row for row in expected["labels"] if row["image_id"] not in open_ids
    ]
    maintain(store)
    assert Store.open(store.root).labels.current() == rows


@pytest.mark.slow
def test_the_next_model_is_trained_on_it(store: Store) -> None:
    desk = desk_of_round(store)
    for task in desk.server.list_tasks(desk.project):
        desk.answer(desk.ids.index(task["data"]["image_id"]), square(noisy_image(0).shape, 9))
    desk.collect()
    model = fit(store, TINY, Settings(store=str(store.root), device="cpu"), round_number=1)
    first = next(row for row in store.models.all() if row.round == 0)
    assert (model.round, model.parent) == (1, first.model_id)
    assert model.data_version == store.labels.version()
