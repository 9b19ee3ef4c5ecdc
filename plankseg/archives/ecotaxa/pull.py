"""A project of EcoTaxa as a folder like its export: images as they lie in its vault, and one table.

An image is there whole or not at all, and one that is there is not asked for again. The table is written last, so a
folder with a table is complete but for the images that the table's own run reported.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.archives.ecotaxa.objects import (
    FIELDS,
    TEXTS,
    ObjectPage,
    Parents,
    Project,
    export_row,
    object_pages,
    read_parents,
    read_project,
)
from plankseg.errors import EcoTaxaError, ImageReadError, OutputError, StoreBusyError
from plankseg.files import atomic_file, atomic_write
from plankseg.imaging.reading import DEFAULT_MAX_PIXELS, read_grey
from plankseg.storage.locks import FolderLocks

TABLE = "ecotaxa_export.tsv"
IMAGES = "images"
NOTES = ".plankseg-ecotaxa"  # hidden, so no ingest looks into it
FEWEST_IN_VAIN = 20  # images in a row of which none could be had, until the address is doubted
_VAULT_NAME = re.compile(r"[0-9]{1,12}/[0-9]{1,12}\.[A-Za-z]{3,4}")
_NO_PARENTS: tuple[str, str] = ("", "")


@dataclass
class Pulled:
    """What lies in the folder now. `left_out` names objects without an image that can be used, and why."""

    project: Project
    folder: Path
    objects: int = 0
    fetched: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def table(self) -> Path:
        """The table of the objects."""
        return self.folder / TABLE


def pull(
    client: EcoTaxaClient,
    number: int,
    folder: Path,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Pulled:
    """Fetch a project into a folder, or what is missing of it there.

    Raises:
        EcoTaxaError, EcoTaxaAuthError, EcoTaxaDownError: what the server answered, and the next step.
        OutputError: the folder cannot be written, is in use, or holds something else.
    """
    project = read_project(client, number)
    folder = folder.expanduser().resolve()
    pulled = Pulled(project, folder)
    with _writing(folder):
        _claim(folder, client.url, number)
        with FolderLocks(folder / NOTES).hold("pull"):
            parents = read_parents(client, number)
            fields = [*FIELDS, *(f"fre.{name}" for name in project.sizes)]
            with atomic_file(pulled.table, sole_writer=True) as partial, partial.open("w", encoding="utf-8-sig") as out:
                table = _Table(out)
                for page in object_pages(client, number, fields):
                    for row in _rows(page, fields, parents):
                        if _have_image(client, row, pulled, max_pixels=max_pixels):
                            table.write(row)
                        pulled.objects += 1
                        if on_progress is not None:
                            on_progress(pulled.objects, page.total)
                if not table.rows:
                    raise EcoTaxaError(_nothing(client, pulled))
    return pulled


def _rows(page: ObjectPage, fields: list[str], parents: Parents) -> Iterator[dict[str, str]]:
    for sample, acquisition, values in zip(page.sample_ids, page.acquisition_ids, page.details, strict=True):
        yield export_row(
            dict(zip(fields, values, strict=True)),
            sample=parents.samples.get(sample, ""),
            acquisition=parents.acquisitions.get(acquisition, _NO_PARENTS),
        )


def _have_image(client: EcoTaxaClient, row: dict[str, str], pulled: Pulled, *, max_pixels: int) -> bool:
    """Whether the image of a row lies in the folder, fetched now if need be; the row then names it there."""
    name = row["img_file_name"]
    path = pulled.folder / IMAGES / name
    if not _VAULT_NAME.fullmatch(name):
        reason = f"its image is {name!r}, no name of the vault" if name else "it has no image"
    elif path.is_file():
        reason = ""
    else:
        reason = _fetch_image(client, name, path, max_pixels=max_pixels)
        pulled.fetched += not reason
    if reason:
        pulled.left_out.append((row["object_id"], reason))
        if len(pulled.left_out) == pulled.objects + 1 == FEWEST_IN_VAIN:
            raise EcoTaxaError(
                f"None of the first {FEWEST_IN_VAIN} objects has an image that can be had; the last: {reason}. Check "
                "that PLANKSEG_ECOTAXA_URL is the address that people open in a browser."
            )
        return False
    row["img_file_name"] = f"{IMAGES}/{name}"
    return True


def _fetch_image(client: EcoTaxaClient, name: str, path: Path, *, max_pixels: int) -> str:
    """Fetch one image; the reason why it is not there, '' if it is."""
    data = client.image(name)
    if data is None:
        return f"{client.url}/vault/{name} is not there"
    try:
        read_grey(data, max_pixels=max_pixels)
    except ImageReadError as error:
        return f"{client.url}/vault/{name} is no image that can be read: {error}"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data, sole_writer=True)
    return ""


class _Table:
    """A table of an export: names, types, rows; the columns are those of its first row."""

    def __init__(self, out: TextIO) -> None:
        self._writer = csv.writer(out, delimiter="\t", lineterminator="\n")
        self.rows = 0

    def write(self, row: dict[str, str]) -> None:
        if not self.rows:
            self._writer.writerow(row)
            self._writer.writerow("[t]" if name in TEXTS else "[f]" for name in row)
        self._writer.writerow(row.values())
        self.rows += 1


def _nothing(client: EcoTaxaClient, pulled: Pulled) -> str:
    if pulled.left_out:
        return f"None of the {pulled.objects} objects has an image that can be had: {pulled.left_out[0][1]}."
    rest = "" if client.has_token else " Without PLANKSEG_ECOTAXA_TOKEN only validated objects are shown."
    return f"Project {pulled.project.number} ({pulled.project.title}) shows no object.{rest}"


def _claim(folder: Path, url: str, number: int) -> None:
    """Make the folder that of one project. Raises OutputError where it holds something else."""
    note = folder / NOTES / "project.json"
    ours = {"url": url, "project": number}
    if not note.exists():
        if folder.exists() and any(path.name != NOTES for path in folder.iterdir()):
            raise OutputError(f"{folder} holds other files; give --to a new folder, or an empty one.")
        note.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(note, json.dumps(ours).encode())
    try:
        found = json.loads(note.read_bytes())
    except ValueError as error:
        raise OutputError(f"{note} cannot be read ({error}); give --to a new folder.") from error
    if found != ours:
        raise OutputError(f"{folder} holds another project, {found}; give --to a folder of its own for each.")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Faults of the file system in our words. Raises OutputError."""
    try:
        yield
    except StoreBusyError as error:
        raise OutputError(f"Another process fetches into {folder}; wait until it is done, or stop it.") from error
    except (OutputError, EcoTaxaError):
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write to {folder}: {error.strerror or error}; check space and rights, then run the same command "
            "again: it goes on."
        ) from error
