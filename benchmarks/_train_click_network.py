"""Train the click network on drawn scenes and write its weights; no real image is needed. Last line: JSON.

usage: _train_click_network.py OUT.safetensors [--steps 1800] [--rate 0.003] [--start IN.safetensors] [--seed 0]
    [--device cuda --drawers 8] [--batch 32] [--widths 16,32,48,64]

A step of 32 lessons costs 0.3 s of one core; with --drawers so many processes draw the scenes.
OUT is written every 500 steps, so a run that was cut short is not lost: go on with --start OUT.
Weights of a narrower network are widened. The installed weights
(plankseg/interactive/click_network.safetensors) are such a file, in half precision;
docs/assistant.md says how they were trained.
"""

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from plankseg.interactive.click_network import WIDTHS, ClickNetwork, widened, widths_of
from plankseg.interactive.click_training import (
    Batch,
    ClickTraining,
    draw_batch,
    endless_lessons,
    train_click_network,
)


class DrawnBatches(IterableDataset[Batch]):  # type: ignore[misc]
    """Endless batches; each loader process has scenes of its own."""

    def __init__(self, seed: int, size: int) -> None:
        self._seed, self._size = seed, size

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        lessons = endless_lessons(np.random.default_rng([self._seed, 1 + worker.id if worker else 0]))
        while True:
            yield draw_batch(lessons, self._size)


def write(network: ClickNetwork, out: Path) -> None:
    """Its weights in half precision, as they are installed; a file is whole or not there."""
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    partial = out.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in halved.items()}, partial)
    partial.replace(out)


def main(
    out: Path,
    steps: int = 1800,
    rate: float = 3e-3,
    seed: int = 0,
    batch: int = 32,
    device: str = "cpu",
    drawers: int = 0,
    widths: Annotated[str, typer.Option(help="Channels of the four levels.")] = ",".join(map(str, WIDTHS)),
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
) -> None:
    """Train, write and print."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    wanted = tuple(int(width) for width in widths.split(","))
    network = ClickNetwork(wanted)
    if start is not None:
        kept = {name: tensor.float() for name, tensor in load_file(start).items()}
        network = ClickNetwork(widths_of(kept))
        network.load_state_dict(kept)
        network = network if network.widths == wanted else widened(network, wanted)
    started, last = time.perf_counter(), 0.0

    def report(step: int, loss: float) -> None:
        nonlocal last
        last = loss
        print(f"  step {step}: {loss:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
        if step % 500 == 0:
            write(network, out)

    training = ClickTraining(steps=steps, batch_size=batch, learning_rate=rate, seed=seed)
    loader = DataLoader(
        DrawnBatches(seed, batch), batch_size=None, num_workers=drawers, prefetch_factor=8 if drawers else None
    )
    batches = islice(loader, steps) if drawers else None
    write(train_click_network(training, start=network, batches=batches, device=device, report=report), out)
    print(json.dumps({"steps": steps, "loss": round(last, 4), "seconds": round(time.perf_counter() - started)}))


if __name__ == "__main__":
    typer.run(main)
