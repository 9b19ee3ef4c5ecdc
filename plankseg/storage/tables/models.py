"""The `models` table: the model of each round and every candidate, with recipe, metrics and weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow.compute as pc

from plankseg.errors import ObjectMissingError, StoreError
from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.objects.blobs import SHA_PATTERN, Blobs
from plankseg.storage.schemas import as_mappings, from_table, utc_now
from plankseg.storage.tables.promotions import PromotionRow, Promotions

WEIGHTS_SUFFIX = "safetensors"
_OF_ROUNDS = pc.field("candidate").is_null()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """The model of one round, or a candidate. `model_id` is the sha256 of its weights, `recipe`, `metrics` are JSON.

    `data_version` is the version of the `labels` table it was trained on; `validation_set` says in words which images
    `validation_dice` was measured on. A candidate is one run of a comparison: it has the `experiment` and its own name
    in it, `candidate`, and the `fingerprint` of recipe and data, and it belongs to no round (`round` is 0).
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
    experiment: str | None = None
    candidate: str | None = None
    fingerprint: str | None = None
    created_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        if not SHA_PATTERN.fullmatch(self.model_id):
            raise StoreError(f"model_id {self.model_id[:80]!r} is no sha256; give what `Blobs.put` returned.")
        for name in ("recipe", "metrics"):
            try:
                json.loads(getattr(self, name))
            except ValueError as error:
                raise StoreError(f"{name} of model {self.model_id[:12]} is no JSON: {error}.") from error
        if self.candidate is not None and (self.experiment is None or self.fingerprint is None):
            raise StoreError(f"Candidate {self.candidate!r} lacks its experiment or its fingerprint; give both.")


class Models:
    """The `models` table, one commit per round or candidate, and the weights beside it.

    Only `candidates` and `candidate` return candidates; `all` and `active` return those of them that were promoted.
    Everything else concerns the models of the rounds.
    """

    def __init__(self, tables: DeltaTables, blobs: Blobs, promotions: Promotions) -> None:
        self._tables = tables
        self._blobs = blobs
        self._promotions = promotions

    def commit(self, row: ModelRow) -> bool:
        """Record a model; False and nothing done when the round already has one, or the candidate was trained before.

        Raises ObjectMissingError when its weights were not put first.
        """
        if not self._blobs.has(row.model_id, WEIGHTS_SUFFIX):
            raise ObjectMissingError(
                f"Weights {self._blobs.location(row.model_id, WEIGHTS_SUFFIX)} are missing; put_weights first."
            )
        name = f"model-{row.round}" if row.candidate is None else f"candidate-{row.fingerprint}"
        return self._tables.append("models", as_mappings([row]), [name])

    def active(self) -> ModelRow | None:
        """The active model: the newest one that was promoted and not rolled back, None before the first."""
        line = line_of(self.all(), self._promotions.all())
        return line[-1] if line else None

    def of_round(self, round_number: int) -> ModelRow | None:
        """The model of a round, None when it has not been trained."""
        rows = self._read(_OF_ROUNDS & (pc.field("round") == round_number))
        return rows[0] if rows else None

    def all(self) -> list[ModelRow]:
        """The model of every round, promoted or not, by round; after model 0 the candidates that were promoted."""
        rows = self._read(_OF_ROUNDS)
        promoted_later = {decision.model_id for decision in self._promotions.all()} - {row.model_id for row in rows}
        if promoted_later:
            rows += self._read(~_OF_ROUNDS & pc.field("model_id").isin(sorted(promoted_later)))
        return sorted(rows, key=lambda row: (row.round, row.candidate is not None))

    def candidate(self, fingerprint: str) -> ModelRow | None:
        """The candidate of this recipe on these data, of whatever experiment; None when it was not trained yet."""
        rows = self._read(~_OF_ROUNDS & (pc.field("fingerprint") == fingerprint))
        return rows[0] if rows else None

    def candidates(self, experiment: str | None = None) -> list[ModelRow]:
        """The candidates of one experiment or of all, oldest first."""
        wanted = ~_OF_ROUNDS if experiment is None else ~_OF_ROUNDS & (pc.field("experiment") == experiment)
        return sorted(self._read(wanted), key=lambda row: (row.created_at, str(row.candidate)))

    def _read(self, where: pc.Expression) -> list[ModelRow]:
        return from_table(ModelRow, self._tables.read("models", where=where))

    def put_weights(self, weights: bytes) -> str:
        """Keep safetensors bytes and return the model_id."""
        return self._blobs.put(weights, WEIGHTS_SUFFIX)

    def weights(self, model_id: str) -> bytes:
        """The safetensors bytes, verified. Raises ObjectMissingError or ObjectCorruptError."""
        return self._blobs.get(model_id, WEIGHTS_SUFFIX)


def line_of(models: Sequence[ModelRow], decisions: Sequence[PromotionRow]) -> list[ModelRow]:
    """The models that were promoted and not rolled back since, the active one last.

    A model that was promoted when it was trained, and one that is promoted later, come to the end; a rollback takes
    the end away.
    """
    by_id = {row.model_id: row for row in models}
    at_training = [((row.round, 0), "promote", row.model_id) for row in models if row.promoted]
    later = [((row.after_round, row.number), str(row.kind), row.model_id) for row in decisions]
    line: list[ModelRow] = []
    for _, kind, model_id in sorted(at_training + later):
        if kind == "promote":
            line.append(by_id[model_id])
        else:
            line.pop()
    return line
