"""The pace is told now and then, and at the end."""

from plankseg.progress_bars import Pace, Throttled


def test_the_pace_is_told_every_few_seconds_and_at_the_last_step() -> None:
    told: list[Pace] = []
    seconds = iter([0.0, 1.0, 4.0, 5.0, 8.0])
    listener = Throttled(told.append, every_s=3, clock=lambda: next(seconds))
    for done in range(1, 5):
        listener(done, 4)
    assert [(pace.done, round(pace.per_second, 2)) for pace in told] == [(2, 0.5), (4, 0.5)]
    assert (told[0].percent, str(told[0])) == (50.0, "2 of 4 images, 0 images/s")
    assert Pace(0, 0, 0.0).percent == 100.0
