"""The assistant registers itself in every project that there is, as soon as it is there, and after every fault."""

import logging

import pytest

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError, LabelStudioDownError, SettingsError
from plankseg.labelling.assist.protocol import AssistAnswer
from plankseg.labelling.assist.server import Registration, serve


class Projects:
    """A Label Studio that has the projects of `there`, or is down."""

    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.is_down = False
        self.asked: list[str] = []

    def register(self, title: str) -> bool:
        self.asked.append(title)
        if self.is_down:
            raise LabelStudioDownError("it does not answer")
        return title in self.there


def test_each_project_is_registered_and_the_first_one_says_whether_to_look_again_soon() -> None:
    projects = Projects("validation")
    registration = Registration(projects.register, ["rounds", "validation"])
    assert not registration.register()
    projects.there.add("rounds")
    assert registration.register()
    assert projects.asked == ["rounds", "validation"] * 2


def test_a_label_studio_that_is_restarted_ends_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    projects = Projects("rounds")
    registration = Registration(projects.register, ["rounds"])
    with caplog.at_level(logging.INFO):
        projects.is_down = True
        assert [registration.register() for _ in range(3)] == [False] * 3
        projects.is_down = False
        assert registration.register()
    assert [record.message for record in caplog.records] == [
        "Project 'rounds': The assistant is not registered: it does not answer",
        "Project 'rounds': The assistant is registered",
    ]


def test_the_thread_ends_at_once_while_it_waits() -> None:
    with Registration(Projects("rounds").register, ["rounds"]) as registration:
        pass
    assert not registration._thread.is_alive()


def test_without_a_secret_or_a_token_it_does_not_start() -> None:
    def nothing(_: object) -> AssistAnswer:
        return AssistAnswer()

    with pytest.raises(SettingsError, match="PLANKSEG_WEBHOOK_SECRET"):
        serve(Settings(webhook_secret=None), nothing, port=1, titles=["rounds"], labeling_config="<View/>")
    tokenless = Settings(webhook_secret="x" * 20, label_studio_token=None)
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN"):
        serve(tokenless, nothing, port=1, titles=["rounds"], labeling_config="<View/>")
