"""Every answer is kept once, and for each image the best of its annotations' newest versions counts."""

from datetime import timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plankseg.errors import StoreError
from plankseg.storage.tables.labels import LabelRow, Labels
from tests.support.racing_processes import race
from tests.support.store_locations import tables_at
from tests.support.table_rows import START, answer, automatic, sha


@pytest.fixture
def labels(root: str) -> Labels:
    return Labels(tables_at(root))


def test_recorded_answers_are_skipped_and_the_rest_is_one_commit(labels: Labels) -> None:
    assert labels.add([answer("a", 1), answer("b", 2)]) == 2
    assert labels.version() == 1
    assert labels.add([answer("a", 1), answer("b", 2)]) == 0
    assert labels.version() == 1
    assert labels.add([answer("a", 1), answer("c", 3), answer("c", 3), automatic("d")]) == 2
    assert labels.version() == 2
    assert [row.image_id for row in labels.current()] == sorted(sha(name) for name in "abcd")


def test_an_answer_comes_back_as_it_was(labels: Labels) -> None:
    row = answer("a", 1, seconds=12.5, dice_to_premask=0.75, changed_px=31, annotator="ada", reason="blurred")
    labels.add([row])
    assert labels.current() == [row]


def test_an_edited_answer_is_a_new_version_and_the_newest_counts(labels: Labels) -> None:
    first, second = answer("a", 1, 0, seconds=5.0), answer("a", 1, 3, origin="drawn")
    assert labels.add([second]) + labels.add([first]) == 2
    assert labels.current() == [second]
    assert labels.history(sha("a")) == [first, second]


def test_the_same_moment_in_another_zone_is_the_same_answer(labels: Labels) -> None:
    row = answer("a", 1)
    elsewhere = row.answered_at.astimezone(timezone(timedelta(hours=5)))
    labels.add([row])
    fields = {name: getattr(row, name) for name in LabelRow.__dataclass_fields__} | {"answered_at": elsewhere}
    assert labels.add([LabelRow(**fields)]) == 0


def test_masks_from_ingest_are_recorded_once_per_image_and_origin(labels: Labels) -> None:
    assert labels.add([automatic("a"), automatic("a"), automatic("b")]) == 2
    assert labels.add([automatic("a", mask_sha=sha("other")), automatic("a", origin="given")]) == 1
    assert [row.origin for row in labels.current()].count("given") == 1


WINNERS = [
    ("an answer beats a later skip", answer("a", 1, 0), answer("a", 2, 9, status="skipped", mask_sha=None)),
    ("unusable beats a later skip", answer("a", 1, 0, status="unusable"), answer("a", 2, 9, status="skipped")),
    ("an answer beats another's later quarantine", answer("a", 1, 0), answer("a", 2, 9, status="quarantined")),
    (
        "unusable beats another's later quarantine",
        answer("a", 1, 0, status="unusable"),
        answer("a", 2, 9, status="quarantined"),
    ),
    (
        "a quarantine beats another's later skip",
        answer("a", 1, 0, status="quarantined"),
        answer("a", 2, 9, status="skipped"),
    ),
    ("unusable said later beats another's usable", answer("a", 2, 9, status="unusable"), answer("a", 1, 0)),
    ("an answer taken back by a later skip is skipped", answer("a", 7, 9, status="skipped"), answer("a", 7, 0)),
    ("an answer spoilt by a later edit is quarantined", answer("a", 7, 9, status="quarantined"), answer("a", 7, 0)),
    ("a given mask beats a malformed answer", automatic("a", origin="given"), answer("a", 1, 9, status="quarantined")),
    ("the newer skip counts among skips", answer("a", 1, 9, status="skipped"), answer("a", 2, 0, status="skipped")),
    ("a hand beats a threshold, however old", answer("a", 1, -9), automatic("a")),
    ("a hand that says unusable beats a threshold", answer("a", 1, 5, status="unusable"), automatic("a")),
    ("a given mask beats a threshold", automatic("a", origin="given"), automatic("a")),
    ("a hand beats a given mask", answer("a", 1, -9), automatic("a", origin="given")),
    ("of the same moment the higher annotation", answer("a", 12, 0), answer("a", 3, 0)),
]


@pytest.mark.parametrize(("winner", "loser"), [case[1:] for case in WINNERS], ids=[case[0] for case in WINNERS])
@pytest.mark.parametrize("winner_comes_first", [True, False])
def test_which_answer_counts(labels: Labels, winner: LabelRow, loser: LabelRow, winner_comes_first: bool) -> None:
    for row in (winner, loser) if winner_comes_first else (loser, winner):
        assert labels.add([row]) == 1
    assert labels.current() == [winner]


