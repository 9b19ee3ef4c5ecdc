"""A bucket that refuses, is gone, slow, broken off or away: said clearly, nothing lost, the next run succeeds."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plankseg import local_servers
from plankseg.errors import ObjectCorruptError, StoreDownError, StoreError, StoreRefusedError
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.s3 import client as s3_client
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import forget_connection
from plankseg.storage.store import Store
from tests.support.faulty_proxy import Faults
from tests.support.racing_processes import race
from tests.support.s3_servers import S3Server
from tests.support.table_rows import answer, image, proposed

pytestmark = pytest.mark.slow


@pytest.fixture
def store(s3_server: S3Server, faults: Faults) -> Store:
    return Store.open(f"s3://{s3_server.new_bucket()}/store")


REFUSALS = [
    ((403, "AccessDenied"), "access is denied.*let these credentials"),
    ((400, "ExpiredToken"), "have expired.*sign in again or renew"),
    ((403, "InvalidAccessKeyId"), "not known there.*correct AWS_ACCESS_KEY_ID"),
    ((403, "SignatureDoesNotMatch"), "not known there.*correct AWS_ACCESS_KEY_ID"),
    ((403, "RequestTimeTooSkewed"), "clock.*set the clock"),
]


@pytest.mark.every_s3_server
@pytest.mark.parametrize(("refusal", "message"), REFUSALS)
def test_a_refusal_is_named_with_its_cure_by_both_clients_and_leaves_nothing(
    store: Store, faults: Faults, refusal: tuple[int, str], message: str
) -> None:
    sha = store.blobs.put(b"mask", "png")
    faults.refusal = refusal
    expected = message if refusal[1] != "RequestTimeTooSkewed" else "clock|denied"
    for work in (
        lambda: store.blobs.get(sha, "png"),
        lambda: store.blobs.put(b"another", "png"),
        lambda: store.proposals.rounds(),
        lambda: store.proposals.commit(1, [proposed("a")]),
        lambda: Store.open(str(store.root)),
        lambda: store.lock("advance").__enter__(),
    ):
        with pytest.raises(StoreRefusedError, match=expected):
            work()
    faults.refusal = None
    assert store.proposals.rounds() == []
    assert store.proposals.commit(1, [proposed("a")])
    assert store.blobs.get(sha, "png") == b"mask"


@pytest.mark.parametrize("spared", range(1, 12, 2))
def test_credentials_that_expire_in_the_middle_of_a_commit_lose_nothing(
    store: Store, faults: Faults, spared: int
) -> None:
    store.labels.add([answer("a", 1)])
    faults.refusal, faults.spared = (400, "ExpiredToken"), spared
    try:
        store.labels.add([answer("b", 2)])
    except StoreRefusedError as error:
        assert "have expired" in str(error)  # noqa: PT017  (with many requests spared it succeeds)
    faults.refusal = None
    assert store.labels.add([answer("b", 2), answer("c", 3)]) in (1, 2)
    assert sorted(row.ls_annotation or 0 for row in store.labels.current()) == [1, 2, 3]


@pytest.mark.every_s3_server
def test_renewed_credentials_are_found_without_a_new_start(
    store: Store, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = s3_client.connection()
    faults.refusal = (400, "ExpiredToken")

    def renew() -> None:
        forget_connection()
        faults.refusal = None  # somebody signed in again

    monkeypatch.setattr(s3_client, "forget_connection", renew)
    assert not store.blobs.has("0" * 64, "png")
    assert s3_client.connection() is not before


def test_a_slow_bucket_is_waited_for(store: Store, faults: Faults) -> None:
    faults.latency_s = 5.0
    assert store.blobs.get(store.blobs.put(b"mask", "png"), "png") == b"mask"
    faults.latency_s = 0.1
    assert store.proposals.commit(1, [proposed("a")])
    assert store.proposals.rounds() == [1]


def test_sixteen_reads_wait_for_a_slow_bucket_together(store: Store, faults: Faults) -> None:
    root = store.root
    assert isinstance(root, Address)
    addresses = [root / f"many/{i:02}" for i in range(32)]
    for address in addresses:
        objects.write(address, address.key.encode())
    faults.latency_s = 1.0
    with pytest.MonkeyPatch.context() as patched:
        most, now, lock, read = 0, 0, threading.Lock(), objects.read

        def counted(address: Address) -> bytes:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            try:
                return read(address)
            finally:
                with lock:
                    now -= 1

        patched.setattr(objects, "read", counted)
        found = s3_client.in_threads(objects.read, addresses)
        assert [data.decode() for data in found] == [address.key for address in addresses]
    assert most == s3_client.THREADS


def test_an_answer_that_breaks_off_is_asked_for_again(store: Store, faults: Faults) -> None:
    sha = store.blobs.put(b"mask" * 1000, "png")
    faults.cut = 2
    assert store.blobs.get(sha, "png") == b"mask" * 1000
    faults.cut = 1000
    with pytest.raises(StoreDownError, match="does not answer"):
        store.blobs.get(sha, "png")


def test_wrong_bytes_under_a_right_name_are_never_handed_on(store: Store) -> None:
    sha = store.blobs.put(b"mask" * 1000, "png")
    address = Address.parse(store.blobs.location(sha, "png"))
    for wrong in (b"mask" * 999, b"mosk" * 1000, b""):  # half written elsewhere and copied here, changed, empty
        objects.write(address, wrong)
        with pytest.raises(ObjectCorruptError, match="restore it from a backup"):
            store.blobs.get(sha, "png")
        store.blobs.put(b"mask" * 1000, "png")
        assert store.blobs.get(sha, "png") == b"mask" * 1000


def test_a_half_written_file_of_a_table_is_named_and_never_read_as_fewer_rows(store: Store) -> None:
    """S3 writes objects whole; whoever copies a bucket by other means may not."""
    store.labels.add([answer("a", 1)])
    store.labels.add([answer("b", 2)])
    assert isinstance(store.root, Address)
    first = next(row.address for row in objects.listing(store.root / "tables/labels") if row.address.key.endswith("et"))
    whole = objects.read(first)
    for wrong in (whole[: len(whole) // 2], b"", whole[:-8] + b"12345678"):
        objects.write(first, wrong)
        with pytest.raises(StoreError, match="labels"):
            store.labels.current()
    objects.remove(first)
    with pytest.raises(StoreError, match="labels"):
        store.labels.current()
    objects.write(first, whole)
    assert len(store.labels.current()) == 2


def test_an_image_that_was_changed_in_its_bucket_is_not_taken_for_the_catalogued_one(store: Store) -> None:
    assert isinstance(store.root, Address)
    address = Address(store.root.bucket, "images/a.png")
    objects.write(address, b"an image")
    store.catalogue.add([replace(image("a", uri=str(address)), image_id=sha256_of(b"an image"))])
    assert store.catalogue.read_bytes(sha256_of(b"an image")) == b"an image"
    for wrong in (b"an ima", b"another", b""):
        objects.write(address, wrong)
        with pytest.raises(ObjectCorruptError, match="has changed"):
            store.catalogue.read_bytes(sha256_of(b"an image"))


@pytest.mark.parametrize("refusal", [(400, "ExpiredToken"), (403, "AccessDenied")])
def test_an_ingest_that_is_refused_half_way_is_completed_by_the_next(
    store: Store, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, str]
) -> None:
    from plankseg.imaging.reading import encode_grey
    from plankseg.pipeline.ingest import register_images

    monkeypatch.setattr(register_images, "CHUNK", 5)
    monkeypatch.setattr(register_images, "MAX_ROWS", 5)
    (tmp_path / "images").mkdir()
    for number in range(12):
        grey = np.full((40, 40), 255, np.uint8)
        grey[10:30, 10 : 20 + number % 10] = 40 + number
        (tmp_path / "images" / f"{number}.png").write_bytes(encode_grey(grey))
    broken_off = 0
    for spared in (3, 25):
        faults.refusal, faults.spared = refusal, spared
        try:
            register_images.ingest_folder(store, tmp_path / "images", role="source")
        except StoreRefusedError as error:
            broken_off += 1
            assert "run it again" in str(error) or "let these credentials" in str(error)  # noqa: PT017
    assert broken_off
    faults.refusal = None
    register_images.ingest_folder(store, tmp_path / "images", role="source")
    rows = store.labels.current()
    assert len(rows) == len(store.catalogue.ids("source")) == 12
    assert all(row.mask_sha is not None and store.blobs.get(row.mask_sha, "png") for row in rows)


def test_a_bucket_that_is_gone_is_said_everywhere(store: Store, s3_server: S3Server) -> None:
    client, bucket = s3_server.client(), store.root.bucket  # type: ignore[union-attr]
    client.delete_object(Bucket=bucket, Key="store/plankseg.json")
    client.delete_bucket(Bucket=bucket)
    for work in (
        lambda: store.blobs.get("0" * 64, "png"),
        lambda: store.blobs.has("0" * 64, "png"),
        lambda: store.blobs.put(b"another", "png"),
        lambda: store.proposals.rounds(),
        lambda: store.proposals.commit(1, [proposed("a")]),
        lambda: Store.open(str(store.root)),
        lambda: store.lock("advance").__enter__(),
    ):
        with pytest.raises(StoreError, match=r"no (such )?bucket.*make it, or correct the address"):
            work()


def test_a_server_that_was_away_is_found_again(tmp_path: Path, s3_server: S3Server, faults: Faults) -> None:
    """The proxy goes away and comes back on its port; what was written before is there, what failed is done again."""
    bucket = s3_server.new_bucket()
    store = Store.open(f"s3://{bucket}/store")
    store.labels.add([answer("a", 1)])
    with pytest.MonkeyPatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{local_servers.free_port()}")
        forget_connection()
        for work in (
            lambda: store.blobs.put(b"mask", "png"),
            lambda: store.labels.add([answer("b", 2)]),
            lambda: store.labels.current(),
        ):
            with pytest.raises(StoreDownError, match="does not answer"):
                work()
    forget_connection()
    store.blobs.put(b"mask", "png")
    assert store.labels.add([answer("b", 2)]) == 1
    assert len(store.labels.current()) == 2


def propose(root: str, machine: int) -> bool:
    store = Store.open(root)
    return store.proposals.commit(1, [proposed(f"{machine}-{i}", seed=machine) for i in range(20)])


@pytest.mark.every_s3_server
def test_two_machines_that_propose_the_same_round_give_one_winner(store: Store) -> None:
    assert sorted(race(propose, [(str(store.root), machine) for machine in range(2)])) == [False, True]
    rows = store.proposals.of_round(1)
    assert (len(rows), len({row.seed for row in rows})) == (20, 1)


@pytest.mark.every_s3_server
def test_no_credentials_at_all_are_said(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bucket = s3_server.new_bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    forget_connection()
    with pytest.raises(StoreRefusedError, match=r"no usable credentials.*set AWS_ACCESS_KEY_ID"):
        Store.open(f"s3://{bucket}/store")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    forget_connection()
    with pytest.raises(StoreError, match="nobody"):
        Store.open(f"s3://{bucket}/store")
