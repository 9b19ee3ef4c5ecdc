"""A training, or collects one after the other, in a process of its own. Run as a script: `train|collect STORE GATE`.

It prints a line for each step. Between two steps in the middle it waits until the file GATE is there.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plankseg import local_servers
from plankseg.config import Recipe, Settings
from plankseg.learning.trainer import EpochReport
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.store import Store
from tests.support.annotation_desk import Desk, desk_of_round
from tests.support.little_store import noisy_image, square
from tests.support.tiny_recipe import TINY

RECIPE: Recipe = TINY.model_copy(update={"training": TINY.training.model_copy(update={"epochs": 4})})
MIDDLE = 2


def train(root: str | Path, after_epoch: Callable[[EpochReport], None] = lambda _: None) -> str:
    """Train model 0 of a store as a flow does, under its lock; the model's id."""
    store = Store.open(root)
    with store.lock("advance"):
        settings = Settings(store=str(root), device="cpu")
        return fit(store, RECIPE, settings, round_number=0, report=after_epoch).model_id


def collect_one_by_one(desk: Desk, gate: Path) -> None:
    """Answer the round's images one after the other, each with a mask of its own, and collect after each."""
    for number in range(len(desk.ids)):
        if number == MIDDLE:
            _wait_for(gate)
        desk.answer(number, square(noisy_image(0).shape, 14 + number))
        with desk.store.lock("advance"):
            collect(desk.store, desk.server, desk.project)
        print("collected", number + 1, flush=True)


def _wait_for(gate: Path) -> None:
    while not gate.exists():
        time.sleep(0.02)


@contextmanager
def at_work(work: str, store: Store, gate: Path) -> Iterator["subprocess.Popen[str]"]:
    """The work in a process of its own, until the gate in its middle."""
    command = [sys.executable, "-m", "tests.support.store_at_work", work, str(store.root), str(gate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=local_servers.ROOT) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline(), "the work ended before its middle"
        try:
            yield process
        finally:
            process.kill()


def _main(work: str, root: str, gate: Path) -> None:
    if work == "train":

        def after_epoch(report: EpochReport) -> None:
            print("epoch", report.epoch, flush=True)
            if report.epoch == MIDDLE:
                _wait_for(gate)

        print("model", train(root, after_epoch), flush=True)
    else:
        collect_one_by_one(desk_of_round(Store.open(root)), gate)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
