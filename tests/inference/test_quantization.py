import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.errors import BackendError, ScoreError
from plankseg.inference import quantization
from plankseg.inference.backends import plain_backend
from plankseg.inference.openvino_models import packed, unpacked
from plankseg.inference.quantization import quantize, quantized_backend, quantizes_here
from plankseg.learning.network.architecture import build_network

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not quantizes_here(CPU), reason="needs OpenVINO and a processor that multiplies 8 bits"),
]


def squares(count: int = 8, side_px: int = 64) -> torch.Tensor:
    """Bright ground with dark blocks: of noise alone a network at random makes nothing that differs."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randint(200, 256, (count, side_px, side_px), dtype=torch.uint8, generator=generator)
    for index in range(count):
        noise[index, 8 : 16 + 5 * index, 8:40] //= 4
    return noise


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(NetworkConfig(encoder="resnet18", encoder_weights="none")).eval()


@pytest.fixture(scope="module")
def made(network: torch.nn.Module) -> bytes:
    return quantize(network, [squares(), squares(2, 96)])


def test_it_answers_much_as_the_network_does(network: torch.nn.Module, made: bytes) -> None:
    expected = plain_backend(network, CPU).logits(squares())
    backend = quantized_backend(made, CPU)
    found = backend.logits(squares())
    assert (backend.name, backend.is_batch_invariant) == ("openvino-int8", True)
    assert (found.dtype, found.shape) == (torch.float32, expected.shape)
    assert not torch.equal(found, expected)
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.98


def test_its_bytes_answer_alike_in_another_process_one_by_one_and_on_other_threads(made: bytes, tmp_path: Path) -> None:
    (tmp_path / "network").write_bytes(made)
    program = """
import hashlib, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(1)
from test_quantization import CPU, quantized_backend, squares
backend = quantized_backend(Path(sys.argv[1]).read_bytes(), CPU)
answers = torch.cat([backend.logits(one[None]) for one in squares()])
print(hashlib.sha256(answers.numpy().tobytes()).hexdigest())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "network"), str(Path(__file__).parent)]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    here = quantized_backend(made, CPU).logits(squares())
    assert hashlib.sha256(here.numpy().tobytes()).hexdigest() == elsewhere


@pytest.mark.parametrize("side_px", [64, 96])
def test_one_network_takes_squares_of_any_side(network: torch.nn.Module, made: bytes, side_px: int) -> None:
    expected = plain_backend(network, CPU).logits(squares(2, side_px))
    found = quantized_backend(made, CPU).logits(squares(2, side_px))
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.9


def test_a_network_that_was_made_for_one_side_refuses_others(made: bytes) -> None:
    model = unpacked(made)
    model.reshape([1, 3, 64, 64])
    backend = quantized_backend(packed(model), CPU)
    assert torch.equal(backend.logits(squares()), quantized_backend(made, CPU).logits(squares()))
    with pytest.raises(BackendError, match=r"made for squares of 64 px, not of 96. Set\s+inference.int8 to false"):
        backend.logits(squares(1, 96))


def test_it_is_made_without_a_word_and_tells_its_makers_nothing(
    network: torch.nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    quantize(network, [squares(2)])
    assert capfd.readouterr() == ("", "")
    assert sys.modules["openvino_telemetry"] is None
    assert logging.getLogger("nncf").level != logging.WARNING


def test_what_cannot_be_quantized_says_so(monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module) -> None:
    with pytest.raises(ScoreError, match="one logit per pixel"):
        quantize(torch.nn.Conv2d(3, 2, 1), [squares()])
    with pytest.raises(BackendError, match="on the CPU only, and this is meta"):
        quantized_backend(b"", torch.device("meta"))
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BackendError, match=r"pip install 'plankseg\[openvino\]'"):
        quantize(network, [squares()])


def test_it_is_not_tried_where_a_recipe_says_fp32_nor_where_the_processor_has_no_such_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not quantizes_here(CPU, "fp32")
    assert not quantizes_here(torch.device("meta"))
    monkeypatch.setattr(quantization.torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_vnni": False})
    assert not quantizes_here(CPU)
