"""How do the proposed images reach a person, and the person's answers the label store?"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError, ProjectGoneError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import changed_pixels, decode_mask, dice, encode_mask, pixel_sha
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import Answer, Task, identity
from plankseg.labelling.sync.deduplicate import deduplicate_tasks
from plankseg.labelling.sync.pull import read_round
from plankseg.labelling.sync.push import PushItem, PushReport, push_round
from plankseg.pipeline.annotation.manual_tasks import ManualTasks, read_manual_tasks
from plankseg.pipeline.ingest.bucket_images import bucket_access, is_shown_from_bucket
from plankseg.storage.s3.addresses import Address
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.pushes import PushRow

LABELING_CONFIG = Path(__file__).resolve().parents[3] / "label_studio" / "labeling_config.xml"


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
    from plankseg.labelling.api.client import LabelStudioClient  # its SDK is slow to load

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


def project_for(store: Store, label_studio: LabelStudio, settings: Settings) -> int:
    """The project of the settings; made only while nothing was ever pushed into one of that title.

    Raises ProjectGoneError when the one that rounds were pushed into was deleted or renamed.
    """
    pushed = store.pushes.projects(settings.project)
    if pushed and label_studio.find_project(settings.project) not in pushed:
        project, rounds = list(pushed.items())[-1]
        raise ProjectGoneError(
            f"Label Studio project {project} ({settings.project!r}), into which rounds {rounds} were pushed, is gone: "
            "deleted, renamed, or this is another server. Every answer that was collected is safe in the store. Bring "
            "it back, or set PLANKSEG_PROJECT to a new title: the open images of the last round are then pushed there."
        )
    return project_of(label_studio, settings)


def push(
    store: Store,
    label_studio: LabelStudio,
    project: int,
    *,
    round_number: int,
    title: str = "plankseg",
    presign: bool = False,
) -> PushReport:
    """Bring every proposed image that nobody answered yet into Label Studio; what is there already stays as it is.

    Images in a bucket are shown from there: through Label Studio, or with `presign` by signed addresses.
    A task that was deleted is pushed once more, it may have been a slip; deleted again, its image counts as skipped.
    """
    _give_up_deleted(store, label_studio, project, round_number)
    answered = {row.image_id for row in store.labels.answered(round_number)}
    rows = [row for row in store.proposals.asked(round_number) if row.image_id not in answered]
    images = store.catalogue.rows_by_id(row.image_id for row in rows)
    urls = {image_id: image.uri for image_id, image in images.items() if is_shown_from_bucket(image.uri)}
    for bucket in sorted({Address.parse(uri).bucket for uri in urls.values()}):
        label_studio.ensure_bucket(project, bucket_access(bucket, presign=presign))
    items = [
        PushItem(
            image_id=row.image_id,
            png=None if row.image_id in urls else encode_grey(store.catalogue.load(row.image_id)),
            url=urls.get(row.image_id),
            premask=None if row.blind else _premask(store, row),
            model_id=row.model_id,
            score=row.uncertainty,
            taxon=images[row.image_id].taxon,
        )
        for row in rows
    ]
    report = push_round(label_studio, project, items, round=round_number)
    store.pushes.add(
        PushRow(round=round_number, image_id=image_id, title=title, project=project, task=task)
        for image_id, task in report.tasks.items()
    )
    label_studio.ensure_tab(project, f"Round {round_number}", round_number)
    return report


def _give_up_deleted(store: Store, label_studio: LabelStudio, project: int, round_number: int) -> None:
    """Count as skipped what was pushed twice, answered never, and has no task now."""
    answered = {row.image_id for row in store.labels.answered(round_number)}
    had: dict[str, list[int]] = {}
    for row in store.pushes.of_round(round_number):
        if row.project == project and row.image_id not in answered:
            had.setdefault(row.image_id, []).append(row.task)
    twice = {image_id: max(tasks) for image_id, tasks in had.items() if len(tasks) > 1}
    if not twice:
        return
    there = deduplicate_tasks(label_studio.list_tasks(project, round_number), round=round_number).kept
    store.labels.add(
        LabelRow(
            image_id=image_id,
            round=round_number,
            origin="drawn",
            status="skipped",
            reason=f"Its task was deleted in Label Studio, and again (task {task}) after it was pushed once more.",
            ls_task=task,
            ls_annotation=-task,  # there is no annotation; no real one is below 0
            answered_at=utc_now(),
        )
        for image_id, task in sorted(twice.items())
        if image_id not in there
    )


def collect(store: Store, label_studio: LabelStudio, project: int, *, round_number: int) -> Collected:
    """Take every answer of a round into the label store; each version of an answer once.

    A malformed answer is quarantined alone, with its reason; the others go on.
    """
    return _take(store, label_studio.list_tasks(project, round_number), [round_number])[round_number]


def collect_all(
    store: Store, label_studio: LabelStudio, project: int, *, tasks: Sequence[Task] | None = None
) -> dict[int, Collected]:
    """Take the answers of every round that was proposed, from one listing, which may be given; what each round brought.

    An answer to an earlier round that was changed later arrives too, and counts from then on.
    """
    rounds = store.proposals.rounds()
    if not rounds:
        return {}
    return _take(store, label_studio.list_tasks(project) if tasks is None else tasks, rounds)


def collect_manual_tasks(store: Store, label_studio: LabelStudio, tasks: Sequence[Task]) -> ManualTasks:
    """Take the answers of listed tasks that people added themselves; they count from the round trained next."""
    newest = max(store.proposals.rounds(), default=0)
    trained = not newest or store.models.of_round(newest) is not None
    known = store.labels.versions()
    found = read_manual_tasks(store, label_studio, tasks, round_number=newest + trained, known=known)
    store.labels.add(found.labels)
    return found


def _take(store: Store, tasks: Sequence[Task], rounds: Sequence[int]) -> dict[int, Collected]:
    """Record what is new among the listed tasks in one commit, and say for each round how it stands then."""
    known = store.labels.versions()
    asked = {n: {row.image_id: row for row in store.proposals.asked(n)} for n in rounds}
    fresh = {n: _new_labels(store, tasks, n, rows=asked[n], known=known) for n in rounds}
    store.labels.add(label for labels in fresh.values() for label in labels)
    return {n: _standing(store, n, asked=asked[n].keys(), fresh=fresh[n]) for n in rounds}


class Shown(Protocol):
    """What a person was shown with an image: of a round its proposal, of the validation set what its task holds."""

    @property
    def premask_sha(self) -> str | None:
        """The pre-mask, None where there was none."""

    @property
    def model_id(self) -> str | None:
        """The model that made it."""

    @property
    def blind(self) -> bool | None:
        """True where there was a pre-mask that the person was not shown."""


def record_answers(store: Store, tasks: Sequence[Task], *, round_number: int, shown: Mapping[str, Shown]) -> Collected:
    """Record what is new among the tasks of these images, and say how it stands then."""
    fresh = _new_labels(store, tasks, round_number, rows=shown, known=store.labels.versions())
    store.labels.add(fresh)
    return _standing(store, round_number, asked=shown.keys(), fresh=fresh)


def _new_labels(
    store: Store,
    tasks: Sequence[Task],
    round_number: int,
    *,
    rows: Mapping[str, Shown],
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
    newest = store.labels.newest_versions() if pulled.answers else {}
    labels = [_label(store, answer, rows[answer.image_id], premask(answer.image_id)) for answer in pulled.answers]
    return [_after(label, newest.get(label.ls_annotation or 0)) for label in labels]


def _after(label: LabelRow, newest: datetime | None) -> LabelRow:
    """The label, later than the version of its annotation that we saw before, though Label Studio's clock went back."""
    if newest is None or label.answered_at > newest:
        return label
    return replace(label, answered_at=newest + timedelta(microseconds=1), ls_updated_at=label.answered_at)


def _standing(store: Store, round_number: int, *, asked: AbstractSet[str], fresh: Sequence[LabelRow]) -> Collected:
    answers = [row for row in store.labels.answered(round_number) if row.image_id in asked]
    # New ones and those that still stand, each once.
    reasons = dict.fromkeys(row.reason or "" for row in (*answers, *fresh) if row.status == "quarantined")
    return Collected(new=len(fresh), answered=len(answers), open=len(asked) - len(answers), quarantined=tuple(reasons))


def _premask(store: Store, row: Shown) -> Mask | None:
    return None if row.premask_sha is None else decode_mask(store.blobs.get(row.premask_sha, "png"))


def _label(store: Store, answer: Answer, row: Shown, before: Mask | None) -> LabelRow:
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
