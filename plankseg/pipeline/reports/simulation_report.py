"""HTML page of a simulation: budget curves, table of the arms, tests against the control, rank correlations."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from plankseg.imaging.pictures.overlay import data_uri
from plankseg.pipeline.reports.html_page import page_head, table, write_page
from plankseg.pipeline.simulation.arms import ARMS
from plankseg.pipeline.simulation.budget_curves import Curve, Panel, budget_curves
from plankseg.pipeline.simulation.simulate import Result, describe
from plankseg.pipeline.simulation.summary import (
    SMALL_BUDGET,
    PairedTest,
    curve,
    paired_tests,
    small_budget,
    summaries,
)


def write_simulation(path: Path, result: Result) -> None:
    """Write the page of a simulation; it needs no other file and no network."""
    write_page(path, _page(result))


def conclusion(result: Result) -> str:
    """What the simulation says, in a few sentences, and no more than it says."""
    tests = paired_tests(result.whole)
    if not tests:
        return "No way of choosing was compared with another one."
    control, seeds = tests[0].control, max(test.seeds for test in tests)
    sentences = [
        f"Compared with {control}, {seeds} time{'s' if seeds > 1 else ''}, over {result.config.rounds} rounds of"
        f" {result.config.batch_size} images:",
        *_verdicts(tests),
    ]
    tested = [test for test in tests if test.p_area is not None]
    if tested:
        best = max(tested, key=lambda test: test.area)
        sentences.append(f"The largest mean difference over the rounds is that of {best.arm}: {best.area:+.3f} Dice.")
    if result.config.rounds > SMALL_BUDGET:
        sentences += [f"Over the first {SMALL_BUDGET} rounds:", *_verdicts(paired_tests(small_budget(result.whole)))]
    return " ".join(sentences)


def _verdicts(tests: Sequence[PairedTest]) -> Iterator[str]:
    """A sentence for each verdict that was found, with the arms that it holds for."""
    for verdict in ("better", "worse", "no difference shown", "too few seeds"):
        names = [test.arm for test in tests if test.verdict == verdict]
        if names:
            yield f"{verdict}: {', '.join(names)}."


def _page(result: Result) -> Iterator[str]:
    config = result.config
    yield page_head(f"plankseg: simulation {result.name}")
    yield f"<h1>Simulation {escape(result.name)}</h1>"
    yield (
        f"<p>{len(config.arms)} ways of choosing images, {config.rounds} rounds of {config.batch_size} images, each"
        f" up to {config.seeds} times with other random seeds. A simulated person accepts a mask from a Dice of 0.95 on"
        " and draws the true one otherwise. All ways with one seed start from the same model 0 and share one recipe."
        " Dice is that of the model in use, on the half of the test images that decides nothing.</p>"
    )
    yield f"<p><b>{escape(conclusion(result))}</b></p>"
    if result.whole:
        yield f'<img src="{data_uri(curves_picture(result))}" alt="Dice by answers and by changed pixels, diversity">'
        yield "<h2>The ways</h2>" + _arms_table(result)
        yield (
            "<p>Means over the seeds, and where it says so per round. Area: under the curve of Dice over the answers,"
            " from none to all, so a mean Dice on the way. Answers to reach random: how many answers the mean curve"
            " needs to reach the final Dice of random.</p>"
        )
        yield "<h2>Compared with the control</h2>" + _tests_table(paired_tests(result.whole))
        yield (
            "<p>Differences seed by seed; the verdict is that on the area. p of a paired t-test, corrected for the"
            " number of ways (Holm): below 0.05 a difference is not put down to chance. Below three seeds there is no"
            " test.</p>"
        )
        if config.rounds > SMALL_BUDGET:
            yield f"<h2>Compared over the first {SMALL_BUDGET} rounds</h2>"
            yield _tests_table(paired_tests(small_budget(result.whole)))
    yield "<h2>Which measure knows where masks are wrong</h2>"
    ranked = sorted(result.correlations.items(), key=lambda row: -row[1])
    yield table(("measure", "rank correlation"), [(name, f"{value:.3f}") for name, value in ranked])
    yield (
        "<p>Spearman's correlation between the measure and 1 less the true Dice, of model 0 on 300 images of the pool."
        "</p>"
    )
    if result.stopped:
        yield "<h2>Left out</h2>"
        rows = [
            (str(record["arm"]), record["seed"], len(record["rounds"]), str(record.get("stopped", "not finished")))
            for record in result.stopped
        ]
        yield table(("way", "seed", "rounds", "why"), rows)
    makers = [f"{count} {'run' if count == 1 else 'runs'} by {maker}." for maker, count in result.makers]
    yield f"<p>{escape(' '.join([*makers, f'Collected by {describe(result.made_by)}.']))}</p>"


def curves_picture(result: Result) -> bytes:
    """A PNG: Dice by answers, Dice by changed pixels, and how different the images of each round are."""
    by_answers: dict[str, Curve] = {}
    by_pixels: dict[str, Curve] = {}
    diversity: dict[str, Curve] = {}
    answers = [config_round * result.config.batch_size for config_round in range(result.config.rounds + 1)]
    for name in result.config.arms:
        records = [record for record in result.whole if record["arm"] == name]
        if not records:
            continue
        dice = [curve(record) for record in records]
        changed = [np.cumsum([0, *(found["changed_px"] for found in r["rounds"])]).tolist() for r in records]
        by_answers[name] = Curve([answers] * len(records), dice)
        by_pixels[name] = Curve(changed, dice)
        distances = [[found["feature_distance"] for found in record["rounds"]] for record in records]
        diversity[name] = Curve([list(range(1, result.config.rounds + 1))] * len(records), distances)
    return budget_curves(
        [
            Panel("Dice on the test images", "answers", by_answers),
            Panel("Dice on the test images", "changed pixels", by_pixels),
            Panel("how unlike the images of a round are", "round", diversity),
        ]
    )


def arm_rows(result: Result) -> list[dict[str, object]]:
    """A row for each arm, the largest area first."""
    return [
        {
            "way": arm.name,
            "what it does": ARMS[arm.name].words,  # type: ignore[index]
            "seeds": len(arm.seeds),
            "area": f"{arm.area:.3f}",
            "final Dice": f"{arm.final_dice:.3f}",
            "corrected a round": f"{arm.redrawn:.1f}",
            "changed px a round": f"{arm.changed_px:.0f}",
            "clicks a round": None if arm.clicks is None else f"{arm.clicks:.1f}",
            "taxa a round": f"{arm.taxa:.1f}",
            "share of the commonest taxon": f"{100 * arm.commonest_share:.0f} %",
            "how unlike each other": f"{arm.feature_distance:.2f}",
            "answers to reach random": "not reached" if arm.labels_to_final is None else f"{arm.labels_to_final:.0f}",
        }
        for arm in summaries(result.whole, result.config.batch_size)
    ]


def _arms_table(result: Result) -> str:
    rows = arm_rows(result)
    return table(list(rows[0]), [list(row.values()) for row in rows])


def _tests_table(tests: Sequence[PairedTest]) -> str:
    def p(value: float | None) -> str | None:
        return None if value is None else f"{value:.3f}"

    rows = [
        (
            *(test.arm, test.control, test.seeds, f"{test.area:+.4f}", p(test.p_area)),
            *(f"{test.final_dice:+.4f}", p(test.p_final_dice)),
            *(None if test.clicks is None else f"{test.clicks:+.1f}", p(test.p_clicks), test.verdict),
        )
        for test in tests
    ]
    return table(
        ("way", "control", "seeds", "area", "p of it", "final Dice", "p of it", "clicks a round", "p of it", "verdict"),
        rows,
    )
