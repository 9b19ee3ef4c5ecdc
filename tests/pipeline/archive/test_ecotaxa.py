"""What we write for EcoTaxa obeys its rules; and the rules, which are ours to keep, find what breaks them."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from plankseg.pipeline.archive import ecotaxa
from plankseg.pipeline.archive.ecotaxa import clean_text, image_bytes, object_columns, object_ids, parts_of, table_bytes
from tests.support.ecotaxa_rules import complaints

MEASURED = {
    "width": 40,
    "height": 30,
    "area_px": 100,
    "filled_area_px": 110,
    "parts": 2,
    "touches_border": True,
    "empty": False,
    "perimeter_px": 40.5,
    "major_axis_px": 20.0,
    "minor_axis_px": 6.0,
    "feret_px": 21.25,
    "esd_px": 11.28,
    "confidence": 0.9123456789,
    "agreement": None,
}


def row(number: int = 1, **changed: object) -> dict[str, object]:
    given = {
        "img_file_name": f"{number}.png",
        "img_rank": 0,
        "object_id": f"vignette {number}",
        "object_annotation_category": "Appendicularia, tête <Copelata>",
        "object_annotation_status": "predicted",
        **object_columns(MEASURED, pixel_size_mm=0.01),
        "sample_id": "villefranche",
        "acq_id": "villefranche_1",
        "process_id": "villefranche_1",
        "process_model": "a" * 64,
    }
    return given | changed


def zipped(
    path: Path, rows: list[dict[str, object]], *, images: int | None = None, name: str = "ecotaxa_1.tsv"
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        ecotaxa.write_entry(archive, name, table_bytes(rows), compress=True)
        for number in range(1, (len(rows) if images is None else images) + 1):
            ecotaxa.write_entry(
                archive, f"{number}.png", image_bytes(np.zeros((3, 4), np.uint8), "png"), compress=False
            )
    return path


def test_what_we_write_obeys_the_rules_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [row(1), row(2, object_annotation_category="", object_annotation_status="")])
    assert complaints([path]) == []
    with zipfile.ZipFile(path) as archive:
        text = archive.read("ecotaxa_1.tsv").decode("utf-8-sig")
    names, types, first, _ = list(csv.reader(io.StringIO(text), delimiter="\t"))
    found = dict(zip(names, first, strict=True))
    assert found["object_annotation_category"] == "Appendicularia, tête <Copelata>"
    assert (found["object_area"], found["object_area_mm2"], found["object_feret_mm"]) == ("100", "0.01", "0.2125")
    assert (found["object_touches_border"], found["object_empty"], found["object_agreement"]) == ("1", "0", "")
    assert found["object_expected_dice"] == "0.9123457"
    assert dict(zip(names, types, strict=True))["object_id"] == "[t]"


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"object_id": "vignette 1"}, "another image of that object"),
        ({"object_id": ""}, "object_id is empty"),
        ({"object_area": "many"}, "no number"),
        ({"object_area": float("inf")}, "no number"),
        ({"sample_id": "nice"}, "in two samples"),
        ({"object_annotation_status": ""}, "both or none"),
        ({"object_annotation_status": "guessed"}, "not known"),
        ({"img_file_name": "gone.png"}, "not in the zip"),
        ({"process_model": "x" * 251}, "251 characters"),
        ({"object_id": "a\x07b"}, "cannot be shown"),
    ],
)
def test_the_rules_find_a_row_that_breaks_them(tmp_path: Path, changed: dict[str, object], complaint: str) -> None:
    (found,) = complaints([zipped(tmp_path / "a.zip", [row(1), row(2, **changed)])])
    assert found.startswith("line 4")
    assert complaint in found


def test_the_rules_find_columns_that_break_them(tmp_path: Path) -> None:
    def found(**more: object) -> list[str]:
        return complaints([zipped(tmp_path / "a.zip", [row(1, **more)])])

    assert "belongs to no table" in found(planet_name=1)[0]
    assert "small letters" in found(Object_X=1)[0]
    assert found(**{f"object_free{n}": 1 for n in range(600)}) == [
        "621 columns for ('object', '[f]'), of which there are 500"
    ]
    without = {name: value for name, value in row(1).items() if name != "acq_id"} | {"acq_speed": 1}
    assert complaints([zipped(tmp_path / "a.zip", [without])]) == ["acq_id is missing"]


def test_the_rules_find_zips_that_break_them(tmp_path: Path) -> None:
    assert "no ecotaxa*.tsv" in complaints([zipped(tmp_path / "a.zip", [row(1)], name="table.tsv")])[0]
    assert "not in the zip" in complaints([zipped(tmp_path / "b.zip", [row(1)], images=0)])[0]
    one, other = zipped(tmp_path / "c.zip", [row(1)]), zipped(tmp_path / "d.zip", [row(1)])
    assert "another image of that object" in complaints([one, other])[0]


@given(st.dictionaries(st.text("0123456789abcdef", min_size=64, max_size=64), st.none() | st.text(), max_size=12))
def test_every_object_has_an_id_of_its_own_that_ecotaxa_takes(names: dict[str, str | None]) -> None:
    ids = object_ids(names)
    assert ids.keys() == names.keys()
    assert len({name.lower() for name in ids.values()}) == len(ids)
    assert all(0 < len(name) <= 255 and name.isprintable() and '"' not in name for name in ids.values())


def test_an_object_keeps_its_archives_name_while_it_is_the_only_one_of_that_name() -> None:
    ids = object_ids({"a" * 64: "scan_1_12", "b" * 64: "0001", "c" * 64: "0001", "d" * 64: None})
    assert ids == {
        "a" * 64: "scan_1_12",
        "b" * 64: "0001_" + "b" * 16,
        "c" * 64: "0001_" + "c" * 16,
        "d" * 64: "d" * 16,
    }


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    cleaned = clean_text(text)
    assert cleaned.isprintable()
    assert len(cleaned) <= 250
    assert clean_text(cleaned) == cleaned


sizes = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=40)


@given(sizes, st.integers(1, 9), st.integers(1, 200_000))
def test_zips_hold_every_image_once_and_stay_within_their_bounds(
    sizes: list[tuple[int, int]], max_images: int, max_bytes: int
) -> None:
    parts = list(parts_of(sizes, max_images=max_images, max_bytes=max_bytes))
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(len(sizes)))
    for part in parts:
        total = sum(ecotaxa.most_bytes(*size) for size in sizes[part])
        assert len(sizes[part]) <= max_images
        assert total <= max_bytes or len(sizes[part]) == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64), (400, 2)])
def test_no_image_is_larger_than_foreseen(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for image_format in ("png", "jpeg"):
        data = image_bytes(noise, image_format)  # type: ignore[arg-type]
        assert len(data) <= ecotaxa.most_bytes(shape[1], shape[0])
        assert Image.open(io.BytesIO(data)).size == (shape[1], shape[0])


def test_the_same_entries_give_the_same_zip(tmp_path: Path) -> None:
    one, other = zipped(tmp_path / "a.zip", [row(1)]), zipped(tmp_path / "b.zip", [row(1)])
    assert one.read_bytes() == other.read_bytes()


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        table_bytes([])
