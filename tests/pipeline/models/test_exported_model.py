"""Exported models: a folder that gives the store's model again, and files of strangers that are refused."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plankseg.config import NetworkConfig
from plankseg.errors import ModelError
from plankseg.pipeline.models.exported_model import (
    ExportedModel,
    example_images,
    model_of_store,
    read_model,
    with_graph,
    write_model,
)
from plankseg.pipeline.prediction.predict import PredictOptions, predict
from plankseg.pipeline.prediction.prediction_model import named_model
from plankseg.pipeline.prediction.terminal_predict import open_images
from plankseg.storage.store import Store
from tests.support.little_store import add_model, store_with
from tests.support.tiny_recipe import TINY

pytestmark = pytest.mark.slow
METRICS = {
    "dice": 0.8,
    "dice_interval": [0.7, 0.9],
    "examples": 40,
    "corrections": 18,
    "postprocessing": {"fill_holes": True, "smallest_part": 0.05, "largest_only": False},
    "measures": {"test": {"images": {f"{n:064x}": [0.8, 0.7, 0.6] for n in range(6)}}},
    "rivals": {"test": {"automatic mask": {f"{n:064x}": [0.6, 0.5] for n in range(6)}}},
    "against_rivals": {
        "rival": "automatic mask",
        "images": 6,
        "model_dice": 0.8,
        "rival_dice": 0.6,
        "difference": 0.2,
        "low": 0.1,
        "high": 0.3,
    },
}


@pytest.fixture
def store(tmp_path: Path, weights: bytes) -> Store:
    store = store_with(tmp_path, pool=6)
    recipe = TINY.model_copy(
        update={"network": TINY.network.model_copy(update={"encoder_weights": "/home/me/a.safetensors"})}
    )
    add_model(store, 0, weights=weights, metrics=json.dumps(METRICS), recipe=recipe)
    return store


@pytest.fixture
def exported(store: Store) -> ExportedModel:
    active = store.models.active()
    assert active is not None
    return model_of_store(store, active)


def changed(folder: Path, **facts: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_a_folder_gives_the_same_model_and_writing_it_again_the_same_bytes(
    exported: ExportedModel, tmp_path: Path
) -> None:
    written = write_model(tmp_path / "model", exported)
    before = {path.relative_to(tmp_path / "model").as_posix(): path.read_bytes() for path in written}
    smp_names = {f"smp/{name}" for name in ("config.json", "model.safetensors", "README.md")}
    assert set(before) == {"model.safetensors", "README.md", "model.json"} | smp_names
    assert read_model(tmp_path / "model") == exported == read_model(tmp_path / "model" / "model.json")
    assert exported.facts.postprocessing.as_used().smallest_part == 0.05
    again = write_model(tmp_path / "model", exported)
    assert {path.relative_to(tmp_path / "model").as_posix(): path.read_bytes() for path in again} == before
    assert b"/home/me" not in b"".join(before.values())


def test_the_card_says_how_good_the_model_is_and_what_its_rival(exported: ExportedModel, tmp_path: Path) -> None:
    write_model(tmp_path / "model", exported)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Dice: 0.500 (95 % confidence interval 0.700 to 0.900)" in card
    assert "| test half | automatic mask | 6 | 0.600 |" in card
    assert "better than the automatic mask" in card
    assert "## Limits" in card


def test_the_graph_makes_the_masks_of_the_weights(exported: ExportedModel, store: Store, tmp_path: Path) -> None:
    whole = with_graph(exported, example_images(store))
    assert whole.facts.onnx is not None
    assert whole.facts.onnx.images == 6
    assert whole.facts.onnx.largest_difference < whole.facts.onnx.tolerance
    write_model(tmp_path / "model", whole)
    found = []
    for model in (read_model(tmp_path / "model"), read_model(tmp_path / "model" / "model.onnx")):
        out = tmp_path / f"out-{len(found)}"
        done = predict(open_images(str(tmp_path / "pool")), model, out, PredictOptions(device="cpu"))
        found.append({path.name: path.read_bytes() for path in out.glob("*.png")})
        assert done.masks == 6
        assert done.backend == ("onnxruntime" if model.graph else "torch")
    assert found[0].keys() == found[1].keys()
    different = sum(found[0][name] != found[1][name] for name in found[0])
    assert different <= 1, "a pixel at the very threshold may fall to the other side"


def test_another_folder_is_not_written_into(exported: ExportedModel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds something else"):
        write_model(tmp_path / "mine", exported)
    write_model(tmp_path / "model", exported)
    other = replace(exported, facts=exported.facts.model_copy(update={"model_id": "b" * 64}))
    with pytest.raises(ModelError, match="holds something else"):
        write_model(tmp_path / "model", other)


class Bomb:
    """What a stranger puts into a pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_a_strangers_file_runs_no_code(
    exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    for name in ("model.pt", "model.onnx", "model.safetensors"):
        (tmp_path / name).write_bytes(bomb)
        with pytest.raises(ModelError):
            read_model(tmp_path / name)
    write_model(tmp_path / "model", exported)
    (tmp_path / "model" / "model.safetensors").write_bytes(bomb)
    with pytest.raises(ModelError, match="changed or damaged"):
        read_model(tmp_path / "model")
    assert not (tmp_path / "exploded").exists()


def test_facts_that_are_not_ours_are_refused(exported: ExportedModel, tmp_path: Path) -> None:
    write_model(tmp_path / "model", exported)
    original = (tmp_path / "model" / "model.json").read_text()
    recipe = json.loads(original)["recipe"]
    hostile = NetworkConfig(encoder="tu-hf-hub:evil/model").model_dump()
    for facts, complaint in (
        ({"side_px": 10**6}, "side_px"),
        ({"format": "plankseg model 9"}, "format"),
        ({"more": 1}, "more"),
        ({"recipe": recipe | {"network": hostile}}, "is no plain name"),
        ({"preprocessing": {"mean": [0.5, 0.5, 0.5]}}, "not those that plankseg uses"),
    ):
        (tmp_path / "model" / "model.json").write_text(original)
        changed(tmp_path / "model", **facts)
        with pytest.raises(ModelError, match=complaint):
            read_model(tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text("not json")
    with pytest.raises(ModelError, match="does not describe a model"):
        read_model(tmp_path / "model")


def test_a_model_is_named_by_a_path_or_in_a_store(exported: ExportedModel, store: Store, tmp_path: Path) -> None:
    write_model(tmp_path / "model", exported)
    assert named_model(str(tmp_path / "model"), None) == exported
    assert named_model(None, store) == named_model("model 0", store) == exported
    assert named_model(exported.facts.model_id[:8], store).facts == exported.facts
    with pytest.raises(ModelError, match="give --model FOLDER"):
        named_model(None, None)
    with pytest.raises(ModelError, match="cannot be read"):
        named_model(str(tmp_path / "gone.onnx"), store)


def test_the_loaded_network_answers_as_the_stores(exported: ExportedModel, weights: bytes) -> None:
    from plankseg.learning.network.architecture import build_network

    picture = torch.from_numpy(np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32))
    ours, theirs = (
        net.eval() for net in (exported.network(torch.device("cpu")), build_network(TINY.network, weights=weights))
    )
    with torch.no_grad():
        assert torch.equal(ours(picture), theirs(picture))
