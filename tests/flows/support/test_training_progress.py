"""The bar of a training: epochs, Dice, and an estimated end."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from flows.support import training_progress
from flows.support.training_progress import in_words, progress_text, show_epochs
from plankseg.learning.checkpoints import EpochReport

pytestmark = pytest.mark.slow
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def test_the_end_is_estimated_from_the_epochs_that_were_trained_here() -> None:
    assert progress_text(epoch(4, kept=3), 10, [50, 70], NOON) == (
        "ends at about 12:06, in 6 min: 4 of 10 epochs; best so far: epoch 3, Dice 0.912 on the deciding images"
    )
    assert progress_text(epoch(1, kept=1), 40, [3600], NOON).startswith("ends at about Saturday 03:00, in 39.0 hours: ")
    assert progress_text(epoch(10, kept=7), 10, [60], NOON) == (
        "done: 10 of 10 epochs; kept: epoch 7, Dice 0.912 on the deciding images"
    )


def epoch(number: int, *, kept: int) -> EpochReport:
    """An epoch worse than one before."""
    return EpochReport(number, 0.1, 0.3 if kept < number else 0.91234, 1e-3, 1.0, 0.0, kept, 0.91234)


def test_lengths_of_time_are_words() -> None:
    words = [in_words(timedelta(seconds=seconds)) for seconds in (10, 89, 3600, 7200)]
    assert words == ["less than a minute", "1 min", "60 min", "2.0 hours"]


def test_the_bar_is_there_from_the_first_epoch_on_and_moves_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, str]] = []

    def create(progress: float, *, key: str, description: str) -> str:
        assert key == "model-1-progress"
        seen.append((progress, description))
        return "bar"

    def update(bar: str, progress: float, description: str) -> None:
        assert bar == "bar"
        seen.append((progress, description))

    monkeypatch.setattr(training_progress, "create_progress_artifact", create)
    monkeypatch.setattr(training_progress, "update_progress_artifact", update)
    log: Any = SimpleNamespace(info=lambda *_: None)
    report = show_epochs(log, "model-1-progress", 2)
    assert seen == [], "a model that is only looked up has no bar"
    for number in (1, 2):
        report(epoch(number, kept=1))
    assert [progress for progress, _ in seen] == [50.0, 100.0]
    assert seen[0][1].startswith("ends at about")
    assert seen[1][1].startswith("done: 2 of 2 epochs; kept: epoch 1, Dice 0.912")
