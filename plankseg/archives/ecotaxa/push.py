"""Measures of our zips into the objects of an EcoTaxa project: what differs is updated, nothing is ever created.

The columns get a prefix, so that what an instrument's own program measured stays. What is to be done is found by
reading the project, never by a note of what was done: run again it does what is missing, and after a whole run nothing.
"""

import csv
import hashlib
import io
import math
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.archives.ecotaxa.objects import Project, object_pages, read_project
from plankseg.errors import ArchiveError, EcoTaxaDownError, EcoTaxaError, SettingsError

PREFIX = "plankseg_"
SERVER_FOLDER = "plankseg"  # among the person's own files on the server
POLL_S = 3.0
_BOM = b"\xef\xbb\xbf"
_LEFT = ("object_id", "object_annotation_category", "object_annotation_status")
_NO_IMAGE = "update.png"
_MODEL = ("process_model", "model")
_RUNNING = ("P", "R")
Told = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Measures:
    """What our zips say of objects: columns by their names in EcoTaxa ([t] or [f]), values by object_id."""

    columns: dict[str, str]
    rows: dict[str, dict[str, str]]


@dataclass(frozen=True)
class PushPlan:
    """What a push would do: objects to change; those that are equal, not in the project, or there more than once."""

    project: Project
    columns: dict[str, str]
    changed: dict[str, dict[str, str]]
    equal: int
    unknown: list[str]
    ambiguous: list[str]

    @property
    def new_columns(self) -> list[str]:
        """Columns that the project does not have yet."""
        return [name for name in self.columns if name not in self.project.free_columns]

    def lines(self) -> list[str]:
        """What will be done, for a person to read before it is."""
        known = [name for name in self.columns if name not in self.new_columns]
        lines = [f"{self.project.title}: {len(self.changed)} objects will change, {self.equal} have these measures."]
        if self.changed:
            lines.append(f"New columns: {', '.join(self.new_columns) or 'none'}")
            lines.append(f"Columns that are written over: {', '.join(known) or 'none'}")
        if self.unknown:
            lines.append(
                f"{len(self.unknown)} objects, such as {self.unknown[0]}, are not in the project and are not created; "
                "import the zips on EcoTaxa's own page for that."
            )
        if self.ambiguous:
            lines.append(f"{len(self.ambiguous)} objects, such as {self.ambiguous[0]}, are there twice and left alone.")
        return lines

    def require_done(self) -> None:
        """Raises EcoTaxaError where objects still differ, after a push."""
        if self.changed:
            raise EcoTaxaError(
                f"EcoTaxa says that it is done, but {len(self.changed)} objects, such as {next(iter(self.changed))}, "
                "do not have the measures. Look at the job's log on EcoTaxa's page, then run the same command again."
            )


def read_measures(zips: Sequence[Path], *, prefix: str = PREFIX) -> Measures:
    """The measures in zips of `segment` or `export`. Raises ArchiveError, SettingsError for a prefix that cannot be."""
    if prefix and not (prefix.isascii() and prefix.replace("_", "").isalnum() and prefix == prefix.lower()):
        raise SettingsError(f"--prefix {prefix!r} cannot be: give small letters, digits and _, such as {PREFIX}.")
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, str]] = {}
    for path in zips:
        for types, row in _rows_of(path):
            object_id = row.get("object_id", "").strip()
            if not object_id:
                raise ArchiveError(f"{path} has a row without object_id; export it again.")
            if object_id in rows:
                raise ArchiveError(
                    f"{path} names {object_id!r}, which was named before; give the zips of one run, once."
                )
            renamed = {_column(name, prefix): name for name in row if _is_measure(name)}
            kinds = {column: types[name] for column, name in renamed.items()}
            if columns and kinds != columns:
                raise ArchiveError(f"{path} has other columns than the zips before it; give the zips of one run.")
            columns = kinds
            rows[object_id] = {column: row[name].strip() for column, name in renamed.items()}
    if not rows:
        raise ArchiveError("The zips hold no object; give those that the flow segment wrote into the store's exports.")
    return Measures(columns, rows)


def plan_push(client: EcoTaxaClient, number: int, measures: Measures, *, told: Told | None = None) -> PushPlan:
    """Compare measures with a project. Raises EcoTaxaError and its kinds."""
    project = read_project(client, number)
    there = [name for name in measures.columns if name in project.free_columns]
    counts: Counter[str] = Counter()
    is_equal: dict[str, bool] = {}
    done = 0
    for page in object_pages(client, number, ["obj.orig_id", *(f"fre.{name}" for name in there)]):
        for object_id, *values in page.details:
            row = measures.rows.get(str(object_id))
            if row is not None:
                counts[object_id] += 1
                stored = dict(zip(there, values, strict=True))
                is_equal[object_id] = all(
                    _is_equal(row[name], stored.get(name), measures.columns[name]) for name in row
                )
        done += len(page.details)
        if told is not None:
            told(done, page.total)
    return PushPlan(
        project,
        measures.columns,
        changed={name: row for name, row in measures.rows.items() if counts[name] == 1 and not is_equal[name]},
        equal=sum(counts[name] == 1 and equal for name, equal in is_equal.items()),
        unknown=[name for name in measures.rows if not counts[name]],
        ambiguous=[name for name, count in counts.items() if count > 1],
    )


