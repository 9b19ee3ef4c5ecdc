"""Runs the flow `compare` in a process of its own, and kills that process -9 after the n-th epoch that it trains.

usage: killed_compare.py EPOCHS [SIDE_BY_SIDE]     (EPOCHS 0 runs to the end)
"""

import os
import signal
import sys
from typing import Any

import plankseg.learning.lightning_module as learner
from plankseg.config import Grid
from tests.support.tiny_recipe import TINY_ROUNDS

GRID = Grid(name="tiny", architectures=("Unet",), freeze_encoder=(True,), learning_rates=(1e-3, 1e9, 1e-2))


def kill_after(epochs: int) -> None:
    """Die when the n-th checkpoint of this process is written."""
    original, written = learner.write_checkpoint, 0

    def write_and_die(*args: Any) -> None:
        nonlocal written
        original(*args)
        written += 1
        if written == epochs:
            os.kill(os.getpid(), signal.SIGKILL)

    learner.write_checkpoint = write_and_die


if __name__ == "__main__":
    kill_after(int(sys.argv[1]))
    from flows.compare import compare

    state = compare(TINY_ROUNDS, GRID, int(sys.argv[2]) if len(sys.argv) > 2 else None, return_state=True)
    print(state.result(raise_on_failure=False))
    sys.exit(0 if state.is_completed() else 1)
