"""Speed and memory of `plankseg predict` and of exports, on real images. Last line: JSON.

usage: predicting.py [--data DIR] [--images 240] [--recipe laptop] [--backend torch]

`start_s` is the time from the command to the first mask on the disk, of an exported model with random weights and its
backend chosen before; `rival_start_s` is that of a script that imports torch and segmentation-models-pytorch, builds
the same network and writes one mask. `share_of_forward` is the rate of the whole run, start left out, by that of the
backend's forward passes alone on the same squares. Memory is the peak of a run over the images once and four times.
Exports are masks per second from the folder that was made, by the rate at which OpenCV alone reads and writes them.

Bounds: start within 1.5 times the rival's, 0.9 of the forward rate, the peak of four times as many images at most 1.1
times that of one, exports as COCO and as PNG at 0.3 of OpenCV's rate.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import torch
import typer
from _machine import machine
from _real_data import vignettes

from plankseg.archives.open_archive import open_archive
from plankseg.config import SegmentConfig
from plankseg.imaging.arrays import Grey
from plankseg.imaging.reading import read_grey
from plankseg.inference.prefetch import Square
from plankseg.learning.network.architecture import build_network, tensor_bytes
from plankseg.pipeline.archive.measured_masks import archive_predictor
from plankseg.pipeline.archive.shards import settings_of
from plankseg.pipeline.exports.mask_records import masks_of_folder
from plankseg.pipeline.exports.write_masks import Format, write_masks
from plankseg.pipeline.models.exported_model import ExportedModel, model_of_store, write_model
from plankseg.pipeline.models.named_recipes import named_recipe
from plankseg.pipeline.prediction.predict import PredictOptions, predict
from plankseg.pipeline.prediction.prediction_model import backend_of
from plankseg.pipeline.prediction.terminal_predict import open_images
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

CPU = torch.device("cpu")
LONGEST_START, LEAST_SHARE, MOST_GROWTH, LEAST_EXPORTS = 1.5, 0.9, 1.1, 0.3
RIVAL_START = """
import sys
import cv2, torch
import segmentation_models_pytorch as smp
architecture, encoder, side, out = sys.argv[1:]
network = smp.create_model(architecture, encoder, encoder_weights=None, in_channels=3, classes=1).eval()
with torch.inference_mode():
    logits = network(torch.zeros(1, 3, int(side), int(side)))
cv2.imwrite(out, (logits[0, 0] > 0).numpy().astype("uint8") * 255)
"""
MEMORY_RUN = """
import json, sys
from pathlib import Path
from plankseg.pipeline.models.exported_model import read_model
from plankseg.pipeline.prediction.predict import PredictOptions, predict
from plankseg.pipeline.prediction.terminal_predict import open_images
from plankseg.config import SegmentConfig
images, model, out, backend = sys.argv[1:]
how = SegmentConfig(views="none", backend=backend)
predict(open_images(images), read_model(Path(model)), Path(out), PredictOptions(how=how, device="cpu"))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def exported(folder: Path, name: str) -> ExportedModel:
    """A model of a named recipe with random weights, and its folder of files."""
    recipe = named_recipe(name, 1000)  # type: ignore[arg-type]
    network = recipe.network.model_copy(update={"encoder_weights": "none"})
    recipe = recipe.model_copy(update={"network": network})
    torch.manual_seed(0)
    store = Store.open(folder / "store")
    row = ModelRow(
        model_id=store.models.put_weights(tensor_bytes(build_network(network).state_dict())),
        round=0,
        recipe=recipe.model_dump_json(),
        data_version=0,
        side_px=recipe.training.side_px,
        epochs=1,
        metrics="{}",
        promoted=True,
        reason="the first model",
    )
    model = model_of_store(store, row)
    write_model(folder / "model", model)
    return model


def forward_rate(model: ExportedModel, images: Path, backend_name: str, views: str, batches: int = 6) -> float:
    """Images per second of prediction alone, on squares that lie in memory."""
    how = SegmentConfig.model_validate({"views": views, "backend": backend_name})
    settings = settings_of(how, model.facts.recipe.query)
    backend = backend_of(model, backend_name, CPU)
    framing = model.facts.framing
    predictor = archive_predictor(backend, _not_loaded, framing=framing, settings=settings)
    step = predictor.batch_size
    records = itertools.islice(open_archive(images).records(), batches * step)
    squares = [Square.of(record.entry.name, read_grey(record.entry.read()), framing) for record in records]
    of_steps = [squares[start : start + step] for start in range(0, len(squares), step)]
    list(predictor.predictions(iter(of_steps), independent=True))  # compiles and warms up
    started = time.perf_counter()
    list(predictor.predictions(iter(of_steps), independent=True))
    return len(squares) / (time.perf_counter() - started)


def _not_loaded(image_id: str) -> Grey:
    raise AssertionError(f"{image_id} is in memory")


