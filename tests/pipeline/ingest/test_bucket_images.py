"""Images that lie in a bucket are read, asked for and answered there; what no browser shows is uploaded."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.config import Settings
from plankseg.errors import ObjectMissingError
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.connection import project_of
from plankseg.pipeline.annotation.push_proposals import PushOptions, push
from plankseg.pipeline.ingest.bucket_images import bring_to_bucket, bucket_access, is_shown_from_bucket, path_below
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.store import Store
from tests.support.little_store import add_proposal, noisy_image, square, store_with
from tests.support.s3_servers import S3Server


def saved(kind: str, *, mode: str = "L", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noisy_image(1)).convert(mode).save(out, kind, **options)
    return out.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(kind, exif=exif)


TWO_FRAMES = {"save_all": True, "append_images": [Image.fromarray(noisy_image(2))]}


@pytest.mark.parametrize(
    ("uri", "data", "shown"),
    [
        ("s3://b-1/a.png", saved("PNG"), True),
        ("s3://b-1/a.JPG", saved("JPEG"), True),
        ("s3://b-1/a.jpeg", turned("JPEG", 1), True),
        ("s3://b-1/a.png", saved("PNG", mode="RGB"), True),
        ("s3://b-1/a.tif", saved("TIFF"), False),
        ("/a.png", saved("PNG"), False),
        ("s3://b-1/a.png", saved("TIFF"), False),  # the suffix lies
        ("s3://b-1/a.jpg", saved("PNG"), False),
        *[("s3://b-1/a.jpg", turned("JPEG", orientation), False) for orientation in range(2, 9)],
        ("s3://b-1/a.png", turned("PNG", 6), False),
        ("s3://b-1/a.png", saved("PNG", mode="RGBA"), False),
        ("s3://b-1/a.png", saved("PNG", transparency=7), False),
        ("s3://b-1/a.png", saved("PNG", mode="I;16"), False),
        ("s3://b-1/a.jpg", saved("JPEG", mode="CMYK"), False),
        ("s3://b-1/a.png", saved("PNG", **TWO_FRAMES), False),
    ],
)
def test_only_what_a_browser_shows_as_we_decode_it_is_shown_from_the_bucket(uri: str, data: bytes, shown: bool) -> None:
    assert is_shown_from_bucket(uri, data) is shown


@pytest.mark.slow
def test_a_round_on_a_bucket_uploads_nothing(tmp_path: Path, s3_server: S3Server) -> None:
    store = store_with(tmp_path, pool=4)
    below = Address(s3_server.new_bucket(), "images/pool")
    before = {image_id: store.catalogue.load(image_id) for image_id in store.catalogue.ids("pool")}
    paths = {image_id: store.catalogue.path(image_id) for image_id in before}
    assert bring_to_bucket(store, tmp_path / "pool", below, role="pool") == 4
    assert bring_to_bucket(store, tmp_path / "pool", below, role="pool") == 0
    for path in paths.values():
        path.unlink()  # from here on the bucket alone has them
    for image_id, grey in before.items():
        np.testing.assert_array_equal(Store.open(store.root).catalogue.load(image_id), grey)
        uri = store.catalogue.row(image_id).uri
        assert path_below(uri, below, tmp_path / "pool") == paths[image_id]
        assert not store.catalogue.is_lost(image_id)
    add_proposal(store, 1, sorted(before)[:3], premask=square(noisy_image(0).shape, 12))
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    push(store, server, project, round_number=1, options=PushOptions(presign=True))
    assert server.uploaded == 0
    shown = [task["data"]["image"] for task in server.list_tasks(project, 1)]
    assert sorted(shown) == sorted(store.catalogue.row(image_id).uri for image_id in sorted(before)[:3])
    access = server.buckets[project, below.bucket]
    assert (access.endpoint, access.key, access.presign) == (s3_server.url, s3_server.key, True)
    assert s3_server.secret not in repr(access)


@pytest.mark.slow
def test_a_turned_image_in_a_bucket_is_uploaded_as_we_decode_it(tmp_path: Path, s3_server: S3Server) -> None:
    below = Address(s3_server.new_bucket(), "pool")
    files = {"turned.jpg": turned("JPEG", 6), "plain.jpg": turned("JPEG", 1), "tiff.png": saved("TIFF")}
    for name, data in files.items():
        objects.write(below / name, data)
    store = Store.open(tmp_path / "store")
    assert ingest_folder(store, str(below), role="pool").added == 3
    add_proposal(store, 1, list(store.catalogue.ids("pool")), premask=square(noisy_image(0).shape, 12))
    server = FakeLabelStudio()
    project = project_of(server, Settings())
    push(store, server, project, round_number=1)
    assert server.uploaded == 2
    shown = [task["data"]["image"] for task in server.list_tasks(project, 1)]
    assert [uri for uri in shown if uri.startswith("s3://")] == [str(below / "plain.jpg")]


@pytest.mark.slow
def test_credentials_that_end_by_themselves_are_not_handed_over(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
    access = bucket_access("any-bucket", presign=False)
    assert (access.key, access.secret) == (None, None)


@pytest.mark.slow
def test_an_image_that_left_the_bucket_is_lost(tmp_path: Path, s3_server: S3Server) -> None:
    store = store_with(tmp_path, pool=1)
    below = Address(s3_server.new_bucket(), "images")
    bring_to_bucket(store, tmp_path / "pool", below, role="pool")
    [image_id] = store.catalogue.ids("pool")
    key = Address.parse(store.catalogue.row(image_id).uri).key
    s3_server.client().delete_object(Bucket=below.bucket, Key=key)
    assert store.catalogue.is_lost(image_id)
    with pytest.raises(ObjectMissingError, match="run ingest on the bucket"):
        store.catalogue.load(image_id)
