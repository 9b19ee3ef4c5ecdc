"""Settings of the runner that contradict each other are refused."""

import pytest

from flows.support import runners
from plankseg.config import Settings
from plankseg.errors import SettingsError

pytestmark = pytest.mark.slow


def test_an_address_that_nobody_would_ask_is_refused() -> None:
    runners.check_runner(Settings(runner="dask", dask_address="tcp://127.0.0.1:8786"))
    runners.check_runner(Settings(runner="threads"))
    with pytest.raises(SettingsError, match="set PLANKSEG_RUNNER=dask to work there, or unset the address"):
        runners.check_runner(Settings(dask_address="tcp://127.0.0.1:8786"))
