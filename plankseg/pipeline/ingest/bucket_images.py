"""Images in a bucket: copying them there, and access for Label Studio."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from plankseg.errors import ObjectCorruptError, ObjectMissingError
from plankseg.imaging.reading import looks_alike_in_browsers
from plankseg.labelling.api.tasks import BucketAccess
from plankseg.storage.objects.image_files import bytes_at
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow, Role

SUFFIXES_OF_BROWSERS = {b"\x89PNG": (".png",), b"\xff\xd8\xff": (".jpg", ".jpeg")}


def is_shown_from_bucket(uri: str, data: bytes) -> bool:
    """True for an image in a bucket whose pixels a browser shows as we decode them; any other is uploaded as a PNG.

    A mask that was painted over a turned image, or over another page, would lie elsewhere on ours. A file under a wrong
    suffix is uploaded too, because the bucket says to the browser what the suffix says.
    """
    if not is_s3(uri):
        return False
    suffixes = next((found for start, found in SUFFIXES_OF_BROWSERS.items() if data.startswith(start)), ())
    return Path(uri).suffix.lower() in suffixes and looks_alike_in_browsers(data)


def shown_from_bucket(images: Mapping[str, ImageRow]) -> dict[str, str]:
    """The addresses of those images that Label Studio shows from their bucket, by image_id.

    One that cannot be read is none of them. Raises StoreDownError and StoreRefusedError.
    """
    shown = {}
    for image_id, image in images.items():
        if not is_s3(image.uri):
            continue
        try:
            data = bytes_at(image_id, image.uri)  # not the store's copy: a browser gets what is in the bucket
        except (ObjectMissingError, ObjectCorruptError):
            continue  # who uploads it says so
        if is_shown_from_bucket(image.uri, data):
            shown[image_id] = image.uri
    return shown


def bucket_access(bucket: str, *, presign: bool) -> BucketAccess:
    """What Label Studio needs to know of a bucket. Credentials that end by themselves are not handed over."""
    from plankseg.storage.s3.delta_options import storage_options  # loads boto3

    found = storage_options()
    lasting = "AWS_SESSION_TOKEN" not in found
    return BucketAccess(
        bucket=bucket,
        endpoint=found["AWS_ENDPOINT_URL"],
        region=found["AWS_REGION"],
        key=found["AWS_ACCESS_KEY_ID"] if lasting else None,
        secret=SecretStr(found["AWS_SECRET_ACCESS_KEY"]) if lasting else None,
        presign=presign,
    )


def bring_to_bucket(store: Store, folder: Path, below: Address, *, role: Role) -> int:
    """Copy the images of a role that lie below a folder to the same names in a bucket, and record that they lie there.

    Verified on reading; done again, it copies what is missing. Returns how many images moved.
    """
    from plankseg.storage.s3 import objects
    from plankseg.storage.s3.client import in_threads

    moved = {
        row.image_id: (path, below / path.relative_to(folder).as_posix())
        for row in store.catalogue.rows(store.catalogue.ids(role))
        if not is_s3(row.uri) and (path := store.catalogue.path(row.image_id)).is_relative_to(folder)
    }

    def copy(image_id: str) -> None:
        objects.write(moved[image_id][1], store.catalogue.read_bytes(image_id))

    _exhaust(in_threads(copy, moved))
    return store.catalogue.move({image_id: str(address) for image_id, (_, address) in moved.items()})


def _exhaust(results: Iterable[None]) -> None:
    for _ in results:
        pass


def path_below(uri: str, below: Address, folder: Path) -> Path:
    """Where the image that was brought to a bucket by `bring_to_bucket` came from."""
    return folder / Address.parse(uri).key.removeprefix(f"{below.key}/")
