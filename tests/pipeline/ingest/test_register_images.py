"""Files of all kinds go in; each is taken, or left out with a reason, and the rest goes on."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.errors import ImageReadError, ObjectMissingError, SettingsError
from plankseg.imaging.arrays import Mask
from plankseg.imaging.masks import decode_mask, encode_mask
from plankseg.imaging.perceptual_hash import perceptual_hash
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.ingest import register_images
from plankseg.pipeline.ingest.given_masks import given_mask_of
from plankseg.pipeline.ingest.register_images import IngestOptions, IngestReport, ingest_folder
from plankseg.pipeline.pool.candidates import choosable
from plankseg.storage.store import Store
from tests.support.little_store import clean_image, noisy_image, square, write_images


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def reasons(report: IngestReport) -> dict[str, str]:
    return {Path(problem.path).name: problem.reason for problem in report.rejected}


def test_every_fault_of_a_pool_is_reported_with_its_reason_and_the_rest_goes_on(store: Store, tmp_path: Path) -> None:
    pool = write_images(tmp_path / "pool", range(3))
    validation = write_images(tmp_path / "validation", range(2, 3))
    ingest_folder(store, validation, role="validation")
    good = encode_grey(noisy_image(7))
    (pool / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    (pool / "cut.png").write_bytes(good[: len(good) // 2])
    (pool / "empty.png").write_bytes(b"")
    (pool / "huge.png").write_bytes(png_header(30_000, 30_000))
    (pool / "drawing.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (pool / "twin.png").write_bytes((pool / "0000.png").read_bytes())
    (pool / "notes.txt").write_text("not an image, and not called one")

    report = ingest_folder(store, pool, role="pool")

    problems = reasons(report)
    assert sorted(problems) == ["0002.png", "broken.jpg", "cut.png", "drawing.png", "empty.png", "huge.png", "twin.png"]
    assert "validation" in problems["0002.png"]
    assert "header" in problems["broken.jpg"]
    assert "cut off" in problems["cut.png"]
    assert "SVG" in problems["drawing.png"]
    assert "0 bytes" in problems["empty.png"]
    assert "30000 x 30000" in problems["huge.png"]
    assert "same bytes" in problems["twin.png"]
    assert "0000.png" in problems["twin.png"]
    assert (report.added, report.ignored, report.known) == (2, 1, 0)
    assert store.catalogue.counts() == {"source": 0, "pool": 2, "validation": 1}


def test_ingest_again_adds_nothing(store: Store, tmp_path: Path) -> None:
    source = write_images(tmp_path / "source", range(3), draw=clean_image)
    (source / "twin.png").write_bytes((source / "0000.png").read_bytes())
    first = ingest_folder(store, source, role="source")
    labels, images = store.tables.version("labels"), store.tables.version("images")

    again = ingest_folder(store, source, role="source")

    assert (first.added, first.masks, again.added, again.masks) == (3, 3, 0, 0)
    assert again.known == 4
    assert again.rejected == []
    assert (store.tables.version("labels"), store.tables.version("images")) == (labels, images)


@pytest.mark.parametrize("dies_in", ["labels", "catalogue"])
def test_a_killed_ingest_is_completed_by_a_second_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    source = write_images(tmp_path / "source", range(5), draw=clean_image)
    monkeypatch.setattr(register_images, "CHUNK", 2)
    owner = getattr(store, dies_in)
    original, calls = owner.add, 0

    def add(rows: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return int(original(rows))

    monkeypatch.setattr(owner, "add", add)
    with pytest.raises(KeyboardInterrupt):
        ingest_folder(store, source, role="source")
    assert store.catalogue.counts()["source"] == 2
    monkeypatch.undo()

    report = ingest_folder(store, source, role="source")

    assert (report.added, report.known) == (3, 2)
    assert sorted(row.image_id for row in store.labels.current()) == store.catalogue.ids("source")
    assert len(store.tables.read("labels")) == 5


def test_a_source_image_gets_an_automatic_mask_or_a_recorded_reason(store: Store, tmp_path: Path) -> None:
    source = write_images(tmp_path / "source", range(2), draw=clean_image)
    (source / "blank.png").write_bytes(encode_grey(np.full((50, 60), 255, np.uint8)))

    report = ingest_folder(store, source, role="source")

    assert (report.added, report.masks, len(report.maskless)) == (3, 2, 1)
    assert report.fates() == "Images without a mask: 1. They are not trained on."
    assert report.maskless[0].path.endswith("blank.png")
    assert report.maskless[0].reason
    rows = store.labels.current()
    assert [row.status for row in rows].count("usable") == 2
    for row in rows:
        if row.status == "usable":
            assert decode_mask(store.blobs.get(str(row.mask_sha), "png")).any()
        else:
            assert (row.status, row.reason) == ("unusable", report.maskless[0].reason)


def test_a_pool_gets_automatic_masks_only_where_they_are_wanted_also_later(store: Store, tmp_path: Path) -> None:
    pool = write_images(tmp_path / "pool", range(3), draw=clean_image)
    (pool / "blank.png").write_bytes(encode_grey(np.full((50, 60), 255, np.uint8)))
    assert ingest_folder(store, pool, role="pool").masks == 0
    assert store.labels.current() == []
    wanted = IngestOptions(automatic_masks=True)
    report = ingest_folder(store, pool, role="pool", options=wanted)
    assert (report.added, report.known, report.masks, len(report.maskless)) == (0, 4, 3, 1)
    assert report.fates() == "Images without a mask: 1. They can still be chosen for a round."
    rows = store.labels.current()
    assert {row.origin for row in rows} == {"threshold"}
    assert [row.status for row in rows].count("usable") == 3
    assert len(choosable(store)) == 4  # a person may still be asked for each of them
    assert ingest_folder(store, pool, role="pool", options=wanted).masks == 0
    assert len(store.labels.current()) == 4
    assert ingest_folder(store, pool, role="validation", options=wanted).masks == 0


def test_given_masks_are_taken_as_they_are_and_unfit_ones_left_out_with_a_reason(store: Store, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", range(6))
    shape = noisy_image(0).shape
    masks = tmp_path / "masks"
    masks.mkdir()
    good = square(shape, 10)
    (masks / "0000.png").write_bytes(encode_mask(good))
    (masks / "0000.json").write_text("{}")
    (masks / "0001.png").write_bytes(encode_mask(square((shape[0] + 1, shape[1]), 10)))
    (masks / "0002.png").write_bytes(encode_grey(noisy_image(2)))
    (masks / "0003.png").write_bytes(b"no picture")
    (masks / "0004.png").write_bytes(encode_mask(np.zeros(shape, dtype=bool)))

    report = ingest_folder(store, images, role="validation", options=IngestOptions(masks=masks))

    problems = reasons(report)
    assert sorted(problems) == ["0001.png", "0002.png", "0003.png", "0005.png"]
    assert f"is 41 x {shape[0] + 1} but its image is 41 x {shape[0]}" in problems["0001.png"]
    assert "grey values" in problems["0002.png"]
    assert str(masks / "0003.png") in problems["0003.png"]
    assert "No mask" in problems["0005.png"]
    assert (report.added, report.masks) == (2, 2)
    by_name = {str(store.catalogue.row(row.image_id).external_id): row for row in store.labels.current()}
    assert by_name["0000"].origin == "given"
    np.testing.assert_array_equal(decode_mask(store.blobs.get(str(by_name["0000"].mask_sha), "png")), good)
    assert not decode_mask(store.blobs.get(str(by_name["0004"].mask_sha), "png")).any()


def test_a_mask_larger_than_the_usual_limit_is_read_if_its_image_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", range(1))
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "0000.png").write_bytes(encode_mask(square(noisy_image(0).shape, 5)))
    small = noisy_image(0).size - 1
    assert (
        "announces"
        in reasons(ingest_folder(store, images, role="pool", options=IngestOptions(masks=masks, max_pixels=small)))[
            "0000.png"
        ]
    )
    assert (
        ingest_folder(store, images, role="pool", options=IngestOptions(masks=masks, max_pixels=small + 1)).masks == 1
    )


@pytest.mark.parametrize("name", ["a[1].b", "star*", "a.b"])
def test_masks_are_found_by_the_whole_name_whatever_signs_are_in_it(store: Store, tmp_path: Path, name: str) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    (images / f"{name}.png").write_bytes(encode_grey(noisy_image(1)))
    (masks / f"{name}.c.png").write_bytes(encode_mask(square(noisy_image(1).shape, 3)))
    assert (
        "No mask"
        in reasons(ingest_folder(store, images, role="validation", options=IngestOptions(masks=masks)))[f"{name}.png"]
    )
    (masks / f"{name}.png").write_bytes(encode_mask(square(noisy_image(1).shape, 9)))
    assert ingest_folder(store, images, role="validation", options=IngestOptions(masks=masks)).masks == 1


def test_a_file_name_that_is_not_utf8_is_rejected_with_a_reason_and_the_rest_goes_on(
    store: Store, tmp_path: Path
) -> None:
    pool = write_images(tmp_path / "pool", range(1))
    for name in (b"caf\xe9.png", b"\xe9t\xe9/a.png"):
        path = Path(os.fsdecode(os.fsencode(pool) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_grey(noisy_image(7)))
    report = ingest_folder(store, pool, role="pool")
    assert report.added == 1
    assert [problem.reason for problem in report.rejected] == [
        "its name, or a folder's above it, is not valid UTF-8; rename it"
    ] * 2
    assert r"caf\udce9.png" in report.rejected[0].path
    for problem in report.rejected:
        problem.path.encode()  # can be shown and logged


def sixteen_bits(mask: Mask, low: int, high: int, suffix: str, **tags: object) -> bytes:
    out = io.BytesIO()
    pixels = np.where(mask, high, low).astype(np.uint16)
    Image.fromarray(pixels).save(out, {"png": "PNG", "tif": "TIFF"}[suffix], **tags)
    return out.getvalue()


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 65535), (1, 2), (300, 400)])
def test_a_16_bit_mask_is_read_by_its_own_values_however_small(
    store: Store, tmp_path: Path, low: int, high: int, suffix: str
) -> None:
    images, mask = write_images(tmp_path / "images", range(1)), square(noisy_image(0).shape, 9)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / f"0000.{suffix}").write_bytes(sixteen_bits(mask, low, high, suffix))
    assert ingest_folder(store, images, role="validation", options=IngestOptions(masks=tmp_path / "masks")).masks == 1
    (row,) = store.labels.current()
    np.testing.assert_array_equal(decode_mask(store.blobs.get(str(row.mask_sha), "png")), mask)


def test_a_16_bit_mask_of_three_values_or_of_unreadable_small_ones_is_left_out(store: Store, tmp_path: Path) -> None:
    images, mask = write_images(tmp_path / "images", range(2)), square(noisy_image(0).shape, 9)
    (tmp_path / "masks").mkdir()
    three = np.where(mask, 65535, 0).astype(np.uint16)
    three[-1, -1] = 1
    Image.fromarray(three).save(tmp_path / "masks" / "0000.png")
    turned = sixteen_bits(mask, 0, 1, "tif", tiffinfo={0x0112: 3})
    (tmp_path / "masks" / "0001.tif").write_bytes(turned)
    problems = reasons(ingest_folder(store, images, role="validation", options=IngestOptions(masks=tmp_path / "masks")))
    assert "3 grey values" in problems["0000.png"]
    assert "16 bits are scaled to 8, which may hide a mask" in problems["0001.png"]


def test_masks_handed_in_later_are_taken_where_there_is_no_usable_label_yet(store: Store, tmp_path: Path) -> None:
    validation, shape = write_images(tmp_path / "validation", range(3)), noisy_image(0).shape
    (validation / "twin.png").write_bytes((validation / "0000.png").read_bytes())
    ingest_folder(store, validation, role="validation")
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("0000.png", "twin.png"):
        (masks / name).write_bytes(encode_mask(square(shape, 10)))
    (masks / "0001.png").write_bytes(encode_mask(square((shape[0] + 1, shape[1]), 10)))
    report = ingest_folder(store, validation, role="validation", options=IngestOptions(masks=masks))
    assert (report.added, report.known, report.masks, report.rejected) == (0, 4, 1, [])
    problems = {Path(problem.path).name: problem.reason for problem in report.maskless}
    assert sorted(problems) == ["0001.png", "0002.png"]
    assert "but its image is" in problems["0001.png"]
    assert "No mask" in problems["0002.png"]
    (row,) = store.labels.current()
    assert (row.origin, row.status) == ("given", "usable")
    version = store.labels.version()
    (masks / "0000.png").write_bytes(encode_mask(square(shape, 20)))
    assert ingest_folder(store, validation, role="validation", options=IngestOptions(masks=masks)).masks == 0
    assert store.labels.version() == version
    assert store.catalogue.counts()["validation"] == 3


def test_a_mask_handed_in_later_helps_a_source_image_whose_automatic_mask_failed(store: Store, tmp_path: Path) -> None:
    source = write_images(tmp_path / "source", range(1), draw=clean_image)
    blank = np.full((50, 60), 255, np.uint8)
    (source / "blank.png").write_bytes(encode_grey(blank))
    ingest_folder(store, source, role="source")
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, shape in (("blank.png", blank.shape), ("0000.png", (60, 70))):
        (masks / name).write_bytes(encode_mask(square(shape, 5)))
    assert ingest_folder(store, source, role="source", options=IngestOptions(masks=masks)).masks == 1
    assert sorted((row.origin, row.status) for row in store.labels.current()) == [
        ("given", "usable"),
        ("threshold", "usable"),
    ]


def test_a_moved_image_is_found_again_by_an_ingest_of_its_new_folder(store: Store, tmp_path: Path) -> None:
    pool = write_images(tmp_path / "pool", range(3))
    ingest_folder(store, pool, role="pool")
    (image_id,) = (row.image_id for row in store.catalogue.rows(store.catalogue.ids("pool")) if "0001" in row.uri)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (pool / "0001.png").rename(elsewhere / "b.png")
    (elsewhere / "copy.png").write_bytes((pool / "0000.png").read_bytes())
    with pytest.raises(ObjectMissingError, match="run ingest on the folder it moved to"):
        store.catalogue.load(image_id)

    report = ingest_folder(store, elsewhere, role="pool")

    assert (report.added, report.known, report.moved) == (0, 2, 1)
    assert "2 known (1 at a new place)" in report.summary()
    np.testing.assert_array_equal(store.catalogue.load(image_id), noisy_image(1))
    np.testing.assert_array_equal(Store.open(store.root).catalogue.load(image_id), noisy_image(1))
    assert store.catalogue.counts()["pool"] == 3
    version = store.tables.version("images")
    assert ingest_folder(store, elsewhere, role="pool").moved == 0
    assert store.tables.version("images") == version


def test_a_moved_validation_image_is_found_again_in_the_pool_and_stays_for_validation(
    store: Store, tmp_path: Path
) -> None:
    validation = write_images(tmp_path / "validation", range(1))
    ingest_folder(store, validation, role="validation")
    validation.rename(tmp_path / "pool")
    report = ingest_folder(store, tmp_path / "pool", role="pool")
    assert (report.moved, len(report.rejected)) == (1, 1)
    (image_id,) = store.catalogue.ids("validation")
    np.testing.assert_array_equal(store.catalogue.load(image_id), noisy_image(0))


def test_the_mask_of_an_image_is_found_at_any_depth_with_any_suffix(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    shape = noisy_image(0).shape
    write_images(images / "Copepoda" / "juvenile", range(1))
    (masks / "Copepoda" / "juvenile").mkdir(parents=True)
    mask = square(shape, 7)
    (masks / "Copepoda" / "juvenile" / "0000.tiff").write_bytes(sixteen_bits(mask, 0, 255, "tif"))
    image = images / "Copepoda" / "juvenile" / "0000.png"
    np.testing.assert_array_equal(given_mask_of(image, images=images, masks=masks, grey=noisy_image(0)), mask)
    with pytest.raises(ImageReadError, match="does not lie below"):
        given_mask_of(image, images=images / "Appendicularia", masks=masks, grey=noisy_image(0))


def test_a_folder_that_is_none_or_holds_no_image_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere does not exist"):
        ingest_folder(store, tmp_path / "nowhere", role="pool")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(SettingsError, match="no image files"):
        ingest_folder(store, tmp_path / "texts", role="pool")
    images = write_images(tmp_path / "images", range(1))
    with pytest.raises(SettingsError, match="holds the masks"):
        ingest_folder(store, images, role="validation", options=IngestOptions(masks=tmp_path / "nowhere"))
    assert store.catalogue.counts() == {"source": 0, "pool": 0, "validation": 0}


def test_sub_folders_are_taken_as_taxa(store: Store, tmp_path: Path) -> None:
    write_images(tmp_path / "pool" / "Copepoda", range(1))
    write_images(tmp_path / "pool", range(1, 2))
    ingest_folder(store, tmp_path / "pool", role="pool", options=IngestOptions(dataset="cruise 7"))
    rows = {str(row.external_id): row for row in store.catalogue.rows(store.catalogue.ids("pool"))}
    assert rows["0000"].taxon == "Copepoda"
    assert rows["0001"].taxon is None
    assert {row.dataset for row in rows.values()} == {"cruise 7"}
    assert (rows["0000"].width, rows["0000"].height) == (41, 34)


def test_a_validation_set_that_comes_after_the_pool_takes_its_images_out_of_it(store: Store, tmp_path: Path) -> None:
    pool = write_images(tmp_path / "pool", range(3))
    ingest_folder(store, pool, role="pool")
    ingest_folder(store, write_images(tmp_path / "validation", range(1)), role="validation")
    assert store.catalogue.counts() == {"source": 0, "pool": 2, "validation": 1}
    assert set(choosable(store)).isdisjoint(store.catalogue.ids("validation"))
    assert len(choosable(store)) == 2
    again = ingest_folder(store, pool, role="pool")
    assert (again.added, again.known) == (0, 2)
    assert "validation" in reasons(again)["0000.png"]


def test_an_image_of_the_source_is_left_out_of_the_pool(store: Store, tmp_path: Path) -> None:
    ingest_folder(store, write_images(tmp_path / "source", range(2), draw=clean_image), role="source")
    pool = write_images(tmp_path / "pool", range(1, 3), draw=clean_image)
    for _ in range(2):
        report = ingest_folder(store, pool, role="pool")
        assert "source" in reasons(report)["0001.png"]
    assert store.catalogue.counts() == {"source": 2, "pool": 1, "validation": 0}


def test_a_validation_image_handed_in_as_source_gets_no_automatic_mask(store: Store, tmp_path: Path) -> None:
    ingest_folder(store, write_images(tmp_path / "validation", range(1), draw=clean_image), role="validation")
    report = ingest_folder(store, write_images(tmp_path / "source", range(2), draw=clean_image), role="source")
    assert "validation" in reasons(report)["0000.png"]
    assert [row.image_id for row in store.labels.current()] == store.catalogue.ids("source")


def test_progress_is_told_for_every_file(store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pool = write_images(tmp_path / "pool", range(3))
    (pool / "empty.png").touch()
    report = ingest_folder(store, pool, role="pool", on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert report.summary() == "pool: 3 new images, 0 known, 0 masks, 0 without, 1 file rejected, 0 other files ignored"


def test_every_role_gets_its_perceptual_hash_when_it_is_read(store: Store, tmp_path: Path) -> None:
    for role in ("source", "pool", "validation"):
        folder = write_images(tmp_path / role, range(2), draw=clean_image if role == "source" else noisy_image)
        (folder / "again.png").write_bytes((folder / "0000.png").read_bytes())
        ingest_folder(store, folder, role=role)  # type: ignore[arg-type]
    assert list(store.catalogue.hashes("validation").values()) == [
        perceptual_hash(store.catalogue.load(image_id)) for image_id in store.catalogue.ids("validation")
    ]
    assert None not in (store.catalogue.hashes("source") | store.catalogue.hashes("validation")).values()
