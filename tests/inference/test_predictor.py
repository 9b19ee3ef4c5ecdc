import math

import numpy as np
import pytest
import torch

from plankseg.config import QueryConfig
from plankseg.errors import ImageReadError, ScoreError
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.inference import prefetch
from plankseg.inference.backends import plain_backend
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Unreadable
from plankseg.inference.tta import recipe_views
from plankseg.inference.uncertainty import mean_inside
from plankseg.learning.network.preprocessing import batch_tensor
from tests.support.tiny_networks import SHAPES, SIDE, Function, pictures, tiny_network

pytestmark = pytest.mark.slow


def scored(network: torch.nn.Module, ids: list[str], **query: object) -> dict[str, float]:
    return TTAPredictor(
        plain_backend(network, "cpu"), pictures().__getitem__, QueryConfig(**query), Framing(SIDE)
    ).score(ids)


VARIANTS = [
    {},
    {"views": "dihedral", "measure": "jsd"},
    {"measure": "entropy", "region": "band", "noise_sd": 0.1},
    {"measure": "conventional"},
]


@pytest.mark.parametrize("query", VARIANTS)
def test_a_score_does_not_depend_on_the_company(query: dict[str, object]) -> None:
    network = tiny_network()
    together = scored(network, list(pictures()), **query)
    assert list(together) == sorted(pictures())
    for image_id, value in together.items():
        assert scored(network, [image_id], **query)[image_id] == value
    assert len({round(value, 7) for value in together.values()}) == len(SHAPES)


@pytest.mark.parametrize("query", VARIANTS)
def test_scores_do_not_depend_on_the_pools_order_to_the_last_bit(query: dict[str, object]) -> None:
    network = tiny_network()
    ids = list(pictures())
    assert scored(network, ids, **query) == scored(network, [*reversed(ids), ids[2]], **query)


@pytest.mark.parametrize("forward_batch", [1, 3, 5, 11, 1000])
def test_the_size_of_the_forward_pass_changes_no_score(forward_batch: int) -> None:
    expected = scored(tiny_network(), list(pictures()))
    found = scored(tiny_network(), list(pictures()), forward_batch=forward_batch)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_score_is_the_published_one_computed_by_hand() -> None:
    network = tiny_network().eval()
    grey = pictures()["image-0"]
    letterbox = Letterbox.of(grey.shape, SIDE)
    square = letterbox.apply(grey)
    noisy = recipe_views(0.02)[-1].do(torch.from_numpy(square[None]), ["image-0"]).numpy()[0]
    seen = [square, square[:, ::-1], square[::-1], np.rot90(square), noisy]
    with torch.no_grad():
        answers = torch.sigmoid(network(batch_tensor(np.stack(seen))))[:, 0].numpy()
    undone = [answers[0], answers[1][:, ::-1], answers[2][::-1], np.rot90(answers[3], -1), answers[4]]
    expected = mean_inside(np.var(undone, axis=0), letterbox)
    assert expected > 1e-5
    assert scored(network, ["image-0"])["image-0"] == pytest.approx(expected, rel=1e-4)


def test_a_network_that_treats_every_view_alike_has_no_uncertainty() -> None:
    by_pixel = Function(lambda x: x[:, :1] * 3)
    found = scored(by_pixel, list(pictures()), views="dihedral")
    assert max(found.values()) < 1e-12  # a wrong inverse anywhere would leave the noise images' own variance


def test_bf16_scores_are_near_those_of_fp32_and_as_independent_of_the_company() -> None:
    query, ids, load = QueryConfig(), list(pictures()), pictures().__getitem__
    exact = scored(tiny_network(), ids)
    backend = plain_backend(tiny_network(), "cpu", "bf16")
    rough = TTAPredictor(backend, load, query, Framing(SIDE)).score(ids)
    alone = TTAPredictor(backend, load, query, Framing(SIDE)).score(ids[:1])
    assert rough != exact
    assert rough == pytest.approx(exact, rel=0.05)
    assert alone[ids[0]] == rough[ids[0]]


