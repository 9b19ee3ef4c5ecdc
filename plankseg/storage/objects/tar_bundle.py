"""Thousands of small images as one object of the store: a plain tar."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from plankseg.storage.objects.archive_members import Member
from plankseg.storage.objects.blobs import Blobs
from plankseg.storage.s3.addresses import is_s3


def store_bundle(blobs: Blobs, files: Sequence[tuple[str, bytes]]) -> list[str]:
    """Keep named files and return an address for each.

    In a folder they become one object, a plain tar that any program can open: one slow write instead of thousands. In a
    bucket each is an object of its own, because a part of one could not be asked for.
    """
    if not files:
        return []
    suffixes = [PurePosixPath(name).suffix.lower().removeprefix(".") for name, _ in files]
    if is_s3(blobs.location("0" * 64, "tar")):
        from plankseg.storage.s3.client import in_threads  # loads boto3, which a store in a folder can do without

        shas = list(in_threads(lambda one: blobs.put(*one), [(f[1], s) for f, s in zip(files, suffixes, strict=True)]))
        return [blobs.location(sha, suffix) for sha, suffix in zip(shas, suffixes, strict=True)]
    packed, offsets = _tar(files)
    archive = Path(blobs.location(blobs.put(packed, "tar"), "tar"))
    return [
        Member(archive=archive, name=name, at=at, size=len(data)).uri
        for (name, data), at in zip(files, offsets, strict=True)
    ]


def _tar(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, list[int]]:
    """A tar of the files, the same bytes for the same files, and where each one's bytes begin."""
    out, offsets = io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            offsets.append(tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    return out.getvalue(), offsets
