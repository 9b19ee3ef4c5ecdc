"""Content-addressed objects (masks, pre-masks, weights) in a folder, verified on reading."""

import hashlib
import re
from pathlib import Path
from typing import Any, Protocol

from plankseg.errors import ObjectCorruptError, ObjectMissingError, StoreError
from plankseg.files import atomic_write

SHA_PATTERN = re.compile(r"[0-9a-f]{64}")
SUFFIX_PATTERN = re.compile(r"[a-z0-9]{1,16}")


class Blobs(Protocol):
    """Immutable objects, each under the sha256 of its own bytes."""

    root: Any  # the store's folder or address

    def put(self, data: bytes, suffix: str) -> str:
        """Keep the bytes and return their sha256; keeping them twice is the same as once."""
        ...

    def get(self, sha: str, suffix: str) -> bytes:
        """The bytes, verified. Raises ObjectMissingError or ObjectCorruptError."""
        ...

    def has(self, sha: str, suffix: str) -> bool:
        """True when an object of this name is there; its bytes are verified only by `get`."""
        ...

    def location(self, sha: str, suffix: str) -> str:
        """Where the object lies, for people and other programs: a path, or an s3:// address."""
        ...


def sha256_of(data: bytes) -> str:
    """The sha256 of the bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def object_key(sha: str, suffix: str) -> str:
    """The object's key below the store's root: `objects/<aa>/<sha256>.<suffix>`.

    Raises StoreError for anything but a lower-case sha256 and a plain suffix such as 'png' (no dot).
    """
    if not SHA_PATTERN.fullmatch(sha):
        raise StoreError(f"{sha[:80]!r} is no object's name; give the sha256 as 64 lower-case hexadecimal digits.")
    if not SUFFIX_PATTERN.fullmatch(suffix):
        raise StoreError(f"{suffix[:80]!r} is no object's suffix; give 1 to 16 letters or digits, such as 'png'.")
    return f"objects/{sha[:2]}/{sha}.{suffix}"


class FolderBlobs:
    """Objects in a local folder. An object is visible complete or not at all, also after a kill or a full disk."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def put(self, data: bytes, suffix: str) -> str:
        """Keep the bytes and return their sha256. A damaged object of that name is replaced by the good bytes."""
        sha = sha256_of(data)
        path = self._path(sha, suffix)
        try:
            if _holds(path, sha):
                return sha
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data)
        except OSError as error:
            raise StoreError(
                f"Cannot write {path}: {error.strerror or error}; nothing was registered. "
                "Check free space and rights of the store's folder, then run it again."
            ) from error
        return sha

    def get(self, sha: str, suffix: str) -> bytes:
        """The bytes, verified. Raises ObjectMissingError, ObjectCorruptError, or StoreError when unreadable."""
        path = self._path(sha, suffix)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ObjectMissingError(f"Object {path} is missing; restore it from a backup of the store.") from error
        except OSError as error:
            raise StoreError(f"Cannot read {path}: {error.strerror or error}; check the folder's rights.") from error
        found = sha256_of(data)
        if found != sha:
            raise ObjectCorruptError(
                f"Object {path} ({len(data)} bytes) has sha256 {found}, not its name; restore it from a backup."
            )
        return data

    def has(self, sha: str, suffix: str) -> bool:
        """True when an object of this name is there."""
        return self._path(sha, suffix).is_file()

    def location(self, sha: str, suffix: str) -> str:
        """The object's absolute path."""
        return str(self._path(sha, suffix))

    def _path(self, sha: str, suffix: str) -> Path:
        path = self.root / object_key(sha, suffix)
        # The key cannot climb, but a symbolic link inside objects/ could lead elsewhere.
        if not path.resolve().is_relative_to(self.root):
            raise StoreError(f"{path} leads outside of the store {self.root}; remove the symbolic link.")
        return path


def _holds(path: Path, sha: str) -> bool:
    try:
        return sha256_of(path.read_bytes()) == sha
    except FileNotFoundError:
        return False
