import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from plankseg.config import QueryConfig
from plankseg.errors import ImageReadError, ScoreError
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.inference import prefetch
from plankseg.inference.backends import plain_backend
from plankseg.inference.prediction import Prediction, agreement_of
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.prefetch import Unreadable
from plankseg.inference.tta import View, dihedral_views, recipe_views
from tests.support.tiny_networks import SIDE, pictures, tiny_network

pytestmark = pytest.mark.slow
QUERY = QueryConfig(forward_batch=15, noise_sd=0.1)


def predictions(
    ids: list[str], views: tuple[View, ...], load: object = None, network: torch.nn.Module | None = None
) -> Iterator[Prediction | Unreadable]:
    backend = plain_backend(network or tiny_network(), "cpu")
    predictor = TTAPredictor(backend, load or pictures().__getitem__, QUERY, Framing(SIDE), views)
    return (prediction for batch in predictor.batches(ids) for prediction in batch)


def test_it_finds_what_the_proposal_would_show() -> None:
    ids = list(pictures())
    found = list(predictions(ids, recipe_views(QUERY.noise_sd)))
    shown = TTAPredictor(plain_backend(tiny_network(), "cpu"), pictures().__getitem__, QUERY, Framing(SIDE)).predict(
        ids
    )
    for prediction, other in zip(found, shown, strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.image_id == other.image_id
        assert np.array_equal(prediction.probability, other.probability)
        assert prediction.agreement is not None
        assert 0 <= prediction.agreement <= 1


def test_one_view_has_nobody_to_agree_with() -> None:
    found = list(predictions(list(pictures()), recipe_views(0.0)[:1]))
    assert [prediction.agreement for prediction in found if isinstance(prediction, Prediction)] == [None] * len(
        pictures()
    )


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_found_as_without_it() -> None:
    ids = list(pictures())

    def load(image_id: str) -> np.ndarray:
        if image_id == ids[2]:
            raise ImageReadError("It is torn.")
        return pictures()[image_id]

    found = list(predictions(ids, recipe_views(0.0), load))
    assert found[2] == Unreadable(ids[2], "It is torn.")
    whole = list(predictions(ids, recipe_views(0.0)))
    for prediction, other in zip([*found[:2], *found[3:]], [*whole[:2], *whole[3:]], strict=True):
        assert isinstance(prediction, Prediction)
        assert isinstance(other, Prediction)
        assert np.allclose(prediction.square_probability, other.square_probability, atol=1e-6)


def test_a_batch_in_which_nothing_can_be_read_is_no_fault() -> None:
    def load(image_id: str) -> np.ndarray:
        raise ImageReadError("It is torn.")

    assert len(list(predictions(list(pictures()), recipe_views(0.0), load))) == len(pictures())
    assert list(predictions([], recipe_views(0.0), load)) == []


def test_only_a_few_batches_are_read_ahead() -> None:
    read: list[str] = []
    lock = threading.Lock()

    def load(image_id: str) -> np.ndarray:
        with lock:
            read.append(image_id)
        return np.zeros((9, 9), np.uint8)

    found = predictions([f"image-{n}" for n in range(300)], dihedral_views(), load)
    next(found)
    assert len(read) <= (prefetch.BATCHES_AHEAD + 1) * (QUERY.forward_batch // 8)
    found.close()  # type: ignore[attr-defined]
    gc.collect()  # the inner generator, which holds the threads, goes with the outer one
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_agreement_is_the_mean_dice_to_the_mask_of_the_mean() -> None:
    letterbox = Letterbox.of((4, 8), 8)  # rows 2 to 5 of the square are the image
    views = np.zeros((2, 8, 8), np.float32)
    views[0, 2:6, 0:4] = 1
    views[1, 2:6, 0:2] = 1
    views[:, 0] = 1  # padding, which must not count
    mean = views.mean(0)
    # the mean's mask is where it is at least a half: the larger one
    assert agreement_of(views, mean, letterbox) == pytest.approx((1 + 2 * 8 / (8 + 16)) / 2)
    assert agreement_of(np.zeros((3, 8, 8), np.float32), np.zeros((8, 8), np.float32), letterbox) == 1.0


def test_a_model_without_a_number_names_the_image() -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1] * float("nan")

    with pytest.raises(ScoreError, match="image-0"):
        list(predictions(["image-0"], recipe_views(0.0), network=Broken()))
