"""Runs of a grid: each is trained once and recorded as a candidate, wherever it was killed or by whom it was begun."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plankseg.config import Grid, Settings
from plankseg.errors import StoreBusyError, TrainingError
from plankseg.learning.checkpoints import EpochReport
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.reports.comparison_tables import rivals_table, table_of
from plankseg.pipeline.training import candidates
from plankseg.pipeline.training.candidates import devices_for, fit_candidate, free_device
from plankseg.pipeline.training.comparison import comparison_of
from plankseg.pipeline.training.grid import Run, planned_runs
from plankseg.pipeline.training.train_and_register import Training
from plankseg.pipeline.training.training_set import training_set
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
TWO_EPOCHS = TINY.model_copy(update={"training": TINY.training.model_copy(update={"epochs": 2})})
RUNS = planned_runs(TWO_EPOCHS, Grid(architectures=("Unet",), freeze_encoder=(), learning_rates=(1e-3, 1e-2)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, source=6, pool=4, validation=2)


class EndOfPowerError(Exception):
    """What nobody catches."""


def epochs_of(store: Store, run: Run, *, experiment: str = "grid") -> tuple[Any, list[int]]:
    """The candidate, and the epochs that were trained for it."""
    told: list[EpochReport] = []
    row = fit_candidate(store, run, CPU, experiment=experiment, report=told.append)
    return row, [epoch.epoch for epoch in told]


def test_a_run_is_trained_once_and_is_no_round(store: Store) -> None:
    row, epochs = epochs_of(store, RUNS[0])
    assert epochs == [1, 2]
    assert (row.candidate, row.experiment, row.round, row.promoted) == (RUNS[0].key, "grid", 0, False)
    assert store.models.weights(row.model_id)
    assert list((store.root / "work").iterdir()) == []
    assert epochs_of(store, RUNS[0], experiment="another") == (row, [])
    assert read_progress(store).models == frozenset()
    assert read_progress(store).active_model is None


def test_a_killed_run_goes_on_at_its_last_epoch_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    def killed(epoch: EpochReport) -> None:
        raise EndOfPowerError

    with pytest.raises(EndOfPowerError):
        fit_candidate(store, RUNS[0], CPU, experiment="grid", report=killed)
    row, epochs = epochs_of(store, RUNS[0])
    assert epochs == [2]
    calm, _ = epochs_of(store_with(tmp_path / "calm", source=6, pool=4, validation=2), RUNS[0])
    assert row.model_id == calm.model_id


def test_what_does_not_change_the_weights_does_not_change_the_fingerprint(store: Store) -> None:
    data = training_set(store, TINY, 0)
    name = Training(TINY, data, 0).fingerprint
    workers = TINY.model_copy(update={"training": TINY.training.model_copy(update={"loader_workers": 3})})
    assert Training(workers, data, 0).fingerprint == name
    assert (
        Training(TINY.model_copy(update={"query": TINY.query.model_copy(update={"seed": 9})}), data, 0).fingerprint
        == name
    )
    assert Training(RUNS[0].recipe, data, 0).fingerprint != name
    add_answers(store, 1, store.catalogue.ids("pool")[:1], mask=square((34, 41), 9))
    assert Training(TINY, training_set(store, TINY, 0), 0).fingerprint == name, "model 0 knows no corrections"
    assert Training(TINY, replace(data, examples=data.examples[1:]), 0).fingerprint != name


def test_the_best_comes_first_and_failures_last_with_their_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [epochs_of(store, run)[0] for run in RUNS]
    lost = Run("Unet unfrozen lr 1e+9", TINY)
    found = comparison_of(
        store,
        "grid",
        [*RUNS, lost],
        finished={run.key: row.fingerprint for run, row in zip(RUNS, rows, strict=True)},
        failures={lost.key: "The training diverged."},
    )
    best = max(rows, key=lambda row: row.validation_dice)
    assert found.best.model == best
    table = table_of(found)
    assert [row["run"] for row in table] == [result.run.key for result in found.results] + [lost.key]
    rivals = rivals_table(found)
    assert [row["masks by"] for row in rivals] == [found.best.run.key, "fixed threshold"]
    assert all(row["images"] == 2 and row["off edge"] and row["9 of 10 above"] for row in rivals)
    assert [row["place"] for row in table] == [1, 2, ""]
    assert str(table[0]["validation Dice"]).startswith(f"{best.validation_dice:.3f} [")
    assert table[-1]["model"] == "failed: The training diverged."
    assert len({tuple(row) for row in table}) == 1, "every row has the same columns"


def test_the_test_half_is_reported_beside_the_half_that_chose(tmp_path: Path) -> None:
    store = store_with(tmp_path / "halves", source=6, validation=6)
    row, _ = epochs_of(store, RUNS[0])
    assert row.fingerprint is not None
    found = comparison_of(store, "grid", RUNS[:1], finished={RUNS[0].key: row.fingerprint}, failures={})
    halves = found.best.metrics["measures"]
    assert len(halves["selection"]["images"]) == len(halves["test"]["images"]) == 3
    assert not halves["selection"]["images"].keys() & halves["test"]["images"].keys()
    test = found.best.mean("test", "dice")
    assert test is not None
    assert str(table_of(found)[0]["test Dice"]).startswith(f"{test['mean']:.3f} [")
    assert found.best.dice == pytest.approx(halves["selection"]["means"]["dice"]["mean"])


def test_when_nothing_finished_the_error_has_every_reason(store: Store) -> None:
    with pytest.raises(TrainingError, match=r"None of the 2 runs.*lr 1e-3.*: no weights; .*lr 1e-2.*: diverged"):
        comparison_of(store, "grid", RUNS, finished={}, failures={RUNS[0].key: "no weights", RUNS[1].key: "diverged"})


def test_a_diverging_run_is_told_apart_from_a_finished_one(store: Store) -> None:
    (wild,) = planned_runs(TINY, Grid(architectures=(), freeze_encoder=(), learning_rates=(1e9,)))
    with pytest.raises(TrainingError, match=r"diverged.*Lower training.learning_rate"):
        fit_candidate(store, wild, CPU, experiment="grid")
    assert store.models.candidates() == []


def test_two_places_serve_two_runs_and_a_third_is_refused(store: Store) -> None:
    places = ("cuda:0", "cuda:1")
    with free_device(store, places) as one, free_device(store, places) as two:
        assert (one, two) == places
        with pytest.raises(StoreBusyError, match="All 2 slots"):
            with free_device(store, places):
                pass
    with free_device(store, places) as again:
        assert again == "cuda:0"


def test_there_is_one_place_on_each_gpu_and_one_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices_for("cpu", None) == ("cpu",)
    assert devices_for("cpu", 2) == ("cpu", "cpu")
    monkeypatch.setattr(candidates.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(candidates.torch.cuda, "device_count", lambda: 2)
    assert devices_for("auto", None) == ("cuda:0", "cuda:1")
    assert devices_for("auto", 4) == ("cuda:0", "cuda:1", "cuda:0", "cuda:1")
    assert devices_for("cuda:1", None) == ("cuda:1",)
