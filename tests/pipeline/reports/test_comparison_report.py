"""A person chooses among candidates: table with bounds, curves, and the same unlabelled images side by side."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import Settings
from plankseg.pipeline.reports.comparison_report import curves_picture, doubts, summary, titles_of, write_comparison
from plankseg.pipeline.reports.comparison_tables import seeds_table, table_of
from plankseg.pipeline.reports.side_by_side import COLOURS, ComparedImage, compare_on_pool, side_by_side_sheet
from plankseg.pipeline.training.comparison import Comparison, Result, over_seeds
from plankseg.pipeline.training.grid import Run
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from tests.support.html_tags import Tags
from tests.support.little_store import add_answers, square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
ARTIFACT_LIMIT = 200_000


def mean(value: float | None) -> dict[str, float | int | None]:
    return {"mean": value, "low": value, "high": value, "images": 0 if value is None else 2}


def result(
    key: str,
    dice: Mapping[str, float],
    *,
    model_id: str = "0" * 64,
    test: float | None = None,
    outline: float = 0.4,
    best_epoch: int = 2,
) -> Result:
    """A candidate with these Dice of its validation images."""
    average = float(np.mean(list(dice.values())))
    card = {
        "means": {
            "dice": mean(average),
            "iou": mean(0.5),
            "boundary_f": mean(outline),
            "thin_part_recall": mean(None),
            "area_error": mean(-0.031),
        },
        "images": {image_id: [value, 0.5, 0.4, None, -0.031] for image_id, value in dice.items()},
    }
    halves = {"selection": card}
    if test is not None:
        halves["test"] = {"means": {"dice": mean(test)}}
    metrics = {
        "dice": average,
        "best_epoch": best_epoch,
        "seconds": 90.0,
        "examples": 5,
        "loss": [0.9, 0.5],
        "validation_dice": [0.1, average],
        "measures": halves,
    }
    row = ModelRow(
        model_id=model_id,
        round=0,
        recipe=TINY.model_dump_json(),
        data_version=0,
        side_px=32,
        epochs=2,
        metrics=json.dumps(metrics),
        promoted=False,
        reason="a candidate",
        validation_dice=average,
        validation_set="validation set (2 images)",
        experiment="grid",
        candidate=key,
        fingerprint=key,
    )
    return Result(Run(key, TINY), row)


RESULTS = (
    result("Unet lr 1e-3 seed 0", {"a": 0.9, "b": 0.8}, test=0.79),
    result("Unet lr 1e-3 seed 1", {"a": 0.8, "b": 0.7}, test=0.81),
    result("Unet lr 1e-2 seed 0", {"a": 0.85, "b": 0.45}, test=0.6),
    result("Unet lr 1e-2 seed 1", {"a": 0.4, "b": 0.4}, test=0.4),
)
GRID = Comparison("grid", RESULTS, {"Unet lr 1e+9 seed 0": "It diverged & <script>burned</script>."})


def page(path: Path, comparison: Comparison, seen: list[ComparedImage]) -> Tags:
    write_comparison(path, comparison, seen)
    return Tags.of(path)


def seen(number: int, masks: int = 3) -> ComparedImage:
    grey = np.random.default_rng(number).integers(0, 255, (30, 40), dtype=np.uint8)
    return ComparedImage(f"copepod, {number}", grey, tuple(square((30, 40), 5 + n) for n in range(masks)), 0.5)


# --- tables ----------------------------------------------------------------------------------------------------------


def test_the_table_has_both_dice_their_bounds_and_the_distance_to_the_best() -> None:
    first, second, *_, failed = table_of(GRID)
    assert first["validation Dice"] == "0.850 [0.850, 0.850]"
    assert (first["to the best"], first["test Dice"]) == ("", "0.790 [0.790, 0.790]")
    assert (first["thin parts"], first["area error"], first["minutes"]) == ("", "-3.1 %", "1.5")
    assert second["to the best"] == "-0.100 [-0.100, -0.100]", "the same distance on every image: no doubt"
    assert str(failed["model"]).startswith("failed: It diverged")


def test_what_speaks_against_the_best_by_dice_is_said_beside_it() -> None:
    assert doubts(GRID) == []
    blob = result("Unet frozen", {"a": 0.9, "b": 0.9}, outline=0.08, best_epoch=1)
    exact = result("Unet unfrozen", {"a": 0.8, "b": 0.8}, outline=0.3)
    early, outline = doubts(Comparison("grid", (blob, exact), {}))
    assert early.startswith("Its best epoch is its first")
    assert outline.startswith("By the outline (F within 2 px) unfrozen is ahead, 0.300 to 0.080")
    assert summary(Comparison("grid", (blob, exact), {})).endswith(f"{early} {outline}")
    assert doubts(Comparison("grid", (exact, blob), {})) == []


def test_several_seeds_of_one_run_are_taken_together_by_their_mean() -> None:
    assert [(group.name, group.test_dice) for group in over_seeds(GRID)] == [
        ("lr 1e-3", (0.79, 0.81)),
        ("lr 1e-2", (0.6, 0.4)),
    ]
    assert seeds_table(GRID)[0] == {
        "run": "lr 1e-3",
        "seeds": 2,
        "validation Dice": "0.800",
        "lowest to highest": "0.750 to 0.850",
        "test Dice": "0.800",
    }
    assert seeds_table(Comparison("grid", RESULTS[::2], {})) == []
    only_seeds = seeds_table(Comparison("grid", RESULTS[:2], {}))
    assert [(row["run"], row["seeds"]) for row in only_seeds] == [("Unet lr 1e-3", 2)]


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_everything_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    found = page(tmp_path / "page.html", GRID, [seen(1), seen(2)])
    pictures = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(pictures) == 1 + 2 * 4
    assert all(str(picture["src"]).startswith("data:image/") for picture in pictures)
    assert not [tag for tag, _ in found.tags if tag in {"script", "link", "iframe"}]
    assert "lr 1e+9" in found.text
    assert "<script>burned</script>" in found.text, "words are text, never markup"
    assert "plankseg promote 00000000  makes" in found.text
    for index, result_ in enumerate(RESULTS[:3], start=1):
        assert f"{index}: {result_.run.key.removeprefix('Unet ')}" in found.text


def test_without_a_pool_the_page_says_why_there_is_no_gallery(tmp_path: Path) -> None:
    found = page(tmp_path / "page.html", Comparison("one", RESULTS[:1], {}), [])
    assert "No pictures: the pool has no unlabelled image" in found.text
    assert [tag for tag, _ in found.tags].count("img") == 1
    assert "Failed" not in found.text


def test_the_pictures_fit_into_artifacts() -> None:
    curves = curves_picture(GRID)
    assert base64.b64decode(curves.split(",", 1)[1]).startswith(b"\x89PNG")
    sheet = side_by_side_sheet([seen(number) for number in range(12)], titles_of(GRID))
    assert len(curves) < ARTIFACT_LIMIT
    assert len(sheet) < ARTIFACT_LIMIT


def test_each_model_has_its_colour_and_the_image_is_first() -> None:
    pictures = seen(1).pictures()
    assert len(pictures) == 4
    assert not (pictures[0] == COLOURS[0]).all(axis=2).any()
    for picture, colour in zip(pictures[1:], COLOURS, strict=True):
        assert (picture == colour).all(axis=2).any()


# --- the same images for every model ---------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, pool=9)


def look_at(store: Store, weights: bytes, *, images: int = 5, seed: int = 0) -> list[ComparedImage]:
    models = [result(f"run {n}", {"a": 0.5}, model_id=store.models.put_weights(weights)) for n in range(4)]
    return compare_on_pool(store, models, CPU, images=images, seed=seed)


def test_three_models_look_at_the_same_images_drawn_by_the_seed(store: Store, weights: bytes) -> None:
    found = look_at(store, weights)
    assert len({image.caption for image in found}) == len(found) == 5
    assert all(len(image.masks) == 3 and image.masks[0].shape == image.grey.shape for image in found)
    assert [image.agreement for image in found] == [1.0] * 5, "three times the same model"
    assert [image.caption for image in found] == [image.caption for image in look_at(store, weights)]
    assert [image.caption for image in found] != [image.caption for image in look_at(store, weights, seed=1)]


def test_images_that_are_answered_or_lost_are_not_shown(store: Store, weights: bytes) -> None:
    pool = store.catalogue.ids("pool")
    add_answers(store, 1, pool[:2], mask=square((34, 41), 9))
    store.catalogue.path(pool[2]).unlink()
    names = [store.catalogue.path(image_id).name for image_id in pool]
    captions = " ".join(image.caption for image in look_at(store, weights, images=9))
    assert [name in captions for name in names] == [False] * 3 + [True] * 6


def test_an_empty_pool_shows_nothing(tmp_path: Path, weights: bytes) -> None:
    assert look_at(store_with(tmp_path / "empty"), weights) == []
