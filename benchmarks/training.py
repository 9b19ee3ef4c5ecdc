"""Speed of a training by channels_last, bf16 and grey transforms, and the loader's cost. Last line: JSON.

usage: training.py [--only augmentation,step,loader,dice]      (all four take about four minutes on two quiet cores)

Each figure compares us with a rival in turn, in one process. Steps and augmentations are timed in one thread by the
process's own CPU time, which a busy machine does not lengthen; the share of the loader is wall time with two workers.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median

import albumentations
import cv2
import numpy as np
import torch
import typer
from _machine import machine

from plankseg.config import NetworkConfig, Recipe, TrainingConfig
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.synthetic.generator import Domain, draw_sample
from plankseg.learning.augmentation.compositions import Composition, Step, declared_steps
from plankseg.learning.dataset import Example, Source, TrainingSquares
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.precision import autocast, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor
from plankseg.learning.network.torchvision_compat import smp
from plankseg.learning.process_rank import SINGLE_PROCESS
from plankseg.learning.sampler import WeightedDraws
from plankseg.learning.trainer import Execution, TrainingTask, _loader, train

AT_LEAST = {"specialized_ratio": 3.0, "step_fp32_ratio": 1.15, "step_bf16_ratio": 2.0}
AT_MOST = {"loader_wait_share": 0.05, "loader_cpu_share": 0.05}
SIDE = 256
CPU = torch.device("cpu")
NETWORK = NetworkConfig(encoder="resnet34", encoder_weights="none")


def squares_of(domain: Domain, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic images and masks in squares of 256 px."""
    samples = [draw_sample(domain, seed) for seed in range(count)]
    boxes = [Letterbox.of(sample.grey.shape, SIDE) for sample in samples]
    greys = [box.apply(sample.grey) for box, sample in zip(boxes, samples, strict=True)]
    masks = [box.apply_mask(sample.mask) for box, sample in zip(boxes, samples, strict=True)]
    return np.stack(greys), np.stack(masks)


def medians_in_turn(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, one after the other in every round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if number:
                seconds[name].append(time.process_time() - started)
    return {name: median(values) for name, values in seconds.items()}


class Stock:
    """The same steps by albumentations' own transforms: grey repeated in three channels, references as arrays."""

    def __init__(self, steps: tuple[Step, ...], references: np.ndarray) -> None:
        self._compose = albumentations.Compose(
            [getattr(albumentations, step.transform)(**step.parameters) for step in steps]
        )
        self._colour = [np.dstack([reference] * 3) for reference in references]

    def __call__(self, square: np.ndarray, mask: np.ndarray, *, seed: int) -> np.ndarray:
        """The square varied, in three channels."""
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self._compose(
            image=np.dstack([square] * 3), mask=mask.view(np.uint8), fda_metadata=self._colour, hm_metadata=self._colour
        )["image"]


def measure_augmentation() -> dict[str, float]:
    """CPU milliseconds an image, and ratios to stock: `specialized` as it is, and its costly steps always applied."""
    (squares, masks), (references, _) = squares_of("clean", 40), squares_of("noisy", 64)
    figures = {}
    for name, steps, rounds in (
        ("specialized", declared_steps("specialized"), 5),
        *((step.transform, (_always(step),), 1) for step in declared_steps("specialized")[-7:] if _is_ours(step)),
    ):
        ours, stock = Composition(steps, SIDE, references), Stock(steps, references)

        def vary(composition: Composition | Stock) -> None:
            for seed, (square, mask) in enumerate(zip(squares, masks, strict=True)):
                composition(square, mask, seed=seed)

        found = medians_in_turn({"ours": lambda: vary(ours), "stock": lambda: vary(stock)}, rounds)  # noqa: B023
        figures[f"{name.lower()}_ms"] = 1e3 * found["ours"] / len(squares)
        figures[f"{name.lower()}_stock_ms"] = 1e3 * found["stock"] / len(squares)
        figures[f"{name.lower()}_ratio"] = found["stock"] / found["ours"]
    return figures


def _is_ours(step: Step) -> bool:
    return step.transform in {"FDA", "HistogramMatching", "ISONoise"}


def _always(step: Step) -> Step:
    return Step(step.transform, {**step.parameters, "p": 1.0})


class Training:
    """Steps of the recipe's network; the rival is plain: contiguous, fp32."""

    def __init__(self, *, plain: bool = False, bf16: bool = False) -> None:
        torch.manual_seed(0)
        network = build_network(NETWORK)
        self.network = network.to(memory_format=torch.contiguous_format) if plain else network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=3e-4)
        self.loss = smp.losses.TverskyLoss("binary", alpha=0.7, beta=0.3)
        self.precision = "bf16" if bf16 else "fp32"

    def step(self, images: torch.Tensor, masks: torch.Tensor) -> None:
        """One training step."""
        with autocast(self.precision, CPU):
            logits = self.network(images)
        self.loss(logits.float(), masks).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure_step() -> dict[str, float]:
    """CPU seconds of a training step of four images, and how many times faster than plain eager fp32."""
    torch.set_num_threads(1)
    squares, masks = squares_of("clean", 4)
    images, targets = batch_tensor(squares), torch.from_numpy(masks).float().unsqueeze(1)
    kinds = {"plain": Training(plain=True), "fp32": Training()}
    if uses_bf16("auto", CPU):
        kinds["bf16"] = Training(bf16=True)
    works = {name: (lambda kind=kind: kind.step(images, targets)) for name, kind in kinds.items()}
    found = medians_in_turn(works, 4)
    figures = {f"step_{name}_s": seconds for name, seconds in found.items()}
    return figures | {f"step_{name}_ratio": found["plain"] / found[name] for name in found if name != "plain"}


