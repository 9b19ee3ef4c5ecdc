"""Vignettes per second that ingest registers, and its memory. Prints one JSON object.

usage: ingesting.py [--files 3000] [--kinds folder,tar,tar.gz]      (for memory: --files 200000 --kinds tar)

Vignettes of 12 kB, each with bytes of its own, registered as pool: read, hashed, decoded, hashed perceptually,
committed; no automatic masks. Then the same again, when nothing is new. Each run is a process of its own, so that the
peak is its own too; it includes the libraries. `cpu_ms` is the processor's time for an image, whoever else works there.
"""

import gzip
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import typer
from _machine import machine
from PIL import Image, ImageFilter

BOUNDS = {"images_per_s": 300.0, "again_per_s": 300.0, "peak_gb": 1.0}
SIZE_BYTES = 12_000
CLASSES = 80


def vignette(seed: int) -> bytes:
    """A grey JPEG of about 12 kB: noise, a little blurred, of the size of a real vignette."""
    noise = np.random.default_rng(seed).normal(200, 45, (180, 190)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(0.7))
    best = b""
    for quality in range(60, 96):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        best = out.getvalue()
        if len(best) >= SIZE_BYTES:
            break
    return best


def files(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes: few pictures, each told apart by a comment that JPEG allows after its first marker."""
    pictures = [vignette(seed) for seed in range(16)]
    for number in range(count):
        picture, comment = pictures[number % len(pictures)], f"{number:09d}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        yield f"imgs/class {number % CLASSES}/{number}.jpg", picture[:2] + segment + picture[2:]


def pack(kind: str, folder: Path, count: int) -> Path:
    """The files as a folder or an archive."""
    if kind == "folder":
        for name, data in files(count):
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / "images"
    path = folder / f"images.{kind}"
    with ExitStack() as stack:
        out = stack.enter_context(path.open("wb"))
        if kind == "tar.gz":
            out = stack.enter_context(gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1))
        tar = stack.enter_context(tarfile.open(fileobj=out, mode="w"))
        for name, data in files(count):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            tar.members.clear()  # type: ignore[attr-defined]  # else the writer holds them all
    return path


def measure(place: Path, store: Path) -> dict[str, float]:
    """Ingest in this process: seconds, images added, and the peak of this process."""
    from plankseg.pipeline.ingest.register_images import ingest_folder
    from plankseg.storage.store import Store

    started, cpu_before = time.perf_counter(), time.process_time()
    report = ingest_folder(Store.open(store), place, role="pool")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_before
    assert not report.problems, report.problems[:3]
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": seconds,
        "added": report.added,
        "known": report.known,
        "peak_gb": peak_kib * 1024 / 1e9,
        "cpu_s": cpu,
    }


def in_a_process(place: Path, store: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--place", str(place), "--store", str(store)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main(
    count: int = typer.Option(3000, "--files"),
    kinds: str = "folder,tar,tar.gz",
    place: Path | None = None,
    store: Path | None = None,
) -> None:
    """Measure, print, and exit 0 only if every bound holds."""
    if place is not None and store is not None:
        print(json.dumps(measure(place, store)))
        return
    figures: dict[str, float] = {"files": count, "mean_bytes": median(len(data) for _, data in files(64))}
    bounds: dict[str, float] = {}
    for kind in kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            packed = pack(kind, Path(folder), count)
            first, again = (in_a_process(packed, Path(folder) / "store") for _ in range(2))
        assert (first["added"], again["known"]) == (count, count)
        name = kind.replace(".", "_")
        figures[f"{name}_images_per_s"] = round(count / first["seconds"], 1)
        figures[f"{name}_again_per_s"] = round(count / again["seconds"], 1)
        figures[f"{name}_cpu_ms"] = round(1000 * first["cpu_s"] / count, 3)
        figures[f"{name}_peak_gb"] = round(max(first["peak_gb"], again["peak_gb"]), 3)
        bounds |= {f"{name}_{what}": bound for what, bound in BOUNDS.items()}
    ok = all(
        figures[name] < bound if name.endswith("_gb") else figures[name] >= bound for name, bound in bounds.items()
    )
    print(json.dumps({"figures": figures, "bounds": bounds, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
