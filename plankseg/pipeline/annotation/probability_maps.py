"""Images and the active model's probability maps, kept in memory and computed in the background.

Whoever asks waits a moment at most: while a training keeps the machine busy, an answer without the map is better than a
late one. Nothing is computed twice for a model, as long as it fits into memory.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Self

from plankseg.config import AssistConfig, Settings
from plankseg.errors import PlanksegError
from plankseg.imaging.arrays import Grey, Probability
from plankseg.pipeline.annotation.validation_images import unmasked
from plankseg.pipeline.models.recipes import recipe_of
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

log = logging.getLogger(__name__)

MOST_BYTES = 200 * 2**20  # of images and maps: two hundred of 400 px
LOOK_S = 15.0  # between two looks for a new model and new tasks
MOST_PREPARED = 200


class ProbabilityMaps:
    """A thread that computes the map of one image after the other: first what somebody waits for, then open tasks."""

    def __init__(self, store: Store, settings: Settings, *, most_bytes: int = MOST_BYTES) -> None:
        self._store = store
        self._settings = settings
        self._most_bytes = most_bytes
        self._greys: OrderedDict[str, Grey] = OrderedDict()
        self._maps: OrderedDict[str, Probability] = OrderedDict()
        self._wanted: deque[str] = deque()
        self._failed: set[str] = set()
        self._changed = threading.Condition()
        self._computing: str | None = None
        self._stopped = False
        self._model: ModelRow | None = None
        self._predict: Callable[[Grey], Probability] | None = None
        self._config = AssistConfig()
        self._thread = threading.Thread(target=self._run, name="probability-maps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=10)

    @property
    def config(self) -> AssistConfig:
        """How clicks are answered, from the recipe of the active model; the defaults before there is one."""
        return self._config

    def image(self, image_id: str) -> Grey:
        """The image. Raises what `Catalogue.load` raises."""
        with self._changed:
            if image_id in self._greys:
                self._greys.move_to_end(image_id)
                return self._greys[image_id]
        grey = self._store.catalogue.load(image_id)
        with self._changed:
            self._greys[image_id] = grey
            self._make_room()
        return grey

    def probability(self, image_id: str, *, patience_s: float) -> Probability | None:
        """The active model's map of an image; None without a model, and where it takes longer than somebody can wait.

        It is computed all the same, for the next click.
        """
        deadline = time.monotonic() + patience_s
        with self._changed:
            while image_id not in self._maps:
                left = deadline - time.monotonic()
                if self._predict is None or image_id in self._failed or left <= 0 or self._stopped:
                    return None
                self._bring_forward(image_id)
                self._changed.wait(left)
            self._maps.move_to_end(image_id)
            return self._maps[image_id]

    def _bring_forward(self, image_id: str) -> None:
        """Want an image before all others, unless it is being computed."""
        if image_id == self._computing or (self._wanted and self._wanted[0] == image_id):
            return
        if image_id in self._wanted:
            self._wanted.remove(image_id)
        self._wanted.appendleft(image_id)
        self._changed.notify_all()

    def _run(self) -> None:
        next_look = time.monotonic()
        while not self._stopped:
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + LOOK_S
            with self._changed:
                if not self._wanted:
                    self._changed.wait(max(0.0, next_look - time.monotonic()))
                image_id = self._wanted.popleft() if self._wanted and not self._stopped else None
                self._computing = image_id
            if image_id is not None:
                self._compute(image_id)
                with self._changed:
                    self._computing = None

    def _look(self) -> None:
        """Take a new active model, and want the maps of open tasks."""
        try:
            model = self._store.models.active()
            if model is not None and (self._model is None or model.model_id != self._model.model_id):
                self._take(model)
            if model is not None:
                self._want(open_images(self._store)[:MOST_PREPARED])
        except PlanksegError as error:
            log.warning("The assistant goes on with what it knows: %s", error)
        except Exception:  # clicks are answered all the same, and the next look may do better
            log.exception("The assistant goes on with what it knows")

    def _take(self, model: ModelRow) -> None:
        from plankseg.pipeline.models.evaluation import Evaluator  # loads torch, for which the first answer cannot wait

        evaluator = Evaluator.of_model(self._store, model, self._settings)

        def predict(grey: Grey) -> Probability:
            return next(iter(evaluator.predictor.predict([grey], evaluator.framing)))

        with self._changed:
            self._model, self._predict, self._config = model, predict, recipe_of(model).assist
            self._maps.clear()
            self._failed.clear()
        log.info("The assistant uses model %d (%s)", model.round, model.model_id[:8])

    def _want(self, image_ids: Iterable[str]) -> None:
        with self._changed:
            known = {*self._maps, *self._wanted, *self._failed, self._computing}
            is_full = self._bytes() > 0.8 * self._most_bytes  # what is prepared must not push out what somebody uses
            self._wanted.extend(image_id for image_id in image_ids if image_id not in known and not is_full)

    def _compute(self, image_id: str) -> None:
        predict, model = self._predict, self._model
        if predict is None:
            return
        try:
            probability = predict(self.image(image_id))
        except Exception as error:  # whatever it is: this thread must go on for the other images
            log.exception("Image %s has no probability map (%s)", image_id, type(error).__name__)
            with self._changed:
                self._failed.add(image_id)
                self._changed.notify_all()
            return
        with self._changed:
            if model is self._model:
                self._maps[image_id] = probability
                self._make_room()
            self._changed.notify_all()

    def _bytes(self) -> int:
        return sum(array.nbytes for arrays in (self._greys, self._maps) for array in arrays.values())

    def _make_room(self) -> None:
        while self._bytes() > self._most_bytes and len(self._maps) + len(self._greys) > 2:
            (self._maps if len(self._maps) > 1 else self._greys).popitem(last=False)


def open_images(store: Store) -> list[str]:
    """Images that wait for a person: those of the newest round, and those of the validation set."""
    rounds = store.proposals.rounds()
    waiting: list[str] = []
    if rounds:
        answered = {row.image_id for row in store.labels.answered(rounds[-1])}
        waiting = [row.image_id for row in store.proposals.asked(rounds[-1]) if row.image_id not in answered]
    return [*waiting, *unmasked(store)]