def push(client: EcoTaxaClient, plan: PushPlan, *, told: Told | None = None, poll_s: float | None = None) -> None:
    """Update the objects of a plan, and wait until EcoTaxa has done it.

    Raises EcoTaxaError and its kinds; after EcoTaxaDownError nobody knows whether the last request arrived, and a new
    plan finds out.
    """
    if not plan.changed:
        return
    table = _table_bytes(plan)
    stem = f"ecotaxa_{hashlib.sha256(table).hexdigest()[:16]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{stem}.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{stem}.tsv", table)
        try:
            stored = client.upload("user_files/", path, f"{SERVER_FOLDER}/{path.name}")
            source = _source(client, stem, str(stored))
            # Updating never creates; existing pairs of object and image are no error then.
            request = {"source_path": source, "update_mode": "Yes", "skip_existing_objects": True}
            job = client.change(f"file_import/{plan.project.number}", request)
        except EcoTaxaDownError as error:
            raise EcoTaxaDownError(
                f"{error} Whether it arrived is not known. Run the same command again: it looks what is missing."
            ) from error
    if not isinstance(job, dict) or not isinstance(job.get("job_id"), int):
        raise EcoTaxaError(
            f"EcoTaxa answered the import with {str(job)[:200]}, which names no job; see its page 'Jobs'."
        )
    wait_for_job(client, job["job_id"], told=told, poll_s=poll_s)


def wait_for_earlier(
    client: EcoTaxaClient, number: int, *, told: Told | None = None, poll_s: float | None = None
) -> bool:
    """Wait for an import of ours into this project that still runs, as after a push that broke off; True if one did."""
    for job in client.get("jobs/", for_admin="false"):
        params = job.get("params") or {}
        source = str((params.get("req") or {}).get("source_path", ""))
        is_ours = params.get("prj_id") == number and f"{SERVER_FOLDER}/ecotaxa_" in source
        if is_ours and job.get("state") in _RUNNING:
            wait_for_job(client, int(job["id"]), told=told, poll_s=poll_s)
            return True
    return False


def wait_for_job(client: EcoTaxaClient, job_id: int, *, told: Told | None = None, poll_s: float | None = None) -> None:
    """Wait until a job of EcoTaxa is done. Raises EcoTaxaError where it ends otherwise, with its own words."""
    while True:
        job = client.get(f"jobs/{job_id}/")
        state = job.get("state")
        if told is not None:
            told(int(job.get("progress_pct") or 0), 100)
        if state == "F":
            return
        if state not in _RUNNING:
            reasons = [*map(str, job.get("errors") or []), *([str(job["question"])] if job.get("question") else [])]
            raise EcoTaxaError(
                f"EcoTaxa's job {job_id} ended without importing (state {state}): {'; '.join(reasons)[:600]}. "
                "Its page of jobs has the log; run the same command again when the reason is gone."
            )
        time.sleep(POLL_S if poll_s is None else poll_s)


def _source(client: EcoTaxaClient, stem: str, stored: str) -> str:
    """What an import is told to read: servers of today unpack a zip at once, older ones keep it as it came."""
    entries = client.get(f"user_files/{SERVER_FOLDER}").get("entries") or []
    is_unpacked = any(entry.get("name") == stem and entry.get("type") == "D" for entry in entries)
    return f"{SERVER_FOLDER}/{stem}" if is_unpacked else stored


def _rows_of(path: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Types and values by column, of every row in the tables of a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if _is_table(name)]
            if not tables:
                raise ArchiveError(f"{path} holds no ecotaxa*.tsv; give the zips that the flow segment wrote.")
            for name in tables:
                text = io.StringIO(archive.read(name).removeprefix(_BOM).decode(), newline="")
                reader = csv.DictReader(text, delimiter="\t")
                types = next(reader, {})
                for row in reader:
                    if None in row or None in row.values():
                        raise ArchiveError(f"Line {reader.line_num} of {name} in {path} has another number of values.")
                    yield types, row
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path} cannot be read as a zip for EcoTaxa ({error}); export it again.") from error


def _is_table(name: str) -> bool:
    file = PurePosixPath(name).name
    return file.startswith("ecotaxa") and file.endswith(".tsv")


def _is_measure(name: str) -> bool:
    return name == _MODEL[0] or (name.startswith("object_") and name not in _LEFT)


def _column(name: str, prefix: str) -> str:
    return f"{prefix}{_MODEL[1] if name == _MODEL[0] else name.removeprefix('object_')}"


def _is_equal(ours: str, theirs: Any, kind: str) -> bool:
    if kind == "[f]" and ours and theirs is not None:
        try:
            return math.isclose(float(ours), float(theirs), rel_tol=1e-6)
        except (TypeError, ValueError):
            return False
    return ours == ("" if theirs is None else str(theirs).strip())


def _table_bytes(plan: PushPlan) -> bytes:
    """The table of an update: object_id and the measures alone, so no sample, taxon or image is touched.

    EcoTaxa wants a column of images; an update needs none of them, so all rows name one that is not there.
    """
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(["object_id", "img_file_name", *(f"object_{name}" for name in plan.columns)])
    writer.writerow(["[t]", "[t]", *plan.columns.values()])
    for object_id, row in sorted(plan.changed.items()):
        writer.writerow([object_id, _NO_IMAGE, *(row.get(name, "") for name in plan.columns)])
    return _BOM + out.getvalue().encode()
