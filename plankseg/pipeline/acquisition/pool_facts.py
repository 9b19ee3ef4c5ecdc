"""Facts of candidate images for the selectors that look at more than scores: strata, and features of the encoder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from plankseg.acquisition.diversity import PoolFacts, cluster
from plankseg.config import QueryConfig
from plankseg.imaging.arrays import Grey
from plankseg.imaging.framing import Framing
from plankseg.inference.encoder_features import encoder_features
from plankseg.pipeline.pool.unreadable import unreadable
from plankseg.storage.store import Store

DIMENSIONS = 16
"""Features are reduced to so many principal components, so that a manifest can hold them."""

READ_AT_ONCE = 64
FEWEST_WITH_TAXON = 0.5


@dataclass(frozen=True)
class Describer:
    """Finds out about candidates of one round: their taxa from the catalogue, their features by the round's model.

    `read(ids)` gives the pixels of images, or raises where one cannot be read.
    """

    store: Store
    query: QueryConfig
    network: torch.nn.Module
    framing: Framing
    read: Callable[[Sequence[str]], Mapping[str, Grey]]

    def __call__(self, image_ids: Sequence[str], *, round_number: int) -> PoolFacts:
        """What the query's selector needs of these images. Features are computed only where it uses them."""
        needs_features = self.query.selector == "core_set" or (
            self.query.selector == "typical_first" and round_number == 1
        )
        taxa = {row.image_id: row.taxon for row in self.store.catalogue.rows(image_ids)}
        known = sum(taxon is not None for taxon in taxa.values())
        by_taxon = self.query.strata == "taxon" and known >= FEWEST_WITH_TAXON * len(taxa)
        strata = {image_id: taxon or "without a taxon" for image_id, taxon in taxa.items()}
        if self.query.selector == "power" or (by_taxon and not needs_features):
            return PoolFacts(strata if by_taxon else dict.fromkeys(image_ids, "all"))
        answered = self.store.labels.hand_labelled_ids() if needs_features else set[str]()
        answered -= unreadable(self.store, answered).keys()
        own, theirs = self._features(image_ids), self._features(sorted(answered))
        reduced = _principal_components([*own.values(), *theirs.values()])
        features = dict(zip(own, reduced, strict=False))
        if not by_taxon:
            names = cluster(np.array([features[i] for i in image_ids]), self.query.clusters, self.query.seed)
            strata = {image_id: f"cluster {name}" for image_id, name in zip(image_ids, names, strict=True)}
        return PoolFacts(strata, features if needs_features else {}, tuple(reduced[len(own) :]))

    def _features(self, image_ids: Sequence[str]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(image_ids), READ_AT_ONCE):
            images = self.read(image_ids[start : start + READ_AT_ONCE])
            vectors = encoder_features(self.network, list(images.values()), self.framing)
            found |= dict(zip(images, vectors, strict=True))
        return found


def _principal_components(vectors: Sequence[np.ndarray]) -> list[tuple[float, ...]]:
    """Each dimension at variance 1, then the first principal components, at four digits for the record."""
    features = np.array(vectors, np.float64)
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    _, _, axes = np.linalg.svd(scaled, full_matrices=False)
    reduced = scaled @ axes[:DIMENSIONS].T
    return [tuple(float(f"{value:.4g}") for value in row) for row in reduced]
