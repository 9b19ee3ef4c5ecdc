"""The objects of an EcoTaxa project, page by page: what may leave of each, under the names of an export's columns.

No column that holds a person is asked for: not who classified, not the address beside the taxon, no free text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.errors import EcoTaxaError

PAGE = 5_000  # objects of one request
STATUSES = {"V": "validated", "P": "predicted", "D": "dubious", "X": "discarded"}
# Fields of the API, and the column of an export that each becomes.
FIELDS = {
    "obj.orig_id": "object_id",
    "txo.display_name": "object_annotation_category",
    "obj.classif_qual": "object_annotation_status",
    "obj.latitude": "object_lat",
    "obj.longitude": "object_lon",
    "obj.objdate": "object_date",
    "obj.objtime": "object_time",
    "obj.depth_min": "object_depth_min",
    "obj.depth_max": "object_depth_max",
    "img.file_name": "img_file_name",
    "img.imgrank": "img_rank",
}
TEXTS = (
    *("img_file_name", "object_id", "object_annotation_category", "object_annotation_status", "object_date"),
    *("object_time", "sample_id", "acq_id", "acq_instrument"),
)
SIZES = ("area", "major", "minor", "feret", "perim.", "esd", "width", "height")
"""Free columns that are taken where a project has them as numbers."""


@dataclass(frozen=True)
class Project:
    """A project: its number, title, and free columns of its objects with their kind of storage (n01: a number)."""

    number: int
    title: str
    free_columns: dict[str, str] = field(repr=False)

    @property
    def sizes(self) -> tuple[str, ...]:
        """Those of `SIZES` that the project has."""
        return tuple(name for name in SIZES if self.free_columns.get(name, "").startswith("n"))


@dataclass(frozen=True)
class Parents:
    """Samples by EcoTaxa's own number, and acquisitions likewise as name and instrument."""

    samples: dict[int, str]
    acquisitions: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class ObjectPage:
    """Objects of a project by ascending number; `details` has the fields that were asked for, row by row."""

    total: int
    object_ids: list[int]
    sample_ids: list[int]
    acquisition_ids: list[int]
    details: list[list[Any]]


def read_project(client: EcoTaxaClient, number: int) -> Project:
    """A project that the token may see. Raises EcoTaxaError and its kinds."""
    found = client.get(f"projects/{number}")
    try:
        return Project(int(found["projid"]), str(found["title"]), dict(found.get("obj_free_cols") or {}))
    except (KeyError, TypeError, ValueError) as error:
        raise _unexpected(f"projects/{number}", error) from error


def read_parents(client: EcoTaxaClient, number: int) -> Parents:
    """Samples and acquisitions of a project. Raises EcoTaxaError and its kinds."""
    samples = client.get("samples/search", project_ids=str(number), id_pattern="*")
    acquisitions = client.get("acquisitions/search", project_id=number)
    try:
        return Parents(
            {int(row["sampleid"]): str(row["orig_id"]) for row in samples},
            {int(row["acquisid"]): (str(row["orig_id"]), row.get("instrument") or "") for row in acquisitions},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unexpected("samples/search or acquisitions/search", error) from error


def object_pages(
    client: EcoTaxaClient, number: int, fields: Sequence[str], *, page: int = PAGE
) -> Iterator[ObjectPage]:
    """All objects of a project in the order of EcoTaxa's numbers, each once.

    Raises EcoTaxaError and its kinds, also where the project changed between two pages: objects could be missed.
    """
    start, last, total = 0, -1, None
    while total is None or start < total:
        found = _page(client, number, fields, window=(start, page))
        if total is not None and found.total != total:
            raise _changed(number, f"it had {total} objects, then {found.total}")
        total = found.total
        if not found.object_ids and start < total:
            raise _changed(number, f"{start} of {total} objects came")
        if any(
            object_id <= before for object_id, before in zip(found.object_ids, [last, *found.object_ids], strict=False)
        ):
            raise _changed(number, "objects came twice, or not in the order that was asked for")
        start, last = start + len(found.object_ids), found.object_ids[-1] if found.object_ids else last
        yield found


def _page(client: EcoTaxaClient, number: int, fields: Sequence[str], *, window: tuple[int, int]) -> ObjectPage:
    path = f"object_set/{number}/query"
    found = client.query(
        path, {}, fields=",".join(fields), order_field="obj.objid", window_start=window[0], window_size=window[1]
    )
    try:
        read = ObjectPage(
            total=int(found["total_ids"]),
            object_ids=[int(key) for key in found["object_ids"]],
            sample_ids=[int(key) for key in found["sample_ids"]],
            acquisition_ids=[int(key) for key in found["acquisition_ids"]],
            details=[list(row) for row in found["details"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unexpected(path, error) from error
    lengths = {len(read.object_ids), len(read.sample_ids), len(read.acquisition_ids), len(read.details)}
    if len(lengths) > 1:
        raise _unexpected(path, "lists of different lengths")
    if read.details and {len(row) for row in read.details} != {len(fields)}:
        # EcoTaxa leaves out a field that it does not know without a word, and all others would move.
        raise _unexpected(path, f"{len(read.details[0])} values for the {len(fields)} fields that were asked for")
    return read


def export_row(details: dict[str, Any], *, sample: str, acquisition: tuple[str, str]) -> dict[str, str]:
    """An object's row of an export, from its fields by their API names."""
    row = {column: _text(details[name]) for name, column in FIELDS.items()}
    status = row["object_annotation_status"]
    row["object_annotation_status"] = STATUSES.get(status, status)
    row["object_date"] = row["object_date"].partition("T")[0].replace("-", "")
    row["object_time"] = row["object_time"].partition(".")[0].replace(":", "")
    row |= {f"object_{name[4:]}": _text(value) for name, value in details.items() if name.startswith("fre.")}
    return row | {"sample_id": sample, "acq_id": acquisition[0], "acq_instrument": acquisition[1]}


def _text(value: Any) -> str:
    """A value as it stands in a table: on one line, numbers exact, nothing for None."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else " ".join(str(value).split())


def _changed(number: int, what: str) -> EcoTaxaError:
    return EcoTaxaError(
        f"Project {number} changed while its objects were listed ({what}). Run the same command again when nobody "
        "imports or deletes objects; what is there already is kept."
    )


def _unexpected(path: str, what: object) -> EcoTaxaError:
    return EcoTaxaError(
        f"EcoTaxa answered {path} with something unexpected ({what}). Check PLANKSEG_ECOTAXA_URL; its API may be of "
        "another version than docs/ecotaxa.md names."
    )
