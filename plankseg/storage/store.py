"""The label store: its objects, tables, locks and work folder, in a folder or in a bucket."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from plankseg.errors import StoreError
from plankseg.files import atomic_write, user_cache
from plankseg.storage.delta_tables import DeltaTables
from plankseg.storage.locks import FolderLocks, Locks
from plankseg.storage.objects.blobs import Blobs, FolderBlobs
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.tables.audits import Audits
from plankseg.storage.tables.backend_choices import BackendChoices
from plankseg.storage.tables.catalogue import Catalogue
from plankseg.storage.tables.exclusions import Exclusions
from plankseg.storage.tables.labels import LabelRow, Labels
from plankseg.storage.tables.models import Models
from plankseg.storage.tables.promotions import Promotions
from plankseg.storage.tables.proposals import Proposals
from plankseg.storage.tables.pushes import Pushes
from plankseg.storage.tables.scores import Scores
from plankseg.storage.tables.segments import Segments

log = logging.getLogger(__name__)

LAYOUT = 1
MARKER = "plankseg.json"
UNUSABLE = frozenset("[]\\^|\x7f")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Store:
    """One label store: its objects, its tables, its locks and its places for half-done work.

    `root` is a folder or an address in a bucket; half-done work always lies in a local folder, `work_root`.
    """

    def __init__(
        self,
        root: Path | Address,
        *,
        blobs: Blobs,
        tables: DeltaTables,
        locks: Locks,
        work_root: Path,
        max_image_pixels: int = 64_000_000,
    ) -> None:
        self.root = root
        self.blobs = blobs
        self.tables = tables
        self.work_root = work_root
        self.exclusions = Exclusions(tables)
        self.catalogue = Catalogue(tables, blobs, max_pixels=max_image_pixels, exclusions=self.exclusions)
        self.labels = Labels(tables)
        self.proposals = Proposals(tables)
        self.promotions = Promotions(tables)
        self.pushes = Pushes(tables)
        self.backend_choices = BackendChoices(tables)
        self.scores = Scores(tables)
        self.audits = Audits(tables)
        self.models = Models(tables, blobs, self.promotions)
        self._locks = locks
        self.segments = Segments(tables, blobs)

    @classmethod
    def open(cls, location: str | Path | Address, *, max_image_pixels: int = 64_000_000) -> "Store":
        """The store in a folder, which is made if it is missing, or below `s3://bucket/prefix`, whose bucket is not.

        A store that may only be read opens too; writing to it raises StoreError.
        Raises StoreError for a file, an unwritable folder, another address, the store of a newer plankseg, or what
        `plankseg.storage.s3.client.ask` says of a bucket.
        """
        root = root_of(location)
        if isinstance(root, Address):
            return cls._open_bucket(root, max_image_pixels=max_image_pixels)
        _check_path(root)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)  # images and masks are its owner's alone
            is_there = (root / MARKER).exists()
            if not os.access(root, os.R_OK | os.X_OK | (0 if is_there else os.W_OK)):
                raise PermissionError(13, "not readable" if is_there else "not readable and writable")
            if not (root / MARKER).exists():
                atomic_write(root / MARKER, _marker())
            marker = (root / MARKER).read_bytes()
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"The store {root} cannot be a folder: a file is in its place; name another one."
            ) from error
        except OSError as error:
            raise StoreError(
                f"The store {root} cannot be used: {error.strerror or error}; check its rights and the free space."
            ) from error
        _check_layout(marker, root / MARKER)
        return cls(
            root,
            blobs=FolderBlobs(root),
            tables=DeltaTables(root),
            locks=FolderLocks(root),
            work_root=work_root_of(root),
            max_image_pixels=max_image_pixels,
        )

    @classmethod
    def _open_bucket(cls, root: Address, *, max_image_pixels: int) -> "Store":
        from plankseg.storage.objects.s3_blobs import S3Blobs
        from plankseg.storage.s3 import objects  # loads boto3, which a store in a folder can do without
        from plankseg.storage.s3.delta_options import storage_options
        from plankseg.storage.s3.leases import Leases

        if objects.look_at(root / MARKER) is None:
            objects.write_new(root / MARKER, _marker())
        _check_layout(objects.read(root / MARKER), root / MARKER)
        return cls(
            root,
            blobs=S3Blobs(root),
            tables=DeltaTables(str(root), storage_options=storage_options),
            locks=Leases(root),
            work_root=work_root_of(root),
            max_image_pixels=max_image_pixels,
        )

    @property
    def is_writable(self) -> bool:
        """False for a folder that may only be read."""
        return isinstance(self.root, Address) or os.access(self.root, os.W_OK)

    @staticmethod
    def exists(location: str | Path | Address) -> bool:
        """True when a store is there; looking makes none. Raises StoreError for a bucket that does not answer."""
        root = root_of(location)
        if isinstance(root, Address):
            from plankseg.storage.s3.objects import look_at

            return look_at(root / MARKER) is not None
        return (root / MARKER).exists()

    def add_answers(self, labels: Iterable[LabelRow]) -> int:
        """Record people's answers and keep a copy of each image in the store; how many answers are new.

        So no answer is lost with an image's file. An image that cannot be copied any more is named in the log.
        """
        rows = list(labels)
        for image_id, reason in self.catalogue.keep_copies(row.image_id for row in rows if row.by_person).items():
            log.warning("No copy of image %s could be kept: %s", image_id, reason)
        return self.labels.add(rows)

    def lock(self, name: str, *, wait_s: float = 0.0, note: str = "") -> AbstractContextManager[str]:
        """Hold a named lock of this store during a block; it ends with the process, however that dies.

        The block gets the `note` of the last holder if that was killed, '' if it gave the lock back.
        Raises StoreBusyError, saying who holds it, when it is not free within `wait_s` seconds.
        """
        return self._locks.hold(_checked(name), wait_s=wait_s, note=note)

    def held_since(self, name: str) -> datetime | None:
        """Since when somebody holds a named lock; None where nobody does."""
        return self._locks.held_since(_checked(name))

    def work_dir(self, name: str) -> Path:
        """A folder for half-done work, such as checkpoints, made if missing; nothing in it counts as stored."""
        path = self.work_root / _checked(name)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"Cannot make {path}: {error.strerror or error}; check rights and free space.") from error
        return path


def root_of(location: str | Path | Address) -> Path | Address:
    """A store's folder, absolute, or its address. Raises StoreError for an address other than s3://."""
    if isinstance(location, Address):
        return location
    if not str(location).strip():
        raise StoreError("The store has an empty name; give a folder or s3://bucket/prefix in PLANKSEG_STORE.")
    if is_s3(location):
        return Address.parse(str(location))
    if "://" in str(location):
        raise StoreError(f"The store {location} is an address we do not know; give a folder or s3://bucket/prefix.")
    return Path(location).expanduser().resolve()


