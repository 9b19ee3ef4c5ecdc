import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from plankseg.config import InferenceConfig, QueryConfig
from plankseg.errors import BackendError
from plankseg.imaging.framing import Framing
from plankseg.inference import backend_benchmark, backends
from plankseg.inference.backend_benchmark import (
    BackendChoice,
    BenchmarkConfig,
    BenchmarkResult,
    Trial,
    benchmark_backends,
    rank_correlation,
)
from plankseg.inference.quantization import quantizes_here
from tests.support.tiny_networks import SIDE, Function, pictures, tiny_network

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
NAMES = ("torch", "folded", "folded-bf16", "compiled")


def trials(names: tuple[str, ...] = NAMES, network: torch.nn.Module | None = None, **bounds: float) -> dict[str, Trial]:
    config = BenchmarkConfig(QueryConfig(), Framing(SIDE), InferenceConfig(**bounds))
    found = benchmark_backends(network or tiny_network(), pictures(), names, config, CPU)
    return {trial.backend: trial for trial in found.trials}


def test_each_backend_is_compared_with_plain_fp32_and_timed() -> None:
    found = trials()
    assert list(found) == list(NAMES)
    for name in ("torch", "folded"):
        assert found[name].agrees
        assert found[name].dice == pytest.approx(1, abs=1e-3)
        assert found[name].rank_correlation == pytest.approx(1)
    assert 0.9 < (found["folded-bf16"].dice or 0) < 1
    assert all(trial.images_per_s for trial in found.values() if trial.refused is None)


def test_what_cannot_be_had_here_is_in_the_table_with_its_reason_and_is_never_chosen() -> None:
    refused = trials()["compiled"]
    assert refused.refused is not None
    assert "on a GPU only" in refused.refused
    assert (refused.agrees, refused.images_per_s) == (False, None)
    assert BenchmarkResult((refused, Trial(backend="torch", images_per_s=0.1, agrees=True))).for_scores == "torch"


def test_a_backend_outside_the_bounds_is_not_chosen_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    original = backends.make_backend

    def make(name: str, network: torch.nn.Module, device: torch.device) -> object:
        if name == "folded":  # answers at once, and wrongly
            return backends.plain_backend(Function(lambda x: x[:, :1] * 0 - 1), device)
        return original(name, network, device)  # type: ignore[arg-type]

    monkeypatch.setattr(backend_benchmark, "make_backend", make)
    found = trials(("torch", "folded"))
    assert not found["folded"].agrees
    assert found["folded"].rank_correlation == 0
    assert BenchmarkResult(tuple(found.values())).for_masks == "torch"


def test_the_bounds_are_the_recipes() -> None:
    strict, lax = trials(min_dice=1.0, min_rank_correlation=1.0), trials(min_dice=0.5, min_rank_correlation=0.0)
    assert [strict["folded-bf16"].agrees, lax["folded-bf16"].agrees] == [False, True]


def test_a_reference_that_fails_is_no_calibration() -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise BackendError("The network is broken.")

    with pytest.raises(BackendError, match="broken"):
        trials(network=Function(fail))


@pytest.mark.parametrize(("to_score", "names"), [(3000, ["torch", "openvino-int8"]), (2999, ["torch"])])
def test_8_bits_are_tried_where_half_a_minute_of_scoring_is_to_come(
    to_score: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_benchmark._Benchmark, "run", lambda *_: ([], 100.0))
    monkeypatch.setattr(
        backend_benchmark, "_compare", lambda name, *_: Trial(backend=name, agrees=True, images_per_s=1)
    )
    config = BenchmarkConfig(QueryConfig(), Framing(SIDE), InferenceConfig(), to_score)
    found = benchmark_backends(tiny_network(), pictures(), ("torch", "openvino-int8"), config, CPU)
    assert [trial.backend for trial in found.trials] == names


def test_what_agrees_in_bf16_is_not_tried_in_fp32_too() -> None:
    lax = trials(("torch", "folded-bf16", "folded"), min_dice=0.5, min_rank_correlation=0.0)
    strict = trials(("torch", "folded-bf16", "folded"), min_dice=1.0, min_rank_correlation=1.0)
    assert [list(lax), list(strict)] == [["torch", "folded-bf16"], ["torch", "folded-bf16", "folded"]]


@pytest.mark.skipif(not quantizes_here(CPU), reason="needs OpenVINO and a processor that multiplies 8 bits")
def test_the_network_in_8_bits_has_to_rank_alike_but_no_mask_comes_from_it() -> None:
    bounds = InferenceConfig(min_dice=1, min_rank_correlation=0.5)
    config = BenchmarkConfig(QueryConfig(), Framing(SIDE), bounds, to_score=1_400_000)
    found = benchmark_backends(tiny_network(), pictures(), ("torch", "openvino-int8"), config, CPU)
    trial = found.trials[1]
    assert found.quantized
    assert (trial.agrees, (trial.dice or 0) < 1, (trial.rank_correlation or 0) > 0.5) == (True, True, True)
    fast = Trial(backend="openvino-int8", images_per_s=9, agrees=True)
    both = BenchmarkResult((Trial(backend="torch", images_per_s=1, agrees=True), fast))
    assert (both.for_scores, both.for_masks) == ("openvino-int8", "torch")


def test_the_table_says_what_each_was_chosen_for() -> None:
    both = (Trial(backend="torch", agrees=True), Trial(backend="openvino-int8", agrees=True, images_per_s=3))
    inference = BackendChoice(backend="torch", machine="a", reason="b", images=7, trials=both)
    assert [row["used for"] for row in inference.table()] == ["uncertainties and masks", ""]
    assert inference.describe() == "For computer support: computed with torch, b. Machine: a."
    quantized = inference.model_copy(update={"quantized": "0" * 64})
    assert [row["used for"] for row in quantized.table()] == ["masks", "uncertainties"]
    assert (quantized.describe(), quantized.images_per_s) == (
        "For computer support: computed uncertainties with openvino-int8, masks with torch, b. Machine: a.",
        3,
    )
    assert BackendChoice.model_validate_json(quantized.model_dump_json()) == quantized
    untried = BackendChoice(backend="torch", machine="a", reason="b")
    assert untried.table() == [{"way of computing": "torch", "used for": "uncertainties and masks"}]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_the_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = [float(pair[0]) for pair in pairs], [float(pair[1]) for pair in pairs]
    if np.ptp(one) and np.ptp(other):
        assert rank_correlation(one, other) == pytest.approx(float(spearmanr(one, other).statistic))
    else:
        assert rank_correlation(one, other) == float(not np.ptp(one) and not np.ptp(other))
