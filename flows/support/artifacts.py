"""Tables and pictures of the Prefect UI, and the log lines of a training."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from logging import LoggerAdapter
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.support.markdown import escape_line, escape_text, shown_cell, shown_heading
from plankseg.pipeline.annotation.collect_answers import CollectReport
from plankseg.pipeline.archive.image_paths import paths_of_ids
from plankseg.pipeline.loop.effort import anchoring_of, effort_of
from plankseg.pipeline.models.recipes import recipe_in_force
from plankseg.pipeline.reports.standing_tables import STANDING_COLUMNS, STANDING_WORDS, rival_sentence, standing_rows
from plankseg.pipeline.reports.status import last_decision, read_status, round_words, rounds_table
from plankseg.storage.store import Store

TASKS_SHOWN = 500

ABOUT_ANSWERS: ContextVar[str] = ContextVar("ABOUT_ANSWERS", default="")
"""What a reader must know of the answers while the demo gives them; stands above the table of effort."""


def show_rounds(store: Store) -> None:
    """Put the table of rounds into the Prefect UI."""
    recipe = recipe_in_force(store)
    status = read_status(store, recipe.rounds)
    if status.rounds:
        show_table(
            "rounds",
            rounds_table(status.rounds),
            f"Next: {status.next}\n\n{last_decision(status)}\n\n{round_words(status.rounds)}",
        )
    if cells_of_rows := standing_rows(status):
        table = [dict(zip(STANDING_COLUMNS, cells, strict=True)) for cells in cells_of_rows]
        show_table("model-and-other-masks", table, f"{rival_sentence(status)}\n\n{STANDING_WORDS}")


def show_effort(store: Store) -> None:
    """Put the effort per round into the Prefect UI: one artifact, a new version whenever answers arrive."""
    from plankseg.pipeline.reports.effort_plot import effort_markdown

    efforts = effort_of(store, redrawn_below=recipe_in_force(store).rounds.redrawn_below)
    if efforts:
        text = effort_markdown(efforts, anchoring_of(store))
        if note := ABOUT_ANSWERS.get():
            text = f"{note}\n\n{text}"
        show_annotators(store)
        create_markdown_artifact(
            key="effort",
            markdown=f"# A person's effort in each round\n\n{text}",
            description="A person's effort in each round",
        )


def show_annotators(store: Store) -> None:
    """Where several people answered a round: who did how much, and how far two masks of one image agree."""
    from plankseg.pipeline.loop.annotators import double_answers, work_by_annotator  # decodes masks: loads OpenCV

    work: list[dict[str, object]] = []
    pairs: list[dict[str, object]] = []
    for round_number in store.proposals.rounds():
        people = work_by_annotator(store, round_number)
        if len(people) < 2:
            continue
        for person in people:
            minutes = f"{person.seconds / 60:.1f}"
            counts = {"answers": person.answers, "counted": person.counted, "minutes": minutes}
            work.append({"round": round_number, "person": person.annotator, **counts})
        doubles = list(double_answers(store, round_number))
        paths = paths_of_ids(store, (pair.image_id for pair in doubles))
        for pair in doubles:
            told = {"first": pair.first, "second": pair.second, "Dice": f"{pair.dice:.3f}"}
            pairs.append({"round": round_number, "image": paths[pair.image_id], **told})
    if work:
        show_table("annotators", work, "Who answered how much. Of two answers to one image the newer one counts.")
    if pairs:
        show_table("two-people", pairs[:TASKS_SHOWN], "How far two people's masks of one image agree (Dice).")


def log_epochs(log: LoggerAdapter[Any]) -> Callable[[Any], None]:
    """A callback that writes one line into the run's log at each epoch's end."""

    def report(epoch: Any) -> None:
        log.info(
            "epoch %d: loss %.3f, Dice %.3f on the deciding images, %.1f s",
            epoch.epoch,
            epoch.loss,
            epoch.validation_dice,
            epoch.seconds,
        )

    return report


def show_picture(key: str, title: str, data_uri: str, text: str = "") -> None:
    """Put a picture into the Prefect UI; it is stored in the server's database, so keep it under 200 kB."""
    title, text = escape_line(title), escape_text(text)
    create_markdown_artifact(key=key, markdown=f"# {title}\n\n{text}\n\n![{title}]({data_uri})", description=title)


def show_table(key: str, rows: Iterable[Mapping[str, object]], description: str = "") -> None:
    """Put a table into the Prefect UI, for people: text is no Markdown, ids and numbers are short."""
    table = [{shown_heading(name): shown_cell(value) for name, value in row.items()} for row in rows]
    create_table_artifact(key=key, table=table, description=escape_text(description))


def show_refusals(key: str, report: CollectReport) -> None:
    """Log why answers and tasks are not used, one line for a reason, and list each task in the Prefect UI."""
    for problem in report.problems():
        get_run_logger().warning("%s", problem)
    rows: list[dict[str, object]] = [{"task": None, "reason": reason} for reason in report.quarantined]
    rows += [{"task": refusal.task, "reason": refusal.reason} for refusal in report.refusals]
    if rows:
        description = f"{len(rows)} answers and tasks are not used, the first {TASKS_SHOWN} of them."
        show_table(f"{key}-not-used", rows[:TASKS_SHOWN], description)
