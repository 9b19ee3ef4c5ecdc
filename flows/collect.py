"""Flow `collect`: take the person's answers from Label Studio into the label store."""

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_effort, show_refusals, show_rounds
from flows.support.flow_options import NETWORK_RETRIES, step_name
from flows.support.store_lock import hold_store, open_store
from plankseg.config import settings
from plankseg.pipeline.annotation.collect_answers import CollectReport
from plankseg.pipeline.annotation.collect_answers import collect as collect_answers
from plankseg.pipeline.annotation.connection import connect, project_for


@task(cache_policy=NO_CACHE, task_run_name="collect answers", **NETWORK_RETRIES)
def fetch_answers() -> CollectReport:
    """Take every new version of an answer, of whatever round, into the label store."""
    with connect(settings()) as label_studio:
        store = open_store()
        report = collect_answers(store, label_studio, project_for(store, label_studio, settings()))
    log = get_run_logger()
    if report.manual.labels:
        log.info("Tasks that a person added to the project: %d new answers", len(report.manual.labels))
    for n, of_round in report.rounds.items():
        log.info("Round %d: %d new answers, %d open", n, of_round.new, of_round.open)
    show_refusals("collect", report)
    return report


@flow(name="collect", flow_run_name=step_name, persist_result=False)
def collect() -> str:
    """Pull corrected masks from Label Studio, of every round; an answer edited later becomes a new version."""
    store = open_store()
    with hold_store(store):
        if not store.proposals.rounds():
            return "No round was proposed yet: run the flow 'propose'."
        report = fetch_answers()
        if report.new and runtime.flow_run.parent_flow_run_id is None:
            show_rounds(store)  # as a subflow, `advance` shows both at its end
            show_effort(store)
    return f"{report.new} new answers, {report.open} images open"
