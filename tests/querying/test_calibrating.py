import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from test_scoring import SIDE, Function, pictures, tiny_network

from plankseg.config import InferenceConfig, QueryConfig
from plankseg.errors import BackendError
from plankseg.learning import backends
from plankseg.querying import calibrating
from plankseg.querying.calibrating import Inference, Trial, calibrate, fastest, rank_correlation

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
NAMES = ("torch", "folded", "folded-bf16", "compiled")


def trials(names: tuple[str, ...] = NAMES, network: torch.nn.Module | None = None, **bounds: float) -> dict[str, Trial]:
    found = calibrate(
        network or tiny_network(), pictures(), names,
        query=QueryConfig(), side_px=SIDE, device=CPU, bounds=InferenceConfig(**bounds),
    )  # fmt: skip
    return {trial.backend: trial for trial in found}


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
    assert fastest([refused, Trial(backend="torch", images_per_s=0.1, agrees=True)]).backend == "torch"


def test_a_backend_outside_the_bounds_is_not_chosen_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    original = backends.make_backend

    def make(name: str, network: torch.nn.Module, device: torch.device) -> object:
        if name == "folded":  # answers at once, and wrongly
            return backends.plain_backend(Function(lambda x: x[:, :1] * 0 - 1), device)
        return original(name, network, device)  # type: ignore[arg-type]

    monkeypatch.setattr(calibrating, "make_backend", make)
    found = trials(("torch", "folded"))
    assert not found["folded"].agrees
    assert found["folded"].rank_correlation == 0
    assert fastest(list(found.values())).backend == "torch"


def test_the_bounds_are_the_recipes() -> None:
    strict, lax = trials(min_dice=1.0, min_rank_correlation=1.0), trials(min_dice=0.5, min_rank_correlation=0.0)
    assert [strict["folded-bf16"].agrees, lax["folded-bf16"].agrees] == [False, True]


def test_a_reference_that_fails_is_no_calibration() -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise BackendError("The network is broken.")

    with pytest.raises(BackendError, match="broken"):
        trials(network=Function(fail))


def test_the_table_marks_what_was_chosen() -> None:
    both = (Trial(backend="torch", agrees=True), Trial(backend="folded", agrees=True))
    inference = Inference(backend="folded", machine="a", reason="b", images=7, trials=both)
    assert [row["chosen"] for row in inference.table()] == [False, True]
    assert Inference(backend="torch", machine="a", reason="b").table() == [{"backend": "torch", "chosen": True}]
    assert Inference.model_validate_json(inference.model_dump_json()) == inference


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=20))
def test_the_rank_correlation_is_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = [float(pair[0]) for pair in pairs], [float(pair[1]) for pair in pairs]
    if np.ptp(one) and np.ptp(other):
        assert rank_correlation(one, other) == pytest.approx(float(spearmanr(one, other).statistic))
    else:
        assert rank_correlation(one, other) == float(not np.ptp(one) and not np.ptp(other))
