"""The command `plankseg simulate` at a terminal: a line for each round, the conclusion, and where page and JSON lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from rich.console import Console

from plankseg.config import ArmName, Settings, SimulationConfig, SimulationData, TrainingConfig
from plankseg.errors import SettingsError
from plankseg.files import atomic_write
from plankseg.pipeline.reports.simulation_report import conclusion, write_simulation
from plankseg.pipeline.simulation.simulate import SAME_DICE, SMALL, Result, describe, prepare, read_result, simulate
from plankseg.pipeline.simulation.simulated_rounds import Record, run_arm


@dataclass(frozen=True)
class Asked:
    """What was typed at the command line, not yet checked."""

    data: Mapping[str, str | None]
    arms: tuple[str, ...] | None
    config: Mapping[str, int]
    training: Mapping[str, int]
    side_by_side: int


def simulate_at_terminal(console: Console, settings: Settings, work: Path, asked: Asked) -> None:
    """Run a simulation, or what is missing of it. Raises SettingsError for what cannot be used."""
    arms = get_args(ArmName) if asked.arms == ("all",) else asked.arms
    try:
        data = SimulationData.model_validate(asked.data)
        config = SimulationConfig.model_validate({**asked.config, **({} if arms is None else {"arms": arms})})
        training = TrainingConfig.model_validate({**SMALL.training.model_dump(), **asked.training})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(
            f"{'.'.join(map(str, first['loc']))} {first['input']!r} cannot be used: {first['msg']}. Arms are "
            f"{', '.join(get_args(ArmName))}."
        ) from error
    recipe = SMALL.model_copy(update={"training": training})
    folder = work.expanduser().resolve()
    with console.status("Reading images and masks ..."):
        simulation = prepare(folder, data, recipe, config, settings)

    def tell(arm: str, seed: int, found: Record) -> None:
        console.print(f"seed {seed} {arm:<18} {words(found)}", highlight=False, soft_wrap=True)

    result = simulate(folder.name, data, simulation, on_round=tell, side_by_side=asked.side_by_side)
    page = write_result(folder, result)
    console.print(f"{conclusion(result)}\n{page} and {page.with_suffix('.json')}", highlight=False, soft_wrap=True)


def write_result(folder: Path, result: Result) -> Path:
    """Write page and JSON of a result into a folder, under its name; return the page."""
    page = folder / f"{result.name}.html"
    write_simulation(page, result)
    atomic_write(page.with_suffix(".json"), result.to_json())
    return page


def words(found: Record) -> str:
    """A round in one line."""
    return (
        f"round {found['round']}: Dice {found['dice']:.3f}, {found['redrawn']} corrected, {found['changed_px']} px,"
        f" {found['taxa']} taxa, training {found['seconds']:.0f} s"
    )


def repeat_at_terminal(console: Console, settings: Settings, work: Path, path: Path, arm: str, seed: int) -> None:
    """Run one arm with one seed of a recorded simulation again, from its JSON alone, and say whether it is the same.

    It runs on the device that the recorded run had. Raises SettingsError where the JSON has no such run, where there
    is no such device, or where selections or Dice are different.
    """
    recorded = read_result(path)
    before = next((r for r in recorded.records if (r["arm"], r["seed"]) == (arm, seed)), None)
    if before is None:
        there = ", ".join(f"{record['arm']} {record['seed']}" for record in recorded.records)
        raise SettingsError(f"{path} has no run of arm {arm} with seed {seed}; it has {there}.")
    device = before["made_by"].get("device", "cpu")
    if "device" not in before["made_by"]:
        console.print("The record does not say on which device it ran; the processor is taken.")
    on_device = settings.model_copy(update={"device": device})
    simulation = prepare(work.expanduser().resolve(), recorded.data, recorded.recipe, recorded.config, on_device)
    now = run_arm(simulation, before["arm"], seed)
    for old, new in zip(before["rounds"], now["rounds"], strict=True):
        same, difference = old["chosen"] == new["chosen"], new["dice"] - old["dice"]
        console.print(f"round {old['round']}: {'the same' if same else 'other'} images, Dice {difference:+.4f}")
        if not same or abs(difference) > SAME_DICE:
            raise SettingsError(
                f"Round {old['round']} of {arm} with seed {seed} has Dice {new['dice']} and {path} says {old['dice']}, "
                f"with {'the same' if same else 'other'} images. Compare data, release and processor: "
                f"{describe(before['made_by'])}."
            )
