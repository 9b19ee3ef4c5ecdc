"""Masks of named recipes on real images, beside methods that cost nobody's time. Last line: JSON.

usage: quality.py [--data DIR] [--work DIR] [--pair zooscannet] [--recipes laptop] [--seeds 1] [--corrections 0,100]

A recipe is trained as model 0: on the source, the pool and no label of the target. One half of the validation set, by
hash, chooses epoch and post-processing; all figures are of the other half. With --corrections N, model 0 goes on with
N masks as a person's answers: of the pool, drawn at random, where its masks are known, else of the choosing half, and
the others then choose the post-processing. A training takes minutes to hours; with --work a run that was killed goes
on, and finished trainings are only looked up. --side-by-side N trains so many at a time, each in a process of its own.
--side, --zoom, --neighbours, --pool-weight, --epochs, --draws, --augmentation and --encoder change the recipes, and
then the JSON says so.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import cv2
import numpy as np
import typer
from _machine import machine
from _quality_pairs import PAIRS, Pair, PoolMasks, corrected_choosing_half, corrected_pool, rivals_of, store_of
from _real_data import needed

from plankseg.config import Recipe, RecipeName, Settings
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.metrics import bootstrap_interval, paired_bootstrap
from plankseg.pipeline.models.named_recipes import recipe_for
from plankseg.pipeline.models.rivals import FIXED
from plankseg.pipeline.models.standings import Scores, model_scores
from plankseg.pipeline.training.candidates import fit_candidate
from plankseg.pipeline.training.grid import Run
from plankseg.pipeline.training.train_and_register import Registration, Training, train_and_register
from plankseg.pipeline.training.training_set import training_set
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

OFF_AT_0 = ("largest_zoom", "pool_mask_weight")


@dataclass(frozen=True)
class Changes:
    """What is trained otherwise than the recipe says; another encoder starts from its ImageNet weights.

    A largest zoom of 0 means every image in one square, a weight of 0 that the pool's automatic masks are left out.
    """

    side_px: int | None = None
    largest_zoom: float | None = None
    neighbour_share: float | None = None
    pool_mask_weight: float | None = None
    epochs: int | None = None
    draws_per_epoch: int | None = None
    loader_workers: int | None = None
    augmentation: str | None = None
    encoder: str | None = None

    def of(self, recipe: Recipe, seed: int) -> Recipe:
        """The recipe with the changes and a seed; raises pydantic's ValidationError for impossible ones."""
        changed: dict[str, Any] = {name: value for name, value in asdict(self).items() if value is not None}
        encoder = changed.pop("encoder", recipe.network.encoder)
        changed = {name: None if name in OFF_AT_0 and value == 0 else value for name, value in changed.items()}
        changed["seed"] = seed
        training = type(recipe.training).model_validate(recipe.training.model_dump() | changed)
        network = recipe.network.model_copy(update={"encoder": encoder})
        return recipe.model_copy(update={"training": training, "network": network})


def figures_of(trainings: Sequence[Scores], against: Scores | None = None) -> dict[str, Any]:
    """Means over images of the mean over seeds, with 95 % bounds over the images; and paired with another method."""
    ids = sorted(trainings[0])
    plain, off_outline = (np.array([[scores[i][n] for i in ids] for scores in trainings], float) for n in (0, 1))
    rng = np.random.default_rng(0)
    figures = {
        "images": len(ids),
        "dice": float(plain.mean()),
        "dice_bounds": list(bootstrap_interval(plain.mean(axis=0), rng=rng)),
        "dice_off_outline": float(off_outline.mean()),
        "tenth_percentile": float(np.quantile(plain, 0.1, axis=1).mean()),
        "below_08": float((plain < 0.8).mean()),
        "dice_of_each_seed": plain.mean(axis=1).tolist(),
    }
    if against is not None:
        theirs = np.array([against[i][0] for i in ids], float)
        compared = paired_bootstrap(plain.mean(axis=0), theirs, rng=rng)
        figures |= {
            "less_fixed_threshold": list(compared),
            "share_better": float((plain > theirs).mean()),
            "share_worse": float((plain < theirs).mean()),
        }
    return {name: rounded(value) for name, value in figures.items()}


