"""The servers of one test run: the first worker that asks for one starts it, and stops it at the end.

A worker holds a shared lock on all that it uses until its last test has run; who started a server waits for the other
workers' locks before it stops it. A worker that is killed lets go of its locks with its life.
"""

import fcntl
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

Description = dict[str, Any]
Start = Callable[[Path], AbstractContextManager[Description]]


@dataclass(frozen=True)
class LiveLabelStudio:
    """A real Label Studio of this test run's own."""

    url: str
    token: str
    email: str
    password: str


@dataclass(frozen=True)
class LivePrefect:
    """A real Prefect server of this test run's own."""

    url: str
    pid: int


@dataclass
class SharedServers:
    """What this worker started for all, and what it uses."""

    started: dict[Path, ExitStack] = field(default_factory=dict)
    used: list[TextIOWrapper] = field(default_factory=list)

    def use(self, folder: Path, start: Start) -> Description:
        """What `start` says of a server in a folder that all workers share; it is started if nobody has done so.

        Until it answers, the other workers that ask for it wait.
        """
        folder.mkdir(parents=True, exist_ok=True)
        description = folder / "description.json"
        with locked(folder / "starting", fcntl.LOCK_EX):
            self.used.append(locked(folder / "users", fcntl.LOCK_SH))
            if not description.exists():
                stack = ExitStack()
                described = stack.enter_context(start(folder))
                self.started[folder] = stack
                description.write_text(json.dumps(described))
            found: Description = json.loads(description.read_text())
            return found

    def end(self) -> None:
        """Use nothing any more, and stop what this worker started, each server once the others need it no more."""
        while self.used:
            self.used.pop().close()
        for folder, stack in reversed(self.started.items()):
            with locked(folder / "users", fcntl.LOCK_EX):
                stack.close()
        self.started.clear()


def locked(path: Path, kind: int) -> TextIOWrapper:
    """A file of which this process holds the lock until it is closed."""
    file = path.open("a")
    fcntl.flock(file, kind)
    return file


servers = SharedServers()
