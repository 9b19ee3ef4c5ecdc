"""Masks of named recipes on real images, beside methods that cost nobody's time. Last line: JSON.

usage: quality.py [--data DIR] [--work DIR] [--pair zooscannet] [--recipes laptop] [--seeds 3] [--corrections 0]

A recipe is trained as model 0: on the source, the pool and no label of the target. One half of the validation set, by
hash, chooses epoch and post-processing; all figures are of the other half. With --corrections N, model 0 goes on with
N masks as a person's answers: of the pool, drawn at random, where its masks are known, else of the choosing half, and
the others then choose the post-processing. A training takes minutes to hours; with --work a run that was killed goes
on, and finished trainings are only looked up. --side, --zoom, --neighbours, --pool-weight, --epochs and --draws
change the recipes, and then the JSON says so.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import cv2
import numpy as np
import typer
from _machine import machine

from plankseg.config import Recipe, RecipeName, Settings
from plankseg.imaging.mask_metrics import dice_off_outline
from plankseg.imaging.masks import dice, encode_mask, pixel_sha
from plankseg.imaging.threshold import otsu_mask
from plankseg.learning.checkpoints import EpochReport
from plankseg.learning.dataset import Example
from plankseg.learning.metrics import bootstrap_interval, paired_bootstrap
from plankseg.pipeline.archive.image_paths import relative_paths
from plankseg.pipeline.ingest.register_images import IngestOptions, ingest_folder
from plankseg.pipeline.models.named_recipes import recipe_for
from plankseg.pipeline.models.rivals import FIXED, rival_scores
from plankseg.pipeline.models.standings import Scores, model_scores
from plankseg.pipeline.training.candidates import fit_candidate
from plankseg.pipeline.training.grid import Run
from plankseg.pipeline.training.train_and_register import Registration, Training, train_and_register
from plankseg.pipeline.training.training_set import TrainingSet, mask_loader, training_set
from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow

OTSU = "Otsu"
DATA = Path("../shared/data")


@dataclass(frozen=True)
class Pair:
    """A clean source and a target, as folders below that of the data; `judged` are images whose masks people made.

    `pool_masks` are masks of the pool by people, that nothing is trained on but corrections.
    """

    source: str
    pool: str | None
    judged: str
    masks: str
    pool_masks: str | None = None


PAIRS = {
    "zooscannet": Pair(
        source="scancol24-zooplankton/images",
        pool="zooscannet-sample/imgs",
        judged="zooscannet-sample/imgs",
        masks="zooscannet-masks/masks",
    ),
    "wbc": Pair(
        source="wbc-two-domain/domain_a_clean/images",
        pool=None,
        judged="wbc-two-domain/domain_b_noisy/images",
        masks="wbc-two-domain/domain_b_noisy/masks",
    ),
    "nuclei": Pair(
        source="nuclei-dsb2018/source/images",
        pool="nuclei-dsb2018/pool/images",
        judged="nuclei-dsb2018/test/images",
        masks="nuclei-dsb2018/test/masks",
        pool_masks="nuclei-dsb2018/pool/masks",
    ),
}


OFF_AT_0 = ("largest_zoom", "pool_mask_weight")


@dataclass(frozen=True)
class Changes:
    """What is trained otherwise than the recipe says.

    A largest zoom of 0 means every image in one square, a weight of 0 that the pool's automatic masks are left out.
    """

    side_px: int | None = None
    largest_zoom: float | None = None
    neighbour_share: float | None = None
    pool_mask_weight: float | None = None
    epochs: int | None = None
    draws_per_epoch: int | None = None

    def of(self, recipe: Recipe, seed: int) -> Recipe:
        """The recipe with the changes and a seed; raises pydantic's ValidationError for impossible ones."""
        changed: dict[str, Any] = {name: value for name, value in asdict(self).items() if value is not None}
        changed = {name: None if name in OFF_AT_0 and value == 0 else value for name, value in changed.items()}
        changed["seed"] = seed
        training = type(recipe.training).model_validate(recipe.training.model_dump() | changed)
        return recipe.model_copy(update={"training": training})


def store_of(pair: Pair, data: Path, folder: Path) -> Store:
    """A store with the pair's images; what is there already is not read again.

    The judged images come first, so that the pool is without them; those without a mask are left out of validation.
    """
    store = Store.open(folder)
    ingest_folder(store, data / pair.judged, role="validation", options=IngestOptions(masks=data / pair.masks))
    ingest_folder(store, data / pair.source, role="source", options=IngestOptions(outline="local contrast"))
    if pair.pool:
        ingest_folder(store, data / pair.pool, role="pool", options=IngestOptions(automatic_masks=True))
    return store


def rivals_of(store: Store, labels: dict[str, LabelRow]) -> dict[str, Scores]:
    """The conventional methods on the images that only report."""
    load_mask = mask_loader(store, labels)
    otsu = {}
    for image_id in labels:
        mask, truth = otsu_mask(store.catalogue.load(image_id)), load_mask(image_id)
        otsu[image_id] = [dice(mask, truth), dice_off_outline(mask, truth)]
    return {**rival_scores(store, labels, load_mask), OTSU: otsu}


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
    return rounded(figures)


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


def corrected_choosing_half(data: TrainingSet, count: int, weight: float) -> TrainingSet:
    """The training set with some images of the choosing half as answers, which then no longer choose."""
    ids = [example.image_id for example in data.validation]
    answered = set(sorted(ids, key=lambda image_id: stable_hash("corrections", image_id))[:count])
    return replace(
        data,
        examples=(*data.examples, *(Example(i, weight, is_correction=True) for i in sorted(answered))),
        validation=tuple(example for example in data.validation if example.image_id not in answered),
    )