def rounded(value: Any) -> Any:
    """Floats with four digits, inside of lists and mappings too."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return {name: rounded(entry) for name, entry in value.items()} if isinstance(value, dict) else value


def report(epoch: EpochReport) -> None:
    """A line for each epoch, for those who wait."""
    print(f"  epoch {epoch.epoch}: {epoch.validation_dice:.4f}, {epoch.seconds:.0f} s", flush=True)


def fit_corrected(store: Store, start: ModelRow, recipe: Recipe, corrections: int, masks: PoolMasks | None) -> ModelRow:
    """Model 0 trained further on some masks by people as answers; looked up if it is there."""
    data, weight = training_set(store, recipe, 0), recipe.training.correction_weight
    if masks:
        data = corrected_pool(store, data, masks, corrections, weight)
    else:
        data = corrected_choosing_half(data, corrections, weight)
    training = Training.of_store(store, recipe, data, 1, start)
    finished = store.models.candidate(training.fingerprint)
    if finished is not None:
        return finished
    columns = {
        "promoted": False,
        "reason": f"{corrections} corrections",
        "experiment": "quality",
        "candidate": f"{corrections} corrections, seed {recipe.training.seed}",
        "fingerprint": training.fingerprint,
    }
    work_dir = store.work_dir(f"corrected-{training.fingerprint[:32]}")
    settings = Settings(store=str(store.root))
    return train_and_register(store, training, settings, Registration(work_dir, lambda *_: columns, report))


@dataclass(frozen=True)
class Plan:
    """What is trained with each recipe: what differs from the recipe, so many seeds, and numbers of corrections."""

    changes: Changes
    seeds: range
    corrections: tuple[int, ...]
    pool_masks: PoolMasks | None = None


def trained(store: Store, name: RecipeName, seed: int, plan: Plan) -> dict[int, ModelRow]:
    """The models of a recipe and a seed by how many corrections they learnt from; looked up if they are there."""
    print(f"{name}, seed {seed}", flush=True)
    recipe = plan.changes.of(recipe_for(store, name, Recipe()), seed)
    settings = Settings(store=str(store.root))
    start = fit_candidate(store, Run(f"{name} seed {seed}", recipe), settings, experiment="quality", report=report)
    return {
        count: fit_corrected(store, start, recipe, count, plan.pool_masks) if count else start
        for count in plan.corrections
    }


def measure(store: Store, name: RecipeName, plan: Plan) -> dict[str, Any]:
    """Train a recipe with several seeds, or look them up, and report on the half that chose nothing."""
    models = [trained(store, name, seed, plan) for seed in plan.seeds]
    recipe = plan.changes.of(recipe_for(store, name, Recipe()), 0)
    data, training = training_set(store, recipe, 0), recipe.training
    rivals = rivals_of(store, {e.image_id: data.labels[e.image_id] for e in data.test})
    found = {}
    for count in plan.corrections:
        metrics = [json.loads(of_seed[count].metrics) for of_seed in models]
        means = [record["measures"]["test"]["means"] for record in metrics]
        found[f"{name}, {count} masks by people" if count else name] = figures_of(
            [model_scores(record, "test") for record in metrics], rivals[FIXED]
        ) | {
            "boundary_f": [rounded(of_seed["boundary_f"]["mean"]) for of_seed in means],
            "trained_on": metrics[0]["examples"],
            "of_these_automatic_masks_of_the_pool": data.pool_masks,
            "of_these_corrections": count,
            "encoder": recipe.network.encoder,
            "side_px": training.side_px,
            "largest_zoom": training.largest_zoom,
            "neighbour_share": training.neighbour_share,
            "augmentation": training.augmentation,
            "epochs": training.epochs,
            "draws_per_epoch": training.draws_per_epoch,
            "minutes": [round(record["seconds"] / 60, 1) for record in metrics],
            "postprocessing": [record["postprocessing"] for record in metrics],
        }
    return found


def train_side_by_side(pairs: Sequence[str], names: Sequence[str], seeds: range, work: Path, at_a_time: int) -> None:
    """Train every recipe and seed of every pair in a process of its own, which is this program for that one alone.

    Raises CalledProcessError for a training that failed, when the others have ended.
    """
    jobs = [(pair, name, seed) for pair in pairs for name in names for seed in seeds]

    def run(job: tuple[str, str, int]) -> None:
        pair, name, seed = job
        alone = ["--pair", pair, "--recipes", name, "--only-seed", str(seed), "--side-by-side", "1"]
        command = [sys.executable, __file__, *sys.argv[1:], "--work", str(work), *alone]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(run, jobs))


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the real data.", envvar="PLANKSEG_REAL_DATA")] = None,
    work: Annotated[Path | None, typer.Option(help="Where stores are kept, so that a later run goes on.")] = None,
    pair: Annotated[str, typer.Option(help=f"One or several of {', '.join(PAIRS)}, with commas.")] = "zooscannet",
    recipes: Annotated[str, typer.Option(help="Names of recipes, with commas; 'none': the rivals alone.")] = "laptop",
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    only_seed: Annotated[int | None, typer.Option(min=0, help="Train this seed alone.")] = None,
    side: Annotated[int | None, typer.Option(help="Instead of the recipe's side in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    draws: Annotated[int | None, typer.Option(help="Draws per epoch, instead of the recipe's.")] = None,
    zoom: Annotated[float | None, typer.Option(help="Largest zoom, instead of the recipe's; 0: one square.")] = None,
    neighbours: Annotated[float | None, typer.Option(help="Neighbour share, instead of the recipe's.")] = None,
    pool_weight: Annotated[float | None, typer.Option(help="Of the pool's automatic masks; 0: none of them.")] = None,
    augmentation: Annotated[str | None, typer.Option(help="Composition, instead of the recipe's.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Instead of the recipe's.")] = None,
    loaders: Annotated[int | None, typer.Option(min=0, help="Loader processes of a training.")] = None,
    corrections: Annotated[str, typer.Option(help="Numbers of masks by people, with commas.")] = "0",
    side_by_side: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
) -> None:
    """Measure and print; the last line is the JSON of all that was asked for."""
    cv2.setNumThreads(0)
    data = needed(data)
    names, pairs = [name for name in recipes.split(",") if name != "none"], pair.split(",")
    if unknown := (set(names) - set(get_args(RecipeName))) | (set(pairs) - PAIRS.keys()):
        raise typer.BadParameter(f"{sorted(unknown)} is not known: recipes {get_args(RecipeName)}, pairs {[*PAIRS]}")
    changes = Changes(side, zoom, neighbours, pool_weight, epochs, draws, loaders, augmentation, encoder)
    counts = tuple(int(count) for count in corrections.split(","))
    chosen = range(seeds) if only_seed is None else range(only_seed, only_seed + 1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        stores = {name: store_of(PAIRS[name], data, folder / name) for name in pairs}
        if side_by_side > 1:
            train_side_by_side(pairs, names, chosen, folder, side_by_side)
        for pair_name, store in stores.items():
            found[pair_name] = rival_figures(store)
            print(json.dumps(found[pair_name]), flush=True)
            plan = Plan(changes, chosen, counts, pool_masks_of(PAIRS[pair_name], data))
            for name in names:
                found[pair_name] |= measure(store, name, plan)  # type: ignore[arg-type]
    print(json.dumps(found | machine()))


def rival_figures(store: Store) -> dict[str, Any]:
    """The conventional methods' figures on the half that only reports."""
    data = training_set(store, Recipe(), 0)
    labels = {example.image_id: data.labels[example.image_id] for example in data.test}
    return {name: figures_of([scores]) for name, scores in rivals_of(store, labels).items()}


def pool_masks_of(pair: Pair, data: Path) -> PoolMasks | None:
    """Masks of the pool by people, if there are any."""
    return PoolMasks(data / pair.pool, data / pair.pool_masks) if pair.pool and pair.pool_masks else None


if __name__ == "__main__":
    typer.run(main)
