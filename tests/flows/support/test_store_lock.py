"""Runs that find the store held by another one, or do not see it."""

from pathlib import Path
from typing import Any

import pytest

from flows.support.store_lock import CLOCK, LOCK_WAIT_S, StoreLocation, hold_store
from plankseg.errors import StoreBusyError, StoreError
from plankseg.storage.store import Store

pytestmark = pytest.mark.slow


def test_a_worker_that_does_not_see_the_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"sees no store at .*/elsewhere\. .*s3://bucket/prefix"):
        StoreLocation(str(tmp_path / "elsewhere"), 100).open()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("deployment", "waits_s"), [(CLOCK, 0.0), ("advance", LOCK_WAIT_S), (None, LOCK_WAIT_S)])
def test_a_tick_of_the_clock_does_not_wait_for_a_run_that_holds_the_store(
    deployment: str | None, waits_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store.open(tmp_path), list[float]()

    def busy(*_: object, wait_s: float, **__: Any) -> None:
        asked.append(wait_s)
        raise StoreBusyError("held by process 1")

    monkeypatch.setattr(Store, "lock", busy)
    if deployment is not None:
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__NAME", deployment)
    with pytest.raises(StoreBusyError), hold_store(store):
        pass
    assert asked == [waits_s]
