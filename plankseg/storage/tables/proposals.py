"""The `proposals` table: the images of each round, and every candidate batch they were chosen from."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from plankseg.errors import StoreError
from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.schemas import as_mappings, from_table


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRow:
    """One image of one candidate batch of a round: chosen by the selector, or a control, or only looked at.

    A control is drawn at random, in no batch. A `blind` image is shown without its pre-mask. `replaces` is the skipped
    image of the same round that this one was chosen for later.
    """

    round: int
    image_id: str
    chosen: bool
    model_id: str
    seed: int
    manifest_sha: str
    control: bool = False
    uncertainty: float | None = None
    batch: int | None = None
    premask_sha: str | None = None
    blind: bool | None = None
    replaces: str | None = None


class Proposals:
    """The `proposals` table: one commit per round, for ever, and one per replacement of a skipped image."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def commit(self, round_number: int, rows: Sequence[ProposalRow]) -> bool:
        """Record a round's proposal; False and nothing done when the round already has one.

        The same image may stand in several candidate batches, and so in several rows.

        Raises StoreError for no rows, rows of another round, or an image twice in one batch.
        """
        rounds = {row.round for row in rows}
        if rounds != {round_number}:
            raise StoreError(f"The proposal of round {round_number} has rows of rounds {sorted(rounds)}; give its own.")
        if len({(row.batch, row.image_id) for row in rows}) < len(rows):
            raise StoreError(
                f"A batch of round {round_number}'s proposal names an image twice; draw without replacement."
            )
        return self._tables.append("proposals", as_mappings(rows), [f"proposal-{round_number}"])

    def replace(self, row: ProposalRow) -> bool:
        """Record the image that is asked for in place of a skipped one; False and nothing done if it has one already.

        Raises StoreError for a row that is not chosen or replaces nothing.
        """
        if not row.chosen or row.replaces is None:
            raise StoreError(f"Image {row.image_id} replaces nothing; give the skipped image in `replaces`.")
        return self._tables.append("proposals", as_mappings([row]), [f"replacement-{row.round}-{row.replaces}"])

    def of_round(self, round_number: int) -> list[ProposalRow]:
        """All rows of a round, by ascending image_id; empty when there is no proposal."""
        rows = self._tables.read("proposals", where=pc.field("round") == round_number)
        return from_table(ProposalRow, rows.sort_by("image_id"))

    def chosen(self, round_number: int) -> list[ProposalRow]:
        """The rows a person is asked about because they teach most, falling uncertainty; controls are left out."""
        rows = [row for row in self.of_round(round_number) if row.chosen]
        return sorted(rows, key=lambda row: (-(row.uncertainty or 0.0), row.image_id))

    def asked(self, round_number: int) -> list[ProposalRow]:
        """Every row that a person is asked about: the chosen ones, then the controls."""
        return [*self.chosen(round_number), *(row for row in self.of_round(round_number) if row.control)]

    def rounds(self) -> list[int]:
        """The rounds that have a proposal, ascending."""
        return sorted(pc.unique(self._tables.read("proposals", columns=["round"])["round"]).to_pylist())

    def proposed_ids(self) -> set[str]:
        """Every image that a person was ever asked about: chosen or control."""
        asked = pc.field("chosen") | pc.field("control")
        return set(self._tables.read("proposals", columns=["image_id"], where=asked)["image_id"].to_pylist())
