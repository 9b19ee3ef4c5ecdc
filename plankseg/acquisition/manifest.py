"""The manifest of a round: the record of everything its images were chosen from, so that the choice can be repeated.

A manifest is written once, as JSON whose bytes depend on its content alone: sorted keys, floats in the shortest form
that reads back to the same float. `replay` repeats the choice from the recorded batches and scores, without the model
and the images. To repeat the draw itself, call `draw_batches` on the same pool with `draw_rng`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import FiniteFloat, ValidationError

from plankseg.acquisition.diversity import PoolFacts
from plankseg.acquisition.selectors import Batch, Selection, best_batch, choose, highest
from plankseg.config import FrozenModel, Measure, QueryConfig, SelectorName
from plankseg.errors import ManifestError, ScoreError
from plankseg.inference.backend_benchmark import BackendChoice
from plankseg.inference.tta import views_of


@dataclass(frozen=True)
class Choice:
    """What a selection was made for and from: the round, the model that scored, the pool's size, and the backend."""

    round: int
    model_id: str
    pool_size: int
    backend: BackendChoice | None = None


Vector = tuple[FiniteFloat, ...]


class RecordedFacts(FrozenModel):
    """What a selector knew of its candidates beside their scores, and the settings that only it reads."""

    strata: dict[str, str]
    features: dict[str, Vector]
    answered: tuple[Vector, ...]
    power_start: float
    power_end: float
    power_rounds: int
    spread_share: float

    @classmethod
    def of(cls, facts: PoolFacts, query: QueryConfig) -> "RecordedFacts":
        """The record of what a query's selector was told."""
        settings = query.model_dump(include={"power_start", "power_end", "power_rounds", "spread_share"})
        return cls(strata=dict(facts.strata), features=dict(facts.features), answered=tuple(facts.answered), **settings)

    @property
    def facts(self) -> PoolFacts:
        """What the selector was told."""
        return PoolFacts(self.strata, self.features, self.answered)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, by their names in a query."""
        return self.model_dump(include={"power_start", "power_end", "power_rounds", "spread_share"})


class Manifest(FrozenModel):
    """The record of one choice.

    `batches` holds every candidate batch in the order drawn, `batch` the index of the chosen one, `scores` every image
    that was scored. `inference` is the choice of the backend; None in manifests older than that choice. `seed` is the
    recipe's: of the draws, with the round mixed in, and of the noisy view.
    """

    round: int
    model_id: str
    seed: int
    selector: SelectorName
    mode: Literal["draws", "partition"]
    batch_size: int
    views: tuple[str, ...]
    noise_sd: float
    measure: Measure
    region: Literal["image", "band"]
    band_px: int
    pool_size: int
    batches: tuple[Batch, ...]
    scores: dict[str, FiniteFloat]
    batch: int
    chosen: Batch
    inference: BackendChoice | None = None
    facts: RecordedFacts | None = None

    @classmethod
    def of(cls, selection: Selection, query: QueryConfig, choice: "Choice") -> "Manifest":
        """The record of a selection by `query`."""
        return cls(
            round=choice.round,
            model_id=choice.model_id,
            views=tuple(view.name for view in views_of(query)),
            pool_size=choice.pool_size,
            batches=selection.batches,
            scores=selection.scores,
            batch=selection.batch,
            chosen=selection.chosen,
            inference=choice.backend,
            facts=RecordedFacts.of(selection.facts, query) if selection.facts else None,
            **query.model_dump(
                include={"seed", "selector", "mode", "batch_size", "noise_sd", "measure", "region", "band_px"}
            ),
        )

    def to_json(self) -> bytes:
        """The manifest as UTF-8 JSON; equal manifests give equal bytes."""
        without = {"facts"} if self.facts is None else set[str]()  # as manifests were before there were facts
        record = self.model_dump(mode="json", exclude=without)
        return json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Read what `to_json` wrote. Raises ManifestError for anything else, not finite scores among it."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole text"
            raise ManifestError(
                f"This is not a manifest: {error.error_count()} error(s), the first in {where}: {first['msg']}; "
                "take the manifest from the label store again, or propose the round anew."
            ) from error


def replay(manifest: Manifest) -> Batch:
    """Make the recorded choice again from batches and scores; compare it with `manifest.chosen`.

    The recorded `chosen` and `batch` are not read. Raises ScoreError where an image that could be chosen has no score,
    and ManifestError where there is no candidate batch.
    """
    if not manifest.batches:
        raise ManifestError(f"The manifest of round {manifest.round} has 0 candidate batches; nothing can be replayed.")
    if manifest.selector == "random":
        return manifest.batches[0]
    if manifest.selector == "top_k":
        if len(manifest.scores) != manifest.pool_size:
            raise ScoreError(
                f"The manifest of round {manifest.round} scores {len(manifest.scores)} images of a pool of "
                f"{manifest.pool_size}; top-k needs them all: take the manifest from the label store again."
            )
        return highest(manifest.scores, manifest.batch_size)
    if manifest.selector == "stochastic_batches":
        return manifest.batches[best_batch(manifest.batches, manifest.scores)]
    if manifest.facts is None:
        raise ManifestError(
            f"The manifest of round {manifest.round} does not say what {manifest.selector} knew of the images; take "
            "the manifest from the label store again."
        )
    query = QueryConfig(
        selector=manifest.selector, batch_size=manifest.batch_size, seed=manifest.seed, **manifest.facts.settings
    )
    facts = manifest.facts.facts
    return choose(query, sorted(facts.strata), manifest.scores, facts, round_number=manifest.round)
