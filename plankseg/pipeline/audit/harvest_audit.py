"""An audit from the draw to the statement: drawn once, pushed into Label Studio, collected, stated as often as asked.

What was drawn is in the store, so every step can be repeated and goes on where it stopped. A person sees the masks as
they are and corrects those that are wrong; every answer counts as that person's mask of its image from then on.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from plankseg.config import AuditConfig
from plankseg.errors import EmptyPoolError, StoreError
from plankseg.imaging.masks import decode_mask, dice
from plankseg.imaging.reading import encode_grey
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.labelling.api.tasks import PushItem
from plankseg.labelling.sync.classify import classify_tasks
from plankseg.labelling.sync.push import push_round
from plankseg.pipeline.annotation.connection import AUDIT_SUFFIX
from plankseg.pipeline.annotation.label_rows import Premask, new_label_rows, pushed_tasks
from plankseg.pipeline.archive.answers import Answers
from plankseg.pipeline.archive.image_paths import paths_of_ids, relative_paths
from plankseg.pipeline.audit.estimates import Estimate, estimate_mean, estimate_share
from plankseg.pipeline.audit.sample import draw_by_confidence
from plankseg.pipeline.exports.mask_records import newest_segmentation
from plankseg.pipeline.ingest.given_answers import round_of_answers
from plankseg.storage.store import Store
from plankseg.storage.tables.audits import AuditRow
from plankseg.storage.tables.labels import LabelRow
from plankseg.storage.tables.pushes import PushRow

QUARTERS = 4
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """One drawn mask. An image that was drawn twice is there twice."""

    image_id: str
    mask_sha: str
    confidence: float  # what the model expects of its Dice; not calibrated


@dataclass(frozen=True)
class Audit:
    """A recorded audit: what was drawn from how many masks, by ascending expected Dice."""

    row: AuditRow
    draws: tuple[Draw, ...]
    masks: int

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The drawn images, each once."""
        return tuple(dict.fromkeys(draw.image_id for draw in self.draws))


@dataclass(frozen=True)
class Statement:
    """What the answers say of all masks of a harvest; complete once no drawn image is `open`.

    `usable` is the share of masks whose Dice to the person's is high enough. An image that the person called unusable
    has no usable mask. `dice` is the mean over the images that can be masked. `quarters` are the shares within the
    quarters of the drawn masks, by ascending expected Dice.
    """

    audit: Audit
    usable_dice: float
    open: int
    skipped: int
    unusable: int
    usable: Estimate
    dice: Estimate
    quarters: tuple[tuple[float, float, Estimate], ...]

    def sentences(self) -> list[str]:
        """The statement in words."""
        row = self.audit.row
        state = f"{self.open} of {len(self.audit.image_ids)} images wait for an answer; so far: " if self.open else ""
        return [
            f"Audit {row.number} of {self.audit.masks} masks by model {row.model_id[:8]}: {len(self.audit.draws)} "
            f"drawn at random, evenly over what the model expects of them; {self.skipped} images skipped, "
            f"{self.unusable} called unusable.",
            f"{state}Share of masks that are good enough (Dice at least {self.usable_dice:g} to the person's): "
            f"{self.usable}.",
            f"Dice: {self.dice}.",
        ]


