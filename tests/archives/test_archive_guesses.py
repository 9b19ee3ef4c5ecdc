"""Layouts, tables and names that do not agree: no guess is made that most files speak against, and all is told."""

import gzip
from pathlib import Path

import pytest

from plankseg.archives import metadata_tables, open_archive
from plankseg.archives.layouts import Record
from plankseg.archives.metadata_tables import Meaning, read_table
from plankseg.archives.open_archive import Archive, Choice
from plankseg.errors import ArchiveError, SettingsError
from tests.support.archive_packing import jpeg, pack

ECOTAXA = "img_file_name\tobject_id\tsample_id\tobject_annotation_category\timg_rank\n"


def read(
    tmp_path: Path, files: dict[str, bytes | str], *, kind: str = "folder", layout: Choice = "auto"
) -> tuple[Archive, dict[str, Record], dict[str, str]]:
    """The archive, what of it is taken, and what is rejected with its reason."""
    data = {name: value.encode() if isinstance(value, str) else value for name, value in files.items()}
    archive = open_archive.open_archive(pack(kind, tmp_path / "a", data), layout=layout)
    records = {record.entry.name: record for record in archive.records()}
    taken = {name: record for name, record in records.items() if record.fault is None}
    rejected = {name: str(record.fault) for name, record in records.items() if record.fault is not None}
    return archive, taken, rejected | dict(archive.problems)


def images(*names: str) -> dict[str, bytes | str]:
    return {name: jpeg(number) for number, name in enumerate(names)}


# --- objects and names that several share ---------------------------------------------------------------------------
def test_objects_that_share_an_id_are_all_taken(tmp_path: Path) -> None:
    rows = "".join(f"o{i}.png\t{i % 2}\ts{i // 2}\tTaxon{i}\t0\n" for i in range(4))
    _, taken, _ = read(tmp_path, images(*(f"o{i}.png" for i in range(4))) | {"ecotaxa_export.tsv": ECOTAXA + rows})
    assert {name: record.taxon for name, record in taken.items()} == {f"o{i}.png": f"Taxon{i}" for i in range(4)}


def test_objects_that_share_an_id_are_taken_without_ranks_and_without_samples_too(tmp_path: Path) -> None:
    table = "img_file_name,object_id\n" + "".join(f"o{i}.png,same\n" for i in range(3))
    _, taken, _ = read(tmp_path, images(*(f"o{i}.png" for i in range(3))) | {"t.csv": table})
    assert len(taken) == 3


def test_of_two_samples_objects_of_one_id_each_gives_its_lowest_rank_and_the_others_are_counted(tmp_path: Path) -> None:
    rows = "a.png\t1\ts1\tX\t0\nb.png\t1\ts1\tX\t1\nc.png\t1\ts2\tX\t1\nd.png\t1\ts2\tX\t2\n"
    archive, taken, rejected = read(tmp_path, images("a.png", "b.png", "c.png", "d.png") | {"t.tsv": ECOTAXA + rows})
    assert sorted(taken) == ["a.png", "c.png"]
    assert rejected == {}
    assert "2 images were left out because the same object has one of a lower img_rank" in archive.notes[0]


