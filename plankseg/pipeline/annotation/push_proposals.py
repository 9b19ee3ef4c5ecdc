"""Push the proposed images of a round into Label Studio, with their pre-masks."""

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice

from plankseg.config import Settings
from plankseg.errors import ImageReadError, StoreDownError, StoreError, StoreRefusedError
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import TaskIdentity
from plankseg.labelling.sync.classify import classify_tasks
from plankseg.labelling.sync.deduplicate import deduplicate_tasks
from plankseg.labelling.sync.push import PushItem, PushReport, push_round
from plankseg.pipeline.annotation.label_rows import pushed_tasks, stored_mask
from plankseg.pipeline.archive.image_paths import relative_paths
from plankseg.pipeline.ingest.bucket_images import bucket_access, shown_from_bucket
from plankseg.pipeline.loop.second_opinions import PEOPLE, asked_of_two
from plankseg.storage.s3.addresses import Address
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.proposals import ProposalRow
from plankseg.storage.tables.pushes import PushRow

LOST_IMAGE = -(2**62)  # annotation ids of skips for lost images lie below; no real id and no -task is so small
POOL_SAMPLE = 20
BY_HAND = "Added by hand"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushOptions:
    """Title of the project, whether browsers get signed addresses of images in a bucket, what two people answer."""

    title: str = "plankseg"
    presign: bool = False
    asked_twice: float = 0.0

    @classmethod
    def of(cls, settings: Settings, *, asked_twice: float = 0.0) -> "PushOptions":
        """The options of the settings; `asked_twice` is the recipe's share of images for two people."""
        return cls(settings.project, settings.presign_images, asked_twice)


DEFAULT_OPTIONS = PushOptions()


def push(
    store: Store,
    label_studio: LabelStudio,
    project: int,
    *,
    round_number: int,
    options: PushOptions = DEFAULT_OPTIONS,
) -> PushReport:
    """Bring every proposed image without an answer into Label Studio; what is there already stays as it is.

    Images in a bucket are shown from there, if a browser shows them as we decode them: through Label Studio, or with
    `options.presign` by signed addresses. All others are uploaded. A deleted task is pushed once more, because it may
    have been a slip; deleted again, its image counts as skipped. An image that was lost counts as skipped, too.
    Of the images without an answer a share is offered to a second person as well (`options.asked_twice`).
    """
    pushed = pushed_tasks(store, project)
    existing = _existing_tasks(label_studio, project, round_number, pushed)
    _skip_deleted(store, project, round_number, existing)
    answers = store.labels.answered(round_number)  # a quarantined one is asked again once its task was deleted
    done = {row.image_id for row in answers if row.status != "quarantined"} | store.exclusions.current("removed").keys()
    rows = [row for row in store.proposals.asked(round_number) if row.image_id not in done]
    items = _items(store, [row for row in rows if row.image_id not in existing], round_number)
    for bucket in sorted({Address.parse(item.url).bucket for item in items if item.url is not None}):
        label_studio.ensure_bucket(project, bucket_access(bucket, presign=options.presign))
    report = push_round(label_studio, project, items, round=round_number, pushed=pushed)
    open_before = {row.image_id: existing[row.image_id] for row in rows if row.image_id in existing}
    report = replace(report, tasks=open_before | report.tasks)
    twice = asked_of_two([row.image_id for row in store.proposals.asked(round_number)], options.asked_twice)
    wanted = {task for image_id, task in report.tasks.items() if image_id in twice}
    _ask_two_people(label_studio, project, round_number, wanted)
    store.pushes.add(
        PushRow(round=round_number, image_id=image_id, title=options.title, project=project, task=task)
        for image_id, task in report.tasks.items()
    )
    label_studio.ensure_tab(project, BY_HAND, None)
    label_studio.ensure_tab(project, f"Round {round_number}", round_number)
    return report


def _ask_two_people(label_studio: LabelStudio, project: int, round_number: int, wanted: Set[int]) -> None:
    """Offer these tasks of a round to a second person; one that is offered to more people stays so."""
    if wanted:
        listed = label_studio.list_tasks(project, round_number)
        once = [int(task["id"]) for task in listed if task["id"] in wanted and task.get("overlap", 1) < PEOPLE]
        label_studio.ask_people(once, PEOPLE)