def find_or_draw(store: Store, config: AuditConfig, model: str | None = None) -> Audit:
    """The audit of the newest segmentation with this size and seed, drawn now where it is not there yet.

    Masks of images that a person answered are none of the model's: they are not drawn. Raises EmptyPoolError where
    there is no mask, ModelError for an unknown model.
    """
    segmentation = newest_segmentation(store, model)
    row = store.audits.of(segmentation.model_id, segmentation.settings, wanted=config.masks, seed=config.seed)
    if row is None:
        answered, removed = Answers.of(store).labels, store.exclusions.current()
        population = [
            Draw(image_id, str(mask["mask_sha"]), _confidence(mask["confidence"]))
            for image_id, mask in sorted(segmentation.masks.items())
            if image_id not in answered and image_id not in removed
        ]
        if not population:
            reason = "a person answered all these images" if segmentation.masks else "the model made none"
            raise EmptyPoolError(f"There is no mask to audit: {reason}. Run the flow 'segment' first.")
        rng = np.random.default_rng([config.seed, int(segmentation.model_id[:12], 16)])
        drawn = draw_by_confidence([draw.confidence for draw in population], config.masks, rng)
        manifest = {"masks": len(population), "draws": [vars(population[position]) for position in drawn]}
        sha = store.blobs.put(json.dumps(manifest, sort_keys=True).encode(), "json")
        row = store.audits.add(
            AuditRow(
                number=0,  # the table gives it
                model_id=segmentation.model_id,
                settings=segmentation.settings,
                wanted=config.masks,
                seed=config.seed,
                manifest_sha=sha,
            )
        )
    return read_audit(store, row)


def _confidence(recorded: object) -> float:
    """The recorded confidence; 0 for an empty mask, which has none."""
    return recorded if isinstance(recorded, float) else 0.0


def read_audit(store: Store, row: AuditRow) -> Audit:
    """What an audit drew. Raises StoreError where its record cannot be read."""
    try:
        manifest = json.loads(store.blobs.get(row.manifest_sha, "json"))
        draws = tuple(Draw(**draw) for draw in manifest["draws"])
        return Audit(row, draws, int(manifest["masks"]))
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"The record of audit {row.number} cannot be read ({error}); give another seed.") from error


def push(store: Store, label_studio: LabelStudio, project: int, audit: Audit) -> int:
    """Put every drawn image with its mask into Label Studio, each once; how many tasks are new."""
    number = audit.row.number
    shas = {draw.image_id: draw.mask_sha for draw in audit.draws}
    images = store.catalogue.rows_by_id(shas)
    paths = relative_paths(store, images.values())

    def on_lost(image_id: str, error: Exception) -> None:
        log.warning("Image %s cannot be read, so nobody can judge its mask: %s", image_id, error)

    items = [
        PushItem(
            image_id,
            encode_grey(grey),
            decode_mask(store.blobs.get(shas[image_id], "png")),
            audit.row.model_id,
            score=None,  # who knows how sure the model is judges otherwise
            taxon=images[image_id].taxon,
            file=paths[image_id],
        )
        for image_id, grey in store.catalogue.readable(list(shas), on_lost)
    ]
    report = push_round(label_studio, project, items, round=number, pushed=pushed_tasks(store, project))
    store.pushes.add(
        PushRow(round=number, image_id=image_id, title=AUDIT_SUFFIX, project=project, task=task)
        for image_id, task in report.tasks.items()
    )
    label_studio.ensure_tab(project, f"Audit {number}", number)
    return len(report.imported)


def collect(store: Store, label_studio: LabelStudio, project: int, audit: Audit) -> int:
    """Take new answers to the audit's tasks into the label store; how many there are.

    They count from the round that is trained next, those of validation images in none.
    """
    premasks = {draw.image_id: Premask(draw.mask_sha, audit.row.model_id) for draw in audit.draws}
    tasks = classify_tasks(label_studio.list_tasks(project, audit.row.number), pushed=pushed_tasks(store, project))
    fresh = new_label_rows(store, tasks.ours, audit.row.number, premasks=premasks, known=store.labels.versions())
    for problem in (*map(str, tasks.edited), *fresh.unreadable):
        log.warning("%s", problem)
    images = store.catalogue.rows_by_id({row.image_id for row in fresh.rows})
    store.add_answers(replace(row, round=round_of_answers(store, images[row.image_id].role)) for row in fresh.rows)
    return len(fresh.rows)