@pytest.mark.parametrize("written", ["A/1.png", "A\\1.png", "./A/1.png", "/home/someone/export/A/1.png"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_row_that_names_one_folder_says_nothing_of_another(tmp_path: Path, kind: str, written: str) -> None:
    files = images("A/1.png", "B/1.png")
    table = f"file,taxon,area,object_id\n{written},Copepoda,2000,a1\n"
    archive, taken, _ = read(tmp_path, files | {"t.csv": table}, kind=kind)
    assert (taken["A/1.png"].taxon, taken["A/1.png"].area_px, taken["A/1.png"].external_id) == ("Copepoda", 2000, "a1")
    assert (taken["B/1.png"].taxon, taken["B/1.png"].area_px, taken["B/1.png"].external_id) == (None, None, "1")
    assert "1 images, such as B/1.png, have no taxon" in archive.notes[0]


def test_folders_are_classes_where_a_table_gives_no_taxon_or_names_few_images(tmp_path: Path) -> None:
    files = images("A/1.png", "B/1.png", "B/2.png")
    _, taken, _ = read(tmp_path, files | {"t.csv": "file,area\nA/1.png,2000\n"})
    assert {record.taxon for record in taken.values()} == {"A", "B"}
    _, taken, _ = read(tmp_path / "few", files | {"t.csv": "file,taxon\nB/2.png,Egg\n"})
    assert {name: record.taxon for name, record in taken.items()} == {"A/1.png": "A", "B/1.png": "B", "B/2.png": "Egg"}


def test_an_export_that_names_one_folder_rejects_the_file_of_the_same_name_in_another(tmp_path: Path) -> None:
    table = "img_file_name\tobject_id\tobject_annotation_category\nA/1.png\ta1\tCopepoda\n"
    _, taken, rejected = read(tmp_path, images("A/1.png", "B/1.png", "1.png") | {"ecotaxa.tsv": table})
    assert sorted(taken) == ["A/1.png"]
    assert "no row of ecotaxa.tsv names it" in rejected["B/1.png"]
    assert "1.png" in rejected


def test_a_bare_name_that_several_files_have_gives_nothing_to_any_and_says_so(tmp_path: Path) -> None:
    files = images("A/1.png", "B/1.png", "B/2.png")
    archive, taken, _ = read(tmp_path, files | {"t.csv": "file,taxon,area\n1.png,Egg,7\n2.png,Calanus,9\n"})
    assert {name: record.taxon for name, record in taken.items()} == {
        "A/1.png": None,
        "B/1.png": None,
        "B/2.png": "Calanus",
    }
    assert "2 images, such as A/1.png, got no taxon or area" in archive.notes[0]
    _, taken, rejected = read(tmp_path / "e", files | {"t.tsv": "img_file_name\tobject_id\n1.png\t1\n2.png\t2\n"})
    assert sorted(taken) == ["B/2.png"]
    assert "several files have its name" in rejected["A/1.png"]


def test_a_table_of_objects_gives_no_area_to_two_files_of_one_stem(tmp_path: Path) -> None:
    archive, taken, _ = read(tmp_path, images("A/7.png", "B/7.png", "B/8.png") | {"f.csv": "objid,area\n7,50\n8,60\n"})
    assert {name: record.area_px for name, record in taken.items()} == {"A/7.png": None, "B/7.png": None, "B/8.png": 60}
    assert "several files have their name" in archive.notes[0]


def test_rows_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    archive, taken, rejected = read(tmp_path, images("1.png") | {"t.csv": "file,taxon\n1.png,Egg\n1.png,Fish\n"})
    assert (taken["1.png"].taxon, rejected) == ("Egg", {})
    assert "named by several rows that differ" in archive.notes[0]


# --- one stray file --------------------------------------------------------------------------------------------------
def test_a_stray_export_does_not_decide_for_forty_images(tmp_path: Path) -> None:
    files = images(*(f"Calanus/{i}.png" for i in range(40)))
    stray = "img_file_name\tobject_id\tobject_annotation_category\n3.png\to3\tEgg\n"
    archive, taken, _ = read(tmp_path, files | {"old.tsv": stray})
    assert (archive.layout, len(taken)) == ("table", 40)
    assert {record.taxon for record in taken.values()} == {"Calanus", "Egg"}
    assert "old.tsv looks like an EcoTaxa export, but names 2 % of 40 images" in archive.notes[0]
    assert read(tmp_path, files | {"old.tsv": stray}, layout="ecotaxa")[0].layout == "ecotaxa"


@pytest.mark.parametrize("stray", ["Calanus/3_mask.png", "Calanus/3-masks.png", "labels/Calanus/3.png"])
def test_a_stray_mask_does_not_decide_and_is_no_image(tmp_path: Path, stray: str) -> None:
    files = images(*(f"Calanus/{i}.png" for i in range(40)), stray)
    archive, taken, rejected = read(tmp_path, files)
    assert (archive.layout, len(taken)) == ("class_folders", 40)
    assert "mask of another image" in rejected[stray]
    assert "only 2 % have one" in archive.notes[0]


@pytest.mark.parametrize(
    "mask",
    [
        "{}_mask.png",
        "{}_masks.tif",
        "{}_cp_masks.png",
        "{}-mask.png",
        "{}.mask.png",
        "{}_seg.png",
        "{}_gt.png",
        "labels/{}.png",
        "gt/{}.png",
        "masks/{}.png",
        "Masks/{}_mask.png",
        "ground_truth/{}.tif",
        "mask/{}_labels.png",
    ],
)
@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_masks_by_any_usual_name_are_masks_and_never_images(tmp_path: Path, kind: str, mask: str) -> None:
    files = images(*(f"{i}.png" for i in range(4)), *(mask.format(i) for i in range(4)))
    archive, taken, rejected = read(tmp_path, files, kind=kind)
    assert sorted(taken) == [f"{i}.png" for i in range(4)]
    assert archive.layout == ("pairs" if kind == "folder" else "class_folders")
    if kind == "tar.gz":
        assert len(rejected) == 4
        assert "compressed tar" in archive.notes[0]


def test_a_class_that_is_called_like_masks_is_a_class(tmp_path: Path) -> None:
    _, taken, _ = read(tmp_path, images("Labels/1.png", "Masked crab/2.png", "Egg/3_seg.png"))
    assert {record.taxon for record in taken.values()} == {"Labels", "Masked crab", "Egg"}


def test_two_images_of_one_mask_and_masks_without_images_are_told(tmp_path: Path) -> None:
    files = images("1.png", "1.jpg", "2.png", "3.png", "1_mask.png", "2_mask.png", "3_mask.png", "9_mask.png")
    _, taken, rejected = read(tmp_path, files)
    assert sorted(taken) == ["2.png", "3.png"]
    assert "share the mask 1_mask.png" in rejected["1.jpg"]
    assert rejected["9_mask.png"] == "a mask without its image"


# --- everything that looks like a table, an image or an archive ------------------------------------------------------
TEXT = "file\tclass\tarea\n1.png\tÉponge\t12,5\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-8-sig"),
        b"\n\r\n" + TEXT.encode(),
        b"# made by hand\n" + TEXT.encode(),
        b"sep=\t\r\n" + TEXT.encode(),
        b'"sep=\t"\n' + TEXT.encode(),
        b"sep=;\n\n" + TEXT.encode("latin-1").replace(b"\t", b";"),
        b"% first\n;;;\n" + TEXT.encode().replace(b"\t", b";"),
        TEXT.encode().replace(b"\t", b"|"),
    ],
)
@pytest.mark.parametrize("name", ["t.tsv", "ecotaxa_1.txt", "t.txt.gz"])
def test_a_table_is_read_whatever_stands_before_it_and_however_it_is_written(
    tmp_path: Path, name: str, data: bytes
) -> None:
    packed = gzip.compress(data) if name.endswith(".gz") else data
    archive, taken, rejected = read(tmp_path, images("1.png") | {name: packed})
    assert (taken["1.png"].taxon, taken["1.png"].area_px) == ("Éponge", 12.5)
    assert (archive.layout, rejected) == ("table", {})


