"""COCO's JSON: pycocotools reads every pixel; what others write is read, or refused with a reason."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.formats.coco import CocoWriter, decode, read_masks
from tests.support.mask_records import odd_masks, record


def written(path: Path) -> dict[str, np.ndarray]:
    masks = odd_masks()
    images, annotations = io.StringIO(), io.StringIO()
    writer = CocoWriter(images, annotations)
    for name, mask in masks.items():
        writer.add(record(name, mask))
    writer.finish()
    path.write_text(images.getvalue(), encoding="utf-8")
    return masks


def test_pycocotools_reads_every_pixel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = written(tmp_path / "masks.json")
    coco = COCO(str(tmp_path / "masks.json"))
    capsys.readouterr()
    assert {image["file_name"] for image in coco.loadImgs(coco.getImgIds())} == set(masks)
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        expected = masks[image["file_name"]]
        assert (image["height"], image["width"]) == expected.shape
        if not expected.any():
            assert annotations == []
            continue
        (annotation,) = annotations
        assert np.array_equal(coco.annToMask(annotation).astype(bool), expected)
        assert annotation["area"] == expected.sum()


def test_our_own_reader_gives_the_same_masks(tmp_path: Path) -> None:
    masks = written(tmp_path / "masks.json")
    found = dict(read_masks(tmp_path / "masks.json"))
    assert found.keys() == masks.keys()
    assert all(np.array_equal(found[name], masks[name]) for name in masks)


def test_polygons_plain_run_lengths_and_overlapping_instances_are_read(tmp_path: Path) -> None:
    square = {"segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]], "image_id": 7}
    plain = {"segmentation": {"size": [6, 8], "counts": [0, 6, 42]}, "image_id": 7}
    content = {"images": [{"id": 7, "file_name": "a.png", "height": 6, "width": 8}], "annotations": [square, plain]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    ((name, mask),) = read_masks(tmp_path / "a.json")
    assert name == "a.png"
    assert mask[:, 0].all(), "the plain code is the first column"
    assert mask[1:4, 1:4].all()
    assert not mask[:, 6:].any()


@pytest.mark.parametrize(
    ("segmentation", "error", "complaint"),
    [
        ({"size": [5, 8], "counts": [40]}, MaskShapeError, "5 x 8"),
        ({"size": [6, 8], "counts": [0, 6]}, ImageReadError, "sum to 6"),
        ({"counts": "abc"}, ImageReadError, "cannot be read"),
        ([[1, 2]], ImageReadError, "cannot be read"),
        ("nonsense", ImageReadError, "cannot be read"),
        (None, ImageReadError, "cannot be read"),
    ],
)
def test_a_segmentation_that_does_not_fit_is_refused(
    segmentation: object, error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        decode(segmentation, (6, 8), name="a.png")


def test_a_file_that_is_not_cocos_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"images": []}', "{" * 100):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ImageReadError, match="cannot be read as COCO"):
            list(read_masks(tmp_path / "a.json"))
