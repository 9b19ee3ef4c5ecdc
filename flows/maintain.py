"""Flow `maintain`: merge small files of the tables and remove old ones, but no row, object or needed version."""

from datetime import timedelta

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.support.artifacts import show_table
from flows.support.store_lock import open_store
from plankseg.config import FrozenModel
from plankseg.storage.maintenance import Maintained
from plankseg.storage.maintenance import maintain as tidy_up


class Upkeep(FrozenModel):
    """How long unused versions of tables are kept, and whether they are only listed."""

    horizon_days: int = Field(
        7,
        ge=1,
        le=3650,
        title="Keep unused versions of tables for (days)",
        description="Old versions of the store's tables are removed when they have not been needed for this number of "
        "days. Images, answers, masks and models always stay.",
    )
    dry_run: bool = Field(False, title="List only", description="Change nothing, only list what would be removed now.")


WEEKLY = Upkeep()


@task(cache_policy=NO_CACHE, task_run_name="tidy the tables")
def tidy(upkeep: Upkeep) -> Maintained:
    """Merge small files and remove those that no kept version needs."""
    return tidy_up(open_store(), horizon=timedelta(days=upkeep.horizon_days), dry_run=upkeep.dry_run)


@flow(name="maintain", flow_run_name="maintain", persist_result=False)
def maintain(upkeep: Upkeep = WEEKLY) -> str:
    """Keep the store's tables small and quick to read; other flows may use the store meanwhile.

    Args:
        upkeep: How long unused versions of tables are kept, and whether they are only listed.
    """
    done = tidy(upkeep)
    show(done, upkeep)
    return done.summary(dry_run=upkeep.dry_run)


def show(done: Maintained, upkeep: Upkeep) -> None:
    """Show what was done, or would be; the log names every removed file."""
    for name in done.gone():
        get_run_logger().info("%s %s", "Would be removed:" if upkeep.dry_run else "Removed:", name)
    summary = done.summary(dry_run=upkeep.dry_run)
    show_table("maintained", done.rows(), f"{summary}. Horizon: {upkeep.horizon_days} days.")