def test_what_looks_like_a_table_an_image_or_an_archive_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    told = {
        "stations.csv": "station,depth\n1,2\n",
        "book.xlsx": "x",
        "photo.bmp": "x",
        "photo.HEIC": "x",
        "part2.zip": "x",
        "more/ExportImages.zip": "x",
        "old.rar": "x",
        "3.png.gz": "x",
        "broken.tsv": "file\tarea\n" + "x" * (5 * 2**20),
    }
    silent = {"readme.txt": "Some words, and more.\n", "notes.md": "x", "._1.png": "x", "file.txt": "file\nlist\n"}
    for kind in ("folder", "zip"):
        archive, taken, rejected = read(tmp_path, images("A/1.png") | told | silent, kind=kind)
        assert sorted(taken) == ["A/1.png"]
        assert sorted(rejected) == sorted(told)
        assert all(rejected.values())
        assert archive.ignored == len(silent)


def test_a_table_that_the_layout_does_not_use_is_told(tmp_path: Path) -> None:
    files = images("A/1.png", "A/2.png") | {
        "ecotaxa.tsv": "img_file_name\tobject_id\n1.png\t1\n2.png\t2\n",
        "mine.csv": "file,taxon\n1.png,Egg\n",
    }
    assert "not used in the layout ecotaxa" in read(tmp_path, files)[2]["mine.csv"]
    assert sorted(read(tmp_path, files, layout="class_folders")[2]) == ["ecotaxa.tsv", "mine.csv"]


