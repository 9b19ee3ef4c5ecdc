"""With which backend does a model look at images here? As the recipe says, or as a calibration found once and for all.

The choice is written into the store before the first image is scored. A run that was killed, and any other run of
this model on a machine of this kind, finds it there: what is measured by the clock is never measured twice.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from plankseg.config import InferenceConfig, Recipe, ScoringName
from plankseg.errors import ImageReadError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.inference.backend_benchmark import INT8, Calibration, Inference, calibrate
from plankseg.inference.backends import REFERENCE, Backend, backends_here, machine, make_backend, plain_backend
from plankseg.inference.quantization import quantized_backend, quantizes_here
from plankseg.inference.tta import views_of
from plankseg.learning.network.architecture import choose_device
from plankseg.learning.network.precision import Precision
from plankseg.pipeline.models.loading import QUANTIZED_SUFFIX, cached_network
from plankseg.pipeline.models.recipes import recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.backend_choices import BackendChoiceRow
from plankseg.storage.tables.models import ModelRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferenceBackends:
    """A model ready to look at images, and how it came by its backends.

    `backend` gives masks, `ranker` scores; they are one, but where images are ranked in 8 bits.
    """

    backend: Backend
    inference: Inference
    quantized: Backend | None = None

    @property
    def ranker(self) -> Backend:
        """What scores come from."""
        return self.quantized or self.backend


def select_backends(
    store: Store,
    model: ModelRow,
    network: torch.nn.Module,
    recipe: Recipe,
    *,
    device: torch.device,
    precision: Precision,
    pool: Sequence[str] = (),
    to_score: int = 0,
) -> InferenceBackends:
    """The backend of the recipe; for `auto` the one recorded for this model and machine, else tried on the pool.

    `to_score`: how many images are about to be ranked, which says whether that is worth a network in 8 bits.

    Where the pool has too few readable images, or none is given, nothing is tried and nothing recorded: the network
    then looks as it was trained. Raises BackendError when the backend that the recipe names cannot be had here.
    """
    wanted, here = recipe.inference, machine(device)
    if wanted.backend != "auto":
        inference = Inference(backend=wanted.backend, machine=here, reason="named by the recipe")
        return InferenceBackends(make_backend(wanted.backend, network, device), inference)
    key = _key(model, recipe, here, precision)
    row = store.backend_choices.of(key)
    if row is None:
        greys = _some_of(store, pool, wanted)
        if len(greys) < wanted.calibration_images:
            plain = plain_backend(network, device, precision)
            reason = f"too few images to try others on: {len(greys)} of {wanted.calibration_images}"
            return InferenceBackends(plain, Inference(backend=plain.name, machine=here, reason=reason))
        names: list[ScoringName] = list(backends_here(device, precision))
        if wanted.int8 and quantizes_here(device, precision):
            names.append(INT8)
        found = calibrate(
            network, greys, names,
            query=recipe.query, side_px=model.side_px, device=device, bounds=wanted, to_score=to_score,
        )  # fmt: skip
        inference = _chosen(store, found, here, images=len(greys))
        row = store.backend_choices.settle(
            BackendChoiceRow(
                key=key, model_id=model.model_id, machine=here, backend=inference.ranks_with,
                record=inference.model_dump_json(),
            )
        )  # fmt: skip
    inference = Inference.model_validate_json(row.record)
    backend, quantized = make_backend(inference.backend, network, device), None
    if inference.quantized is not None:
        quantized = quantized_backend(store.blobs.get(inference.quantized, QUANTIZED_SUFFIX), device)
    return InferenceBackends(backend, inference, quantized)


def _chosen(store: Store, found: Calibration, here: str, *, images: int) -> Inference:
    """The fastest for masks, and for scores the network in 8 bits if that is faster still."""
    quantized = None
    if found.quantized is not None and found.for_scores == INT8:
        quantized = store.blobs.put(found.quantized, QUANTIZED_SUFFIX)
    agreeing = sum(trial.agrees for trial in found.trials)
    return Inference(
        backend=found.for_masks, machine=here, images=images, trials=found.trials, quantized=quantized,
        reason=f"the fastest of {agreeing} that agree with {REFERENCE}",
    )  # fmt: skip


def backend_for(store: Store, model: ModelRow, image_ids: Sequence[str], *, device: str) -> Inference:
    """With which backend a model is to look at an archive: as for a proposal, tried on some of these images.

    Whoever then looks, on whatever machine, is told the backend's name. Raises what `select_backends` raises.
    """
    recipe, where = recipe_of(model), choose_device(device)
    eyes = select_backends(
        store, model, cached_network(store, model, where), recipe,
        device=where, precision=recipe.training.precision, pool=image_ids,
    )  # fmt: skip
    return eyes.inference


def score_key(model: ModelRow, recipe: Recipe, inference: Inference) -> str:
    """All that a score depends on beside the image, as one hash."""
    how = f"{INT8} {inference.quantized}" if inference.quantized else inference.backend
    return _key_of(model, recipe, how)


def _key_of(model: ModelRow, recipe: Recipe, how: str) -> str:
    query = recipe.query
    parts = (
        "scores 1", model.model_id, str(model.side_px), how, query.measure, query.region, str(query.band_px),
        str(query.noise_sd), str(query.seed), *(view.name for view in views_of(query)),
    )  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _key(model: ModelRow, recipe: Recipe, here: str, precision: Precision) -> str:
    parts = (_key_of(model, recipe, "auto"), recipe.inference.model_dump_json(), here, precision)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _some_of(store: Store, pool: Sequence[str], config: InferenceConfig) -> dict[str, Grey]:
    """Readable images of the pool, whose ids are ascending, drawn by the recipe's seed."""
    greys: dict[str, Grey] = {}
    for index in np.random.default_rng([config.seed, 4]).permutation(len(pool)):
        if len(greys) == config.calibration_images:
            break
        image_id = pool[index]
        try:
            greys[image_id] = store.catalogue.load(image_id)
        except (ImageReadError, StoreError) as error:
            log.info("Image %s is not tried on: %s", image_id, error)
    return greys
