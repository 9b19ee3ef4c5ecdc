"""Reading, writing and listing of objects below an address in a bucket."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore import exceptions as boto

from plankseg.errors import StoreError
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import ask, connection
from plankseg.storage.s3.errors import NO_KEY, code_of

THERE_ALREADY = "PreconditionFailed"


@dataclass(frozen=True)
class Listed:
    """One object of a listing. `modified` is by the server's clock, `etag` its word for the content."""

    address: Address
    size: int
    modified: datetime
    etag: str


def read(address: Address) -> bytes:
    """An object's bytes. Raises ObjectMissingError, or StoreError as `client.ask`."""

    def get(client: Any) -> bytes:
        body: bytes = client.get_object(Bucket=address.bucket, Key=address.key)["Body"].read()
        return body

    data = connection().fast.read(address)
    return ask("read", address, get) if data is None else data


def read_part(address: Address, at: int, size: int) -> bytes:
    """`size` bytes of an object from byte `at`, fewer where it ends earlier. Raises as `read`."""

    def get(client: Any) -> bytes:
        asked = {"Bucket": address.bucket, "Key": address.key, "Range": f"bytes={at}-{at + size - 1}"}
        body: bytes = client.get_object(**asked)["Body"].read()
        return body

    return ask("read", address, get)


def look_at(address: Address) -> Listed | None:
    """An object's size and time, None if there is none. Raises StoreError, also for a bucket that is not there."""

    def head(client: Any) -> Listed | None:
        try:
            found = client.head_object(Bucket=address.bucket, Key=address.key)
        except boto.ClientError as error:
            if code_of(error) in NO_KEY:
                _require_bucket(client, address)  # a HEAD's 404 does not say what is missing
                return None
            client.get_object(Bucket=address.bucket, Key=address.key, Range="bytes=0-0")  # says the reason in words
            raise
        return Listed(address, int(found["ContentLength"]), found["LastModified"], found.get("ETag", ""))

    return ask("look at", address, head)


def _require_bucket(client: Any, address: Address) -> None:
    try:
        client.head_bucket(Bucket=address.bucket)
    except boto.ClientError as error:
        if code_of(error) in NO_KEY:
            raise StoreError(
                f"There is no bucket {address.bucket!r} at {client.meta.endpoint_url}; make it, or correct the address "
                "and AWS_ENDPOINT_URL."
            ) from error
        raise


def write(address: Address, data: bytes) -> None:
    """Put an object there, whatever was there before; it is there complete or not at all."""
    if not connection().fast.write(address, data, only_new=False):
        ask("write", address, lambda client: client.put_object(**_body(address, data)))


def write_new(address: Address, data: bytes) -> bool:
    """Put an object where there is none; False and nothing done where there is one. Of two at once one wins.

    False may also mean that it is ours: a put whose answer got lost is repeated, and then finds itself.
    """

    def put(client: Any) -> bool:
        try:
            client.put_object(**_body(address, data), IfNoneMatch="*")
        except boto.ClientError as error:
            if code_of(error) == THERE_ALREADY:
                return False
            raise
        return True

    return connection().fast.write(address, data, only_new=True) or ask("write", address, put)


def make_bucket(bucket: str) -> None:
    """Make a bucket that is not there yet; ours already is as good."""
    address = Address(bucket)

    def make(client: Any) -> None:
        try:
            client.create_bucket(Bucket=address.bucket)
        except boto.ClientError as error:
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise

    ask("make", address, make)


def _body(address: Address, data: bytes) -> dict[str, object]:
    md5 = b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()  # a server refuses what arrives changed
    return {"Bucket": address.bucket, "Key": address.key, "Body": data, "ContentMD5": md5}


def remove(address: Address) -> None:
    """Take an object away; none there is as good."""
    ask("delete", address, lambda client: client.delete_object(Bucket=address.bucket, Key=address.key))


def listing(
    below: Address, *, at_most: int | None = None, on_refused: Callable[[str], None] | None = None
) -> Iterator[Listed]:
    """Every object below an address, by key: a request for each thousand, so for ingest and copies only.

    A key that is not plain is told to `on_refused`, or raises StoreError where nobody listens; what stands for a folder
    (a key that ends with a slash) is left out.
    """
    for row in _rows(below, at_most=at_most):
        try:
            address = Address(below.bucket, row["Key"])
        except StoreError:
            if on_refused is None:
                raise
            on_refused(row["Key"])
        else:
            yield Listed(address, int(row["Size"]), row["LastModified"], row.get("ETag", ""))


def _rows(below: Address, *, at_most: int | None) -> Iterator[dict[str, Any]]:
    asked: dict[str, Any] = {"Bucket": below.bucket, "Prefix": f"{below.key}/" if below.key else ""}
    asked["MaxKeys"] = min(1000, at_most or 1000)
    left = at_most
    while True:
        page = ask("list", below, lambda client: client.list_objects_v2(**asked))
        rows = [row for row in page.get("Contents", []) if not row["Key"].endswith("/")][:left]
        yield from rows
        left = None if left is None else left - len(rows)
        if left == 0 or not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]
