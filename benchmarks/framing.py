"""Scoring speed of images at their own scale beside one square for all, on real images. Last line: JSON.

usage: framing.py [--data DIR] [--images 400] [--repeats 3]

Each variant scores the same images of the pool with all five views and the fastest backend that agrees with plain fp32
on this machine. Variants run in turn, so that a busy machine slows all of them; medians and ratios to the published
recipe are printed. Weights do not matter for speed: the networks start at random.
"""

import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from _machine import machine
from _real_data import vignettes

from plankseg.config import InferenceConfig, NetworkConfig, QueryConfig, ScoringName
from plankseg.imaging.framing import Framing
from plankseg.inference.backend_benchmark import BenchmarkConfig, benchmark_backends
from plankseg.inference.backends import Backend, backends_here, make_backend
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.quantization import quantized_backend, quantizes_here
from plankseg.learning.network.architecture import build_network
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.models.named_recipes import named_recipe
from plankseg.storage.store import Store

CPU = torch.device("cpu")
QUERY = QueryConfig()


@dataclass(frozen=True)
class Variant:
    """A network and how images are laid into its squares."""

    network: NetworkConfig
    framing: Framing


def variants() -> dict[str, Variant]:
    """The published recipe first: the others are related to it."""
    found = {}
    for name in ("published", "laptop"):
        recipe = named_recipe(name, 1000)  # type: ignore[arg-type]
        network = recipe.network.model_copy(update={"encoder_weights": "none"})
        training = recipe.training
        found[name] = Variant(network, Framing(training.side_px, training.largest_zoom))
    laptop = found["laptop"]
    found["laptop in one square"] = Variant(laptop.network, Framing(laptop.framing.side_px))
    return found


def fastest(store: Store, ids: list[str], variant: Variant) -> Backend:
    """The backend that a proposal would choose on this machine."""
    torch.manual_seed(0)
    network = build_network(variant.network).eval()
    greys = {image_id: store.catalogue.load(image_id) for image_id in ids[: InferenceConfig().calibration_images]}
    names: list[ScoringName] = list(backends_here(CPU))
    if quantizes_here(CPU):
        names.append("openvino-int8")
    config = BenchmarkConfig(QUERY, variant.framing, InferenceConfig(), to_score=1_000_000)
    result = benchmark_backends(network, greys, names, config, CPU)
    if result.for_scores == "openvino-int8":
        assert result.quantized is not None
        return quantized_backend(result.quantized, CPU)
    return make_backend(result.for_scores, network, CPU)


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the real data.", envvar="PLANKSEG_REAL_DATA")] = None,
    images: Annotated[int, typer.Option(min=16, help="Images that are scored in each run.")] = 400,
    repeats: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure and print."""
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store")
        place, origin = vignettes(data, Path(folder), images)
        ingest_folder(store, place, role="pool")
        ids = store.catalogue.ids("pool")[:images]
        load = store.catalogue.loader(ids)
        predictors = {}
        for name, variant in variants().items():
            backend = fastest(store, ids, variant)
            predictors[name] = TTAPredictor(backend, load, QUERY, variant.framing)
            predictors[name].score(ids[:200])  # compiles for every side
            print(f"{name}: {backend.name}, sides {variant.framing.sides}", flush=True)
        seconds: dict[str, list[float]] = {name: [] for name in predictors}
        for _ in range(repeats):
            for name, predictor in predictors.items():
                started = time.perf_counter()
                predictor.score(ids)
                seconds[name].append(time.perf_counter() - started)
        speeds = {name: len(ids) / statistics.median(times) for name, times in seconds.items()}
        found = {
            "images": len(ids),
            "origin": origin,
            "backends": {name: predictor.backend.name for name, predictor in predictors.items()},
            "images_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
            "times_published": {name: round(speed / speeds["published"], 2) for name, speed in speeds.items()},
        }
    print(json.dumps(found | machine()))


if __name__ == "__main__":
    typer.run(main)
