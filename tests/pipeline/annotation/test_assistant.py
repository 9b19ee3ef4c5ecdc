"""A click changes the mask that the person sees, on the image of the task, and never waits for a model."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from plankseg.config import AssistConfig, Settings
from plankseg.errors import BrushError, ImageReadError, MaskShapeError, PlanksegError, PromptError, StoreError
from plankseg.imaging.arrays import Grey, Mask, Probability
from plankseg.labelling.api.regions import read_mask, tools_of
from plankseg.labelling.assist.protocol import AssistAnswer, read_request
from plankseg.pipeline.annotation.assistant import Assistant
from plankseg.pipeline.annotation.probability_maps import ProbabilityMaps, open_images
from plankseg.storage.store import Store
from tests.support.annotation_desk import MASK, PREMASK, SHAPE, Desk
from tests.support.assist_requests import box, painted, prompt, request
from tests.support.little_store import store_with


@pytest.fixture
def maps(desk: Desk) -> ProbabilityMaps:
    """Maps of a store whose model nobody has loaded: no thread runs."""
    return ProbabilityMaps(desk.store, Settings(store=str(desk.store.root)))


@pytest.fixture
def assistant(desk: Desk, maps: ProbabilityMaps) -> Assistant:
    return Assistant(desk.store, maps)


def ask(assistant: Assistant, body: dict[str, Any]) -> AssistAnswer:
    found = read_request(json.dumps(body).encode())
    assert found is not None
    return assistant.answer(found)


def mask_of(answer: AssistAnswer) -> Mask:
    mask = read_mask(list(answer.regions), shape=SHAPE)
    assert mask is not None
    return mask


def test_an_alt_click_takes_away_what_is_under_it_and_a_click_adds_it(desk: Desk, assistant: Assistant) -> None:
    less = ask(assistant, request(desk.ids[0], [prompt(2, 2, SHAPE, positive=False), painted(PREMASK)]))
    assert not mask_of(less)[2, 2]
    more = ask(assistant, request(desk.ids[0], [prompt(30, 30, SHAPE), painted(PREMASK)]))
    assert mask_of(more)[30, 30]
    assert (mask_of(more) | PREMASK == mask_of(more)).all()


def test_clicks_are_counted_over_the_answers(desk: Desk, assistant: Assistant) -> None:
    first = ask(assistant, request(desk.ids[0], [prompt(30, 30, SHAPE), painted(PREMASK)]))
    second = ask(assistant, request(desk.ids[0], [prompt(20, 30, SHAPE), *first.regions]))
    third = ask(assistant, request(desk.ids[0], [box(25, 2, 33, 12, SHAPE), *second.regions]))
    assert [tools_of(list(answer.regions)).clicks for answer in (first, second, third)] == [1, 2, 3]


def test_from_a_page_that_sends_clicks_alone_each_click_goes_on_from_the_last_answer(
    desk: Desk, assistant: Assistant
) -> None:
    saved = [{"id": 3, "updated_at": "2026-05-04T10:00:00Z", "result": [painted(PREMASK)]}]
    ask(assistant, request(desk.ids[0], [prompt(30, 30, SHAPE)], drawn=False, drafts=saved))
    second = ask(assistant, request(desk.ids[0], [prompt(20, 30, SHAPE)], drawn=False, drafts=saved))
    assert mask_of(second)[[30, 20], 30].all(), "nothing was saved since, so the first answer is what is on the screen"
    later = [{"id": 3, "updated_at": "2026-05-04T10:00:09Z", "result": [painted(MASK)]}]
    third = ask(assistant, request(desk.ids[0], [prompt(20, 30, SHAPE)], drawn=False, drafts=later))
    assert not mask_of(third)[30, 30], "a draft that was saved since counts"


def test_a_task_that_is_not_ours_is_refused_with_what_to_do(assistant: Assistant) -> None:
    body = request("x", [prompt(2, 2, SHAPE)])
    body["tasks"][0]["data"] = {"image": "/data/upload/1/x.png"}
    with pytest.raises(PromptError, match=r"not pushed by plankseg.*Paint its mask"):
        ask(assistant, body)


def test_an_image_that_is_not_in_the_catalogue_is_refused(assistant: Assistant) -> None:
    with pytest.raises(PlanksegError):
        ask(assistant, request("f" * 64, [prompt(2, 2, SHAPE)]))


def test_a_file_that_is_gone_or_damaged_is_refused(desk: Desk, assistant: Assistant) -> None:
    path = desk.store.catalogue.path(desk.ids[0])
    path.write_bytes(b"no image")
    with pytest.raises((ImageReadError, StoreError)):
        ask(assistant, request(desk.ids[0], [prompt(2, 2, SHAPE)]))
    path.unlink()
    with pytest.raises(StoreError):
        ask(assistant, request(desk.ids[0], [prompt(2, 2, SHAPE)]))


@pytest.mark.parametrize(("y", "x"), [(-5, 2), (2, -5), (400, 2), (2, 400), (float("nan"), 2)])
def test_a_click_outside_the_image_is_refused(desk: Desk, assistant: Assistant, y: float, x: float) -> None:
    with pytest.raises(PromptError):
        ask(assistant, request(desk.ids[0], [prompt(y, x, SHAPE)]))


def test_a_mask_that_cannot_be_read_is_never_replaced(desk: Desk, assistant: Assistant) -> None:
    broken = painted(PREMASK)
    broken["value"]["rle"] = broken["value"]["rle"][:9]
    with pytest.raises(BrushError, match="so it is unchanged"):
        ask(assistant, request(desk.ids[0], [prompt(2, 2, SHAPE), broken]))


def test_two_people_at_once_get_what_each_would_get_alone(desk: Desk, assistant: Assistant) -> None:
    bodies = [
        request(desk.ids[number % 2], [prompt(4 + number, 30, SHAPE), painted(PREMASK if number % 3 else MASK)])
        for number in range(24)
    ]
    alone = [mask_of(ask(assistant, body)) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = [mask_of(answer) for answer in pool.map(lambda body: ask(assistant, body), bodies)]
    np.testing.assert_array_equal(together, alone)


# --- maps ------------------------------------------------------------------------------------------------------------


class Slow:
    """A network that answers when it is let."""

    def __init__(self) -> None:
        self.allowed = threading.Event()
        self.seen: list[tuple[int, int]] = []

    def __call__(self, grey: Grey) -> Probability:
        self.seen.append(grey.shape)
        self.allowed.wait(20)
        return np.full(grey.shape, 0.25)


@pytest.fixture
def slow(desk: Desk, maps: ProbabilityMaps, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """Maps at work with a network that waits, as beside a training."""
    network = Slow()

    def take(model: Any) -> None:
        maps._model, maps._predict, maps._config = model, network, AssistConfig(fill_holes_px=0)

    monkeypatch.setattr(maps, "_take", take)
    with maps:
        until(lambda: maps._predict is not None)
        yield network
        network.allowed.set()


def until(holds: Any) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_click_does_not_wait_for_a_network_that_is_kept_busy(desk: Desk, maps: ProbabilityMaps, slow: Slow) -> None:
    until(lambda: slow.seen)
    answer = ask(Assistant(desk.store, maps, patience_s=0.01), request(desk.ids[3], [prompt(30, 30, SHAPE)]))
    assert mask_of(answer)[30, 30]
    assert maps.probability(desk.ids[3], patience_s=0) is None


def test_open_tasks_are_prepared_and_nothing_is_computed_twice(desk: Desk, maps: ProbabilityMaps, slow: Slow) -> None:
    slow.allowed.set()
    until(lambda: all(maps.probability(image_id, patience_s=0) is not None for image_id in desk.ids))
    assert len(slow.seen) == len(desk.ids)
    assert maps.config.fill_holes_px == 0, "the recipe of the active model counts"


def test_the_map_of_an_image_that_somebody_waits_for_comes_first(desk: Desk, maps: ProbabilityMaps, slow: Slow) -> None:
    until(lambda: slow.seen)  # the first one is being computed, the others wait
    waiting = threading.Thread(target=lambda: maps.probability(desk.ids[3], patience_s=20))
    waiting.start()
    until(lambda: maps._wanted and maps._wanted[0] == desk.ids[3])
    slow.allowed.set()
    waiting.join(20)
    assert maps.probability(desk.ids[3], patience_s=0) is not None


def test_memory_is_bounded(desk: Desk) -> None:
    maps = ProbabilityMaps(desk.store, Settings(store=str(desk.store.root)), most_bytes=3 * SHAPE[0] * SHAPE[1])
    for image_id in desk.ids:
        maps.image(image_id)
    assert len(maps._greys) == 3


def test_images_that_were_answered_are_not_prepared(desk: Desk) -> None:
    assert open_images(desk.store) == desk.ids
    desk.answer(1, MASK)
    desk.collect()
    assert open_images(desk.store) == [image_id for image_id in desk.ids if image_id != desk.ids[1]]


def test_without_a_model_clicks_are_answered_and_the_validation_set_is_what_waits(tmp_path: Any) -> None:
    store: Store = store_with(tmp_path, pool=1)
    (image_id,) = store.catalogue.ids("pool")
    with ProbabilityMaps(store, Settings(store=str(store.root))) as maps:
        answer = ask(Assistant(store, maps), request(image_id, [prompt(30, 30, SHAPE)]))
    assert mask_of(answer)[30, 30]
    assert open_images(store) == []


def test_a_map_of_another_size_is_a_mistake_that_is_not_hidden(desk: Desk, maps: ProbabilityMaps) -> None:
    maps._maps[desk.ids[0]] = np.zeros((3, 3))
    with pytest.raises(MaskShapeError):
        ask(Assistant(desk.store, maps), request(desk.ids[0], [prompt(30, 30, SHAPE)]))
