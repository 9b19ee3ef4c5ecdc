"""A flipped bit anywhere in a store is harmless, or named with the file and the cure; none changes a value silently."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plankseg.errors import PlanksegError, StoreError
from plankseg.storage.maintenance import maintain
from plankseg.storage.schemas import SCHEMAS
from plankseg.storage.store import Store
from plankseg.storage.tables.exclusions import ExclusionRow
from plankseg.storage.tables.pushes import PushRow
from plankseg.storage.verification import verify_store
from tests.support.little_store import add_answers, add_images, add_model, add_proposal, square, store_with

MASK = square((34, 41), 9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with rows in most tables, some of them put together by maintenance."""
    folder = tmp_path_factory.mktemp("whole")
    store = store_with(folder, source=6, pool=8, validation=4)
    add_model(store, 0)
    ids = store.catalogue.ids("pool")
    add_proposal(store, 1, ids[:4], premask=MASK)
    store.pushes.add([PushRow(round=1, image_id=ids[0], title="t", project=1, task=1)])
    for image_id in ids[:4]:
        add_answers(store, 1, [image_id], mask=MASK)
    store.exclusions.record([ExclusionRow(image_id=ids[5], kind="removed", reason="a thumb")])
    maintain(store)
    add_answers(store, 1, ids[4:5], mask=MASK)
    add_images(store, folder, "pool", range(8, 10))
    add_model(store, 1)
    return folder / "store"


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "store"))


def everything(root: Path) -> dict[str, Any]:
    """Every row of every table, and the labels that count."""
    store = Store.open(root)
    rows = {table: sorted(map(repr, store.tables.read(table).to_pylist())) for table in SCHEMAS}
    rows["current"] = store.labels.current()
    rows["recorded"] = [store.tables.snapshot("proposals").transaction("proposal-1"), store.tables.version("labels")]
    rows["masks"] = [store.blobs.get(row.mask_sha, "png") for row in rows["current"] if row.mask_sha]
    rows["models"] = [store.models.weights(row.model_id) for row in store.models.all()]
    return rows


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def outcome(root: Path, expected: dict[str, Any], file: Path) -> str:
    """What a damaged file comes to: 'harmless', 'named' or what went wrong."""
    name = str(file.relative_to(root))
    try:
        same = everything(root) == expected
    except PlanksegError as error:
        text = str(error)
        is_named = file.name in text or name in text or str(Path(name).parent) in text
        return "named" if is_named and any(word in text for word in CURES) else f"{name}: no file or no cure in {text}"
    found = [str(damage) for damage in verify_store(Store.open(root))]
    if found:
        return "named" if all(any(word in text for word in CURES) for text in found) else f"{name}: no cure in {found}"
    return "harmless" if same else f"{name}: a value changed silently"


CURES = ("restore", "backup", "should read", "upgrade")


