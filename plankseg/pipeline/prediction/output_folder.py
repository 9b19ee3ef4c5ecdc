"""The folder of masks that `plankseg predict` writes: `<path of the image>.png`, tables, and what a rerun goes on from.

A mask is there whole or not at all. Below `.plankseg` lie the job, which says what made the masks, and the measures in
parts: an image is done once its row is in a part and its mask is there. The tables are written at the end, from the
parts, in the order of the paths, so that a run that was killed and continued leaves the same bytes as one that was not.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from plankseg.archives.containers.entries import fault_of_name
from plankseg.archives.containers.folder import PREDICTION_MARKER
from plankseg.errors import OutputError, StoreBusyError
from plankseg.files import atomic_file, atomic_write
from plankseg.storage.locks import FolderLocks
from plankseg.storage.tables.segments import MEASURES

FORMAT = 1
TABLE, SPREADSHEET, LEFT_OUT = "measures.parquet", "measures.csv", "left-out.csv"
_PARTS = "parts"
_TEXTS = ("path", "mask", "origin", "status", "taxon", "external_id", "image_id", "model_id")
_NUMBERS = [field for field in MEASURES if field.name not in {"image_id", "mask_sha", "reason", "confidence"}]
COLUMNS = pa.schema(
    [pa.field(name, pa.string()) for name in _TEXTS] + _NUMBERS + [pa.field("expected_dice", pa.float64())]
)


@dataclass(frozen=True)
class Job:
    """What makes the masks of a folder: equal jobs give equal masks, so one goes on where the other was killed."""

    images: str
    model_id: str
    settings: str
    format: int = FORMAT


class OutputFolder:
    """A folder of masks that belongs to one job, for one process at a time."""

    def __init__(self, root: Path, job: Job) -> None:
        self.root = root
        self.job = job
        self._work = root / Path(PREDICTION_MARKER).parent
        self._done = {_key(row["path"]) for row in self._rows(["path", "mask"]) if (root / row["mask"]).is_file()}
        self._next_part = 1 + max((int(path.stem) for path in self._parts()), default=0)

    def is_done(self, path: str) -> bool:
        """Whether the mask of an image is there, and its row recorded."""
        return _key(path) in self._done

    def write(self, name: str, data: bytes) -> None:
        """Write one mask below the folder. Raises OSError."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data, sole_writer=True, durable=False)  # `record` makes thousands of them durable at once

    def record(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Record rows whose masks are written: a rerun does not make them again. Raises OutputError."""
        if not rows:
            return
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=COLUMNS), out, compression="zstd")
        with writing(self.root):
            os.sync()  # else a power cut could leave a row without its mask
            atomic_write(self._work / _PARTS / f"{self._next_part:06d}.parquet", out.getvalue())
        self._next_part += 1
        self._done.update(_key(str(row["path"])) for row in rows)

    def finish(self, left_out: Sequence[tuple[str, str]]) -> pa.Table:
        """Write the tables: measures by path, and what was left out (path, reason). Raises OutputError."""
        parts = [pq.read_table(path, schema=COLUMNS) for path in self._parts()]
        table = pa.concat_tables([COLUMNS.empty_table(), *parts]).combine_chunks()
        newest = {path: index for index, path in enumerate(table["path"].to_pylist())}
        order = [newest[path] for path in sorted(newest) if self.is_done(path)]
        table = table.take(pa.array(order, pa.int64()))
        with writing(self.root):
            with atomic_file(self.root / TABLE, sole_writer=True) as partial:
                pq.write_table(table, partial, compression="zstd")
            with atomic_file(self.root / SPREADSHEET, sole_writer=True) as partial:
                pyarrow.csv.write_csv(table, partial)
            _write_left_out(self.root / LEFT_OUT, left_out)
        return table

    def forget(self) -> None:
        """Remove the masks and tables of an earlier job; what is not recorded as its own stays."""
        with writing(self.root):
            for row in self._rows(["mask"]):
                if fault_of_name(row["mask"]) is None:  # nothing outside of the folder, whoever wrote the row
                    for name in (row["mask"], overlay_name(row["mask"])):
                        (self.root / name).unlink(missing_ok=True)
            for name in (TABLE, SPREADSHEET, LEFT_OUT):
                (self.root / name).unlink(missing_ok=True)
            for path in self._parts():
                path.unlink()
        self._done.clear()

    def begin(self) -> None:
        """Write down what makes the masks. Raises OutputError."""
        with writing(self.root):
            (self._work / _PARTS).mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(self.job), indent=1)
            atomic_write(self.root / PREDICTION_MARKER, text.encode(), sole_writer=True)

    def _parts(self) -> list[Path]:
        return sorted((self._work / _PARTS).glob("[0-9]*.parquet"))

    def _rows(self, columns: list[str]) -> Iterator[dict[str, str]]:
        for path in self._parts():
            yield from pq.read_table(path, columns=columns).to_pylist()


def overlay_name(mask: str) -> str:
    """The name of the picture that shows a mask over its image; masks are PNG, so none has it."""
    return f"overlays/{mask.removesuffix('.png')}.jpg"


def recorded_job(root: Path) -> Job | None:
    """The job of a folder; None where no `plankseg predict` wrote into it. Raises OutputError if it cannot be read."""
    path = root / PREDICTION_MARKER
    if not path.is_file():
        return None
    try:
        return Job(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"{path} cannot be read ({error}): another plankseg's; name another folder.") from error


@contextmanager
def open_folder(root: Path, job: Job, *, overwrite: bool) -> Iterator[OutputFolder]:
    """The folder of a job, which is made, or gone on with where it is the same job's; held against other processes.

    Raises OutputError, and changes nothing, for a folder with other things in it unless `overwrite`: then masks of an
    earlier job are removed, and files of others stay unless a mask has their name.
    """
    earlier = recorded_job(root)
    if earlier is None and root.exists() and not overwrite and not _is_vacant(root):
        raise OutputError(
            f"{root} exists and holds other things than masks of plankseg; name a new folder, or give --overwrite to "
            "write into it all the same."
        )
    if earlier is not None and earlier != job and not overwrite:
        raise OutputError(f"{root} holds masks of another run: {_differences(earlier, job)}. {_WAYS_OUT}")
    with writing(root):
        (root / PREDICTION_MARKER).parent.mkdir(parents=True, exist_ok=True)
    with _held(root):
        folder = OutputFolder(root, job)
        if overwrite:
            folder.forget()
        folder.begin()
        yield folder


_WAYS_OUT = "Name another folder, or give --overwrite to replace them."


@contextmanager
def _held(root: Path) -> Iterator[None]:
    locks = FolderLocks((root / PREDICTION_MARKER).parent)
    try:
        with locks.hold("predict"):
            yield
    except StoreBusyError as error:
        raise OutputError(f"Another `plankseg predict` is writing into {root}; wait until it is done.") from error


def _is_vacant(root: Path) -> bool:
    """True for a folder with nothing in it, or only the beginning of ours."""
    return root.is_dir() and {path.name for path in root.iterdir()} <= {Path(PREDICTION_MARKER).parent.name}


def _differences(earlier: Job, job: Job) -> str:
    """In words what differs between two jobs."""
    pairs = {name: (getattr(earlier, name), getattr(job, name)) for name in ("images", "model_id", "settings")}
    told = [f"{name} {before} there, {now} now" for name, (before, now) in pairs.items() if before != now]
    return "; ".join(told) or f"format {earlier.format} there, {job.format} now"


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn an error of the file system into one that says what to do."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write to {root}: {error.strerror or error}; check the free space and your rights, then give the "
            "same command again: it goes on where it stopped."
        ) from error


def _write_left_out(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    out = io.StringIO()
    csv.writer(out).writerows([("path", "reason"), *rows])
    atomic_write(path, out.getvalue().encode("utf-8", "backslashreplace"), sole_writer=True)


def _key(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest())
