"""Rows that the storage tests share."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.proposals import ProposalRow

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def image(name: object, role: str = "pool", **fields: Any) -> ImageRow:
    given = {"uri": f"/nowhere/{name}.jpg", "dataset": "test", "width": 40, "height": 30, "added_at": START} | fields
    return ImageRow(image_id=sha(name), role=role, **given)  # type: ignore[arg-type]


def answer(name: object, annotation: int, minutes: float = 0, **fields: Any) -> LabelRow:
    given = {
        "round": 1,
        "origin": "corrected",
        "status": "usable",
        "mask_sha": sha("m"),
        "pixel_sha": sha("p"),
    } | fields
    moment = START + timedelta(minutes=minutes)
    return LabelRow(image_id=sha(name), ls_annotation=annotation, ls_task=annotation, answered_at=moment, **given)


def automatic(name: object, **fields: Any) -> LabelRow:
    given = {
        "round": 0,
        "origin": "threshold",
        "status": "usable",
        "mask_sha": sha("t"),
        "pixel_sha": sha("q"),
    } | fields
    return LabelRow(image_id=sha(name), answered_at=START, **given)


def proposed(name: object, round_number: int = 1, **fields: Any) -> ProposalRow:
    given = {"chosen": True, "model_id": sha("model"), "seed": 7, "manifest_sha": sha("manifest")} | fields
    return ProposalRow(round=round_number, image_id=sha(name), **given)


def model(model_id: str, round_number: int = 0, **fields: Any) -> ModelRow:
    given = {
        "recipe": "{}",
        "data_version": 0,
        "side_px": 256,
        "epochs": 20,
        "metrics": "{}",
        "reason": "first",
    } | fields
    given = {"promoted": True, "created_at": START} | given
    return ModelRow(model_id=model_id, round=round_number, **given)
