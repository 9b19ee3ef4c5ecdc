"""The store of a flow, and the lock that a run holds on it."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from prefect import runtime

from flows.support.crashed_runs import mark_crashed
from flows.support.plain_errors import show_errors_in_words
from plankseg.config import settings
from plankseg.errors import StoreError
from plankseg.storage.store import Store

# A scheduled run with nothing to do holds the store for some seconds. A run that a person or a webhook event started
# waits this long for it, because the scheduled run may have listed the answers a moment too early. A tick of the clock
# does not wait: the next one comes.
LOCK_WAIT_S = 60.0
CLOCK = "advance_regularly"  # the deployment of `advance` that ticks

# The stores that the running flow holds, for its subflows; other threads and processes have a value of their own.
_held_stores: ContextVar[frozenset[object]] = ContextVar("_held_stores", default=frozenset())


@dataclass(frozen=True)
class StoreLocation:
    """A flow's store, for a task that may run in another process or on another machine with other settings."""

    location: str
    max_image_pixels: int

    @classmethod
    def of_settings(cls) -> "StoreLocation":
        """The store of PLANKSEG_STORE."""
        return cls(settings().store_location, settings().max_image_pixels)

    def open(self) -> Store:
        """Open the store. Raises StoreError if this machine does not see it; none is made."""
        if not Store.exists(self.location):
            raise StoreError(
                f"{platform.node()} sees no store at {self.location}. Workers of other machines need a store in a "
                "bucket, s3://bucket/prefix, or a folder that all of them mount in the same place."
            )
        return Store.open(self.location, max_image_pixels=self.max_image_pixels)


def open_store() -> Store:
    """The store of PLANKSEG_STORE. Flows and tasks begin with it: from then on errors of ours are logged in words."""
    show_errors_in_words()
    return Store.open(settings().store_location, max_image_pixels=settings().max_image_pixels)


@contextmanager
def hold_store(store: Store) -> Iterator[None]:
    """Hold the store's lock during a run; a subflow uses its caller's.

    A run that was killed while it held the lock is marked as crashed in Prefect (see `crashed_runs`).

    Raises:
        StoreBusyError: another run holds the store, for a tick of the clock now, for other runs longer than
            LOCK_WAIT_S; the message names its process.
    """
    if store.root in _held_stores.get():
        yield
        return
    wait_s = 0.0 if runtime.deployment.name == CLOCK else LOCK_WAIT_S
    with store.lock("advance", wait_s=wait_s, note=str(runtime.flow_run.id or "")) as killed:
        if killed:
            mark_crashed(killed)
        token = _held_stores.set(_held_stores.get() | {store.root})
        try:
            yield
        finally:
            _held_stores.reset(token)
