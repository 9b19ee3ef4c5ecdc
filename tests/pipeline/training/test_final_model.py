from pathlib import Path

import pytest

from plankseg.config import FinalConfig, Settings
from plankseg.errors import SettingsError, TrainingError
from plankseg.pipeline.loop.progress import read_progress
from plankseg.pipeline.models.registry import model_for
from plankseg.pipeline.training import final_model
from plankseg.pipeline.training.final_model import final_recipe, final_set, fit_final
from plankseg.pipeline.training.round_training import fit
from plankseg.pipeline.training.verdict import Verdict
from plankseg.storage.store import Store
from tests.support.little_store import add_answers, add_proposal, noisy_image, square, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow
SHORT = FinalConfig(side_px=64, batch_size=4, epochs=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A trained model 0 and two answered rounds."""
    store = store_with(tmp_path, pool=8, source=20, validation=3)
    fit(store, TINY, there(store), round_number=0)
    pool = store.catalogue.ids("pool")
    for number, ids in ((1, pool[:2]), (2, pool[2:4])):
        add_proposal(store, number, ids)
        add_answers(store, number, ids, mask=square(noisy_image(0).shape, 10))
    return store


def there(store: Store) -> Settings:
    return Settings(store=str(store.root), device="cpu")


def test_the_last_training_takes_every_round_and_is_large_and_does_not_grow() -> None:
    recipe = final_recipe(TINY, FinalConfig())
    assert (recipe.training.side_px, recipe.training.batch_size, recipe.training.epochs) == (512, 8, 40)
    assert (recipe.training.side_px_per_round, recipe.training.epochs_per_round) == (0, 0)
    assert recipe.network == TINY.network


def test_a_last_training_whose_batch_cannot_be_shared_out_is_refused() -> None:
    three = TINY.model_copy(update={"training": TINY.training.model_copy(update={"devices": 3, "batch_size": 6})})
    with pytest.raises(SettingsError, match="batch of 8 images cannot be shared out evenly among 3 devices"):
        final_recipe(three, FinalConfig())


def test_the_final_model_is_trained_once_and_no_round_sees_it(store: Store) -> None:
    before = read_progress(store)
    row = fit_final(store, TINY, SHORT, there(store))
    assert (row.side_px, row.epochs, row.round, row.promoted, row.experiment) == (64, 2, 2, False, "final")
    assert "4 answers of rounds 1 to 2" in str(row.candidate)
    assert read_progress(store) == before
    assert fit_final(store, TINY, SHORT, there(store)).model_id == row.model_id
    assert len(store.models.candidates("final")) == 1
    assert not [path for path in store.work_root.iterdir() if path.name.startswith("final-")]
    assert model_for(store).model_id == row.model_id


def test_a_final_model_that_was_judged_worse_is_used_only_where_it_is_named(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "worse than model 0: Dice -0.160 (95 % interval -0.200 to -0.120) on the validation set (12 images)"
    monkeypatch.setattr(final_model, "compare_with_active", lambda *_: Verdict(False, reason))
    row = fit_final(store, TINY, SHORT, there(store))
    assert model_for(store) == store.models.active()
    assert "judged worse" in caplog.text
    assert model_for(store, row.model_id[:12]).model_id == row.model_id


def test_the_source_can_be_left_out(store: Store) -> None:
    whole = final_set(store, TINY, labels_only=False)
    alone = final_set(store, TINY, labels_only=True)
    assert len(whole.examples) > len(alone.examples) == whole.corrections == alone.corrections == 4


def test_without_answers_there_is_no_last_training(tmp_path: Path) -> None:
    store = store_with(tmp_path, source=20, pool=3)
    with pytest.raises(TrainingError, match="Nobody has answered"):
        fit_final(store, TINY, SHORT, there(store))


def test_the_archive_is_segmented_with_the_model_that_is_named_or_the_best_there_is(store: Store) -> None:
    active = store.models.active()
    assert active is not None
    assert model_for(store) == active
    assert model_for(store, active.model_id[:10].upper()) == active
    with pytest.raises(SettingsError, match="0 models have an id that begins with 'xyz'"):
        model_for(store, "xyz")
    with pytest.raises(SettingsError, match="no model yet"):
        model_for(Store.open(store.root.parent / "new"))  # type: ignore[union-attr]
