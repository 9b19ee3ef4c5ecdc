"""How do the proposed images reach a person, and the person's answers the label store?"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import changed_pixels, decode_mask, dice, encode_mask, pixel_sha
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.protocol import LabelStudio
from plankseg.labelling.pulling import read_round
from plankseg.labelling.pushing import PushItem, PushReport, push_round
from plankseg.labelling.tasks import Answer, Task, identity
from plankseg.storage.labels import LabelRow
from plankseg.storage.proposals import ProposalRow
from plankseg.storage.store import Store

LABELING_CONFIG = Path(__file__).resolve().parents[2] / "label_studio" / "labeling_config.xml"


@dataclass(frozen=True)
class Collected:
    """What one look at Label Studio brought a round: new versions of answers, and how many images are still open.

    `quarantined` are the reasons of malformed answers: the new ones, and those for which nothing better came since.
    """

    new: int
    answered: int
    open: int
    quarantined: tuple[str, ...]


@contextmanager
def connect(settings: Settings) -> Iterator[LabelStudio]:
    """The Label Studio of the settings, checked: it answers and takes our token. Closed at the end.

    Raises:
        LabelStudioAuthError: no token, or a refused one.
        LabelStudioDownError: nobody answers at the address.
    """
    from plankseg.labelling.client import LabelStudioClient  # its SDK is slow to load

    if settings.label_studio_token is None:
        raise LabelStudioAuthError(
            "PLANKSEG_LABEL_STUDIO_TOKEN is not set; copy the token from Label Studio's 'Account & Settings' page."
        )
    client = LabelStudioClient(settings.label_studio_url, settings.label_studio_token.get_secret_value())
    with client:
        client.check()
        yield client


def project_of(label_studio: LabelStudio, settings: Settings) -> int:
    """The project of the settings, made from `label_studio/labeling_config.xml` if it is missing."""
    return label_studio.ensure_project(settings.project, LABELING_CONFIG.read_text(encoding="utf-8"))


def push(store: Store, label_studio: LabelStudio, project: int, *, round_number: int) -> PushReport:
    """Bring every proposed image that nobody answered yet into Label Studio; what is there already stays as it is."""
    answered = {row.image_id for row in store.labels.answered(round_number)}
    rows = [row for row in store.proposals.asked(round_number) if row.image_id not in answered]
    images = store.catalogue.rows_by_id(row.image_id for row in rows)
    items = [
        PushItem(
            image_id=row.image_id,
            png=encode_grey(store.catalogue.load(row.image_id)),
            premask=None if row.blind else _premask(store, row),
            model_id=row.model_id,
            score=row.uncertainty,
            taxon=images[row.image_id].taxon,
        )
        for row in rows
    ]
    report = push_round(label_studio, project, items, round=round_number)
    label_studio.ensure_tab(project, f"Round {round_number}", round_number)
    return report


def collect(store: Store, label_studio: LabelStudio, project: int, *, round_number: int) -> Collected:
    """Take every answer of a round into the label store; each version of an answer once.

    A malformed answer is quarantined alone, with its reason; the others go on.
    """
    return _take(store, label_studio.list_tasks(project, round_number), [round_number])[round_number]


def collect_all(store: Store, label_studio: LabelStudio, project: int) -> dict[int, Collected]:
    """Take the answers of every round that was proposed, from one listing; what each round brought.

    An answer to an earlier round that was changed later arrives too, and counts from then on.
    """
    rounds = store.proposals.rounds()
    return _take(store, label_studio.list_tasks(project), rounds) if rounds else {}


def _take(store: Store, tasks: Sequence[Task], rounds: Sequence[int]) -> dict[int, Collected]:
    """Record what is new among the listed tasks in one commit, and say for each round how it stands then."""
    known = store.labels.versions()
    asked = {n: {row.image_id: row for row in store.proposals.asked(n)} for n in rounds}
    fresh = {n: _new_labels(store, tasks, n, rows=asked[n], known=known) for n in rounds}
    store.labels.add(label for labels in fresh.values() for label in labels)
    return {n: _standing(store, n, asked=asked[n].keys(), fresh=fresh[n]) for n in rounds}


def _new_labels(
    store: Store,
    tasks: Sequence[Task],
    round_number: int,
    *,
    rows: Mapping[str, ProposalRow],
    known: AbstractSet[tuple[int, datetime]],
) -> list[LabelRow]:
    """A row for each version of an answer to a proposed image that is not in the store yet."""
    images = store.catalogue.rows_by_id(rows)
    premask = cache(lambda image_id: _premask(store, rows[image_id]))
    ours = [task for task in tasks if (who := identity(task)) and who[1] in rows]
    pulled = read_round(
        ours,
        round=round_number,
        shape_of=lambda image_id: (images[image_id].height, images[image_id].width),
        premask_of=lambda image_id: None if rows[image_id].blind else premask(image_id),  # then it was drawn
        is_known=known.__contains__,
    )
    return [_label(store, answer, rows[answer.image_id], premask(answer.image_id)) for answer in pulled.answers]


def _standing(store: Store, round_number: int, *, asked: AbstractSet[str], fresh: Sequence[LabelRow]) -> Collected:
    answers = [row for row in store.labels.answered(round_number) if row.image_id in asked]
    # New ones and those that still stand, each once.
    reasons = dict.fromkeys(row.reason or "" for row in (*answers, *fresh) if row.status == "quarantined")
    return Collected(new=len(fresh), answered=len(answers), open=len(asked) - len(answers), quarantined=tuple(reasons))


def _premask(store: Store, row: ProposalRow) -> Mask | None:
    return None if row.premask_sha is None else decode_mask(store.blobs.get(row.premask_sha, "png"))


def _label(store: Store, answer: Answer, row: ProposalRow, before: Mask | None) -> LabelRow:
    """The row of one answer; its mask is in the store before the row that names it."""
    mask = answer.mask
    comparable = mask is not None and before is not None
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
        premask_sha=row.premask_sha,
        model_id=row.model_id,
        dice_to_premask=dice(mask, before) if comparable else None,  # type: ignore[arg-type]
        changed_px=changed_pixels(mask, before) if comparable else None,  # type: ignore[arg-type]
        ls_task=answer.task_id,
        ls_annotation=answer.annotation_id,
        answered_at=answer.updated_at,
    )
