"""The network in whole numbers of 8 bits, by nncf for OpenVINO: twice as fast as bf16, and less exact.

Exact enough to say which images a model is unsure of, where a calibration finds so; masks come from better arithmetic.
The scales are found on squares that the network is shown. Two runs may find others in the last digit, so it is made
once and kept as bytes, which answer alike in every process.
"""

import copy
import io
import logging
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rich
import torch

from plankseg.errors import BackendError
from plankseg.inference.backends import OpenVinoBackend, Squares, has_openvino, openvino, openvino_core, openvino_model
from plankseg.learning.network.precision import Precision, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor

SHOWN = 16
"""Squares on which the scales are found: more change the ranks no more than another draw does (docs/log.md)."""

_MULTIPLIERS = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}
_XML, _BIN = "network.xml", "network.bin"


def quantizes_here(device: torch.device, precision: Precision = "auto") -> bool:
    """Whether 8 bits are worth trying: on a processor that multiplies them, and where a recipe does not say fp32."""
    has = {name for name, is_there in torch.cpu.get_capabilities().items() if is_there is True}
    return device.type == "cpu" and precision != "fp32" and has_openvino() and bool(has & _MULTIPLIERS)


def quantize(network: torch.nn.Module, squares: Squares) -> bytes:
    """The network in 8 bits for squares of this size, as the bytes that `quantized_backend` takes.

    Of the squares, grey and of images such as it will see, `SHOWN` are taken evenly. Raises BackendError when OpenVINO
    or nncf is not there, or cannot take the network over.
    """
    openvino()  # first: it keeps both packages from reporting to their makers
    try:
        import nncf
    except ImportError as error:
        raise BackendError(f"nncf cannot be imported ({error}): pip install 'plankseg[openvino]'.") from error
    ready = copy.deepcopy(network).cpu().float().eval()
    places = np.linspace(0, len(squares) - 1, min(SHOWN, len(squares))).round().astype(int)
    shown = nncf.Dataset([batch_tensor(squares[index : index + 1].numpy()).numpy() for index in places.tolist()])
    with _quiet():
        try:
            model = nncf.quantize(
                openvino_model(ready, squares.shape[-1]), shown,
                subset_size=len(places), preset=nncf.QuantizationPreset.MIXED, target_device=nncf.TargetDevice.CPU,
            )  # fmt: skip
        except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedDatasetError, RuntimeError) as error:
            raise BackendError(f"nncf cannot quantize this network: {str(error)[:300]}.") from error
    return _packed(model)


def quantized_backend(data: bytes, device: torch.device) -> OpenVinoBackend:
    """What `quantize` made, ready to be asked. Raises BackendError on anything but a CPU, or for another size."""

    def model_of(side_px: int) -> Any:
        model = _unpacked(data)
        made_for = model.input(0).get_partial_shape()[-1].get_length()
        if made_for != side_px:
            raise BackendError(
                f"The network in 8 bits was made for squares of {made_for} px, not of {side_px}. Set inference.int8 to "
                "false."
            )
        return model

    return OpenVinoBackend("openvino-int8", model_of, device, bf16=uses_bf16("auto", device))


def _packed(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        openvino().save_model(model, Path(folder) / _XML, compress_to_fp16=False)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (_XML, _BIN):
                archive.write(Path(folder) / name, name)
    return out.getvalue()


def _unpacked(data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder, (_XML, _BIN))
        # Read as bytes: a model that is read by name keeps its file mapped, and the folder goes.
        weights = np.frombuffer((Path(folder) / _BIN).read_bytes(), np.uint8)
        return openvino_core().read_model((Path(folder) / _XML).read_bytes(), openvino().Tensor(weights))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and the remarks that nncf makes; warnings and errors are heard."""
    console, logger = rich.get_console(), logging.getLogger("nncf")
    was_quiet, level = console.quiet, logger.level
    console.quiet = True
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        console.quiet = was_quiet
        logger.setLevel(level)
