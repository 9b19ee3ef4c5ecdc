"""Several people on one round: who answered how much, and how far two people's masks of one image agree."""

from dataclasses import dataclass
from itertools import combinations

from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow


@dataclass(frozen=True)
class AnnotatorWork:
    """What one person did in a round: answers given, those of them that count, and seconds (0 where none are known)."""

    annotator: str
    answers: int
    counted: int
    seconds: float


@dataclass(frozen=True)
class DoubleAnswer:
    """Two people's usable masks of one image, and their Dice (0 to 1)."""

    image_id: str
    first: str
    second: str
    dice: float


def work_by_annotator(store: Store, round_number: int) -> list[AnnotatorWork]:
    """Each person's work in a round, by name. An image that two people answered counts for whose answer counts."""
    counting = {row.ls_annotation for row in store.labels.answered(round_number)}
    answers = [row for rows in _answers_of_people(store, round_number).values() for row in rows]
    names = sorted({row.annotator or "" for row in answers})
    by_name = {name: [row for row in answers if (row.annotator or "") == name] for name in names}
    return [
        AnnotatorWork(
            annotator=name,
            answers=len(rows),
            counted=sum(row.ls_annotation in counting for row in rows),
            seconds=sum(row.seconds or 0.0 for row in rows),
        )
        for name, rows in by_name.items()
    ]


def double_answers(store: Store, round_number: int) -> list[DoubleAnswer]:
    """Every pair of people who masked the same image in a round, the pair that disagrees most first."""
    found = []
    for image_id, rows in _answers_of_people(store, round_number).items():
        masked = {row.annotator or "": row.mask_sha for row in rows if row.status == "usable" and row.mask_sha}
        if len(masked) < 2:
            continue
        from plankseg.imaging.masks import decode_mask, dice  # loads OpenCV, which a look at the status must not

        masks = {name: decode_mask(store.blobs.get(sha, "png")) for name, sha in masked.items()}
        for first, second in combinations(sorted(masks), 2):
            found.append(DoubleAnswer(image_id, first, second, dice(masks[first], masks[second])))
    return sorted(found, key=lambda pair: (pair.dice, pair.image_id, pair.first, pair.second))


def _answers_of_people(store: Store, round_number: int) -> dict[str, list[LabelRow]]:
    """Of each image the newest answer of each person in a round, the newest last."""
    found: dict[str, dict[str, LabelRow]] = {}
    for row in store.labels.of_people(round_number):
        of_image = found.setdefault(row.image_id, {})
        of_image.pop(row.annotator or "", None)  # so that the newest is the last
        of_image[row.annotator or ""] = row
    return {image_id: list(newest.values()) for image_id, newest in sorted(found.items())}
