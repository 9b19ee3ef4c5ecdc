"""Images in a bucket: copying them there, and access for Label Studio."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from plankseg.labelling.api.tasks import BucketAccess
from plankseg.storage.s3.addresses import Address, is_s3
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import Role

SHOWN_BY_BROWSERS = frozenset({".png", ".jpg", ".jpeg"})


def is_shown_from_bucket(uri: str) -> bool:
    """True for an image in a bucket that a browser can show; a TIFF is uploaded as a PNG instead."""
    return is_s3(uri) and Path(uri).suffix.lower() in SHOWN_BY_BROWSERS


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
