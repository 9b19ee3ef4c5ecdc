"""Label Studio's JSON export as masks: of any project, of the real server's export, with its faults named."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from plankseg.errors import ImageReadError, MaskShapeError
from plankseg.formats.label_studio_answers import mask_of_regions, read_answered_tasks
from plankseg.formats.label_studio_json import task
from plankseg.labelling.api.client import LabelStudioClient
from plankseg.labelling.api.tasks import premask_regions
from plankseg.pipeline.ingest.mask_files import open_mask_file
from tests.support.labelling_project import CONFIG, disc, png
from tests.support.live_servers import LiveLabelStudio
from tests.support.mask_records import odd_masks, record

SHAPE = (24, 40)
DISC = disc(SHAPE)
IMAGE_ID = "ab" * 32


def exported(path: Path, *tasks: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(tasks)))
    return path


def answered(image: str, *annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image} | data, "annotations": list(annotations), "predictions": []}


def regions(mask: np.ndarray = DISC) -> list[dict[str, Any]]:
    return premask_regions(mask, origin="manual")


def test_what_we_export_comes_in_again_with_every_pixel(tmp_path: Path) -> None:
    masks = odd_masks()
    content = [json.loads(task(record(name, mask, origin="corrected"))) for name, mask in masks.items()]
    found = open_mask_file(exported(tmp_path / "a.json", *content))
    for name, mask in masks.items():
        assert np.array_equal(found.mask_of(name, np.zeros(mask.shape, np.uint8)), mask), name
    predicted = json.loads(task(record("a.png", DISC, origin="model")))
    assert read_answered_tasks(exported(tmp_path / "b.json", predicted, answered("x/b.png"))) == []


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/upload/3/1a2b3c4d-0412.png", "data/upload/3/0412.png"),
        ("/data/local-files/?d=scans/b%20c/0412.png", "scans/b c/0412.png"),
        ("s3://bucket/scans/0412.png", "scans/0412.png"),
        ("https://server.org/x/0412%C3%A9.png?token=1", "x/0412é.png"),
    ],
)
def test_images_are_named_by_their_address(tmp_path: Path, image: str, name: str) -> None:
    (found,) = read_answered_tasks(exported(tmp_path / "a.json", answered(image, {"result": []})))
    assert (found.name, found.image_id, found.regions) == (name, None, [])


def test_tasks_of_plankseg_are_found_by_their_image_id(tmp_path: Path) -> None:
    path = exported(
        tmp_path / "a.json", answered("/data/upload/1/00000000-x.png", {"result": regions()}, image_id=IMAGE_ID)
    )
    found = open_mask_file(path)
    assert np.array_equal(found.mask_of("any/name.png", np.zeros(SHAPE, np.uint8), IMAGE_ID), DISC)
    with pytest.raises(ImageReadError, match="No mask for any/name"):
        found.mask_of("any/name.png", np.zeros(SHAPE, np.uint8), "cd" * 32)


def test_the_newest_answer_that_was_not_skipped_counts_whatever_its_controls_are_called(tmp_path: Path) -> None:
    (brush,) = regions()
    other = [{**brush, "from_name": "tag", "value": {**brush["value"], "brushlabels": ["Copepod"]}}]
    outline = {
        "type": "polygonlabels",
        "value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["Copepod"]},
        "original_width": 40,
        "original_height": 24,
    }
    path = exported(
        tmp_path / "a.json",
        answered(
            "/a/1.png",
            {"result": [], "updated_at": "2026-01-01"},
            {"result": [*other, outline], "updated_at": "2026-01-03"},
            {"result": regions(np.ones(SHAPE, bool)), "updated_at": "2026-01-04", "was_cancelled": True},
        ),
    )
    mask = open_mask_file(path).mask_of("1.png", np.zeros(SHAPE, np.uint8))
    assert mask[DISC].all()
    assert mask[1, 15]
    assert not mask[20, 2]


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"original_width": 41}, MaskShapeError, "given on an image of 41 x 24 px, this one has 40 x 24"),
        ({"image_rotation": 90}, ImageReadError, "turned"),
        ({"type": "rectanglelabels", "value": {"x": 1}}, ImageReadError, "only brushes and outlines are masks"),
        ({"value": {"rle": [1, 2, 3]}}, ImageReadError, "brush code"),
        ({"type": "choices", "value": {"choices": ["unusable"]}}, ImageReadError, "called the image unusable"),
    ],
)
def test_answers_that_are_no_mask_of_the_image_are_refused(
    change: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        mask_of_regions([{**regions()[0], **change}], SHAPE, name="a.png")


def test_other_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"image": "/a/1.png", "mask": []}]')
    with pytest.raises(ImageReadError, match="as in JSON-MIN"):
        open_mask_file(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ImageReadError, match="no list of tasks"):
        open_mask_file(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[{]")
    with pytest.raises(ImageReadError, match="cannot be read as JSON"):
        open_mask_file(tmp_path / "a.json")


@pytest.mark.live
@pytest.mark.slow
def test_the_export_of_a_real_server_is_read(label_studio: LiveLabelStudio, tmp_path: Path) -> None:
    with LabelStudioClient(label_studio.url, label_studio.token) as client:
        project = client.ensure_project("export as masks", CONFIG)
        address = client.upload_images(project, {"0412.png": png(SHAPE)})["0412.png"]
        client.import_tasks(project, [{"data": {"image": address}}])
        (made,) = client.list_tasks(project)
        client.create_annotation(made["id"], regions(), lead_time=3.0)
    headers = {"Authorization": f"Token {label_studio.token}"}
    answer = httpx.get(f"{label_studio.url}/api/projects/{project}/export?exportType=JSON", headers=headers, timeout=60)
    (tmp_path / "export.json").write_bytes(answer.raise_for_status().content)
    (found,) = read_answered_tasks(tmp_path / "export.json")
    mask = open_mask_file(tmp_path / "export.json").mask_of(found.name.rpartition("/")[2], np.zeros(SHAPE, np.uint8))
    assert np.array_equal(mask, DISC)
    assert found.name.endswith("/0412.png")
