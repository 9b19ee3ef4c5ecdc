"""What did the person answer?"""

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_effort, show_rounds
from flows.support.flow_options import ON_THE_NETWORK, step_name
from flows.support.store_lock import hold_store, open_store
from plankseg.config import settings
from plankseg.pipeline.annotation.collect_answers import Collected, collect_all, collect_manual_tasks
from plankseg.pipeline.annotation.connection import connect, project_for


@task(cache_policy=NO_CACHE, task_run_name="collect answers", **ON_THE_NETWORK)
def fetch_answers() -> dict[int, Collected]:
    """Take every new version of an answer, of whatever round, into the label store."""
    with connect(settings()) as label_studio:
        store = open_store()
        project = project_for(store, label_studio, settings())
        tasks = label_studio.list_tasks(project)
        collected = collect_all(store, label_studio, project, tasks=tasks)
        added = collect_manual_tasks(store, label_studio, tasks)
    log = get_run_logger()
    log.info("Tasks added by hand: %d new answers, %d refused", len(added.labels), len(added.refused))
    for reason in added.refused:
        log.warning("%s", reason)
    for n, found in collected.items():
        log.info("Round %d: %d new answers, %d open", n, found.new, found.open)
        for reason in found.quarantined:
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
        if any(found.new for found in collected.values()) and runtime.flow_run.parent_flow_run_id is None:
            show_rounds(store)  # `advance` shows both at its end: the next images wait for no picture
            show_effort(store)
    new, still_open = sum(found.new for found in collected.values()), sum(found.open for found in collected.values())
    return f"{new} new answers, {still_open} images open"
