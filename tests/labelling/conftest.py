"""Label Studio for these tests: the fake always, the real one where the fixture `label_studio` starts or finds it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from plankseg.labelling.testing.fake import FakeLabelStudio
from tests.support.labelling_project import CONFIG, Bench, live_bench

if os.environ.get("PLANKSEG_TEST_LABEL_STUDIO_URL"):  # a server that already runs, instead of starting one

    @dataclass(frozen=True)
    class RunningLabelStudio:
        url: str
        token: str
        email: str
        password: str

    @pytest.fixture(scope="session")
    def label_studio() -> RunningLabelStudio:
        return RunningLabelStudio(
            url=os.environ["PLANKSEG_TEST_LABEL_STUDIO_URL"],
            token=os.environ["PLANKSEG_TEST_LABEL_STUDIO_TOKEN"],
            email=os.environ.get("PLANKSEG_TEST_LABEL_STUDIO_EMAIL", ""),
            password=os.environ.get("PLANKSEG_TEST_LABEL_STUDIO_PASSWORD", ""),
        )


@pytest.fixture(params=["fake", pytest.param("live", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "fake":
        fake = FakeLabelStudio()
        yield Bench(ls=fake, project=fake.ensure_project("bench", CONFIG), save_draft=fake.save_draft)
    else:
        yield from live_bench(request.getfixturevalue("label_studio"))


@pytest.fixture
def live(request: pytest.FixtureRequest) -> Iterator[Bench]:
    yield from live_bench(request.getfixturevalue("label_studio"))
