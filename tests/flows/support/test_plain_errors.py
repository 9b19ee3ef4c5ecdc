"""An error of ours is one line in a run's log; any other keeps its traceback."""

import logging

import pytest

from flows.support.plain_errors import LOGGERS, show_errors_in_words
from plankseg.errors import SettingsError


@pytest.mark.parametrize("name", LOGGERS)
def test_an_error_of_ours_is_one_line_and_any_other_keeps_its_traceback(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for known in LOGGERS:
        monkeypatch.setattr(logging.getLogger(known), "filters", [])
    logger = logging.getLogger(name)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])  # not Prefect's, which wants a run
    monkeypatch.setattr(logger, "propagate", False)
    show_errors_in_words()
    show_errors_in_words()
    assert len(logger.filters) == 1
    for error in (SettingsError("pictures-of-june does not exist"), ZeroDivisionError("division by zero")):
        try:
            raise error
        except (SettingsError, ZeroDivisionError):
            logger.exception("Task run failed: %s", error)
    ours, other = map(caplog.handler.format, caplog.records)
    assert ours.endswith("Task run failed: pictures-of-june does not exist")
    assert "Traceback" in other
