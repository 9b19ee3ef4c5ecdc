"""Inference backends: grey squares in, logits out, computed by PyTorch or OpenVINO in fp32, bf16 or int8.

`torch` is the network as it was trained, in fp32: the reference for all others. `folded` has its batch-norms folded
into its convolutions; `compiled` is that through torch.compile, on a GPU; `-bf16` computes in bf16, only where the
processor supports it. OpenVINO (CPU, an optional extra) computes one square per core, so the logits of a square depend
on that square alone, to the last bit. `inference.backend_benchmark` finds out which of them is fastest.
"""

import copy
import importlib.metadata
import platform
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8

from plankseg.config import BackendName, ComputingName, ScoringName
from plankseg.errors import BackendError
from plankseg.inference.batchnorm_folding import fold_batch_norms
from plankseg.inference.openvino_models import (
    has_openvino,
    openvino,
    openvino_core,
    openvino_model,
    require_one_logit_per_pixel,
)
from plankseg.learning.network.forward import evaluation_mode
from plankseg.learning.network.memory_layout import memory_format_on, place
from plankseg.learning.network.precision import Precision, autocast, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor

Squares = UInt8[torch.Tensor, "n side side"]
Logits = Float[torch.Tensor, "n side side"]

REFERENCE: BackendName = "torch"


@runtime_checkable
class Backend(Protocol):
    """One network, ready to compute. What depends on the size of the squares is made when the first of them comes."""

    @property
    def name(self) -> ComputingName:
        """Its name in recipes and records."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of its logits."""
        ...

    @property
    def is_batch_invariant(self) -> bool:
        """True if the logits of a square depend on that square alone, to the last bit, not on the size of the batch."""
        ...

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel, float32, on `device`; not checked for being finite. The squares are on the CPU."""
        ...


def backends_here(device: torch.device, precision: Precision = "auto") -> tuple[BackendName, ...]:
    """The backends worth trying on this device, the reference first; none in bf16 where the recipe says fp32.

    A backend in bf16 comes before the same one in fp32, which need not be tried where bf16 agrees. `torch-bf16` is
    left out: it converts the weights in every forward pass, which `folded-bf16` does once.
    """
    families: list[str] = ["folded"]
    if device.type == "cuda":
        families.append("compiled")
    if device.type == "cpu" and has_openvino():
        families.append("openvino")
    bf16 = precision != "fp32" and uses_bf16("auto", device)
    tried = (name for family in families for name in _precisions(family))
    return (REFERENCE, *(name for name in tried if bf16 or not name.endswith("-bf16")))


def _precisions(family: str) -> tuple[BackendName, BackendName]:
    return f"{family}-bf16", family  # type: ignore[return-value]  # every family has both names


def machine(device: torch.device) -> str:
    """Processor or GPU, threads and versions, as text: what decides which backend is fastest."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    versions = f"torch {torch.__version__}"
    if has_openvino():
        versions += f", OpenVINO {importlib.metadata.version('openvino')}"
    return f"{device.type}: {name}; {torch.get_num_threads()} threads; {versions}"


def _processor() -> str:
    features = sorted(name for name, has in torch.cpu.get_capabilities().items() if has is True)
    return f"{platform.machine()} with {', '.join(features)}"


def make_backend(name: BackendName, network: torch.nn.Module, device: torch.device) -> Backend:
    """The backend of this name for a network. The network itself is moved to the device, and not changed otherwise.

    Raises BackendError when the backend is not available here, with what to do.
    """
    family, bf16 = name.removesuffix("-bf16"), name.endswith("-bf16")
    if family == "torch":
        return plain_backend(network, device, "bf16" if bf16 else "fp32")
    if family == "openvino":
        return _openvino_backend(name, network, device, bf16=bf16)
    return FoldedBackend(network, device, bf16=bf16, compiled=family == "compiled")


def plain_backend(
    network: torch.nn.Module, device: torch.device | str, precision: Precision = "fp32"
) -> "TorchBackend":
    """The network without changes: eager, weights in fp32, convolutions in the format of `precision`."""
    return TorchBackend(network, torch.device(device), precision)


class TorchBackend:
    """The network without changes. It is moved to the device; its modes are restored after each forward pass."""

    is_batch_invariant = False

    def __init__(self, network: torch.nn.Module, device: torch.device, precision: Precision) -> None:
        self.device = device
        self.name: BackendName = "torch-bf16" if uses_bf16(precision, device) else "torch"
        self._precision = precision
        self._layout = memory_format_on(network, device)
        self._network = place(network, device)

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = _prepared(squares, self.device, self._layout)
        with (
            torch.inference_mode(),
            evaluation_mode(self._network),
            _exact_convolutions(),
            autocast(self._precision, self.device),
        ):
            return _one_logit_per_pixel(self._network(prepared), prepared.shape)


