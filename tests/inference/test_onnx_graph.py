"""Networks as ONNX: the same probabilities for every batch and side, and nothing but a graph is taken."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from plankseg.errors import BackendError, ModelError
from plankseg.inference.onnx_graph import TOLERANCE, OnnxBackend, check_graph, export_graph, facts_in
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.preprocessing import batch_tensor
from tests.support.tiny_networks import tiny_network
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return build_network(TINY.network).eval()


@pytest.fixture(scope="module")
def graph(network: torch.nn.Module) -> bytes:
    return export_graph(network, 32, '{"a": 1}')


def noise(count: int, side: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(side).integers(0, 256, (count, side, side), dtype=np.uint8))


@pytest.mark.parametrize(("count", "side"), [(1, 32), (5, 64), (2, 96), (3, 224)])
def test_somebody_elses_reader_gives_the_networks_answer_for_any_batch_and_side(
    graph: bytes, network: torch.nn.Module, count: int, side: int
) -> None:
    squares = batch_tensor(noise(count, side).numpy())
    (answer,) = onnxruntime.InferenceSession(graph).run(None, {"squares": squares.numpy()})
    with torch.no_grad():
        expected = network(squares)
    assert answer.shape == (count, 1, side, side)
    assert float((expected.sigmoid() - torch.from_numpy(answer).sigmoid()).abs().max()) < TOLERANCE
    assert torch.equal(OnnxBackend(graph).logits(noise(count, side)), torch.from_numpy(answer[:, 0]))


def test_the_file_holds_the_facts_and_a_graph_that_is_whole(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: entry.value for entry in model.metadata_props}["plankseg"] == '{"a": 1}'
    assert {item.domain for item in model.opset_import} <= {""}
    assert facts_in(graph, "it") == '{"a": 1}'


def test_a_graph_of_another_network_is_found_out(graph: bytes, network: torch.nn.Module) -> None:
    assert check_graph(graph, network, noise(2, 32)).largest_difference < 1e-4
    with pytest.raises(BackendError, match="other probabilities than its network"):
        check_graph(graph, tiny_network(), noise(2, 32))


def test_what_is_no_graph_of_ours_is_refused(graph: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it\.onnx is no graph"):
        facts_in(b"PK\x03\x04" + graph[:1000], "it.onnx")
    bare = onnx.load_from_string(graph)
    del bare.metadata_props[:]
    with pytest.raises(ModelError, match="has no metadata of plankseg"):
        facts_in(bare.SerializeToString(), "it.onnx")
