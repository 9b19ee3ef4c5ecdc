"""A small simulation on synthetic images: its record, its repetition, and what stops it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from typer.testing import CliRunner

from plankseg.cli import app
from plankseg.config import ArmName, Settings, SimulationConfig, SimulationData
from plankseg.errors import SettingsError
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.pipeline.reports import terminal_simulate
from plankseg.pipeline.reports.simulation_report import write_simulation
from plankseg.pipeline.simulation import simulated_rounds, world
from plankseg.pipeline.simulation.arms import ARMS
from plankseg.pipeline.simulation.simulate import SETTINGS_FILE, prepare, read_result, simulate, take_records
from plankseg.pipeline.simulation.simulated_rounds import prepare_seed, run_arm
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

ROUNDS = 2
EVERY_ARM = get_args(ArmName)
TRIED: tuple[ArmName, ...] = ("random", "published", "stratified-power", "typical-first", "core-set", "oracle")
"""One arm of each way of choosing."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SimulationData:
    folders = write_domains(tmp_path_factory.mktemp("images"), source=30, pool=24, validation=12)
    return SimulationData(
        source=str(folders.source),
        pool=str(folders.pool),
        pool_masks=str(folders.pool_masks),
        test=str(folders.validation),
        test_masks=str(folders.validation_masks),
    )


def config(*arms: ArmName, **changes: object) -> SimulationConfig:
    return SimulationConfig(arms=arms, **{"seeds": 1, "rounds": ROUNDS, "batch_size": 4, "clicks": False, **changes})


def settings(work: Path) -> Settings:
    return Settings(store=str(work / "unused"), device="cpu")


