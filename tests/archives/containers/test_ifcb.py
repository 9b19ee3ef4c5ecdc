"""Bins of an Imaging FlowCytobot of both kinds: whole, empty, partial, cut off, renamed, and the real one."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.archives.containers.ifcb import IfcbBin, split_bins
from plankseg.archives.open_archive import open_archive
from plankseg.archives.open_container import open_container
from plankseg.errors import ArchiveError, SettingsError
from plankseg.imaging.reading import read_grey
from plankseg.storage.objects.blobs import sha256_of
from plankseg.storage.objects.image_files import is_lost, read_image_bytes
from tests.support.ifcb_bins import NEW, OLD, some_rows, write_bin


def images(location: Path | str) -> dict[str, np.ndarray]:
    return {record.entry.name: read_grey(record.entry.read()) for record in open_archive(location).records()}


def faults(location: Path | str) -> dict[str, str]:
    """What is left out of the bins of a folder, and why."""
    return {entry.name: entry.fault for entry in open_container(location).entries() if entry.fault is not None}


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "old"])
def test_each_row_with_pixels_is_an_image_called_by_its_ifcb_id(tmp_path: Path, is_new: bool) -> None:
    name, rows = NEW if is_new else OLD, some_rows()
    write_bin(tmp_path, rows, name=name, is_new=is_new)
    found = images(tmp_path)
    assert sorted(found) == [f"{name}_00001.png", f"{name}_00003.png"], "row 2 is a trigger without an image"
    assert np.array_equal(found[f"{name}_00001.png"], rows[0][3])
    assert np.array_equal(found[f"{name}_00003.png"], rows[2][3])
    records = list(open_archive(tmp_path).records())
    assert [record.external_id for record in records] == [f"{name}_00001", f"{name}_00003"]
    assert {record.taxon for record in records} == {None}, "the folder of a bin is no class"


def test_a_bin_is_named_by_any_of_its_files_or_without_suffix(tmp_path: Path) -> None:
    write_bin(tmp_path / "a", some_rows())
    write_bin(tmp_path / "a", some_rows()[:1], name="D20130526T101010_IFCB013")
    for suffix in (".adc", ".roi", ".hdr", ""):
        assert len(images(tmp_path / "a" / f"{NEW}{suffix}")) == 2
    assert len(images(tmp_path / "a")) == 3
    assert sorted(images(f"{tmp_path}/*/*.adc"))[0] == f"a/{NEW}_00001.png"


def test_images_are_read_again_in_place_and_missed_when_the_bin_is_cut_off(tmp_path: Path) -> None:
    path = write_bin(tmp_path / "fjord ø", some_rows()).with_suffix(".roi")
    for record in open_archive(tmp_path).records():
        data = record.entry.read()
        assert record.entry.uri is not None
        assert record.entry.uri.endswith(f"{NEW}_{int(record.entry.stem[-5:]):05d}.png")
        assert read_image_bytes(sha256_of(data), record.entry.uri) == data
        assert not is_lost(record.entry.uri)
    uri = record.entry.uri
    path.write_bytes(path.read_bytes()[:-1])
    assert is_lost(uri)
    path.unlink()
    assert is_lost(uri)


def test_the_png_of_an_image_depends_on_its_pixels_alone(tmp_path: Path) -> None:
    write_bin(tmp_path, some_rows([(300, 400)]))
    (entry,) = open_container(tmp_path / NEW).entries()
    assert sha256_of(entry.read()) == "50cf87d08280beb69bafca84dac5834af99c5778c1f0febd782a4203d19a53c8"
    with Image.open(io.BytesIO(entry.read())) as image:
        image.load()
        assert (image.mode, image.size) == ("L", (400, 300))


def test_two_parts_of_one_object_are_joined_in_bins_of_the_first_kind_only(tmp_path: Path) -> None:
    first, second = np.full((40, 50), 200, np.uint8), np.full((30, 60), 100, np.uint8)
    rows = [(1, 10, 10, first), (1, 50, 30, second), (2, 50, 30, second)]
    write_bin(tmp_path / "old", rows, name=OLD, is_new=False)
    write_bin(tmp_path / "new", rows)
    assert sorted(images(tmp_path / "new")) == [f"{NEW}_0000{n}.png" for n in (1, 2, 3)]
    found = images(tmp_path / "old")
    assert sorted(found) == [f"{OLD}_00001.png", f"{OLD}_00003.png"]
    joined = found[f"{OLD}_00001.png"]
    assert joined.shape == (50, 100)
    assert (joined[:20, :50] == 200).all()
    assert (joined[20:, 40:] == 100).all()
    corner = joined[:19, 51:]
    assert (corner == corner[0, 0]).all()
    assert 100 < corner[0, 0] < 200, "what neither part covers has the mean of the pixels beside it"
    apart = [(1, 10, 10, first), (1, 58, 30, second)]
    write_bin(tmp_path / "apart", apart, name=OLD, is_new=False)
    assert len(images(tmp_path / "apart")) == 2, "two columns in common are a coincidence"


def test_a_bin_that_was_renamed_or_has_no_header_is_read_by_its_columns(tmp_path: Path) -> None:
    for number, is_new in enumerate((True, False)):
        path = write_bin(tmp_path / str(number), some_rows(), name="prøve 海.v2", is_new=is_new)
        path.with_name(f"{path.name}.hdr").unlink()
        assert sorted(images(tmp_path / str(number))) == ["prøve 海.v2_00001.png", "prøve 海.v2_00003.png"]


def test_a_cut_off_roi_gives_what_is_whole_and_names_the_rest(tmp_path: Path) -> None:
    path = write_bin(tmp_path, some_rows()).with_suffix(".roi")
    path.write_bytes(path.read_bytes()[:2000])
    assert faults(tmp_path) == {
        f"{NEW}_00003.png": "its grey levels end at byte 2750, but the .roi has 2000 bytes: cut off; copy the bin again"
    }
    path.write_bytes(b"")
    assert len(faults(tmp_path)) == 2
    with pytest.raises(ArchiveError, match="has 0 bytes: cut off"):
        IfcbBin(path)


def test_an_adc_that_is_cut_off_is_noticed_by_its_last_row_or_by_the_bytes_behind_it(tmp_path: Path) -> None:
    path = write_bin(tmp_path, some_rows()).with_suffix(".adc")
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert faults(tmp_path) == {
        f"{NEW}_00003.png": "the .adc is cut off in its row; copy the bin again",
        NEW: "its .roi goes on for 1550 bytes behind the last image of its .adc, which is probably cut off; copy the "
        "bin again",
    }
    assert list(open_container(tmp_path / NEW).entries())[1].fault is None
    path.write_bytes(b"\r\n".join(whole.split(b"\r\n")[:1]) + b"\r\n")
    assert list(faults(tmp_path)) == [NEW]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1, what", "cannot be read"),
        ("1," * 13 + "0,0,-3,4,0,0", "width -3"),
        ("1," * 13 + "0,0,3.5,4,0,0", "no whole number"),
        ("1," * 13 + "0,0,nan,4,0,0", "no whole number"),
        ("1," * 13 + "0,0,1e300,4,0,0", "cut off"),
        ("1," * 13 + "0,0,30,40,99999999999999999999,0", "cut off"),
    ],
)
def test_a_damaged_row_costs_its_image_alone(tmp_path: Path, row: str, reason: str) -> None:
    path = write_bin(tmp_path, some_rows()).with_suffix(".adc")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], row, lines[2]]) + "\n")
    (fault,) = faults(tmp_path).items()
    assert fault[0] == f"{NEW}_00002.png"
    assert reason in fault[1]
    assert len([entry for entry in open_container(tmp_path).entries() if entry.fault is None]) == 2


def test_bins_without_a_file_or_an_image_say_so(tmp_path: Path) -> None:
    for suffix, reason in ((".roi", "a bin without its .roi, only .adc and .hdr"), (".adc", "a bin without its .adc")):
        folder = tmp_path / suffix
        write_bin(folder, some_rows()).with_suffix(suffix).unlink()
        with pytest.raises(ArchiveError, match=reason):
            open_archive(folder / NEW)
        with pytest.raises(SettingsError, match=reason):
            open_archive(folder)
    write_bin(tmp_path / "empty", [])
    with pytest.raises(ArchiveError, match=r"an empty bin: its \.adc lists no trigger"):
        open_archive(tmp_path / "empty" / f"{NEW}.adc")
    write_bin(tmp_path / "none", some_rows([None, None]))
    with pytest.raises(ArchiveError, match="none of its 2 triggers has one"):
        open_archive(tmp_path / "none" / f"{NEW}.hdr")
    with pytest.raises(ArchiveError, match=r"has no \.adc and no \.roi beside it"):
        open_archive(tmp_path / "none" / "other.adc")


def test_a_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = write_bin(tmp_path, some_rows())
    path.with_suffix(".hdr").write_text("ADCFileFormat: trigger#, ROIx, ROIy\n")
    with pytest.raises(ArchiveError, match=r"do not fit an \.adc of 24 fields a row"):
        IfcbBin(path)
    path.with_suffix(".hdr").unlink()
    path.with_suffix(".adc").write_text("1,2,3\n")
    with pytest.raises(ArchiveError, match="has 3 fields a row; 15 or 24 are known"):
        IfcbBin(path)
    path.with_suffix(".adc").write_bytes(b"\0\1\2")
    with pytest.raises(ArchiveError, match="NUL bytes"):
        IfcbBin(path)


def test_other_files_of_these_suffixes_are_no_bins() -> None:
    bins, others = split_bins(["cell.roi", "notes.adc", "a.png", "b.adc", "b.roi", f"{OLD}.hdr"])
    assert [sorted(group.values()) for group in bins] == [[f"{OLD}.hdr"], ["b.adc", "b.roi"]]
    assert others == ["a.png", "cell.roi", "notes.adc"]


def test_a_bin_in_a_zip_is_named_among_what_is_left_out(tmp_path: Path) -> None:
    path = write_bin(tmp_path, some_rows())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path.with_suffix(".roi"), f"day/{NEW}.roi")
        archive.writestr("1.png", next(open_container(path).entries()).read())
    found = open_archive(tmp_path / "a.zip")
    assert found.problems == [
        (f"day/{NEW}.roi", "a file of an IFCB bin, which is read from a folder only; unpack the bin")
    ]


def test_the_real_bin_has_the_images_that_ifcb_features_measured(real_data: Path) -> None:
    data = real_data / "ifcb-mit"
    found = images(data / "data")
    with zipfile.ZipFile(data / "golden" / "IFCB5_2012_028_081515_blobs_v4.zip") as archive:
        sizes = {name: Image.open(io.BytesIO(archive.read(name))).size for name in archive.namelist()}
    assert {name.rpartition("/")[2]: image.shape[::-1] for name, image in found.items()} == sizes
    for folder in ("empty", "invalid", "partial"):
        with pytest.raises(SettingsError, match="bin"):
            open_archive(data / folder)
