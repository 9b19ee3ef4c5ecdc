"""Whatever users have goes in: layouts are found, each fault has its reason, and what is listed can be read later."""

import csv
import io
import multiprocessing
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from plankseg.archives.open_archive import open_archive
from plankseg.errors import ArchiveError, SettingsError
from plankseg.imaging.masks import encode_mask
from plankseg.imaging.reading import encode_grey, read_grey
from plankseg.pipeline.ingest.register_images import IngestOptions, IngestReport, ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.catalogue import ImageRow
from tests.support.archive_packing import COMPRESS, KINDS, jpeg, pack, tar_of
from tests.support.little_store import clean_image, noisy_image, square


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def rows(store: Store) -> dict[str, ImageRow]:
    found = store.catalogue.rows(store.catalogue.roles())
    return {str(row.external_id): row for row in found}


def reasons(report: IngestReport) -> dict[str, str]:
    return {Path(problem.path).name: problem.reason for problem in report.problems}


def noisy(seed: int) -> bytes:
    return encode_grey(noisy_image(seed))


def clean(seed: int) -> bytes:
    return encode_grey(clean_image(seed))


ROOTS = ["ZooScanNet/imgs", "ZooCamNet/imgs", "imgs", "3/individual_images", "train", "a/b/valid", ""]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_the_class_root_is_found_wherever_it_lies(store: Store, tmp_path: Path, root: str, kind: str) -> None:
    names = {"Calanoida/1": 1, "Calanoida/2": 2, "Egg (other)/3": 3}
    files = {f"{root}/{name}.jpg".lstrip("/"): jpeg(seed) for name, seed in names.items()}
    report = ingest_folder(store, pack(kind, tmp_path / "data set", files), role="pool")
    assert (report.added, report.layout) == (3, "class_folders")
    assert {i: row.taxon for i, row in rows(store).items()} == {"1": "Calanoida", "2": "Calanoida", "3": "Egg (other)"}
    assert {row.dataset for row in rows(store).values()} == {"data set"}


@pytest.mark.parametrize("name", ["imgs/1.jpg", "1.jpg", "ZooScanNet/imgs/1.jpg", "1/individual_images/1.jpg"])
def test_an_image_outside_of_class_folders_has_no_taxon(store: Store, tmp_path: Path, name: str) -> None:
    ingest_folder(store, pack("tar", tmp_path / "a", {name: jpeg(1)}), role="pool")
    assert rows(store)["1"].taxon is None


def load_elsewhere(loader: object, image_id: str) -> bytes:
    return bytes(loader(image_id).tobytes())  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_ingested_is_loaded_later_and_in_other_processes(store: Store, tmp_path: Path, kind: str) -> None:
    files = {f"imgs/Calanoida/{n}.jpg": jpeg(n) for n in range(6)}
    archive = pack(kind, tmp_path / "a", files)
    report = ingest_folder(store, archive, role="pool")
    assert (report.added, report.rejected, report.damage) == (6, [], None)
    again = Store.open(store.root)
    for name, data in files.items():
        row = rows(again)[Path(name).stem]
        np.testing.assert_array_equal(again.catalogue.load(row.image_id), read_grey(data))
    if kind in ("tar", "tar.gz"):
        ids = again.catalogue.ids("pool")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as process:
            there = process.submit(load_elsewhere, again.catalogue.loader(ids), ids[0]).result()
        assert there == again.catalogue.load(ids[0]).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_ingest_again_adds_only_what_is_new(store: Store, tmp_path: Path, kind: str) -> None:
    files = {f"A/{n}.jpg": jpeg(n) for n in range(3)}
    ingest_folder(store, pack(kind, tmp_path / "a", files), role="pool")
    version = store.tables.version("images")
    again = ingest_folder(store, pack(kind, tmp_path / "a", files), role="pool")
    assert (again.added, again.known, store.tables.version("images")) == (0, 3, version)
    more = ingest_folder(store, pack(kind, tmp_path / "a", files | {"B/9.jpg": jpeg(9)}), role="pool")
    assert (more.added, more.known) == (1, 3)


