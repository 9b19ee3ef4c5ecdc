"""Show how far a training is: a bar in the Prefect UI with epochs and an estimated end, and a log line each."""

from collections.abc import Callable
from datetime import datetime, timedelta
from logging import LoggerAdapter
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.support.artifacts import log_epochs


def show_epochs(log: LoggerAdapter[Any], key: str, epochs: int) -> Callable[[Any], None]:
    """A callback for each epoch's end; the bar is an artifact of the run under `key`, from the first epoch's end on.

    A training that is only looked up, because its model is there, has no bar.
    """
    write_line, seconds, bars = log_epochs(log), list[float](), list[Any]()

    def report(epoch: Any) -> None:
        write_line(epoch)
        seconds.append(epoch.seconds)
        text = progress_text(epoch, epochs, seconds, datetime.now().astimezone())
        percent = 100 * min(epoch.epoch / epochs, 1.0)
        if bars:
            update_progress_artifact(bars[0], percent, text)
        else:
            bars.append(create_progress_artifact(percent, key=key, description=text))

    return report


def progress_text(epoch: Any, epochs: int, seconds: list[float], now: datetime) -> str:
    """When the training ends if epochs take as long as those in `seconds`; epochs done, and Dice of the one kept.

    The last epoch's Dice is not shown, for a model is the epoch that is kept; it is measured before masks are tidied.
    """
    done = epoch.epoch
    left = timedelta(seconds=(epochs - done) * sum(seconds) / len(seconds))
    best = f"epoch {epoch.kept_epoch}, Dice {epoch.kept_dice:.3f} on the deciding images"
    if left <= timedelta(0):
        return f"done: {done} of {epochs} epochs; kept: {best}"
    end = (now + left).strftime("%H:%M" if left < timedelta(hours=12) else "%A %H:%M")
    ends = f"ends at about {end}, in {in_words(left)}"  # a card of the UI shows the first words alone
    return f"{ends}: {done} of {epochs} epochs; best so far: {best}"


def in_words(left: timedelta) -> str:
    """A length of time as a person says it."""
    minutes = round(left.total_seconds() / 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} hours"
