"""Rounds of one arm with one seed: propose, answer from the truth, retrain, by the functions that the flows run."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from plankseg.config import ArmName, Recipe, Settings, SimulationConfig
from plankseg.errors import EmptyPoolError, SettingsError, TrainingError
from plankseg.files import atomic_write
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import changed_pixels, dice, encode_mask, pixel_sha
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.tta import View, views_of
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.network.architecture import choose_device
from plankseg.parallel import processor_name
from plankseg.pipeline.acquisition.propose import ScoringOptions, propose
from plankseg.pipeline.acquisition.score_shards import Scorer
from plankseg.pipeline.annotation.label_rows import stored_mask
from plankseg.pipeline.annotation.simulated_clicks import clicks_on
from plankseg.pipeline.models.recipes import framing_of
from plankseg.pipeline.models.standings import model_scores
from plankseg.pipeline.simulation.arms import ARMS, Arm
from plankseg.pipeline.simulation.world import World, copy_of, features_of_pool, start_of
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.proposals import ProposalRow

ENOUGH_DICE = 0.95
"""The simulated person accepts a pre-mask from this Dice on."""

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""Answers of round n are of n days later, so that a repeated simulation writes the same rows."""

SHORT = 12
"""Digits of an image's id in records."""

Record = dict[str, Any]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, in torch and in scikit-learn: with more, sums are added in another order.

    A run can thus be repeated on a machine with another number of cores; several cores are used by several runs.
    """
    import sklearn.cluster  # noqa: F401  a library that is loaded later would not be limited

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def _hear_nothing(_: object) -> None:
    """For who does not listen; unlike a lambda it can be sent to another process."""


@dataclass(frozen=True)
class Simulation:
    """Everything that the rounds of all arms share."""

    world: World
    recipe: Recipe
    config: SimulationConfig
    settings: Settings
    report: Callable[[EpochReport], None] = _hear_nothing
    commit: str | None = None
    """Of the code that runs, where it is known."""

    @property
    def made_by(self) -> dict[str, str]:
        """Commit, releases, processor, device and threads; stands in every record that is begun."""
        commit = {} if self.commit is None else {"commit": self.commit}
        gpu = {"gpu": torch.cuda.get_device_name(choose_device(self.settings.device))} if self.device == "cuda" else {}
        return {
            **commit,
            "plankseg": version("plankseg"),
            "torch": torch.__version__,
            "processor": processor_name(),
            "device": self.device,
            **gpu,
            "threads": "1",
        }

    @property
    def device(self) -> str:
        """The kind of device that computes: cpu, cuda or mps."""
        return str(choose_device(self.settings.device).type)


def run_arm(
    simulation: Simulation, name: ArmName, seed: int, *, on_round: Callable[[Record], None] = _hear_nothing
) -> Record:
    """Run an arm with a seed, or what is missing of it, and return its record, which also lies in the work folder.

    A record has the test Dice of model 0 and a list of rounds; `made_by` says whose code ran, on which processor and
    device; `stopped` says in words why it has fewer rounds than asked for: the pool is used up, or a training did not
    converge. A run that was killed goes on after its last whole round. When it ends its store is removed, and the
    record stays.
    """
    path = record_path(simulation.world, name, seed)
    begun: Record = {"arm": name, "seed": seed, "made_by": simulation.made_by, "rounds": []}
    record: Record = json.loads(path.read_text()) if path.exists() else begun
    if _has_ended(simulation, record):
        return record
    with one_thread():
        _run_rounds(simulation, name, seed, record, on_round)
    shutil.rmtree(simulation.world.arm(name, seed))
    return record


def is_recorded(simulation: Simulation, name: ArmName, seed: int) -> bool:
    """Whether an arm with a seed was run to its end."""
    path = record_path(simulation.world, name, seed)
    return path.exists() and _has_ended(simulation, json.loads(path.read_text()))


def _has_ended(simulation: Simulation, record: Record) -> bool:
    return bool(record.get("stopped")) or len(record["rounds"]) >= simulation.config.rounds


def prepare_seed(simulation: Simulation, seed: int) -> None:
    """Train model 0 of a seed, from which all its arms start, and compute its features of the pool, once."""
    with one_thread():
        start = start_of(simulation.world, simulation.recipe, simulation.settings, seed, simulation.report)
        features_of_pool(simulation.world, start, simulation.settings, seed)


def _run_rounds(
    simulation: Simulation, name: ArmName, seed: int, record: Record, on_round: Callable[[Record], None]
) -> None:
    """Add the rounds that a record lacks to it, and write it after each."""
    path = record_path(simulation.world, name, seed)
    start = start_of(simulation.world, simulation.recipe, simulation.settings, seed, simulation.report)
    features = features_of_pool(simulation.world, start, simulation.settings, seed)
    store = copy_of(simulation.world.start(seed), simulation.world.arm(name, seed))
    record["start"] = _test_scores(start.models.active())
    recipe = ARMS[name].recipe(simulation.recipe, simulation.config, seed)
    for round_number in range(len(record["rounds"]) + 1, simulation.config.rounds + 1):
        try:
            found = _run_round(simulation, store, recipe, ARMS[name], round_number)
        except (EmptyPoolError, TrainingError) as error:
            record["stopped"] = f"round {round_number}: {error}"
            write_record(path, record)
            break
        found |= _diversity(store, found.pop("images"), features)
        record["rounds"].append(found)
        write_record(path, record)
        on_round(found)


def record_path(world: World, arm: str, seed: int) -> Path:
    """Where the record of an arm with a seed lies."""
    return world.work / "records" / f"{arm}-seed-{seed}.json"


def write_record(path: Path, record: Record) -> None:
    """Write a record as a whole, or leave what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(record, indent=1).encode())


