"""Build label rows from people's answers: each version of an answer once, its mask stored before its row."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from plankseg.errors import AnswerError, ImageReadError, ObjectCorruptError, ObjectMissingError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import changed_pixels, decode_mask, dice, encode_mask, pixel_sha
from plankseg.imaging.reading import looks_alike_in_browsers
from plankseg.labelling.api.answers import Answer, AnswerVersion
from plankseg.labelling.api.labeling_config import IMAGE
from plankseg.labelling.api.tasks import Task, TaskIdentity, identity
from plankseg.labelling.sync.pull import read_round
from plankseg.storage.s3.addresses import is_s3
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow


@dataclass(frozen=True)
class Premask:
    """The pre-mask of a task: its blob and its model, None where there was none; `blind`: it was not shown."""

    sha: str | None = None
    model_id: str | None = None
    blind: bool | None = None

    @classmethod
    def of(cls, row: ProposalRow) -> "Premask":
        """The pre-mask of a proposed image."""
        return cls(row.premask_sha, row.model_id, row.blind)


@dataclass(frozen=True)
class NewRows:
    """Rows of new versions of answers, and what stands in the place of an answer but is none, in words.

    `unanswered_clicks` were left in those answers, without the assistant's answer: they draw nothing.
    """

    rows: tuple[LabelRow, ...]
    unreadable: tuple[str, ...]
    unanswered_clicks: int = 0


def new_label_rows(
    store: Store,
    tasks: Sequence[Task],
    round_number: int,
    *,
    premasks: Mapping[str, Premask],
    known: AbstractSet[AnswerVersion],
) -> NewRows:
    """A row for each version of an answer that is not `known`, among the tasks of the images of `premasks`."""
    premask_of = cache(lambda image_id: stored_mask(store, premasks[image_id].sha))
    ours = [task for task in tasks if (owner := identity(task)) and owner.image_id in premasks]
    found = read_round(
        ours,
        round=round_number,
        shape_of=_Shapes(store, premasks, ours),
        premask_of=lambda image_id: None if premasks[image_id].blind else premask_of(image_id),  # blind: drawn
        is_known=known.__contains__,
    )
    newest = store.labels.newest_versions() if found.answers else {}
    rows = [
        label_row(store, answer, premasks[answer.image_id], premask_of(answer.image_id)) for answer in found.answers
    ]
    return NewRows(
        rows=tuple(_later_than(row, newest.get(row.ls_annotation or 0)) for row in rows),
        unreadable=found.unreadable,
        unanswered_clicks=sum(answer.tools.unanswered for answer in found.answers),
    )


class _Shapes:
    """Height and width of images that Label Studio shows as plankseg decodes them."""

    def __init__(self, store: Store, image_ids: Iterable[str], tasks: Iterable[Task]) -> None:
        self._store = store
        self._images = {row.image_id: row for row in store.catalogue.rows(image_ids)}
        self._from_bucket = {
            owner.image_id for task in tasks if (owner := identity(task)) and is_s3(str(task["data"].get(IMAGE)))
        }

    def __call__(self, image_id: str) -> tuple[int, int]:
        """Shape of an image. Raises AnswerError for an image that the browser turned, or that is unknown."""
        row = self._images.get(image_id)
        if row is None:
            raise AnswerError("Its image is not in the catalogue any more; ingest it again.")
        if image_id in self._from_bucket:
            require_shown_as_decoded(self._store, image_id)
        return row.height, row.width


def require_shown_as_decoded(store: Store, image_id: str) -> None:
    """Raise AnswerError if a browser shows the file otherwise than plankseg decodes it; a lost file is not checked."""
    try:
        data = store.catalogue.read_bytes(image_id)
        alike = looks_alike_in_browsers(data)
    except (ObjectMissingError, ObjectCorruptError):
        return
    except ImageReadError:
        alike = False
    if not alike:
        raise AnswerError(
            "The browser shows its file turned, or otherwise than plankseg decodes it, so the mask may lie elsewhere. "
            "Delete the task; the next push uploads the image as plankseg reads it."
        )


def pushed_tasks(store: Store, project: int) -> dict[int, TaskIdentity]:
    """Round and image of every task that was pushed into a project."""
    return {task: TaskIdentity(*owner) for task, owner in store.pushes.owners(project).items()}


def label_row(store: Store, answer: Answer, premask: Premask, premask_mask: Mask | None = None) -> LabelRow:
    """The row of one answer; its mask is stored before the row that names it."""
    mask = answer.mask
    comparable = mask is not None and premask_mask is not None
    return LabelRow(
        image_id=answer.image_id,
        mask_sha=None if mask is None else store.blobs.put(encode_mask(mask), "png"),
        pixel_sha=None if mask is None else pixel_sha(mask),
        round=answer.round,
        origin=answer.origin,
        status=answer.status,
        reason=answer.reason,
        annotator=answer.annotator,
        seconds=answer.seconds,
        premask_sha=premask.sha,
        model_id=premask.model_id,
        dice_to_premask=dice(mask, premask_mask) if comparable else None,  # type: ignore[arg-type]
        changed_px=changed_pixels(mask, premask_mask) if comparable else None,  # type: ignore[arg-type]
        ls_task=answer.task_id,
        ls_annotation=answer.annotation_id,
        answered_at=answer.updated_at,
        clicks=answer.tools.clicks if answer.status == "usable" else None,
        outlines=answer.tools.outlines if answer.status == "usable" else None,
    )


def stored_mask(store: Store, sha: str | None) -> Mask | None:
    """The mask of a blob; None for no blob."""
    return None if sha is None else decode_mask(store.blobs.get(sha, "png"))


def _later_than(row: LabelRow, newest: datetime | None) -> LabelRow:
    """The row, dated after the last known version of its annotation even if Label Studio's clock went back."""
    if newest is None or row.answered_at > newest:
        return row
    return replace(row, answered_at=newest + timedelta(microseconds=1), ls_updated_at=row.answered_at)
