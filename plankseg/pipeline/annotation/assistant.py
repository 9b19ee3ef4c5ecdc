"""Answer clicks in Label Studio: find the image of a task, the mask on the screen, and repair it."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from plankseg.config import Settings
from plankseg.errors import AnswerError, BrushError, PromptError
from plankseg.interactive.repair import repair_mask
from plankseg.labelling.api.regions import clicks_of
from plankseg.labelling.api.tasks import Task
from plankseg.labelling.assist.protocol import (
    AssistAnswer,
    AssistRequest,
    DrawnRegion,
    answer_regions,
    read_prompts,
    read_regions,
)
from plankseg.pipeline.annotation.probability_maps import ProbabilityMaps
from plankseg.storage.store import Store

log = logging.getLogger(__name__)

FIRST_MAP_S = 0.5  # for the map of an image that nobody prepared; the first answer of an image comes within a second
MOST_REMEMBERED = 50
THREADS = 1  # with two on a busy machine torch waits for its own threads: 555 ms instead of 14 at 400 px
NOT_OURS = (
    "This task was not pushed by plankseg, so the assistant does not know its image. Paint its mask; the answer is "
    "taken if the image was ingested."
)


class Assistant:
    """Answers for the tasks of one store. Requests may come from several threads at once: none changes another's."""

    def __init__(self, store: Store, maps: ProbabilityMaps, *, patience_s: float = FIRST_MAP_S) -> None:
        self._store = store
        self._maps = maps
        self._patience_s = patience_s
        self._answered: OrderedDict[tuple[int, str], tuple[Task, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, request: AssistRequest) -> AssistAnswer:
        """What the regions of the task become.

        Raises PromptError for a task or a prompt that cannot be answered, BrushError for a mask that cannot be read,
        and what `Catalogue.load` raises.
        """
        if request.owner is None:
            raise PromptError(NOT_OURS)
        grey = self._maps.image(request.owner.image_id)
        prompts = read_prompts(request, shape=grey.shape)
        drawn = self._drawn(request, grey.shape)
        mask = np.zeros(grey.shape, dtype=bool)
        for _, region in drawn:
            mask |= region
        probability = self._maps.probability(request.owner.image_id, patience_s=self._patience_s)
        repaired = repair_mask(grey, probability, mask, prompts, self._maps.config)
        asked = len(prompts.clicks) + (prompts.box is not None)
        regions = answer_regions(drawn, repaired, clicks=clicks_of([region for region, _ in drawn]) + asked)
        self._remember(request, regions)
        return AssistAnswer(regions)

    def _drawn(self, request: AssistRequest, shape: tuple[int, int]) -> list[DrawnRegion]:
        """The regions so far: those on the screen, or the last answer, if Label Studio saved nothing since."""
        regions: tuple[Mapping[str, Any], ...] = request.regions
        if not request.is_on_screen:
            with self._lock:
                regions = self._answered.get((request.task_id, request.saved_at), regions)
        try:
            return read_regions(regions, shape=shape)
        except AnswerError:
            raise
        except BrushError as error:
            raise BrushError(f"The mask on the screen cannot be read, so it is unchanged. {error}") from error

    def _remember(self, request: AssistRequest, regions: tuple[Task, ...]) -> None:
        if request.is_on_screen:
            return
        with self._lock:
            self._answered[request.task_id, request.saved_at] = regions
            self._answered.move_to_end((request.task_id, request.saved_at))
            while len(self._answered) > MOST_REMEMBERED:
                self._answered.popitem(last=False)


@contextmanager
def assistant_of(settings: Settings) -> Iterator[Assistant]:
    """An assistant for the store of the settings, with its thread."""
    store = Store.open(settings.store_location, max_image_pixels=settings.max_image_pixels)
    with ExitStack() as stack:
        maps = stack.enter_context(ProbabilityMaps(store, settings))
        yield Assistant(store, maps)


def bound_threads() -> None:
    """Let one process compute on few threads: a training may need the others, and answers are short."""
    import cv2
    import torch

    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)
