"""`plankseg show-augmentations`: of files, of the store, and of synthetic images."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from plankseg import cli
from plankseg.config import settings
from plankseg.errors import SettingsError
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from tests.support.little_store import clean_image, noisy_image, write_images

pytestmark = pytest.mark.slow

OPTIONS = ["--draws", "2", "--side", "32"]
CAPTION_AND_GAP_PX, CELL_PX = 26, 180


def show(*arguments: object) -> Result:
    command = ["show-augmentations", *map(str, arguments), *OPTIONS]
    return CliRunner().invoke(cli.app, command, catch_exceptions=False)


def rows_of(picture: str) -> int:
    with Image.open(picture) as opened:
        return opened.height // (CELL_PX + CAPTION_AND_GAP_PX)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store that the settings of this process name; files are written beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANKSEG_STORE", str(tmp_path / "store"))
    settings.cache_clear()
    yield Store.open(tmp_path / "store")
    settings.cache_clear()


def test_files_are_shown_and_references_bring_the_last_row(store: Store) -> None:
    files = sorted(write_images(Path("clean"), range(2), draw=clean_image).iterdir())
    Path("target.png").write_bytes(encode_grey(noisy_image(7)))
    assert "'specialized' is left out" in show(*files, "--output", "five.png").output
    assert show(*files, "--reference", "target.png", "--output", "six.png").output == "Written: six.png\n"
    assert (rows_of("five.png"), rows_of("six.png")) == (5, 6)


def test_without_files_synthetic_images_are_shown(store: Store) -> None:
    show()
    assert rows_of("augmentations.png") == 6


def test_the_stores_own_source_and_pool_are_shown(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no image with a mask in the source; run ingest"):
        show("--from-store")
    ingest_folder(store, write_images(tmp_path / "clean", range(3), draw=clean_image), role="source")
    show("--from-store", "--output", "without-pool.png")
    ingest_folder(store, write_images(tmp_path / "noisy", range(2)), role="pool")
    show("--from-store", "--output", "with-pool.png")
    assert (rows_of("without-pool.png"), rows_of("with-pool.png")) == (5, 6)
    with pytest.raises(SettingsError, match="not both"):
        show("clean.png", "--from-store")


def test_an_image_without_an_automatic_mask_is_named_with_the_reason(store: Store) -> None:
    Image.new("L", (60, 60), 200).save("flat.png")
    with pytest.raises(SettingsError, match=r"flat.png gets no automatic mask \(too little contrast"):
        show("flat.png")
    assert not Path("augmentations.png").exists()
