"""A harvest certified through the real Prefect and Label Studio: drawn, judged by a simulated person, stated."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from plankseg import local_servers
from plankseg.config import AuditConfig, Settings
from plankseg.imaging.masks import decode_mask, dice
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.testing.simulated_annotator import SimulatedAnnotator
from plankseg.pipeline.annotation.connection import project_of_audits
from plankseg.pipeline.audit.harvest_audit import find_or_draw
from plankseg.pipeline.exports.mask_records import masks_of_store
from tests.support.live_servers import LiveLabelStudio, LivePrefect
from tests.support.small_world import World
from tests.support.subprocess_flow import alone, artifacts

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

ASKED = AuditConfig(masks=16, usable_dice=0.5)
TITLE = "certified harvest"
SEGMENT = """
from flows.segment import segment
from plankseg.config import ExportConfig, Part, SegmentConfig
segment(Part(role="pool"), None, SegmentConfig(views="none", shard_size=60), ExportConfig(ecotaxa=False))
"""
AUDIT = f"from flows.audit import AuditConfig, audit; print(audit(AuditConfig(**{ASKED.model_dump()})))"


def test_the_flow_draws_waits_and_states_what_the_persons_answers_say_of_all_masks(
    world: World,
    server_settings: local_servers.ServerSettings,
    prefect_server: LivePrefect,
    label_studio: LiveLabelStudio,
    tmp_path: Path,
) -> None:
    store = world.copy(tmp_path / "store")
    ours = {"PLANKSEG_STORE": str(store.root), "PLANKSEG_PROJECT": TITLE, "PLANKSEG_DEVICE": "cpu"}
    environment = server_settings.environment() | ours
    alone(SEGMENT, environment=environment)
    waiting = alone(AUDIT, environment=environment)
    drawn = find_or_draw(store, ASKED)
    wanted = len(drawn.image_ids)
    assert (len(drawn.draws), drawn.masks) == (16, 60)
    assert f"{wanted} of {wanted} images wait for an answer" in waiting
    assert f"{wanted} new tasks, 0 new answers" in waiting

    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        project = project_of_audits(client, Settings(project=TITLE))
        person = SimulatedAnnotator(lambda image_id: world.truth(store, image_id), skip_rate=0, unusable_rate=0)
        counts = person.answer_round(client, project, drawn.row.number)
    assert counts.accepted + counts.redrawn == wanted

    stated = alone(AUDIT, environment=environment)
    figures = []
    for draw in drawn.draws:
        mask, truth = decode_mask(store.blobs.get(draw.mask_sha, "png")), world.truth(store, draw.image_id)
        is_accepted = dice(mask, truth) >= person.accept_dice
        figures.append(1.0 if is_accepted else float(dice(mask, truth)))
    share = binomtest(int(sum(figure >= ASKED.usable_dice for figure in figures)), len(figures))
    interval = share.proportion_ci(0.95, method="exact")
    sentence = f"{share.statistic:.3f}, 95 % confidence interval {interval.low:.3f} to {interval.high:.3f}."
    assert f"0 new tasks, {wanted} new answers" in stated
    assert f"Share of masks that are good enough (Dice at least 0.5 to the person's): {sentence}" in stated
    assert f"Dice: {np.mean(figures):.3f}, 95 % confidence interval" in stated
    shown = artifacts(server_settings)
    assert json.loads(shown["audit"]["data"])[0]["value"] == f"{share.statistic:.3f}"
    assert len(json.loads(shown["audit-images"]["data"])) == wanted
    origins = [record.origin for record in masks_of_store(store).records]
    assert origins.count("model") == 60 - wanted, "the person's masks leave"
