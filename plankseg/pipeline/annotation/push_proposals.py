"""Push the proposed images of a round into Label Studio, with their pre-masks."""

from dataclasses import dataclass

from plankseg.config import Settings
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.sync.deduplicate import deduplicate_tasks
from plankseg.labelling.sync.push import PushItem, PushReport, push_round
from plankseg.pipeline.annotation.label_rows import stored_mask
from plankseg.pipeline.ingest.bucket_images import bucket_access, shown_from_bucket
from plankseg.storage.s3.addresses import Address
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.pushes import PushRow


@dataclass(frozen=True)
class PushOptions:
    """Title of the project, and whether browsers get signed addresses of images in a bucket."""

    title: str = "plankseg"
    presign: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "PushOptions":
        """The options of the settings."""
        return cls(settings.project, settings.presign_images)


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

    Images in a bucket are shown from there: through Label Studio, or with `options.presign` by signed addresses.
    A deleted task is pushed once more, because it may have been a slip; deleted again, its image counts as skipped.
    """
    _skip_deleted(store, label_studio, project, round_number)
    answered = {row.image_id for row in store.labels.answered(round_number)}
    rows = [row for row in store.proposals.asked(round_number) if row.image_id not in answered]
    images = store.catalogue.rows_by_id(row.image_id for row in rows)
    urls = shown_from_bucket(store, images)
    for bucket in sorted({Address.parse(uri).bucket for uri in urls.values()}):
        label_studio.ensure_bucket(project, bucket_access(bucket, presign=options.presign))
    items = [
        PushItem(
            image_id=row.image_id,
            png=None if row.image_id in urls else encode_grey(store.catalogue.load(row.image_id)),
            url=urls.get(row.image_id),
            premask=None if row.blind else stored_mask(store, row.premask_sha),
            model_id=row.model_id,
            score=row.uncertainty,
            taxon=images[row.image_id].taxon,
        )
        for row in rows
    ]
    report = push_round(label_studio, project, items, round=round_number)
    store.pushes.add(
        PushRow(round=round_number, image_id=image_id, title=options.title, project=project, task=task)
        for image_id, task in report.tasks.items()
    )
    label_studio.ensure_tab(project, f"Round {round_number}", round_number)
    return report


def _skip_deleted(store: Store, label_studio: LabelStudio, project: int, round_number: int) -> None:
    """Record a skip for images that were pushed twice, never answered, and have no task now."""
    answered = {row.image_id for row in store.labels.answered(round_number)}
    pushed: dict[str, list[int]] = {}
    for row in store.pushes.of_round(round_number):
        if row.project == project and row.image_id not in answered:
            pushed.setdefault(row.image_id, []).append(row.task)
    pushed_twice = {image_id: max(tasks) for image_id, tasks in pushed.items() if len(tasks) > 1}
    if not pushed_twice:
        return
    existing = deduplicate_tasks(label_studio.list_tasks(project, round_number), round=round_number).kept
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
