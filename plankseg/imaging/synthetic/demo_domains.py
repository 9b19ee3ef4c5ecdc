"""The demo's images: two synthetic domains, written as the folders a user would have."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Literal

from plankseg.files import atomic_write
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.synthetic.generator import draw_sample

Domain = Literal["clean", "noisy"]


@dataclass(frozen=True)
class Folders:
    """Images of the three roles, and exact masks: for validation, and of the pool for the simulated person."""

    source: Path
    pool: Path
    validation: Path | None
    pool_masks: Path | None
    validation_masks: Path | None


def write_domains(folder: Path, *, source: int = 300, pool: int = 300, validation: int = 60) -> Folders:
    """Write a clean source, a noisy pool and a noisy validation set; files that are there already are kept.

    Every image has a seed of its own, so the same numbers give the same files on every machine.
    """
    made = Folders(
        source=folder / "source",
        pool=folder / "pool",
        validation=folder / "validation",
        pool_masks=folder / "pool-masks",
        validation_masks=folder / "validation-masks",
    )
    with ProcessPoolExecutor(max_workers=2) as processes:
        jobs = [
            _write(processes, "clean", range(source), made.source, None),
            _write(processes, "noisy", range(pool), made.pool, made.pool_masks),
            _write(
                processes, "noisy", range(1_000_000, 1_000_000 + validation), made.validation, made.validation_masks
            ),
        ]
        for job in jobs:
            for _ in job:
                pass
    return made


def _write(
    processes: ProcessPoolExecutor, domain: Domain, seeds: range, images: Path | None, masks: Path | None
) -> Iterator[None]:
    assert images is not None
    return processes.map(partial(_write_one, domain), seeds, repeat(images), repeat(masks), chunksize=16)


def _write_one(domain: Domain, seed: int, images: Path, masks: Path | None) -> None:
    if any(images.glob(f"*/{domain}-{seed:07d}.jpg")):
        return
    sample = draw_sample(domain, seed, max_side_px=300, footer_share=0.3 if domain == "clean" else 0.0)
    name = Path(sample.taxon) / f"{domain}-{seed:07d}"
    if masks is not None:  # the mask first: an image that is there has its mask
        _write_file(masks / name.with_suffix(".png"), encode_mask(sample.mask))
    _write_file(images / name.with_suffix(".jpg"), sample.jpeg)


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data, durable=False)  # made again where it is lost
