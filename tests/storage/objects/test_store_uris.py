"""Images that lie in the store are found in it wherever it lies now; all other addresses stay as they are."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.copy import copy_store
from plankseg.storage.objects.store_uris import StoreUris
from plankseg.storage.s3.addresses import Address
from plankseg.storage.store import Store
from tests.support.s3_servers import S3Server

KEY = f"objects/ab/{'ab' * 32}"


def vignette(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(150, 255, (40, 50), np.uint8)).save(out, "PNG")
    return out.getvalue()


def compressed_tar(path: Path, images: int) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for seed in range(images):
            data = vignette(seed)
            member = tarfile.TarInfo(f"A/weird % # ? {seed}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("root", "uri", "recorded"),
    [
        (Path("/a b/store"), f"/a b/store/{KEY}.png", f"store:{KEY}.png"),
        (
            Path("/a b"),
            f"archive+file:///a%20b/{KEY}.tar?at=5&size=3#x%20%23.png",
            f"store:{KEY}.tar?at=5&size=3#x%20%23.png",
        ),
        (Address("bucket", "deep"), f"s3://bucket/deep/{KEY}.png", f"store:{KEY}.png"),
        (Path("/store"), "/images/a.png", "/images/a.png"),
        (Path("/store"), f"/other/{KEY}.png", f"/other/{KEY}.png"),
        (Address("bucket", "deep"), f"s3://bucket/other/{KEY}.png", f"s3://bucket/other/{KEY}.png"),
    ],
)
def test_what_lies_in_the_store_is_recorded_relative_to_it(root: Path | Address, uri: str, recorded: str) -> None:
    uris = StoreUris(root)
    assert uris.recorded(uri) == recorded
    assert uris.actual(recorded) == uri
    assert uris.recorded(recorded) == recorded


def test_a_moved_store_reads_the_images_of_a_compressed_tar(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    archive = compressed_tar(tmp_path / "a.tar.gz", 4)
    assert ingest_folder(store, archive, role="pool").added == 4
    archive.unlink()
    copy_store(tmp_path / "store", tmp_path / "copy")
    (tmp_path / "store").rename(tmp_path / "moved to")
    for name in ("moved to", "copy"):
        moved = Store.open(tmp_path / name)
        assert [moved.catalogue.load(i).shape for i in moved.catalogue.ids("pool")] == [(40, 50)] * 4
        load = moved.catalogue.loader(moved.catalogue.ids("pool"))
        assert load(moved.catalogue.ids("pool")[0]).shape == (40, 50)


def test_a_store_with_absolute_addresses_of_before_is_read_after_it_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(StoreUris, "recorded", lambda _, uri: uri)
        store = Store.open(tmp_path / "store")
        ingest_folder(store, compressed_tar(tmp_path / "a.tar.gz", 3), role="pool")
        assert all("archive+file:///" in uri for uri in store.tables.read("images")["uri"].to_pylist())
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = Store.open(tmp_path / "moved")
    assert [moved.catalogue.load(i).shape for i in moved.catalogue.ids("pool")] == [(40, 50)] * 3


@pytest.mark.slow
def test_a_store_that_went_into_a_bucket_and_back_reads_its_images(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    ingest_folder(Store.open(tmp_path / "store"), compressed_tar(tmp_path / "a.tar.gz", 3), role="pool")
    copy_store(tmp_path / "store", f"s3://{bucket}/there")
    there = Store.open(f"s3://{bucket}/there")
    assert [there.catalogue.load(i).shape for i in there.catalogue.ids("pool")] == [(40, 50)] * 3
    ingest_folder(there, compressed_tar(tmp_path / "b.tar.gz", 5), role="pool")
    copy_store(f"s3://{bucket}/there", tmp_path / "back")
    back = Store.open(tmp_path / "back")
    assert [back.catalogue.load(i).shape for i in back.catalogue.ids("pool")] == [(40, 50)] * 5
    assert not any(uri.startswith("s3://") for uri in back.tables.read("images")["uri"].to_pylist())
