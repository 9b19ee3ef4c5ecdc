"""Summary of a simulation: budget curves of the arms, and which differ by more than chance."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from plankseg.config import ArmName

Record = Mapping[str, Any]

FEWEST_SEEDS = 3
"""With fewer seeds no test is made."""

ALPHA = 0.05
SMALL_BUDGET = 3
"""Arms are also compared over so many first rounds, since an hour of a person's time is seldom more."""

CONTROLS: tuple[ArmName, ...] = ("stratified", "random")
"""What other arms are compared with: the first of these that was run."""


@dataclass(frozen=True)
class ArmSummary:
    """Means over the seeds of one arm; `area` is that under the curve of test Dice by share of the budget.

    `labels_to_final` and `changed_to_final` say how many answers and changed pixels the mean curve needs to reach the
    final Dice of the random arm; None where it does not reach it.
    """

    name: str
    seeds: tuple[int, ...]
    area: float
    final_dice: float
    final_dice_of_each_seed: tuple[float, ...]
    best_dice: float
    redrawn: float
    changed_px: float
    clicks: float | None
    taxa: float
    commonest_share: float
    feature_distance: float
    labels_to_final: float | None
    changed_to_final: float | None


@dataclass(frozen=True)
class PairedTest:
    """An arm less the control, seed by seed: means, and p by a paired t-test, corrected over the arms (Holm 1979).

    `clicks` are those of a round; None where they were not counted.
    """

    arm: str
    control: str
    seeds: int
    area: float
    final_dice: float
    p_area: float | None
    p_final_dice: float | None
    clicks: float | None
    p_clicks: float | None

    @property
    def verdict(self) -> str:
        """better, worse, no difference shown, or too few seeds."""
        if self.p_area is None:
            return "too few seeds"
        if self.p_area >= ALPHA:
            return "no difference shown"
        return "better" if self.area > 0 else "worse"


def whole(records: Iterable[Record], rounds: int) -> list[Record]:
    """Records with as many rounds as were asked for; only these are compared."""
    return [record for record in records if len(record["rounds"]) == rounds]


def small_budget(records: Iterable[Record]) -> list[Record]:
    """The records cut off after the first rounds."""
    return [{**record, "rounds": record["rounds"][:SMALL_BUDGET]} for record in records]


def curve(record: Record, value: str = "dice") -> list[float]:
    """A figure after 0, 1, 2 ... rounds."""
    return [record["start"][value], *(found[value] for found in record["rounds"])]


def area_under(values: Sequence[float]) -> float:
    """Area under a curve by the trapezoid rule, the budget being 1 wide."""
    return float(np.trapezoid(values, dx=1 / max(len(values) - 1, 1)))


def summaries(records: Sequence[Record], batch_size: int) -> list[ArmSummary]:
    """One for each arm, the largest area first."""
    by_arm = _by_arm(records)
    control = next((by_arm[name] for name in ("random", "stratified") if name in by_arm), None)
    target = float(np.mean([curve(record)[-1] for record in control])) if control else None
    made = [_summary(name, found, batch_size, target) for name, found in by_arm.items()]
    return sorted(made, key=lambda arm: -arm.area)


def _by_arm(records: Sequence[Record]) -> dict[str, list[Record]]:
    by_arm: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record["seed"]):
        by_arm.setdefault(record["arm"], []).append(record)
    return by_arm


def _summary(name: str, records: Sequence[Record], batch_size: int, target: float | None) -> ArmSummary:
    dice = np.array([curve(record) for record in records])

    def mean(value: str) -> float:
        return float(np.mean([[found[value] for found in record["rounds"]] for record in records]))

    changed = np.mean([np.cumsum([0, *(found["changed_px"] for found in r["rounds"])]) for r in records], axis=0)
    rounds_needed = None if target is None else _first_reaching(dice.mean(axis=0), target)
    return ArmSummary(
        name=name,
        seeds=tuple(record["seed"] for record in records),
        area=float(np.mean([area_under(values) for values in dice])),
        final_dice=float(dice[:, -1].mean()),
        final_dice_of_each_seed=tuple(dice[:, -1].tolist()),
        best_dice=float(dice.max(axis=1).mean()),
        redrawn=mean("redrawn"),
        changed_px=mean("changed_px"),
        clicks=None if records[0]["rounds"][0]["clicks"] is None else mean("clicks"),
        taxa=mean("taxa"),
        commonest_share=mean("commonest_share"),
        feature_distance=mean("feature_distance"),
        labels_to_final=None if rounds_needed is None else batch_size * rounds_needed,
        changed_to_final=None
        if rounds_needed is None
        else float(np.interp(rounds_needed, np.arange(len(changed)), changed)),
    )


def _first_reaching(values: np.ndarray, target: float) -> float | None:
    """After how many rounds, with a fraction, a curve first reaches a value; None where it never does."""
    reached = np.flatnonzero(values >= target)
    if not reached.size:
        return None
    first = int(reached[0])
    if first == 0:
        return 0.0
    before, after = values[first - 1], values[first]
    return float(first - 1 + (target - before) / (after - before))


def paired_tests(records: Sequence[Record]) -> list[PairedTest]:
    """Every arm against the control, on the seeds that both have; empty where no control was run."""
    by_arm = {name: {record["seed"]: record for record in found} for name, found in _by_arm(records).items()}
    control = next((name for name in CONTROLS if name in by_arm), None)
    if control is None:
        return []
    compared = []
    for name, ours in by_arm.items():
        seeds = sorted(ours.keys() & by_arm[control].keys())
        if name == control or not seeds:
            continue
        pairs = [(curve(ours[seed]), curve(by_arm[control][seed])) for seed in seeds]
        areas = np.array([area_under(a) - area_under(b) for a, b in pairs])
        finals = np.array([a[-1] - b[-1] for a, b in pairs])
        clicks = np.array([_clicks(ours[seed]) - _clicks(by_arm[control][seed]) for seed in seeds])
        compared.append((name, areas, finals, clicks))
    corrected = [holm([_p(differences[n]) for _, *differences in compared]) for n in range(3)]
    return [
        PairedTest(
            arm=name,
            control=control,
            seeds=len(areas),
            area=float(areas.mean()),
            final_dice=float(finals.mean()),
            p_area=p_area,
            p_final_dice=p_final,
            clicks=None if np.isnan(clicks).any() else float(clicks.mean()),
            p_clicks=p_clicks,
        )
        for (name, areas, finals, clicks), p_area, p_final, p_clicks in zip(compared, *corrected, strict=True)
    ]


def _clicks(record: Record) -> float:
    """Mean clicks a round; NaN where they were not counted."""
    counted = [found["clicks"] for found in record["rounds"]]
    return float("nan") if None in counted else float(np.mean(counted))


def _p(differences: np.ndarray) -> float | None:
    if len(differences) < FEWEST_SEEDS or np.isnan(differences).any():
        return None
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number by Holm's step-down method; None stays None."""
    known = sorted((value, index) for index, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - rank)))
        corrected[index] = largest
    return corrected
