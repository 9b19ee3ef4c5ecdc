"""A task on a machine that does not see the store fails, and makes none."""

from pathlib import Path

import pytest

from flows.support.store_lock import StoreLocation
from plankseg.errors import StoreError

pytestmark = pytest.mark.slow


def test_a_worker_that_does_not_see_the_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"sees no store at .*/elsewhere\. .*s3://bucket/prefix"):
        StoreLocation(str(tmp_path / "elsewhere"), 100).open()
    assert not (tmp_path / "elsewhere").exists()
