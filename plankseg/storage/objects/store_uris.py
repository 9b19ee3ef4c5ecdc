"""Addresses of images that lie in the store itself, recorded relative to it so that the store can be moved or copied.

`store:objects/ab/<sha256>.tar?at=1536&size=11234#name.jpg` is a member of a tar, `store:objects/ab/<sha256>.png` an
object of its own. Stores of before this scheme recorded absolute addresses; these are found in the store by their name.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from plankseg.storage.objects.archive_members import BUCKET_SCHEME, SCHEME
from plankseg.storage.s3.addresses import Address

PREFIX = "store:"
OBJECT = re.compile(r"(?:.*/)?(?P<key>objects/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]{1,16})(?P<member>\?at=.*)?")


@dataclass(frozen=True)
class StoreUris:
    """Recorded and actual addresses of one store's images."""

    root: Path | Address

    def recorded(self, uri: str) -> str:
        """The address to write into the catalogue: relative for what lies in this store, else the same."""
        found = OBJECT.fullmatch(uri)
        if found is None or uri.startswith(PREFIX) or uri != self._below(found["key"], found["member"]):
            return uri
        return f"{PREFIX}{found['key']}{found['member'] or ''}"

    def actual(self, uri: str) -> str:
        """The address to read from: that of this store where the image lies in it, else the same."""
        if uri.startswith(PREFIX):
            found = OBJECT.fullmatch(uri.removeprefix(PREFIX))
            return uri if found is None else self._below(found["key"], found["member"])
        found = OBJECT.fullmatch(uri)
        if found is None or isinstance(self.root, Address) or not os.path.exists(self.root / found["key"]):  # noqa: PTH110
            return uri
        return self._below(found["key"], found["member"])  # an absolute address of when the store lay elsewhere

    def _below(self, key: str, member: str | None) -> str:
        if member is None:
            return str(self.root / key)
        if isinstance(self.root, Address):
            return f"{BUCKET_SCHEME}{str(self.root / key).removeprefix('s3')}{member}"
        return f"{SCHEME}://{quote(str(self.root))}/{key}{member}"


def is_in_store(recorded: str) -> bool:
    """True for the recorded address of an image that lies in the store."""
    return recorded.startswith(PREFIX)
