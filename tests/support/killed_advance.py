"""Runs the flow `advance` in a process of its own, and kills that process -9 at a named point.

The points are functions of plankseg, wrapped here; the product itself knows nothing of being killed.
usage: killed_advance.py POINT     (POINT 'nowhere' runs to the end)
With PAUSE_IN=folder the process is not killed there: it makes the file `here` and waits for the file `go`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flows.support.store_lock as store_lock
import plankseg.labelling.api.client as client
import plankseg.learning.trainer as training
import plankseg.pipeline.annotation.push_proposals as push_proposals
import plankseg.storage.tables.labels as labels
import plankseg.storage.tables.models as models
import plankseg.storage.tables.proposals as proposals


def die(*_: Any, **__: Any) -> None:
    """End this process as a power cut would, or hold it while the test does something to its servers."""
    folder = os.environ.get("PAUSE_IN")
    if not folder:
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        (Path(folder) / "here").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.1)


def wrap(owner: Any, name: str, *, before: bool = False, on_call: int = 1) -> None:
    """Die before or after the n-th call of a function."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == on_call:
            die()
        result = original(*args, **kwargs)
        if calls == on_call:
            die()
        return result

    setattr(owner, name, wrapped)


POINTS: dict[str, Callable[[], None]] = {
    "nowhere": lambda: None,
    "nowhere, and in no mood to wait": lambda: setattr(store_lock, "LOCK_WAIT_S", 0.0),
    "before the proposal's commit": lambda: wrap(proposals.Proposals, "commit", before=True),
    "after the proposal's commit": lambda: wrap(proposals.Proposals, "commit"),
    "in the middle of the push, images uploaded": lambda: wrap(client.LabelStudioClient, "upload_images"),
    "in the middle of the push, tasks imported": lambda: wrap(client.LabelStudioClient, "import_tasks"),
    "after the push": lambda: wrap(push_proposals, "push_round"),
    "in the middle of the collect": lambda: wrap(labels.Labels, "add", before=True),
    "after the collect": lambda: wrap(labels.Labels, "add"),
    "in the middle of the training": lambda: kill_after_epoch(1),
    "before the model's commit": lambda: wrap(models.Models, "commit", before=True),
    "after the model's commit": lambda: wrap(models.Models, "commit"),
}


def kill_after_epoch(number: int) -> None:
    """Die when the n-th epoch of a training is reported."""
    import plankseg.pipeline.training.multi_gpu as together

    assert together.train is training.train, "trainings begin somewhere else now: wrap that"
    original = training.train

    def train(*args: Any, report: Callable[[Any], None], **kwargs: Any) -> Any:
        epochs = 0

        def report_and_die(epoch: Any) -> None:
            nonlocal epochs
            epochs += 1
            report(epoch)
            if epochs == number:
                die()

        return original(*args, report=report_and_die, **kwargs)

    together.train = train


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    from flows.advance import advance

    state = advance(return_state=True)
    print(state.name, state.message)
    sys.exit(0 if state.is_completed() else 1)
