"""A whole simulation: every arm with every seed, and its result as one JSON document."""

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from plankseg.config import (
    ArmName,
    InferenceConfig,
    NetworkConfig,
    Recipe,
    Settings,
    SimulationConfig,
    SimulationData,
    TrainingConfig,
)
from plankseg.errors import SettingsError
from plankseg.files import atomic_write
from plankseg.learning.network.architecture import choose_device
from plankseg.local_servers import die_with_parent
from plankseg.pipeline.simulation.arms import ARMS
from plankseg.pipeline.simulation.rank_correlations import rank_correlations
from plankseg.pipeline.simulation.simulated_rounds import (
    Record,
    Simulation,
    is_recorded,
    one_thread,
    prepare_seed,
    record_path,
    run_arm,
    write_record,
)
from plankseg.pipeline.simulation.summary import Record as AnyRecord
from plankseg.pipeline.simulation.summary import paired_tests, small_budget, summaries, whole
from plankseg.pipeline.simulation.world import make_world, start_of

SMALL = Recipe(
    network=NetworkConfig(encoder="timm-tf_efficientnet_lite0"),
    training=TrainingConfig(
        side_px=64,
        epochs=3,
        draws_per_epoch=512,
        learning_rate=1e-3,
        schedule="cosine",
        loss="dice_bce",
        epochs_per_round=0,
        side_px_per_round=0,
    ),
    inference=InferenceConfig(backend="folded", int8=False),
)
"""What arms share where nothing else is said: a round takes well under a minute on two cores. Nothing grows."""

SETTINGS_FILE = "settings-of-simulation.json"
"""What a work folder is for; page and JSON of the result have the folder's own name, which may be any."""

SAME_DICE = 0.002
"""A run is the same as another one within this Dice."""


@dataclass(frozen=True)
class Result:
    """What was simulated, and what came out. `records` are those of the arms and seeds, whole ones and others."""

    name: str
    data: SimulationData
    recipe: Recipe
    config: SimulationConfig
    records: Sequence[Record]
    correlations: Mapping[str, float]
    made_by: Mapping[str, str]

    @property
    def whole(self) -> list[Record]:
        """The records that are compared."""
        return whole(self.records, self.config.rounds)  # type: ignore[return-value]

    @property
    def makers(self) -> list[tuple[str, int]]:
        """Whose code made the records, on which processor and device, and how many of them each."""
        counted = Counter(describe(record.get("made_by", UNKNOWN)) for record in self.records)
        return counted.most_common()

    @property
    def stopped(self) -> list[Record]:
        """The records that have fewer rounds than asked for."""
        return [record for record in self.records if len(record["rounds"]) < self.config.rounds]

    def to_json(self) -> bytes:
        """The result as JSON: settings, every round of every arm, summary and tests."""
        document = {
            "name": self.name,
            "made_by": dict(self.made_by),
            "data": self.data.model_dump(),
            "config": self.config.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(mode="json"),
            "arms": {name: ARMS[name].words for name in self.config.arms},
            "summary": [asdict(arm) for arm in summaries(self.whole, self.config.batch_size)] if self.whole else [],
            "tests": _tests(self.whole),
            "tests_of_small_budget": _tests(small_budget(self.whole)),
            "rank_correlations": dict(self.correlations),
            "records": list(self.records),
        }
        return json.dumps(_rounded(document), indent=1).encode()


UNKNOWN = {"code": "unknown"}


def describe(made_by: Mapping[str, str]) -> str:
    """Code, processor and device in words."""
    return ", ".join(f"{name} {value}" for name, value in made_by.items())


def _tests(records: Sequence[AnyRecord]) -> list[dict[str, Any]]:
    return [asdict(test) | {"verdict": test.verdict} for test in paired_tests(records)]


