"""Exported models: a folder of plain files that another machine, or another program, makes the same masks with.

`model.json` holds the facts, `model.safetensors` the weights, `model.onnx` the network as a graph for other programs,
`smp` the network as segmentation_models_pytorch reads it, `README.md` the model card. Reading a folder or a file runs
no code of its maker: weights are safetensors and checked against their hash, a graph is computed by onnxruntime, which
knows the standard operators alone.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from plankseg.errors import ModelError
from plankseg.files import atomic_write
from plankseg.imaging.arrays import Grey
from plankseg.imaging.letterbox import Letterbox
from plankseg.inference.onnx_graph import OPSET, check_graph, export_graph, facts_in
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.memory_layout import place
from plankseg.learning.network.smp_folder import smp_files
from plankseg.pipeline.models.backend_choice import recorded_choices
from plankseg.pipeline.models.model_card import model_card
from plankseg.pipeline.models.model_facts import ModelFacts, OnnxFacts, facts_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

FACTS, WEIGHTS, GRAPH, CARD = "model.json", "model.safetensors", "model.onnx", "README.md"
SMP = "smp"
LARGEST_FILE = 8 * 2**30


@dataclass(frozen=True)
class ExportedModel:
    """A model outside of a store: its facts, and its weights as safetensors, or as an ONNX graph."""

    facts: ModelFacts
    weights: bytes | None = None
    graph: bytes | None = None

    def network(self, device: torch.device) -> torch.nn.Module:
        """The network on a device. Raises ModelError for a graph, which has none, and what `build_network` raises."""
        if self.weights is None:
            raise ModelError("An ONNX file holds a graph, not a network of torch; give the folder it came from.")
        return place(build_network(self.facts.recipe.network, weights=self.weights), device)


def model_of_store(store: Store, model: ModelRow) -> ExportedModel:
    """A stored model with its facts. Raises ObjectMissingError or ObjectCorruptError."""
    facts = facts_of(model, tuple(recorded_choices(store, model)))
    return ExportedModel(facts, weights=store.models.weights(model.model_id))


def example_images(store: Store, count: int = 8) -> list[Grey]:
    """A few readable images of the store, at even steps through it, the same ones every time."""
    every = store.catalogue.matching()
    ids = [every[number] for number in range(0, len(every), max(1, len(every) // (2 * count)))]
    return [grey for _, grey in islice(store.catalogue.readable(ids), count)]


def with_graph(model: ExportedModel, greys: Iterable[Grey]) -> ExportedModel:
    """The model with its network as an ONNX graph, compared with torch on these images and on noise.

    Raises BackendError where the graph cannot be made, or does not give the network's probabilities.
    """
    facts, network = model.facts, model.network(torch.device("cpu"))
    images = [*greys, np.random.default_rng(0).integers(0, 256, (facts.side_px, facts.side_px), dtype=np.uint8)]
    squares = np.stack([Letterbox.of(grey.shape, facts.side_px).apply(grey) for grey in images])
    graph = export_graph(network, facts.side_px, facts.as_json())
    check = check_graph(graph, network, torch.from_numpy(squares))
    onnx = OnnxFacts(opset=OPSET, images=len(images) - 1, largest_difference=check.largest_difference)
    return replace(model, facts=facts.model_copy(update={"onnx": onnx}), graph=graph)


def write_model(folder: Path, model: ExportedModel) -> list[Path]:
    """Write weights, graph, card and smp's folder, then the facts, into a folder, which is made; then it is whole.

    Raises ModelError where the folder holds something else, or cannot be written.
    """
    assert model.weights is not None, "a stored model has weights"
    files = {WEIGHTS: model.weights, GRAPH: model.graph, CARD: model_card(model.facts).encode()}
    files |= {f"{SMP}/{name}": data for name, data in smp_files(model.facts.recipe.network, model.weights).items()}
    files[FACTS] = model.facts.as_json().encode()
    written = {name: data for name, data in files.items() if data is not None}
    try:
        _require_room(folder, model.facts)
        (folder / SMP).mkdir(parents=True, exist_ok=True)
        for name, data in written.items():
            atomic_write(folder / name, data, sole_writer=True)
    except OSError as error:
        raise ModelError(f"Cannot write to {folder}: {error.strerror or error}; check space and rights.") from error
    return [folder / name for name in written]


def _require_room(folder: Path, facts: ModelFacts) -> None:
    """Raise ModelError unless the folder is new, empty, or holds this very model."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    ours = folder / FACTS
    if ours.is_file() and ModelFacts.parse(ours.read_bytes(), str(ours)).model_id == facts.model_id:
        return
    known = {folder / name for name in (FACTS, WEIGHTS, GRAPH, CARD, SMP)}
    if folder.is_dir() and not ours.exists() and all(_is_part(path) or path in known for path in folder.iterdir()):
        return  # an export that was killed
    raise ModelError(f"{folder} holds something else; name a folder that is new or empty.")


def _is_part(path: Path) -> bool:
    return path.name.endswith(".partial")


def read_model(path: Path) -> ExportedModel:
    """The model in an exported folder, in its model.json, or in an ONNX file.

    Raises ModelError for anything else, for weights that are not those the facts name, and for a graph without facts.
    """
    folder = path.parent if path.name == FACTS else path
    if path.suffix.lower() == ".onnx":
        graph = _read(path)
        return ExportedModel(ModelFacts.parse(facts_in(graph, str(path)), str(path)), graph=graph)
    if not folder.is_dir():
        raise ModelError(
            f"{path} is no exported model: give the folder that `plankseg export-model` wrote, or its {GRAPH}. Files "
            "of weights alone are not taken: they do not say what the network is."
        )
    facts = ModelFacts.parse(_read(folder / FACTS), str(folder / FACTS))
    weights = _read(folder / WEIGHTS)
    found = hashlib.sha256(weights).hexdigest()
    if found != facts.model_id:
        raise ModelError(
            f"{folder / WEIGHTS} has the hash {found[:12]}..., but {FACTS} names {facts.model_id[:12]}...: it was "
            "changed or damaged. Copy the folder again."
        )
    return ExportedModel(facts, weights=weights)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelError(f"{path} has {size} bytes, more than a model has; give another file.")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; is the exported folder whole?") from error
