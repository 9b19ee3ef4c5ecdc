"""Which images are there, what is each of them for, and where are its bytes?"""

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.storage.blobs import SHA_PATTERN, sha256_of
from plankseg.storage.members import Member, is_member
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.schemas import as_mappings, check_choice, from_table, utc_now
from plankseg.storage.tables import Commit, DeltaTables, Snapshot

Role = Literal["source", "pool", "validation"]
Half = Literal["selection", "test"]
# In this order one role wins over the next: what is measured on must never be learnt from.
PRECEDENCE: tuple[Role, ...] = ("validation", "source", "pool")
CHUNK_ROWS = 50_000
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """One image in one role; `image_id` is the sha256 of the file's bytes, sizes are in pixels.

    `phash` tells near-duplicates (`imaging/likeness.py`), None while nobody computed it; `half` is the half of the
    validation set that the image belongs to for ever, None until the set was first used.
    """

    image_id: str
    uri: str
    dataset: str
    role: Role
    width: int
    height: int
    taxon: str | None = None
    external_id: str | None = None
    instrument_area_px: float | None = None
    added_at: datetime = field(default_factory=utc_now)
    phash: str | None = None
    half: Half | None = None

    def __post_init__(self) -> None:
        check_choice("role", self.role, get_args(Role))
        if self.half is not None:
            check_choice("half", self.half, get_args(Half))
        if not SHA_PATTERN.fullmatch(self.image_id):
            raise StoreError(f"image_id {self.image_id[:80]!r} is no sha256; give the hash of the file's bytes.")
        if self.width < 1 or self.height < 1:
            raise StoreError(f"Image {self.uri} is {self.width} x {self.height} px; read its header first.")


