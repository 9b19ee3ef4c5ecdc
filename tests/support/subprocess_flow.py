"""A flow in a process of its own, on the tests' Prefect server, and what it left there to be looked at.

Prefect's client keeps threads that outlive their server: in the test process they would wait for one that is gone.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from plankseg import local_servers
from tests.support.prefect_api import post


def alone(program: Path | str, *arguments: str, environment: dict[str, str], fails: bool = False) -> str:
    """Run a file, or lines of Python; what it said. With `fails` it has to end in an error."""
    what = ["-c", program] if isinstance(program, str) else [str(program)]
    done = subprocess.run(
        [sys.executable, *what, *arguments],
        env=environment, cwd=local_servers.ROOT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def artifacts(at: local_servers.ServerSettings) -> dict[str, dict[str, Any]]:
    """The newest artifact of every key."""
    return {found["key"]: found for found in post(at, "artifacts/latest/filter", {}).json()}
