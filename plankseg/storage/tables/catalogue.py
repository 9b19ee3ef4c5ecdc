"""The `images` table: every image, its role, and the address of its bytes."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plankseg.errors import ImageReadError, ObjectCorruptError, ObjectMissingError, StoreDownError, StoreError
from plankseg.imaging.arrays import Grey
from plankseg.sorted_ids import SortedIds
from plankseg.storage.delta_tables import Commit, DeltaTables, Snapshot
from plankseg.storage.newest_rows import first_of_each, ranks
from plankseg.storage.objects import image_files
from plankseg.storage.objects.blobs import SHA_PATTERN, Blobs
from plankseg.storage.objects.image_files import ImageLoader, read_image_bytes
from plankseg.storage.objects.store_uris import StoreUris, is_in_store
from plankseg.storage.schemas import as_mappings, check_choice, from_table, utc_now
from plankseg.storage.tables import role_index
from plankseg.storage.tables.exclusions import Exclusions
from plankseg.storage.tables.role_index import PRECEDENCE, RoleIndex
from plankseg.storage.tables.role_index import Role as Role
from plankseg.storage.tables.uri_index import UriIndex

Half = Literal["selection", "test"]
CHUNK_ROWS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """One image in one role; `image_id` is the sha256 of the file's bytes, sizes are in pixels.

    `phash` finds near-duplicates (`imaging/perceptual_hash.py`), None until it is computed; `half` is the half of the
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


@dataclass(frozen=True)
class DatasetPart:
    """The images of one data set in one role: how many, and of how many known taxa."""

    role: Role
    dataset: str
    images: int
    taxa: int


