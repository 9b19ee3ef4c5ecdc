"""Models of OpenVINO: converted from a network once, kept as bytes, and read back with the same logits.

Converting takes 17 s of one core (U-Net on efficientnet-lite0), reading back 0.1 s. So a converted model is kept in the
user's cache, under a name that all it depends on goes into: weights, layers, and the versions of what converts them.
"""

import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plankseg.errors import BackendError, ScoreError
from plankseg.files import atomic_write, user_cache

log = logging.getLogger(__name__)

EXAMPLE_SIDE_PX = 64
"""Side of the square with which a network is traced for OpenVINO."""
KEPT = 8
"""Converted models in the cache, the last ones used; each is as large as the weights."""
LEFT_FOR_S = 24 * 3600
"""Seconds after which a half-written model is that of a killed process."""
_XML, _BIN = "network.xml", "network.bin"
_CONVERTERS = ("openvino", "torch", "segmentation_models_pytorch", "timm")


def has_openvino() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("openvino") is not None


def openvino() -> Any:
    """The package, imported without its telemetry. Raises BackendError if it is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # its import then fails, which OpenVINO allows
    try:
        import openvino as package
    except ImportError as error:
        raise BackendError(
            f"OpenVINO cannot be imported ({error}). Install it with: pip install 'plankseg[openvino]'; or set the "
            "backend to auto."
        ) from error
    return package


def openvino_core() -> Any:
    """The one OpenVINO core of this process, kept as long as the process lives.

    Its CPU plugin installs a stack for signals in the thread that makes it, and removes it with the core. Two cores
    that are deleted in the order in which they were made leave the thread with a stack that is freed, and the next
    signal that Python handles (the end of a child process, for DataLoader) kills the process. So only one is made.
    """
    with _CORE_LOCK:
        return _create_core()


@cache
def _create_core() -> Any:
    return openvino().Core()


_CORE_LOCK = threading.Lock()


def openvino_model(network: torch.nn.Module) -> Any:
    """The model of a network that is on the CPU, in fp32 and in evaluation mode, for one square of any side at a time.

    It is read from the user's cache, or converted and kept there. There is one model for all sides: compiled for one of
    them, it gives the logits of a network that was converted for that side alone, to the last bit.

    Raises BackendError where OpenVINO cannot convert it, and ScoreError where it does not give one logit per pixel.
    """
    openvino()
    folder = _folder()
    if folder is None:
        return _converted(network)
    kept = folder / f"{_key(network)}.zip"
    if (model := _read(kept)) is not None:
        return model
    model = _converted(network)
    _keep(kept, model)
    return model


def packed(model: Any, *, compress: bool = True) -> bytes:
    """A model as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        openvino().save_model(model, Path(folder) / _XML, compress_to_fp16=False)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
            for name in (_XML, _BIN):
                archive.write(Path(folder) / name, name)
    return out.getvalue()


def unpacked(data: bytes) -> Any:
    """The model of such bytes. Raises zipfile.BadZipFile or KeyError for others, and what OpenVINO raises."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        weights = np.frombuffer(archive.read(_BIN), np.uint8)
        return openvino_core().read_model(archive.read(_XML), openvino().Tensor(weights))


def require_one_logit_per_pixel(answer: torch.Tensor, input_shape: torch.Size) -> None:
    """Raise ScoreError unless the answer to squares (n, 3, side, side) has the shape (n, 1, side, side)."""
    expected = (input_shape[0], 1, *input_shape[2:])
    if tuple(answer.shape) != expected:
        raise ScoreError(
            f"The model answers {tuple(answer.shape)} where {expected} was expected: one logit per pixel. "
            "Score with a network from build_network."
        )


def _converted(network: torch.nn.Module) -> Any:
    example, any_side = torch.zeros((1, 3, EXAMPLE_SIDE_PX, EXAMPLE_SIDE_PX)), torch.export.Dim.AUTO
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.13's own copying of what it exported
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
        require_one_logit_per_pixel(network(example), example.shape)
        try:
            program = torch.export.export(network, (example,), dynamic_shapes=({2: any_side, 3: any_side},))
            return openvino().convert_model(program)
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO cannot convert this network: {str(error)[:300]}. Set the backend to auto."
            ) from error


def _key(network: torch.nn.Module) -> str:
    """All that a converted model depends on, as one hash."""
    key = hashlib.sha256(f"openvino model 1\n{network}\n".encode())
    key.update("".join(f"{name} {importlib.metadata.version(name)}\n" for name in _CONVERTERS).encode())
    for name, tensor in network.state_dict().items():
        key.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        key.update(tensor.contiguous().numpy().tobytes())
    return key.hexdigest()


def _folder() -> Path | None:
    """Where converted models are kept; None, and a warning, for a user without a home."""
    try:
        return user_cache() / "openvino"
    except RuntimeError as error:
        log.warning("Converted networks are not kept (%s); set PLANKSEG_WORK to a folder.", error)
        return None


def _read(kept: Path) -> Any | None:
    """The kept model, or None where there is none, or a damaged one, which is made again."""
    try:
        model = unpacked(kept.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
        log.warning("%s cannot be used (%s); the network is converted again.", kept, error)
        return None
    with suppress(OSError):  # a cache that may only be read, or a file that another process has just removed
        os.utime(kept)
    return model


def _keep(kept: Path, model: Any) -> None:
    """Write a model into the cache and remove those not used for longest. Where that fails it is said, no more."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write(kept, packed(model, compress=False), mode=0o600, durable=False)
    except OSError as error:
        log.warning("The converted network cannot be kept in %s (%s): every start converts it anew.", kept, error)
        return
    for path in _not_needed(kept.parent):
        with suppress(OSError):
            path.unlink()


def _not_needed(folder: Path) -> list[Path]:
    """Models beyond the last `KEPT` used, and what killed processes left of one."""
    times: dict[Path, float] = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime
    models = sorted((path for path in times if path.suffix == ".zip"), key=times.__getitem__, reverse=True)
    left = [path for path in times if path.suffix == ".partial" and times[path] < time.time() - LEFT_FOR_S]
    return models[KEPT:] + left
