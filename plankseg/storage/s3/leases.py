"""Leases: the locks of a store in a bucket, which has no locks that end with their process.

A lease is an object `locks/<name>/<generation>`. To take it, a process lists these objects; where the newest is given
back or no longer renewed, it creates the next generation with If-None-Match, which only one of two can do. A holder
renews only its own object, so one that was suspended too long can never take the lease back from its successor. Ages
are differences of two times of the server's clock, never of ours. A lease saves double work; the tables' transactions
alone guarantee that a round is proposed once.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from plankseg.errors import ObjectMissingError, StoreBusyError, StoreError
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import ask
from plankseg.storage.schemas import utc_now

log = logging.getLogger(__name__)

EXPIRES = timedelta(seconds=90)
RENEWED_EVERY_S = 15.0
POLL_S = 0.5


@dataclass(frozen=True)
class Holder:
    """Who holds a lease; `machine` names one start of one machine, and one container on it."""

    owner: str
    machine: str
    host: str
    pid: int
    started: str
    since: str
    note: str = ""


@dataclass(frozen=True)
class _Newest:
    """The lease of the highest generation: 0 and free where there is none yet."""

    generation: int
    is_free: bool
    others: tuple[int, ...] = ()


class Leases:
    """The leases of one store in a bucket. A dead holder's ends at once on its own machine, elsewhere after 90 s."""

    def __init__(
        self, root: Address, *, expires: timedelta = EXPIRES, renewed_every_s: float = RENEWED_EVERY_S
    ) -> None:
        self.root = root
        self._expires = expires
        self._renewed_every_s = renewed_every_s

    @contextmanager
    def hold(self, name: str, *, wait_s: float = 0.0, note: str = "") -> Iterator[str]:
        """Hold a lease during a block, renewed by a thread. Raises StoreBusyError, or StoreError as `client.ask`.

        The block gets the note of a holder that did not give it back: killed, or not heard of for too long.
        """
        folder = self.root / "locks" / name
        deadline = time.monotonic() + wait_s
        while (taken := self._taken(folder, note)) is None:
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    f"{name!r} of the store {self.root} is busy: {self._who(folder)}; wait until that is done, or stop "
                    f"that process and wait {self._expires.total_seconds():.0f} s."
                )
            time.sleep(POLL_S)
        generation, killed = taken
        address, us, over = folder / _key(generation), os.getpid(), threading.Event()
        body = objects.read(address)
        renewing = threading.Thread(target=self._renew, args=(folder, generation, body, over), daemon=True)
        renewing.start()
        try:
            yield killed
        finally:
            if os.getpid() == us:  # else we are a forked child, and it is our parent's lease
                over.set()
                renewing.join()
                _give_back(address)

    def held_since(self, name: str) -> datetime | None:
        """When the present holder took a lease; None where nobody holds it. Raises StoreError as `client.ask`."""
        folder = self.root / "locks" / name
        newest = self._newest(folder)
        holder = None if newest.is_free else _read(folder / _key(newest.generation))
        return None if holder is None or _is_dead(holder) else datetime.fromisoformat(holder.since)

    def _taken(self, folder: Address, note: str) -> tuple[int, str] | None:
        """The generation that we have got now, and the note of a killed holder; None where somebody else has it."""
        newest = self._newest(folder)
        before = _read(folder / _key(newest.generation)) if newest.generation else None
        if not newest.is_free and not _is_dead(before):
            return None
        mine, me = newest.generation + 1, _sign(note)
        address = folder / _key(mine)
        if not objects.write_new(address, me) and _read_bytes(address) != me:  # not ours by an answer that got lost
            return None
        if self._newest(folder).generation > mine:  # we had looked long ago: others took, and tidied away, in between
            objects.remove(address)
            return None
        for older in newest.others:
            objects.remove(folder / _key(older))
        return mine, before.note if before else ""

    def _newest(self, folder: Address) -> _Newest:
        asked = {"Bucket": folder.bucket, "Prefix": f"{folder.key}/"}
        page: dict[str, Any] = ask("list", folder, lambda client: client.list_objects_v2(**asked))
        found = {int(row["Key"].rpartition("/")[2]): row for row in page.get("Contents", [])}
        if not found:
            return _Newest(0, is_free=True)
        newest = max(found)
        age = _server_time(page) - found[newest]["LastModified"]
        is_free = found[newest]["Size"] == 0 or age > self._expires
        return _Newest(newest, is_free, tuple(found))

    def _renew(self, folder: Address, generation: int, body: bytes, over: threading.Event) -> None:
        """Keep the lease young until the work is over, or somebody took it because we could not."""
        while not over.wait(self._renewed_every_s):
            try:
                if self._newest(folder).generation > generation:
                    log.warning("The lease %s went to another process: we were not heard of for too long", folder)
                    return
                objects.write(folder / _key(generation), body)
            except StoreError as error:
                log.warning("The lease %s could not be renewed, trying again: %s", folder, error)

    def _who(self, folder: Address) -> str:
        holder = _read(folder / _key(self._newest(folder).generation))
        return (
            f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "it has just been given back"
        )


def _key(generation: int) -> str:
    return f"{generation:012d}"


def _give_back(address: Address) -> None:
    """Empty, not deleted: a generation's number is never used twice."""
    try:
        objects.write(address, b"")
    except StoreError as error:
        log.warning("The lease %s could not be given back and ends by itself: %s", address, error)


def _sign(note: str) -> bytes:
    since = utc_now().isoformat(timespec="seconds")
    pid = os.getpid()
    holder = Holder(uuid4().hex, _machine(), socket.gethostname(), pid, _started(pid) or "", since, note)
    return json.dumps(asdict(holder)).encode()


def _read_bytes(address: Address) -> bytes:
    try:
        return objects.read(address)
    except ObjectMissingError:
        return b""


def _read(address: Address) -> Holder | None:
    try:
        return Holder(**json.loads(_read_bytes(address)))
    except (ValueError, TypeError):
        return None


def _is_dead(holder: Holder | None) -> bool:
    """True when the holder was a process of this machine that is no more; of others we cannot know."""
    if holder is None or not holder.machine or holder.machine != _machine():
        return False
    return _started(holder.pid) != holder.started


def _machine() -> str:
    """Names this start of this machine, and the container's own numbering of processes; '' where neither is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the machine's start; None if there is none of that number."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else rest[18]


def _server_time(answer: dict[str, Any]) -> datetime:
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if date is None:
        raise StoreError("The S3 server's answers have no Date, so leases have no age; put no proxy before it.")
    return parsedate_to_datetime(date)
