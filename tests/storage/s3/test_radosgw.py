"""What a server in memory gets wrong: credentials, signatures and their expiry, on a real one."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from plankseg.errors import StoreError, StoreRefusedError
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import forget_connection
from plankseg.storage.s3.fast_path import FastClient
from plankseg.storage.store import Store
from tests.support.racing_processes import race
from tests.support.s3_servers import S3Server
from tests.support.table_rows import answer, proposed

pytestmark = pytest.mark.slow


def test_a_store_works_on_a_server_that_checks_everything(strict_server: S3Server) -> None:
    store = Store.open(f"s3://{strict_server.new_bucket()}/deep/store")
    sha = store.blobs.put(b"mask", "png")
    assert store.blobs.get(sha, "png") == b"mask"
    assert store.labels.add([answer("a", 1, mask_sha=sha)]) == 1
    assert store.proposals.commit(1, [proposed("a")])
    assert not store.proposals.commit(1, [proposed("b")])
    with store.lock("advance"):
        assert len(Store.open(str(store.root)).labels.current()) == 1


def write_once(address: Address, data: bytes) -> bytes:
    return data if objects.write_new(address, data) else b""


def test_a_condition_has_one_winner(strict_server: S3Server) -> None:
    address = Address(strict_server.new_bucket(), "a")
    won = race(write_once, [(address, bytes([i])) for i in range(4)])
    assert sorted(won) == [b""] * 3 + [objects.read(address)]


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "NOBODY")])
def test_wrong_credentials_are_refused_by_both_clients(
    strict_server: S3Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    store = Store.open(f"s3://{strict_server.new_bucket()}/store")
    monkeypatch.setenv(name, value)
    forget_connection()
    for work in (
        lambda: Store.open(str(store.root)),
        lambda: store.blobs.put(b"mask", "png"),
        lambda: store.labels.current(),
        lambda: store.labels.add([answer("a", 1)]),
        lambda: store.lock("advance").__enter__(),
    ):
        with pytest.raises(StoreRefusedError, match=r"not known there|access is denied"):
            work()


def test_another_ones_bucket_is_refused_or_absent(strict_server: S3Server) -> None:
    with pytest.raises(StoreError, match="no bucket"):
        Store.open("s3://never-made-bucket/store")


def test_a_clock_that_is_an_hour_off_is_named(strict_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.auth

    address = Address(strict_server.new_bucket(), "a")
    objects.write(address, b"1")
    late = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: late.replace(tzinfo=None))
    monkeypatch.setattr(FastClient, "read", lambda *_: None)  # whose clock cannot be turned back for a test
    with pytest.raises(StoreRefusedError, match=r"clock|access is denied"):
        objects.read(address)


def test_signed_addresses_end_and_cannot_be_changed(strict_server: S3Server) -> None:
    """What a browser gets with PLANKSEG_PRESIGN_IMAGES: it serves one object, for a while, and nothing else."""
    bucket = strict_server.new_bucket()
    for key in "ab":
        objects.write(Address(bucket, key), key.encode())
    client = strict_server.client()
    signed = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"}, ExpiresIn=2)
    assert httpx.get(signed, trust_env=False).content == b"a"
    other = signed.replace(f"/{bucket}/a?", f"/{bucket}/b?")
    assert urlsplit(other).path.endswith("/b")
    assert httpx.get(other, trust_env=False).status_code == 403
    assert httpx.get(signed.partition("?")[0], trust_env=False).status_code == 403
    time.sleep(3)
    assert httpx.get(signed, trust_env=False).status_code == 403