def _check_path(root: Path) -> None:
    """Raise StoreError for a folder whose name the tables' library cannot use, before anything is made."""
    text = str(root)
    unusable = sorted({sign for sign in text if sign in UNUSABLE or sign < " " or "\ud800" <= sign <= "\udfff"})
    if unusable or unquote(text) != text:
        shown = ", ".join(map(repr, unusable)) or "'%' before two digits"
        raise StoreError(
            f"The store {text.encode('utf-8', 'backslashreplace').decode()} has {shown} in its path, which its tables "
            "cannot be kept under; name a folder without."
        )


def work_root_of(root: Path | Address) -> Path:
    """Where half-done work lies: in the store's folder; for one in a bucket in PLANKSEG_WORK, or the user's cache."""
    if isinstance(root, Path):
        return root / "work"
    return user_cache() / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise StoreError(f"{name[:80]!r} is no name; use up to 100 letters, digits, '_', '-' and inner dots.")
    return name


def _marker() -> bytes:
    return json.dumps({"layout": LAYOUT}).encode()


def _check_layout(marker: bytes, path: Path | Address) -> None:
    try:
        layout = json.loads(marker)["layout"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error!r}); it should read {{'layout': {LAYOUT}}}.") from error
    if layout != LAYOUT:
        raise StoreError(f"The store of {path} has layout {layout}, we know {LAYOUT}; upgrade plankseg.")
