"""The images whose masks are kept for reports are the same for every model."""

from pathlib import Path

import numpy as np

from plankseg.imaging.masks import decode_mask
from plankseg.pipeline.models.shown_masks import SHOWN, keep_shown_masks, shown_images, shown_masks
from tests.support.little_store import square, store_with

IDS = [f"{n:064x}" for n in range(12)]


def test_three_images_are_drawn_by_their_ids_alone() -> None:
    assert len(shown_images(IDS)) == SHOWN
    assert shown_images(IDS[::-1]) == shown_images(IDS)
    assert shown_images(IDS) != IDS[:SHOWN]
    assert shown_images(IDS[:2]) == sorted(IDS[:2], key=shown_images(IDS[:2]).index)


def test_their_masks_are_kept_whole(tmp_path: Path) -> None:
    store = store_with(tmp_path)
    masks = {image_id: square((34, 41), n + 1) for n, image_id in enumerate(IDS)}
    kept = keep_shown_masks(store, masks)
    assert list(kept) == shown_images(IDS)
    for image_id, sha in kept.items():
        np.testing.assert_array_equal(decode_mask(store.blobs.get(sha, "png")), masks[image_id])


def test_a_model_of_an_older_plankseg_has_none(tmp_path: Path) -> None:
    assert shown_masks({}) == {}
    assert keep_shown_masks(store_with(tmp_path), {}) == {}