def _existing_tasks(
    label_studio: LabelStudio, project: int, round_number: int, pushed: Mapping[int, TaskIdentity]
) -> dict[str, int]:
    tasks = classify_tasks(label_studio.list_tasks(project, round_number), pushed=pushed)
    return deduplicate_tasks(tasks.ours, round=round_number).ids


def _items(store: Store, rows: Sequence[ProposalRow], round_number: int) -> list[PushItem]:
    """What is pushed for the images that have no task; lost ones are left out, and recorded as skipped."""
    images = {image.image_id: image for image in store.catalogue.rows(row.image_id for row in rows)}
    urls, ranks = shown_from_bucket(images), _ranks(store, round_number)
    paths = relative_paths(store, images.values()) if images else {}
    items: list[PushItem] = []
    lost: dict[str, str] = {}
    for row in rows:
        try:
            item = _item(store, row, images.get(row.image_id), urls.get(row.image_id))
            items.append(replace(item, file=paths[row.image_id], rank=ranks[row.image_id], ranks=len(ranks)))
        except (StoreDownError, StoreRefusedError):
            raise
        except (ImageReadError, StoreError) as error:
            log.warning("Image %s of round %d is left out: %s", row.image_id, round_number, error)
            lost[row.image_id] = str(error)
    if lost:
        _skip_lost(store, lost, round_number)
    return items


def _ranks(store: Store, round_number: int) -> dict[str, int]:
    """The number of each image of a round in the order of its tab: the most uncertain first, blind ones last."""
    rows = store.proposals.asked(round_number)
    by_rank = sorted(rows, key=lambda row: (row.blind or row.uncertainty is None, -(row.uncertainty or 0.0)))
    return {row.image_id: rank for rank, row in enumerate(by_rank, start=1)}


def _item(store: Store, row: ProposalRow, image: ImageRow | None, url: str | None) -> PushItem:
    if image is None:
        raise StoreError(f"Image {row.image_id} is not in the catalogue any more.")
    return PushItem(
        image_id=row.image_id,
        png=None if url else encode_grey(store.catalogue.load(row.image_id)),
        url=url,
        premask=None if row.blind else stored_mask(store, row.premask_sha),
        model_id=row.model_id,
        score=row.uncertainty,
        taxon=image.taxon,
    )


def _skip_lost(store: Store, lost: Mapping[str, str], round_number: int) -> None:
    """Record a skip with the reason for each lost image. Raises StoreError if no image at all can be found.

    Then the images are not lost: their disk is not mounted.
    """
    asked = [row.image_id for row in store.proposals.asked(round_number)]
    others = [*(i for i in asked if i not in lost), *islice(iter(store.catalogue.ids("pool")), POOL_SAMPLE)]
    if not any(_is_found(store, image_id) for image_id in others if image_id not in lost):
        image_id, reason = next(iter(lost.items()))
        raise StoreError(
            f"None of the images can be found, the first is {image_id}: {reason} If their disk is not mounted, mount "
            "it and run this again; if they moved, ingest them from the new place."
        )
    store.labels.add(
        LabelRow(
            image_id=image_id,
            round=round_number,
            origin="drawn",
            status="skipped",
            reason=f"Left out of round {round_number}, because it could not be read when it was to be pushed: {reason}",
            ls_annotation=LOST_IMAGE - int(image_id[:12], 16),
            answered_at=utc_now(),
        )
        for image_id, reason in lost.items()
    )


def _is_found(store: Store, image_id: str) -> bool:
    try:
        return not store.catalogue.is_lost(image_id)
    except StoreError:
        return False


def _skip_deleted(store: Store, project: int, round_number: int, existing: Mapping[str, int]) -> None:
    """Record a skip for images that were pushed twice, never answered, and have no task now."""
    answered = {row.image_id for row in store.labels.answered(round_number)}
    pushed: dict[str, list[int]] = {}
    for row in store.pushes.of_round(round_number):
        if row.project == project and row.image_id not in answered:
            pushed.setdefault(row.image_id, []).append(row.task)
    pushed_twice = {image_id: max(tasks) for image_id, tasks in pushed.items() if len(tasks) > 1}
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
        for image_id, task in sorted(pushed_twice.items())
        if image_id not in existing
    )
