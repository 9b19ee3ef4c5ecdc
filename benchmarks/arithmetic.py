"""Images per second of `segment` here with the published recipe, and the time an archive takes at that.

usage: arithmetic.py [--images 48] [--repeats 3]      Last line: one JSON object.
Its rival, in turn in the same run, is the network alone on ready squares: reading, letterboxing, measuring and writing
are to cost little beside it, in seconds of processors. `core_hours` are for 1.4 million images.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import typer
from _machine import machine
from scaling import make_model

from plankseg.config import Part, Recipe, SegmentConfig
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.inference.backends import Backend, plain_backend
from plankseg.learning.network.architecture import build_network, choose_device
from plankseg.learning.network.precision import uses_bf16
from plankseg.pipeline.archive.segment import segment_shard
from plankseg.pipeline.archive.shards import plan
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store

ARCHIVE = 1_400_000
BOUNDS = {"five_views_of_forward": 0.8}
VIEWS = {"five_views": "recipe", "one_view": "none"}
BATCH = 30  # squares in a forward pass, as `segment` has with five views


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of processors: only these mean anything beside other work."""

    wall: float
    cpu: float


def spent_on(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def forward(backend: Backend, side_px: int, squares: int) -> None:
    """The network alone, on so many squares."""
    ready = torch.randint(0, 255, (BATCH, side_px, side_px), dtype=torch.uint8)
    for start in range(0, squares, BATCH):
        backend.logits(ready[: squares - start])


def main(images: int = 48, repeats: int = 3) -> None:
    """Measure, print, and exit 0 only if the bound holds."""
    recipe = Recipe(network=Recipe().network.model_copy(update={"encoder_weights": "none"}))
    spent: dict[str, list[Spent]] = {name: [] for name in ("forward", *VIEWS)}
    with tempfile.TemporaryDirectory() as folder:
        pool = write_domains(Path(folder) / "images", source=0, pool=images * (repeats + 1), validation=0).pool
        store = Store.open(Path(folder) / "store")
        ingest_folder(store, pool, role="pool")
        model = make_model(store, recipe)
        network = build_network(recipe.network, weights=store.models.weights(model.model_id))
        backend = plain_backend(network, choose_device("cpu"), recipe.training.precision)
        for _ in range(repeats + 1):
            spent["forward"].append(spent_on(lambda: forward(backend, model.side_px, 5 * images)))
            for name, views in VIEWS.items():
                job = plan(store, Part(), SegmentConfig(shard_size=images, views=views), model)
                spent[name].append(spent_on(lambda job=job: segment_shard(store, job.todo[0], device="cpu")))
    wall = {name: median(run.wall for run in some[1:]) / images for name, some in spent.items()}  # the first warms up
    cpu = {name: median(run.cpu for run in some[1:]) / images for name, some in spent.items()}
    figures = {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "precision": "bf16" if uses_bf16(recipe.training.precision, choose_device("cpu")) else "fp32",
        "images_per_s": {name: round(1 / each, 2) for name, each in wall.items()},
        "cpu_s_per_image": {name: round(each, 3) for name, each in cpu.items()},
        "core_hours": {name: round(ARCHIVE * cpu[name] / 3600) for name in VIEWS},
        "five_views_of_forward": round(cpu["forward"] / cpu["five_views"], 2),
        "load": round(os.getloadavg()[0], 1),
    }
    ok = figures["five_views_of_forward"] >= BOUNDS["five_views_of_forward"]
    print(json.dumps({"figures": figures, "bounds": BOUNDS, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
