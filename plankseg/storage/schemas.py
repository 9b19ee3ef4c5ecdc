"""Columns of every table, and conversion of rows to and from Arrow."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa

from plankseg.errors import StoreError

TIMESTAMP = pa.timestamp("us", tz="UTC")
Row = TypeVar("Row")


def _schema(required: Mapping[str, pa.DataType], nullable: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in required.items()]
        + [pa.field(name, kind, nullable=True) for name, kind in nullable.items()]
    )


TEXT, INTEGER, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()

SCHEMAS: Mapping[str, pa.Schema] = {
    "images": _schema(
        {
            "image_id": TEXT,
            "uri": TEXT,
            "dataset": TEXT,
            "role": TEXT,
            "width": INTEGER,
            "height": INTEGER,
            "added_at": TIMESTAMP,
        },
        {"taxon": TEXT, "external_id": TEXT, "instrument_area_px": REAL, "phash": TEXT, "half": TEXT},
    ),
    "labels": _schema(
        {"image_id": TEXT, "round": INTEGER, "origin": TEXT, "status": TEXT, "answered_at": TIMESTAMP},
        {
            "mask_sha": TEXT,
            "pixel_sha": TEXT,
            "reason": TEXT,
            "annotator": TEXT,
            "seconds": REAL,
            "premask_sha": TEXT,
            "model_id": TEXT,
            "dice_to_premask": REAL,
            "changed_px": INTEGER,
            "ls_task": INTEGER,
            "ls_annotation": INTEGER,
            "ls_updated_at": TIMESTAMP,
            "clicks": INTEGER,
            "outlines": INTEGER,
        },
    ),
    "proposals": _schema(
        {
            "round": INTEGER,
            "image_id": TEXT,
            "chosen": FLAG,
            "control": FLAG,
            "model_id": TEXT,
            "seed": INTEGER,
            "manifest_sha": TEXT,
        },
        {"uncertainty": REAL, "batch": INTEGER, "premask_sha": TEXT, "blind": FLAG, "replaces": TEXT},
    ),
    "models": _schema(
        {
            "model_id": TEXT,
            "round": INTEGER,
            "recipe": TEXT,
            "data_version": INTEGER,
            "side_px": INTEGER,
            "epochs": INTEGER,
            "metrics": TEXT,
            "promoted": FLAG,
            "reason": TEXT,
            "created_at": TIMESTAMP,
        },
        {
            "parent": TEXT,
            "validation_dice": REAL,
            "validation_set": TEXT,
            "experiment": TEXT,
            "candidate": TEXT,
            "fingerprint": TEXT,
        },
    ),
    "exclusions": _schema({"image_id": TEXT, "kind": TEXT, "reason": TEXT, "decided_at": TIMESTAMP}, {}),
    "pushes": _schema(
        {
            "round": INTEGER,
            "image_id": TEXT,
            "title": TEXT,
            "project": INTEGER,
            "task": INTEGER,
            "pushed_at": TIMESTAMP,
        },
        {},
    ),
    "calibrations": _schema(
        {"key": TEXT, "model_id": TEXT, "machine": TEXT, "backend": TEXT, "record": TEXT, "created_at": TIMESTAMP}, {}
    ),
    "scores": _schema({"key": TEXT, "image_id": TEXT, "score": REAL}, {}),
    "promotions": _schema(
        {
            "model_id": TEXT,
            "kind": TEXT,
            "by": TEXT,
            "reason": TEXT,
            "number": INTEGER,
            "after_round": INTEGER,
            "decided_at": TIMESTAMP,
        },
        {"previous": TEXT, "difference": REAL, "low": REAL, "high": REAL},
    ),
    "segments": _schema(
        {
            "shard_id": TEXT,
            "job": TEXT,
            "model_id": TEXT,
            "settings": TEXT,
            "images": INTEGER,
            "unreadable": INTEGER,
            "measures_sha": TEXT,
            "created_at": TIMESTAMP,
        },
        {"seconds": REAL},
    ),
    "audits": _schema(
        {
            "number": INTEGER,
            "model_id": TEXT,
            "settings": TEXT,
            "wanted": INTEGER,
            "seed": INTEGER,
            "manifest_sha": TEXT,
            "created_at": TIMESTAMP,
        },
        {},
    ),
}


def schema_of(table: str) -> pa.Schema:
    """The columns of a table. Raises StoreError for a name that the store does not have."""
    if table not in SCHEMAS:
        raise StoreError(f"The store has no table {table!r}; it has {', '.join(SCHEMAS)}.")
    return SCHEMAS[table]


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)


def to_table(table: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows as an Arrow table with exactly the table's columns.

    Raises StoreError for an unknown or missing field, a missing value, a wrong type or a time without its zone.
    """
    schema = schema_of(table)
    names = set(schema.names)
    for position, row in enumerate(rows):
        if row.keys() != names:
            raise StoreError(_misfit(table, position, names, set(row)))
    return pa.table({field.name: _column(table, field, rows) for field in schema}, schema=schema)


def _misfit(table: str, position: int, names: set[str], given: set[str]) -> str:
    unknown, missing = sorted(given - names), sorted(names - given)
    return (
        f"Row {position} for table {table!r} does not fit: unknown fields {unknown}, missing fields {missing}; "
        f"give every column of plankseg.storage.schemas, None where a value is not known."
    )


def _column(table: str, field: pa.Field, rows: Sequence[Mapping[str, object]]) -> pa.Array:
    values = [row[field.name] for row in rows]
    if field.type == TIMESTAMP and any(isinstance(value, datetime) and value.tzinfo is None for value in values):
        raise StoreError(f"{table}.{field.name} has a time without a zone; give UTC, datetime.now(UTC).")
    try:
        column = pa.array(values, type=field.type)
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{table}.{field.name} has a text that is no UTF-8 ({error}); rename the file or folder it comes from."
        ) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise StoreError(f"{table}.{field.name} wants {field.type}: {error}; correct the value.") from error
    if column.null_count and not field.nullable:
        position = values.index(None)
        raise StoreError(f"{table}.{field.name} is None in row {position}; this column needs a value.")
    return column


def as_mappings(rows: Sequence[Any]) -> list[dict[str, object]]:
    """Row dataclasses as the mappings that `to_table` takes."""
    if not rows:
        return []
    names = [field.name for field in fields(rows[0])]
    return [{name: getattr(row, name) for name in names} for row in rows]


def from_table(kind: type[Row], table: pa.Table) -> list[Row]:
    """An Arrow table as row dataclasses, in the table's order."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every row class is a dataclass
    columns = [table.column(name).to_pylist() for name in names]
    return [kind(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def check_choice(field: str, value: str, allowed: Sequence[str]) -> None:
    """Raise StoreError unless the value is one of the words that a column knows."""
    if value not in allowed:
        raise StoreError(f"{field} is {value!r}; it can be {', '.join(allowed)}.")
