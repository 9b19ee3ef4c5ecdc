"""A process killed at any moment leaves every row with its object, and the next one carries on."""

import itertools
import os
import random
import time
from multiprocessing.connection import Connection

import pytest

from plankseg.storage.store import Store
from tests.support.racing_processes import server
from tests.support.table_rows import answer

pytestmark = pytest.mark.slow


def store_answers(root: str, told: Connection, environment: dict[str, str]) -> None:
    os.environ.update(environment)  # the server of processes has that of its own start
    store = Store.open(root)
    for i in itertools.count(store.tables.read("labels").num_rows):
        mask = store.blobs.put(b"mask" * 5000 + str(i).encode(), "png")
        store.labels.add([answer(i, i, mask_sha=mask)])
        told.send(i)


def killed_after(root: str, seconds: float) -> int:
    """The last answer that the worker had said was stored before it was killed."""
    reading, writing = server().Pipe(duplex=False)
    worker = server().Process(target=store_answers, args=(root, writing, dict(os.environ)))
    worker.start()
    writing.close()
    last = reading.recv()
    time.sleep(seconds)
    worker.kill()
    worker.join()
    while reading.poll():
        try:
            last = reading.recv()
        except EOFError:
            break
    assert worker.exitcode == -9
    return int(last)


def test_after_every_kill_all_rows_have_their_object_and_no_stored_answer_is_lost(root: str) -> None:
    rng = random.Random(3)
    for _ in range(6):
        told = killed_after(root, rng.uniform(0, 0.1))
        store = Store.open(root)
        rows = store.labels.current()
        annotations = sorted(row.ls_annotation for row in rows if row.ls_annotation is not None)
        assert annotations == list(range(len(rows)))
        assert len(rows) in (told + 1, told + 2)  # the one in work may have been stored, though nobody was told
        for row in rows:
            assert row.mask_sha is not None
            assert store.blobs.get(row.mask_sha, "png") == b"mask" * 5000 + str(row.ls_annotation).encode()
