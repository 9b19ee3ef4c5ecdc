"""Runs the flow `simulate` in a process of its own, and kills that process -9 after the n-th epoch that it trains.

usage: killed_simulate.py EPOCHS FOLDER IMAGES [SIDE_BY_SIDE]     (EPOCHS 0 runs to the end; IMAGES: folder of domains)
"""

import sys
from pathlib import Path

from plankseg.config import SimulationConfig, SimulationData
from tests.support.killed_compare import kill_after
from tests.support.tiny_recipe import TINY

SHORT = SimulationConfig(arms=("random", "power"), seeds=1, rounds=2, batch_size=4, clicks=False)


def data_in(images: Path) -> SimulationData:
    """The folders that `write_domains` made."""
    return SimulationData(
        source=str(images / "source"),
        pool=str(images / "pool"),
        pool_masks=str(images / "pool-masks"),
        test=str(images / "validation"),
        test_masks=str(images / "validation-masks"),
    )


if __name__ == "__main__":
    kill_after(int(sys.argv[1]))
    from flows.simulate import simulate

    folder, images = sys.argv[2], Path(sys.argv[3])
    side_by_side = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    state = simulate(data_in(images), folder, SHORT, TINY, side_by_side, return_state=True)
    print(state.result(raise_on_failure=False))
    sys.exit(0 if state.is_completed() else 1)
