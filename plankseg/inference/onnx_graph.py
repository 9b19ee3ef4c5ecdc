"""Networks as ONNX graphs for other programs, with any batch and any side, and computed by onnxruntime.

A graph takes normalised squares, float32 (n, 3, side, side), and gives logits (n, 1, side, side). The facts of its
model are in the file's metadata. The file runs no code of its maker: onnxruntime knows the standard operators alone.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from plankseg.config import ComputingName
from plankseg.errors import BackendError, ModelError
from plankseg.inference.backends import Logits, Squares
from plankseg.learning.network.preprocessing import batch_tensor

INPUT, OUTPUT = "squares", "logits"
FACTS_KEY = "plankseg"
OPSET = 20
TOLERANCE = 1e-3
"""The largest difference of a probability between a graph and its network; a few millionths are usual."""


@dataclass(frozen=True)
class GraphCheck:
    """How a graph compared with its network: the largest difference of a probability on so many squares."""

    squares: int
    largest_difference: float


def export_graph(network: torch.nn.Module, side_px: int, facts: str) -> bytes:
    """The network as an ONNX file, with the facts of its model as metadata.

    Raises BackendError where the packages for it are missing, or the network cannot be exported.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch needs it)
    except ImportError as error:
        raise BackendError(f"{error}: pip install 'plankseg[onnx]', or export the model with --no-onnx.") from error
    ready = copy.deepcopy(network).cpu().float().eval().to(memory_format=torch.contiguous_format)
    sides = torch.export.Dim.AUTO
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own parts
        try:
            program = torch.onnx.export(
                ready,
                (torch.zeros((2, 3, side_px, side_px)),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n"), 2: sides, 3: sides},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise BackendError(
                f"This network cannot be exported to ONNX: {str(error)[:300]}. Export the model with --no-onnx."
            ) from error
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = FACTS_KEY, facts
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def check_graph(graph: bytes, network: torch.nn.Module, squares: Squares) -> GraphCheck:
    """Compare a graph with its network on grey squares. Raises BackendError where they differ by over `TOLERANCE`."""
    ready = copy.deepcopy(network).cpu().float().eval()
    with torch.inference_mode():
        expected = ready(batch_tensor(squares.numpy()))[:, 0].sigmoid()
        found = OnnxBackend(graph).logits(squares).sigmoid()
    largest = float((expected - found).abs().max())
    if not largest <= TOLERANCE:
        raise BackendError(
            f"The ONNX graph gives other probabilities than its network, by up to {largest:.2g} on {len(squares)} "
            "squares. It is not written; export the model with --no-onnx."
        )
    return GraphCheck(len(squares), largest)


def facts_in(graph: bytes, source: str) -> str:
    """The facts in the metadata of an ONNX file. Raises ModelError where there are none, or it is no such file."""
    facts = _session(graph, source).get_modelmeta().custom_metadata_map.get(FACTS_KEY)
    if facts is None:
        raise ModelError(
            f"{source} does not say how images become its input: it has no metadata of plankseg. Give a file that "
            "`plankseg export-model` wrote."
        )
    return str(facts)


class OnnxBackend:
    """A graph computed by onnxruntime on the CPU, in fp32, on as many threads as torch may use."""

    is_batch_invariant = False
    device = torch.device("cpu")

    def __init__(self, graph: bytes, source: str = "the ONNX graph") -> None:
        self.name: ComputingName = "onnxruntime"
        self._source = source
        self._graph = _session(graph, source)

    def logits(self, squares: Squares) -> Logits:
        """One logit per pixel. Raises ModelError where the graph does not take squares, or answers something else."""
        with _translated(self._source):
            (answer,) = self._graph.run([OUTPUT], {INPUT: batch_tensor(squares.numpy()).numpy()})
        if answer.shape != (len(squares), 1, *squares.shape[1:]) or answer.dtype != np.float32:
            raise ModelError(
                f"{self._source} answers {answer.dtype} {answer.shape}, not one logit per pixel of {len(squares)} "
                "squares. Give a file that `plankseg export-model` wrote."
            )
        return torch.from_numpy(answer[:, 0])


def _session(graph: bytes, source: str) -> Any:
    with _translated(source):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; they are raised as well
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@contextmanager
def _translated(source: str) -> Iterator[None]:
    """Turn errors of onnxruntime, whose types have no common base, into one of ours."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as runtime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}): pip install 'plankseg[onnx]'.") from error
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    errors = tuple(getattr(runtime, name) for name in (*names, "RuntimeException", "EPFail"))
    try:
        yield
    except errors as error:
        raise ModelError(f"{source} is no graph that onnxruntime computes: {str(error)[:300]}.") from error