class Catalogue:
    """The `images` table. An image with several roles counts once: validation wins, then source, then pool.

    Of one image's rows in one role the newest counts, and of all its rows the newest says where its file is.
    """

    def __init__(self, tables: DeltaTables, *, max_pixels: int = 64_000_000) -> None:
        self._tables = tables
        self._max_pixels = max_pixels
        self._places: _Places | None = None

    def add(self, rows: Iterable[ImageRow]) -> int:
        """Record images and return how many rows were new; the same image in the same role is recorded once.

        Any number of rows: they are taken in chunks, each one commit, so a killed call is finished by a second one.
        """
        pending, added = iter(rows), 0
        while chunk := list(itertools.islice(pending, CHUNK_ROWS)):
            unique = {(row.image_id, row.role): row for row in reversed(chunk)}  # so that the first of twins stays
            added += self._tables.commit("images", partial(_what_is_new, unique))
        return added

    def move(self, places: Mapping[str, str]) -> int:
        """Record where known images lie now, image_id to uri, and return how many lay elsewhere before.

        A row is added for each, in the role that counts. Raises ObjectMissingError for an unknown image.
        """
        self.rows_by_id(places)  # raises for an unknown one
        added = self._tables.commit("images", partial(_what_changed, "uri", places, False))
        self._places = None
        return added

    def record_hashes(self, hashes: Mapping[str, str]) -> int:
        """Record the perceptual hash of images that have none, image_id to hash, and return how many had none."""
        self.rows_by_id(hashes)  # raises for an unknown one
        return self._tables.commit("images", partial(_what_changed, "phash", hashes, True))

    def record_halves(self, halves: Mapping[str, Half]) -> int:
        """Put images of the validation set into their half; one that is in a half already stays there.

        Returns how many were in none. Raises ObjectMissingError for an unknown image.
        """
        self.rows_by_id(halves)
        return self._tables.commit("images", partial(_what_changed, "half", halves, True))

    def hashes(self, role: Role) -> dict[str, str | None]:
        """The recorded perceptual hash of each image of a role, by ascending image_id; None where there is none."""
        check_choice("role", role, get_args(Role))
        rows = self._tables.read("images", columns=["image_id", "role", "phash"])
        effective = self._each_once(rows, [("phash", "max")])  # the same in all the rows of an image that have one
        rows = effective.filter(pc.equal(effective["role"], role))
        return dict(zip(rows["image_id"].to_pylist(), rows["phash"].to_pylist(), strict=True))

    def roles(self) -> dict[str, Role]:
        """Every image with the one role that counts, by ascending image_id."""
        effective = self._effective()
        return dict(zip(effective["image_id"].to_pylist(), effective["role"].to_pylist(), strict=True))

    def ids(self, role: Role) -> list[str]:
        """The images of one role, ascending, so that a seeded draw does not depend on the order of ingest."""
        check_choice("role", role, get_args(Role))
        effective = self._effective()
        ids: list[str] = effective.filter(pc.equal(effective["role"], role))["image_id"].to_pylist()
        return ids

    def matching(self, *, role: Role | None = None, dataset: str | None = None, taxon: str | None = None) -> list[str]:
        """The images of a role, a data set and a taxon, ascending; None does not narrow. Their counting row decides."""
        rows = self._counting_rows()
        wanted = np.ones(rows.num_rows, dtype=bool)
        for name, value in (("role", role), ("dataset", dataset), ("taxon", taxon)):
            if value is not None:
                same = pc.fill_null(pc.equal(rows[name], value), False)
                wanted &= same.to_numpy()
        found: list[str] = rows["image_id"].filter(pa.array(wanted)).to_pylist()
        return found

    def id_set(self, role: Role) -> "IdSet":
        """The images of one role, for asking about one after the other: 64 bytes each."""
        check_choice("role", role, get_args(Role))
        rows = self._tables.read("images", columns=["image_id", "role"])
        ranks = pc.index_in(rows["role"], pa.array(PRECEDENCE)).to_numpy()
        ids = _fixed_width(rows["image_id"])
        del rows
        pa.default_memory_pool().release_unused()  # else the strings' memory stays ours for the whole ingest
        order = np.argsort(ids, kind="stable")
        ids, ranks = ids[order], ranks[order]
        begins = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.zeros(0, np.intp)
        best = np.minimum.reduceat(ranks, begins) if len(ids) else ranks
        return IdSet(ids[begins][best == PRECEDENCE.index(role)])

    def taxa(self, role: Role) -> dict[str, str | None]:
        """The taxon of each image of a role, by ascending image_id; None where none is known."""
        check_choice("role", role, get_args(Role))
        rows = self._counting_rows()
        rows = rows.filter(pc.equal(rows["role"], role))
        return dict(zip(rows["image_id"].to_pylist(), rows["taxon"].to_pylist(), strict=True))

    def _counting_rows(self) -> pa.Table:
        """Of each image the row that counts, by ascending image_id."""
        rows = self._tables.read("images", columns=["image_id", "role", "dataset", "taxon", "added_at"])
        rows = rows.append_column("rank", pc.index_in(rows["role"], pa.array(PRECEDENCE)))
        rows = rows.sort_by([("image_id", "ascending"), ("rank", "ascending"), ("added_at", "descending")])
        ids = rows["image_id"].combine_chunks()
        first = np.ones(len(ids), dtype=bool)
        first[1:] = pc.not_equal(ids.slice(1), ids.slice(0, max(0, len(ids) - 1))).to_numpy(zero_copy_only=False)
        return rows.filter(pa.array(first))

    def counts(self) -> dict[Role, int]:
        """How many images count in each role."""
        found = {entry["values"]: entry["counts"] for entry in pc.value_counts(self._effective()["role"]).to_pylist()}
        return {role: found.get(role, 0) for role in get_args(Role)}

    def row(self, image_id: str) -> ImageRow:
        """The row that counts for an image. Raises ObjectMissingError for an unknown one."""
        return self.rows_by_id([image_id])[image_id]

    def rows_by_id(self, image_ids: Iterable[str]) -> dict[str, ImageRow]:
        """The rows that count for these images, in one reading. Raises ObjectMissingError for an unknown one."""
        wanted = set(image_ids)
        found = {row.image_id: row for row in self.rows(wanted)}
        if missing := wanted - found.keys():
            raise _unknown(min(missing))
        return found

    def rows(self, image_ids: Iterable[str]) -> list[ImageRow]:
        """The rows that count for these images, by ascending image_id; unknown ones are left out."""
        wanted = pa.array(list(image_ids), pa.string())
        return _counting(self._tables.read("images", where=pc.field("image_id").isin(wanted)))

    def path(self, image_id: str) -> Path:
        """Where the image's file lies, or lay. Raises ObjectMissingError, or StoreError for another machine's uri."""
        return _path_of(self._uri(image_id))

    def is_lost(self, image_id: str) -> bool:
        """True when no file, object in its bucket or member in its archive is where it was recorded. As `path`."""
        uri = self._uri(image_id)
        if is_s3(uri):
            from plankseg.storage.s3.objects import look_at  # loads boto3

            return look_at(Address.parse(uri)) is None
        if is_member(uri):
            return Member.parse(uri).is_lost()
        return not os.path.exists(self.path(image_id))  # noqa: PTH110  Path.exists raises where we may not look

    def read_bytes(self, image_id: str) -> bytes:
        """The file's bytes, verified against image_id. Raises ObjectMissingError, ObjectCorruptError, StoreError."""
        return read_image_bytes(image_id, self._uri(image_id))

    def load(self, image_id: str) -> Grey:
        """The image in grey, (height, width). Raises as `read_bytes`, and ImageReadError."""
        return _decode(self.read_bytes(image_id), self._max_pixels)

    def loader(self, image_ids: Iterable[str]) -> "ImageLoader":
        """A `load` for these images that holds their places itself, so it works in worker processes, forked or not."""
        return ImageLoader(uris={name: self._uri(name) for name in image_ids}, max_pixels=self._max_pixels)

    def _uri(self, image_id: str) -> str:
        uri = self._places.uri(image_id) if self._places else None
        if uri is None:  # never read, or added since
            self._places = _Places(self._tables.read("images", columns=["image_id", "uri", "added_at"]))
            uri = self._places.uri(image_id)
        if uri is None:
            raise _unknown(image_id)
        return uri

    def _effective(self) -> pa.Table:
        return self._each_once(self._tables.read("images", columns=["image_id", "role"]), [])

    @staticmethod
    def _each_once(rows: pa.Table, more: list[tuple[str, str]]) -> pa.Table:
        """The role that counts of each image, by ascending image_id, and whatever else is aggregated over its rows."""
        ranked = rows.append_column("rank", pc.index_in(rows["role"], pa.array(PRECEDENCE)))
        best = ranked.group_by("image_id").aggregate([("rank", "min"), *more]).sort_by("image_id")
        role = pa.array(PRECEDENCE).take(best["rank_min"])
        columns = {"image_id": best["image_id"], "role": role}
        return pa.table(columns | {name: best[f"{name}_{how}"] for name, how in more})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLoader:
    """`load(image_id)` for a fixed set of images; can be pickled and needs no table."""

    uris: Mapping[str, str]
    max_pixels: int

    def __call__(self, image_id: str) -> Grey:
        """The image in grey, (height, width). Raises as `Catalogue.load`."""
        if image_id not in self.uris:
            raise _unknown(image_id)
        return _decode(read_image_bytes(image_id, self.uris[image_id]), self.max_pixels)


