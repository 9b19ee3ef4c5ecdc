"""Images that cannot be read are left out: named in the log, recorded in the table `exclusions`, and tried again."""

import logging
from collections.abc import Iterable, Mapping

from plankseg.errors import StoreDownError, StoreError
from plankseg.parallel import ordered_map
from plankseg.storage.store import Store
from plankseg.storage.tables.exclusions import ExclusionRow

READERS = 8
log = logging.getLogger(__name__)


def unreadable(store: Store, image_ids: Iterable[str]) -> dict[str, str]:
    """Those of the images that are gone or changed, each with the reason; all are read, and the findings recorded.

    Raises StoreDownError when a server does not answer: that says nothing about its images.
    """
    ids = sorted(image_ids)
    results = ordered_map(lambda image_id: _reason(store, image_id), ids, threads=READERS, ahead=4 * READERS)
    reasons = {image_id: reason for image_id, reason in zip(ids, results, strict=True) if reason is not None}
    record_unreadable(store, reasons)
    again = store.exclusions.current("unreadable").keys() & set(ids) - reasons.keys()
    include_again(store, again, "it can be read again")
    return reasons


def record_unreadable(store: Store, reasons: Mapping[str, str]) -> None:
    """Name images that cannot be read in the log and record them; choosing leaves them out from then on."""
    for image_id, reason in reasons.items():
        log.warning("Image %s is left out: %s", image_id, reason)
    store.exclusions.record(
        ExclusionRow(image_id=image_id, kind="unreadable", reason=reason) for image_id, reason in reasons.items()
    )


def include_again(store: Store, image_ids: Iterable[str], reason: str) -> None:
    """Record that images are no longer left out."""
    store.exclusions.record(ExclusionRow(image_id=i, kind="included", reason=reason) for i in sorted(image_ids))


def _reason(store: Store, image_id: str) -> str | None:
    try:
        store.catalogue.read_bytes(image_id)
    except StoreDownError:
        raise
    except StoreError as error:
        return str(error)
    return None
