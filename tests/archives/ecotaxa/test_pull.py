"""A project pulled from a little EcoTaxa of this machine, with everything that can go wrong on the way."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from plankseg.archives.ecotaxa import objects
from plankseg.archives.ecotaxa import pull as module
from plankseg.archives.ecotaxa.client import ATTEMPTS, EcoTaxaClient, Pace
from plankseg.archives.ecotaxa.pull import TABLE, Pulled, pull
from plankseg.archives.open_archive import open_archive
from plankseg.errors import EcoTaxaAuthError, EcoTaxaDownError, EcoTaxaError, OutputError
from plankseg.storage.locks import FolderLocks
from tests.support.ecotaxa_server import ADDRESS, PERSON, TOKEN, EcoTaxaServer, Fault

AT_ONCE = Pace(pause_s=0, first_wait_s=0, longest_wait_s=600)


@pytest.fixture
def server() -> Iterator[EcoTaxaServer]:
    with EcoTaxaServer() as server:
        yield server


def pulled(server: EcoTaxaServer, folder: Path, token: str = TOKEN) -> Pulled:
    with EcoTaxaClient(server.url, SecretStr(token), pace=AT_ONCE) as client:
        return pull(client, 42, folder)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))[1:]


def files_of(folder: Path) -> set[str]:
    """All files of the folder that a person sees."""
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {str(path) for path in paths if path.parts[0] != module.NOTES}


def whole(server: EcoTaxaServer) -> set[str]:
    return {TABLE} | {f"images/{served.fields['img.file_name']}" for served in server.objects}


def test_a_project_becomes_a_folder_that_ingest_takes_as_an_export(server: EcoTaxaServer, tmp_path: Path) -> None:
    found = pulled(server, tmp_path / "project")
    assert (found.objects, found.fetched, found.left_out) == (7, 7, [])
    assert files_of(tmp_path / "project") == whole(server)
    archive = open_archive(tmp_path / "project")
    assert archive.layout == "ecotaxa"
    records = sorted(archive.records(), key=lambda record: record.external_id or "")
    assert [record.fault for record in records] == [None] * 7
    assert records[0].taxon == "Calanoida<Copepoda"
    assert [record.external_id for record in records] == [f"wp2_2011_{number}" for number in range(7)]
    assert [record.area_px for record in records] == [1200.5 + number for number in range(7)]


def test_the_table_has_what_an_export_has_and_no_person(server: EcoTaxaServer, tmp_path: Path) -> None:
    pulled(server, tmp_path)
    first, second = rows_of(tmp_path)[:2]
    assert first == {
        "object_id": "wp2_2011_0",
        "object_annotation_category": "Calanoida<Copepoda",
        "object_annotation_status": "validated",
        "object_lat": "43.685",
        "object_lon": "7.3157",
        "object_date": "20110109",
        "object_time": "122900",
        "object_depth_min": "0.0",
        "object_depth_max": "75.0",
        "img_file_name": "images/0123/0000.jpg",
        "img_rank": "0",
        "object_area": "1200.5",
        "object_major": "60.25",
        "sample_id": "wp2_2011",
        "acq_id": "wp2_2011_d1",
        "acq_instrument": "zooscan",
    }
    assert (second["object_annotation_status"], second["object_major"]) == ("predicted", "")
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for word in (PERSON, ADDRESS, TOKEN):
        assert word.encode() not in kept


def test_pulling_again_asks_for_no_image_and_takes_what_was_classified_since(
    server: EcoTaxaServer, tmp_path: Path
) -> None:
    pulled(server, tmp_path)
    asked = len(server.images_asked())
    server.objects[1].fields |= {"txo.display_name": "Salpida", "obj.classif_qual": "V"}
    assert pulled(server, tmp_path).fetched == 0
    assert len(server.images_asked()) == asked == 7
    row = rows_of(tmp_path)[1]
    assert (row["object_annotation_category"], row["object_annotation_status"]) == ("Salpida", "validated")


def test_objects_come_page_by_page(server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects.object_pages, "__kwdefaults__", {"page": 3})
    told: list[tuple[int, int | None]] = []
    with EcoTaxaClient(server.url, SecretStr(TOKEN), pace=AT_ONCE) as client:
        pull(client, 42, tmp_path, on_progress=lambda *now: told.append(now))
    assert told == [(done, 7) for done in range(1, 8)]
    assert server.asked.count("/api/object_set/42/query") == 3
    assert files_of(tmp_path) == whole(server)


@pytest.mark.parametrize("path", ["/api/projects/42", "/api/object_set/42/query", "/vault/0123/0003.jpg"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"status": 429}, {"cut": 10}], ids=str)
def test_a_fault_that_passes_is_waited_for(
    server: EcoTaxaServer, tmp_path: Path, path: str, fault: dict[str, int]
) -> None:
    server.faults = [Fault(path, **fault) for _ in range(ATTEMPTS - 1)]  # type: ignore[arg-type]
    pulled(server, tmp_path)
    assert server.faults == []
    assert files_of(tmp_path) == whole(server)


@pytest.mark.parametrize("path", ["/api/projects/42", "/api/object_set/42/query", "/vault/0123/0003.jpg"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"cut": 10}], ids=str)
def test_a_fault_that_stays_leaves_whole_images_and_no_table_and_the_next_run_completes(
    server: EcoTaxaServer, tmp_path: Path, path: str, fault: dict[str, int]
) -> None:
    server.faults = [Fault(path, **fault) for _ in range(ATTEMPTS)]  # type: ignore[arg-type]
    with pytest.raises(EcoTaxaDownError, match=r"Tried 5 times.*Run the same command later; it goes on"):
        pulled(server, tmp_path)
    left = files_of(tmp_path)
    assert left == {f"images/0123/000{number}.jpg" for number in range(3 if "vault" in path else 0)}
    assert all((tmp_path / name).read_bytes() in {served.image for served in server.objects} for name in left)
    asked = len(server.images_asked())
    pulled(server, tmp_path)
    assert files_of(tmp_path) == whole(server)
    assert len(server.images_asked()) - asked == 7 - len(left)


def test_a_token_that_is_refused_midway_says_what_to_do_and_a_new_one_completes(
    server: EcoTaxaServer, tmp_path: Path
) -> None:
    server.faults = [Fault("/vault/0123/0004", status=401)]
    with pytest.raises(EcoTaxaAuthError, match=r"401.*PLANKSEG_ECOTAXA_TOKEN.*docs/ecotaxa\.md") as caught:
        pulled(server, tmp_path)
    assert TOKEN not in str(caught.value)
    assert not (tmp_path / TABLE).exists()
    pulled(server, tmp_path)
    assert files_of(tmp_path) == whole(server)


def test_a_table_that_is_there_stays_until_the_next_is_whole(server: EcoTaxaServer, tmp_path: Path) -> None:
    pulled(server, tmp_path)
    before = (tmp_path / TABLE).read_bytes()
    server.objects[0].fields["txo.display_name"] = "Salpida"
    server.faults = [Fault("/query", status=500) for _ in range(ATTEMPTS)]
    with pytest.raises(EcoTaxaDownError):
        pulled(server, tmp_path)
    assert (tmp_path / TABLE).read_bytes() == before
    assert files_of(tmp_path) == whole(server)


def test_what_a_killed_run_left_is_replaced(server: EcoTaxaServer, tmp_path: Path) -> None:
    pulled(server, tmp_path)
    (tmp_path / "images/0123/0003.jpg").rename(tmp_path / "images/0123/.0003.jpg.partial")
    (tmp_path / TABLE).rename(tmp_path / f".{TABLE}.partial")
    pulled(server, tmp_path)
    assert files_of(tmp_path) == whole(server)


def test_an_image_that_is_gone_or_no_image_is_named_and_tried_again_next_time(
    server: EcoTaxaServer, tmp_path: Path
) -> None:
    server.faults = [Fault("0123/0002", status=404), Fault("0123/0005", body=b"<html>Sorry</html>")]
    server.objects[6].fields["img.file_name"] = None
    found = pulled(server, tmp_path)
    assert [name for name, _ in found.left_out] == ["wp2_2011_2", "wp2_2011_5", "wp2_2011_6"]
    assert [row["object_id"] for row in rows_of(tmp_path)] == [f"wp2_2011_{number}" for number in (0, 1, 3, 4)]
    again = pulled(server, tmp_path)
    assert (again.fetched, [reason for _, reason in again.left_out]) == (2, ["it has no image"])


def test_a_name_that_leads_out_of_the_folder_is_not_followed(server: EcoTaxaServer, tmp_path: Path) -> None:
    server.objects[0].fields["img.file_name"] = "../../stolen.jpg"
    found = pulled(server, tmp_path / "project")
    assert [name for name, _ in found.left_out] == ["wp2_2011_0"]
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_where_no_image_can_be_had_it_stops_early(tmp_path: Path) -> None:
    with EcoTaxaServer(50) as server:
        server.faults = [Fault("/vault/", status=404) for _ in range(50)]
        with pytest.raises(EcoTaxaError, match=r"None of the first 20 objects.*address that people open"):
            pulled(server, tmp_path)
        assert len(server.images_asked()) == 20


def test_a_project_that_changes_while_it_is_listed_makes_no_table(
    server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects.object_pages, "__kwdefaults__", {"page": 3})
    fetched = EcoTaxaServer.image

    def deletes(self: EcoTaxaServer, path: str) -> bytes | None:
        data = fetched(self, path)
        self.objects = self.objects[1:] if len(self.objects) == 7 else self.objects
        return data

    monkeypatch.setattr(EcoTaxaServer, "image", deletes)
    with pytest.raises(EcoTaxaError, match=r"changed while its objects were listed.*7 objects, then 6"):
        pulled(server, tmp_path)
    assert TABLE not in files_of(tmp_path)


def test_a_server_without_a_field_is_not_taken_at_its_word(
    server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIELDS", {**objects.FIELDS, "fre.unknown": "object_unknown"})
    with pytest.raises(EcoTaxaError, match="13 values for the 14 fields"):
        pulled(server, tmp_path)


def test_another_project_other_files_and_another_process_are_refused(server: EcoTaxaServer, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        pulled(server, tmp_path / "full")
    pulled(server, tmp_path / "project")
    with EcoTaxaServer() as other, pytest.raises(OutputError, match="holds another project"):
        pulled(other, tmp_path / "project")
    with FolderLocks(tmp_path / "project" / module.NOTES).hold("pull"):
        with pytest.raises(OutputError, match="Another process fetches into"):
            pulled(server, tmp_path / "project")


def test_a_full_disk_leaves_nothing_half_written(
    server: EcoTaxaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = module.atomic_write

    def full(path: Path, data: bytes, **options: bool) -> None:
        if path.name == "0003.jpg":
            raise OSError(28, "No space left on device")
        written(path, data, **options)

    monkeypatch.setattr(module, "atomic_write", full)
    with pytest.raises(OutputError, match=r"No space left on device.*it goes on"):
        pulled(server, tmp_path)
    assert files_of(tmp_path) == {f"images/0123/000{number}.jpg" for number in range(3)}


def test_an_empty_project_says_why(server: EcoTaxaServer, tmp_path: Path) -> None:
    server.objects = []
    with EcoTaxaClient(server.url, pace=AT_ONCE) as client:
        with pytest.raises(EcoTaxaError, match=r"shows no object.*only validated objects are shown"):
            pull(client, 42, tmp_path)
