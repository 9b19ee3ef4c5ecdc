"""Masks that are handed in with images and count as the answers of a person, as if they came from Label Studio."""

from dataclasses import dataclass, replace

from plankseg.stable_hash import stable_hash
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role
from plankseg.storage.tables.labels import LabelRow

HANDED_IN = -(2**61)
"""Annotation numbers of such answers lie below, and above those of lost images: none is one of Label Studio's."""


@dataclass(frozen=True)
class GivenAnswers:
    """A person who made the masks that are handed in, and the round from which on these are learnt from."""

    annotator: str
    round: int

    @classmethod
    def of(cls, store: Store, role: Role, annotator: str) -> "GivenAnswers":
        """The masks that a person hands in for images of a role."""
        return cls(annotator, round_of_answers(store, role))

    def answer(self, label: LabelRow, *, is_empty: bool) -> LabelRow:
        """The answer that a handed-in mask is."""
        number = int.from_bytes(stable_hash(f"handed in by {self.annotator}", label.image_id)[:7])
        return replace(
            label,
            origin="empty" if is_empty else "drawn",
            round=self.round,
            annotator=self.annotator,
            ls_annotation=HANDED_IN - number,
        )


def round_of_answers(store: Store, role: Role) -> int:
    """The round from which on an answer that belongs to no round is learnt from: the one that is trained next.

    Answers of the validation set belong to round 0, which no model learns from.
    """
    if role == "validation":
        return 0
    newest = max(store.proposals.rounds(), default=0)
    is_trained = not newest or store.models.of_round(newest) is not None
    return newest + is_trained
