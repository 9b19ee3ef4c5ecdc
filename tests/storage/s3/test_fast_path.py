"""The fast client and boto3 see the same objects, and whatever goes wrong with the fast one boto3 decides."""

import hashlib
import time

import pytest

from plankseg.errors import ObjectMissingError, StoreRefusedError
from plankseg.storage.s3 import client as s3_client
from plankseg.storage.s3 import fast_path, objects
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import connection
from tests.support.faulty_proxy import Faults
from tests.support.racing_processes import in_forked_child
from tests.support.s3_servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.every_s3_server]


@pytest.fixture
def below(s3_server: S3Server) -> Address:
    return Address(s3_server.new_bucket(), "deep/prefix")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What boto3 is asked."""
    seen: list[str] = []
    ask = s3_client.ask

    def noted(what: str, where: object, call: object) -> object:
        seen.append(f"{what} {where}")
        return ask(what, where, call)  # type: ignore[arg-type]

    monkeypatch.setattr(objects, "ask", noted)
    return seen


@pytest.mark.parametrize("key", ["objects/ab/0a1b.png", "a-b_c.d/E", "Čopépoda (1)/a b+c=1,2~&!'@.png"])
def test_each_client_reads_what_the_other_one_wrote(
    below: Address, s3_server: S3Server, asked: list[str], key: str
) -> None:
    address, boto3 = below / key, s3_server.client()
    objects.write(address, b"ours")
    assert boto3.get_object(Bucket=address.bucket, Key=address.key)["Body"].read() == b"ours"
    boto3.put_object(Bucket=address.bucket, Key=address.key, Body=b"theirs")
    assert objects.read(address) == b"theirs"
    assert not objects.write_new(address, b"new")
    assert objects.read(address) == b"theirs"
    assert objects.write_new(below / f"new/{key}", b"new")
    assert boto3.get_object(Bucket=address.bucket, Key=f"deep/prefix/new/{key}")["Body"].read() == b"new"
    if fast_path.PLAIN.fullmatch(key):
        assert asked == [f"write {address}"]  # what is there already is boto3's to say
    for data in (b"", bytes(3_000_000)):
        objects.write(address, data)
        assert objects.read(address) == data


def test_what_is_missing_is_said_by_boto3_and_the_fast_client_goes_on(below: Address, asked: list[str]) -> None:
    with pytest.raises(ObjectMissingError, match="deep/prefix/no"):
        objects.read(below / "no")
    objects.write(below / "yes", b"1")
    assert objects.read(below / "yes") == b"1"
    assert asked == [f"read {below / 'no'}"]


def test_after_a_failure_boto3_alone_is_asked_for_a_while(
    below: Address, faults: Faults, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "PAUSE_S", 0.5)
    objects.write(below / "a", b"1")
    faults.refusal = (403, "AccessDenied")
    with pytest.raises(StoreRefusedError, match="access is denied"):
        objects.read(below / "a")
    faults.refusal, faults.seen[:] = None, []
    assert objects.read(below / "a") == b"1"
    assert (len(asked), len(faults.seen)) == (2, 1)
    time.sleep(0.6)
    assert objects.read(below / "a") == b"1"
    assert (len(asked), len(faults.seen)) == (2, 2)


def test_a_put_is_signed_with_the_hash_of_its_bytes(below: Address, faults: Faults) -> None:
    """So a server refuses what arrives changed."""
    objects.write(below / "a", b"mask")
    assert faults.headers[-1]["x-amz-content-sha256"] == hashlib.sha256(b"mask").hexdigest()


def test_credentials_are_those_of_boto3s_chain_and_are_asked_for_again(below: Address) -> None:
    objects.write(below / "a", b"1")
    provider = connection().fast._store(below.bucket).credential_provider
    given = provider()
    found = connection().session.get_credentials().get_frozen_credentials()
    assert (given["access_key_id"], given["secret_access_key"]) == (found.access_key, found.secret_key)
    assert given["expires_at"] is not None


def test_a_forked_worker_asks_boto3_for_the_fast_clients_threads_are_its_parents(below: Address) -> None:
    objects.write(below / "a", b"1")
    assert connection().fast.read(below / "a") == b"1"
    assert in_forked_child(lambda: objects.read(below / "a")) == b"1"
    assert in_forked_child(lambda: str(connection().fast.read(below / "a")).encode()) == b"None"
    assert connection().fast.read(below / "a") == b"1"
