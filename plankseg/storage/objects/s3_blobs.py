"""Content-addressed objects in a bucket, verified on reading."""

import hashlib

from plankseg.errors import ObjectCorruptError, ObjectMissingError
from plankseg.storage.objects.blobs import object_key, sha256_of
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address


class S3Blobs:
    """Objects below an address in a bucket. An object is there complete or not at all: S3 knows no half-written one."""

    def __init__(self, root: Address) -> None:
        self.root = root

    def put(self, data: bytes, suffix: str) -> str:
        """Keep the bytes and return their sha256. A damaged object of that name is replaced by the good bytes."""
        sha = sha256_of(data)
        address = self._address(sha, suffix)
        if not objects.write_new(address, data) and not _looks_like(objects.look_at(address), data):
            try:
                self.get(sha, suffix)
            except (ObjectCorruptError, ObjectMissingError):
                objects.write(address, data)
        return sha

    def get(self, sha: str, suffix: str) -> bytes:
        """The bytes, verified. Raises ObjectMissingError, ObjectCorruptError, or StoreError when unreadable."""
        address = self._address(sha, suffix)
        data = objects.read(address)
        found = sha256_of(data)
        if found != sha:
            raise ObjectCorruptError(
                f"Object {address} ({len(data)} bytes) has sha256 {found}, not its name; restore it from a backup."
            )
        return data

    def has(self, sha: str, suffix: str) -> bool:
        """True when an object of this name is there."""
        return objects.look_at(self._address(sha, suffix)) is not None

    def location(self, sha: str, suffix: str) -> str:
        """The object's s3:// address."""
        return str(self._address(sha, suffix))

    def _address(self, sha: str, suffix: str) -> Address:
        return self.root / object_key(sha, suffix)


def _looks_like(found: objects.Listed | None, data: bytes) -> bool:
    """True when size and ETag say that these are the bytes; an encrypted object's ETag says nothing."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return found is not None and found.size == len(data) and found.etag.strip('"') == md5
