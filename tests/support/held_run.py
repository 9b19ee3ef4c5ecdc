"""Runs what a Prefect worker was to run, held at a named point of `killed_advance` until the file `go` is there.

usage, as a run's command: held_run.py POINT     (with PAUSE_IN=folder, see `killed_advance`)
"""

import runpy
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from tests.support.killed_advance import POINTS  # noqa: E402

POINTS[sys.argv[1]]()
sys.argv = ["prefect.engine"]
runpy.run_module("prefect.engine", run_name="__main__")
