"""How far is a long piece of work, and how fast does it go?"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """So many of so many done, at so many a second since the work began."""

    done: int
    total: int
    per_second: float

    @property
    def percent(self) -> float:
        """How much is done, 0 to 100."""
        return 100 * self.done / self.total if self.total else 100.0

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} images, {self.per_second:,.0f} images/s"


class NowAndThen:
    """Listens to every step and tells the pace every few seconds, and at the last step."""

    def __init__(self, tell: Callable[[Pace], None], *, every_s: float, clock: Callable[[], float] = time.monotonic):
        self._tell, self._every_s, self._clock = tell, every_s, clock
        self._began = self._told = clock()

    def __call__(self, done: int, total: int) -> None:
        """Take a step into account."""
        now = self._clock()
        if done >= total or now - self._told >= self._every_s:
            self._told = now
            self._tell(Pace(done, total, done / max(now - self._began, 1e-9)))
