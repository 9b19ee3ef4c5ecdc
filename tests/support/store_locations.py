"""Tables and objects of a place that is a folder or in a bucket, and a look at it past plankseg."""

from pathlib import Path

from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.objects.blobs import Blobs, FolderBlobs
from plankseg.storage.objects.s3_blobs import S3Blobs
from plankseg.storage.s3 import objects
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.s3.delta_options import storage_options


def tables_at(root: str) -> DeltaTables:
    return DeltaTables(root, storage_options=storage_options if is_s3(root) else None)


def blobs_at(root: str) -> Blobs:
    return S3Blobs(Address.parse(root)) if is_s3(root) else FolderBlobs(root)


def names_at(root: str) -> list[str]:
    """What lies there, each file or object by its path below the root."""
    if is_s3(root):
        return [found.address.key for found in objects.listing(Address.parse(root))]
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


def bytes_at(location: str) -> bytes:
    return objects.read(Address.parse(location)) if is_s3(location) else Path(location).read_bytes()


def spoil(location: str, data: bytes) -> None:
    """Put other bytes where an object lies."""
    if is_s3(location):
        objects.write(Address.parse(location), data)
    else:
        Path(location).write_bytes(data)


def take_away(location: str) -> None:
    if is_s3(location):
        objects.remove(Address.parse(location))
    else:
        Path(location).unlink()
