"""Training on several GPUs of one machine: one process per GPU, each with its part of every step.

The processes are ours, the rest is Lightning's DDP: its own ways to start them would run the flow's program once more,
or fork a process that has threads and perhaps a GPU open. Each opens the store itself; the first one judges, writes
checkpoints and tells of the epochs. When one ends too early all are ended, and what was trained is in the checkpoint.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from plankseg import errors
from plankseg.config import FrozenModel, Recipe
from plankseg.errors import PlanksegError, SettingsError, TrainingError
from plankseg.files import atomic_write
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask
from plankseg.learning.network.architecture import choose_device
from plankseg.learning.oom import halving_once, is_out_of_memory
from plankseg.learning.process_rank import ProcessRank
from plankseg.learning.trainer import EpochReport, Example, Execution, Source, TrainedModel, TrainingTask, train
from plankseg.local_servers import die_with_parent
from plankseg.storage.store import Store

References = UInt8[np.ndarray, "n side side"]
Report = Callable[[EpochReport], None]

PROCESS_GROUP_TIMEOUT = timedelta(
    minutes=30
)  # of a process that waits for the others: the first one may evaluate many images
_EPOCHS, _JOB, _START, _REFERENCES, _RENDEZVOUS = "epochs", "job.json", "start.safetensors", "references.npy", "meeting"

_NO_MEMORY = torch.OutOfMemoryError.__name__


class TrainingJob(FrozenModel):
    """A training on images and masks of a store, as every process that takes part has to know it."""

    store: str
    max_image_pixels: int
    device: str
    recipe: Recipe
    round_number: int
    examples: tuple[Example, ...]
    validation: tuple[Example, ...]
    masks: dict[str, str]
    work_dir: Path

    def train(
        self, store: Store, initial: "Initial", report: Report, *, progress: bool, process: ProcessRank
    ) -> TrainedModel:
        """Read images and masks from the store and train. See `plankseg.learning.trainer.train`."""

        def load_mask(image_id: str) -> Mask:
            return decode_mask(store.blobs.get(self.masks[image_id], "png"))

        load = store.catalogue.loader(example.image_id for example in (*self.examples, *self.validation))
        task = TrainingTask(
            examples=self.examples,
            validation=self.validation,
            source=Source(load, load_mask),
            recipe=self.recipe,
            round_number=self.round_number,
            start=initial.start,
            references=initial.references,
        )
        return train(task, Execution(self.work_dir, self.device, process, progress), report=report)


@dataclass(frozen=True)
class Initial:
    """The large arrays that a training begins with: the weights of a whole model, and style references."""

    start: bytes | None = None
    references: References | None = None


def train_ddp(job: TrainingJob, initial: Initial, report: Report) -> None:
    """Train on as many devices as the recipe says, until the checkpoint in `job.work_dir` holds the whole training.

    Raises:
        SettingsError: there are not so many devices here.
        TrainingError: as `train` does, and when a process was ended from outside.
    """
    ranks = job.recipe.training.devices
    _check_devices(job.device, ranks)
    with tempfile.TemporaryDirectory(dir=job.work_dir, prefix="together-") as name:
        folder = Path(name)
        (folder / _JOB).write_text(job.model_dump_json(), encoding="utf-8")
        if initial.start is not None:
            (folder / _START).write_bytes(initial.start)
        if initial.references is not None:
            np.save(folder / _REFERENCES, initial.references)
        halving_once(
            lambda parts: _run_all(folder, ranks, parts, report), batch_size=job.recipe.training.batch_size // ranks
        )


def _check_devices(device: str, ranks: int) -> None:
    chosen = choose_device(device)
    if chosen.type == "cpu":
        return
    available = torch.cuda.device_count() if chosen.type == "cuda" and chosen.index is None else 1
    if available < ranks:
        raise SettingsError(
            f"The recipe asks for {ranks} devices (training.devices), and PLANKSEG_DEVICE={device} is {available} here."
            f" Set training.devices to {available}, or PLANKSEG_DEVICE to auto on a machine with {ranks} GPUs."
        )


def _run_all(folder: Path, ranks: int, parts: int, report: Report) -> None:
    """Start the processes, report the epochs that the first one writes, and end them all when one fails."""
    epochs = folder / _EPOCHS
    for left in (epochs, folder / _RENDEZVOUS, *folder.glob("failed-*")):
        left.unlink(missing_ok=True)
    epochs.touch()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(ranks):
            command = [
                sys.executable,
                "-m",
                "plankseg.pipeline.training.multi_gpu",
                str(folder),
                str(rank),
                str(ranks),
                str(parts),
            ]
            environment = os.environ | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
            if sys.platform == "linux":  # nobody else is to hear them
                environment |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
            processes.append(
                subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, preexec_fn=_die_with_flow)
            )
        with epochs.open(encoding="utf-8") as lines:
            partial = ""
            while True:
                codes = [process.poll() for process in processes]
                while line := lines.readline():
                    partial += line
                    if partial.endswith("\n"):
                        report(EpochReport(**json.loads(partial)))
                        partial = ""
                if any(codes):
                    raise _failure(folder, processes)
                if None not in codes:
                    return
                time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _die_with_flow() -> None:
    """By force: Lightning takes a polite request for one to all of them, and they would wait for each other.

    Nothing is lost: checkpoints are put in place when they are whole.
    """
    die_with_parent(signal.SIGKILL)


def _failure(folder: Path, processes: list["subprocess.Popen[bytes]"]) -> Exception:
    """The error of the process that failed first; the others then only report that they lost it."""
    files = sorted(folder.glob("failed-*.json"))
    failures: list[dict[str, str]] = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    for failure in failures:
        if failure["type"] == _NO_MEMORY:
            no_memory: Exception = torch.OutOfMemoryError(failure["message"])
            return no_memory
    for failure in failures:
        known: type[PlanksegError] | None = getattr(errors, failure["type"], None)
        if known is not None:
            return known(failure["message"])
    codes = {rank: code for rank, process in enumerate(processes) if (code := process.poll())}
    rank = min(codes, key=lambda rank: codes[rank])  # a signal's number is negative: that one had no time to say so
    if failures and codes[rank] > 0:
        first = failures[0]
        return TrainingError(f"One of the processes of this training failed: {first['type']}: {first['message']}")
    how = f"by signal {-codes[rank]}" if codes[rank] < 0 else f"with exit code {codes[rank]}, for the reason above"
    return TrainingError(
        f"Process {rank + 1} of {len(processes)} of this training ended {how}. Start the training again: it"
        " resumes after its last whole epoch."
    )


def _run_process(folder: Path, process: ProcessRank) -> None:
    """The training in one of the processes."""
    job = TrainingJob.model_validate_json((folder / _JOB).read_text(encoding="utf-8"))
    start, references = folder / _START, folder / _REFERENCES
    device = choose_device(job.device)
    if device.type == "cuda":
        torch.cuda.set_device(process.rank)
        job = job.model_copy(update={"device": f"cuda:{process.rank}"})
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // process.world_size))
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=torch.distributed.FileStore(str(folder / _RENDEZVOUS), process.world_size),
        rank=process.rank,
        world_size=process.world_size,
        timeout=PROCESS_GROUP_TIMEOUT,
    )
    with (folder / _EPOCHS).open("a", encoding="utf-8") as epochs:
        job.train(
            Store.open(job.store, max_image_pixels=job.max_image_pixels),
            Initial(
                start.read_bytes() if start.exists() else None, np.load(references) if references.exists() else None
            ),
            lambda epoch: print(json.dumps(asdict(epoch)), file=epochs, flush=True),
            progress=sys.stderr.isatty(),
            process=process,
        )
    torch.distributed.destroy_process_group()


def _main(folder: Path, process: ProcessRank) -> None:
    """Run one process. An error is written to a file, and the process ends at once: a normal end might wait."""
    try:
        _run_process(folder, process)
    except BaseException as error:  # noqa: BLE001 SystemExit too: whoever leaves early leaves the others waiting
        no_memory = isinstance(error, RuntimeError) and is_out_of_memory(error)
        kind = _NO_MEMORY if no_memory else type(error).__name__
        failure = json.dumps({"type": kind, "message": str(error)})
        atomic_write(folder / f"failed-{process.rank}.json", failure.encode())
        if kind != _NO_MEMORY and not hasattr(errors, kind):
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), ProcessRank(*(int(number) for number in sys.argv[2:5])))
