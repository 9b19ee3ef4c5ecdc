"""Images, true masks and pre-masks of `assisting.py`: the pre-masks are of networks that never saw those images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plankseg.config import Recipe, TrainingConfig
from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.postprocessing import choose_postprocessing
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.forward import Predictor
from plankseg.learning.trainer import Example, Execution, Source, TrainingTask, train
from plankseg.pipeline.models.named_recipes import LITE, ON_SCANS
from plankseg.stable_hash import stable_hash

SUFFIXES = (".png", ".jpg", ".jpeg")
EPOCHS, DRAWS = 3, 512
HELD_OUT = 24
"""Training images that only choose nothing: the trainer wants a validation set."""


@dataclass(frozen=True)
class Folders:
    """Images and masks below the data's folder: what a network learns from, and what it is judged on."""

    learnt: tuple[str, str]
    judged: tuple[str, str]


FOLDERS = {
    "nuclei": Folders(
        learnt=("nuclei-dsb2018/source/images", "nuclei-dsb2018/source/masks"),
        judged=("nuclei-dsb2018/test/images", "nuclei-dsb2018/test/masks"),
    ),
    "wbc": Folders(
        learnt=("wbc-two-domain/domain_a_clean/images", "wbc-two-domain/domain_a_clean/masks"),
        judged=("wbc-two-domain/domain_b_noisy/images", "wbc-two-domain/domain_b_noisy/masks"),
    ),
    "zooscannet": Folders(
        learnt=("scancol24-zooplankton/images", "scancol24-zooplankton/masks_conventional"),
        judged=("zooscannet-sample/imgs", "zooscannet-masks/masks"),
    ),
}
SYNTHETIC = "synthetic"
SYNTHETIC_LEARNT, SYNTHETIC_JUDGED = range(300), range(1_000_000, 1_000_100)
DATASETS = (*FOLDERS, SYNTHETIC)


@dataclass(frozen=True)
class Case:
    """One image that a person corrects: image and true mask, and a network's probability and pre-mask."""

    name: str
    image: Grey
    truth: Mask
    probability: np.ndarray
    mask: Mask

    @property
    def reports(self) -> bool:
        """Whether it is of the half that only reports; the methods' numbers were chosen on the other half."""
        return _reports(self.name)


Pairs = dict[str, tuple[Grey, Mask]]


def cases_of(dataset: str, data: Path, work: Path, *, images: int | None = None) -> list[Case]:
    """The images of a data set with their pre-masks, by a hash of their names, at most `images` of each half.

    As in a store, masks of the target choose the network's post-processing: those of the half that does not report.
    The network is trained at the first call, minutes; what is in `work` is not computed again.
    """
    judged = _pairs(dataset, data, "judged")
    file = work / f"{dataset}.npz"
    if not file.is_file():
        names = sorted(judged)
        maps = _probabilities(_pairs(dataset, data, "learnt"), [judged[name][0] for name in names], work / dataset)
        work.mkdir(parents=True, exist_ok=True)
        packed = {name: (values * 255).round().astype(np.uint8) for name, values in zip(names, maps, strict=True)}
        np.savez_compressed(file, **packed)
    with np.load(file) as kept:
        probabilities = {name: kept[name].astype(np.float32) / 255 for name in kept.files}
    names = sorted(probabilities, key=lambda name: stable_hash("order", name))
    halves = [[name for name in names if _reports(name) == reports] for reports in (False, True)]
    choosing = halves[0]
    shown = choose_postprocessing(
        [probabilities[name] for name in choosing], None, [judged[name][1] for name in choosing]
    )
    print(f"{dataset}: {shown}", flush=True)
    return [
        Case(name, *judged[name], probabilities[name], shown.mask_of(probabilities[name]))
        for half in halves
        for name in half[:images]
    ]


def _reports(name: str) -> bool:
    return stable_hash("assisting", name)[0] % 2 == 1


def _pairs(dataset: str, data: Path, part: str) -> Pairs:
    if dataset == SYNTHETIC:
        domain, seeds = ("clean", SYNTHETIC_LEARNT) if part == "learnt" else ("noisy", SYNTHETIC_JUDGED)
        samples = ((seed, draw_sample(domain, seed, max_side_px=300)) for seed in seeds)  # type: ignore[arg-type]
        return {f"{domain}-{seed}": (read_grey(sample.jpeg), sample.mask) for seed, sample in samples}
    images, masks = getattr(FOLDERS[dataset], part)
    return dict(_read(data / images, data / masks))


def _read(images: Path, masks: Path) -> Iterator[tuple[str, tuple[Grey, Mask]]]:
    for file in sorted(masks.rglob("*.png")):
        name = str(file.relative_to(masks)).removesuffix(".png")
        found = (images / f"{name}{suffix}" for suffix in SUFFIXES)
        image = next(path for path in found if path.is_file())
        yield name, (read_grey(image.read_bytes()), decode_mask(file.read_bytes()))


def _probabilities(learnt: Pairs, greys: list[Grey], work: Path) -> list[np.ndarray]:
    """A small network trained on the pairs, as a store's first one would be, and its answers."""
    training = ON_SCANS.model_dump() | {"side_px": 320, "epochs": EPOCHS, "draws_per_epoch": DRAWS}
    recipe = Recipe(network=LITE, training=TrainingConfig.model_validate(training))
    examples = [Example(name, 1.0) for name in sorted(learnt, key=lambda name: stable_hash("held out", name))]
    source = Source(lambda name: learnt[name][0], lambda name: learnt[name][1])
    task = TrainingTask(examples[HELD_OUT:], examples[:HELD_OUT], source, recipe, 1)
    model = train(task, Execution(work, "cpu"), report=lambda epoch: print(f"  {epoch}", flush=True))
    network = build_network(recipe.network, weights=model.weights)
    return Predictor(network, torch.device("cpu"), forward_batch=4).predict(greys, model.framing)