def flips(whole: Path, count: int, seed: int) -> list[tuple[str, int]]:
    rng = np.random.default_rng(seed)
    files = [path for path in sorted(whole.rglob("*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if path.relative_to(whole).parts[0] not in ("work", "locks")]
    chosen = [files[index] for index in rng.integers(0, len(files), count)]
    return [(str(path.relative_to(whole)), int(rng.integers(0, 8 * path.stat().st_size))) for path in chosen]


def outcomes(whole: Path, copy: Path, count: int, seed: int) -> list[str]:
    expected = everything(whole)
    found = []
    for name, bit in flips(whole, count, seed):
        flip(copy / name, bit)
        found.append(outcome(copy, expected, copy / name))
        shutil.copy2(whole / name, copy / name)
    assert everything(copy) == expected, "each file was put back"
    return found


def test_a_dozen_flipped_bits_are_harmless_or_named(whole: Path, damaged: Path) -> None:
    found = outcomes(whole, damaged, 12, seed=1)
    assert set(found) <= {"harmless", "named"}
    assert found.count("named") >= 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_flipped_bits_are_harmless_or_named(whole: Path, damaged: Path) -> None:
    found = outcomes(whole, damaged, 200, seed=0)
    assert set(found) <= {"harmless", "named"}
    assert found.count("named") >= 150


def test_a_whole_store_has_no_damage(whole: Path) -> None:
    assert list(verify_store(Store.open(whole))) == []


def last_log(root: Path, table: str) -> Path:
    return max((root / "tables" / table / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("table", ["labels", "proposals", "images"])
def test_a_log_whose_last_entry_was_lost_is_named(damaged: Path, table: str) -> None:
    last_log(damaged, table).unlink()
    with pytest.raises(StoreError, match=rf"tables/{table}/_delta_log.*restore"):
        Store.open(damaged).tables.read(table)


def test_a_log_whose_last_entry_is_empty_is_named(damaged: Path) -> None:
    last_log(damaged, "labels").write_bytes(b"")
    with pytest.raises(StoreError, match=r"labels/_delta_log.*restore"):
        Store.open(damaged).labels.current()


def test_a_log_folder_that_is_gone_is_no_empty_table(damaged: Path) -> None:
    shutil.rmtree(damaged / "tables/labels/_delta_log")
    store = Store.open(damaged)
    with pytest.raises(StoreError, match=r"labels.*restore"):
        store.labels.current()
    with pytest.raises(StoreError, match=r"labels.*restore"):
        add_answers(store, 1, store.catalogue.ids("pool")[:1], mask=MASK)


def test_a_table_of_an_older_copy_went_back(whole: Path, damaged: Path, tmp_path: Path) -> None:
    store = Store.open(damaged)
    shutil.copytree(damaged / "tables/labels", tmp_path / "older")
    add_answers(store, 1, store.catalogue.ids("pool")[5:6], mask=MASK)
    shutil.rmtree(damaged / "tables/labels")
    shutil.copytree(tmp_path / "older", damaged / "tables/labels")
    with pytest.raises(StoreError, match=r"labels.*(went back|missing).*restore"):
        Store.open(damaged).labels.current()


def test_a_model_trained_on_later_labels_than_there_are_is_named_in_a_store_without_a_journal(
    damaged: Path,
) -> None:
    store = Store.open(damaged)
    add_model(store, 2)
    shutil.rmtree(damaged / "journal")
    last_log(damaged, "labels").unlink()
    last_log(damaged, "labels").unlink()
    assert any("was trained on version" in str(damage) for damage in verify_store(Store.open(damaged)))


def test_a_missing_object_is_named_with_the_table_that_names_it(damaged: Path) -> None:
    sha = next(row.mask_sha for row in Store.open(damaged).labels.current() if row.mask_sha)
    (damaged / "objects" / sha[:2] / f"{sha}.png").unlink()
    (damage,) = set(verify_store(Store.open(damaged)))
    assert damage.file == f"objects/{sha[:2]}/{sha}.png"


def test_a_store_of_before_the_journal_opens_goes_on_and_gets_one(damaged: Path, whole: Path) -> None:
    shutil.rmtree(damaged / "journal")
    assert everything(damaged) == everything(whole)
    store = Store.open(damaged)
    add_answers(store, 1, store.catalogue.ids("pool")[5:6], mask=MASK)
    assert store.tables.journal.newest("labels") == store.tables.version("labels")
    maintain(store)
    data = damaged / "tables/images" / store.tables.snapshot("images").files()[0]
    flip(data, 8 * (data.stat().st_size // 2))
    with pytest.raises(StoreError, match=rf"{data.name}.*damaged.*restore"):
        Store.open(damaged).catalogue.counts()


def test_a_journal_stays_small(tmp_path: Path) -> None:
    store = store_with(tmp_path, pool=1)
    image_id = store.catalogue.ids("pool")[0]
    for number in range(70):
        kind = "removed" if number % 2 == 0 else "included"
        store.exclusions.record([ExclusionRow(image_id=image_id, kind=kind, reason=str(number))])
    entries = sorted((tmp_path / "store/journal/exclusions").iterdir())
    assert len(entries) <= 33
    assert json.loads(entries[-1].read_bytes())["entry"]["version"] == 70
    assert len(store.tables.journal.digests("exclusions")) >= 140  # every log entry and every data file
    assert list(verify_store(store)) == []
