"""A round has one model, its weights are there before its row, and the newest promoted one is at work."""

import pytest

from plankseg.errors import ObjectMissingError, StoreError
from plankseg.storage.store import Store
from tests.support.table_rows import model, sha


def test_the_newest_promoted_model_is_at_work(root: str) -> None:
    models = Store.open(root).models
    assert models.active() is None
    ids = [models.put_weights(f"weights {n}".encode()) for n in range(3)]
    rows = [model(ids[0], 0), model(ids[1], 1, parent=ids[0]), model(ids[2], 2, promoted=False, reason="worse")]
    for row in (rows[1], rows[0], rows[2]):
        assert models.commit(row)
    assert models.active() == rows[1]
    assert models.all() == rows
    assert models.of_round(2) == rows[2]
    assert models.of_round(3) is None
    assert models.weights(ids[1]) == b"weights 1"


def test_a_round_keeps_its_first_model(root: str) -> None:
    models = Store.open(root).models
    first, second = (models.put_weights(text) for text in (b"first", b"second"))
    assert models.commit(model(first, 1))
    assert not models.commit(model(second, 1))
    assert [row.model_id for row in models.all()] == [first]


def test_a_model_without_weights_is_not_recorded(root: str) -> None:
    models = Store.open(root).models
    with pytest.raises(ObjectMissingError, match="put_weights first"):
        models.commit(model(sha("never put"), 1))
    assert models.all() == []


def test_metrics_and_recipe_must_be_json() -> None:
    with pytest.raises(StoreError, match="metrics of model"):
        model(sha("m"), metrics="dice=.9")
    with pytest.raises(StoreError, match="no sha256"):
        model("resnet34")


def test_candidates_are_no_rounds_and_come_once(root: str) -> None:
    models = Store.open(root).models
    ids = [models.put_weights(f"weights {n}".encode()) for n in range(4)]
    named = [
        model(ids[n], promoted=False, experiment=name, candidate=f"run {n}", fingerprint=sha(n))
        for n, name in enumerate(("grid", "grid", "seeds"))
    ]
    assert all(models.commit(row) for row in named)
    assert not models.commit(named[0])
    assert (models.all(), models.active(), models.of_round(0)) == ([], None, None)
    zero = model(ids[3])
    assert models.commit(zero)
    assert (models.all(), models.active(), models.of_round(0)) == ([zero], zero, zero)
    assert models.candidates() == named
    assert models.candidates("seeds") == named[2:]
    assert models.candidate(sha(1)) == named[1]
    assert models.candidate(sha("another recipe")) is None


def test_a_candidate_needs_its_experiment_and_its_fingerprint() -> None:
    with pytest.raises(StoreError, match="lacks its experiment"):
        model(sha("m"), candidate="run 1", fingerprint=sha(1))
