"""Errors of plankseg in the log of a run: in words, without the hundred lines of code that Prefect adds to each."""

import logging

from plankseg.errors import PlanksegError

LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


class InWords(logging.Filter):
    """Leaves the traceback out where the error is one of ours, whose message says what to do."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if record.exc_info and isinstance(record.exc_info[1], PlanksegError):
            record.exc_info = record.exc_text = None
        return True


def show_errors_in_words() -> None:
    """From now on in this process; asked again, it changes nothing."""
    for logger in map(logging.getLogger, LOGGERS):
        if not any(isinstance(known, InWords) for known in logger.filters):
            logger.addFilter(InWords())
