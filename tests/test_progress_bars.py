"""The pace is told now and then, and at the end."""

import io
import re
from time import sleep

from rich.console import Console

from plankseg.progress_bars import Pace, Throttled, counting


def test_the_pace_is_told_every_few_seconds_and_at_the_last_step() -> None:
    told: list[Pace] = []
    seconds = iter([0.0, 1.0, 4.0, 5.0, 8.0])
    listener = Throttled(told.append, every_s=3, clock=lambda: next(seconds))
    for done in range(1, 5):
        listener(done, 4)
    assert [(pace.done, round(pace.per_second, 2)) for pace in told] == [(2, 0.5), (4, 0.5)]
    assert (told[0].percent, str(told[0])) == (50.0, "2 of 4 images, 0 images/s")
    assert Pace(0, 0, 0.0).percent == 100.0


def test_a_bar_tells_the_mean_speed_and_not_that_of_the_last_moment() -> None:
    out = io.StringIO()
    with counting(Console(file=out, force_terminal=True, width=120), "predict", unit="images") as told:
        sleep(0.5)
        for done in range(1, 4):
            told(done, 3)
    (*_, last) = re.findall(r"([\d,.]+) images/s", out.getvalue())
    assert 0 < float(last) <= 3 / 0.5
