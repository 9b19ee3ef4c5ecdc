"""Flows in processes of their own, on the tests' Prefect server, and what they left there to be looked at.

Prefect's client keeps threads that outlive their server: in the test process they would wait for one that is gone.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from plankseg import local_servers
from tests.support.prefect_api import deployments, get, patch, post, until

SUPPORT = Path(__file__).parent
PRELOAD_S = 600.0  # ten seconds on a quiet machine

_preloaded: dict[str, "PreloadedPython"] = {}


class ForkedProgram:
    """A program that runs in a process forked from a Python with everything imported; as much of a Popen as is used."""

    def __init__(self, connection: socket.socket) -> None:
        self._answers = connection.makefile()
        self._connection = connection
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative if a signal ended it."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._answers.readline())
            except TimeoutError as error:
                self._answers.close()
                self._answers = self._connection.makefile()  # one that ran into a timeout refuses to read on
                raise subprocess.TimeoutExpired("a flow", timeout or 0) from error
            self._answers.close()
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        try:
            return self.wait(0.01)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class PreloadedPython:
    """One process of `preloaded_python.py`, started with the Prefect settings that its programs will have."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.address = f"{self._folder.name}/socket"
        self._log = Path(self._folder.name) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SUPPORT / "preloaded_python.py"), self.address],
                env=dict(environment),
                cwd=local_servers.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=local_servers.die_with_parent,
            )
        deadline = time.monotonic() + PRELOAD_S
        while not Path(self.address).exists():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"imports took more than {PRELOAD_S} s"
            time.sleep(0.05)

    def start(self, command: list[str], *, environment: Mapping[str, str], stdout: Path, stderr: Path) -> ForkedProgram:
        """Run a program, with these files for its output."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.address)
        program = {
            "command": command,
            "environment": dict(environment),
            "folder": str(local_servers.ROOT),
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        connection.sendall(f"{json.dumps(program)}\n".encode())
        return ForkedProgram(connection)

    def close(self) -> None:
        local_servers.end(self._process)
        self._folder.cleanup()


def preloaded(environment: Mapping[str, str]) -> PreloadedPython:
    """The process that forks for this Prefect server; started once for each worker of the tests."""
    server = environment["PREFECT_API_URL"]
    if server not in _preloaded:
        _preloaded[server] = PreloadedPython(environment)
    return _preloaded[server]


def end_preloaded() -> None:
    """End what `preloaded` started."""
    while _preloaded:
        _preloaded.popitem()[1].close()


@contextmanager
def forked_runs(at: local_servers.ServerSettings) -> Iterator[None]:
    """Let the worker of `plankseg up` run `advance` in forked processes: its many runs then import nothing anew."""
    with closing(PreloadedPython(at.environment())) as python:
        command = f"{sys.executable} {SUPPORT / 'forked_run.py'} {python.address}"
        for name in ("advance", "advance_regularly"):
            until(lambda name=name: "advance" in deployments(at, name=name), what=lambda: "advance is not deployed")
            deployment = get(at, f"deployments/name/advance/{name}")
            variables = {**deployment["job_variables"], "command": command}
            patch(at, f"deployments/{deployment['id']}", {"job_variables": variables})
        yield


def start_flow(program: Path | str, *arguments: str, environment: Mapping[str, str], log: Path) -> ForkedProgram:
    """Start a file, or lines of Python, that runs a flow; everything it says goes to the log."""
    return preloaded(environment).start(command_of(program, arguments), environment=environment, stdout=log, stderr=log)


def run_flow(
    program: Path | str, *arguments: str, environment: Mapping[str, str], silent_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a file, or lines of Python, that runs a flow, and wait for its end; it may be silent for so long."""
    command = command_of(program, arguments)
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder) / "stdout", Path(folder) / "stderr"
        process = preloaded(environment).start(command, environment=environment, stdout=stdout, stderr=stderr)
        try:
            until(
                lambda: process.poll() is not None,
                what=lambda: stdout.read_text() + stderr.read_text(),
                timeout_s=silent_s,
            )
        finally:
            if process.poll() is None:
                process.kill()
        return subprocess.CompletedProcess(command, process.wait(), stdout.read_text(), stderr.read_text())


def end_of(process: ForkedProgram, log: Path, *, silent_s: float = 240) -> int:
    """The exit status of a flow that was started, after its end; it may be silent for so long."""
    until(lambda: process.poll() is not None, what=log.read_text, timeout_s=silent_s)
    return process.wait()


def command_of(program: Path | str, arguments: tuple[str, ...]) -> list[str]:
    """What follows the interpreter on a command line."""
    return [*(["-c", program] if isinstance(program, str) else [str(program)]), *arguments]


def alone(program: Path | str, *arguments: str, environment: dict[str, str], fails: bool = False) -> str:
    """Run a file, or lines of Python; what it said. With `fails` it has to end in an error."""
    done = run_flow(program, *arguments, environment=environment)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def artifacts(at: local_servers.ServerSettings) -> dict[str, dict[str, Any]]:
    """The newest artifact of every key."""
    return {found["key"]: found for found in post(at, "artifacts/latest/filter", {}).json()}