class Catalogue:
    """The `images` table. An image with several roles counts once: validation wins, then source, then pool.

    Of one image's rows in one role the newest counts, and of all its rows the newest says where its file is. An image
    that a person removed is in no role; it is found by its id alone.
    """

    def __init__(
        self,
        tables: DeltaTables,
        blobs: Blobs | None = None,
        *,
        max_pixels: int = 64_000_000,
        exclusions: Exclusions | None = None,
    ) -> None:
        """`blobs` are the store's objects, among them its copies of images."""
        self._tables = tables
        self._exclusions = exclusions or Exclusions(tables)
        self._blobs = blobs
        self._store_uris = StoreUris(blobs.root if blobs is not None else Path(tables.root))
        self._max_pixels = max_pixels
        self._uris: UriIndex | None = None
        self._role_index: tuple[tuple[int, int], RoleIndex] | None = None

    def add(self, rows: Iterable[ImageRow]) -> int:
        """Record images and return how many rows were new; the same image in the same role is recorded once.

        Any number of rows: they are taken in chunks, each one commit, so a killed call is finished by a second one.
        """
        pending, added = iter(rows), 0
        while chunk := list(itertools.islice(pending, CHUNK_ROWS)):
            recorded = [replace(row, uri=self._store_uris.recorded(row.uri)) for row in reversed(chunk)]
            unique = {(row.image_id, row.role): row for row in recorded}  # of equal ones the first stays
            added += self._tables.commit("images", partial(_what_is_new, unique))
        return added

    def move(self, uris: Mapping[str, str]) -> int:
        """Record where known images lie now, image_id to uri, and return how many lay elsewhere before.

        A row is added for each, in the role that counts. Raises ObjectMissingError for an unknown image.
        """
        self.rows_by_id(uris)  # raises for an unknown one
        recorded = {image_id: self._store_uris.recorded(uri) for image_id, uri in uris.items()}
        added = self._tables.commit("images", partial(_what_changed, "uri", recorded, False))
        self._uris = None
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

    def role_index(self) -> RoleIndex:
        """Every image with the role that counts and its hash; kept until the table has another version."""
        snapshot = self._tables.snapshot("images")
        versions = (snapshot.version, self._exclusions.version())
        if self._role_index is None or self._role_index[0] != versions:
            self._role_index = None  # so that the old and the new one are never in memory together
            self._role_index = (versions, RoleIndex.of(snapshot).without(self._exclusions.current("removed")))
        return self._role_index[1]

    def hashes(self, role: Role) -> dict[str, str | None]:
        """The recorded perceptual hash of each image of a role, by ascending image_id; None where there is none."""
        check_choice("role", role, get_args(Role))
        every = self.role_index()
        (there,) = np.nonzero(every.in_role(role))
        known = zip(every.hashes[there].tolist(), every.is_hashed[there].tolist(), strict=True)
        texts = [f"{number:016x}" if is_hashed else None for number, is_hashed in known]
        return dict(zip(every.ids.where(every.in_role(role)), texts, strict=True))

    def roles(self) -> dict[str, Role]:
        """Every image with the one role that counts, by ascending image_id."""
        every = self.role_index()
        return {image_id: PRECEDENCE[rank] for image_id, rank in zip(every.ids, every.ranks.tolist(), strict=True)}

    def ids(self, role: Role) -> SortedIds:
        """The images of one role, ascending, so that a seeded draw does not depend on the order of ingest."""
        check_choice("role", role, get_args(Role))
        every = self.role_index()
        return every.ids.where(every.in_role(role))

    def counts(self) -> dict[Role, int]:
        """How many images count in each role."""
        every = self.role_index()
        return {role: int(every.in_role(role).sum()) for role in get_args(Role)}

    def datasets(self) -> list[DatasetPart]:
        """How many images and taxa each data set has in each role, by role and name."""
        ids, rows = self._counting_rows()
        kept = rows.filter(pa.array(~ids.among(self._exclusions.current("removed"))))
        counted = kept.group_by(["role", "dataset"]).aggregate([("taxon", "count_distinct"), ("role", "count")])
        parts = [
            DatasetPart(row["role"], row["dataset"], row["role_count"], row["taxon_count_distinct"])
            for row in counted.to_pylist()
        ]
        return sorted(parts, key=lambda part: (PRECEDENCE.index(part.role), part.dataset))

    def matching(self, *, role: Role | None = None, dataset: str | None = None, taxon: str | None = None) -> SortedIds:
        """The images of a role, a data set and a taxon, ascending; None does not narrow. Their counting row decides."""
        ids, rows = self._counting_rows()
        wanted = ~ids.among(self._exclusions.current("removed"))
        for name, value in (("role", role), ("dataset", dataset), ("taxon", taxon)):
            if value is not None:
                wanted &= pc.fill_null(pc.equal(rows[name], value), False).to_numpy()
        return ids.where(wanted)

    def taxa(self, role: Role) -> dict[str, str | None]:
        """The taxon of each image of a role, by ascending image_id; None where none is known."""
        ids, rows = self._counting_rows()
        wanted = pc.equal(rows["role"], role).to_numpy() & ~ids.among(self._exclusions.current("removed"))
        return dict(zip(ids.where(wanted), rows["taxon"].filter(pa.array(wanted)).to_pylist(), strict=True))

    def _counting_rows(self) -> tuple[SortedIds, pa.Table]:
        """Every image, and role, data set and taxon of the row that counts for it."""
        batches = list(self._tables.snapshot("images").batches(["image_id", "role", "dataset", "taxon", "added_at"]))
        rows = pa.Table.from_batches(batches, None if batches else self._tables.read("images").schema)
        return role_index.counting_rows(rows)

    def row(self, image_id: str) -> ImageRow:
        """The row that counts for an image. Raises ObjectMissingError for an unknown one."""
        return self.rows_by_id([image_id])[image_id]

    def rows_by_id(self, image_ids: Iterable[str]) -> dict[str, ImageRow]:
        """The rows that count for these images, in one reading. Raises ObjectMissingError for an unknown one."""
        wanted = set(image_ids)
        found = {row.image_id: row for row in self.rows(wanted)}
        if missing := wanted - found.keys():
            raise image_files.unknown(min(missing))
        return found

    def rows(self, image_ids: Iterable[str]) -> list[ImageRow]:
        """The rows that count for these images, by ascending image_id; unknown ones are left out."""
        wanted = pa.array(list(image_ids), pa.string())
        found = _counting(self._tables.read("images", where=pc.field("image_id").isin(wanted)))
        return [replace(row, uri=self._store_uris.actual(row.uri)) for row in found]

    def path(self, image_id: str) -> Path:
        """Where the image's file lies, or lay. Raises ObjectMissingError, or StoreError for another machine's uri."""
        return image_files.path_of(self._uri(image_id))

    def is_lost(self, image_id: str) -> bool:
        """True when no file, object or member of an archive is at its address, and the store has no copy. As `path`.

        A file that was moved together with the store is not lost.
        """
        uri = self._uri(image_id)
        if not image_files.is_lost(uri) or self._has_copy(image_id, uri):
            return False
        return self._blobs is None or image_files.moved_with_store(image_id, uri, self._blobs.root) is None

    def is_at(self, image_id: str, uri: str) -> bool:
        """True when an image's recorded address is this one."""
        return self._uri(image_id) == self._store_uris.actual(uri)

    def is_moved(self, image_id: str) -> bool:
        """True when the bytes at the recorded address are no longer the image's; reads them."""
        try:
            image_files.bytes_at(image_id, self._uri(image_id))
        except StoreDownError:
            raise  # a server that does not answer says nothing about the image
        except StoreError:
            return True
        return False

    def keep_copies(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Copy images into the store, so that no answer is lost with a file. Those that cannot be read, and why."""
        assert self._blobs is not None, "a store has objects"
        failed: dict[str, str] = {}
        for image_id in dict.fromkeys(image_ids):
            uri = self._uri(image_id)
            if is_in_store(self._store_uris.recorded(uri)) or self._has_copy(image_id, uri):
                continue
            try:
                self._blobs.put(read_image_bytes(image_id, uri, self._blobs), image_files.COPY_SUFFIX)
            except (ObjectMissingError, ObjectCorruptError) as error:
                failed[image_id] = str(error)
        return failed

    def _has_copy(self, image_id: str, uri: str) -> bool:
        return self._blobs is not None and image_files.copy_suffix(image_id, uri, self._blobs) is not None

    def read_bytes(self, image_id: str) -> bytes:
        """The file's bytes, verified against image_id. Raises ObjectMissingError, ObjectCorruptError, StoreError."""
        return read_image_bytes(image_id, self._uri(image_id), self._blobs)

    def load(self, image_id: str) -> Grey:
        """The image in grey, (height, width). Raises as `read_bytes`, and ImageReadError."""
        return image_files.decode(self.read_bytes(image_id), self._max_pixels)

    def readable(
        self, image_ids: Iterable[str], on_unreadable: Callable[[str, Exception], None] = lambda *_: None
    ) -> Iterator[tuple[str, Grey]]:
        """The images that can be read, in the order given, each read when it is asked for.

        `on_unreadable(image_id, error)` is called for each of the others.
        """
        for image_id in image_ids:
            try:
                grey = self.load(image_id)
            except (ImageReadError, StoreError) as error:
                on_unreadable(image_id, error)
                continue
            yield image_id, grey

    def loader(self, image_ids: Iterable[str]) -> ImageLoader:
        """A `load` for these images that holds their addresses itself, so it works in worker processes too."""
        wanted = list(image_ids)
        if self._uris is None and wanted:  # of a part of the images only that part is kept
            found = UriIndex(self._tables.snapshot("images"), only=wanted)
            uris = {name: self._store_uris.actual(uri) for name in wanted if (uri := found.uri(name)) is not None}
        else:
            uris = {name: self._uri(name) for name in wanted}
        if missing := set(wanted) - uris.keys():
            raise image_files.unknown(min(missing))
        return ImageLoader(uris=uris, max_pixels=self._max_pixels, copies=self._blobs)

    def _uri(self, image_id: str) -> str:
        uri = self._uris.uri(image_id) if self._uris else None
        if uri is None:  # never read, or added since
            self._uris = None
            self._uris = UriIndex(self._tables.snapshot("images"))
            uri = self._uris.uri(image_id)
        if uri is None:
            raise image_files.unknown(image_id)
        return self._store_uris.actual(uri)


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
    ranked = rows.append_column("rank", ranks(rows["role"], PRECEDENCE))
    return from_table(ImageRow, first_of_each(ranked, ("image_id",), {"rank": "ascending", "added_at": "descending"}))