class IdSet:
    """Image ids as one sorted array, found by bisection."""

    def __init__(self, ids: np.ndarray) -> None:
        """Of ids in ascending order, as bytes of 64 digits."""
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, image_id: str) -> bool:
        key = np.bytes_(image_id.encode())
        position = int(np.searchsorted(self._ids, key))
        return position < len(self._ids) and bool(self._ids[position] == key)


def _fixed_width(ids: pa.ChunkedArray) -> np.ndarray:
    """Strings of 64 digits as one block, without a Python string for each."""
    whole = np.empty(len(ids), "S64")
    at = 0
    for chunk in ids.chunks:
        packed = chunk.cast(pa.binary()).cast(pa.binary(64))
        there = np.frombuffer(packed.buffers()[1], "S64", count=len(packed), offset=64 * packed.offset)
        whole[at : at + len(packed)] = there
        at += len(packed)
    return whole


class _Places:
    """Where each image lies by its newest row: 1.4 million of them in 0.2 GB, found by bisection."""

    def __init__(self, rows: pa.Table) -> None:
        ids = rows["image_id"].to_numpy().astype("S64")
        newest_first = np.argsort(-rows["added_at"].cast(pa.int64()).to_numpy(), kind="stable")
        order = newest_first[np.argsort(ids[newest_first], kind="stable")]
        self._ids = ids[order]
        self._uris = rows["uri"].combine_chunks().take(pa.array(order))

    def uri(self, image_id: str) -> str | None:
        key = np.bytes_(image_id.encode())
        position = int(np.searchsorted(self._ids, key))
        found = position < len(self._ids) and self._ids[position] == key
        return str(self._uris[position].as_py()) if found else None


