"""Models out of a store: what they are trained and judged on, and that each comes once."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from plankseg.config import MasksConfig, Recipe, Settings
from plankseg.errors import TrainingError
from plankseg.imaging.framing import Framing
from plankseg.imaging.postprocessing import PLAIN, Postprocessing
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.metrics import ImageScores
from plankseg.learning.network.forward import Predictor
from plankseg.learning.sampler import WeightedDraws
from plankseg.learning.trainer import Execution, TrainedModel, TrainingTask
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.recipes import postprocessing_of
from plankseg.pipeline.models.registry import decisions_of
from plankseg.pipeline.models.shown_masks import shown_images
from plankseg.pipeline.training import multi_gpu, train_and_register, verdict
from plankseg.pipeline.training.round_training import fit
from plankseg.pipeline.training.train_and_register import Training
from plankseg.pipeline.training.training_set import TrainingSet, mask_loader, training_set
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_images, add_model, clean_image, square, store_with, write_images
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
MASK = square((34, 41), 9)


def ids(examples: tuple[Any, ...]) -> list[str]:
    return sorted(example.image_id for example in examples)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, source=6, pool=6, validation=2)


def test_answers_weigh_more_than_the_source_and_the_validation_set_is_never_trained_on(store: Store) -> None:
    pool = store.catalogue.ids("pool")
    add_answers(store, 1, pool[:2], mask=MASK)
    add_answers(store, 2, pool[2:3], mask=MASK)
    add_answers(store, 1, store.catalogue.ids("validation")[:1], mask=MASK)
    data = training_set(store, TINY, 1)
    weights = {example.image_id: example.weight for example in data.examples}
    assert weights == dict.fromkeys(store.catalogue.ids("source"), 1.0) | dict.fromkeys(pool[:2], 10.0)
    assert ids(data.validation) == store.catalogue.ids("validation")
    assert data.validation_set == "validation set (2 images)"
    assert data.corrections == 2
    assert data.data_version == store.labels.version()
    assert ids(training_set(store, TINY, 2).examples) == sorted([*weights, pool[2]])
    assert training_set(store, TINY, 0).corrections == 0


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_share_of_corrections_is_drawn_however_many_there_are(store: Store, share: float) -> None:
    recipe = TINY.model_copy(update={"training": TINY.training.model_copy(update={"correction_share": share})})
    pool = store.catalogue.ids("pool")
    assert training_set(store, recipe, 1).corrections == 0
    for n, count in ((1, 2), (2, 4)):
        add_answers(store, n, pool[count - 2 : count], mask=MASK)
        examples = training_set(store, recipe, n).examples
        drawn = WeightedDraws([e.weight for e in examples], draws=20_000, seed=n).indices(0)
        assert sum(examples[i].is_correction for i in drawn) / 20_000 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("status", ["skipped", "unusable", "quarantined"])
def test_an_answer_without_a_mask_does_not_train(store: Store, status: str) -> None:
    add_answers(store, 1, store.catalogue.ids("pool")[:1], status=status)
    assert training_set(store, TINY, 1).corrections == 0


def test_an_answer_that_was_called_unusable_later_trains_no_more(store: Store) -> None:
    image = store.catalogue.ids("pool")[:1]
    add_answers(store, 1, image, mask=MASK)
    assert training_set(store, TINY, 1).corrections == 1
    add_answers(store, 1, image, status="unusable")
    assert training_set(store, TINY, 1).corrections == 0


def test_the_mask_that_trains_is_the_newest_answer(store: Store) -> None:
    (image,) = store.catalogue.ids("pool")[:1]
    add_answers(store, 1, [image], mask=MASK)
    add_answers(store, 1, [image], mask=square((34, 41), 20))
    data = training_set(store, TINY, 1)
    np.testing.assert_array_equal(mask_loader(store, data.labels)(image), square((34, 41), 20))


def test_without_a_validation_set_a_fixed_share_of_the_source_is_held_out(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12, pool=4)
    first = training_set(store, TINY, 0)
    held = set(ids(first.validation))
    assert 0 < len(held) < 12
    assert set(ids(first.examples)) | held == set(store.catalogue.ids("source"))
    assert not set(ids(first.examples)) & held
    assert first.validation_set == f"part of the source that is not trained on ({len(held)} images)"
    add_answers(store, 1, store.catalogue.ids("pool")[:2], mask=MASK)
    assert set(ids(training_set(store, TINY, 1).validation)) == held
    add_images(store, tmp_path, "source", range(1100, 1106))
    assert held <= set(ids(training_set(store, TINY, 1).validation))


def test_an_answered_image_that_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=12)
    held = ids(training_set(store, TINY, 1).validation)
    add_answers(store, 1, held, mask=MASK)
    after = training_set(store, TINY, 1)
    assert not set(ids(after.examples)) & set(ids(after.validation))
    assert ids(after.validation) == held


def test_one_source_image_and_no_validation_set_are_too_few(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=1)
    with pytest.raises(TrainingError, match="0 images to train on and 1 to validate"):
        training_set(store, TINY, 0)
    with pytest.raises(TrainingError, match="ingest a source"):
        training_set(store_with(tmp_path / "empty"), TINY, 0)


def test_the_fingerprint_names_data_recipe_and_round(store: Store) -> None:
    data = training_set(store, TINY, 1)
    names = {Training(recipe, data, n).fingerprint for recipe, n in ((TINY, 1), (TINY, 2), (Recipe(), 1))}
    add_answers(store, 1, store.catalogue.ids("pool")[:1], mask=MASK)
    names.add(Training(TINY, training_set(store, TINY, 1), 1).fingerprint)
    assert len(names) == 4
    assert Training(TINY, training_set(store, TINY, 1), 1).fingerprint in names


# --- automatic masks of the pool, and post-processing ---------------------------------------------------------------


def with_pool_masks(folder: Path, weight: float = 0.5) -> tuple[Store, Recipe]:
    """A store whose pool has six automatic masks and four images of noise without, and a recipe that uses them."""
    store = store_with(folder, source=6, validation=2)
    images = write_images(folder / "pool", range(3000, 3006), draw=clean_image)
    write_images(images, range(4))
    ingest_folder(store, images, role="pool", options=IngestOptions(automatic_masks=True))
    training = TINY.training.model_copy(update={"pool_mask_weight": weight, "pool_mask_min_share": 0.6})
    return store, TINY.model_copy(update={"training": training})


def test_automatic_masks_of_the_pool_train_at_their_weight_and_only_where_the_recipe_says_so(tmp_path: Path) -> None:
    store, recipe = with_pool_masks(tmp_path)
    data = training_set(store, recipe, 0)
    weights = {example.image_id: example.weight for example in data.examples}
    pool = store.catalogue.ids("pool")
    masked = {row.image_id for row in store.labels.current() if row.status == "usable"} & set(pool)
    assert len(masked) == data.pool_masks == 6
    assert weights == dict.fromkeys(store.catalogue.ids("source"), 1.0) | dict.fromkeys(masked, 0.5)
    assert not any(example.is_correction for example in data.examples)
    plain = training_set(store, TINY, 0)
    assert (ids(plain.examples), plain.pool_masks) == (store.catalogue.ids("source"), 0)


def test_where_most_of_the_pool_is_too_difficult_for_the_automatic_method_none_of_its_masks_is_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, recipe = with_pool_masks(tmp_path)
    strict = recipe.training.model_copy(update={"pool_mask_min_share": 0.61})
    data = training_set(store, recipe.model_copy(update={"training": strict}), 0)
    assert (data.pool_masks, ids(data.examples)) == (0, store.catalogue.ids("source"))
    assert "Only 6 of 10 images of the pool got an automatic mask" in caplog.text
    assert training_set(store, recipe, 0).pool_masks == 6


def test_whatever_a_person_answered_replaces_the_automatic_mask(tmp_path: Path) -> None:
    store, recipe = with_pool_masks(tmp_path)
    first = training_set(store, recipe, 0)
    answered, skipped, later = [e.image_id for e in first.examples if e.weight == 0.5][:3]
    shape = clean_image(0).shape
    add_answers(store, 1, [answered], mask=square(shape, 9))
    add_answers(store, 1, [skipped], status="skipped")
    add_answers(store, 2, [later], mask=square(shape, 9))
    data = training_set(store, recipe, 1)
    weights = {example.image_id: example.weight for example in data.examples}
    assert weights[answered] == 10.0
    assert not {skipped, later} & weights.keys()
    assert data.pool_masks == 3
    np.testing.assert_array_equal(mask_loader(store, data.labels)(answered), square(shape, 9))


def test_an_automatic_mask_is_no_truth_when_its_image_joins_the_validation_set(tmp_path: Path) -> None:
    store, recipe = with_pool_masks(tmp_path)
    before = training_set(store, recipe, 0)
    ingest_folder(store, tmp_path / "pool", role="validation")
    after = training_set(store, recipe, 0)
    assert ids(after.validation) == ids(before.validation)
    assert set(ids(after.examples)) <= set(store.catalogue.ids("source"))  # less what is like one of them


def test_a_recipe_that_wants_masks_of_a_pool_without_any_says_so(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = TINY.model_copy(update={"training": TINY.training.model_copy(update={"pool_mask_weight": 1.0})})
    assert training_set(store, recipe, 0).examples == training_set(store, TINY, 0).examples
    assert "no image of the pool has an automatic mask" in caplog.text


def test_a_share_of_corrections_counts_the_pools_masks_by_their_weight(tmp_path: Path) -> None:
    store, recipe = with_pool_masks(tmp_path, weight=3.0)
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"correction_share": 0.5})})
    add_answers(store, 1, store.catalogue.ids("pool")[:1], mask=square(store_shape(store), 9))
    examples = training_set(store, recipe, 1).examples
    corrected = sum(example.weight for example in examples if example.is_correction)
    assert corrected == pytest.approx(sum(example.weight for example in examples) / 2)


def store_shape(store: Store) -> tuple[int, int]:
    grey = store.catalogue.load(store.catalogue.ids("pool")[0])
    return grey.shape[0], grey.shape[1]


def test_postprocessing_is_chosen_where_the_recipe_says_so_recorded_and_judged_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_with(tmp_path, source=6, pool=4, validation=16)
    hollow = square((34, 41), 12)
    hollow[4:7, 4:7] = False

    def predict(_predictor: Predictor, greys: list[Any], _side_px: int) -> list[Any]:
        return [hollow.astype(np.float32) for _ in greys]

    monkeypatch.setattr(Predictor, "predict", predict)
    plain = fit(store, TINY, CPU, round_number=0)
    assert json.loads(plain.metrics)["postprocessing"] == asdict(PLAIN)
    recipe = TINY.model_copy(update={"masks": MasksConfig(postprocessing="choose")})
    row = fit(store, recipe, CPU, round_number=1)
    assert postprocessing_of(row) == Postprocessing(fill_holes=True)
    assert postprocessing_of(add_model(store, 2)) == PLAIN
    assert row.validation_dice == 1.0
    metrics = json.loads(row.metrics)
    assert metrics["measures"]["selection"]["means"]["dice"]["mean"] == metrics["test"]["dice"] == 1.0
    data = training_set(store, recipe, 1)
    assert verdict.evaluate(store, row, data, CPU).mean_dice == 1.0
    assert verdict.evaluate(store, plain, data, CPU).mean_dice < 1.0


# --- judging, with a training that only pretends ---------------------------------------------------------------------


def pretend(monkeypatch: pytest.MonkeyPatch, *, before: list[float], after: list[float]) -> list[dict[str, Any]]:
    """Let the active model score `before` and the new one `after`; the calls of `train` are kept."""
    calls: list[dict[str, Any]] = []

    def scores(data_ids: list[str], dice: list[float]) -> ImageScores:
        values = dict(zip(data_ids, dice, strict=True))
        return ImageScores(dice=values, iou=values)

    def train(task: TrainingTask, execution: Execution, *, report: Any) -> TrainedModel:
        calls.append(vars(task) | vars(execution) | {"load": task.source.load})
        (execution.work_dir / "checkpoint").write_text("half done")
        return TrainedModel(
            weights=f"weights {task.round_number} {after}".encode(),
            epochs=1,
            framing=Framing(32),
            best_epoch=0,
            history=[],
            scores=scores([e.image_id for e in task.validation], after),
        )

    def evaluate(_store: Store, _row: Any, data: TrainingSet, _settings: Settings) -> ImageScores:
        return scores([e.image_id for e in data.validation], before)

    monkeypatch.setattr(multi_gpu, "train", train)
    monkeypatch.setattr(verdict, "evaluate", evaluate)
    measure_as(monkeypatch, {})
    return calls


def measure_as(patch: pytest.MonkeyPatch, card: dict[str, Any]) -> None:
    """Every model makes empty masks, and is found as good as the card says."""
    evaluator = SimpleNamespace(masks_of=lambda images: dict.fromkeys(images, np.zeros((4, 4), dtype=bool)))
    evaluator.with_postprocessing = lambda _: evaluator
    patch.setattr(train_and_register, "Evaluator", SimpleNamespace(of_weights=lambda *_: evaluator))
    patch.setattr(train_and_register, "scorecard_of", lambda *_: card)


@pytest.mark.parametrize(
    ("before", "after", "promoted", "outcome"),
    [
        ([0.9, 0.8], [0.5, 0.4], False, "worse than model 0"),
        ([0.9, 0.5], [0.8, 0.6], True, "not clearly different from model 0"),
        ([0.5, 0.4], [0.9, 0.8], True, "better than model 0"),
    ],
)
def test_a_model_is_promoted_unless_it_is_significantly_worse(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: list[float], after: list[float], promoted: bool, outcome: str
) -> None:
    pretend(monkeypatch, before=before, after=after)
    monkeypatch.setattr(verdict, "MIN_IMAGES_TO_COMPARE", 2)
    first = add_model(store, 0)
    row = fit(store, TINY, CPU, round_number=1)
    assert row.promoted is promoted
    assert row.reason.startswith(f"{outcome}: Dice ")
    assert "validation set (2 images)" in row.reason
    active = store.models.active()
    assert active is not None
    assert active.model_id == (row.model_id if promoted else first.model_id)
    assert row.parent == first.model_id
    compared = decisions_of(store)[-1].comparison
    assert compared is not None
    assert compared.difference == pytest.approx(np.mean(after) - np.mean(before))
    assert compared.low <= compared.difference <= compared.high
    assert row.validation_dice == pytest.approx(np.mean(after))


def test_a_holdout_of_the_source_refuses_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(tmp_path, source=30)
    held = len(training_set(store, TINY, 1).validation)
    assert held >= 6
    pretend(monkeypatch, before=[0.9] * held, after=[0.5] * held)
    add_model(store, 0)
    row = fit(store, TINY, CPU, round_number=1)
    assert row.promoted
    assert "Dice -0.400 on the part of the source that is not trained on" in row.reason
    assert "Run 'annotate_validation'" in row.reason


def test_of_two_images_no_model_is_called_worse(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, before=[0.9, 0.8], after=[0.5, 0.4])
    add_model(store, 0)
    row = fit(store, TINY, CPU, round_number=1)
    assert row.promoted
    assert "too few images (below 6) to tell it from model 0: " in row.reason


def test_fit_twice_is_fit_once_and_checkpoints_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pretend(monkeypatch, before=[], after=[0.5, 0.5])
    (store.work_dir("train-0-0123456789abcdef") / "of-a-killed-training").touch()
    (store.work_dir("train-10-0123456789abcdef") / "of-another-round").touch()
    first = fit(store, TINY, CPU, round_number=0)
    assert (first.promoted, first.reason) == (True, "it is the first model, so it is used")
    assert [path.name for path in (store.root / "work").iterdir()] == ["train-10-0123456789abcdef"]
    store.work_dir("train-0-left-by-a-kill-after-the-commit")
    assert fit(store, TINY, CPU, round_number=0) == first
    assert len(calls) == 1
    assert [row.round for row in store.models.all()] == [0]
    assert [path.name for path in (store.root / "work").iterdir()] == ["train-10-0123456789abcdef"]


@pytest.mark.parametrize("warm", [True, False])
def test_a_retraining_starts_from_the_active_model_only_when_it_is_asked_to(
    store: Store, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    calls = pretend(monkeypatch, before=[0.5, 0.5], after=[0.5, 0.5])
    add_model(store, 0, weights=b"where to start")
    recipe = TINY.model_copy(update={"training": TINY.training.model_copy(update={"warm_start": warm})})
    fit(store, recipe, CPU, round_number=1)
    assert calls[0]["start"] == (b"where to start" if warm else None)
    assert (calls[0]["round_number"], calls[0]["device"]) == (1, "cpu")


def test_a_kill_before_the_commit_keeps_the_checkpoints_for_the_next_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pretend(monkeypatch, before=[], after=[0.5, 0.5])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.models, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(store, TINY, CPU, round_number=0)
    assert (calls[0]["work_dir"] / "checkpoint").exists()
    fit(store, TINY, CPU, round_number=0)
    assert calls[1]["work_dir"] == calls[0]["work_dir"]
    assert not calls[0]["work_dir"].exists()


def test_a_model_really_is_trained_recorded_and_usable_for_the_next_round(store: Store) -> None:
    told: list[EpochReport] = []
    row = fit(store, TINY, CPU, round_number=0, report=told.append)
    assert [epoch.epoch for epoch in told] == list(range(told[0].epoch, told[0].epoch + TINY.training.epochs))
    assert (row.round, row.side_px, row.epochs, row.promoted) == (0, 32, 1, True)
    assert Recipe.model_validate_json(row.recipe) == TINY
    metrics = json.loads(row.metrics)
    assert metrics["examples"] == 6
    assert metrics["corrections"] == 0
    assert metrics["dice"] == pytest.approx(row.validation_dice)
    low, high = metrics["dice_interval"]
    assert 0 <= low <= metrics["dice"] <= high <= 1
    measured = metrics["measures"]["selection"]["means"]["dice"]
    assert (measured["images"], measured["mean"]) == (2, pytest.approx(row.validation_dice))
    again = verdict.evaluate(store, row, training_set(store, TINY, 0), CPU)
    assert float(np.mean(list(again.dice.values()))) == pytest.approx(row.validation_dice)
    assert list((store.root / "work").iterdir()) == []
    add_answers(store, 1, store.catalogue.ids("pool")[:2], mask=MASK)
    second = fit(store, TINY, CPU, round_number=1)
    assert (second.parent, json.loads(second.metrics)["corrections"]) == (row.model_id, 2)
    assert f"model {row.round}" in second.reason


def test_the_test_half_is_seen_by_no_choice_and_reported_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(tmp_path, source=4, validation=8)
    row = fit(store, TINY, CPU, round_number=0)
    data = training_set(store, TINY, 0)
    assert (len(data.validation), len(data.test)) == (4, 4)
    assert data.validation_set == row.validation_set == "deciding half of the validation set (4 images)"
    metrics = json.loads(row.metrics)
    assert metrics["test"]["images"] == 4
    assert set(metrics["measures"]["test"]["images"]) == set(ids(data.test))
    assert set(metrics["measures"]["selection"]["images"]) == set(ids(data.validation))
    assert set(metrics["shown_masks"]) == set(shown_images(ids(data.test))), "kept for the report"
    low, high = metrics["test"]["dice_interval"]
    assert low <= metrics["test"]["dice"] <= high
    with monkeypatch.context() as patch:
        calls = pretend(patch, before=[0.5] * 4, after=[0.5] * 4)
        card = {"means": {"dice": ZERO, "iou": ZERO}}
        measure_as(patch, card)
        fit(store, TINY, CPU, round_number=1)
    assert ids(calls[0]["validation"]) == ids(data.validation)
    loaded = set(calls[0]["load"].uris)
    assert not loaded & set(ids(data.test)), "the training cannot even load an image of the test half"


ZERO = {"mean": 0.0, "low": 0.0, "high": 0.0, "images": 4}
