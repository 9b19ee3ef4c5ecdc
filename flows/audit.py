"""Flow `audit`: a random sample of the archive's masks before a person, and what the answers say of all masks."""

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_table
from flows.support.flow_options import NETWORK_RETRIES
from flows.support.store_lock import hold_store, open_store
from plankseg.config import AuditConfig, settings
from plankseg.pipeline.annotation.connection import connect, project_of_audits
from plankseg.pipeline.audit.harvest_audit import Audit, collect, drawn_images, find_or_draw, push, rows_of, state

SIXTY_MASKS = AuditConfig()


@task(cache_policy=NO_CACHE, task_run_name="draw {config.masks} masks")
def draw_masks(config: AuditConfig, model: str | None) -> Audit:
    """Draw masks of the newest segmentation, or find what was drawn before."""
    audit = find_or_draw(open_store(), config, model)
    get_run_logger().info("Audit %d: %d masks drawn of %d", audit.row.number, len(audit.draws), audit.masks)
    return audit


@task(cache_policy=NO_CACHE, task_run_name="push and collect", **NETWORK_RETRIES)
def exchange_with_label_studio(audit: Audit) -> None:
    """Put missing images with their masks into the project of the audits, and take new answers."""
    store = open_store()
    with connect(settings()) as label_studio:
        project = project_of_audits(label_studio, settings())
        pushed = push(store, label_studio, project, audit)
        collected = collect(store, label_studio, project, audit)
    get_run_logger().info("Label Studio (project number %d): %d new tasks, %d new answers", project, pushed, collected)


@flow(name="audit", flow_run_name="audit", persist_result=False)
def audit(config: AuditConfig = SIXTY_MASKS, model: str | None = None) -> str:
    """Let a person judge a random sample of the archive's masks, and state how good all are. Run again, it collects.

    Args:
        config: Number of masks, and which are good enough.
        model: The first characters of a model's id. Left empty: the one that 'segment' takes.
    """
    store = open_store()
    with hold_store(store):
        drawn = draw_masks(config, model)
        exchange_with_label_studio(drawn)
        statement = state(store, drawn, config)
    show_table("audit", rows_of(statement), " ".join(statement.sentences()))
    show_table("audit-images", drawn_images(store, drawn), f"The images of audit {drawn.row.number}")
    return " ".join(statement.sentences())
