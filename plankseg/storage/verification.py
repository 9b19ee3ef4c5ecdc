"""Verification of a whole store: every object, table and journal against its digest, each damage with file and cure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow.compute as pc

from plankseg.errors import StoreDownError, StoreError
from plankseg.parallel import ordered_map
from plankseg.storage.copy import files_below
from plankseg.storage.journal import CURE
from plankseg.storage.objects.blobs import object_key
from plankseg.storage.objects.store_uris import is_in_store
from plankseg.storage.schemas import SCHEMAS
from plankseg.storage.store import Store
from plankseg.storage.tables.models import WEIGHTS_SUFFIX
from plankseg.storage.tables.segments import MEASURES_SUFFIX

READERS = 4
REFERENCES = (
    *(("labels", "mask_sha", "png"), ("labels", "premask_sha", "png"), ("proposals", "premask_sha", "png")),
    *(("proposals", "manifest_sha", "json"), ("models", "model_id", WEIGHTS_SUFFIX)),
    *(("segments", "measures_sha", MEASURES_SUFFIX), ("audits", "manifest_sha", "json")),
)


@dataclass(frozen=True)
class Damage:
    """One damaged or missing file, below the store's root, and what cures it."""

    file: str
    text: str

    def __str__(self) -> str:
        return self.text


def verify_store(store: Store, *, on_progress: Callable[[int, int], None] | None = None) -> Iterator[Damage]:
    """Everything that is damaged or missing in a store; nothing where all is whole. Reads every byte, writes none.

    Raises StoreDownError where the store's server does not answer.
    """
    names = sorted(files_below(store.root).sizes())
    objects = [name for name in names if name.startswith("objects/")]
    for table in SCHEMAS:
        yield from _table_damage(store, table)
    for done, found in enumerate(
        ordered_map(lambda name: _object_damage(store, name), objects, threads=READERS, ahead=4 * READERS), 1
    ):
        if found is not None:
            yield found
        if on_progress is not None:
            on_progress(done, len(objects))
    yield from _missing_objects(store, set(objects))
    yield from _impossible_versions(store)


def _table_damage(store: Store, table: str) -> Iterator[Damage]:
    """Files of a table that are not what was written, and, where all are, whatever keeps it from being read."""
    try:
        digests = store.tables.journal.digests(table)
        snapshot = store.tables.snapshot(table)
        live = set(snapshot.files())
        for version in _named_versions(store, snapshot.version) if table == "labels" else ():
            live |= set(store.tables.snapshot(table, version=version).files())
    except StoreDownError:
        raise
    except StoreError as error:
        yield Damage(f"tables/{table}", str(error))
        return
    damaged = False
    for name, sha in sorted(digests.items()):
        is_needed = name in live or not name.endswith(".parquet") or ".checkpoint." in name
        if is_needed and (text := store.tables.journal.damage(table, name, sha)):
            damaged = True
            yield Damage(f"tables/{table}/{name}", text)
    if damaged:
        return
    try:
        snapshot.read()
    except StoreDownError:
        raise
    except StoreError as error:
        yield Damage(f"tables/{table}", str(error))


def _named_versions(store: Store, newest: int) -> set[int]:
    """Versions of the labels that models were trained on."""
    rows = (*store.models.all(), *store.models.candidates())
    return {row.data_version for row in rows if row.data_version <= newest}


def _object_damage(store: Store, name: str) -> Damage | None:
    sha, _, suffix = PurePosixPath(name).name.partition(".")
    try:
        if object_key(sha, suffix) != name:
            return Damage(name, f"File {name} has no name of an object; take it out of the store.")
        store.blobs.get(sha, suffix)
    except StoreDownError:
        raise
    except StoreError as error:
        return Damage(name, str(error))
    return None


def _missing_objects(store: Store, there: set[str]) -> Iterator[Damage]:
    """Objects that a table names and the store does not have."""
    for table, column, suffix in REFERENCES:
        try:
            shas = pc.unique(store.tables.read(table, columns=[column])[column]).to_pylist()
        except StoreError:
            continue  # said already
        yield from _missing(((table, object_key(sha, suffix)) for sha in sorted(filter(None, shas))), there)
    try:
        uris = store.tables.read("images", columns=["uri"])["uri"].to_pylist()
    except StoreError:
        return
    keys = {uri.removeprefix("store:").partition("?")[0] for uri in uris if is_in_store(uri)}
    yield from _missing((("images", key) for key in sorted(keys)), there)


def _missing(named: Iterable[tuple[str, str]], there: set[str]) -> Iterator[Damage]:
    for table, key in named:
        if key not in there:
            yield Damage(key, f"Object {key} is missing, but table {table!r} names it; {CURE}.")


def _impossible_versions(store: Store) -> Iterator[Damage]:
    """Models that were trained on a later version of the labels than there is."""
    try:
        newest = store.labels.version()
        models = [*store.models.all(), *store.models.candidates()]
    except StoreError:
        return
    for row in models:
        if row.data_version > newest:
            yield Damage(
                "tables/labels",
                f"Model {row.round} ({row.model_id[:12]}) was trained on version {row.data_version} of table 'labels', "
                f"which is at version {newest}: answers are lost; {CURE}.",
            )