def test_a_table_with_stray_zeros_is_read_in_any_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16"):
        data = TEXT.replace("Éponge", "É\0pon\0ge").encode(encoding)
        _, taken, _ = read(tmp_path / encoding, images("1.png") | {"t.tsv": data})
        assert taken["1.png"].taxon == "Éponge"


@pytest.mark.parametrize("cut", [3, 30, 60])
def test_a_compressed_tar_that_is_cut_off_in_its_first_header_is_refused(tmp_path: Path, cut: int) -> None:
    path = pack("tar.gz", tmp_path / "a", {"1.jpg": jpeg(1)})
    path = path.rename(tmp_path / "without a suffix")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArchiveError, match="cut off or damaged"):
        open_archive.open_archive(path)


def test_an_archive_that_holds_archives_only_says_which(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"inner\.zip: an archive inside; ingest it by itself"):
        read(tmp_path, {"inner.zip": "x"}, kind="zip")


# --- rows and bounds ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rank", ["-1e308", "1e308", "inf", "nan", "9" * 400, "first", "1;2"])
def test_an_impossible_rank_costs_its_row(tmp_path: Path, rank: str) -> None:
    table = f"img_file_name\tobject_id\timg_rank\n1.png\to1\t{rank}\n2.png\to2\t0\n3.png\to3\t\n4.png\to4\t1,0\n"
    _, taken, rejected = read(tmp_path, images("1.png", "2.png", "3.png", "4.png") | {"t.tsv": table})
    assert sorted(taken) == ["2.png", "3.png", "4.png"]
    assert rejected["t.tsv"].startswith("row 2 has the rank")
    assert "no row of" in rejected["1.png"]


def test_tables_are_bounded_in_sum_and_faulty_rows_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_archive, "MAX_ROWS", 5)
    rows = "file,area\n1.png,5\n2.png,5\n3.png,5\n"
    _, _, rejected = read(tmp_path, images("1.png") | {"a.csv": rows, "b.csv": rows})
    assert "more than the 2 rows that are read" in rejected["b.csv"]
    monkeypatch.setattr(metadata_tables, "UNREADABLE_SHOWN", 2)
    wanted: dict[Meaning, str] = {}
    with (tmp_path / "c.csv").open("w+b") as file:
        file.write(b"file,area\n" + b"1.png\n" * 7)
        file.seek(0)
        table = read_table("c.csv", file, wanted=wanted)
    assert table is not None
    assert table.unreadable[-1] == "5 more rows cannot be used"


def test_missing_files_and_rejected_ones_are_listed_up_to_a_bound_and_then_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plankseg.archives import layouts

    monkeypatch.setattr(layouts, "MISSING_LISTED", 3)
    rows = "file,area\n" + "".join(f"gone{i}.png,5\n" for i in range(10))
    _, _, rejected = read(tmp_path, images("1.png") | {"a.csv": rows})
    assert rejected["a.csv"] == "7 more of its rows name files that are not there"
    assert len(rejected) == 4
    monkeypatch.setattr(open_archive, "MAX_PROBLEMS", 2)
    archive, _, _ = read(tmp_path, images("1.png") | {f"{i}.bmp": "x" for i in range(5)} | {"a.csv": rows})
    assert (len(archive.problems), archive.unlisted) == (2, 3 + 4)


def test_a_name_that_a_million_rows_have_is_looked_up_quickly(tmp_path: Path) -> None:
    with (tmp_path / "t.csv").open("w+b") as file:
        file.write(b"file,area\n" + b"1.png,5\n" * 200_000)
        file.seek(0)
        table = read_table("t.csv", file)
    assert table is not None
    assert len(table.rows("1.png")) == metadata_tables.ROWS_OF_A_NAME
