"""Missing schedulers and workers, other versions and lost shards are named, with what to do."""

import logging
import subprocess
import sys
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from distributed import Client, KilledWorker, LocalCluster
from distributed.client import FutureCancelledError

from flows.support import dask_workers
from plankseg import local_servers
from plankseg.config import Settings
from plankseg.errors import RunnerError, SettingsError, StoreError

pytestmark = pytest.mark.slow
SAME = dict.fromkeys((*dask_workers.SAME_EVERYWHERE, *dask_workers.SAME_ON_WORKERS), "1.2.3") | {
    "python": "3.11.7.final.0"
}
REFUSED = 3
STRANGER = f"""
import sys
from distributed import Client
try:
    Client(sys.argv[1], timeout=5)
except (OSError, TypeError):
    sys.exit({REFUSED})
"""


class AnyFuture:
    """Dask's future and Prefect's in one, with an outcome."""

    def __init__(self, error: Exception | None = None, *, is_done: bool = True) -> None:
        self.error, self.is_done, self.wrapped_future = error, is_done, self

    def done(self) -> bool:
        return self.is_done

    def wait(self, timeout: float) -> None: ...

    def result(self) -> str:
        if self.error is not None:
            raise self.error
        return "a shard"


class AnyClient:
    """A client of a scheduler whose machines have these versions."""

    status = "running"
    scheduler = None

    def __init__(self, scheduler: dict[str, str] = SAME, **workers: dict[str, str]) -> None:
        self.scheduler_has, self.workers = scheduler, workers

    def get_versions(self, packages: list[str]) -> dict[str, Any]:
        has = {name: {"packages": versions} for name, versions in self.workers.items()}
        return {"client": {"packages": SAME}, "scheduler": {"packages": self.scheduler_has}, "workers": has}

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self.workers, 1)


@pytest.mark.parametrize(
    "address",
    [f"tcp://127.0.0.1:{local_servers.free_port()}", "nonsense://here"],
    ids=["nobody there", "no address"],  # a port in the name would be another test in each of xdist's workers
)
def test_a_scheduler_that_does_not_answer_is_named_with_how_to_start_one(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_workers, "CONNECT_TIMEOUT_S", 1.0)
    with pytest.raises(RunnerError, match=f"PLANKSEG_DASK_ADDRESS={address} .*`dask scheduler`"):
        with dask_workers.connect_dask(Settings(runner="dask", dask_address=address)):
            pass


def test_a_scheduler_without_workers_is_named_with_how_to_start_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_workers, "FIRST_WORKER_TIMEOUT_S", 0.2)
    with LocalCluster(
        n_workers=0, processes=False, host="127.0.0.1", protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as here:
        with pytest.raises(RunnerError, match=rf"no worker for .*`dask worker {here.scheduler_address} --nworkers -1"):
            with dask_workers.connect_dask(Settings(runner="dask", dask_address=here.scheduler_address)):
                pass


def test_other_versions_are_named_with_the_machine_that_has_them() -> None:
    patched = SAME | {"python": "3.11.9.final.0"}
    dask_workers.check_versions(AnyClient(SAME, one=SAME, two=patched))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"worker two has torch 2\.0, this flow 1\.2\.3"):
        dask_workers.check_versions(AnyClient(SAME, one=SAME, two=SAME | {"torch": "2.0"}))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"the scheduler has python 3\.12, this flow 3\.11"):
        dask_workers.check_versions(AnyClient(SAME | {"python": "3.12.1.final.0"}))  # type: ignore[arg-type]
    dask_workers.check_versions(AnyClient(SAME | {"torch": "None"}))  # type: ignore[arg-type]  # a scheduler needs no torch


def test_errors_of_dask_say_what_to_do() -> None:
    client: Any = AnyClient()
    assert dask_workers.result_of(client, AnyFuture()) == "a shard"  # type: ignore[arg-type]
    gone = FutureCancelledError("segment_images-1", "scheduler-connection-lost")
    with pytest.raises(RunnerError, match=r"went away \(scheduler-connection-lost\)\. .* finished shards are kept"):
        dask_workers.result_of(client, AnyFuture(gone))  # type: ignore[arg-type]

    class Last:
        address = "tcp://10.0.0.7:4000"

    killed = KilledWorker("segment_images-1", Last(), 3)  # type: ignore[arg-type]
    with pytest.raises(RunnerError, match=r"4 workers died at the same shard, the last one was tcp://10\.0\.0\.7:4000"):
        dask_workers.result_of(client, AnyFuture(killed))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="disk full"):
        dask_workers.result_of(client, AnyFuture(StoreError("disk full")))  # type: ignore[arg-type]


def test_a_scheduler_that_has_lost_all_workers_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    log = logging.getLogger("test")
    monkeypatch.setattr(log, "warning", lambda *args: warnings.append(args[0]))
    monkeypatch.setattr(dask_workers, "get_run_logger", lambda: log)
    monkeypatch.setattr(dask_workers, "NO_WORKER_TIMEOUT_S", 0.0)
    with pytest.raises(RunnerError, match="has had no worker for 0 minutes"):
        dask_workers.wait_for_shard(AnyClient(), AnyFuture(is_done=False))  # type: ignore[arg-type]
    assert warnings
    dask_workers.wait_for_shard(AnyClient(), AnyFuture())  # type: ignore[arg-type]


def test_each_gpu_has_a_worker_and_each_core_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from dask import system

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert dask_workers.local_devices("auto") == ["cuda:0", "cuda:1", "cuda:2"]
    assert dask_workers.local_devices("cuda:1") == ["cuda:1"]
    monkeypatch.setattr(system, "CPU_COUNT", 2)
    assert set(dask_workers.local_devices("cpu")) == {"cpu"}
    assert len(dask_workers.local_devices("cpu")) <= 2


def listening_ports() -> set[Any]:
    """Where this process and those that it started listen."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        connection.laddr
        for each in family
        for connection in each.net_connections("inet")
        if connection.status == "LISTEN"
    }


def test_workers_of_this_machine_answer_nobody_without_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_workers, "local_devices", lambda device: ["cpu"])
    before = listening_ports()  # of servers that other tests share
    with dask_workers._local_cluster() as cluster:
        with Client(cluster) as with_key:
            with_key.wait_for_workers(1, timeout=60)
            assert with_key.submit(sum, [1, 2]).result() == 3
        ports = listening_ports() - before
        assert len(ports) > 3, "a scheduler, a nanny and a worker"
        for at in ports:
            for page in ("info/main/logs.html", "info/main/workers.html", "json/counts.json", "metrics", "status"):
                with suppress(httpx.TransportError):  # it speaks TLS alone
                    url = f"http://{at.ip}:{at.port}/{page}"
                    assert httpx.get(url, timeout=10, trust_env=False).status_code == 404, url
        for scheme in ("tls", "tcp"):
            # In a process of its own: what is left of a client that could not be made can block whoever collects it.
            address = f"{scheme}://127.0.0.1:{cluster.scheduler.port}"
            stranger = subprocess.run([sys.executable, "-c", STRANGER, address], timeout=60)
            assert stranger.returncode == REFUSED
