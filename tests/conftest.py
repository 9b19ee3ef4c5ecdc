"""What all tests share: array shapes checked while testing, and the marks for real servers and real images."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook(["plankseg.imaging", "plankseg.learning", "plankseg.querying"], "beartype.beartype")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, or a skip that says how to have it."""
    folder = os.environ.get("PLANKSEG_REAL_DATA")
    if not folder:
        pytest.skip("PLANKSEG_REAL_DATA is not set: no real images to test with")
    path = Path(folder)
    assert path.is_dir(), f"PLANKSEG_REAL_DATA={folder} is not a folder"
    return path
