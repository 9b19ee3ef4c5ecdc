"""Entries of a bucket: the objects below a prefix."""

import io
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from plankseg.archives.containers.entries import ARCHIVE_SUFFIXES, Entry
from plankseg.storage.s3.addresses import Address


class Bucket:
    """The objects below an address; a key that is not plain, or an archive's, has a fault."""

    in_order_only = False

    def __init__(self, location: Address) -> None:
        self.location = location
        self.name = location.key.rpartition("/")[2] or location.bucket

    def entries(self) -> Iterator[Entry]:
        """Every object, by key."""
        from plankseg.storage.s3 import objects  # loads boto3, which folders and archives can do without

        refused: list[str] = []
        for listed in objects.listing(self.location, on_refused=refused.append):
            name = listed.address.key.removeprefix(self.location.key).lstrip("/")
            if name.lower().endswith(ARCHIVE_SUFFIXES):
                fault = "an archive in a bucket; bring it to a disk and ingest it there"
                yield Entry(name=name, size=0, open=io.BytesIO, fault=fault)
            else:
                yield Entry(name=name, size=listed.size, open=partial(_open, listed.address), uri=str(listed.address))
        for key in refused:
            yield Entry(name=key, size=0, open=io.BytesIO, fault="its key is not plain; rename it")


def _open(address: Address) -> BinaryIO:
    from plankseg.storage.s3 import objects

    return io.BytesIO(objects.read(address))
