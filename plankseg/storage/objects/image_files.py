"""Image bytes from files, buckets and archives, verified against the image id."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes, urlsplit

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.storage.objects.archive_members import Member, bucket_stretch, is_bucket_member, is_member
from plankseg.storage.objects.blobs import SUFFIX_PATTERN, Blobs, sha256_of
from plankseg.storage.objects.collage_images import CollageImage, is_collage_image
from plankseg.storage.objects.raw_images import RawImage, is_raw_image
from plankseg.storage.s3.addresses import Address, is_s3

COPY_SUFFIX = "image"  # of the copies that the store keeps of images a person worked on
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLoader:
    """`load(image_id)` for a fixed set of images; can be pickled and needs no table."""

    uris: Mapping[str, str]
    max_pixels: int
    copies: Blobs | None = None

    def __call__(self, image_id: str) -> Grey:
        """The image in grey, (height, width). Raises as `Catalogue.load`."""
        if image_id not in self.uris:
            raise unknown(image_id)
        return decode(read_image_bytes(image_id, self.uris[image_id], self.copies), self.max_pixels)


def read_image_bytes(image_id: str, uri: str, copies: Blobs | None = None) -> bytes:
    """The bytes at a path, a file:// or an s3:// address or in an archive, verified; else the store's copy of them.

    Where both are missing, a file that was moved together with the store is found beside it.
    Raises ObjectMissingError, ObjectCorruptError, StoreError. Works in worker processes, forked or not.
    """
    try:
        return bytes_at(image_id, uri)
    except StoreError:
        if copies is None:
            raise
        if (suffix := copy_suffix(image_id, uri, copies)) is not None:
            return copies.get(image_id, suffix)
        moved = moved_with_store(image_id, uri, copies.root)
        if moved is None:
            raise
        return bytes_at(image_id, moved)


def moved_with_store(image_id: str, uri: str, root: Path | Address) -> str | None:
    """Where an image lies that was moved together with its store, as a whole working directory is; None if nowhere.

    `/old/demo/images/pool/1.png` may be `/new/demo/images/pool/1.png` of a store at `/new/demo/store`: its bytes tell.
    """
    if isinstance(root, Address) or is_s3(uri) or is_bucket_member(uri):
        return None
    try:
        member = _in_place(uri)
        recorded = path_of(uri) if member is None else member.archive
    except StoreError:
        return None
    for first in range(1, len(recorded.parts)):
        path = root.parent.joinpath(*recorded.parts[first:])
        if path == recorded or not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises where we may not look
            continue
        found = path.as_uri() if member is None else replace(member, archive=path).uri
        try:
            bytes_at(image_id, found)
        except StoreError:
            continue  # another file of this name
        return found
    return None


def copy_suffix(image_id: str, uri: str, copies: Blobs) -> str | None:
    """The suffix of the store's own copy of an image, None where there is none."""
    own = PurePosixPath(uri).suffix.lower().removeprefix(".")  # an image of a store that was copied out of a bucket
    suffixes = (COPY_SUFFIX, own) if SUFFIX_PATTERN.fullmatch(own) else (COPY_SUFFIX,)
    return next((suffix for suffix in suffixes if copies.has(image_id, suffix)), None)


def bytes_at(image_id: str, uri: str) -> bytes:
    """The bytes at an address, verified. Raises as `read_image_bytes`."""
    data = _bytes_at(uri)
    found = sha256_of(data)
    if found != image_id:
        raise ObjectCorruptError(
            f"Image {uri} has changed: its sha256 is {found}, it was catalogued as {image_id}. "
            "Bring the old file back, or run ingest again to add the new one as another image."
        )
    return data


def _bytes_at(uri: str) -> bytes:
    if (member := _in_place(uri)) is not None:
        return member.read()
    if is_bucket_member(uri):
        from plankseg.storage.s3.objects import read_part  # loads boto3

        archive, at, size = bucket_stretch(uri)
        return read_part(Address.parse(archive), at, size)
    return _object_at(uri) if is_s3(uri) else _file_at(uri)


def _in_place(uri: str) -> Member | RawImage | CollageImage | None:
    """What lies within a larger file of this machine; None for any other address. Raises StoreError."""
    if is_member(uri):
        return Member.parse(uri)
    if is_collage_image(uri):
        return CollageImage.parse(uri)
    return RawImage.parse(uri) if is_raw_image(uri) else None


def is_lost(uri: str) -> bool:
    """True when there is no file, object in its bucket or member in its archive. Raises StoreError."""
    if is_bucket_member(uri):
        return is_lost(bucket_stretch(uri)[0])
    if is_s3(uri):
        from plankseg.storage.s3.objects import look_at  # loads boto3

        return look_at(Address.parse(uri)) is None
    if (member := _in_place(uri)) is not None:
        return member.is_lost()
    return not os.path.exists(path_of(uri))  # noqa: PTH110  Path.exists raises where we may not look


def _file_at(uri: str) -> bytes:
    path = path_of(uri)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ObjectMissingError(
            f"Image {path} is not there any more; bring it back, or run ingest on the folder it moved to."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StoreError(f"Cannot read image {path}: {error}; check the path and its rights.") from error


def _object_at(uri: str) -> bytes:
    from plankseg.storage.s3.objects import read  # loads boto3, which a store of folders can do without

    try:
        return read(Address.parse(uri))
    except ObjectMissingError as error:
        raise ObjectMissingError(
            f"Image {uri} is not there any more; bring it back, or run ingest on the bucket it moved to."
        ) from error


def path_of(uri: str) -> Path:
    """Where a file lies on this machine. Raises StoreError for an address of another kind or machine."""
    if not SCHEME.match(uri):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise StoreError(
            f"Image {uri} has no path here; give a path or a file:// address of this machine, or s3://bucket/key."
        )
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))  # bytes that are no UTF-8, too


def decode(data: bytes, max_pixels: int) -> Grey:
    """The image in grey, (height, width). Raises ImageReadError."""
    from plankseg.imaging.reading import read_grey  # loads OpenCV, which `plankseg status` can do without

    return read_grey(data, max_pixels=max_pixels)


def unknown(image_id: str) -> ObjectMissingError:
    """What to raise for an image that the catalogue does not have."""
    return ObjectMissingError(f"Image {image_id[:80]!r} is not in the catalogue; run ingest on its folder first.")