def measure_loader() -> dict[str, float]:
    """Which part of an epoch the main process waits for squares, and which part of all CPU time making them takes."""
    torch.set_num_threads(2)
    (squares, masks), (references, _) = squares_of("clean", 32), squares_of("noisy", 64)
    examples = [Example(str(number), 1.0) for number in range(len(squares))]
    source = Source(lambda name: squares[int(name)], lambda name: masks[int(name)])
    composition = Composition(declared_steps("specialized"), SIDE, references)
    dataset = TrainingSquares(
        examples, source, framing=Framing(composition.side_px), compositions={composition.side_px: composition}
    )
    draws = WeightedDraws([1.0] * len(examples), draws=80, seed=0)
    recipe = Recipe(training=TrainingConfig(side_px=SIDE, loader_workers=2))
    kind = Training(bf16=uses_bf16("auto", CPU))
    waits, steps, cpu = [], [], []
    batches = iter(_loader(dataset, draws, recipe, SINGLE_PROCESS, 1))
    for _ in range(len(draws) // recipe.training.batch_size):
        started = time.perf_counter()
        images, targets = next(batches)
        waits.append(time.perf_counter() - started)
        began = time.process_time()
        kind.step(images, targets)
        cpu.append(time.process_time() - began)
        steps.append(time.perf_counter() - started - waits[-1])
    making = time.process_time()
    for draw in draws:
        dataset[draw]
    made = (time.process_time() - making) / len(draws) * recipe.training.batch_size
    waited, stepped = sum(waits[1:]), sum(steps[1:])  # the first batch waits for the workers' start
    return {
        "loader_first_batch_s": waits[0],
        "loader_wait_share": waited / (waited + stepped),
        "loader_cpu_share": made / (made + median(cpu)),
        "loader_ms_an_image": 1e3 * made / recipe.training.batch_size,
    }


def measure_dice() -> dict[str, float]:
    """Validation Dice of small trainings in bf16 less those in fp32, the same three seeds."""
    if not uses_bf16("auto", CPU):
        return {}
    torch.set_num_threads(1)  # threads gain nothing on so small squares
    samples = {str(seed): draw_sample("clean", seed, max_side_px=120) for seed in range(50)}
    examples = [Example(name, 1.0) for name in samples]

    def dice(seed: int, precision: str) -> float:
        training = TrainingConfig(
            side_px=64,
            epochs=14,
            batch_size=8,
            learning_rate=1e-3,
            augmentation="basic",
            loader_workers=0,
            precision=precision,
            seed=seed,
        )
        recipe = Recipe(network=NetworkConfig(encoder="resnet18", encoder_weights="none"), training=training)
        with tempfile.TemporaryDirectory() as folder:
            source = Source(lambda name: samples[name].grey, lambda name: samples[name].mask)
            task = TrainingTask(examples[:35], examples[35:], source, recipe, round_number=0)
            model = train(task, Execution(Path(folder), "cpu"))
        return model.scores.mean_dice

    found = {precision: [dice(seed, precision) for seed in range(3)] for precision in ("fp32", "bf16")}
    differences = [ours - theirs for ours, theirs in zip(found["bf16"], found["fp32"], strict=True)]
    figures = {f"dice_{precision}": fmean(values) for precision, values in found.items()}
    figures |= {f"dice_bf16_less_fp32_seed_{seed}": value for seed, value in enumerate(differences)}
    return figures | {"dice_bf16_less_fp32": fmean(differences)}


MEASURES = {
    "augmentation": measure_augmentation,
    "step": measure_step,
    "loader": measure_loader,
    "dice": measure_dice,
}


def main(only: str = "augmentation,step,loader,dice") -> None:
    """Measure, print, and exit 0 only if every bound that was looked at holds."""
    cv2.setNumThreads(0)
    figures: dict[str, float] = {}
    for name in only.split(","):
        figures |= MEASURES[name]()
    bounds = {name: f">= {bound}" for name, bound in AT_LEAST.items() if name in figures}
    bounds |= {name: f"<= {bound}" for name, bound in AT_MOST.items() if name in figures}
    ok = all(figures[name] >= AT_LEAST[name] for name in AT_LEAST if name in figures)
    ok = ok and all(figures[name] <= AT_MOST[name] for name in AT_MOST if name in figures)
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"figures": rounded, "bounds": bounds, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