def state(store: Store, audit: Audit, config: AuditConfig) -> Statement:
    """What the answers so far say of all masks."""
    wanted, answers = set(audit.image_ids), _answers_to(store, audit)
    judged = [_judge(store, draw, answers.get(draw.image_id)) for draw in audit.draws]
    open_ids = {i for i in wanted if i not in answers or answers[i].status == "quarantined"}
    verdicts = [None if figure is None else figure >= config.usable_dice for figure in judged]
    is_census = len(audit.draws) == len(wanted) == audit.masks
    maskable = [
        figure
        for draw, figure in zip(audit.draws, judged, strict=True)
        if draw.image_id not in answers or answers[draw.image_id].status != "unusable"
    ]
    return Statement(
        audit=audit,
        usable_dice=config.usable_dice,
        open=len(open_ids),
        skipped=sum(row.status == "skipped" for row in answers.values()),
        unusable=sum(row.status == "unusable" for row in answers.values()),
        usable=estimate_share(verdicts, is_census=is_census),
        dice=estimate_mean(maskable, is_census=is_census),
        quarters=tuple(_quarters(audit.draws, verdicts)),
    )


def _answers_to(store: Store, audit: Audit) -> dict[str, LabelRow]:
    wanted = set(audit.image_ids)
    return {row.image_id: row for row in store.labels.current() if row.by_person and row.image_id in wanted}


def _judge(store: Store, draw: Draw, answer: LabelRow | None) -> float | None:
    """Dice of a drawn mask to the person's, 0 where the image is unusable; None without a verdict."""
    if answer is None or answer.status in ("skipped", "quarantined"):
        return None
    if answer.status == "unusable" or answer.mask_sha is None:
        return 0.0
    if answer.mask_sha == draw.mask_sha:
        return 1.0
    truth, drawn = (decode_mask(store.blobs.get(sha, "png")) for sha in (answer.mask_sha, draw.mask_sha))
    return float(dice(drawn, truth))


def _quarters(draws: Sequence[Draw], verdicts: Sequence[bool | None]) -> list[tuple[float, float, Estimate]]:
    """Lowest and highest expected Dice, and share of usable masks, of each quarter of the draws."""
    parts = [part for part in np.array_split(np.arange(len(draws)), QUARTERS) if len(part)]
    return [
        (draws[part[0]].confidence, draws[part[-1]].confidence, estimate_share([verdicts[i] for i in part]))
        for part in parts
    ]


def drawn_images(store: Store, audit: Audit) -> list[dict[str, object]]:
    """The drawn images, each once, as rows of a table: path, expected Dice, answer, Dice to the person's mask."""
    answers, paths = _answers_to(store, audit), paths_of_ids(store, audit.image_ids)
    rows = list[dict[str, object]]()
    for image_id, draw in {draw.image_id: draw for draw in audit.draws}.items():
        answer = answers.get(image_id)
        figure = _judge(store, draw, answer)
        rows.append(
            {
                "image": paths[image_id],
                "expected Dice": f"{draw.confidence:.3f}",
                "answer": "waits" if answer is None else answer.origin if answer.status == "usable" else answer.status,
                "Dice": None if figure is None else f"{figure:.3f}",
            }
        )
    return rows


def rows_of(statement: Statement) -> list[dict[str, object]]:
    """The statement as a table: all masks, and each quarter of the drawn ones by expected Dice."""
    rows = [("all masks: good enough", "", "", statement.usable), ("all masks: Dice", "", "", statement.dice)]
    rows += [
        (f"quarter {number}: good enough", f"{low:.3f}", f"{high:.3f}", estimate)
        for number, (low, high, estimate) in enumerate(statement.quarters, 1)
    ]
    return [
        {
            "what": what,
            "expected Dice from": low,
            "to": high,
            "value": "" if estimate.value is None else f"{estimate.value:.3f}",
            "95 % interval": f"{estimate.low:.3f} to {estimate.high:.3f}",
        }
        for what, low, high, estimate in rows
    ]