def _run_round(simulation: Simulation, store: Store, recipe: Recipe, arm: Arm, round_number: int) -> Record:
    """One round; done again after a kill it finds what was done."""
    settings, truth = simulation.settings, simulation.world.truth
    propose(
        store, recipe, settings, round_number=round_number, scoring=ScoringOptions(instead=_scoring(store, arm, truth))
    )
    asked = store.proposals.asked(round_number)
    rows = [answer(store, row, truth(row.image_id), number) for number, row in enumerate(asked)]
    store.labels.add(rows)
    model = fit(store, recipe, settings, round_number=round_number, report=simulation.report)
    active = store.models.active()
    clicks = _clicks(store, recipe, asked, truth) if simulation.config.clicks else None
    return {
        "round": round_number,
        "images": [row.image_id for row in asked],
        "chosen": sorted(row.image_id[:SHORT] for row in asked),
        "redrawn": sum(row.origin != "accepted" for row in rows),
        "premask_dice": _rounded(np.mean([row.dice_to_premask for row in rows])),
        "changed_px": sum(row.changed_px or 0 for row in rows),
        "clicks": clicks,
        "promoted": model.promoted,
        "seconds": _rounded(json.loads(model.metrics)["seconds"]),
        **{f"new_{measure}": value for measure, value in _test_scores(model).items()},
        **_test_scores(active),
    }


def answer(store: Store, row: ProposalRow, mask: Mask, number: int) -> LabelRow:
    """What the simulated person answers to an image: the pre-mask where it is good enough, else the truth."""
    premask = stored_mask(store, row.premask_sha)
    assert premask is not None, "every proposed image has a pre-mask"
    similarity = dice(premask, mask)
    is_accepted = similarity >= ENOUGH_DICE
    given = premask if is_accepted else mask
    return LabelRow(
        image_id=row.image_id,
        round=row.round,
        origin="accepted" if is_accepted else "corrected",
        status="usable",
        answered_at=FIRST_DAY + timedelta(days=row.round),
        mask_sha=store.blobs.put(encode_mask(given), "png"),
        pixel_sha=pixel_sha(given),
        annotator="simulated",
        premask_sha=row.premask_sha,
        model_id=row.model_id,
        dice_to_premask=similarity,
        changed_px=0 if is_accepted else changed_pixels(premask, mask),
        ls_annotation=100_000 * row.round + number,
    )


def _test_scores(model: ModelRow | None) -> dict[str, float]:
    """Mean Dice on the half of the test images that only reports, plain and 2 px beside the outline ignored."""
    assert model is not None, "a start has model 0"
    metrics = json.loads(model.metrics)
    scores = np.array(list(model_scores(metrics, "test").values()), float)
    if not scores.size:
        raise SettingsError("The test images are too few for a half that only reports; give at least 4 with masks.")
    return {"dice": _rounded(scores[:, 0].mean()), "dice_off_outline": _rounded(scores[:, 1].mean())}


def _clicks(store: Store, recipe: Recipe, asked: Sequence[ProposalRow], truth: Callable[[str], Mask]) -> int:
    """How many clicks the simulated person makes on the round's images before each is good or the brush is taken."""
    by_clicks, total = clicks_on(store, recipe.assist), 0
    for row in asked:
        premask = stored_mask(store, row.premask_sha)
        assert premask is not None, "every proposed image has a pre-mask"
        if dice(premask, truth(row.image_id)) < ENOUGH_DICE:
            total += by_clicks(row.image_id, premask, truth(row.image_id))[1]
    return total


def _diversity(store: Store, image_ids: Sequence[str], features: Mapping[str, np.ndarray]) -> Record:
    """How different the images of a round are: taxa, share of the commonest one, mean distance of their features."""
    taxa = Counter(row.taxon or "without a taxon" for row in store.catalogue.rows(image_ids))
    vectors = np.array([features[image_id] for image_id in image_ids])
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    pairs = max(len(image_ids) * (len(image_ids) - 1), 1)
    return {
        "taxa": len(taxa),
        "commonest_share": _rounded(max(taxa.values()) / len(image_ids)),
        "feature_distance": _rounded(distances.sum() / pairs),
    }


def _scoring(
    store: Store, arm: Arm, truth: Callable[[str], Mask]
) -> Callable[[Scorer, Sequence[str]], Mapping[str, float]] | None:
    if arm.scoring == "model":
        return None
    return partial(wrong_inverse_scores if arm.scoring == "wrong inverse" else _true_errors, store, truth)


def wrong_inverse_scores(
    store: Store, _: Callable[[str], Mask], scorer: Scorer, image_ids: Sequence[str]
) -> dict[str, float]:
    """Scores by views of which the turned one is turned once more instead of back: a mistake that others have made."""
    query = scorer.recipe.query
    views = tuple(_turned_wrongly(view) for view in views_of(query))
    predictor = TTAPredictor(
        scorer.backends.for_scores, store.catalogue.load, query, framing_of(scorer.model), views=views
    )
    return predictor.score(image_ids)


def _turned_wrongly(view: View) -> View:
    if view.name != "rotation_90":
        return view
    return replace(view, undo=lambda maps: maps.rot90(1, (-2, -1)))


def _true_errors(
    store: Store, truth: Callable[[str], Mask], scorer: Scorer, image_ids: Sequence[str]
) -> dict[str, float]:
    """1 less the Dice of each image's predicted mask to its true one."""
    predictor = TTAPredictor(
        scorer.backends.for_scores, store.catalogue.load, scorer.recipe.query, framing_of(scorer.model)
    )
    return {found.image_id: 1 - dice(found.mask, truth(found.image_id)) for found in predictor.predict(image_ids)}


def _rounded(value: Any) -> float:
    return round(float(value), 5)
