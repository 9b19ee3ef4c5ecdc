"""Archives for the tests: a few files in a folder, a tar or a zip."""

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("folder", "tar", "tar.gz", "tar.xz", "zip")
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.gz": gzip.compress, "tar.xz": lzma.compress}


def pack(kind: str, path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files as a folder, or as an archive of that kind; its path."""
    if kind == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path
    path = path.with_name(f"{path.name}.{kind}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number, (name, data) in enumerate(files.items()):
                archive.writestr(name, data, zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED)
        return path
    path.write_bytes(COMPRESS[kind](tar_of(files)))
    return path


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar's bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def jpeg(seed: int, shape: tuple[int, int] = (30, 40)) -> bytes:
    """A JPEG with bytes of its own."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()
