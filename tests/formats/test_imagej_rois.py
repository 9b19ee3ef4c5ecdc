"""ROIs of ImageJ: roifile reads them, and each gives its mask again, to the pixel."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.formats.imagej_rois import add_roi, decode, encode, read_rois
from tests.support.mask_records import by_matplotlib, odd_masks, record


def test_roifile_reads_a_zip_and_each_roi_fills_its_mask(tmp_path: Path) -> None:
    masks = odd_masks()
    with zipfile.ZipFile(tmp_path / "rois.zip", "w") as archive:
        added = {name for name, mask in masks.items() if add_roi(archive, record(name, mask))}
    assert added == {name for name, mask in masks.items() if mask.any()}
    rois = roifile.roiread(tmp_path / "rois.zip")
    assert {roi.name for roi in rois} == added
    for roi in rois:
        mask = masks[roi.name]
        rings = [np.asarray(ring) for ring in roi.coordinates(multi=True)]
        assert np.array_equal(by_matplotlib(rings, mask.shape), mask), roi.name
        rows, columns = np.nonzero(mask)
        assert (roi.top, roi.left, roi.bottom, roi.right) == (
            rows.min(),
            columns.min(),
            rows.max() + 1,
            columns.max() + 1,
        )


def test_our_own_reader_gives_the_same_masks(tmp_path: Path) -> None:
    masks = {name: mask for name, mask in odd_masks().items() if mask.any()}
    with zipfile.ZipFile(tmp_path / "rois.zip", "w") as archive:
        for name, mask in masks.items():
            add_roi(archive, record(name, mask))
    found = {name: decode(roi, masks[name].shape, name=name) for name, roi in read_rois(tmp_path / "rois.zip")}
    assert all(np.array_equal(found[name], masks[name]) for name in masks)


def test_a_rectangle_and_a_freehand_area_of_imagej_are_read_and_a_line_is_refused() -> None:
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=2, top=1, right=5, bottom=3)
    mask = decode(rectangle, (6, 8), name="a")
    assert np.argwhere(mask).tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]
    drawn = roifile.ImagejRoi.frompoints([[0.2, 0.2], [3.2, 0.2], [3.2, 2.2], [0.2, 2.2]])
    assert decode(drawn, (6, 8), name="a").sum() == 6
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE)
    with pytest.raises(ImageReadError, match="no drawn area"):
        decode(line, (6, 8), name="a")


def test_what_imagej_cannot_hold_and_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskShapeError, match="32767"):
        encode(np.ones((1, 40_000), dtype=bool), "a")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ImageReadError, match="cannot be read as a zip"):
        list(read_rois(tmp_path / "a.zip"))
