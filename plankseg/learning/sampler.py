"""Weighted draws of an epoch: which images are shown and how each is augmented; corrections weigh more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from plankseg.learning.process_rank import SINGLE_PROCESS, ProcessRank


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of an epoch: its index in the training set and the seed of its augmentation."""

    index: int
    augmentation_seed: int


class WeightedDraws(Sampler[Draw]):  # type: ignore[misc]
    """Draws with replacement, in proportion to the weights; a function of (seed, epoch) and of nothing else.

    The augmentation seeds are drawn here, in the main process, so the squares do not depend on the number of loader
    workers. Lightning calls `set_epoch` with its own count at the start of every epoch; `first_epoch` is added, so
    that a resumed training draws what it would have drawn without the interruption. With n processes each has every
    n-th draw, so that a step of all of them is the step of one process alone; a remainder at the end is dropped.
    """

    def __init__(
        self,
        weights: Sequence[float],
        *,
        draws: int,
        seed: int,
        first_epoch: int = 0,
        process: ProcessRank = SINGLE_PROCESS,
    ) -> None:
        shares = np.asarray(weights, dtype=np.float64)
        if shares.size == 0 or not np.isfinite(shares).all() or (shares <= 0).any():
            raise ValueError("The weights of the images must be positive numbers, at least one of them.")
        self._shares = shares / shares.sum()
        self.draws = draws
        self._seed = seed
        self._first_epoch = first_epoch
        self._process = process
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of the next pass; called by Lightning, counted from 0 in every run of its Trainer."""
        self._epoch = epoch

    def indices(self, epoch: int) -> np.ndarray:
        """The drawn images of an epoch (counted over interruptions), in order: int64 (draws)."""
        return self._stream(epoch)[0]

    def __len__(self) -> int:
        return self.draws // self._process.world_size

    def __iter__(self) -> Iterator[Draw]:
        mine = slice(self._process.rank, len(self) * self._process.world_size, self._process.world_size)
        yield from self.of_all_processes()[mine]

    def of_all_processes(self) -> list[Draw]:
        """The draws of the pass that `set_epoch` chose, of all processes together."""
        indices, seeds = self._stream(self._first_epoch + self._epoch)
        return [Draw(index, seed) for index, seed in zip(indices.tolist(), seeds.tolist(), strict=True)]

    def _stream(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self._seed, epoch])
        indices = rng.choice(self._shares.size, size=self.draws, p=self._shares)
        return indices, rng.integers(2**32, size=self.draws)


class SideBatches(Sampler[list[Draw]]):  # type: ignore[misc]
    """Batches of draws whose squares have one side, in the order in which they are full; then what is left of each.

    Of several processes each has the same number of batches, with its share of each: a step has one side everywhere.
    What is left of a side and too little for two images in each process is dropped: batch-norm needs two. There is no
    length, since that depends on the draws of the epoch.
    """

    def __init__(
        self, draws: WeightedDraws, sides: Sequence[int], *, size: int, process: ProcessRank = SINGLE_PROCESS
    ) -> None:
        self.sampler = draws  # Lightning calls its `set_epoch`
        self._sides = sides
        self._size = size
        self._process = process

    def __iter__(self) -> Iterator[list[Draw]]:
        waiting: dict[int, list[Draw]] = {}
        processes = self._process.world_size
        for draw in self.sampler.of_all_processes():
            side = self._sides[draw.index]
            batch = waiting.setdefault(side, [])
            batch.append(draw)
            if len(batch) == self._size * processes:
                yield waiting.pop(side)[self._process.rank :: processes]
        for _, batch in sorted(waiting.items()):
            shared = len(batch) // processes
            if shared >= 2:
                yield batch[: shared * processes][self._process.rank :: processes]
