"""The store of a flow, and the lock that a run holds on it."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from prefect import runtime

from flows.support.crashed_runs import mark_crashed
from plankseg.config import settings
from plankseg.errors import StoreError
from plankseg.storage.store import Store

# A tick of the clock with nothing to do holds the store for some seconds; what a person started waits that long for it,
# and so does the nudge of a round's last answer, which a tick may have looked for a moment too early.
PATIENCE_S = 60.0

# Which stores the flow that is running here holds, subflows included; another thread or process has its own.
_held_stores: ContextVar[frozenset[object]] = ContextVar("_held_stores", default=frozenset())


@dataclass(frozen=True)
class StoreAt:
    """A flow's store, for a task that may run in another process or on another machine, whose settings are others."""

    location: str
    max_image_pixels: int

    @classmethod
    def ours(cls) -> "StoreAt":
        """The store of PLANKSEG_STORE."""
        return cls(settings().store_location, settings().max_image_pixels)

    def open(self) -> Store:
        """The store, where it can be seen. Raises StoreError where it cannot; none is made."""
        if not Store.exists(self.location):
            raise StoreError(
                f"{platform.node()} sees no store at {self.location}. Workers of other machines need a store in a "
                "bucket, s3://bucket/prefix, or a folder that all of them mount in the same place."
            )
        return Store.open(self.location, max_image_pixels=self.max_image_pixels)


def open_store() -> Store:
    """The store of PLANKSEG_STORE."""
    return Store.open(settings().store_location, max_image_pixels=settings().max_image_pixels)


@contextmanager
def hold_store(store: Store) -> Iterator[None]:
    """Hold the store's lock during a run; a flow that is called by another works under the caller's.

    Whoever was killed with the lock in its hands is marked as crashed in Prefect (see `burying`).

    Raises:
        StoreBusyError: another run is at work on this store, and longer than we wait; it names the process.
    """
    if store.root in _held_stores.get():
        yield
        return
    with store.lock("advance", wait_s=PATIENCE_S, note=str(runtime.flow_run.id or "")) as killed:
        if killed:
            mark_crashed(killed)
        token = _held_stores.set(_held_stores.get() | {store.root})
        try:
            yield
        finally:
            _held_stores.reset(token)
