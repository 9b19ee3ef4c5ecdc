"""Report of an ingest: counts, rejected files with reasons, warnings."""

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from plankseg.imaging.threshold import SEVERAL_OBJECTS
from plankseg.storage.objects.archive_members import member_name
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role

MAX_LISTED = 200_000  # rejected files that are listed one by one; any more are counted


@dataclass(frozen=True)
class Problem:
    """A file that was left out, or an image without a mask, and why; `image_id` where the catalogue knows it."""

    path: str
    reason: str
    image_id: str | None = None


WITHOUT_MASK: dict[Role, str] = {
    "source": "They are not trained on.",
    "pool": "They can still be chosen for a round.",
    "validation": "They measure nothing until they have one.",
}
"""What becomes of images without a mask, by their role."""


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


@dataclass
class IngestReport:
    """What an ingest did. `added` counts new images, `known` those that were there already.

    `moved` are known images whose recorded file was gone or held other bytes, found elsewhere. `damage` says where an
    archive ends too early: what was whole is kept. `unlisted` counts rejected files beyond those that are listed;
    `changed_role` counts the added images that had another role, by that role; `location` is what was read;
    `notes` say what was decided by a guess, and should be looked at.
    """

    role: Role
    added: int = 0
    known: int = 0
    moved: int = 0
    masks: int = 0
    ignored: int = 0
    layout: str = "class_folders"
    location: str = ""
    damage: str | None = None
    rejected: list[Problem] = field(default_factory=list)
    maskless: list[Problem] = field(default_factory=list)
    unlisted: int = 0
    notes: list[str] = field(default_factory=list)
    changed_role: Counter[Role] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> list[Problem]:
        """Rejected files, then images without a mask."""
        return [*self.rejected, *self.maskless]

    def reject(self, problem: Problem) -> None:
        """Record a file that is left out."""
        if len(self.rejected) < MAX_LISTED:
            self.rejected.append(problem)
        else:
            self.unlisted += 1

    def summary(self) -> str:
        """One line for a log."""
        moved = f" ({self.moved} at a new place)" if self.moved else ""
        new = _counted(self.added - self.changed_role.total(), "new image")
        others = "".join(f", {count} from the {role}" for role, count in self.changed_role.items())
        rejected = _counted(len(self.rejected) + self.unlisted, "file")
        return (
            f"{self.role}: {new}{others}, {self.known} known{moved}, {_counted(self.masks, 'mask')}, "
            f"{len(self.maskless)} without, {rejected} rejected, {_counted(self.ignored, 'other file')} ignored"
        )

    def shown_path(self, problem: Problem) -> str:
        """The path of a problem's file inside of what was read, as a person knows it."""
        if (name := member_name(problem.path)) is not None:
            return name
        path = problem.path
        if path.startswith("file://"):
            path = unquote(path.removeprefix("file://"))
        below = path.removeprefix(f"{self.location}/")
        return path.rpartition("/")[2] if below == path else below

    def fates(self) -> str:
        """What became of the files that have a problem, in sentences; empty where none has."""
        left_out, without = len(self.rejected) + self.unlisted, len(self.maskless)
        sentences = [f"{_counted(left_out, 'file')} could not be taken."] if left_out else []
        if without:
            sentences.append(f"Images without a mask: {without}. {WITHOUT_MASK[self.role]}")
            if any(problem.reason.startswith(SEVERAL_OBJECTS) for problem in self.maskless):
                sentences.append(
                    "Per cent: of the area of the chosen object, the largest or the most central of the large ones."
                )
        return " ".join(sentences)

    def warnings(self) -> list[str]:
        """What a person should look at: guesses, classes of one image, and classes of which nothing could be taken."""
        lost = sorted(taxon for taxon in self.seen if not self.taken[taxon])
        single = sorted(taxon for taxon, count in self.taken.items() if count == 1)
        warnings = [
            f"Taxon {taxon!r} has no image: all {self.seen[taxon]} files were rejected; see their reasons."
            for taxon in lost
        ]
        if single:
            warnings.append(
                f"Taxa with one image only ({len(single)}): {', '.join(single[:20])}{', ...' if single[20:] else ''}. "
                "If these are no taxa, the layout was taken for another one: ingest again and choose it under Advanced."
            )
        if not self.added and not self.known and self.rejected:
            warnings.append(
                f"Not one image could be taken, {len(self.rejected)} files were rejected, the first because: "
                f"{self.rejected[0].reason}"
            )
        warnings += [
            f"{count} of these images were in the {role} before; from now on they are in the {self.role}."
            for role, count in self.changed_role.items()
        ]
        return [*warnings, *self.notes]

    def write(self, store: Store) -> Path | None:
        """The whole list of left-out files as a CSV in the store's work folder; None when nothing was left out."""
        if not self.rejected and not self.maskless:
            return None
        path = store.work_dir("ingest") / f"{self.role}-{utc_now():%Y%m%d-%H%M%S-%f}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("what", "file", "reason", "image_id"))
            if self.unlisted:
                table.writerow(("rejected", "", f"{self.unlisted} more files, which are not listed", ""))
            for what, problems in (("rejected", self.rejected), ("no mask", self.maskless)):
                table.writerows((what, problem.path, problem.reason, problem.image_id or "") for problem in problems)
        return path