def test_a_compressed_tars_images_outlive_it_and_a_plain_ones_are_found_where_it_moved(
    store: Store, tmp_path: Path
) -> None:
    packed = pack("tar.xz", tmp_path / "a", {"A/1.jpg": jpeg(1)})
    plain = pack("tar", tmp_path / "b", {"A/2.jpg": jpeg(2)})
    for archive in (packed, plain):
        ingest_folder(store, archive, role="pool")
    packed.unlink()
    moved = plain.rename(tmp_path / "c.tar")
    assert store.catalogue.is_lost(rows(store)["2"].image_id)
    assert ingest_folder(store, moved, role="pool").moved == 1
    for number in (1, 2):
        image_id = rows(store)[str(number)].image_id
        np.testing.assert_array_equal(Store.open(store.root).catalogue.load(image_id), read_grey(jpeg(number)))
    moved.unlink()
    assert ingest_folder(store, pack("tar.gz", tmp_path / "d", {"2.jpg": jpeg(2)}), role="pool").moved == 1
    assert not store.catalogue.is_lost(rows(store)["2"].image_id)


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_cut_off_tar_keeps_what_was_whole_and_the_whole_one_finishes_it(
    store: Store, tmp_path: Path, kind: str
) -> None:
    files = {f"A/{n}.png": clean(n) for n in range(6)}
    archive = tmp_path / f"a.{kind}"
    whole = tar_of(files)
    archive.write_bytes(COMPRESS[kind](whole[: len(tar_of(dict(list(files.items())[:4])).rstrip(b"\0")) + 1500]))
    first = ingest_folder(store, archive, role="source")
    assert "cut off or damaged after" in str(first.damage)
    assert first.added == first.masks == 4
    archive.write_bytes(COMPRESS[kind](whole))
    second = ingest_folder(store, archive, role="source")
    assert (second.known, second.added, second.damage) == (first.added, 6 - first.added, None)
    assert len(store.labels.current()) == store.catalogue.counts()["source"] == 6
    for image_id in store.catalogue.ids("source"):
        store.catalogue.load(image_id)


def test_members_that_climb_or_announce_too_much_are_rejected_and_the_rest_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plankseg.archives.containers import entries

    monkeypatch.setattr(entries, "MAX_BYTES", 100_000)
    files = {"../1.jpg": jpeg(1), "/2.jpg": jpeg(2), "bomb.jpg": bytes(200_000), "A/4.jpg": jpeg(4), "c.jpg": b"no"}
    for kind in ("tar", "tar.gz"):
        report = ingest_folder(store, pack(kind, tmp_path / "a", files), role="pool")
        assert sorted(reasons(report)) == ["1.jpg", "2.jpg", "bomb.jpg", "c.jpg"]
        assert "leads out" in reasons(report)["1.jpg"]
        assert "announces 200000 bytes" in reasons(report)["bomb.jpg"]
    assert len(rows(store)) == 1
    assert [path for path in tmp_path.rglob("*.jpg") if "objects" not in path.parts] == []  # nothing was unpacked


HEAD = "img_file_name\timg_rank\tobject_id\tobject_area\tobject_annotation_category\tobject_annotation_person_email"


def export(*lines: str) -> bytes:
    return "\r\n".join([HEAD, "[t]\t[f]\t[t]\t[f]\t[t]\t[t]", *lines]).encode("utf-8-sig")


@pytest.mark.parametrize("kind", KINDS)
def test_an_ecotaxa_export_gives_taxon_object_and_area_and_no_ones_address(
    store: Store, tmp_path: Path, kind: str
) -> None:
    area = int((clean_image(1) < 250).sum())
    files = {
        "s1/ecotaxa_s1.tsv": export(
            f"1.png\t0\tobj_1\t{area},0\tCalanoida\ta@example.org",
            "1b.png\t1\tobj_1\t5\tCalanoida\ta@example.org",
            "gone.png\t0\tobj_9\t5\tEgg\ta@example.org",
        ),
        "s1/1.png": clean(1),
        "s1/1b.png": clean(2),
        "s2/ecotaxa_s2.tsv": export("1.png\t0\tobj_2\t100\tEgg\tb@example.org"),  # the same name in another sample
        "s2/1.png": clean(3),
        "s2/stray.png": clean(4),
    }
    report = ingest_folder(store, pack(kind, tmp_path / "export", files), role="source")
    assert (report.layout, report.added, report.masks) == ("ecotaxa", 2, 1)
    found = rows(store)
    assert sorted(found) == ["obj_1", "obj_2"]
    assert (found["obj_1"].taxon, found["obj_1"].instrument_area_px) == ("Calanoida", float(area))
    assert found["obj_2"].taxon == "Egg"
    problems = reasons(report)
    assert "ecotaxa_s1.tsv names it, but it is not there" in problems["gone.png"]
    assert "no row of" in problems["stray.png"]
    assert "instrument measured 100" in next(problem.reason for problem in report.maskless)
    assert [name for name in problems if name == "1b.png"] == []  # a higher rank of an object that was taken
    for path in store.root.rglob("*"):
        assert path.is_dir() or b"example.org" not in path.read_bytes()


