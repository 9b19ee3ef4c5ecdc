"""Addresses in a bucket (`s3://bucket/key`), restricted to plain keys."""

import re
from dataclasses import dataclass

from plankseg.errors import StoreError

SCHEME = "s3://"
BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
# Letters of any script, digits and a few signs; no control character, no backslash, nothing that begins with a dot.
SEGMENT = re.compile(r"[\w()+=@,~&!' -][\w()+=@,~&!'. -]*")
LONGEST_KEY = 512


@dataclass(frozen=True)
class Address:
    """A bucket and a key, or the beginning of keys, in it; `key` has no slash at its ends and may be empty.

    Servers take keys such as `../../etc` as they are: whoever writes them into a folder later would regret it.
    Raises StoreError for a bucket's name or a key that is not plain.
    """

    bucket: str
    key: str = ""

    def __post_init__(self) -> None:
        if not BUCKET.fullmatch(self.bucket):
            raise StoreError(
                f"{self.bucket[:80]!r} is no bucket's name; it has 3 to 63 small letters, digits, '-' and inner dots."
            )
        if self.key:
            check_key(self.key)

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """The address that `s3://bucket/key` names. Raises StoreError for anything else."""
        if not is_s3(uri):
            raise StoreError(f"{uri[:80]!r} is no address in a bucket; give s3://bucket/key.")
        bucket, _, key = uri[len(SCHEME) :].partition("/")
        return cls(bucket, key.removesuffix("/"))

    def __truediv__(self, below: str) -> "Address":
        return Address(self.bucket, f"{self.key}/{below}" if self.key else below)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}" if self.key else f"{SCHEME}{self.bucket}"


def is_s3(location: object) -> bool:
    """True for what begins with s3://."""
    return str(location)[: len(SCHEME)].lower() == SCHEME


def check_key(key: str) -> None:
    """Raise StoreError unless every part of the key is plain and the whole at most 512 characters long."""
    if len(key) > LONGEST_KEY or not all(SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise StoreError(
            f"Key {key[:80]!r} ({len(key)} characters) is refused: its parts may have letters, digits, blanks and "
            f"_ - . ( ) + = @ , ~ & ! ', not begin with a dot, and be {LONGEST_KEY} characters long in all; rename it."
        )
