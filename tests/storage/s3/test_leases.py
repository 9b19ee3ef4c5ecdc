"""One machine is at work at a time, a dead one blocks nobody for long, and no clock of ours plays a part."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from plankseg.errors import StoreBusyError, StoreDownError
from plankseg.storage.s3 import leases, objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.leases import Leases
from tests.support.racing_processes import race
from tests.support.s3_servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.every_s3_server]


@pytest.fixture
def root(s3_server: S3Server) -> Address:
    return Address(s3_server.new_bucket(), "store")


def hold_for_a_moment(root: Address, seconds: float) -> str:
    try:
        with Leases(root).hold("advance"):
            time.sleep(seconds)
            return "worked"
    except StoreBusyError:
        return "busy"


def test_of_five_processes_one_is_at_work(root: Address) -> None:
    assert sorted(race(hold_for_a_moment, [(root, 2.0)] * 5)) == ["busy"] * 4 + ["worked"]


def test_those_that_wait_work_one_after_the_other(root: Address) -> None:
    at_work, most, worked = 0, 0, 0

    def work() -> None:
        nonlocal at_work, most, worked
        with Leases(root).hold("advance", wait_s=60):
            at_work += 1
            most, worked = max(most, at_work), worked + 1
            time.sleep(0.05)
            at_work -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (worked, most) == (4, 1)
    assert len(list(objects.listing(root / "locks"))) <= 2  # older generations are tidied away


def hold_from_another_machine(root: Address, monkeypatch: pytest.MonkeyPatch, *, pid: int) -> Address:
    """A lease as another machine leaves it that went dark at work."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(leases, "_machine", lambda: "another start of another machine")
        elsewhere.setattr(os, "getpid", lambda: pid)
        taken = Leases(root)._taken(root / "locks/advance", "run 4711")
    assert taken is not None
    return root / f"locks/advance/{taken[0]:012d}"


def test_a_machine_that_went_dark_blocks_until_its_lease_has_aged(
    root: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_from_another_machine(root, monkeypatch, pid=4711)
    with pytest.raises(StoreBusyError, match="process 4711 on"), Leases(root).hold("advance"):
        pytest.fail("two had the lease")
    with Leases(root, expires=timedelta(seconds=1)).hold("advance", wait_s=10) as killed:
        assert killed == "run 4711"
    with Leases(root).hold("advance") as killed:
        assert killed == ""


def test_a_clock_that_is_days_off_neither_breaks_nor_keeps_a_lease(
    root: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_from_another_machine(root, monkeypatch, pid=4711)
    now = time.time
    for days in (-3, 3):
        monkeypatch.setattr(time, "time", lambda days=days: now() + 86400 * days)
        with pytest.raises(StoreBusyError), Leases(root).hold("advance"):
            pytest.fail("two had the lease")


def test_a_lease_at_work_stays_young(root: Address) -> None:
    quick = Leases(root, expires=timedelta(seconds=2), renewed_every_s=0.3)
    with quick.hold("advance"):
        time.sleep(3.5)
        with pytest.raises(StoreBusyError), quick.hold("advance"):
            pytest.fail("two had the lease")


def test_a_holder_that_slept_too_long_takes_nothing_from_its_successor(
    root: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = hold_from_another_machine(root, monkeypatch, pid=4711)
    body = objects.read(slept)
    successor = Leases(root, expires=timedelta(seconds=1))
    with successor.hold("advance", wait_s=10):
        objects.write(slept, body)  # it wakes up and renews what was its own
        with pytest.raises(StoreBusyError, match=f"process {os.getpid()} on"), Leases(root).hold("advance"):
            pytest.fail("two had the lease")
        over = threading.Event()
        Leases(root, renewed_every_s=0.01)._renew(root / "locks/advance", 1, body, over)  # returns: it has lost


def test_who_looked_long_ago_does_not_come_in_beside_the_holder(root: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Leases(root)
    seen = late._newest(root / "locks/advance")
    for _ in range(2):
        with Leases(root).hold("advance"):
            pass
    with Leases(root).hold("advance"):  # generation 3; 1 is tidied away
        looks = iter([seen])
        look = late._newest
        monkeypatch.setattr(late, "_newest", lambda folder: next(looks, None) or look(folder))
        assert late._taken(root / "locks/advance", "") is None
        assert [found.address.key[-1] for found in objects.listing(root / "locks")] == ["3"]


def test_a_server_that_is_away_is_said_when_the_lease_is_asked_for(
    root: Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from plankseg.storage.s3.client import forget_connection

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_connection()
    with pytest.raises(StoreDownError, match="does not answer"), Leases(root).hold("advance"):
        pytest.fail("nobody gave it")