def corrected_pool(store: Store, data: TrainingSet, masks: Path, count: int, weight: float) -> TrainingSet:
    """The training set with images of the pool, drawn at random, as answers; the masks lie below `masks`."""
    usable = set(store.catalogue.ids("pool")) - data.left_out
    answered = sorted(usable, key=lambda image_id: stable_hash("corrections", image_id))[:count]
    labels = {}
    for image_id, path in relative_paths(store, store.catalogue.rows(answered)).items():
        mask = cv2.imread(str(masks / path), cv2.IMREAD_GRAYSCALE) > 127
        sha = store.blobs.put(encode_mask(mask), "png")
        given = LabelRow(image_id, 0, "given", "usable", datetime.now(UTC), mask_sha=sha, pixel_sha=pixel_sha(mask))
        labels[image_id] = given
    kept = tuple(example for example in data.examples if example.image_id not in labels)
    corrections = tuple(Example(i, weight, is_correction=True) for i in sorted(labels))
    return replace(data, examples=(*kept, *corrections), labels={**data.labels, **labels})


def fit_corrected(store: Store, start: ModelRow, recipe: Recipe, corrections: int, masks: Path | None) -> ModelRow:
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
    """What is trained with each recipe: so many seeds, what differs from the recipe, so many corrections."""

    seeds: int
    changes: Changes
    corrections: int
    pool_masks: Path | None = None


def measure(store: Store, name: RecipeName, plan: Plan) -> dict[str, Any]:
    """Train a recipe with several seeds, or look them up, and report on the half that chose nothing."""
    changes, corrections = plan.changes, plan.corrections
    rows = []
    base = recipe_for(store, name, Recipe())
    for seed in range(plan.seeds):
        print(f"{name}, seed {seed}", flush=True)
        recipe = changes.of(base, seed)
        settings = Settings(store=str(store.root))
        row = fit_candidate(store, Run(f"{name} seed {seed}", recipe), settings, experiment="quality", report=report)
        rows.append(fit_corrected(store, row, recipe, corrections, plan.pool_masks) if corrections else row)
    metrics = [json.loads(row.metrics) for row in rows]
    data = training_set(store, changes.of(base, 0), 0)
    rivals = rivals_of(store, {e.image_id: data.labels[e.image_id] for e in data.test})
    training = changes.of(base, 0).training
    return figures_of([model_scores(record, "test") for record in metrics], rivals[FIXED]) | {
        "boundary_f": [rounded(record["measures"]["test"]["means"]["boundary_f"]["mean"]) for record in metrics],
        "trained_on": metrics[0]["examples"],
        "of_these_automatic_masks_of_the_pool": data.pool_masks,
        "of_these_corrections": corrections,
        "side_px": training.side_px,
        "largest_zoom": training.largest_zoom,
        "neighbour_share": training.neighbour_share,
        "epochs": training.epochs,
        "draws_per_epoch": training.draws_per_epoch,
        "minutes": [round(record["seconds"] / 60, 1) for record in metrics],
        "postprocessing": [record["postprocessing"] for record in metrics],
    }


def main(
    data: Annotated[Path, typer.Option(help="Folder of the real data.", envvar="PLANKSEG_REAL_DATA")] = DATA,
    work: Annotated[Path | None, typer.Option(help="Where stores are kept, so that a later run goes on.")] = None,
    pair: Annotated[str, typer.Option(help=f"One or several of {', '.join(PAIRS)}, with commas.")] = "zooscannet",
    recipes: Annotated[str, typer.Option(help="Names of recipes, with commas; 'none': the rivals alone.")] = "laptop",
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    side: Annotated[int | None, typer.Option(help="Instead of the recipe's side in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    draws: Annotated[int | None, typer.Option(help="Draws per epoch, instead of the recipe's.")] = None,
    zoom: Annotated[float | None, typer.Option(help="Largest zoom, instead of the recipe's; 0: one square.")] = None,
    neighbours: Annotated[float | None, typer.Option(help="Neighbour share, instead of the recipe's.")] = None,
    pool_weight: Annotated[float | None, typer.Option(help="Of the pool's automatic masks; 0: none of them.")] = None,
    corrections: Annotated[int, typer.Option(min=0, help="Masks by people that are trained on too.")] = 0,
) -> None:
    """Measure and print; the last line is the JSON of all that was asked for."""
    cv2.setNumThreads(0)
    names = [name for name in recipes.split(",") if name != "none"]
    if unknown := (set(names) - set(get_args(RecipeName))) | (set(pair.split(",")) - PAIRS.keys()):
        raise typer.BadParameter(f"{sorted(unknown)} is not known: recipes {get_args(RecipeName)}, pairs {[*PAIRS]}")
    changes = Changes(side, zoom, neighbours, pool_weight, epochs, draws)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for pair_name in pair.split(","):
            store = store_of(PAIRS[pair_name], data, (work or Path(temporary)) / pair_name)
            rows = training_set(store, Recipe(), 0)
            labels = {example.image_id: rows.labels[example.image_id] for example in rows.test}
            found[pair_name] = {name: figures_of([scores]) for name, scores in rivals_of(store, labels).items()}
            print(json.dumps(found[pair_name]), flush=True)
            pool_masks = PAIRS[pair_name].pool_masks
            plan = Plan(seeds, changes, corrections, data / pool_masks if pool_masks else None)
            found[pair_name] |= {name: measure(store, name, plan) for name in names}  # type: ignore[arg-type]
    print(json.dumps(found | machine()))


if __name__ == "__main__":
    typer.run(main)
