"""Recovery from a lack of memory: a step is taken in two parts, once; if that is too much, a clear error."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from plankseg.errors import TrainingError

T = TypeVar("T")

_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")  # CUDA and MPS, then torch on a CPU
log = logging.getLogger(__name__)


def halving_once(attempt: Callable[[int], T], *, batch_size: int) -> T:
    """Call `attempt(1)`; when memory runs out, call `attempt(2)`, which is to take each step in two parts.

    The gradients of both parts are added before the weights change, so that rate and number of steps keep their
    meaning; only batch-norm and the loss then see fewer images at a time. Raises TrainingError when that is too much
    as well, or when a part would hold a single image, from which batch-norm learns nothing.
    """
    try:
        return attempt(1)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if batch_size < 3:
            raise _too_large(batch_size, error) from error
        log.warning(
            "Memory ran out at %d images a step (%s): the training resumes at its last whole epoch with %d images at a"
            " time, in two parts a step.",
            batch_size,
            _first_line(error),
            part_of(batch_size, 2),
        )
    free_memory()  # out of the except block, whose traceback holds the tensors
    try:
        return attempt(2)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise _too_large(part_of(batch_size, 2), error) from error


def part_of(batch_size: int, parts: int) -> int:
    """Images at a time when a step is taken in so many parts."""
    return -(-batch_size // parts)


def is_out_of_memory(error: RuntimeError) -> bool:
    """True if the error means that memory ran out; torch raises a class of its own for some of these errors only."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error).lower() for message in _MESSAGES)


def free_memory() -> None:
    """Free what only circles of references hold: a trainer and its module hold each other, and all moments."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _too_large(images: int, error: RuntimeError) -> TrainingError:
    return TrainingError(
        f"Memory runs out even at {images} images at a time: {_first_line(error)}. Lower training.batch_size or"
        " training.side_px, choose a smaller encoder, or set training.precision to bf16; what was trained is kept."
    )


def _first_line(error: RuntimeError) -> str:
    return str(error).split("\n")[0][:200].rstrip(".")