def test_a_flat_folder_with_a_table_is_found_and_its_areas_judge_the_masks(store: Store, tmp_path: Path) -> None:
    area = int((clean_image(1) < 250).sum())
    table = f"file;class;area\n1.png;Egg;{area}\n2.png;Egg;{area * 2}\n7.png;Egg;5\n".encode()
    files = {"objects.csv": table, "images/1.png": clean(1), "images/2.png": clean(2), "images/3.png": clean(3)}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="source")
    assert (report.layout, report.added, report.masks) == ("table", 3, 2)
    assert {i: row.taxon for i, row in rows(store).items()} == {"1": "Egg", "2": "Egg", "3": None}
    assert sorted(reasons(report)) == ["2.png", "7.png"]
    elsewhere = ingest_folder(
        store,
        tmp_path / "a" / "images",
        role="source",
        options=IngestOptions(table=tmp_path / "a" / "objects.csv", columns={"area": ""}),
    )
    assert elsewhere.known == 3


def test_a_table_of_features_beside_class_folders_gives_areas_and_may_cover_more_than_is_there(
    store: Store, tmp_path: Path
) -> None:
    import gzip

    features = gzip.compress(b"objid,area,mean\n1,5,2\n2,7,2\n3,9,2\n")
    files = {
        "imgs/Egg/1.png": clean(1),
        "features_native.csv.gz": features,
        "taxa.csv.gz": gzip.compress(b"objid,set\n"),
    }
    report = ingest_folder(store, pack("tar.gz", tmp_path / "ZooScanNet", files), role="source")
    assert (report.layout, report.rejected) == ("class_folders", [])
    assert (rows(store)["1"].instrument_area_px, rows(store)["1"].taxon) == (5.0, "Egg")
    assert "instrument measured 5" in report.maskless[0].reason


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
@pytest.mark.parametrize("by_folder", [True, False])
def test_pairs_are_found_and_unfit_masks_are_rejected_with_a_reason(
    store: Store, tmp_path: Path, kind: str, by_folder: bool
) -> None:
    shape = noisy_image(0).shape
    masks = {
        "1": encode_mask(square(shape, 9)),
        "2": encode_mask(square((shape[0] + 1, shape[1]), 9)),
        "3": noisy(33),
        "9": encode_mask(square(shape, 9)),
    }
    files = {(f"images/{n}.png" if by_folder else f"{n}.png"): noisy(n) for n in range(1, 5)}
    files |= {(f"masks/{n}.png" if by_folder else f"{n}_mask.png"): data for n, data in masks.items()}
    report = ingest_folder(store, pack(kind, tmp_path / "a", files), role="validation")
    assert (report.layout, report.added, report.masks) == ("pairs", 1, 1)
    text = " ".join(reasons(report).values())
    assert all(part in text for part in ("but its image is", "grey values", "no mask for it", "mask without its image"))
    assert [row.origin for row in store.labels.current()] == ["given"]
    assert store.catalogue.counts()["validation"] == 1


def test_classes_that_come_to_nothing_or_to_one_image_are_warned_of(store: Store, tmp_path: Path) -> None:
    files = {
        "Egg/1.jpg": b"no",
        "Egg/2.jpg": b"image",
        "One/3.jpg": jpeg(3),
        "Two/4.jpg": jpeg(4),
        "Two/5.jpg": jpeg(5),
    }
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="pool")
    assert report.warnings() == [
        "Taxon 'Egg' has no image: all 2 files were rejected; see their reasons.",
        "Taxa with one image only (1): One. If these are no taxa, the layout was taken for another one: "
        "ingest again and choose it under Advanced.",
    ]
    nothing = ingest_folder(store, pack("folder", tmp_path / "b", {"1.jpg": b"no"}), role="pool")
    assert "Not one image could be taken" in nothing.warnings()[0]


def test_every_left_out_file_is_in_the_written_table(store: Store, tmp_path: Path) -> None:
    files = {f"A/{n}.jpg": b"none" for n in range(600)} | {"A/good.png": clean(1), "A/blank.png": noisy(2)}
    report = ingest_folder(store, pack("folder", tmp_path / "a", files), role="source")
    path = report.write(store)
    assert path is not None
    with path.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == len(report.problems) == 601
    assert {row["what"] for row in written} == {"rejected", "no mask"}
    assert all(row["reason"] for row in written)
    assert IngestReport("pool").write(store) is None
    assert {report.shown_path(problem) for problem in report.problems} == {*files} - {"A/good.png"}


@pytest.mark.parametrize("kind", ["folder", "tar", "zip", "tar.gz"])
def test_a_file_that_was_left_out_is_shown_by_its_path_inside_of_what_was_read(
    store: Store, tmp_path: Path, kind: str
) -> None:
    files = {"A é/1 %20.jpg": b"none", "A é/good.png": clean(1), "A é/blank #1.png": noisy(2)}
    report = ingest_folder(store, pack(kind, tmp_path / "a b", files), role="source")
    assert {report.shown_path(problem) for problem in report.problems} == {"A é/1 %20.jpg", "A é/blank #1.png"}


