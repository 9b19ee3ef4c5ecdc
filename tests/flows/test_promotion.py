"""A model made worse on purpose is refused, and a rollback brings the old one back with its reason. Real training."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from plankseg import cli
from plankseg.config import Settings, settings
from plankseg.imaging.masks import encode_mask, pixel_sha
from plankseg.pipeline.reports.status import read_status
from plankseg.pipeline.training.round_training import fit
from plankseg.storage.schemas import utc_now
from plankseg.storage.store import Store
from plankseg.storage.tables.labels import LabelRow
from tests.support.small_world import World
from tests.support.tiny_recipe import TINY_ROUNDS

pytestmark = pytest.mark.slow


def answer_wrongly(world: World, store: Store, count: int) -> None:
    """Answers that are the opposite of the truth."""
    for number, image_id in enumerate(store.catalogue.ids("pool")[:count]):
        wrong = np.logical_not(world.truth(store, image_id))
        sha = store.blobs.put(encode_mask(wrong), "png")
        store.labels.add(
            [
                LabelRow(
                    image_id=image_id,
                    round=1,
                    origin="drawn",
                    status="usable",
                    answered_at=utc_now(),
                    mask_sha=sha,
                    pixel_sha=pixel_sha(wrong),
                    ls_task=number,
                    ls_annotation=number,
                )
            ]
        )


def test_a_model_made_worse_is_refused_and_a_rollback_restores_the_old_one_with_its_reason(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.copy(tmp_path / "store")
    answer_wrongly(world, store, 30)
    training = TINY_ROUNDS.training.model_copy(update={"correction_share": 0.98, "warm_start": False})
    cpu = Settings(store=str(store.root), device="cpu")
    worse = fit(store, TINY_ROUNDS.model_copy(update={"training": training}), cpu, round_number=1)
    first = store.models.of_round(0)
    assert first is not None
    assert not worse.promoted
    assert "worse than model 0: Dice -" in worse.reason
    assert store.models.active() == first
    refused = read_status(store, TINY_ROUNDS.rounds).decisions[-1]
    assert (refused.kind, refused.by, refused.round) == ("refuse", "flow", 1)
    assert refused.high is not None
    assert refused.high < 0

    monkeypatch.setenv("PLANKSEG_STORE", str(store.root))
    settings.cache_clear()
    runner = CliRunner()
    assert runner.invoke(cli.app, ["promote", "model", "1"]).exit_code == 0
    assert store.models.active() == worse
    assert runner.invoke(cli.app, ["rollback", "--reason", "it paints the ground"]).exit_code == 0
    assert store.models.active() == first
    shown = " ".join(runner.invoke(cli.app, ["status"]).stdout.split())
    settings.cache_clear()
    assert "model 0 put back into use by a person: it paints the ground." in shown