def read_result(path: Path) -> Result:
    """Read what `to_json` wrote. Raises SettingsError for a file that is none."""
    try:
        document = json.loads(path.read_bytes())
        made_by = document["made_by"]  # of every record, until each had its own
        return Result(
            name=document["name"],
            data=SimulationData.model_validate(document["data"]),
            recipe=Recipe.model_validate(document["recipe"]),
            config=SimulationConfig.model_validate(document["config"]),
            records=[{"made_by": made_by, **record} for record in document["records"]],
            correlations=document["rank_correlations"],
            made_by=made_by,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not the result of a simulation ({error}); give its JSON file.") from error


def simulate(
    name: str,
    data: SimulationData,
    simulation: Simulation,
    *,
    on_round: Callable[[str, int, Record], None] = lambda *_: None,
    side_by_side: int = 1,
) -> Result:
    """Run what is missing of a simulation, seed by seed, and return its result; it may be killed at any time.

    `on_round(arm, seed, record of the round)` hears of every round; with several runs `side_by_side`, each in a process
    of its own, when their run has ended.

    Raises SettingsError for data that cannot be used, and what the training of model 0 raises.
    """
    runs = [(arm, seed) for seed in range(simulation.config.seeds) for arm in simulation.config.arms]
    run_all = _one_by_one(simulation, runs, on_round) if side_by_side == 1 else _pooled(simulation, runs, side_by_side)
    records: list[Record] = []
    for (arm, seed), record in zip(runs, run_all, strict=True):
        records.append(record)
        _check_starts(records)  # before hours go into what cannot be compared
        if side_by_side > 1:
            for found in record["rounds"]:
                on_round(arm, seed, found)
    return collect_result(name, data, simulation, records)


def _one_by_one(
    simulation: Simulation, runs: Sequence[tuple[ArmName, int]], on_round: Callable[[str, int, Record], None]
) -> Iterator[Record]:
    for arm, seed in runs:
        yield run_arm(simulation, arm, seed, on_round=partial(on_round, arm, seed))


def _pooled(simulation: Simulation, runs: Sequence[tuple[ArmName, int]], side_by_side: int) -> Iterator[Record]:
    """The records in the order of the runs. Model 0 of each seed comes first, since its runs copy it."""
    context = multiprocessing.get_context("spawn")  # Delta's runtime does not survive a fork
    pool = ProcessPoolExecutor(side_by_side, mp_context=context, initializer=die_with_parent)
    try:
        seeds = sorted({seed for arm, seed in runs if not is_recorded(simulation, arm, seed)})
        list(pool.map(partial(prepare_seed, simulation), seeds))
        futures = [pool.submit(run_arm, simulation, arm, seed) for arm, seed in runs]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def collect_result(name: str, data: SimulationData, simulation: Simulation, records: Sequence[Record]) -> Result:
    """The result of what was run. Raises SettingsError where runs of one seed did not start from one model 0."""
    _check_starts(records)
    return Result(
        name=name,
        data=data,
        recipe=simulation.recipe,
        config=simulation.config,
        records=records,
        correlations=_correlations(simulation),
        made_by=simulation.made_by,
    )


def _check_starts(records: Sequence[Record]) -> None:
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        if "start" in record:
            by_seed.setdefault(record["seed"], []).append(record)
    for seed, beside in by_seed.items():
        lowest, highest = (choose(beside, key=lambda record: record["start"]["dice"]) for choose in (min, max))
        if highest["start"]["dice"] - lowest["start"]["dice"] > SAME_DICE:
            raise SettingsError(
                f"With seed {seed}, {lowest['arm']} started from a model 0 of Dice {lowest['start']['dice']} and "
                f"{highest['arm']} from one of {highest['start']['dice']}: they are of other data or of another "
                "processor, and cannot be compared. Remove the records of one, in the folder records."
            )


def take_records(simulation: Simulation, taken: Result) -> int:
    """Put the whole runs of a result, made elsewhere, beside those of a simulation, which then does not repeat them.

    What was run here stays. Returns how many runs were taken. Raises SettingsError where the result is not of the
    same recipe and numbers; that its images are the same ones is for the caller to know.
    """
    for name in ("rounds", "batch_size", "test_images", "clicks"):
        if getattr(taken.config, name) != getattr(simulation.config, name):
            raise SettingsError(
                f"{taken.name} was run with {name} {getattr(taken.config, name)}, and this simulation has "
                f"{getattr(simulation.config, name)}: their runs cannot be compared."
            )
    if _comparable(taken.recipe.model_dump(mode="json")) != _comparable(simulation.recipe.model_dump(mode="json")):
        raise SettingsError(f"{taken.name} was run with another recipe: its runs cannot be compared with these.")
    count = 0
    for record in taken.whole:
        path = record_path(simulation.world, record["arm"], record["seed"])
        if not path.exists():
            write_record(path, record)
            count += 1
    correlations = _correlations_path(simulation)
    if taken.correlations and not correlations.exists():
        write_record(correlations, dict(taken.correlations))
    return count


def prepare(
    work: Path, data: SimulationData, recipe: Recipe, config: SimulationConfig, settings: Settings
) -> Simulation:
    """A simulation in a work folder. Raises SettingsError where the folder holds another one."""
    described = {
        "data": data.model_dump(),
        "recipe": recipe.model_dump(mode="json"),
        "batch_size": config.batch_size,
        "test_images": config.test_images,
        "clicks": config.clicks,
        "rounds": config.rounds,
        "device": choose_device(settings.device).type,
    }
    if recipe.training.devices > 1:
        raise SettingsError(
            f"training.devices is {recipe.training.devices}: a run of a simulation computes on one device. Set it to 1,"
            " and let several runs go side by side."
        )
    path = work / SETTINGS_FILE
    there = {"device": "cpu", **json.loads(path.read_text())} if path.exists() else described
    if _comparable(there) != _comparable(described):
        different = sorted(key for key in described if _comparable(there.get(key)) != _comparable(described[key]))
        raise SettingsError(
            f"{work} holds a simulation with other {' and '.join(different)}; give another folder, or remove it."
        )
    work.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(described, indent=1).encode())
    return Simulation(make_world(work, data, test_images=config.test_images), recipe, config, settings)


def _correlations(simulation: Simulation) -> dict[str, float]:
    """Of model 0 of the first seed; looked up where they were computed before."""
    path = _correlations_path(simulation)
    if not path.exists():
        with one_thread():
            start = start_of(simulation.world, simulation.recipe, simulation.settings, 0, simulation.report)
            found = rank_correlations(start, simulation.recipe, simulation.settings, simulation.world.truth, seed=0)
        write_record(path, found)
    correlations: dict[str, float] = json.loads(path.read_text())
    return correlations


def _correlations_path(simulation: Simulation) -> Path:
    return simulation.world.work / "records" / "rank-correlations.json"


def _rounded(value: Any) -> Any:
    return _each_float(value, lambda number: round(number, 5))


def _comparable(value: Any) -> Any:
    """With four digits: results have been written with five, and two thirds was once written with sixteen."""
    return _each_float(value, lambda number: float(f"{number:.4g}"))


def _each_float(value: Any, change: Callable[[float], float]) -> Any:
    if isinstance(value, float):
        return change(value)
    if isinstance(value, dict):
        return {name: _each_float(entry, change) for name, entry in value.items()}
    return [_each_float(entry, change) for entry in value] if isinstance(value, list | tuple) else value
