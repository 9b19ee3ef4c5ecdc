"""Flow `compare`: train every recipe of a grid on the clean archive and compare the models."""

from collections.abc import Sequence

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State
from prefect.task_runners import ProcessPoolTaskRunner

from flows.pretrain import PUBLISHED
from flows.support.artifacts import log_epochs, show_picture, show_table
from flows.support.store_lock import hold_store, open_store
from plankseg.config import Grid, Recipe, settings
from plankseg.local_servers import die_with_parent
from plankseg.pipeline.training.grid import Run, planned_runs

PHASE_2 = Grid()


@task(cache_policy=NO_CACHE, task_run_name="{run.key}")
def fit_run(run: Run, experiment: str, devices: tuple[str, ...]) -> str:
    """Train one run on a free device, or look it up; return its fingerprint."""
    from plankseg.pipeline.training.candidates import fit_candidate, free_device

    log, store = get_run_logger(), open_store()
    with free_device(store, devices) as device:
        where = settings().model_copy(update={"device": device})
        row = fit_candidate(store, run, where, experiment=experiment, report=log_epochs(log))
    log.info("%s: validation Dice %.3f on the %s", run.key, row.validation_dice, row.validation_set)
    return str(row.fingerprint)


@task(cache_policy=NO_CACHE, task_run_name="find devices")
def find_devices(side_by_side: int | None) -> tuple[str, ...]:
    """Where runs are trained at the same time."""
    from plankseg.pipeline.training.candidates import devices_for

    return devices_for(settings().device, side_by_side)


def train_all(runs: Sequence[Run], experiment: str, devices: tuple[str, ...]) -> list[State[str]]:
    """Train every run, one that fails stops no other; with several devices each run has a process of its own."""
    if len(devices) == 1:
        return [fit_run(run, experiment, devices, return_state=True) for run in runs]
    with ProcessPoolTaskRunner(max_workers=len(devices), initializer=die_with_parent) as processes:
        futures = [
            processes.submit(fit_run, {"run": run, "experiment": experiment, "devices": devices}) for run in runs
        ]
        for future in futures:
            future.wait()
        return [future.state for future in futures]


def told_apart(runs: Sequence[Run], trained: Sequence[State[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """The fingerprints of the runs that finished and the reasons of those that failed, by the run's name."""
    results = [(run.key, state.result(raise_on_failure=False)) for run, state in zip(runs, trained, strict=True)]
    return (
        {key: result for key, result in results if isinstance(result, str)},
        {key: str(result) for key, result in results if not isinstance(result, str)},
    )


@task(cache_policy=NO_CACHE, task_run_name="show experiment {experiment}")
def show(experiment: str, runs: Sequence[Run], finished: dict[str, str], failures: dict[str, str]) -> str:
    """Table, learning curves and the best three side by side: as artifacts, and on one page; return a summary."""
    from plankseg.pipeline.reports import comparison_report as report
    from plankseg.pipeline.reports.comparison_tables import rivals_table, seeds_table, table_of
    from plankseg.pipeline.reports.side_by_side import compare_on_pool, side_by_side_sheet
    from plankseg.pipeline.training.comparison import comparison_of

    store = open_store()
    comparison = comparison_of(store, experiment, runs, finished=finished, failures=failures)
    images = compare_on_pool(store, comparison.results, settings())
    page = store.work_dir("reports") / f"compare-{experiment}.html"
    report.write_comparison(page, comparison, images)
    summary = report.summary(comparison)
    show_table(f"compare-{experiment}", table_of(comparison), f"{summary} Page: {page}")
    if rivals := rivals_table(comparison):
        text = "The best run and methods without a model, on the same images"
        show_table(f"compare-{experiment}-rivals", rivals, text)
    if seeds := seeds_table(comparison):
        show_table(f"compare-{experiment}-seeds", seeds, "The same runs with other random seeds")
    show_picture(f"compare-{experiment}-curves", f"{experiment}: learning curves", report.curves_picture(comparison))
    if images:
        titles = report.titles_of(comparison)
        sheet = side_by_side_sheet(images, titles)
        show_picture(f"compare-{experiment}-gallery", f"{experiment}: side by side", sheet, ", ".join(titles))
    get_run_logger().info("%s%s Page: %s", summary, "" if images else f" {report.NO_POOL}", page)
    return summary


@flow(name="compare", flow_run_name="compare · {grid.name}", persist_result=False)
def compare(recipe: Recipe = PUBLISHED, grid: Grid = PHASE_2, side_by_side: int | None = None) -> str:
    """Train every combination of some values on the source, and show which does best; finished ones are not repeated.

    Args:
        recipe: Settings that all trainings share. Left as it is: the published ones.
        grid: Every combination of these values is trained once. If a list is empty, the value under Advanced is used.
        side_by_side: How many trainings run at once. Left empty: one on each GPU, else one.
    """
    store = open_store()
    with hold_store(store):
        runs = planned_runs(recipe, grid)
        trained = train_all(runs, grid.name, find_devices(side_by_side))
        return show(grid.name, runs, *told_apart(runs, trained))
