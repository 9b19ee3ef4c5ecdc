"""The `promotions` table: models that were promoted or rolled back after their training, and why.

What the flow decided when it trained a model stands in the model's own row. This table holds later decisions: by a
person, or by a flow that compared candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from plankseg.errors import StoreError
from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.objects.blobs import SHA_PATTERN
from plankseg.storage.schemas import as_mappings, check_choice, from_table, utc_now

Kind = Literal["promote", "rollback"]
By = Literal["flow", "person"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRow:
    """One decision: `model_id` is active from then on, a rollback takes `previous` away.

    Its position among all decisions is (`after_round`, `number`), never the time, since clocks jump: made when the
    newest model was that of `after_round`, and it is the table's `number`-th. `difference`, `low` and `high` are the
    mean and the interval of the paired bootstrap, where one was made.
    """

    model_id: str
    kind: Kind
    by: By
    reason: str
    number: int
    after_round: int
    previous: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    decided_at: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(Kind))
        check_choice("by", self.by, get_args(By))
        if not SHA_PATTERN.fullmatch(self.model_id):
            raise StoreError(f"model_id {self.model_id[:80]!r} is no sha256; give that of a row of `models`.")


class Promotions:
    """The `promotions` table: append-only, one commit per decision, each planned on all that were made before."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def decide(self, plan: Callable[[Sequence[PromotionRow]], PromotionRow | None]) -> PromotionRow | None:
        """Let `plan` decide on the decisions so far, and record it; None and nothing done when it decides nothing.

        It is asked anew whenever another decision was first, so of two writers the second knows of the first.
        """
        decided: PromotionRow | None = None

        def commit(snapshot: Snapshot) -> Commit | None:
            nonlocal decided
            decided = plan(_in_order(snapshot))
            return None if decided is None else Commit(rows=as_mappings([decided]), serial="decision")

        self._tables.commit("promotions", commit)
        return decided

    def all(self) -> list[PromotionRow]:
        """Every decision, oldest first."""
        return _in_order(self._tables.snapshot("promotions"))


def _in_order(snapshot: Snapshot) -> list[PromotionRow]:
    return from_table(PromotionRow, snapshot.read().sort_by("number"))
