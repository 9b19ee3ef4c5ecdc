"""Relative paths of catalogued images: where each lies in its folder, archive or bucket, as a person knows it."""

import os
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

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


def member_name(uri: str) -> str | None:
    """The name inside of an archive, which its address has behind the `#`; None for any other address."""
    address, mark, name = uri.rpartition("#")
    return unquote(name) if mark and "?at=" in address else None


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
