"""Catalogued images by the names that a person knows: path in a folder, archive or bucket, and beginnings of ids."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

from plankseg.errors import SettingsError
from plankseg.storage.objects.archive_members import member_name
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow


def relative_paths(store: Store, rows: Iterable[ImageRow]) -> dict[str, str]:
    """The path of each image by its id: its name inside of an archive, else from the folder that its data set shares.

    That folder is the deepest one that holds all files of the data set, whichever of them are asked for. An image of
    a data set of one folder has its file's name alone.
    """
    wanted = list(rows)
    roots = _shared_folders(store, {row.dataset for row in wanted})
    return {row.image_id: _path(row.uri, roots) for row in wanted}


def paths_of_ids(store: Store, image_ids: Iterable[str]) -> dict[str, str]:
    """The path of each image; of one that a person took out of the catalogue, the beginning of its id."""
    wanted = list(image_ids)
    paths = relative_paths(store, store.catalogue.rows(wanted)) if wanted else {}
    return {image_id: paths.get(image_id, image_id[:8]) for image_id in wanted}


def image_named(store: Store, wanted: str) -> str:
    """The image of this path, whole or from its data set's folder, id, beginning of an id, or name in its archive.

    An image that a person removed is found too. Raises SettingsError for none or several.
    """
    path = Path(wanted).expanduser().resolve()
    addresses = {wanted, str(path), path.as_uri()}
    by_id, by_address, by_name, ending = [], [], [], []
    images = 0
    for batch in store.tables.snapshot("images").batches(["image_id", "uri", "external_id"]):
        columns = (batch[name].to_pylist() for name in ("image_id", "uri", "external_id"))
        for image_id, uri, name in zip(*columns, strict=True):
            images += 1
            if image_id.startswith(wanted.lower()):
                by_id.append(image_id)
            elif uri in addresses:
                by_address.append(image_id)
            elif name == wanted:
                by_name.append(image_id)
            elif unquote(uri).endswith(wanted):
                ending.append(image_id)
    relative = relative_paths(store, store.catalogue.rows(ending)) if not (by_id or by_address) else {}
    by_path = [image_id for image_id, own in relative.items() if own == wanted]
    found = sorted({*by_id} or {*by_address} or {*by_path} or {*by_name})
    if len(found) != 1:
        raise SettingsError(
            f"{len(found)} of {images} images are called {wanted!r}; give the image's path, the beginning of an "
            "image_id that only one has, or its name in its archive."
        )
    return str(found[0])


def _path(uri: str, roots: Mapping[str, str]) -> str:
    name = member_name(uri)
    if name is not None:
        return name
    folder, _, file = uri.rpartition("/")
    root = max((root for root in roots if f"{folder}/".startswith(f"{root}/")), key=len, default=folder)
    return unquote(f"{folder[len(root) :]}/{file}").lstrip("/")


def _shared_folders(store: Store, datasets: set[str]) -> dict[str, str]:
    """The deepest folders that hold all plain files of each of these data sets."""
    found: dict[str, str] = {}
    for batch in store.tables.snapshot("images").batches(["dataset", "uri"]):
        pairs = zip(batch["dataset"].to_pylist(), batch["uri"].to_pylist(), strict=True)
        for dataset, uri in pairs:
            if dataset not in datasets or "?at=" in uri or "/" not in uri:
                continue
            folder = uri.rpartition("/")[0]
            known = found.get(dataset)
            if known is None:
                found[dataset] = folder
            elif not f"{folder}/".startswith(f"{known}/"):
                found[dataset] = _common(known, folder)
    return {root: dataset for dataset, root in found.items() if root}


def _common(one: str, other: str) -> str:
    """The longest beginning of two addresses that ends between two folders."""
    parts = zip(one.split("/"), other.split("/"), strict=False)
    shared = []
    for mine, theirs in parts:
        if mine != theirs:
            break
        shared.append(mine)
    return "/".join(shared)


def stem_of(path: str) -> str:
    """A path without the suffix of its file."""
    return os.path.splitext(path)[0]  # noqa: PTH122  a name in an archive is no path of this machine
