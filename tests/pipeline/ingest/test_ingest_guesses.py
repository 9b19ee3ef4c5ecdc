"""Guesses at ingest: inverted masks, transparency, 12 bits, dark field; each is checked, and said in the report."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.imaging.arrays import Grey, Mask
from plankseg.imaging.masks import decode_mask, dice
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.ingest.register_images import IngestOptions, IngestReport, ingest_folder
from plankseg.storage.store import Store
from tests.support.archive_packing import jpeg, pack
from tests.support.little_store import noisy_image, square

SHAPE = noisy_image(0).shape


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def reasons(report: IngestReport) -> dict[str, str]:
    return {Path(problem.path).name: problem.reason for problem in report.problems}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def disc(seed: int) -> Mask:
    rows, columns = np.indices(SHAPE)
    return np.asarray((rows - SHAPE[0] / 2 - seed) ** 2 + (columns - SHAPE[1] / 2) ** 2 < 90)


def white_is_zero(mask: Mask) -> bytes:
    """An ImageJ mask: 255 on the object, and a tag that says that 255 is black."""
    height, width = mask.shape  # by hand: Pillow would turn the pixels round
    pixels = (mask * 255).astype(np.uint8).tobytes()
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 0), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(pixels)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\x00" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


def coloured(mask: Mask, inside: tuple[int, ...], outside: tuple[int, ...], mode: str) -> bytes:
    pixels = np.where(mask[..., None], np.array(inside), np.array(outside)).astype(np.uint8)
    return saved(Image.fromarray(pixels, mode))


def palette(mask: Mask) -> bytes:
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    return saved(image, transparency=0)


WRITERS = {
    "white on transparent": lambda m: coloured(m, (255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
    "black on transparent": lambda m: coloured(m, (0, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
    "red on transparent": lambda m: coloured(m, (255, 0, 0, 255), (0, 0, 0, 0), "RGBA"),
    "a hole in black": lambda m: coloured(m, (0, 0, 0, 0), (0, 0, 0, 255), "RGBA"),
    "opaque RGBA": lambda m: coloured(m, (255, 255, 255, 255), (0, 0, 0, 255), "RGBA"),
    "opaque RGBA, black": lambda m: coloured(m, (0, 0, 0, 255), (255, 255, 255, 255), "RGBA"),
    "LA": lambda m: coloured(m, (255, 255), (0, 0), "LA"),
    "LA, black": lambda m: coloured(m, (0, 255), (0, 0), "LA"),
    "palette over transparency": palette,
    "0 is object": lambda m: saved(Image.fromarray(np.where(m, 0, 255).astype(np.uint8))),
    "0 is object, 16 bits": lambda m: saved(Image.fromarray(np.where(m, 0, 1).astype(np.uint16))),
    "1 bit, inverted": lambda m: saved(Image.fromarray(~m)),
    "ImageJ": white_is_zero,
    "plain": lambda m: saved(Image.fromarray(m)),
    "2 is object, 1 is not": lambda m: saved(Image.fromarray(np.where(m, 2, 1).astype(np.uint8))),
}


@pytest.mark.parametrize("how", list(WRITERS))
@pytest.mark.parametrize("kind", ["pairs", "folder of masks"])
def test_masks_are_the_object_however_they_are_written(store: Store, tmp_path: Path, kind: str, how: str) -> None:
    truth = {str(seed): disc(seed) for seed in range(5)}
    suffix = "tif" if how == "ImageJ" else "png"
    files = {f"images/{name}.png": encode_grey(noisy_image(int(name))) for name in truth}
    files |= {f"masks/{name}.{suffix}": WRITERS[how](mask) for name, mask in truth.items()}
    folder = pack("folder", tmp_path / "a", files)
    options = None
    if kind == "folder of masks":
        folder, options = folder / "images", IngestOptions(masks=folder / "masks")
    report = ingest_folder(store, folder, role="validation", options=options)
    assert (report.added, report.masks, report.rejected) == (5, 5, [])
    for row in store.labels.current():
        mask = decode_mask(store.blobs.get(str(row.mask_sha), "png"))
        np.testing.assert_array_equal(mask, truth[str(store.catalogue.row(row.image_id).external_id)])
    inverts = how in (
        "a hole in black",
        "opaque RGBA, black",
        "0 is object",
        "0 is object, 16 bits",
        "1 bit, inverted",
        "ImageJ",
    )
    assert [("The masks were inverted" in note) for note in report.warnings()] == [True] * inverts


def test_one_mask_that_covers_the_border_is_refused_and_the_others_are_taken(store: Store, tmp_path: Path) -> None:
    masks = {str(seed): disc(seed) for seed in range(6)} | {"6": ~disc(6), "7": np.ones(SHAPE, bool)}
    files = {f"{name}.png": encode_grey(noisy_image(int(name))) for name in masks}
    files |= {f"{name}_mask.png": saved(Image.fromarray(mask)) for name, mask in masks.items()}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="validation")
    assert (report.added, sorted(reasons(report))) == (6, ["6.png", "7.png"])
    assert all(
        "covers 100 % of its image's border, as an inverted or a full mask" in r for r in reasons(report).values()
    )


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_inverted_masks_to_be_sure_of_are_refused(store: Store, tmp_path: Path, count: int) -> None:
    files = {f"{n}.png": encode_grey(noisy_image(n)) for n in range(count)}
    files |= {f"{n}_mask.png": saved(Image.fromarray(~disc(n))) for n in range(count)}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="validation")
    assert (report.masks, len(report.rejected)) == (0, count)


def test_a_mask_with_transparency_and_several_greys_is_refused(store: Store, tmp_path: Path) -> None:
    pixels = np.zeros((*SHAPE, 4), np.uint8)
    pixels[disc(0)] = (255, 255, 255, 255)
    pixels[square(SHAPE, 2)] = (90, 90, 90, 255)
    files = {"1.png": encode_grey(noisy_image(1)), "1_mask.png": saved(Image.fromarray(pixels, "RGBA"))}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="validation")
    assert "transparent pixels and 2 grey levels" in reasons(report)["1.png"]


def test_several_masks_of_an_image_are_taken_where_they_agree(store: Store, tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for n in range(3):
        files[f"{n}.tif"] = saved(Image.fromarray(noisy_image(n)), "TIFF")
        files[f"{n}_masks.tif"] = saved(Image.fromarray(disc(n).astype(np.uint16)), "TIFF")
        files[f"{n}_cp_masks.png"] = saved(Image.fromarray(disc(n if n else 3).astype(np.uint8)))
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="validation")
    assert (report.added, report.masks) == (2, 2)
    assert "differ, and all are named as masks of this image" in reasons(report)["0.tif"]


# --- bit depth ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [600, 3000, 4095])
def test_twelve_bits_in_sixteen_are_read_as_twelve_and_said(store: Store, tmp_path: Path, kind: str, top: int) -> None:
    wide = (noisy_image(1).astype(np.uint32) * top // int(noisy_image(1).max())).astype(np.uint16)
    suffix = {"PNG": "png", "TIFF": "tif"}[kind]
    report = ingest_folder(
        store, pack("folder", tmp_path / "a", {f"1.{suffix}": saved(Image.fromarray(wide), kind)}), role="pool"
    )
    (image_id,) = store.catalogue.ids("pool")
    assert int(store.catalogue.load(image_id).max()) == round(top * 255 / 4095)
    assert "1 images of 16 bits have values up to 4095 only and were read as 12 bits." in report.warnings()


def test_sixteen_bits_stay_sixteen_and_nearly_black_ones_are_refused(store: Store, tmp_path: Path) -> None:
    wide = noisy_image(1).astype(np.uint16)
    files = {
        "full.png": saved(Image.fromarray(wide * 257)),
        "half.png": saved(Image.fromarray(wide * 30)),
        "black.png": saved(Image.fromarray(wide)),
    }
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="pool")
    assert report.added == 2
    assert "so small that it is black" in reasons(report)["black.png"]
    assert not any("12 bits" in note for note in report.warnings())


# --- dark field -----------------------------------------------------------------------------------------------------
def bright(seed: int, background: int, noise: float = 1.0) -> tuple[Grey, Mask]:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((90, 120))
    mask = ((rows - 45) / rng.uniform(15, 25)) ** 2 + ((columns - 60) / rng.uniform(20, 33)) ** 2 < 1
    grey = np.where(mask, 190, background) + rng.normal(0, noise, mask.shape)
    return np.clip(grey, 0, 255).astype(np.uint8), np.asarray(mask)


@pytest.mark.parametrize(("background", "noise"), [(0, 0.0), (5, 1.0), (20, 3.0)])
def test_dark_field_images_get_the_bright_object_as_mask_and_it_is_said(
    store: Store, tmp_path: Path, background: int, noise: float
) -> None:
    drawn = {str(seed): bright(seed, background, noise) for seed in range(6)}
    files = {f"{name}.png": encode_grey(grey) for name, (grey, _) in drawn.items()}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="source")
    assert (report.masks, report.maskless) == (6, [])
    for row in store.labels.current():
        truth = drawn[str(store.catalogue.row(row.image_id).external_id)][1]
        assert dice(decode_mask(store.blobs.get(str(row.mask_sha), "png")), truth) > 0.95
    assert any(note.startswith("6 images were read as dark field") for note in report.warnings())


@pytest.mark.parametrize("side", ["top", "all sides"])
def test_a_dark_object_cut_off_at_the_border_is_no_dark_field(store: Store, tmp_path: Path, side: str) -> None:
    grey = np.full((90, 120), 235, np.uint8)
    animal = np.random.default_rng(1).normal(30, 18, grey.shape).clip(0, 255).astype(np.uint8)
    grey[:60] = animal[:60]
    if side == "all sides":
        grey = animal
        grey[20:70, 10:110] = 235  # most of the border is the object's
    report = ingest_folder(store, pack("folder", tmp_path / "a", {"1.png": encode_grey(grey)}), role="source")
    assert report.masks == 0
    assert "cut off" in report.maskless[0].reason


# --- windows, exports -----------------------------------------------------------------------------------------------
def test_a_zip_from_windows_keeps_its_classes_and_its_table(store: Store, tmp_path: Path) -> None:
    for name, extra in (("a", {}), ("b", {"export\\ecotaxa.tsv": TABLE})):
        folder = "export" if extra else "imgs\\Copepoda"
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for number in range(3):
                archive.writestr(f"{folder}\\{number}.jpg", jpeg(number + 10 * len(extra)))
            for file, text in extra.items():
                archive.writestr(file, text)
        ingest_folder(store, tmp_path / f"{name}.zip", role="pool")
    taxa = [row.taxon for row in store.catalogue.rows(store.catalogue.ids("pool"))]
    assert sorted(map(str, taxa)) == ["Copepoda"] * 3 + ["T0", "T1", "T2"]


TABLE = "img_file_name\tobject_id\tobject_annotation_category\n" + "".join(f"{i}.jpg\t{i}\tT{i}\n" for i in range(3))
