"""Objects come back as they were, a condition has one winner, and a fork or a thread changes nothing."""

from collections.abc import Iterator

import pytest

from plankseg.errors import ObjectMissingError, StoreError
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.objects.image_files import ImageLoader, read_image_bytes
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import in_threads
from tests.support.racing_processes import in_forked_child, race
from tests.support.s3_servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.every_s3_server]


@pytest.fixture
def below(s3_server: S3Server) -> Address:
    return Address(s3_server.new_bucket(), "deep/prefix")


def test_an_object_is_written_once_and_read_as_it_was(below: Address) -> None:
    assert objects.look_at(below / "a") is None
    assert objects.write_new(below / "a", b"first")
    assert not objects.write_new(below / "a", b"second")
    assert objects.read(below / "a") == b"first"
    objects.write(below / "a", b"third")
    found = objects.look_at(below / "a")
    assert found is not None
    assert found.size == len(objects.read(below / "a")) == 5
    objects.remove(below / "a")
    objects.remove(below / "a")
    with pytest.raises(ObjectMissingError, match="deep/prefix/a"):
        objects.read(below / "a")


def write_once(address: Address, data: bytes) -> bytes:
    return data if objects.write_new(address, data) else b""


def test_of_six_processes_that_write_the_same_new_object_one_wins(below: Address) -> None:
    won = race(write_once, [(below / "a", bytes([i])) for i in range(6)])
    assert sorted(won) == [b""] * 5 + [objects.read(below / "a")]


def test_many_objects_come_in_the_order_that_was_asked_for(below: Address) -> None:
    addresses = [below / f"{i:03}" for i in range(100)]
    assert all(in_threads(lambda address: objects.write_new(address, address.key.encode()), addresses))
    found = in_threads(objects.read, reversed(addresses))
    assert [data.decode() for data in found] == [a.key for a in addresses[::-1]]
    with pytest.raises(ObjectMissingError, match="prefix/no"):
        list(in_threads(objects.read, [*addresses, below / "no"]))


def test_no_more_is_in_hand_than_was_promised(below: Address) -> None:
    taken = 0

    def without_end() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    numbers = in_threads(lambda number: number, without_end())
    assert [next(numbers) for _ in range(10)] == list(range(1, 11))
    numbers.close()  # type: ignore[attr-defined]
    assert taken <= 64 + 10


def test_a_listing_has_every_object_below_and_none_beside(below: Address, s3_server: S3Server) -> None:
    client = s3_server.client()
    for key in ["deep/prefix/b/2", "deep/prefix/a/1", "deep/prefix/folder/", "deep/prefixed/other", "deep/other"]:
        client.put_object(Bucket=below.bucket, Key=key, Body=b"12")
    assert [(found.address.key, found.size) for found in objects.listing(below)] == [
        ("deep/prefix/a/1", 2),
        ("deep/prefix/b/2", 2),
    ]
    assert len(list(objects.listing(below, at_most=1))) == 1
    assert len(list(objects.listing(Address(below.bucket)))) == 4
    client.put_object(Bucket=below.bucket, Key="deep/prefix/../../etc/passwd", Body=b"")
    with pytest.raises(StoreError, match="is refused"):
        list(objects.listing(below))
    refused: list[str] = []
    assert len(list(objects.listing(below, on_refused=refused.append))) == 2
    assert refused == ["deep/prefix/../../etc/passwd"]


def test_a_bucket_that_is_gone_is_not_an_object_that_is_missing(below: Address, s3_server: S3Server) -> None:
    s3_server.client().delete_bucket(Bucket=below.bucket)
    for work in (
        lambda: objects.look_at(below / "a"),
        lambda: objects.read(below / "a"),
        lambda: objects.write_new(below / "a", b""),
        lambda: list(objects.listing(below)),
    ):
        with pytest.raises(StoreError, match=r"no (such )?bucket.*make it, or correct the address"):
            work()


def test_images_are_read_from_a_bucket_also_in_a_forked_worker(below: Address) -> None:
    objects.write(below / "a.png", b"an image")
    image_id = sha256_of(b"an image")
    uri = str(below / "a.png")
    assert read_image_bytes(image_id, uri) == b"an image"  # this process has a client now: the child makes its own
    assert in_forked_child(lambda: read_image_bytes(image_id, uri)) == b"an image"
    with pytest.raises(ObjectMissingError, match="run ingest on the bucket"):
        ImageLoader(uris={image_id: f"{uri}.gone"}, max_pixels=1)(image_id)
