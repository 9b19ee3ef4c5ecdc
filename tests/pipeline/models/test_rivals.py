"""Conventional masks beside a model: judged on the same images, never on masks that they made themselves."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from plankseg.config import RoundsConfig, Settings
from plankseg.imaging.threshold import fixed_threshold_mask
from plankseg.pipeline.models.rivals import AUTOMATIC, FIXED, rival_scores, rival_verdict
from plankseg.pipeline.models.standings import RivalVerdict, standings_of
from plankseg.pipeline.reports.standing_tables import rival_sentence, standing_rows
from plankseg.pipeline.reports.status import read_status
from plankseg.pipeline.training.training_set import mask_loader
from plankseg.storage.store import Store
from tests.support.little_store import add_model, square, store_with

CPU = Settings(device="cpu")


def metrics_of(own: list[float], **rivals: list[float]) -> dict:
    """What is recorded with a model that has these values of Dice, and of its rivals on the same images."""
    images = {f"{number}": [value, value, 0.5, None, 0.0] for number, value in enumerate(own)}
    return {
        "measures": {"selection": {"images": images}},
        "rivals": {"selection": {name: {f"{n}": [v, v] for n, v in enumerate(dice)} for name, dice in rivals.items()}},
    }


def test_they_are_judged_on_masks_of_people_and_not_on_their_own(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=3, validation=2)
    labels = {row.image_id: row for row in store.labels.current()}
    found = rival_scores(store, labels, mask_loader(store, labels))
    given = set(store.catalogue.ids("validation"))
    assert set(found[FIXED]) == given
    assert all(set(scores) <= given for scores in found.values())  # the automatic mask rejects noise
    for image_id in given:
        mask = fixed_threshold_mask(store.catalogue.load(image_id))
        truth = square(mask.shape, 12)
        assert found[FIXED][image_id][0] == pytest.approx(
            2 * (mask & truth).sum() / (mask.sum() + truth.sum()), abs=1e-5
        )


def test_only_the_automatic_methods_own_masks_leave_nothing_to_judge(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=3)
    labels = {row.image_id: row for row in store.labels.current()}
    assert rival_scores(store, labels, mask_loader(store, labels)) == {}


def test_a_model_is_better_only_beyond_doubt_and_than_every_rival() -> None:
    good = [0.95, 0.94, 0.96, 0.95, 0.93, 0.97]
    worse = [value - 0.1 for value in good]
    better = rival_verdict(metrics_of(good, a=worse))
    assert better is not None
    assert better.better
    assert better.words().startswith(
        "better than the a: Dice 0.950 against 0.850 on the 6 images for which both gave a mask, +0.100 (95 % "
        "confidence interval "
    )
    mixed = rival_verdict(metrics_of(good, a=worse, b=[0.99] * 6))
    assert mixed is not None
    assert (mixed.rival, mixed.better) == ("b", False)
    assert "worse than the b, which needs no model: Dice 0.950 against 0.990" in mixed.words()


def test_what_may_be_chance_is_called_so_and_the_half_is_named() -> None:
    own, theirs = [0.95, 0.94, 0.96, 0.95, 0.93, 0.97], [0.94, 0.95, 0.95, 0.96, 0.94, 0.95]
    recorded = metrics_of(own, a=theirs)
    tested = {part: halves | {"test": halves["selection"]} for part, halves in recorded.items()}
    verdict = rival_verdict(tested)
    assert verdict is not None
    assert verdict.words().startswith(
        "not clearly different from the a, which needs no model: Dice 0.950 against 0.948 "
    )
    assert "on the 6 images of the test half for which both gave a mask" in verdict.words()
    earlier = {name: value for name, value in asdict(verdict).items() if name != "half"}
    assert "on the 6 images for which both gave a mask" in RivalVerdict(**earlier).words()


def test_five_images_show_nothing() -> None:
    verdict = rival_verdict(metrics_of([0.9] * 5, a=[0.1] * 5))
    assert verdict == RivalVerdict(
        "a", 5, pytest.approx(0.9), pytest.approx(0.1), *[pytest.approx(0.8)] * 3, "selection"
    )
    assert not verdict.better
    assert "not shown to be better than the a (below 6 images)" in verdict.words()


def test_lines_have_spread_and_no_dice_off_the_outline_in_records_of_before() -> None:
    own, rival = standings_of(metrics_of([0.5, 0.9, 1.0, 1.0], a=[1.0, 1.0, 1.0, 0.6]), "selection", model="model 2")
    assert (own.name, own.images, own.dice_off_outline, own.below_08) == ("model 2", 4, None, 0.25)
    assert own.tenth_percentile == pytest.approx(np.quantile([0.5, 0.9, 1.0, 1.0], 0.1))
    assert (rival.name, rival.dice_off_outline) == ("a", pytest.approx(0.9))
    assert standings_of({}, "test", model="model 2") == []


def test_a_method_that_rejects_images_is_compared_on_the_others() -> None:
    metrics = metrics_of([0.2, *[0.9] * 6], **{AUTOMATIC: [0.5] * 7})
    del metrics["rivals"]["selection"][AUTOMATIC]["0"]
    verdict = rival_verdict(metrics)
    assert verdict is not None
    assert (verdict.images, verdict.model_dice) == (6, pytest.approx(0.9))


def test_status_shows_both_and_says_so_where_nothing_was_compared(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1, validation=2)
    assert rival_sentence(read_status(store, RoundsConfig())) == ""
    add_model(store, 0)
    before = read_status(store, RoundsConfig())
    assert rival_sentence(before).endswith("the next one will be, on the 2 validation images that have a mask.")
    bare = store_with(tmp_path / "bare", source=1)
    add_model(bare, 0)
    assert rival_sentence(read_status(bare, RoundsConfig())).endswith("Run the flow 'annotate_validation', then train.")
    assert "rivals" not in before.model_dump()
    compared = tmp_path / "compared"
    store = store_with(compared, source=1, validation=2)
    metrics = metrics_of([0.8] * 6, **{FIXED: [0.9] * 6})
    verdict = rival_verdict(metrics)
    assert verdict is not None
    _add_judged_model(store, metrics | {"against_rivals": asdict(verdict)})
    found = read_status(store, RoundsConfig())
    assert [cells[1:5] for cells in standing_rows(found)] == [
        ("model 0", "6", "0.800", ""),
        (FIXED, "6", "0.900", "0.900"),
    ]
    assert rival_sentence(found).startswith("Model 0 is worse than the fixed threshold")
    assert json.loads(found.model_dump_json())["rivals"]["verdict"] == rival_sentence(found)


def _add_judged_model(store: Store, metrics: dict) -> None:
    row = add_model(store_with(Path(store.root).parent / "other", source=1), 0)
    model_id = store.models.put_weights(b"weights of a judged model")
    assert store.models.commit(replace(row, model_id=model_id, metrics=json.dumps(metrics)))
