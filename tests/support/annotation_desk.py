"""A store with a proposed round of four images, pushed to a Label Studio in memory."""

from dataclasses import dataclass
from pathlib import Path

from plankseg.config import Settings
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.labelling.api.tasks import premask_regions
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import Collected, collect
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import push
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.little_store import add_model, add_proposal, noisy_image, square, store_with

SHAPE = noisy_image(0).shape
PREMASK = square(SHAPE, 12)
MASK = square(SHAPE, 9)


@dataclass
class Desk:
    """A store with a proposed round of four images, pushed, and the Label Studio they lie in."""

    store: Store
    server: FakeLabelStudio
    project: int
    ids: list[str]

    def answer(self, index: int, mask: Mask | None = None, **fields: object) -> int:
        """Answer the image at a place: by a mask, or by whatever `result` says."""
        task = {t["data"]["image_id"]: t["id"] for t in self.server.list_tasks(self.project)}[self.ids[index]]
        regions = premask_regions(mask, origin="manual") if mask is not None and mask.any() else []
        given = {"result": regions, "lead_time": 7.5} | fields
        return self.server.create_annotation(task, **given)  # type: ignore[arg-type]

    def collect(self) -> Collected:
        return collect(self.store, self.server, self.project).rounds[1]

    def row(self, index: int) -> LabelRow:
        """The answer that counts."""
        return {row.image_id: row for row in self.store.labels.answered(1)}[self.ids[index]]

    def mask(self, index: int) -> Mask:
        return decode_mask(self.store.blobs.get(str(self.row(index).mask_sha), "png"))


def desk_with_round(folder: Path) -> Desk:
    """Four images of five proposed as round 1, each with the same pre-mask."""
    store = store_with(folder, pool=5)
    add_model(store, 0)
    ids = store.catalogue.ids("pool")[:4]
    add_proposal(store, 1, ids, premask=PREMASK)
    return desk_of_round(store)


def desk_of_round(store: Store) -> Desk:
    """The images of round 1 of a store, pushed to a new Label Studio."""
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    push(store, server, project, round_number=1)
    return Desk(store, server, project, [row.image_id for row in store.proposals.asked(1)])


def task_of(server: FakeLabelStudio, project: int, image_id: str) -> int:
    """The number of an image's task."""
    return {task["data"].get("image_id"): int(task["id"]) for task in server.list_tasks(project)}[image_id]
