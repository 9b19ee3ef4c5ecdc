"""Which model is at work, from what was it trained, and why was it promoted or not?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from plankseg.errors import ObjectMissingError, StoreError
from plankseg.storage.blobs import SHA_PATTERN, Blobs
from plankseg.storage.promotions import PromotionRow, Promotions
from plankseg.storage.schemas import as_mappings, from_table, utc_now
from plankseg.storage.tables import DeltaTables

WEIGHTS_SUFFIX = "safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """The model of one round. `model_id` is the sha256 of its weights, `recipe` and `metrics` are JSON.

    `data_version` is the version of the `labels` table it was trained on; `validation_set` says in words which images
    `validation_dice` was measured on.
    """

    model_id: str
    round: int
    recipe: str
    data_version: int
    side_px: int
    epochs: int
    metrics: str
    promoted: bool
    reason: str
    parent: str | None = None
    validation_dice: float | None = None
    validation_set: str | None = None
    created_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        if not SHA_PATTERN.fullmatch(self.model_id):
            raise StoreError(f"model_id {self.model_id[:80]!r} is no sha256; give what `Blobs.put` returned.")
        for name in ("recipe", "metrics"):
            try:
                json.loads(getattr(self, name))
            except ValueError as error:
                raise StoreError(f"{name} of model {self.model_id[:12]} is no JSON: {error}.") from error


class Models:
    """The `models` table, one commit per round, and the weights beside it."""

    def __init__(self, tables: DeltaTables, blobs: Blobs, promotions: Promotions) -> None:
        self._tables = tables
        self._blobs = blobs
        self._promotions = promotions

    def commit(self, row: ModelRow) -> bool:
        """Record a round's model; False and nothing done when the round already has one.

        Raises ObjectMissingError when its weights were not put first.
        """
        if not self._blobs.has(row.model_id, WEIGHTS_SUFFIX):
            raise ObjectMissingError(
                f"Weights {self._blobs.location(row.model_id, WEIGHTS_SUFFIX)} are missing; put_weights first."
            )
        return self._tables.append("models", as_mappings([row]), [f"model-{row.round}"])

    def active(self) -> ModelRow | None:
        """The model at work: the newest one that was promoted and not taken back, None before the first."""
        line = line_of(self.all(), self._promotions.all())
        return line[-1] if line else None

    def of_round(self, round_number: int) -> ModelRow | None:
        """The model of a round, None when it has not been trained."""
        rows = from_table(ModelRow, self._tables.read("models", where=pc.field("round") == round_number))
        return rows[0] if rows else None

    def all(self) -> list[ModelRow]:
        """Every model, promoted or not, by round."""
        return from_table(ModelRow, self._tables.read("models").sort_by("round"))

    def put_weights(self, weights: bytes) -> str:
        """Keep safetensors bytes and return the model_id."""
        return self._blobs.put(weights, WEIGHTS_SUFFIX)

    def weights(self, model_id: str) -> bytes:
        """The safetensors bytes, verified. Raises ObjectMissingError or ObjectCorruptError."""
        return self._blobs.get(model_id, WEIGHTS_SUFFIX)


def line_of(models: Sequence[ModelRow], decisions: Sequence[PromotionRow]) -> list[ModelRow]:
    """The models that were put to work and not taken back since, the one at work last.

    A model that was promoted when it was trained, and one that is promoted later, come to the end; a rollback takes
    the end away.
    """
    by_id = {row.model_id: row for row in models}
    born = [((row.round, 0), "promote", row.model_id) for row in models if row.promoted]
    later = [((row.after_round, row.number), str(row.kind), row.model_id) for row in decisions]
    line: list[ModelRow] = []
    for _, kind, model_id in sorted(born + later):
        if kind == "promote":
            line.append(by_id[model_id])
        else:
            line.pop()
    return line
