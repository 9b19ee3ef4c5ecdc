"""Objects created in a little EcoTaxa of this machine: those that are missing, once, after every fault too."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.archives.ecotaxa.create import create_objects
from plankseg.archives.ecotaxa.imports import wait_for_earlier
from plankseg.archives.ecotaxa.push import PushPlan, plan_push, push, read_measures
from plankseg.errors import ArchiveError, EcoTaxaError
from plankseg.pipeline.archive.ecotaxa import table_bytes
from tests.support.archive_packing import jpeg
from tests.support.ecotaxa_rules import complaints
from tests.support.ecotaxa_server import EcoTaxaServer, Fault

NEW = ("new_1", "new_2", "new_3")


def zip_of(path: Path, names: Iterable[str], taxon: str = "Salpida") -> Path:
    """A zip as the flow segment writes it."""
    rows = [
        {
            "img_file_name": f"{name}__abc.jpg",
            "img_rank": 0,
            "object_id": name,
            "object_annotation_category": taxon,
            "object_annotation_status": "predicted",
            "object_area": 7.5,
            "sample_id": "ours",
            "acq_id": "ours_plankseg",
            "process_id": "ours_plankseg",
            "process_model": "53938cda",
        }
        for name in names
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ecotaxa_001.tsv", table_bytes(rows))
        for number, row in enumerate(rows):
            archive.writestr(str(row["img_file_name"]), jpeg(100 + number))
    return path


@pytest.fixture
def zips(tmp_path: Path) -> list[Path]:
    """Two zips: of two objects of the project, and of three that are not in it."""
    return [zip_of(tmp_path / "a.zip", ["wp2_2011_0", *NEW[:2]]), zip_of(tmp_path / "b.zip", ["wp2_2011_1", NEW[2]])]


def whole(client: EcoTaxaClient, zips: list[Path]) -> PushPlan:
    """Update and create, as the command does it, and the plan after it."""
    measures = read_measures(zips)
    wait_for_earlier(client, 42)
    plan = plan_push(client, 42, measures)
    push(client, plan)
    create_objects(client, plan, zips)
    return plan_push(client, 42, measures)


def names_of(server: EcoTaxaServer) -> list[str]:
    return [served.fields["obj.orig_id"] for served in server.objects]


def test_what_is_missing_is_created_once_with_its_image_and_measures(
    server: EcoTaxaServer, client: EcoTaxaClient, zips: list[Path]
) -> None:
    before = names_of(server)
    whole(client, zips).require_done(create=True)
    assert names_of(server) == [*before, *NEW]
    assert [served.image for served in server.objects[7:]] == [jpeg(101), jpeg(102), jpeg(101)]
    assert [served.fields["fre.plankseg_area"] for served in server.objects[7:]] == [7.5] * 3
    assert [request["update_mode"] for request in server.imports] == ["Yes", "", ""]
    whole(client, zips).require_done(create=True)
    assert (len(server.imports), names_of(server)) == (3, [*before, *NEW])


def test_only_rows_and_images_of_missing_objects_are_sent(
    server: EcoTaxaServer, client: EcoTaxaClient, zips: list[Path], tmp_path: Path
) -> None:
    whole(client, zips)
    sent = list(server.files.values())[-1]
    (tmp_path / "sent.zip").write_bytes(sent)
    assert complaints([tmp_path / "sent.zip"]) == []
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        table, image = archive.namelist()
        names, types, row = archive.read(table).decode("utf-8-sig").splitlines()
    assert image == "new_3__abc.jpg"
    assert dict(zip(names.split("\t"), row.split("\t"), strict=True)) == {
        "img_file_name": "new_3__abc.jpg",
        "img_rank": "0",
        "object_id": "new_3",
        "object_annotation_category": "Salpida",
        "object_annotation_status": "predicted",
        "object_plankseg_area": "7.5",
        "sample_id": "ours",
        "acq_id": "ours_plankseg",
        "process_id": "ours_plankseg",
        "object_plankseg_model": "53938cda",
    }
    assert set(types.split("\t")) == {"[t]", "[f]"}


@pytest.mark.parametrize("path", ["/api/user_files/$", "/api/file_import", "/api/user_files/plankseg", "/api/jobs/1/"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 401}, {"cut": 2}], ids=str)
def test_after_every_fault_the_same_command_creates_what_is_missing_and_nothing_twice(
    server: EcoTaxaServer, client: EcoTaxaClient, zips: list[Path], path: str, fault: dict[str, int]
) -> None:
    before = names_of(server)
    plan = plan_push(client, 42, read_measures(zips))
    push(client, plan)
    server.faults = [Fault(path, **fault) for _ in range(5)]  # type: ignore[arg-type]
    with pytest.raises(EcoTaxaError):
        create_objects(client, plan, zips)
    server.faults = []
    whole(client, zips).require_done(create=True)
    assert names_of(server) == [*before, *NEW]


def test_a_taxon_that_ecotaxa_does_not_know_makes_it_ask(
    server: EcoTaxaServer, client: EcoTaxaClient, tmp_path: Path
) -> None:
    zips = [zip_of(tmp_path / "a.zip", NEW, taxon="Jellies")]
    with pytest.raises(EcoTaxaError, match=r"asks: .*Jellies.*Answer it, or delete the job, on EcoTaxa's page of jobs"):
        whole(client, zips)
    with pytest.raises(EcoTaxaError, match="Jellies"):  # not a second import beside the one that asks
        whole(client, zips)
    assert len(server.imports) == 1
    server.jobs.clear()
    server.taxa.add("Jellies")
    whole(client, zips).require_done(create=True)


def test_a_zip_without_its_images_creates_nothing(server: EcoTaxaServer, client: EcoTaxaClient, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", NEW)
    with zipfile.ZipFile(path) as archive:
        table = archive.read("ecotaxa_001.tsv")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ecotaxa_001.tsv", table)
    with pytest.raises(ArchiveError, match=r"An image of .* cannot be read or copied"):
        whole(client, [path])
    assert server.imports == []