def first_mask_s(images: Path, model: Path, out: Path, backend: str) -> float:
    """Seconds from the command to the first mask; the command is ended then."""
    command = [sys.executable, "-m", "plankseg.cli", "predict", str(images), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--model", str(model), "--backend", backend], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not any(not path.name.startswith(".") for path in out.rglob("*.png")):
            if process.poll() is not None:
                raise SystemExit(f"predict ended without a mask: {process.stderr.read().decode()}")  # type: ignore[union-attr]
            time.sleep(0.02)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.communicate()


def rival_start_s(model: ExportedModel, out: Path) -> float:
    """Seconds that a script without plankseg needs to its first mask."""
    network = model.facts.recipe.network
    names = [network.architecture, network.encoder, str(model.facts.side_px), str(out)]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", RIVAL_START, *names], check=True)
    return time.perf_counter() - started


def peak_mb(images: Path, model: Path, out: Path, backend: str) -> int:
    """The most memory that a run in a process of its own takes."""
    command = [sys.executable, "-c", MEMORY_RUN, str(images), str(model), str(out), backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) // 1024


def export_rates(out: Path, folder: Path) -> dict[str, float]:
    """Masks per second of each format."""
    rates = {}
    kinds: tuple[Format, ...] = ("coco", "png", "imagej", "geojson", "label-studio")
    for kind in kinds:
        write_masks(masks_of_folder(out), kind, folder / f"warm-{kind}")  # loads what it needs
        started = time.perf_counter()
        done = write_masks(masks_of_folder(out), kind, folder / f"export-{kind}")
        rates[kind] = done.images / (time.perf_counter() - started)
    return rates


def rival_export_rate(out: Path, folder: Path) -> float:
    """Masks per second that OpenCV reads and writes, one after the other."""
    masks = sorted(path for path in out.rglob("*.png") if not path.name.startswith("."))
    folder.mkdir()
    started = time.perf_counter()
    for number, path in enumerate(masks):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    return len(masks) / (time.perf_counter() - started)


def copies(images: Path, folder: Path, times: int) -> Path:
    """The same images several times, by links."""
    for number in range(times):
        for path in images.rglob("*.*"):
            target = folder / str(number) / path.relative_to(images)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the real data.", envvar="PLANKSEG_REAL_DATA")] = None,
    images_wanted: Annotated[int, typer.Option("--images", help="How many images, from all taxa.")] = 240,
    recipe: Annotated[str, typer.Option(help="laptop, quality or published.")] = "laptop",
    backend: Annotated[str, typer.Option(help="What computes the network.")] = "torch",
) -> None:
    """Measure and print; ends with 1 where a bound is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        place, origin = vignettes(data, folder, images_wanted)
        every = sorted(path for path in place.rglob("*.*") if path.is_file())
        for path in every[:: max(1, len(every) // images_wanted)][:images_wanted]:
            (images / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, images / path.parent.name)
        model = exported(folder, recipe)
        found: dict[str, object] = {"images": origin, "recipe": recipe, "backend": backend}
        rival_start_s(model, folder / "warm.png")
        starts = [
            (
                first_mask_s(images, folder / "model", folder / f"first{n}", backend),
                rival_start_s(model, folder / "r.png"),
            )
            for n in range(3)
        ]
        start_s, rival_s = (median(times) for times in zip(*starts, strict=True))
        shares = {}
        for views in ("recipe", "none"):
            forward = forward_rate(model, images, backend, views)
            how = SegmentConfig.model_validate({"views": views, "backend": backend})
            done = predict(open_images(str(images)), model, folder / views, PredictOptions(how=how, device="cpu"))
            shares[views] = done.images_per_s / forward
            print(f"views {views}: {done.images_per_s:.1f} of {forward:.1f} images/s", flush=True)
        many = copies(images, folder / "many", 4)
        peaks = [peak_mb(where, folder / "model", folder / f"m{n}", backend) for n, where in enumerate((images, many))]
        exports, rival_rate = export_rates(folder / "m1", folder), rival_export_rate(folder / "m1", folder / "rival")
        found |= {
            "start_s": round(start_s, 2),
            "rival_start_s": round(rival_s, 2),
            "start_over_rival": round(start_s / rival_s, 2),
            "share_of_forward": {views: round(share, 2) for views, share in shares.items()},
            "peak_mb": peaks,
            "exports_masks_per_s": {kind: round(rate) for kind, rate in exports.items()},
            "opencv_masks_per_s": round(rival_rate),
            "exports_of_opencv": {kind: round(rate / rival_rate, 2) for kind, rate in exports.items()},
        }
        missed = [
            name
            for name, is_missed in {
                "start": start_s > LONGEST_START * rival_s,
                "share of forward": shares["recipe"] < LEAST_SHARE,
                "memory": peaks[1] > MOST_GROWTH * peaks[0],
                "exports": min(exports["coco"], exports["png"]) < LEAST_EXPORTS * rival_rate,
            }.items()
            if is_missed
        ]
    print(json.dumps(found | {"missed": missed, "ok": not missed} | machine()))
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    typer.run(main)