def test_a_layout_can_be_chosen_and_one_that_does_not_fit_is_refused(store: Store, tmp_path: Path) -> None:
    folder = pack("folder", tmp_path / "a", {"t.tsv": export("1.png\t0\to\t5\tEgg\t"), "Calanoida/2.png": clean(2)})
    assert open_archive(folder).layout == "ecotaxa"
    assert ingest_folder(store, folder, role="pool", options=IngestOptions(layout="class_folders")).added == 1
    plain = pack("folder", tmp_path / "b", {"1.png": clean(1)})
    for layout, needs in (("ecotaxa", "img_file_name"), ("table", "CSV"), ("pairs", "masks")):
        with pytest.raises(SettingsError, match=needs):
            open_archive(plain, layout=layout)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="plain tar"):
        open_archive(pack("tar.gz", tmp_path / "c", {"1.png": clean(1)}), layout="pairs")


def test_what_is_no_archive_is_refused_and_nothing_is_registered(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no archive" * 200)
    with pytest.raises(SettingsError, match="is not a folder, a tar or a zip"):
        ingest_folder(store, tmp_path / "a.txt", role="pool")
    cut = pack("zip", tmp_path / "b", {"1.jpg": jpeg(1)})
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(ArchiveError, match="no whole zip"):
        ingest_folder(store, cut, role="pool")
    (tmp_path / "c.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    with pytest.raises(SettingsError, match="not a folder"):
        ingest_folder(store, tmp_path / "c.tar.zst", role="pool")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("notes.txt", "x")
    (tmp_path / "d.zip").write_bytes(out.getvalue())
    with pytest.raises(SettingsError, match="no image files"):
        ingest_folder(store, tmp_path / "d.zip", role="pool")
    assert rows(store) == {}


@pytest.mark.real_data
def test_the_real_sample_of_zooscannet_is_taken_whole(store: Store, real_data: Path) -> None:
    report = ingest_folder(store, real_data / "zooscannet-sample", role="pool")
    assert (report.added, report.rejected) == (1176, [])
    assert len({row.taxon for row in rows_of(store)}) == 86


@pytest.mark.real_data
def test_real_automatic_masks_meet_the_conventional_ones_and_areas_are_the_published_ones(
    store: Store, real_data: Path
) -> None:
    from plankseg.imaging.masks import decode_mask, dice

    folder = real_data / "scancol24-zooplankton"
    report = ingest_folder(store, folder / "images", role="source", options=IngestOptions(table=folder / "objects.csv"))
    assert (report.added, report.rejected) == (292, [])
    assert all(problem.reason for problem in report.maskless)
    labels = {row.image_id: row for row in store.labels.current() if row.status == "usable"}
    assert len(labels) + len(report.maskless) == 292
    agreements = []
    for row in rows_of(store):
        if row.image_id in labels:
            mask = decode_mask(store.blobs.get(str(labels[row.image_id].mask_sha), "png"))
            reference = read_grey((folder / "masks_conventional" / f"{row.external_id}.png").read_bytes()) > 0
            agreements.append(dice(mask, reference))
            assert abs(int(mask.sum()) - float(row.instrument_area_px or 0)) <= 0.1 * float(row.instrument_area_px or 0)
    assert np.mean(agreements) >= 0.9


@pytest.mark.real_data
def test_a_real_ecotaxa_table_of_154_columns_tells_object_and_area(
    store: Store, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "zooprocess-gpl3"
    as_it_lies = ingest_folder(store, folder, role="source")
    assert (as_it_lies.layout, as_it_lies.added, len(as_it_lies.rejected)) == ("ecotaxa", 0, 6)
    table = next(folder.glob("*.tsv")).read_bytes()
    assert len(table.splitlines()[0].split(b"\t")) == 154
    name = table.splitlines()[2].split(b"\t")[0].decode()
    files = {"ecotaxa_2855_223.tsv": table, name: (folder / "images" / "crop_2855_223.png").read_bytes()}
    report = ingest_folder(store, pack("zip", tmp_path / "export", files), role="source")
    assert (report.added, report.rejected) == (1, [])
    (row,) = rows_of(store)
    assert (row.external_id, row.instrument_area_px) == (name.removesuffix(".jpg"), 1333.0)


@pytest.mark.real_data
def test_the_real_flowcam_vignettes_come_with_their_instruments_areas(store: Store, real_data: Path) -> None:
    report = ingest_folder(store, real_data / "flowcam-nerc", role="pool")
    assert (report.layout, report.added, report.rejected) == ("table", 536, [])
    assert all(row.instrument_area_px for row in rows_of(store))


def rows_of(store: Store) -> list[ImageRow]:
    return store.catalogue.rows(store.catalogue.roles())
