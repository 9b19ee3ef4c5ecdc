"""Twice is once, two writers give one winner, the past stays readable, and a failed write leaves nothing."""

import resource
import signal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from plankseg.errors import StoreError
from plankseg.storage.delta_tables import Commit, Snapshot
from plankseg.storage.schemas import SCHEMAS, as_mappings, from_table, to_table
from plankseg.storage.tables.audits import AuditRow
from plankseg.storage.tables.backend_choices import BackendChoiceRow
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.promotions import PromotionRow
from plankseg.storage.tables.proposals import ProposalRow
from tests.support.racing_processes import in_forked_child, race
from tests.support.store_locations import names_at, tables_at, take_away
from tests.support.table_rows import image, model, proposed, sha


def rows_of(name: object, count: int = 20) -> list[dict[str, object]]:
    return as_mappings([proposed(f"{name}-{i}") for i in range(count)])


def append(root: str, transaction: str, name: str) -> bool:
    return tables_at(root).append("proposals", rows_of(name), [transaction])


def append_serially(root: str, name: str) -> int:
    """Adds its name only if no row is there: right only when what was read still holds at the commit."""

    def plan(snapshot: Snapshot) -> Commit | None:
        there = snapshot.read(["image_id"]).num_rows
        return None if there else Commit(rows=rows_of(name, 1), serial="ingest")

    return tables_at(root).commit("proposals", plan)


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("images", ImageRow),
        ("labels", LabelRow),
        ("proposals", ProposalRow),
        ("models", ModelRow),
        ("promotions", PromotionRow),
        ("calibrations", BackendChoiceRow),
        ("audits", AuditRow),
    ],
)
def test_row_classes_and_columns_are_the_same(table: str, kind: Any) -> None:
    assert set(kind.__dataclass_fields__) == set(SCHEMAS[table].names)


def test_rows_come_back_as_they_were(root: str) -> None:
    tables = tables_at(root)
    rows = [image("a", taxon="Copepoda"), image("b", instrument_area_px=12.5)]
    assert tables.append("images", as_mappings(rows), ["one"])
    assert sorted(from_table(ImageRow, tables.read("images")), key=lambda row: row.uri) == rows


@pytest.mark.every_s3_server
def test_the_same_transaction_is_a_no_op(root: str) -> None:
    tables = tables_at(root)
    assert tables.append("proposals", rows_of("a"), ["proposal-1"])
    version = tables.version("proposals")
    assert not tables.append("proposals", rows_of("b"), ["proposal-1"])
    assert tables.version("proposals") == version
    assert tables.read("proposals").num_rows == 20


def test_half_recorded_transactions_are_refused(root: str) -> None:
    tables = tables_at(root)
    tables.append("proposals", rows_of("a"), ["one"])
    with pytest.raises(StoreError, match="1 of 2 transactions"):
        tables.append("proposals", rows_of("b"), ["one", "two"])
    assert tables.read("proposals").num_rows == 20


@pytest.mark.every_s3_server
def test_of_six_processes_with_the_same_transaction_one_wins(root: str) -> None:
    won = race(append, [(root, "proposal-1", f"p{i}") for i in range(6)])
    assert sorted(won, key=str) == [False] * 5 + [True]
    ids = tables_at(root).read("proposals")["image_id"].to_pylist()
    assert any(sorted(ids) == sorted(sha(f"p{i}-{j}") for j in range(20)) for i in range(6))


@pytest.mark.every_s3_server
def test_eight_processes_with_different_transactions_all_commit(root: str) -> None:
    won = race(append, [(root, f"proposal-{i}", f"p{i}") for i in range(8)])
    assert won == [True] * 8
    ids = tables_at(root).read("proposals")["image_id"].to_pylist()
    assert sorted(ids) == sorted(sha(f"p{i}-{j}") for i in range(8) for j in range(20))


def append_to_each(roots: list[str], name: str) -> int:
    return sum(append(root, f"proposal-{name}", name) for root in roots)


@pytest.mark.every_s3_server
def test_a_table_made_by_several_at_once_is_one_table(root: str) -> None:
    roots = [f"{root}/{i}" for i in range(12)]
    assert race(append_to_each, [(roots, f"p{i}") for i in range(4)]) == [12] * 4
    assert [tables_at(root).read("proposals").num_rows for root in roots] == [80] * 12


def test_serial_commits_never_rely_on_what_is_no_longer_true(root: str) -> None:
    assert sorted(race(append_serially, [(root, f"p{i}") for i in range(5)])) == [0, 0, 0, 0, 1]
    assert tables_at(root).read("proposals").num_rows == 1


def test_columns_and_filter_give_just_what_was_asked(root: str) -> None:
    tables = tables_at(root)
    tables.append("images", as_mappings([image("a", width=10), image("b", width=20)]), ["one"])
    found = tables.read("images", columns=["width", "image_id"], where=pc.field("width") > 15)
    assert found.to_pydict() == {"width": [20], "image_id": [sha("b")]}
    with pytest.raises(StoreError, match="no columns"):
        tables.read("images", columns=["colour"])