@pytest.fixture(scope="module")
def done(data: SimulationData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulation."""
    work = tmp_path_factory.mktemp("simulation")
    simulation = prepare(work, data, TINY, config(*TRIED), settings(work))
    terminal_simulate.write_result(work, simulate("tiny", data, simulation))
    return work


def test_every_arm_has_its_rounds_and_answers_none_twice(done: Path) -> None:
    result = read_result(done / "tiny.json")
    assert [record["arm"] for record in result.whole] == list(TRIED)
    for record in result.records:
        chosen = [image for found in record["rounds"] for image in found["chosen"]]
        assert len(set(chosen)) == len(chosen) == 4 * ROUNDS
        assert all(0 <= found["dice"] <= 1 and found["taxa"] >= 1 for found in record["rounds"])


def test_all_arms_of_a_seed_start_from_the_same_model(done: Path) -> None:
    starts = [record["start"] for record in read_result(done / "tiny.json").records]
    assert all(start == starts[0] for start in starts)


def test_the_oracle_asks_for_the_images_that_are_most_wrong(done: Path) -> None:
    first = {record["arm"]: record["rounds"][0] for record in read_result(done / "tiny.json").records}
    assert first["oracle"]["premask_dice"] == min(found["premask_dice"] for found in first.values())


def test_an_arm_is_repeated_from_the_json_alone(done: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app, ["simulate", str(tmp_path / "again"), "--again", str(done / "tiny.json"), "--arm", "stratified-power"]
    )
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("the same images, Dice +0.0000") == ROUNDS


def test_a_run_that_is_not_recorded_cannot_be_repeated(done: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["simulate", str(tmp_path), "--again", str(done / "tiny.json"), "--seed", "7"])
    assert isinstance(ran.exception, SettingsError)
    assert "no run of arm random with seed 7" in str(ran.exception)


def test_the_page_shows_curves_arms_and_tests_and_needs_no_network(done: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_simulation(page, read_result(done / "tiny.json"))
    text = page.read_text()
    assert text == (done / "tiny.html").read_text()
    assert "data:image/png;base64" in text
    assert "http" not in text.split("base64")[0]
    assert all(arm in text for arm in TRIED)
    assert "too few seeds" in text


def test_a_second_run_computes_nothing_and_more_arms_can_be_added(
    data: SimulationData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = simulate("grown", data, prepare(tmp_path, data, TINY, config("random"), settings(tmp_path)))
    with monkeypatch.context() as patched:
        patched.setattr(simulated_rounds, "fit", None)
        again = simulate("grown", data, prepare(tmp_path, data, TINY, config("random"), settings(tmp_path)))
    assert again.to_json() == before.to_json()
    more = simulate("grown", data, prepare(tmp_path, data, TINY, config("random", "stratified"), settings(tmp_path)))
    assert more.records[0] == before.records[0]
    assert len(more.whole) == 2


def test_a_simulation_in_a_folder_called_simulation_goes_on_after_its_result_was_written(
    data: SimulationData, tmp_path: Path
) -> None:
    work = tmp_path / "simulation"
    short = config("random", rounds=1)
    terminal_simulate.write_result(work, simulate("simulation", data, prepare(work, data, TINY, short, settings(work))))
    more = config("random", "stratified", rounds=1)
    assert len(simulate("simulation", data, prepare(work, data, TINY, more, settings(work))).whole) == 2


def test_a_run_that_was_stopped_in_a_round_goes_on_and_ends_the_same(
    data: SimulationData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_arm(prepare(tmp_path / "whole", data, TINY, config("published"), settings(tmp_path)), "published", 0)
    stopped = prepare(tmp_path / "stopped", data, TINY, config("published"), settings(tmp_path))
    real, calls = simulated_rounds._diversity, []

    def killed(*arguments: object) -> dict:
        calls.append(arguments)
        if len(calls) == 2:  # after the second model is recorded, before the round is
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(simulated_rounds, "_diversity", killed)
        with pytest.raises(KeyboardInterrupt):
            run_arm(stopped, "published", 0)
    assert without_clock(run_arm(stopped, "published", 0)) == without_clock(whole)


def without_clock(record: dict) -> dict:
    """A record without the seconds that its trainings took."""
    return record | {"rounds": [{k: v for k, v in found.items() if k != "seconds"} for found in record["rounds"]]}


def test_runs_side_by_side_are_those_of_one_after_the_other(
    data: SimulationData, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, int, int]] = []
    arms = config("random", "published")
    result = simulate(
        "pooled",
        data,
        prepare(tmp_path, data, TINY, arms, settings(tmp_path)),
        on_round=lambda arm, seed, found: heard.append((arm, seed, found["round"])),
        side_by_side=2,
    )
    alone = [record for record in read_result(done / "tiny.json").records if record["arm"] in arms.arms]
    assert [without_clock(record) for record in result.records] == [without_clock(record) for record in alone]
    assert heard == [(arm, 0, number) for arm in arms.arms for number in (1, 2)]
    with monkeypatch.context() as patched:
        patched.setattr(simulated_rounds, "fit", None)
        again = prepare(tmp_path, data, TINY, arms, settings(tmp_path))
        assert simulate("pooled", data, again).to_json() == result.to_json()


def test_clicks_are_counted_where_they_are_asked_for(data: SimulationData, tmp_path: Path) -> None:
    short = config("random", rounds=1, clicks=True, batch_size=2)
    record = run_arm(prepare(tmp_path, data, TINY, short, settings(tmp_path)), "random", 0)
    assert 1 <= record["rounds"][0]["clicks"] <= 10


def test_an_arm_that_uses_up_the_pool_is_reported_and_left_out(data: SimulationData, tmp_path: Path) -> None:
    long = config("random", rounds=3, batch_size=12)
    result = simulate("short", data, prepare(tmp_path, data, TINY, long, settings(tmp_path)))
    (record,) = result.stopped
    assert result.whole == []
    assert "round 3: No image of the pool is left" in record["stopped"]
    write_simulation(tmp_path / "short.html", result)
    assert "No image of the pool is left" in (tmp_path / "short.html").read_text()


def test_a_folder_with_another_simulation_is_refused(data: SimulationData, tmp_path: Path) -> None:
    prepare(tmp_path, data, TINY, config("random"), settings(tmp_path))
    with pytest.raises(SettingsError, match="other batch_size"):
        prepare(tmp_path, data, TINY, config("random", batch_size=5), settings(tmp_path))


def test_a_share_that_was_once_written_with_sixteen_digits_is_the_same_one(
    data: SimulationData, tmp_path: Path
) -> None:
    old = TINY.model_copy(update={"query": TINY.query.model_copy(update={"spread_share": 2 / 3})})
    prepare(tmp_path, data, old, config("random"), settings(tmp_path))
    prepare(tmp_path, data, TINY, config("random"), settings(tmp_path))


def test_runs_made_elsewhere_are_taken_and_not_repeated_and_say_whose_they_are(
    data: SimulationData, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = read_result(done / "tiny.json")
    old = [{k: v for k, v in record.items() if k != "made_by"} for record in elsewhere.records]  # as once written
    named = replace(elsewhere, records=old, made_by={"commit": "abc", "processor": "another"})
    (tmp_path / "old.json").write_bytes(named.to_json())
    simulation = prepare(tmp_path / "here", data, TINY, config(*TRIED), settings(tmp_path))
    assert take_records(simulation, read_result(tmp_path / "old.json")) == len(elsewhere.whole)
    assert take_records(simulation, read_result(tmp_path / "old.json")) == 0
    with monkeypatch.context() as patched:
        patched.setattr(simulated_rounds, "fit", None)
        result = simulate("joined", data, simulation)
    assert [without_maker(record) for record in result.records] == [without_maker(record) for record in old]
    assert result.makers == [("commit abc, processor another", len(old))]
    assert dict(result.correlations) == dict(elsewhere.correlations)
    write_simulation(tmp_path / "joined.html", result)
    assert f"{len(old)} runs by commit abc, processor another." in (tmp_path / "joined.html").read_text()


def without_maker(record: dict) -> dict:
    return {name: value for name, value in record.items() if name != "made_by"}


def test_runs_of_another_recipe_or_of_other_numbers_are_not_taken(
    data: SimulationData, done: Path, tmp_path: Path
) -> None:
    elsewhere = read_result(done / "tiny.json")
    simulation = prepare(tmp_path / "here", data, TINY, config(*TRIED), settings(tmp_path))
    other = TINY.model_copy(update={"training": TINY.training.model_copy(update={"epochs": 7})})
    with pytest.raises(SettingsError, match="another recipe"):
        take_records(simulation, replace(elsewhere, recipe=other))
    with pytest.raises(SettingsError, match="batch_size 5, and this simulation has 4"):
        take_records(simulation, replace(elsewhere, config=config(*TRIED, batch_size=5)))


def test_runs_of_one_seed_that_start_from_two_models_are_not_compared(
    data: SimulationData, done: Path, tmp_path: Path
) -> None:
    elsewhere = read_result(done / "tiny.json")
    first, *others = elsewhere.records
    strange = first | {"start": first["start"] | {"dice": first["start"]["dice"] - 0.1}}
    simulation = prepare(tmp_path / "here", data, TINY, config(*TRIED), settings(tmp_path))
    take_records(simulation, replace(elsewhere, records=[strange, *others]))
    with pytest.raises(SettingsError, match=r"With seed 0, .* started from a model 0 of Dice"):
        simulate("joined", data, simulation)


def test_a_pool_without_true_masks_is_refused(data: SimulationData, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    without = data.model_copy(update={"pool_masks": str(tmp_path / "empty")})
    with pytest.raises(SettingsError):
        prepare(tmp_path / "work", without, TINY, config("random"), settings(tmp_path))


def test_an_arm_that_is_not_known_is_named_with_those_that_are(data: SimulationData, tmp_path: Path) -> None:
    folders = [f"--{name.replace('_', '-')}={value}" for name, value in data.model_dump().items() if value]
    ran = CliRunner().invoke(app, ["simulate", str(tmp_path), *folders, "--arms", "random,eggs"])
    assert isinstance(ran.exception, SettingsError)
    assert "eggs" in str(ran.exception)
    assert "stratified-power" in str(ran.exception)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"name": "other"}))
    with pytest.raises(SettingsError, match="not the result of a simulation"):
        read_result(path)


def test_every_arm_is_described_and_changes_what_it_says() -> None:
    assert set(ARMS) == set(EVERY_ARM)
    assert all(arm.words for arm in ARMS.values())
    long = config("random").model_copy(update={"rounds": 4})  # trainings grow from round 3 on
    recipes = {name: arm.recipe(TINY, long, 3) for name, arm in ARMS.items() if arm.scoring == "model"}
    assert all(recipe.query.seed == recipe.training.seed == 3 for recipe in recipes.values())
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)


def test_a_run_computes_with_one_thread_and_gives_the_others_back(
    data: SimulationData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    real = simulated_rounds.fit

    def watched(*arguments: object, **options: object) -> object:
        seen.append((torch.get_num_threads(), _openmp_effective_n_threads()))
        return real(*arguments, **options)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(simulated_rounds, "fit", watched)
            patched.setattr(world, "fit", watched)
            run_arm(prepare(tmp_path, data, TINY, config("random", rounds=1), settings(tmp_path)), "random", 0)
            prepare_seed(prepare(tmp_path / "other", data, TINY, config("random"), settings(tmp_path)), 1)
        assert seen == [(1, 1)] * 3, "model 0, the round, and another seed's model 0"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_says_its_device_and_is_repeated_on_it(done: Path, tmp_path: Path) -> None:
    recorded = read_result(done / "tiny.json")
    assert {record["made_by"]["device"] for record in recorded.records} == {"cpu"}
    elsewhere = [record | {"made_by": record["made_by"] | {"device": "xpu"}} for record in recorded.records]
    (tmp_path / "gpu.json").write_bytes(replace(recorded, records=elsewhere).to_json())
    ran = CliRunner().invoke(app, ["simulate", str(tmp_path / "again"), "--again", str(tmp_path / "gpu.json")])
    assert isinstance(ran.exception, SettingsError)
    assert "no device 'xpu'" in str(ran.exception)


def test_a_folder_of_another_device_is_refused(data: SimulationData, tmp_path: Path) -> None:
    prepare(tmp_path, data, TINY, config("random"), settings(tmp_path))
    described = json.loads((tmp_path / SETTINGS_FILE).read_text())
    assert described["device"] == "cpu"
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(described | {"device": "cuda"}))
    with pytest.raises(SettingsError, match="other device"):
        prepare(tmp_path, data, TINY, config("random"), settings(tmp_path))


def test_a_run_on_several_devices_is_refused(data: SimulationData, tmp_path: Path) -> None:
    several = TINY.model_copy(update={"training": TINY.training.model_copy(update={"devices": 2})})
    with pytest.raises(SettingsError, match="devices is 2"):
        prepare(tmp_path, data, several, config("random"), settings(tmp_path))
