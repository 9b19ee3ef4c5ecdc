"""The container at a path or address: folder, tar, zip, bucket, pattern, table of files, instrument's bin, or image."""

import zipfile
from pathlib import Path

from plankseg.archives.containers.bucket import Bucket
from plankseg.archives.containers.decompression import decompressor_for
from plankseg.archives.containers.entries import ARCHIVE_SUFFIXES, Container
from plankseg.archives.containers.file_list import FileList, is_image, is_list, is_pattern
from plankseg.archives.containers.flowcam import FlowCamRun, is_run
from plankseg.archives.containers.folder import Folder
from plankseg.archives.containers.ifcb import IfcbBin, is_bin
from plankseg.archives.containers.tarball import Tar
from plankseg.archives.containers.zipped import Zip
from plankseg.errors import ArchiveError, SettingsError
from plankseg.storage.s3.addresses import Address, is_s3


def open_container(given: Path | str) -> Container:
    """What holds the images; nothing of them is read yet. Raises SettingsError and ArchiveError."""
    if is_s3(given):
        return Bucket(Address.parse(str(given)))
    if is_pattern(str(given)):
        return FileList.of_pattern(str(given))
    location = Path(given).expanduser().resolve()
    try:
        if location.is_dir():
            return Folder(location)
        if is_bin(location):
            return IfcbBin(location)
        if is_run(location):
            return FlowCamRun(location)
        if not location.exists():
            raise SettingsError(f"{location} does not exist; give the folder, tar or zip that holds the images.")
        if not location.is_file():
            raise SettingsError(f"{location} is not a folder, a tar or a zip; give the one that holds the images.")
        if is_list(location):
            return FileList.of_table(location)
        if is_image(location):
            return FileList.of_image(location)
        if zipfile.is_zipfile(location) or location.suffix.lower() == ".zip":
            return Zip(location)
        container = Tar(location)
        next(container.entries(), None)
        return container
    except ArchiveError as error:
        if (
            is_bin(location)
            or is_run(location)
            or location.name.lower().endswith(ARCHIVE_SUFFIXES)
            or _begins_like_a_tar(location)
        ):
            raise
        raise SettingsError(f"{location} is not a folder, a tar or a zip; unpack it, or give another one.") from error


def _begins_like_a_tar(location: Path) -> bool:
    """True for a compressed file and a tar's header. `tarfile.is_tarfile` would read headers without a limit."""
    with location.open("rb") as file:
        start = file.read(512)
    return start[257:262] == b"ustar" or decompressor_for(start) is not None
