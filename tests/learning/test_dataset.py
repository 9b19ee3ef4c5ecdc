"""What training reads."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from plankseg.errors import MaskShapeError
from plankseg.imaging.framing import Framing
from plankseg.imaging.masks import dice
from plankseg.learning.augmentation.compositions import COMPOSITIONS, compose
from plankseg.learning.dataset import Example, Source, TrainingSquares, ValidationSet
from plankseg.learning.network.forward import Predictor
from plankseg.learning.sampler import Draw, WeightedDraws
from plankseg.learning.trainer import _prepare_worker
from tests.support import tiny_training as tiny

pytestmark = pytest.mark.slow

SOURCE = Source(tiny.load, tiny.load_mask)


def squares(*, source: Source = SOURCE, cache_bytes: int = 2**20, augmentation: str = "affine") -> TrainingSquares:
    references = np.random.default_rng(2).integers(100, 240, (5, 32, 32), dtype=np.uint8)
    composition = compose(augmentation, 32, references)
    side = composition.side_px
    return TrainingSquares(
        tiny.EXAMPLES, source, framing=Framing(side), compositions={side: composition}, cache_bytes=cache_bytes
    )


def epochs(workers: int, count: int = 2, augmentation: str = "affine") -> list[torch.Tensor]:
    """All squares of a few epochs, as the loader gives them."""
    draws = WeightedDraws([example.weight for example in tiny.EXAMPLES], draws=12, seed=5)
    loader = DataLoader(
        squares(augmentation=augmentation),
        batch_size=4,
        sampler=draws,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_prepare_worker,
    )
    found = []
    for epoch in range(count):
        draws.set_epoch(epoch)
        found.append(torch.cat([torch.cat([images, masks.expand(-1, 3, -1, -1)]) for images, masks in loader]))
    return found


@pytest.mark.parametrize("augmentation", COMPOSITIONS)
def test_streams_are_the_same_with_any_number_of_loader_processes(augmentation):
    alone = epochs(0, augmentation=augmentation)
    assert not torch.equal(*alone)
    for workers in (1, 2):
        for epoch, shared in zip(alone, epochs(workers, augmentation=augmentation), strict=True):
            torch.testing.assert_close(epoch, shared, rtol=0, atol=0)


def test_an_image_drawn_again_is_varied_differently():
    first, second = epochs(0)
    assert not torch.equal(first, second)
    dataset = squares()
    seen = {dataset[Draw(0, seed)][0].numpy().tobytes() for seed in range(20)}
    assert len(seen) > 15


def test_squares_that_do_not_fit_into_memory_are_read_again_with_the_same_result():
    kept, reread = squares(), squares(cache_bytes=3 * 2 * 32 * 32)
    for index in range(len(tiny.EXAMPLES)):
        for ours, theirs in zip(kept[Draw(index, 9)], reread[Draw(index, 9)], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_squares_in_memory_are_read_once():
    reads: Counter[str] = Counter()

    def load(image_id: str) -> np.ndarray:
        reads[image_id] += 1
        return tiny.load(image_id)

    dataset = squares(source=Source(load, tiny.load_mask), cache_bytes=3 * 2 * 32 * 32)
    for seed in range(4):
        dataset[Draw(0, seed)]
        dataset[Draw(7, seed)]
    assert reads[tiny.EXAMPLES[0].image_id] == 1
    assert reads[tiny.EXAMPLES[7].image_id] == 5


def test_a_mask_of_another_size_is_refused_by_the_images_name():
    source = Source(tiny.load, lambda image_id: tiny.load_mask(image_id)[1:])
    with pytest.raises(MaskShapeError, match="image source-0 is"):
        squares(source=source)
    with pytest.raises(MaskShapeError, match="image a is"):
        ValidationSet([Example("a", 1.0)], source, framing=Framing(32))


class BrightIsGround(torch.nn.Module):
    """Finds the dark disc by its grey value."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return -20 * batch[:, :1]


def test_validation_scores_are_those_of_the_native_sizes():
    judged = ValidationSet(tiny.VALIDATION, SOURCE, framing=Framing(16))
    scores = judged.score(Predictor(BrightIsGround(), torch.device("cpu"), "fp32", forward_batch=2))
    assert list(scores.dice) == [example.image_id for example in tiny.VALIDATION]
    for image_id, value in scores.dice.items():
        # the threshold finds the disc itself at native size: what is lost is lost by the 16 px square
        exact = dice(tiny.load(image_id) < 128, tiny.load_mask(image_id))
        assert exact == 1.0
        assert 0.8 < value < 1.0


def test_a_loader_process_ends_well_though_an_exit_handler_of_its_parent_fails_in_it():
    program = """
import os, sys, threading, torch
from torch.utils.data import DataLoader, TensorDataset
from plankseg.learning.trainer import _prepare_worker
parent = os.getpid()
threading._register_atexit(lambda: None if os.getpid() == parent else 1 / 0)  # as Prefect does
loader = DataLoader(
    TensorDataset(torch.arange(8)),
    num_workers=1,
    multiprocessing_context="fork",
    worker_init_fn=_prepare_worker if sys.argv[1] == "prepared" else None,
)
batches = iter(loader)
(worker,) = batches._workers
print(len(list(batches)))
worker.join()
print(worker.exitcode)
"""

    def run(preparation: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, preparation], capture_output=True, text=True, check=False)

    prepared = run("prepared")
    assert prepared.stdout.split() == ["8", "0"], prepared.stderr
    # torch may notice the failed process while it still loads (an error) or not (its exit code alone tells)
    assert run("unprepared").stdout.split() != ["8", "0"], "without it the handler does fail"


def test_a_share_of_the_draws_gets_neighbours_and_none_of_their_masks() -> None:
    composition = compose("basic", 32, None)

    def drawn(share: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
        dataset = TrainingSquares(
            tiny.EXAMPLES, SOURCE, framing=Framing(32), compositions={32: composition}, neighbour_share=share
        )
        return [dataset[Draw(seed % len(dataset), seed)] for seed in range(40)]

    without, some, always = drawn(0.0), drawn(0.5), drawn(1.0)
    changed = [
        sum(not torch.equal(image, plain) for (image, _), (plain, _) in zip(found, without, strict=True))
        for found in (some, always)
    ]
    assert 8 < changed[0] < 32
    assert changed[1] > 30
    for (_, mask), (_, plain) in zip(always, without, strict=True):
        assert torch.equal(mask, plain)
