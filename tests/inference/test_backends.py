import copy
import subprocess
import sys
import textwrap
import warnings
from itertools import cycle

import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.errors import BackendError, ScoreError
from plankseg.inference.backends import (
    OpenVinoBackend,
    backends_here,
    make_backend,
    plain_backend,
)
from plankseg.inference.batchnorm_folding import fold_batch_norms
from plankseg.inference.openvino_models import has_openvino, openvino
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.precision import uses_bf16

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
ON_CPU = ["torch", "torch-bf16", "folded", "folded-bf16", "openvino", "openvino-bf16"]
needs_openvino = pytest.mark.skipif(not has_openvino(), reason="OpenVINO is not installed: pip install openvino")


def lived(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose batch-norms have seen something: with fresh ones a wrong folding would pass."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2.0)):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
            with torch.no_grad():
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
    return network


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lived(build_network(NetworkConfig(encoder="resnet18", encoder_weights="none"))).eval()


def squares(count: int = 3, side_px: int = 64) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, side_px, side_px), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def mean_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean distance of two answers: in bf16 the largest one depends on the processor's order of additions."""
    return float((found - expected).abs().mean())


def tolerance(name: str, expected: torch.Tensor) -> float:
    return (0.1 if name.endswith("bf16") else 1e-5) * float(expected.abs().mean())


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_openvino if "openvino" in n else ()) for n in ON_CPU])
def test_every_backend_answers_as_the_network_does(network: torch.nn.Module, name: str) -> None:
    before = copy.deepcopy(network.state_dict())
    expected = plain_backend(network, CPU).logits(squares())
    backend = make_backend(name, network, CPU)
    found = backend.logits(squares())
    assert backend.name == name
    assert (found.dtype, found.shape) == (torch.float32, expected.shape)
    assert mean_error(found, expected) < tolerance(name, expected)
    larger = make_backend(name, network, CPU).logits(squares(side_px=96))
    assert torch.equal(larger, backend.logits(squares(side_px=96)))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_openvino if "openvino" in n else ()) for n in ON_CPU])
def test_every_backend_normalises_its_input_as_the_encoders_weights_want(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(NetworkConfig(encoder="timm-tf_efficientnet_lite0")).eval()
    expected = plain_backend(network, CPU).logits(squares())
    found = make_backend(name, network, CPU).logits(squares())
    network.encoder.input_mean.fill_(0.0)
    other = plain_backend(network, CPU).logits(squares())
    assert mean_error(found, expected) < tolerance(name, expected)
    assert mean_error(found, expected) < 0.25 * mean_error(found, other)


@needs_openvino
@pytest.mark.parametrize("name", ["openvino", "openvino-bf16"])
def test_openvino_looks_at_squares_one_by_one_on_any_number_of_threads(network: torch.nn.Module, name: str) -> None:
    together = make_backend(name, network, CPU).logits(squares(5))
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        other = make_backend(name, network, CPU)
        assert torch.equal(torch.cat([other.logits(square[None]) for square in squares(5)]), together)
    finally:
        torch.set_num_threads(threads)


@needs_openvino
@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus"])
def test_one_openvino_model_for_all_sides_answers_as_one_made_for_a_side_to_the_last_bit(architecture: str) -> None:
    """So scores that were computed when each side had a model of its own stay as they are."""
    network = lived(build_network(NetworkConfig(architecture=architecture, encoder="resnet18", encoder_weights="none")))
    ready, name = network.eval(), "openvino-bf16" if uses_bf16("auto", CPU) else "openvino"
    backend = make_backend(name, ready, CPU)
    for side_px in (64, 144, 96):
        example = torch.zeros((1, 3, side_px, side_px))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own
            alone = openvino().convert_model(torch.export.export(ready, (example,)))
        own = OpenVinoBackend(name, cycle([alone]).__next__, CPU, bf16=name.endswith("bf16"))
        assert torch.equal(own.logits(squares(2, side_px)), backend.logits(squares(2, side_px)))


@needs_openvino
def test_a_process_in_which_openvino_came_and_went_lives_through_a_signal() -> None:
    """A second core that outlives the first leaves the thread a stack for signals that is gone: the next one kills."""
    program = """
        import signal, subprocess, torch
        from plankseg.inference.backends import make_backend
        squares = torch.zeros((1, 16, 16), dtype=torch.uint8)
        backends = [make_backend("openvino", torch.nn.Conv2d(3, 1, 1), torch.device("cpu")) for _ in range(2)]
        for backend in backends:
            backend.logits(squares)
        while backends:
            del backend
            backend = backends.pop(0)
        del backend
        signal.signal(signal.SIGCHLD, lambda *_: print("heard", flush=True))
        subprocess.run(["true"], check=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@needs_openvino
def test_openvino_reports_nothing_to_its_makers() -> None:
    make_backend("openvino", torch.nn.Conv2d(3, 1, 1), CPU)
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize("architecture", ["Unet", "DeepLabV3Plus"])
def test_a_folded_network_has_no_batch_norm_left_and_answers_alike(architecture: str) -> None:
    config = NetworkConfig(architecture=architecture, encoder="resnet18", encoder_weights="none")
    network = lived(build_network(config)).eval()
    folded = fold_batch_norms(network)
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    probe = torch.randn((2, 3, 96, 96), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, found = network(probe), folded(probe)
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_a_batch_norm_that_takes_something_else_than_a_convolutions_output_is_left() -> None:
    class Sum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.two, self.other = torch.nn.Conv2d(3, 1, 1), torch.nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other(self.two(self.norm(self.one(x) + x)))

    folded = fold_batch_norms(lived(Sum()))
    assert [type(folded.get_submodule(name)).__name__ for name in ("norm", "other")] == ["BatchNorm2d", "Identity"]


def test_a_folding_that_changes_the_answer_is_refused() -> None:
    class Twice(torch.nn.Module):
        """The convolution's output is used beside the batch-norm too."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm = torch.nn.Conv2d(3, 1, 1), torch.nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            plain = self.one(x)
            return self.norm(plain) + plain

    with pytest.raises(BackendError, match=r"1 batch-norms folded .* Set the backend to torch"):
        fold_batch_norms(lived(Twice()))


def test_what_is_tried_here_begins_with_the_reference_and_respects_the_precision() -> None:
    assert backends_here(CPU)[0] == "torch"
    assert not [name for name in backends_here(CPU, "fp32") if name.endswith("bf16")]
    assert ("openvino" in backends_here(CPU)) == has_openvino()
    assert not [name for name in backends_here(CPU) if "compiled" in name]


def test_what_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="on a GPU only, and this is cpu"):
        make_backend("compiled", torch.nn.Conv2d(3, 1, 1), CPU)
    with pytest.raises(BackendError, match="on the CPU only, and this is meta"):
        make_backend("openvino", torch.nn.Conv2d(3, 1, 1), torch.device("meta"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match=r"pip install 'plankseg\[openvino\]'"):
        make_backend("openvino", torch.nn.Conv2d(3, 1, 1), CPU)


@pytest.mark.parametrize("name", ["torch", "folded", pytest.param("openvino", marks=needs_openvino)])
def test_a_network_with_another_number_of_answers_is_refused(name: str) -> None:
    with pytest.raises(ScoreError, match="one logit per pixel"):
        make_backend(name, torch.nn.Conv2d(3, 2, 1), CPU).logits(squares())
