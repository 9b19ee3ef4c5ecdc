"""A Dask scheduler and its workers as processes of their own on loopback, each of which a test can kill."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from plankseg import local_servers
from tests.support.prefect_api import until

DASK = str(Path(sys.executable).parent / "dask")


@dataclass
class DaskCluster:
    """One scheduler at a fixed port; workers are added, killed, and end with it."""

    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=local_servers.free_port)
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, *, workers: int) -> "list[subprocess.Popen[bytes]]":
        """Start the scheduler, then its workers; return these, once they are registered."""
        self._start("scheduler", "--port", str(self.port))
        until(lambda: self._listens(), what=self.log("scheduler").read_text, timeout_s=60)
        return [self.add_worker(f"worker-{number}") for number in range(workers)]

    def add_worker(self, name: str) -> "subprocess.Popen[bytes]":
        """A worker without a nanny: killed, it is gone, as a machine is."""
        args = [self.address, "--nthreads", "1", "--no-nanny", "--name", name, "--local-directory", str(self.folder)]
        process = self._start("worker", *args, log=name)
        until(lambda: "Registered to" in self.log(name).read_text(), what=self.log(name).read_text, timeout_s=60)
        return process

    @property
    def scheduler(self) -> "subprocess.Popen[bytes]":
        return self.processes[0]

    def end(self) -> None:
        """Kill what is left, by the processes' own ids."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.processes.clear()

    def _start(self, kind: str, *args: str, log: str | None = None) -> "subprocess.Popen[bytes]":
        with self.log(log or kind).open("ab") as output:
            process = subprocess.Popen(
                [DASK, kind, *args, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"],
                env=dict(self.environment),
                cwd=local_servers.ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=local_servers.die_with_parent,
            )
        self.processes.append(process)
        return process

    def _listens(self) -> bool:
        assert self.scheduler.poll() is None, self.log("scheduler").read_text()
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
            for connection in psutil.Process(self.scheduler.pid).net_connections()
        )


@contextmanager
def dask_cluster(folder: Path, environment: Mapping[str, str], *, workers: int = 2) -> Iterator[DaskCluster]:
    """A scheduler with workers of one torch thread each; whatever of it still lives at the end is ended."""
    folder.mkdir()
    cluster = DaskCluster(folder, {**environment, "OMP_NUM_THREADS": "1"})
    try:
        cluster.start(workers=workers)
        yield cluster
    finally:
        cluster.end()