def test_views_of_many_images_share_a_forward_pass_which_is_always_full_and_never_larger_than_asked() -> None:
    network = Function(lambda x: x[:, :1])
    scored(network, list(pictures()), forward_batch=16)
    assert network.batches == [15, 15, 15]
    network.batches.clear()
    scored(network, list(pictures())[:2], forward_batch=3)
    assert network.batches == [3, 3, 3, 3]


def test_large_squares_share_a_forward_pass_with_fewer() -> None:
    def rows(side_px: int) -> int:
        return TTAPredictor(
            plain_backend(tiny_network(), "cpu"), pictures().get, QueryConfig(), Framing(side_px)
        ).forward_rows(side_px)

    assert [rows(side_px) for side_px in (32, 256, 512, 2048)] == [32, 32, 8, 1]


def test_memory_is_bounded_a_few_batches_are_read_ahead() -> None:
    read: list[str] = []
    seen: list[int] = []

    def load(image_id: str) -> np.ndarray:
        read.append(image_id)
        return pictures()["image-0"]

    network = Function(lambda x: (seen.append(len(read)), x[:, :1])[1])
    query = QueryConfig(forward_batch=10)
    backend = plain_backend(network, "cpu")
    TTAPredictor(backend, load, query, Framing(SIDE)).score([f"{n:03d}" for n in range(60)])
    assert sorted(read) == [f"{n:03d}" for n in range(60)]
    assert all(ahead <= 2 * (done + prefetch.BATCHES_AHEAD + 1) for done, ahead in enumerate(seen))


def test_an_image_that_cannot_be_read_is_named_or_raises() -> None:
    named: list[Unreadable] = []
    told: list[tuple[int, int]] = []
    expected = scored(tiny_network(), list(pictures()))

    def load(image_id: str) -> np.ndarray:
        if image_id == "image-1":
            raise ImageReadError("It is torn.")
        return pictures()[image_id]

    backend, query = plain_backend(tiny_network(), "cpu"), QueryConfig(forward_batch=10)
    predictor = TTAPredictor(backend, load, query, Framing(SIDE))
    found = predictor.score(list(pictures()), on_unreadable=named.append, on_progress=lambda *n: told.append(n))
    assert named == [Unreadable("image-1", "It is torn.")]
    assert found == pytest.approx({name: value for name, value in expected.items() if name != "image-1"}, abs=1e-6)
    assert told[-1] == (7, 7)
    with pytest.raises(ImageReadError, match="torn"):
        TTAPredictor(backend, load, query, Framing(SIDE)).score(list(pictures()))
    with pytest.raises(ImageReadError, match="torn"):
        list(TTAPredictor(backend, load, query, Framing(SIDE)).predict(list(pictures())))


def test_repeated_ids_are_loaded_once_and_progress_counts_images() -> None:
    loaded: list[str] = []
    told: list[tuple[int, int]] = []

    def load(image_id: str) -> np.ndarray:
        loaded.append(image_id)
        return pictures()[image_id]

    ids = ["image-2", "image-1", "image-2", "image-0", "image-1"]
    query = QueryConfig(forward_batch=10)
    backend = plain_backend(tiny_network(), "cpu")
    TTAPredictor(backend, load, query, Framing(SIDE)).score(ids, on_progress=lambda *n: told.append(n))
    assert sorted(loaded) == ["image-0", "image-1", "image-2"]
    assert told == [(2, 3), (3, 3)]


