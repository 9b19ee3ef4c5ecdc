"""Flow `simulate`: compare ways of choosing images on images whose masks are known, without servers or a person."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import State
from prefect.task_runners import ProcessPoolTaskRunner

from flows.support.artifacts import show_picture, show_table
from plankseg.config import ArmName, Recipe, SimulationConfig, SimulationData, settings
from plankseg.local_servers import die_with_parent
from plankseg.pipeline.simulation.simulate import SMALL, Result, collect_result, prepare
from plankseg.pipeline.simulation.simulated_rounds import Record, Simulation

MAIN_ARMS = SimulationConfig()


@task(cache_policy=NO_CACHE, task_run_name="{arm}, seed {seed}")
def simulate_arm(simulation: Simulation, arm: ArmName, seed: int) -> Record:
    """Run one arm with one seed, or what is missing of it."""
    from plankseg.pipeline.reports.terminal_simulate import words
    from plankseg.pipeline.simulation.simulated_rounds import run_arm

    log = get_run_logger()
    return run_arm(simulation, arm, seed, on_round=lambda found: log.info("%s", words(found)))


@task(cache_policy=NO_CACHE, task_run_name="model 0, seed {seed}")
def start_seed(simulation: Simulation, seed: int) -> None:
    """Train model 0 of a seed, from which all its arms start."""
    from plankseg.pipeline.simulation.simulated_rounds import prepare_seed

    prepare_seed(simulation, seed)


def run_all(simulation: Simulation, side_by_side: int) -> list[State[Record]]:
    """Run every arm with every seed; one that fails stops no other."""
    config = simulation.config
    runs: list[tuple[ArmName, int]] = [(arm, seed) for seed in range(config.seeds) for arm in config.arms]
    for seed in range(config.seeds):
        start_seed(simulation, seed)
    if side_by_side == 1:
        return [simulate_arm(simulation, arm, seed, return_state=True) for arm, seed in runs]
    with ProcessPoolTaskRunner(max_workers=side_by_side, initializer=die_with_parent) as processes:
        futures = [
            processes.submit(simulate_arm, {"simulation": simulation, "arm": arm, "seed": seed}) for arm, seed in runs
        ]
        for future in futures:
            future.wait()
        return [future.state for future in futures]


@task(cache_policy=NO_CACHE, task_run_name="show simulation {result.name}")
def show(folder: Path, result: Result) -> str:
    """Table, curves and conclusion as artifacts; page and JSON in the work folder."""
    from plankseg.imaging.pictures.overlay import data_uri
    from plankseg.pipeline.reports.simulation_report import arm_rows, conclusion, curves_picture
    from plankseg.pipeline.reports.terminal_simulate import write_result

    page, text = write_result(folder, result), conclusion(result)
    if result.whole:
        show_table(f"simulate-{result.name}", arm_rows(result), f"{text} Page: {page}")
        show_picture(f"simulate-{result.name}-curves", f"{result.name}: curves", data_uri(curves_picture(result)), text)
    get_run_logger().info("%s Page: %s", text, page)
    return text


@flow(name="simulate", flow_run_name="simulate · {folder}", persist_result=False)
def simulate(
    data: SimulationData,
    folder: str,
    config: SimulationConfig = MAIN_ARMS,
    recipe: Recipe = SMALL,
    side_by_side: int = 1,
) -> str:
    """Compare ways of choosing images, on images that have true masks; a simulated person answers.

    Args:
        data: Folders of images and of their true masks.
        folder: On the computer where plankseg runs. A run that was ended early goes on there, and it can be run again
            with more ways or repetitions.
        config: What is compared, how often, for how long.
        recipe: Settings that all ways share. Ways of choosing, rounds and images per round are always those above.
        side_by_side: How many repetitions are computed at once, each in a process of its own.
    """
    work = Path(folder).expanduser().resolve()
    simulation = prepare(work, data, recipe, config, settings())
    states: Sequence[State[Record]] = run_all(simulation, side_by_side)
    finished = [record for state in states if isinstance(record := state.result(raise_on_failure=False), dict)]
    failed = [state for state in states if not state.is_completed()]
    text = show(work, collect_result(work.name, data, simulation, finished))
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(states)} runs failed, see their logs; run it again to complete it.")
    return text
