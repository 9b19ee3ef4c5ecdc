"""In which way is the network computed here? Grey squares in, logits out, whoever does the arithmetic.

`torch` is the network as it was trained, in fp32: what all others are measured against. `folded` has its batch-norms in
its convolutions, `compiled` is that through torch.compile, on a GPU; `-bf16` computes in bf16, only where the
processor has it. OpenVINO (CPU, an extra) computes one square per core: its answer for a square depends on nothing
but the square, to the last bit. Which of them is fastest is for `querying.calibrating` to find out.
"""

import copy
import importlib.metadata
import importlib.util
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8

from plankseg.config import BackendName, ScoringName
from plankseg.errors import BackendError, ScoreError
from plankseg.inference.batchnorm_folding import fold_batch_norms
from plankseg.learning.network.precision import Precision, autocast, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor

Squares = UInt8[torch.Tensor, "n side side"]
Logits = Float[torch.Tensor, "n side side"]

REFERENCE: BackendName = "torch"


@runtime_checkable
class Backend(Protocol):
    """One network, ready to be asked. Whatever it needs for a size of square it makes when such a square comes."""

    @property
    def name(self) -> ScoringName:
        """What it is called in recipes and records."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its answers lie."""
        ...

    @property
    def looks_one_by_one(self) -> bool:
        """Whether the last bit of an answer depends on the square alone, not on how many come at once."""
        ...

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel, float32, on `device`; not checked for being finite. The squares are on the CPU."""
        ...


def backends_here(device: torch.device, precision: Precision = "auto") -> tuple[BackendName, ...]:
    """What is worth trying on this device, the reference first; nothing in bf16 where the recipe says fp32.

    A way in bf16 comes before the same in fp32, which need not be tried where that agrees.

    `torch-bf16` is not: it converts weights in every forward pass, which `folded-bf16` does once.
    """
    families: list[str] = ["folded"]
    if device.type == "cuda":
        families.append("compiled")
    if device.type == "cpu" and has_openvino():
        families.append("openvino")
    bf16 = precision != "fp32" and uses_bf16("auto", device)
    tried = (name for family in families for name in _named(family))
    return (REFERENCE, *(name for name in tried if bf16 or not name.endswith("-bf16")))


def _named(family: str) -> tuple[BackendName, BackendName]:
    return f"{family}-bf16", family  # type: ignore[return-value]  # every family has both names


def has_openvino() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("openvino") is not None


def machine(device: torch.device) -> str:
    """What decides here which backend is fastest: processor or GPU, threads, versions. Equal machines, equal words."""
    has = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    versions = f"torch {torch.__version__}"
    if has_openvino():
        versions += f", OpenVINO {importlib.metadata.version('openvino')}"
    return f"{device.type}: {has}; {torch.get_num_threads()} threads; {versions}"


def _processor() -> str:
    features = sorted(name for name, has in torch.cpu.get_capabilities().items() if has is True)
    return f"{platform.machine()} with {', '.join(features)}"


def make_backend(name: BackendName, network: torch.nn.Module, device: torch.device) -> Backend:
    """The network in one of the ways. The network itself is left alone but for being moved to the device.

    Raises BackendError when it cannot be had here, with what to do.
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
    """The network as it is: eager, its weights in fp32, its convolutions in the format that the precision says."""
    return TorchBackend(network, torch.device(device), precision)


class TorchBackend:
    """The network as it is. It is moved to the device, and its modes are restored after each look."""

    looks_one_by_one = False

    def __init__(self, network: torch.nn.Module, device: torch.device, precision: Precision) -> None:
        self.device = device
        self.name: BackendName = "torch-bf16" if uses_bf16(precision, device) else "torch"
        self._precision = precision
        self._network = network.to(device=device, memory_format=torch.channels_last)

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = _prepared(squares, self.device)
        with torch.inference_mode(), _evaluating(self._network), autocast(self._precision, self.device):
            return _one_each(self._network(prepared), prepared.shape)


class FoldedBackend:
    """A copy of the network with its batch-norms folded, in bf16 as a whole or in fp32, on a GPU compiled if wanted."""

    looks_one_by_one = False

    def __init__(self, network: torch.nn.Module, device: torch.device, *, bf16: bool, compiled: bool = False) -> None:
        self.device = device
        self.name: BackendName = _named("compiled" if compiled else "folded")[not bf16]
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        if compiled and device.type != "cuda":
            raise BackendError(f"torch.compile is used on a GPU only, and this is {device}. Set the backend to auto.")
        folded = fold_batch_norms(network).to(device=device, dtype=self._dtype, memory_format=torch.channels_last)
        self._network: Callable[[torch.Tensor], torch.Tensor] = torch.compile(folded) if compiled else folded

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = _prepared(squares, self.device).to(self._dtype)
        with torch.inference_mode(), _exact_convolutions():
            return _one_each(self._network(prepared), prepared.shape)


