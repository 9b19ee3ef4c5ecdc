"""Measures of our zips into the objects of an EcoTaxa project: what differs is updated, nothing is ever created.

The columns get a prefix, so that what an instrument's own program measured stays. What is to be done is found by
reading the project, never by a note of what was done: run again it does what is missing, and after a whole run nothing.
"""

import csv
import io
import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.archives.ecotaxa.imports import Told, import_name, import_zip
from plankseg.archives.ecotaxa.objects import Project, object_pages, read_project
from plankseg.errors import ArchiveError, EcoTaxaError, SettingsError

PREFIX = "plankseg_"
BOM = b"\xef\xbb\xbf"
_LEFT = ("object_id", "object_annotation_category", "object_annotation_status")
_NO_IMAGE = "update.png"
MODEL = ("process_model", "model")


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
        lines = [
            f"{self.project.title}: {len(self.changed)} objects will change, {self.equal} have these measurements."
        ]
        if self.changed:
            lines.append(f"New columns: {', '.join(self.new_columns) or 'none'}")
            lines.append(f"Columns that are written over: {', '.join(known) or 'none'}")
        if self.unknown:
            lines.append(
                f"{len(self.unknown)} objects, such as {self.unknown[0]}, are not in the project; --create adds them."
            )
        if self.ambiguous:
            lines.append(f"{len(self.ambiguous)} objects, such as {self.ambiguous[0]}, are there twice and left alone.")
        return lines

    def require_done(self, *, create: bool) -> None:
        """Raises EcoTaxaError where objects still differ, or with `create` are missing, after a push."""
        left = [*self.changed, *(self.unknown if create else ())]
        if left:
            raise EcoTaxaError(
                f"EcoTaxa says that it is done, but {len(left)} objects, such as {left[0]}, do not have the "
                "measures. Look at the job's log on EcoTaxa's page, then run the same command again."
            )


def read_measures(zips: Sequence[Path], *, prefix: str = PREFIX) -> Measures:
    """The measures in zips of `segment` or `export`. Raises ArchiveError, SettingsError for a prefix that cannot be."""
    if prefix and not (prefix.isascii() and prefix.replace("_", "").isalnum() and prefix == prefix.lower()):
        raise SettingsError(f"--prefix {prefix!r} cannot be: give small letters, digits and _, such as {PREFIX}.")
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, str]] = {}
    for path in zips:
        for types, row in rows_of(path):
            object_id = row.get("object_id", "").strip()
            if not object_id:
                raise ArchiveError(f"{path} has a row without object_id; export it again.")
            if object_id in rows:
                raise ArchiveError(
                    f"{path} names {object_id!r}, which was named before; give the zips of one run, once."
                )
            renamed = {column_of(name, prefix): name for name in row if is_measure(name)}
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
    names: dict[str, list[str]] = {}
    is_equal: dict[str, bool] = {}
    done = 0
    for page in object_pages(client, number, ["obj.orig_id", *(f"fre.{name}" for name in there)]):
        for name, *values in page.details:
            object_id = str(name) if str(name) in measures.rows else _as_exported(str(name))
            row = measures.rows.get(object_id)
            if row is not None:
                names.setdefault(object_id, []).append(str(name))
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
        changed={own[0]: measures.rows[key] for key, own in names.items() if len(own) == 1 and not is_equal[key]},
        equal=sum(len(own) == 1 and is_equal[key] for key, own in names.items()),
        unknown=[object_id for object_id in measures.rows if object_id not in names],
        ambiguous=[object_id for object_id, own in names.items() if len(own) > 1],
    )


def _as_exported(name: str) -> str:
    """An object_id as our zips have it: one line, without quotes and double spaces."""
    return " ".join(name.replace('"', " ").split())


def push(client: EcoTaxaClient, plan: PushPlan, *, told: Told | None = None) -> None:
    """Update the objects of a plan, and wait until EcoTaxa has done it.

    Raises EcoTaxaError and its kinds; after EcoTaxaDownError nobody knows whether the last request arrived, and a new
    plan finds out.
    """
    if not plan.changed:
        return
    table = _table_bytes(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{import_name(table)}.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.tsv", table)
        import_zip(client, plan.project.number, path, update=True, told=told)


def rows_of(path: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Types and values by column, of every row in the tables of a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if _is_table(name)]
            if not tables:
                raise ArchiveError(f"{path} holds no ecotaxa*.tsv; give the zips that the flow segment wrote.")
            for name in tables:
                text = io.StringIO(archive.read(name).removeprefix(BOM).decode(), newline="")
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


def is_measure(name: str) -> bool:
    """Whether a column of our zips says something of the object's mask."""
    return name == MODEL[0] or (name.startswith("object_") and name not in _LEFT)


def column_of(name: str, prefix: str) -> str:
    """The free column in EcoTaxa that a column of our zips goes into."""
    return f"{prefix}{MODEL[1] if name == MODEL[0] else name.removeprefix('object_')}"


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
    return BOM + out.getvalue().encode()