def test_the_past_stays_readable(root: str) -> None:
    tables = tables_at(root)
    for i in range(3):
        tables.append("images", as_mappings([image(i)]), [f"t{i}"])
    assert [tables.read("images", version=k).num_rows for k in range(4)] == [0, 1, 2, 3]
    for never in (-1, 4):
        with pytest.raises(StoreError, match="0 to 3"):
            tables.read("images", version=never)


def test_a_table_that_is_not_there_has_its_columns_and_no_rows(root: str) -> None:
    tables = tables_at(root)
    assert tables.read("labels").schema.equals(SCHEMAS["labels"])
    assert tables.read("labels", columns=["round"], where=pc.field("round") == 1, version=0).to_pydict() == {
        "round": []
    }
    assert tables.version("labels") == 0
    assert names_at(root) == []
    with pytest.raises(StoreError, match="no table 'colours'"):
        tables.read("colours")


def test_a_table_without_its_first_version_is_damaged_not_empty(root: str) -> None:
    tables = tables_at(root)
    for i in range(2):
        tables.append("images", as_mappings([image(i)]), [f"t{i}"])
    take_away(f"{root}/tables/images/_delta_log/{0:020}.json")
    with pytest.raises(StoreError):
        tables.read("images")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown fields \\['colour'\\]"),
        ({"width": None}, "images.width is None in row 1"),
        ({"width": "wide"}, "images.width wants int64"),
        ({"added_at": image("a").added_at.replace(tzinfo=None)}, "without a zone"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_nothing_is_written(
    root: str, change: dict[str, object], message: str
) -> None:
    good = as_mappings([image("good")])[0]
    tables = tables_at(root)
    with pytest.raises(StoreError, match=message):
        tables.append("images", [good, good | change], ["one"])
    assert tables.read("images").num_rows == 0
    assert tables.append("images", [good], ["one"])


def test_a_missing_field_is_named(root: str) -> None:
    row = as_mappings([model(sha("m"))])[0]
    del row["recipe"]
    with pytest.raises(StoreError, match="missing fields \\['recipe'\\]"):
        tables_at(root).append("models", [row], ["one"])


def append_with_little_room(root: str, room_bytes: int, transactions: list[str]) -> str:
    """A write that really fails: the kernel refuses files beyond a size, as a full disk refuses them."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, resource.RLIM_INFINITY))
    try:
        return str(tables_at(root).append("proposals", rows_of("late"), transactions))
    except StoreError as error:
        return f"StoreError {error}"


@pytest.mark.parametrize(
    ("room_bytes", "what_fails"), [(0, "data file"), (500, "data file"), (8000, "commit with its 500 transactions")]
)
def test_a_full_disk_leaves_nothing_half_registered(tmp_path: Path, room_bytes: int, what_fails: str) -> None:
    root = str(tmp_path)
    tables = tables_at(root)
    tables.append("proposals", rows_of("early"), ["proposal-1"])
    transactions = [f"answer-{i}" for i in range(500)]
    [answer] = race(append_with_little_room, [(root, room_bytes, transactions)])
    assert answer.startswith("StoreError"), what_fails
    assert "proposals" in answer
    data_files = list((tmp_path / "tables" / "proposals").glob("*.parquet"))
    assert len(data_files) == (2 if what_fails.startswith("commit") else 1)
    assert tables.read("proposals").num_rows == 20
    assert tables.append("proposals", rows_of("late"), transactions)
    assert tables.read("proposals").num_rows == 40


def read_in_a_forked_child(root: str) -> str:
    tables = tables_at(root)
    tables.read("images")

    def read_again() -> bytes:
        try:
            return str(tables.read("images").num_rows).encode()
        except StoreError as error:
            return str(error).encode()

    return in_forked_child(read_again).decode()


def test_a_forked_child_is_told_instead_of_hanging(root: str) -> None:
    [message] = race(read_in_a_forked_child, [(root,)])
    assert "was forked from" in message
    assert "Catalogue.loader" in message


def test_any_parquet_reader_finds_the_rows_under_the_uri(tmp_path: Path) -> None:
    tables = tables_at(f"{tmp_path}/")
    tables.append("images", as_mappings([image("a")]), ["one"])
    [data_file] = Path(tables.uri("images")).glob("*.parquet")
    assert pq.read_table(data_file).to_pylist() == tables.read("images").to_pylist()


def test_a_table_of_an_older_plankseg_is_read_and_gains_the_columns_that_came_since(root: str) -> None:
    """A store is opened by newer versions for years: a missing column reads as nulls, in filters and in the past."""
    tables = tables_at(root)
    older = to_table("images", as_mappings([image("old")])).drop_columns(["instrument_area_px"])
    write_deltalake(tables.uri("images"), older, storage_options=tables._options())

    assert tables.read("images", columns=["instrument_area_px"])["instrument_area_px"].to_pylist() == [None]
    assert tables.read("images", where=pc.field("instrument_area_px").is_null()).num_rows == 1

    tables.append("images", as_mappings([image("new", instrument_area_px=7.0)]), ["second"])

    both = from_table(ImageRow, tables.read("images").sort_by("instrument_area_px"))
    assert [(row.image_id, row.instrument_area_px) for row in both] == [(sha("new"), 7.0), (sha("old"), None)]
    assert tables.read("images", version=0).num_rows == 1
