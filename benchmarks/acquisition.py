"""Whether asking for chosen images pays: rounds of a simulated person on images with known masks. Last line: JSON.

usage: acquisition.py [--setting synthetic|sea|nuclei|wbc] [--work DIR] [--arms a,b] [--seeds 3] [--rounds 3]
                      [--draws 512] [--side-by-side 2] [--out DIR] [--take FILE] [--collect] [--only-data DIR]

As it is it gives a coarse answer on the synthetic pair of domains, whose taxa are as uneven as at sea, in about ten
minutes on two cores. `synthetic` draws its images, `sea` a pool of 2,000 of them; `nuclei` and `wbc` take those of the
data folder; the hundred noisy cells of `wbc` are cut into a pool of 60 and 40 test images by hash. With --work a run
that was stopped goes on, and more arms and seeds can be added; --out gets the page and the JSON, whose paths begin with
`data` for the data folder and with `work` for what was drawn or cut. With --take the whole runs of such a JSON are not
run again; each run says whose code made it, on which processor. `--only-data work` makes that again, for
`plankseg simulate ... --again`.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import cv2
import typer
from _real_data import found, needed

from plankseg.config import ArmName, Recipe, Settings, SimulationConfig, SimulationData
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.pipeline.reports.simulation_report import conclusion
from plankseg.pipeline.reports.terminal_simulate import words, write_result
from plankseg.pipeline.simulation.simulate import (
    SETTINGS_FILE,
    SMALL,
    Result,
    collect_result,
    prepare,
    read_result,
    simulate,
    take_records,
)
from plankseg.pipeline.simulation.simulated_rounds import Record, Simulation
from plankseg.pipeline.simulation.summary import paired_tests
from plankseg.pipeline.simulation.world import World
from plankseg.stable_hash import stable_hash

MAIN_ARMS: tuple[ArmName, ...] = ("random", "stratified", "published", "stratified-power")
POOL_OF_CELLS = 60


@dataclass(frozen=True)
class Setting:
    """Where images come from, how many a round has, the side of the squares, and how many images test."""

    folders: Callable[[Path, Path], SimulationData]
    batch_size: int
    side_px: int
    test_images: int = 160


def synthetic(_: Path, work: Path, pool: int = 600) -> SimulationData:
    """The demo's domains, a larger pool."""
    made = write_domains(work / "synthetic", source=300, pool=pool, validation=160)
    return SimulationData(
        source=str(made.source),
        pool=str(made.pool),
        pool_masks=str(made.pool_masks),
        test=str(made.validation),
        test_masks=str(made.validation_masks),
    )


def nuclei(data: Path, _: Path) -> SimulationData:
    """One vignette per nucleus: source isolated and dark on white; pool and test crowded, of other kinds."""
    parts = {
        f"{role}{masks}": data / "nuclei-dsb2018" / role
        for role in ("source", "pool", "test")
        for masks in ("", "_masks")
    }
    return SimulationData(
        **{name: str(folder / ("masks" if name.endswith("_masks") else "images")) for name, folder in parts.items()}
    )


def wbc(data: Path, work: Path) -> SimulationData:
    """White blood cells: clean ones as the source, the noisy ones as pool and test."""
    noisy = data / "wbc-two-domain" / "domain_b_noisy"
    images = sorted((noisy / "images").iterdir(), key=lambda path: stable_hash("wbc", path.name))
    for role, part in (("pool", images[:POOL_OF_CELLS]), ("test", images[POOL_OF_CELLS:])):
        for kind in ("images", "masks"):
            (work / role / kind).mkdir(parents=True, exist_ok=True)
            for path in part:
                shutil.copy(noisy / kind / path.name, work / role / kind / path.name)
    clean = data / "wbc-two-domain" / "domain_a_clean"
    return SimulationData(
        source=str(clean / "images"),
        source_masks=str(clean / "masks"),
        pool=str(work / "pool" / "images"),
        pool_masks=str(work / "pool" / "masks"),
        test=str(work / "test" / "images"),
        test_masks=str(work / "test" / "masks"),
    )


WITH_REAL_IMAGES = ("nuclei", "wbc")
SETTINGS = {
    "synthetic": Setting(synthetic, batch_size=20, side_px=64),
    "sea": Setting(partial(synthetic, pool=2000), batch_size=20, side_px=64),
    "nuclei": Setting(nuclei, batch_size=20, side_px=64, test_images=400),
    "wbc": Setting(wbc, batch_size=5, side_px=96),
}


def report(arm: str, seed: int, ended: Record) -> None:
    """A line for each round, for those who wait."""
    print(f"seed {seed} {arm}: {words(ended)}", flush=True)


def without_place(result: Result, data: Path | None, work: Path) -> Result:
    """The result with addresses that say nothing of this machine."""
    folders = {"work": work} | ({} if data is None else {"data": data})

    def shown(path: str | None) -> str | None:
        for name, folder in folders.items():
            if path is not None and Path(path).is_relative_to(folder):
                return str(name / Path(path).relative_to(folder))
        return path

    named = {name: shown(path) for name, path in result.data.model_dump().items()}
    return replace(result, data=SimulationData.model_validate(named))