def test_nothing_to_score_is_no_score() -> None:
    assert scored(tiny_network(), []) == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_not_finite_names_its_image(bad: float) -> None:
    black, others = np.zeros((8, 8), dtype=np.uint8), np.full((8, 8), 200, dtype=np.uint8)
    images = {"fine-1": others, "culprit": black, "fine-2": others}
    darkest = batch_tensor(np.zeros((1, SIDE, SIDE), dtype=np.uint8)).mean().item()

    def answer(x: torch.Tensor) -> torch.Tensor:
        logits = x[:, :1].clone()
        is_black = (x.mean((1, 2, 3)) - darkest).abs() < 0.2
        logits[is_black, 0, 3, 4] = bad  # one pixel is enough
        return logits

    with pytest.raises(ScoreError, match=r"not finite for culprit\."):
        TTAPredictor(plain_backend(Function(answer), "cpu"), images.__getitem__, QueryConfig(), Framing(SIDE)).score(
            list(images)
        )


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"answers \(30, 3, 32, 32\) where \(30, 1, 32, 32\)"):
        scored(Function(lambda x: x), ["image-0"])


def test_the_modes_of_the_network_are_restored_one_by_one() -> None:
    network = tiny_network().train()
    network[1].eval()  # as the frozen encoder's batch-norm
    before = {name: value.clone() for name, value in network.state_dict().items()}
    scored(network, ["image-0"])
    assert [module.training for module in network] == [True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    with pytest.raises(ScoreError):
        scored(network.append(torch.nn.Conv2d(1, 2, 1)), ["image-0"])
    assert network.training


def test_predictions_have_native_sizes_in_the_order_asked_with_the_scores() -> None:
    ids = ["image-3", "image-0", "image-2", "image-0"]
    images = pictures()
    query = QueryConfig(measure="jsd")
    predictor = TTAPredictor(plain_backend(tiny_network(), "cpu"), images.__getitem__, query, Framing(SIDE))
    predictions = list(predictor.predict(ids))
    scores = predictor.score(ids)
    assert [prediction.image_id for prediction in predictions] == ["image-3", "image-0", "image-2"]
    for prediction in predictions:
        assert prediction.probability.shape == prediction.uncertainty_map.shape == images[prediction.image_id].shape
        assert prediction.uncertainty == pytest.approx(scores[prediction.image_id], abs=1e-6)
        assert 0 <= prediction.probability.min() <= prediction.probability.max() <= 1


def test_predicted_maps_lie_where_the_object_lies() -> None:
    grey = np.full((SIDE, SIDE // 2), 255, dtype=np.uint8)
    grey[3:9, 2:7] = 0
    bright = batch_tensor(np.full((1, SIDE, SIDE), 255, dtype=np.uint8))[0, 0, 0, 0]
    is_dark = Function(lambda x: torch.where(x[:, :1] < bright - 1, 9.0, -9.0))
    for views in ("recipe", "dihedral"):
        query = QueryConfig(views=views)
        (prediction,) = TTAPredictor(
            plain_backend(is_dark, "cpu"), {"a": grey}.__getitem__, query, Framing(SIDE)
        ).predict(["a"])
        assert np.array_equal(prediction.mask, grey == 0)


NATIVE = Framing(160, 2.0)


def native_scores(ids: list[str], network: torch.nn.Module) -> dict[str, float]:
    greys = pictures()
    predictor = TTAPredictor(plain_backend(network, "cpu"), greys.__getitem__, QueryConfig(), NATIVE)
    return predictor.score(ids or list(greys))


def test_images_at_their_own_scale_are_scored_in_squares_of_several_sides_each_alone_to_the_last_bit() -> None:
    network = tiny_network()
    assert {NATIVE.letterbox(shape).side for shape in SHAPES} == {96, 128, 160}
    together = native_scores([], network)
    assert list(together) == sorted(pictures())
    for image_id, score in together.items():
        assert native_scores([image_id], network) == {image_id: score}


def test_predictions_come_in_the_order_given_whatever_the_sides_of_their_squares() -> None:
    greys = pictures()
    ids = [*reversed(greys)]
    predictor = TTAPredictor(plain_backend(tiny_network(), "cpu"), greys.__getitem__, QueryConfig(), NATIVE)
    found = list(predictor.predict(ids))
    assert [prediction.image_id for prediction in found] == ids
    assert all(prediction.probability.shape == greys[prediction.image_id].shape for prediction in found)