class FoldedBackend:
    """A copy of the network with folded batch-norms, wholly in bf16 or fp32; `compiled` (GPU only) by torch.compile."""

    is_batch_invariant = False

    def __init__(self, network: torch.nn.Module, device: torch.device, *, bf16: bool, compiled: bool = False) -> None:
        self.device = device
        self.name: BackendName = _precisions("compiled" if compiled else "folded")[not bf16]
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        if compiled and device.type != "cuda":
            raise BackendError(f"torch.compile is used on a GPU only, and this is {device}. Set the backend to auto.")
        self._layout = memory_format_on(network, device)
        folded = place(fold_batch_norms(network), device).to(self._dtype)
        self._network: Callable[[torch.Tensor], torch.Tensor] = torch.compile(folded) if compiled else folded

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = _prepared(squares, self.device, self._layout).to(self._dtype)
        with torch.inference_mode(), _exact_convolutions():
            return _one_logit_per_pixel(self._network(prepared), prepared.shape)


class OpenVinoBackend:
    """A network computed by OpenVINO: one square per thread, on as many threads as torch may use.

    `make_model()` gives OpenVINO's model for squares of any side, or of the one side it was made for; it is called
    once, when the first squares come. For each side it is compiled anew, which takes a third of a second.
    """

    is_batch_invariant = True

    def __init__(self, name: ScoringName, make_model: Callable[[], Any], device: torch.device, *, bf16: bool) -> None:
        if device.type != "cpu":
            raise BackendError(f"OpenVINO is used on the CPU only, and this is {device}. Set the backend to auto.")
        self.device = device
        self.name: ScoringName = name
        self._openvino = openvino()
        self._model = cache(make_model)
        self._precision = "bf16" if bf16 else "f32"
        self._queues: dict[int, Any] = {}

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = batch_tensor(squares.numpy()).numpy()
        answers = np.empty((len(prepared), *squares.shape[1:]), np.float32)
        queue = self._queue(squares.shape[-1])

        def store_answer(request: Any, index: int) -> None:
            answers[index] = request.get_output_tensor(0).data[0, 0]

        queue.set_callback(store_answer)
        for index in range(len(prepared)):
            queue.start_async({0: prepared[index : index + 1]}, index)
        queue.wait_all()
        return torch.from_numpy(answers)

    def _queue(self, side_px: int) -> Any:
        """Inference requests compiled for squares of one size; a framing has at most some dozen sizes."""
        if side_px not in self._queues:
            compiled = self._compile(side_px)
            self._queues[side_px] = self._openvino.AsyncInferQueue(compiled, torch.get_num_threads())
        return self._queues[side_px]

    def _compile(self, side_px: int) -> Any:
        threads = torch.get_num_threads()
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # two worker processes would pin themselves to the same cores
        }
        model = self._model().clone()
        made_for = model.input(0).get_partial_shape()[-1]
        if made_for.is_static and made_for.get_length() != side_px:
            raise BackendError(
                f"The network of {self.name} was made for squares of {made_for.get_length()} px, not of {side_px}. Set "
                "inference.int8 to false."
            )
        model.reshape([1, 3, side_px, side_px])
        return openvino_core().compile_model(model, "CPU", options)


def _openvino_backend(
    name: BackendName, network: torch.nn.Module, device: torch.device, *, bf16: bool
) -> OpenVinoBackend:
    ready = copy.deepcopy(network).cpu().float().eval()
    return OpenVinoBackend(name, lambda: openvino_model(ready), device, bf16=bf16)


def _prepared(
    squares: Squares, device: torch.device, layout: torch.memory_format
) -> Float[torch.Tensor, "n 3 side side"]:
    return batch_tensor(squares.numpy()).to(device=device, memory_format=layout)


def _one_logit_per_pixel(answer: torch.Tensor, input_shape: torch.Size) -> Logits:
    """The answer without its channel axis. Raises ScoreError when it is not one logit per pixel."""
    require_one_logit_per_pixel(answer, input_shape)
    return answer[:, 0].float()


def _exact_convolutions() -> Any:
    """Repeatable convolutions on a GPU, without TF32, which would change the fourth digit of a score."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