class OpenVinoBackend:
    """A network through OpenVINO: as many squares at once as torch may use threads, each on one of them.

    `model_of` gives OpenVINO's model of it for squares of so many pixels a side.
    """

    looks_one_by_one = True

    def __init__(self, name: ScoringName, model_of: Callable[[int], Any], device: torch.device, *, bf16: bool) -> None:
        if device.type != "cpu":
            raise BackendError(f"OpenVINO is used on the CPU only, and this is {device}. Set the backend to auto.")
        self.device = device
        self.name: ScoringName = name
        self._openvino = openvino()
        self._model_of = model_of
        self._precision = "bf16" if bf16 else "f32"
        self._queues: dict[int, Any] = {}

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel."""
        prepared = batch_tensor(squares.numpy()).numpy()
        answers = np.empty((len(prepared), *squares.shape[1:]), np.float32)
        queue = self._queue(squares.shape[-1])

        def keep(request: Any, place: int) -> None:
            answers[place] = request.get_output_tensor(0).data[0, 0]

        queue.set_callback(keep)
        for place in range(len(prepared)):
            queue.start_async({0: prepared[place : place + 1]}, place)
        queue.wait_all()
        return torch.from_numpy(answers)

    def _queue(self, side_px: int) -> Any:
        """Requests of the network compiled for squares of one size, kept until another size comes."""
        if side_px not in self._queues:
            compiled = self._compile(side_px)
            self._queues = {side_px: self._openvino.AsyncInferQueue(compiled, torch.get_num_threads())}
        return self._queues[side_px]

    def _compile(self, side_px: int) -> Any:
        threads = torch.get_num_threads()
        options = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # two worker processes would pin themselves to the same cores
        }
        return openvino_core().compile_model(self._model_of(side_px), "CPU", options)


def _openvino_backend(
    name: BackendName, network: torch.nn.Module, device: torch.device, *, bf16: bool
) -> OpenVinoBackend:
    ready = copy.deepcopy(network).cpu().float().eval()
    return OpenVinoBackend(name, lambda side_px: openvino_model(ready, side_px), device, bf16=bf16)


def openvino_model(network: torch.nn.Module, side_px: int) -> Any:
    """OpenVINO's model of a network that is on the CPU, in fp32 and in evaluation mode, for one square at a time.

    Raises BackendError where OpenVINO cannot take the network over, and ScoreError for a network of another kind.
    """
    example = torch.zeros((1, 3, side_px, side_px))
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.13's own copying of what it exported
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
        _one_each(network(example), example.shape)
        try:
            model = openvino().convert_model(torch.export.export(network, (example,)))
            model.reshape(list(example.shape))
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO cannot take this network over: {str(error)[:300]}. Set the backend to auto."
            ) from error
    return model


def openvino() -> Any:
    """The package, without what it reports to its makers when it is imported. Raises BackendError if it is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # its import then fails, as it may
    try:
        import openvino as package
    except ImportError as error:
        raise BackendError(
            f"OpenVINO cannot be imported ({error}). Install it with: pip install 'plankseg[openvino]'; or set the "
            "backend to auto."
        ) from error
    return package


def openvino_core() -> Any:
    """OpenVINO's one core of this process, which lives as long as the process.

    Its CPU plugin gives the thread that makes it a stack for signals, and takes it away when it goes. Two of them that
    go in the order in which they came leave the thread with a stack that is no longer there, and the next signal that
    Python handles (a child's end, as DataLoader watches for) kills the process. So no second one is made.
    """
    with _MAKING_THE_CORE:
        return _made_core()


@cache
def _made_core() -> Any:
    return openvino().Core()


_MAKING_THE_CORE = threading.Lock()


def _prepared(squares: Squares, device: torch.device) -> Float[torch.Tensor, "n 3 side side"]:
    return batch_tensor(squares.numpy()).to(device=device, memory_format=torch.channels_last)


def _one_each(answer: torch.Tensor, asked: torch.Size) -> Logits:
    """The answer as one logit per pixel. Raises ScoreError when it is something else."""
    expected = (asked[0], 1, *asked[2:])
    if tuple(answer.shape) != expected:
        raise ScoreError(
            f"The model answers {tuple(answer.shape)} where {expected} was expected: one logit per pixel. "
            "Score with a network from build_network."
        )
    return answer[:, 0].float()


@contextmanager
def _evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, restored module by module afterwards, and exact convolutions.

    In training mode batch-norm would make an answer depend on the squares beside it.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with _exact_convolutions():
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training  # not .train(): it would wake the batch-norm of a frozen encoder


def _exact_convolutions() -> Any:
    """Repeatable convolutions on a GPU; TF32 would blur a score's fourth digit."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
