"""Candidates of a comparison: every run of a grid is trained once, and recorded as a candidate for model 0."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from plankseg.config import Settings
from plankseg.errors import StoreBusyError
from plankseg.learning.trainer import EpochReport
from plankseg.pipeline.training.grid import Run
from plankseg.pipeline.training.train_and_register import Registration, Training, train_and_register
from plankseg.pipeline.training.training_set import training_set
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow


def fit_candidate(
    store: Store,
    run: Run,
    settings: Settings,
    *,
    experiment: str,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> ModelRow:
    """Train one run on the source alone, as model 0 would be, and record it; a finished run is only looked up.

    A run is finished if a candidate has its fingerprint, also one of another experiment. Raises what
    `train_and_register` raises.
    """
    training = Training.of_store(store, run.recipe, training_set(store, run.recipe, 0), 0)
    columns = {
        "promoted": False,
        "reason": f"a candidate of experiment {experiment!r}",
        "experiment": experiment,
        "candidate": run.key,
        "fingerprint": training.fingerprint,
    }
    work_dir = store.work_dir(f"candidate-{training.fingerprint[:32]}")
    finished = store.models.candidate(training.fingerprint)
    if finished is not None:
        shutil.rmtree(work_dir)  # left behind by a kill right after the commit
        return finished
    return train_and_register(store, training, settings, Registration(work_dir, lambda *_: columns, report))


def devices_for(device: str, side_by_side: int | None) -> tuple[str, ...]:
    """The device of each slot in which a run can be trained at the same time as others.

    'auto' with several GPUs has one slot on each; every other device has one, unless `side_by_side` asks for more.
    """
    cards = torch.cuda.device_count() if device == "auto" and torch.cuda.is_available() else 0
    devices = [f"cuda:{number}" for number in range(cards)] or [device]
    return tuple(devices[index % len(devices)] for index in range(side_by_side or len(devices)))


@contextmanager
def free_device(store: Store, devices: Sequence[str]) -> Iterator[str]:
    """Hold one of the slots for a run, across processes; it is free again when the block or the process ends.

    Raises StoreBusyError when all of them are taken.
    """
    with ExitStack() as held:
        for index, device in enumerate(devices):
            try:
                held.enter_context(store.lock(f"device-{index}"))
            except StoreBusyError:
                continue
            yield device
            return
        raise StoreBusyError(
            f"All {len(devices)} slots for trainings on {store.root} are taken; wait for one to end, or raise"
            " side_by_side."
        )
