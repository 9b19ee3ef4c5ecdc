"""Progress bars for the terminal, and throttled progress messages for logs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

Told = Callable[[int, int | None], None]


@contextmanager
def counting(console: Console, title: str, *, unit: str) -> Iterator[Told]:
    """A bar of things done, with so many a second; it takes done and total."""
    with _bar(console, MofNCompleteColumn(), _PerSecond(unit), TimeRemainingColumn()) as bar:
        yield _updating(bar, title)


@contextmanager
def downloading(console: Console, title: str) -> Iterator[Told]:
    """A bar of bytes that came, with their speed; it takes bytes here and bytes in all."""
    with _bar(console, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
        yield _updating(bar, title)


def _bar(console: Console, *columns: ProgressColumn) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=console)


def _updating(bar: Progress, title: str) -> Told:
    task = bar.add_task(title, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


class _PerSecond(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """The mean speed since the bar began, once something is done: that of the last moment says little of parts."""
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        digits = 0 if speed >= 10 else 1
        return Text(f"{speed:,.{digits}f} {self._unit}/s" if task.completed else "", style="progress.data.speed")


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


class Throttled:
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
