"""The learning curve takes models that were measured on the same images, and the lines of conventional methods."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plankseg.pipeline.models.learning_curve import CurvePoint, curve_svg, learning_curves
from plankseg.storage.tables.models import ModelRow
from tests.support.little_store import add_model, store_with

A, B = ("a", "b"), ("a", "c")


def metrics(dice: float, images: tuple[str, ...], *, half: str = "test") -> str:
    own = {half: {"images": {image_id: [dice, dice] for image_id in images}}}
    rivals = {half: {"fixed threshold": {image_id: [0.4, 0.4] for image_id in images}}}
    interval = [dice - 0.1, dice + 0.05]
    recorded = {"measures": own, "rivals": rivals, "dice_interval": interval}
    return json.dumps(recorded | {"test": {"dice": dice, "dice_interval": interval}})


def models(folder: Path, *recorded: str) -> list[ModelRow]:
    store = store_with(folder, source=1)
    return [add_model(store, n, metrics=text) for n, text in enumerate(recorded)]


def test_each_model_is_a_point_with_its_interval_and_each_rival_a_line(tmp_path: Path) -> None:
    (curve,) = learning_curves(models(tmp_path, metrics(0.5, A), metrics(0.7, A)))
    assert (curve.half, curve.images) == ("test", 2)
    assert curve.points == (
        CurvePoint(0, pytest.approx(0.5), pytest.approx(0.4), pytest.approx(0.55)),
        CurvePoint(1, pytest.approx(0.7), pytest.approx(0.6), pytest.approx(0.75)),
    )
    assert [(rival.name, rival.dice) for rival in curve.rivals] == [("fixed threshold", pytest.approx(0.4))]


def test_a_model_that_was_measured_on_other_images_is_not_on_the_curve(tmp_path: Path) -> None:
    (curve,) = learning_curves(models(tmp_path, metrics(0.9, B), metrics(0.5, A), metrics(0.6, A)))
    assert [point.round for point in curve.points] == [1, 2]


def test_there_is_no_curve_without_models_or_without_measures(tmp_path: Path) -> None:
    assert learning_curves([]) == []
    assert learning_curves(models(tmp_path, "{}")) == []


def test_the_same_curves_give_the_same_picture(tmp_path: Path) -> None:
    curves = learning_curves(models(tmp_path, metrics(0.5, A, half="selection"), metrics(0.7, A, half="selection")))
    assert [curve.half for curve in curves] == ["selection"]
    first = curve_svg(curves)
    assert first == curve_svg(curves)
    assert first.startswith(b"<?xml")
    assert b"<svg" in first


def test_one_image_whose_interval_is_not_rounded_is_drawn(tmp_path: Path) -> None:
    exact = 0.812345678  # of one image the interval is the Dice itself, which is recorded with five digits
    recorded = json.loads(metrics(round(exact, 5), ("a",)))
    recorded["test"]["dice_interval"] = [exact, exact]
    curves = learning_curves(models(tmp_path, json.dumps(recorded)))
    assert [point.dice for point in curves[0].points] == [0.81235]
    assert b"<svg" in curve_svg(curves)


def test_a_candidate_of_a_comparison_does_not_take_the_place_of_its_rounds_model(tmp_path: Path) -> None:
    (own,) = models(tmp_path, metrics(0.5, A))
    candidate = replace(own, metrics=metrics(0.9, A), candidate="larger", experiment="sizes", fingerprint="f")
    (curve,) = learning_curves([own, candidate])
    assert [point.dice for point in curve.points] == [pytest.approx(0.5)]