def test_another_persons_answer_counts_when_the_first_one_takes_his_back(labels: Labels) -> None:
    others = answer("a", 8, 1)
    labels.add([answer("a", 7, 5), others, answer("a", 7, 9, status="skipped", mask_sha=None)])
    assert labels.current() == labels.answered(1) == [others]


def test_the_recorded_versions_are_those_of_people(labels: Labels) -> None:
    labels.add([answer("a", 7, 0), answer("a", 7, 5), automatic("b")])
    assert labels.versions() == {(7, START), (7, START + timedelta(minutes=5))}


def what_counts(rows: list[LabelRow]) -> LabelRow:
    """The rule as a person would say it, for the rows of one image."""
    newest: dict[object, LabelRow] = {}
    for row in sorted(rows, key=lambda row: row.answered_at):
        newest[row.ls_annotation if row.by_person else row.origin] = row
    strength = {"threshold": 0, "given": 1}
    says = ["skipped", "quarantined", "usable"]
    return max(
        newest.values(),
        key=lambda row: (
            says.index(row.status.replace("unusable", "usable")),
            strength.get(row.origin, 2),
            row.answered_at,
            row.ls_annotation or 0,
        ),
    )


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.builds(
            answer,
            st.integers(0, 3),
            st.integers(1, 6),
            st.integers(0, 5),
            status=st.sampled_from(["usable", "skipped", "unusable", "quarantined"]),
        )
        | st.builds(automatic, st.integers(0, 3), origin=st.sampled_from(["threshold", "given"])),
        min_size=1,
        max_size=30,
        unique_by=lambda row: row.key,
    )
)
def test_the_counting_answer_does_not_depend_on_order_or_commits(root: str, rows: list[LabelRow]) -> None:
    labels = Labels(tables_at(f"{root}/{uuid4().hex}"))
    labels.add(rows[::2])
    labels.add(rows[1::2])
    expected = {
        image_id: what_counts([row for row in rows if row.image_id == image_id])
        for image_id in sorted({row.image_id for row in rows})
    }
    assert labels.current() == list(expected.values())


def test_a_model_can_see_the_labels_it_was_trained_on(labels: Labels) -> None:
    labels.add([answer("a", 1)])
    seen = labels.version()
    labels.add([answer("a", 1, 5), answer("b", 2)])
    assert labels.current(version=seen) == [answer("a", 1)]
    assert len(labels.current()) == 2
    assert labels.current(version=0) == []


def test_answers_of_a_round_are_those_of_people_in_that_round(labels: Labels) -> None:
    kept = [answer("a", 1, 5), answer("b", 2, status="skipped", mask_sha=None)]
    labels.add([answer("a", 1, 0), *kept, answer("c", 3, round=2), automatic("d", round=1)])
    assert labels.answered(1) == sorted(kept, key=lambda row: row.image_id)
    assert labels.answered(3) == []


def collect(root: str, annotations: list[int]) -> int:
    return Labels(tables_at(root)).add([answer(i, i) for i in annotations])


@pytest.mark.slow
def test_collecting_at_the_same_time_doubles_no_answer(root: str) -> None:
    parts = [list(range(start, start + 12)) for start in (0, 4, 8, 12)]
    added = race(collect, [(root, part) for part in parts])
    recorded = tables_at(root).read("labels")["ls_annotation"].to_pylist()
    assert sorted(recorded) == list(range(24))
    assert sum(added) == 24


def test_thousands_of_masks_from_ingest_leave_a_short_log(tmp_path: Path) -> None:
    labels = Labels(tables_at(str(tmp_path)))
    assert labels.add(automatic(i) for i in range(2000)) == 2000
    log = tmp_path / "tables" / "labels" / "_delta_log"
    assert sum(path.stat().st_size for path in log.iterdir()) < 20_000


def test_rows_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(StoreError, match="usable but has no mask"):
        answer("a", 1, mask_sha=None)
    with pytest.raises(StoreError, match="names no annotation"):
        LabelRow(image_id=sha("a"), round=1, origin="drawn", status="skipped", answered_at=START)
    with pytest.raises(StoreError, match="has no zone"):
        LabelRow(
            image_id=sha("a"), round=0, origin="threshold", status="skipped", answered_at=START.replace(tzinfo=None)
        )
    with pytest.raises(StoreError, match="status is 'fine'"):
        answer("a", 1, status="fine")


def test_what_the_automatic_method_gave_is_known_whatever_was_answered_since(labels: Labels) -> None:
    labels.add([automatic("a"), automatic("b", status="unusable", mask_sha=None, pixel_sha=None, reason="pale")])
    before = labels.version()
    labels.add([answer("a", 1), automatic("c", origin="given"), automatic("d")])
    assert labels.automatic_masks() == {sha("a"): True, sha("b"): False, sha("d"): True}
    assert labels.automatic_masks(version=before) == {sha("a"): True, sha("b"): False}
