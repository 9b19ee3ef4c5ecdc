"""The assistant of a store, served in a thread of the test's own process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from plankseg.config import Settings
from plankseg.labelling.assist.app import Answer, build_app
from plankseg.local_servers import HOST, free_port
from plankseg.pipeline.annotation.assistant import Assistant
from plankseg.pipeline.annotation.probability_maps import ProbabilityMaps
from plankseg.storage.store import Store

SECRET = "a shared word for tests"


@contextmanager
def served(answer: Answer, *, port: int | None = None, secret: str = SECRET) -> Iterator[str]:
    """The assistant's address; it is stopped at the end."""
    at = port or free_port()
    config = uvicorn.Config(build_app(secret, answer), host=HOST, port=at, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://{HOST}:{at}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def assistant_for(store: Store) -> Iterator[Assistant]:
    """An assistant of a store, with the thread of its maps."""
    with ProbabilityMaps(store, Settings(store=str(store.root), device="cpu")) as maps:
        yield Assistant(store, maps)
