"""The command `plankseg audit`: one step of an audit at a terminal, without Prefect."""

from rich.console import Console

from plankseg.config import AuditConfig, Settings
from plankseg.pipeline.annotation.connection import connect, project_of_audits
from plankseg.pipeline.audit.harvest_audit import Statement, collect, find_or_draw, push, rows_of, state
from plankseg.storage.store import Store


def run_audit(store: Store, settings: Settings, config: AuditConfig, model: str | None = None) -> Statement:
    """Draw what is to be judged, put what is missing into Label Studio, collect the answers, and state what they say.

    Run again it goes on. Raises EmptyPoolError, ModelError, LabelStudioError.
    """
    audit = find_or_draw(store, config, model)
    with connect(settings) as label_studio:
        project = project_of_audits(label_studio, settings)
        push(store, label_studio, project, audit)
        collect(store, label_studio, project, audit)
    return state(store, audit, config)


def audit_at_terminal(
    console: Console, store: Store, settings: Settings, config: AuditConfig, model: str | None
) -> None:
    """Run one step under the store's lock, and print the statement and what is due next."""
    with store.lock("advance"), console.status("Asking Label Studio ..."):
        statement = run_audit(store, settings, config, model)
    lines = statement.sentences()
    if statement.open:
        lines.append("Judge them in Label Studio (the project whose title ends with 'audit'), then run this again.")
    else:
        lines += [
            f"expected_dice {row['expected_dice from']} to {row['to']}: {row['value']} good enough,"
            f" {row['95 % interval']}"
            for row in rows_of(statement)[2:]
        ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
