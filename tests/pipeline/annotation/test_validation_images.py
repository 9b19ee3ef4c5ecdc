"""A few of every class reach a person, their masks come back, and nothing of it is ever proposed or trained on."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Settings, ValidationDraw
from plankseg.errors import LabelStudioDownError
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of, project_of_validation
from plankseg.pipeline.annotation.validation_draw import draw_at_random, draw_validation
from plankseg.pipeline.annotation.validation_images import (
    ClassCount,
    class_counts,
    collect_masks,
    push_unmasked,
    unmasked,
)
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.pool.candidates import choosable
from plankseg.pipeline.pool.near_duplicates import near_duplicates
from plankseg.pipeline.pool.validation_split import fix_halves
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_proposal, noisy_image, square, write_images
from tests.support.live_servers import LiveLabelStudio
from tests.support.near_copies import copies

SHAPE = noisy_image(0).shape
TWO = ValidationDraw()


def pool_of(tmp_path: Path, classes: dict[str, int]) -> Store:
    store = Store.open(tmp_path / "store")
    add_classes(store, tmp_path, classes)
    return store


def add_classes(store: Store, tmp_path: Path, classes: dict[str, int]) -> None:
    for taxon, count in classes.items():
        first = 100 * sum(map(ord, taxon))
        write_images(tmp_path / "pool" / taxon, range(first, first + count))
    ingest_folder(store, tmp_path / "pool", role="pool")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return pool_of(tmp_path, {"copepod": 6, "egg": 4, "single": 1})


def by_taxon(store: Store) -> dict[str | None, int]:
    return dict(Counter(store.catalogue.taxa("validation").values()))


def put_up(store: Store, server: LabelStudio, wanted: ValidationDraw = TWO) -> int:
    """One run of the flow, step by step."""
    project = project_of_validation(server, Settings())
    collect_masks(store, server, project)
    draw_validation(store, wanted)
    push_unmasked(store, server, project)
    return project


def test_a_task_says_the_path_of_its_image_from_the_archives_folder(store: Store) -> None:
    server = FakeLabelStudio()
    project = put_up(store, server, TWO)
    told = {task["data"]["image_id"]: task["data"]["file"] for task in server.list_tasks(project)}
    rows = store.catalogue.rows_by_id(told)
    assert told == {image_id: f"{row.taxon}/{row.external_id}.png" for image_id, row in rows.items()}


def test_two_of_each_class_are_drawn_and_the_same_in_any_store(store: Store, tmp_path: Path) -> None:
    drawn = draw_validation(store, TWO)
    assert by_taxon(store) == {"copepod": 2, "egg": 2, "single": 1}
    assert (len(drawn.new), drawn.short, drawn.unreadable) == (5, {"single": 1}, ())
    assert not set(choosable(store)) & set(drawn.new)
    again = Store.open(tmp_path / "again")
    ingest_folder(again, tmp_path / "pool", role="pool")
    assert draw_validation(again, TWO).new == drawn.new
    other = Store.open(tmp_path / "other")
    ingest_folder(other, tmp_path / "pool", role="pool")
    assert draw_validation(other, ValidationDraw(seed=1)).new != drawn.new


def test_a_second_draw_adds_nothing_and_a_new_class_only_its_own(store: Store, tmp_path: Path) -> None:
    first = draw_validation(store, TWO)
    version = store.tables.version("images")
    assert draw_validation(store, TWO).new == ()
    assert store.tables.version("images") == version
    add_classes(store, tmp_path, {"zoea": 3})
    added = draw_validation(store, TWO).new
    assert {store.catalogue.row(image_id).taxon for image_id in added} == {"zoea"}
    assert set(store.catalogue.ids("validation")) == {*first.new, *added}


def test_images_right_below_the_folder_are_one_class_without_a_name(tmp_path: Path) -> None:
    store = pool_of(tmp_path, {".": 3})
    draw_validation(store, TWO)
    assert by_taxon(store) == {None: 2}


def test_no_pool_draws_nothing(tmp_path: Path) -> None:
    assert draw_validation(Store.open(tmp_path / "store"), TWO).new == ()


def test_what_was_proposed_or_answered_or_cannot_be_read_is_not_drawn(store: Store) -> None:
    eggs = store.catalogue.matching(role="pool", taxon="egg")
    copepods = store.catalogue.matching(role="pool", taxon="copepod")
    add_proposal(store, 1, eggs[:1])
    add_answers(store, 1, eggs[1:2], status="skipped")
    store.catalogue.path(eggs[2]).unlink()
    for image_id in copepods:
        store.catalogue.path(image_id).write_bytes(b"no image any more")
    drawn = draw_validation(store, TWO)
    assert set(drawn.new) & {*eggs, *copepods} == {eggs[3]}
    assert drawn.short == {"copepod": 0, "egg": 1, "single": 1}
    assert set(drawn.unreadable) == {eggs[2], *copepods}


def test_the_same_picture_is_not_drawn_twice(tmp_path: Path) -> None:
    folder = tmp_path / "pool" / "twins"
    folder.mkdir(parents=True)
    for name, data in copies(noisy_image(5, (80, 90))).items():
        (folder / name).write_bytes(data)
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "pool", role="pool")
    assert len(draw_validation(store, TWO).new) == 1
    assert choosable(store) == []


def test_the_masks_of_a_person_come_back_as_answers_of_no_round(store: Store) -> None:
    server = FakeLabelStudio()
    project = put_up(store, server)
    assert project != project_of(server, Settings())
    tasks = server.list_tasks(project)
    assert sorted(task["data"]["image_id"] for task in tasks) == store.catalogue.ids("validation") == unmasked(store)
    assert all(not task.get("predictions") for task in tasks), "nothing leads the person's hand"
    person = SimulatedAnnotator(lambda _: square(SHAPE, 9), seed=0)
    person.answer_round(server, project, 0)
    assert put_up(store, server) == project
    assert class_counts(store) == [
        ClassCount("copepod", images=2, masked=2, open=0),
        ClassCount("egg", images=2, masked=2, open=0),
        ClassCount("single", images=1, masked=1, open=0),
    ]
    rows = {row.image_id: row for row in store.labels.current()}
    assert {(row.round, row.origin, row.premask_sha) for row in rows.values()} == {(0, "drawn", None)}
    assert np.array_equal(
        decode_mask(store.blobs.get(str(next(iter(rows.values())).mask_sha), "png")), square(SHAPE, 9)
    )
    split = fix_halves(store)
    assert sorted((*split.selection, *split.test)) == sorted(rows)
    assert read_progress(store).round == 0
    assert len(server.list_tasks(project)) == 5
    version = store.labels.version()
    put_up(store, server)
    assert (store.labels.version(), len(server.list_tasks(project))) == (version, 5)


def test_with_a_model_the_person_sees_its_mask_and_the_label_says_so(store: Store) -> None:
    server = FakeLabelStudio()
    draw_validation(store, TWO)
    project = project_of_validation(server, Settings())
    ids = unmasked(store)
    shown = dict.fromkeys(ids[1:], square(SHAPE, 12))
    push_unmasked(store, server, project, premasks=shown, model_id="f" * 64)
    SimulatedAnnotator(lambda _: square(SHAPE, 12), seed=0).answer_round(server, project, 0)
    collect_masks(store, server, project)
    rows = {row.image_id: row for row in store.labels.answered(0)}
    assert {(rows[i].origin, rows[i].model_id, rows[i].dice_to_premask) for i in ids[1:]} == {
        ("accepted", "f" * 64, 1.0)
    }
    assert (rows[ids[0]].origin, rows[ids[0]].model_id) == ("drawn", None)


@pytest.mark.parametrize("replace", [True, False])
def test_a_refused_image_makes_room_for_the_next_of_its_class_where_that_is_wanted(store: Store, replace: bool) -> None:
    server = FakeLabelStudio()
    project = put_up(store, server)
    refused = next(i for i, taxon in store.catalogue.taxa("validation").items() if taxon == "copepod")
    (task,) = [task for task in server.list_tasks(project) if task["data"]["image_id"] == refused]
    server.create_annotation(task["id"], [], lead_time=1.0, was_cancelled=True)
    put_up(store, server, ValidationDraw(replace_refused=replace))
    assert by_taxon(store) == {"copepod": 3 if replace else 2, "egg": 2, "single": 1}
    assert refused not in choosable(store)
    put_up(store, server, ValidationDraw(replace_refused=replace))
    assert len(store.catalogue.ids("validation")) == (6 if replace else 5)


@pytest.mark.parametrize("moment", ["break_before", "break_after"])
@pytest.mark.parametrize("call", ["upload_images", "import_tasks"])
def test_killed_anywhere_the_next_run_finishes(store: Store, moment: str, call: str) -> None:
    server = FakeLabelStudio()
    setattr(server, moment, call)
    try:
        put_up(store, server)
    except LabelStudioDownError:
        assert len(store.catalogue.ids("validation")) == 5
    project = put_up(store, server)
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(project)) == store.catalogue.ids("validation")


def test_images_handed_in_count_for_their_class_and_those_without_masks_are_put_up_too(
    store: Store, tmp_path: Path
) -> None:
    write_images(tmp_path / "kept" / "egg", range(5000, 5001))
    ingest_folder(store, tmp_path / "kept", role="validation")
    (handed,) = store.catalogue.ids("validation")
    server = FakeLabelStudio()
    project = put_up(store, server)
    assert by_taxon(store) == {"copepod": 2, "egg": 2, "single": 1}
    assert handed in {task["data"]["image_id"] for task in server.list_tasks(project)}


def test_a_file_that_went_after_the_draw_does_not_hold_up_the_others(store: Store) -> None:
    draw_validation(store, TWO)
    gone, *others = store.catalogue.ids("validation")
    store.catalogue.path(gone).unlink()
    server = FakeLabelStudio()
    project = project_of_validation(server, Settings())
    assert sorted(push_unmasked(store, server, project).tasks) == others


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.real_data
def test_two_of_each_real_class_are_masked_and_neither_they_nor_their_copies_are_learnt_from(
    tmp_path: Path, real_data: Path, label_studio: LiveLabelStudio
) -> None:
    from plankseg.config import Recipe
    from plankseg.labelling.api.client import LabelStudioClient
    from plankseg.pipeline.pool.style_references import _drawn
    from plankseg.pipeline.training.training_set import training_set

    classes = sorted((real_data / "zooscannet-sample" / "imgs").iterdir())
    for folder in classes:
        shutil.copytree(folder, tmp_path / "pool" / folder.name)
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "pool", role="pool")
    ours = Settings(project="real classes")
    with LabelStudioClient(label_studio.url, label_studio.token) as server:
        project = project_of_validation(server, ours)
        drawn = draw_validation(store, TWO).new
        push_unmasked(store, server, project)
        assert len(server.list_tasks(project, 0)) == len(drawn)
        assert by_taxon(store).keys() == {folder.name for folder in classes}
        assert max(by_taxon(store).values()) == 2
        person = SimulatedAnnotator(lambda i: read_grey(store.catalogue.read_bytes(i)) < 200, seed=0)
        person.answer_round(server, project, 0)
        assert collect_masks(store, server, project).open == 0
        assert push_unmasked(store, server, project).tasks == {}

    # Three copies of every eighth image: one hides in the pool, one in the source, and so on in turn.
    count = 0
    for image_id in drawn[::8]:
        for name, data in copies(store.catalogue.load(image_id)).items():
            folder = tmp_path / ("more-pool", "source")[count % 2]
            folder.mkdir(exist_ok=True)
            (folder / f"{image_id[:8]}-{name}").write_bytes(data)
            count += 1
    for seed in range(20):
        (tmp_path / "source" / f"clean-{seed}.jpg").write_bytes(draw_sample("clean", seed).jpeg)
    for role, name in (("pool", "more-pool"), ("source", "source")):
        ingest_folder(store, tmp_path / name, role=role)  # type: ignore[arg-type]
    planted = set(store.catalogue.matching(role="pool", dataset="more-pool"))
    planted |= set(store.catalogue.ids("source"))
    clean = {
        row.image_id
        for row in store.catalogue.rows(store.catalogue.ids("source"))
        if str(row.external_id).startswith("clean-")
    }
    planted -= clean
    assert len(planted) == count > 50

    recipe = Recipe()
    near = {duplicate.image_id for duplicate in near_duplicates(store, bits=recipe.validation.near_duplicate_bits)}
    assert planted <= near
    kept_apart = {*drawn, *near}
    data = training_set(store, recipe, 0)
    assert {example.image_id for example in data.examples} <= clean - kept_apart
    masked = {row.image_id for row in store.labels.current() if row.status == "usable"} & set(drawn)
    assert {example.image_id for example in (*data.validation, *data.test)} == masked  # the person refused a few
    assert abs(len(data.validation) - len(data.test)) <= 1 < len(data.test)
    assert choosable(store)
    assert not set(choosable(store)) & kept_apart
    assert not set(_drawn(store, recipe)) & kept_apart


def test_a_first_set_is_drawn_from_the_whole_pool_once_and_the_same_in_any_store(tmp_path: Path) -> None:
    store = pool_of(tmp_path, {"copepod": 31, "egg": 10})
    drawn = draw_at_random(store, 3)
    assert (len(drawn.new), drawn.short, drawn.unreadable) == (3, {}, ())
    assert store.catalogue.ids("validation") == sorted(drawn.new)
    assert draw_at_random(store, 3).new == ()
    again = Store.open(tmp_path / "again")
    ingest_folder(again, tmp_path / "pool", role="pool")
    assert draw_at_random(again, 3).new == drawn.new


@pytest.mark.parametrize(("images", "drawn"), [(9, 0), (10, 1), (41, 4)])
def test_at_most_a_tenth_of_a_small_pool_is_kept_to_measure_with(tmp_path: Path, images: int, drawn: int) -> None:
    store = pool_of(tmp_path, {"egg": images})
    assert len(draw_at_random(store, 20).new) == drawn
    assert len(choosable(store)) >= images - drawn - 1  # one more may be alike to one of them


def test_where_there_is_a_validation_set_none_is_drawn_at_random(store: Store) -> None:
    draw_validation(store, TWO)
    before = store.catalogue.ids("validation")
    assert draw_at_random(store, 9).new == ()
    assert store.catalogue.ids("validation") == before
