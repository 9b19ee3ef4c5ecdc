"""What did the person answer?"""

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.shared import ON_THE_NETWORK, at_work, open_store, show_rounds, step_name
from plankseg.config import settings
from plankseg.rounds.answering import Collected, connect, project_of
from plankseg.rounds.answering import collect as collect_answers
from plankseg.rounds.progress import look


@task(cache_policy=NO_CACHE, task_run_name="collect round {round_number}", **ON_THE_NETWORK)
def fetch_answers(round_number: int) -> Collected:
    """Take every new version of an answer into the label store."""
    with connect(settings()) as label_studio:
        project = project_of(label_studio, settings())
        collected = collect_answers(open_store(), label_studio, project, round_number=round_number)
    log = get_run_logger()
    log.info("Round %d: %d new answers, %d open", round_number, collected.new, collected.open)
    for reason in collected.quarantined:
        log.warning("Quarantined: %s", reason)
    return collected


@flow(name="collect", flow_run_name=step_name, persist_result=False)
def collect(round_number: int | None = None) -> str:
    """Pull corrected masks from Label Studio; an answer edited later becomes a new version.

    Args:
        round_number: Left empty: the last round that was proposed.
    """
    store = open_store()
    with at_work(store):
        n = round_number or look(store).round
        if not n:
            return "No round was proposed yet: run the flow 'propose'."
        collected = fetch_answers(n)
        show_rounds(store)
    return f"round {n}: {collected.new} new answers, {collected.open} open"
