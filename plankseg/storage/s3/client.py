"""One boto3 client per process, with retries; boto3's own chain finds credentials and server.

AWS_ENDPOINT_URL (or `endpoint_url` of a profile) names a server other than Amazon's. A client does not survive a fork:
a child makes its own.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.config import Config

from plankseg.parallel import ordered_map
from plankseg.storage.s3.errors import EXPIRED, UNDECIDED, code_of, translated
from plankseg.storage.s3.fast_path import FastClient

THREADS = 16
ATTEMPTS = 5
CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},  # exponential waits with jitter, 20 s at most
    max_pool_connections=THREADS,
    connect_timeout=5,
    read_timeout=60,
    # Our objects are named by their sha256 and sent with an MD5; other servers stumble over Amazon's newer checksums.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
LONGEST_WAIT_S = 5.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Connection:
    """What one process talks to S3 with."""

    session: Any
    client: Any
    fast: FastClient

    @property
    def server(self) -> str:
        """The server's address."""
        return str(self.client.meta.endpoint_url)


_connection: Connection | None = None
_of_parents: list[Connection | None] = []
_making = threading.Lock()


def connection() -> Connection:
    """This process's connection, made when it is first needed. Raises StoreError for a profile that is not there."""
    global _connection
    with _making:
        if _connection is None:
            try:
                session = boto3.session.Session()
                region = session.region_name or "us-east-1"
                client = session.client("s3", region_name=region, config=CONFIG)
                _connection = Connection(session, client, FastClient(session, client))
            except (boto.BotoCoreError, ValueError) as error:
                server = os.environ.get("AWS_ENDPOINT_URL", "Amazon S3")
                raise translated(error, what="reach", where="the bucket", server=server) from error
        return _connection


def forget_connection() -> None:
    """Let the next call read credentials and address anew."""
    global _connection
    with _making:
        _connection = None


def ask(what: str, where: object, call: Callable[[Any], Result]) -> Result:
    """Make one call with the process's client; its errors come out as our own.

    boto3 repeats what a server refuses for being busy; an answer that breaks off in its middle is asked for again here,
    and credentials that have expired are looked up once more, for somebody may have renewed them since.

    Raises:
        StoreRefusedError: no credentials, or ones that the server does not accept, or that may not do this.
        StoreDownError: the server does not answer, or only stumbles.
        StoreError: there is no such bucket, or the server says something unexpected.
    """
    has_renewed = False  # expired ones are renewed before the last attempt or not at all
    for attempt in range(ATTEMPTS):
        at = connection()
        try:
            return call(at.client)
        except boto.ClientError as error:
            if code_of(error) in EXPIRED and not has_renewed and attempt < ATTEMPTS - 1:
                has_renewed = True
                forget_connection()
            elif code_of(error) not in UNDECIDED or attempt == ATTEMPTS - 1:
                raise translated(error, what=what, where=str(where), server=at.server) from error
        except (boto.ResponseStreamingError, boto.IncompleteReadError) as error:
            if attempt == ATTEMPTS - 1:
                raise translated(error, what=what, where=str(where), server=at.server) from error
        except boto.BotoCoreError as error:
            raise translated(error, what=what, where=str(where), server=at.server) from error
        time.sleep(random.uniform(0, min(LONGEST_WAIT_S, 0.1 * 2**attempt)))
    raise AssertionError("unreachable: the last attempt returns or raises")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work(item)` for each, in order, sixteen requests at a time and at most 64 begun."""
    return ordered_map(work, items, threads=THREADS, ahead=4 * THREADS, name="s3")


def _forget_in_child() -> None:
    global _connection, _making
    _of_parents.append(_connection)  # never ended here: its threads are the parent's
    _connection, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_in_child)
