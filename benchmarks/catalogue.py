"""Time and memory of a draw from a catalogue of 1.4 million images. Prints one JSON object.

usage: catalogue.py [--rows 1400000]

What is timed is what `propose` does before it scores: find the images without a perceptual hash, leave out what was
proposed, answered, quarantined or kept apart and what is like the validation set (20,000 images in all), and draw 50
batches of 20. The catalogue lies as ingest writes it, in files of 5,000 rows at most; a tenth and a hundredth of it,
with as small a part left out, show how time and memory grow. Each figure is of a process of its own; its peak includes
the libraries and the finding of the drawn images' files. `again` is a real ingest of 2,000 images that the catalogue
knows among its millions. The rival is what no draw can do without: pyarrow reading the three columns that it needs, and
numpy drawing from them, in the same run. Both begin with the opening of the Delta table.

The bound of 2.5 times the rival was set on an AMD EPYC, family 26 (1.4 to 2.2). What a draw does beyond the rival, of
0.8 s: sort the ids, that the order of ingest changes nothing (0.15), compare every perceptual hash with those of the
validation set (0.12), read proposals, labels and exclusions (0.1) and make Delta's description of 281 files (0.1).
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import typer
from _machine import machine
from deltalake import WriterProperties, write_deltalake
from ingesting import pack

BOUNDS = {"draw_over_rival": 2.5, "draw_peak_mb": 500.0, "again_peak_mb": 1000.0, "growth": 1.3}
FILE_ROWS = 5_000
EXCLUDED = {"proposed": 9_000, "answered": 8_000, "quarantined": 1_000, "alike": 1_830}  # of 1.4 million images
KEPT_APART = 170
KNOWN_FILES = 2_000
TAXA = 93
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def ids_of(count: int, seed: int, digits: int = 64) -> list[str]:
    text = np.random.default_rng(seed).bytes(count * digits // 2).hex()
    return [text[at : at + digits] for at in range(0, len(text), digits)]


def shares(rows: int) -> dict[str, int]:
    """How many images of so many are left out for each reason."""
    return {reason: count * rows // 1_400_000 for reason, count in EXCLUDED.items()}


def write_images(store: Any, rows: int) -> list[str]:
    """A pool of so many images, some of them kept apart for validation as well, and what is like these."""
    ids, hashes = ids_of(rows, 1), ids_of(rows, 2, digits=16)
    for index in range(shares(rows)["alike"]):
        near = int(hashes[index % KEPT_APART], 16) ^ (0b10101 << index % 56)  # three bits apart
        hashes[rows - 1 - index] = f"{near:016x}"
    for start in range(0, rows, FILE_ROWS):
        numbers = range(start, min(rows, start + FILE_ROWS))
        append_images(store, [(ids[i], "pool", hashes[i], i) for i in numbers])
    append_images(store, [(ids[i], "validation", hashes[i], i) for i in range(KEPT_APART)])
    return ids


def append_images(store: Any, images: list[tuple[str, str, str, int]]) -> None:
    table = pa.table(
        {
            "image_id": [image[0] for image in images],
            "uri": [
                f"archive+file:///data/ZooScanNet.tar?at={11776 * number}&size=11234#ZooScanNet/imgs/"
                f"taxon%20{number % TAXA}/{number}.jpg"
                for *_, number in images
            ],
            "role": [image[1] for image in images],
            "phash": [image[2] for image in images],
            "taxon": [f"taxon {number % TAXA}" for *_, number in images],
            "external_id": [str(number) for *_, number in images],
            "dataset": ["ZooScanNet"] * len(images),
            "width": [72] * len(images),
            "height": [104] * len(images),
            "added_at": [NOW] * len(images),
        }
    )
    append(store, "images", table)


def append(store: Any, name: str, table: pa.Table) -> None:
    from plankseg.storage.schemas import schema_of

    wanted = schema_of(name)
    for field in wanted:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(table.num_rows, field.type))
    write_deltalake(
        store.tables.uri(name),
        table.select(wanted.names).cast(wanted),
        mode="append",
        writer_properties=WriterProperties(compression="ZSTD"),
    )


def write_exclusions(store: Any, ids: list[str]) -> None:
    """What was proposed, a fifth of what was looked at for it, and what was answered, in other images."""
    from plankseg.storage.tables.labels import LabelRow
    from plankseg.storage.tables.proposals import ProposalRow

    count = shares(len(ids))
    asked = ids[KEPT_APART:][: count["proposed"]]
    answered = ids[KEPT_APART + len(asked) :][: count["answered"] + count["quarantined"]]
    sha, size = "0" * 64, max(20, len(asked) // 45)
    for number, start in enumerate(range(0, len(asked), size), 1):
        batches = [asked[start : start + size], *(asked[shift::5][:size] for shift in range(4))]
        store.proposals.commit(
            number,
            [
                ProposalRow(
                    round=number,
                    image_id=image_id,
                    chosen=batch == 0,
                    model_id=sha,
                    seed=0,
                    manifest_sha=sha,
                    batch=batch,
                )
                for batch, image_ids in enumerate(batches)
                for image_id in image_ids
            ],
        )
    for start in range(0, len(answered), 1000):
        store.labels.add(
            LabelRow(
                image_id=image_id,
                round=1,
                origin="corrected",
                answered_at=NOW,
                mask_sha=sha,
                pixel_sha=sha,
                status="quarantined" if index < count["quarantined"] else "usable",
                ls_annotation=index,
                ls_task=index,
            )
            for index, image_id in enumerate(answered[start : start + 1000], start)
        )


def draw(place: Path) -> dict[str, float]:
    """Draw in this process."""
    import pandas  # noqa: F401  (pyarrow would load it at its first use, in the middle)

    from plankseg.acquisition.selectors import draw_batches, draw_rng
    from plankseg.config import QueryConfig, Recipe
    from plankseg.pipeline.pool.candidates import choosable
    from plankseg.pipeline.pool.near_duplicates import complete_hashes
    from plankseg.storage.store import Store

    store, query = Store.open(place), QueryConfig()
    before = peak_mb()
    started, busy = time.perf_counter(), time.process_time()
    complete_hashes(store)
    pool = choosable(store, Recipe())
    batches = draw_batches(pool, batch_size=20, batches=50, mode="draws", rng=draw_rng(query, 1))
    took, cpu = time.perf_counter() - started, time.process_time() - busy
    store.catalogue.loader({image_id for batch in batches for image_id in batch})
    found = time.perf_counter() - started - took
    return {
        "seconds": took,
        "cpu_s": cpu,
        "find_s": found,
        "left": len(pool),
        "before_mb": before,
        "peak_mb": peak_mb(),
    }


def rival(place: Path) -> dict[str, float]:
    """What the draw cannot do without: pyarrow reads its three columns, numpy draws from the pool."""
    import pandas  # noqa: F401
    import pyarrow.dataset
    from deltalake import DeltaTable

    started = time.perf_counter()
    files = DeltaTable(str(place / "tables" / "images")).file_uris()
    columns = pyarrow.dataset.dataset(files, format="parquet").to_table(columns=["image_id", "role", "phash"])
    ids = columns["image_id"].to_numpy()[columns["role"].to_numpy() == "pool"]
    rng = np.random.default_rng(0)
    drawn = [ids[rng.choice(len(ids), 20, replace=False)] for _ in range(50)]
    return {"seconds": time.perf_counter() - started, "drawn": len(drawn)}


def again(place: Path) -> dict[str, float]:
    """Ingest known images in this process."""
    from plankseg.pipeline.ingest.register_images import ingest_folder
    from plankseg.storage.store import Store

    report = ingest_folder(Store.open(place), place.parent / "images.tar", role="pool")
    return {"known": report.known, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process ever held; getrusage would tell its parent's where that held more."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def in_a_process(what: str, store: Path) -> dict[str, float]:
    command = [sys.executable, "-X", "faulthandler", __file__, "--what", what, "--store", str(store)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def measure(rows: int, folder: Path) -> dict[str, float]:
    """A catalogue of so many images: the quickest of three draws, the highest of their peaks, an ingest again."""
    from plankseg.pipeline.ingest.register_images import ingest_folder
    from plankseg.storage.store import Store

    store = Store.open(folder / "store")
    ids = write_images(store, rows)
    write_exclusions(store, ids)
    excluded = KEPT_APART + sum(shares(rows).values())
    drawn = [in_a_process("draw", folder / "store") for _ in range(3)]
    rivals = [in_a_process("rival", folder / "store") for _ in range(3)]
    assert all(figures["left"] == rows - excluded for figures in drawn), (drawn, rows, excluded)
    ingest_folder(store, pack("tar", folder, KNOWN_FILES), role="pool")
    known = in_a_process("again", folder / "store")
    assert known["known"] == KNOWN_FILES
    return {
        "draw_s": min(figures["seconds"] for figures in drawn),
        "rival_s": min(figures["seconds"] for figures in rivals),
        "draw_over_rival": min(f["seconds"] for f in drawn) / min(f["seconds"] for f in rivals),
        "draw_cpu_s": min(figures["cpu_s"] for figures in drawn),
        "find_s": min(figures["find_s"] for figures in drawn),
        "draw_peak_mb": max(figures["peak_mb"] for figures in drawn),
        "libraries_mb": max(figures["before_mb"] for figures in drawn),
        "again_peak_mb": known["peak_mb"],
    }


def main(rows: int = 1_400_000, what: str = "", store: Path | None = None) -> None:
    """Measure, print, and exit 0 only if every bound holds."""
    if store is not None:
        print(json.dumps({"draw": draw, "rival": rival, "again": again}[what](store)))
        return
    sizes = [rows // 100, rows // 10, rows]
    found = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[size] = measure(size, Path(folder))
    figures = found[rows]
    tenth = found[sizes[1]]
    figures["growth"] = figures["draw_s"] / tenth["draw_s"] / (rows / sizes[1])
    ok = all(figures[name] <= bound for name, bound in BOUNDS.items())
    rounded = {size: {name: round(value, 3) for name, value in figures.items()} for size, figures in found.items()}
    print(json.dumps({"rows": rows, "figures": rounded, "bounds": BOUNDS, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
