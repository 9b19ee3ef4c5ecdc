"""Flow `collect`: take the person's answers from Label Studio into the label store."""

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_effort, show_rounds
from flows.support.flow_options import NETWORK_RETRIES, step_name
from flows.support.store_lock import hold_store, open_store
from plankseg.config import settings
from plankseg.pipeline.annotation.collect_answers import Collected, collect_all, collect_manual_tasks
from plankseg.pipeline.annotation.connection import connect, project_for


@task(cache_policy=NO_CACHE, task_run_name="collect answers", **NETWORK_RETRIES)
def fetch_answers() -> dict[int, Collected]:
    """Take every new version of an answer, of whatever round, into the label store."""
    with connect(settings()) as label_studio:
        store = open_store()
        project = project_for(store, label_studio, settings())
        tasks = label_studio.list_tasks(project)
        collected = collect_all(store, label_studio, project, tasks=tasks)
        manual = collect_manual_tasks(store, label_studio, tasks)
    log = get_run_logger()
    log.info("Tasks added by hand: %d new answers, %d refused", len(manual.labels), len(manual.refused))
    for reason in manual.refused:
        log.warning("%s", reason)
    for n, of_round in collected.items():
        log.info("Round %d: %d new answers, %d open", n, of_round.new, of_round.open)
        for reason in of_round.quarantined:
            log.warning("Quarantined: %s", reason)
    return collected


@flow(name="collect", flow_run_name=step_name, persist_result=False)
def collect() -> str:
    """Pull corrected masks from Label Studio, of every round; an answer edited later becomes a new version."""
    store = open_store()
    with hold_store(store):
        if not store.proposals.rounds():
            return "No round was proposed yet: run the flow 'propose'."
        collected = fetch_answers()
        if any(of_round.new for of_round in collected.values()) and runtime.flow_run.parent_flow_run_id is None:
            show_rounds(store)  # as a subflow, `advance` shows both at its end
            show_effort(store)
    new = sum(of_round.new for of_round in collected.values())
    still_open = sum(of_round.open for of_round in collected.values())
    return f"{new} new answers, {still_open} images open"