def working_tree() -> str:
    """The commit of the code that runs, with `+` where files differ from it; 'unknown' without git."""
    if shutil.which("git") is None or not (Path(__file__).parents[1] / ".git").exists():
        return "unknown"
    git = partial(subprocess.run, cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
    return f"{commit}{'+' if git(['git', 'status', '--porcelain']).stdout.strip() else ''}"


def collected(setting: str, work: Path) -> Result:
    """What was run so far, whatever arms and seeds those are; runs that were not finished are listed, not compared."""
    described = json.loads((work / SETTINGS_FILE).read_text())
    records = [json.loads(path.read_text()) for path in sorted((work / "records").glob("*-seed-*.json"))]
    arms = tuple(arm for arm in get_args(ArmName) if arm in {record["arm"] for record in records})
    numbers = {name: described[name] for name in ("rounds", "batch_size", "test_images", "clicks")}
    config = SimulationConfig(arms=arms, seeds=1 + max(record["seed"] for record in records), **numbers)
    recipe, data = Recipe.model_validate(described["recipe"]), SimulationData.model_validate(described["data"])
    simulation = Simulation(World(work), recipe, config, Settings(store=os.devnull), commit=working_tree())
    return collect_result(setting, data, simulation, records)


@dataclass(frozen=True)
class How:
    """Images per epoch, runs at once, and the JSON of a run elsewhere."""

    draws: int
    side_by_side: int
    take: Path | None


def run(chosen: Setting, folder: Path, data: Path, config: SimulationConfig, how: How) -> Result:
    """Run what is missing of a simulation in a folder of that setting."""
    folders = chosen.folders(data, folder)
    sizes = {"batch_size": chosen.batch_size, "test_images": chosen.test_images}
    training = SMALL.training.model_copy(update={"side_px": chosen.side_px, "draws_per_epoch": how.draws})
    recipe = SMALL.model_copy(update={"training": training})
    sized = SimulationConfig.model_validate({**config.model_dump(), **sizes})
    simulation = prepare(folder / "simulation", folders, recipe, sized, Settings(store=os.devnull))
    simulation = replace(simulation, commit=working_tree())
    if how.take is not None:
        print(f"{take_records(simulation, read_result(how.take))} runs taken from {how.take}", flush=True)
    return simulate(folder.name, folders, simulation, on_round=report, side_by_side=how.side_by_side)


def main(
    setting: Annotated[str, typer.Option(help=f"One of {', '.join(SETTINGS)}.")] = "synthetic",
    data: Annotated[Path | None, typer.Option(help="Folder of the real data.", envvar="PLANKSEG_REAL_DATA")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Where stores and records are kept, so that a later run goes on.")
    ] = None,
    arms: Annotated[str, typer.Option(help="Arms, with commas, or 'all'.")] = ",".join(MAIN_ARMS),
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    draws: Annotated[int, typer.Option(min=2, help="Images per epoch of each training.")] = 512,
    side_by_side: Annotated[int, typer.Option(min=1, help="Runs at once, each on a core of its own.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder for the page and the JSON.")] = None,
    take: Annotated[Path | None, typer.Option(help="JSON of a run elsewhere, whose runs are not repeated.")] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Run nothing: show every arm and seed of --work.")] = False,
    only_data: Annotated[Path | None, typer.Option(help="Draw or cut the setting's images there, and end.")] = None,
) -> None:
    """Simulate and print; the last line is the JSON of the tests."""
    cv2.setNumThreads(0)
    if setting not in SETTINGS:
        raise typer.BadParameter(f"{setting} is not known: {', '.join(SETTINGS)}")
    if take is not None and collect:
        raise typer.BadParameter("--take is for a run; --collect shows what --work holds already")
    place = needed(data) if setting in WITH_REAL_IMAGES and not collect else found(data)
    place = None if place is None else place.resolve()
    if only_data is not None:
        print(SETTINGS[setting].folders(place or only_data, only_data).model_dump_json())
        return
    if collect and (work is None or not (work / setting / "simulation" / "records").is_dir()):
        raise typer.BadParameter("--collect needs the folder of what was run (--work)")
    chosen, names = SETTINGS[setting], get_args(ArmName) if arms == "all" else tuple(arms.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        folder = ((work or Path(temporary)) / setting).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if collect:
            result = collected(setting, folder / "simulation")
        else:
            config = SimulationConfig(arms=names, seeds=seeds, rounds=rounds)
            result = run(chosen, folder, place or folder, config, How(draws, side_by_side, take))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_result(out, without_place(result, place, folder))
        print(conclusion(result))
        print(json.dumps([asdict(test) | {"verdict": test.verdict} for test in paired_tests(result.whole)]))


if __name__ == "__main__":
    typer.run(main)