def read_image_bytes(image_id: str, uri: str) -> bytes:
    """The bytes at a path, a file:// or an s3:// address or in an archive, verified.

    Raises ObjectMissingError, ObjectCorruptError, StoreError. Works in worker processes, forked or not.
    """
    data = Member.parse(uri).read() if is_member(uri) else _object_at(uri) if is_s3(uri) else _file_at(uri)
    found = sha256_of(data)
    if found != image_id:
        raise ObjectCorruptError(
            f"Image {uri} has changed: its sha256 is {found}, it was catalogued as {image_id}. "
            "Bring the old file back, or run ingest again to add the new one as another image."
        )
    return data


def _file_at(uri: str) -> bytes:
    path = _path_of(uri)
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


def _path_of(uri: str) -> Path:
    if not SCHEME.match(uri):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise StoreError(
            f"Image {uri} has no path here; give a path or a file:// address of this machine, or s3://bucket/key."
        )
    return Path(url2pathname(parts.path))


def _decode(data: bytes, max_pixels: int) -> Grey:
    from plankseg.imaging.reading import read_grey  # loads OpenCV, which `plankseg status` can do without

    return read_grey(data, max_pixels=max_pixels)


def _what_is_new(unique: Mapping[tuple[str, Role], ImageRow], snapshot: Snapshot) -> Commit | None:
    wanted = pa.array([image_id for image_id, _ in unique], pa.string())
    known = snapshot.read(["image_id", "role"], pc.field("image_id").isin(wanted))
    there = set(zip(known["image_id"].to_pylist(), known["role"].to_pylist(), strict=True))
    rows = [row for key, row in unique.items() if key not in there]
    return Commit(rows=as_mappings(rows), serial="ingest") if rows else None


def _what_changed(field: str, values: Mapping[str, Any], only_missing: bool, snapshot: Snapshot) -> Commit | None:
    """A newer row for each image whose field is another one, or only where it is None; all else stays as it is."""
    wanted = pa.array(list(values), pa.string())
    changed = [
        # Newer than the row it follows, whatever the clocks of two machines say.
        replace(row, added_at=max(utc_now(), row.added_at + timedelta(microseconds=1)), **{field: values[row.image_id]})
        for row in _counting(snapshot.read(where=pc.field("image_id").isin(wanted)))
        if (getattr(row, field) is None if only_missing else getattr(row, field) != values[row.image_id])
    ]
    return Commit(rows=as_mappings(changed), serial="ingest") if changed else None


def _counting(rows: pa.Table) -> list[ImageRow]:
    """Of each image's rows the one that counts: the newest of the role that wins; by ascending image_id."""
    found = sorted(from_table(ImageRow, rows), key=lambda row: (-PRECEDENCE.index(row.role), row.added_at))
    return [row for _, row in sorted({row.image_id: row for row in found}.items())]


def _unknown(image_id: str) -> ObjectMissingError:
    return ObjectMissingError(f"Image {image_id[:80]!r} is not in the catalogue; run ingest on its folder first.")
