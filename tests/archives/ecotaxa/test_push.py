"""Measures pushed into a little EcoTaxa of this machine: shown, once, and complete after every fault."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from plankseg.archives.ecotaxa.client import ATTEMPTS, EcoTaxaClient
from plankseg.archives.ecotaxa.imports import wait_for_earlier, wait_for_job
from plankseg.archives.ecotaxa.push import Measures, PushPlan, plan_push, push, read_measures
from plankseg.errors import ArchiveError, EcoTaxaAuthError, EcoTaxaDownError, EcoTaxaError, SettingsError
from plankseg.pipeline.archive.ecotaxa import table_bytes
from tests.support.ecotaxa_rules import complaints
from tests.support.ecotaxa_server import EcoTaxaServer, Fault


def row_of(object_id: str, area: float) -> dict[str, str | float | int | bool | None]:
    return {
        "img_file_name": f"{object_id}__abc.png",
        "object_id": object_id,
        "object_annotation_category": "Salpida",
        "object_annotation_status": "predicted",
        "object_mask_origin": "corrected",
        "object_area": area,
        "object_agreement": None if object_id.endswith("1") else 0.987654321,
        "sample_id": "ours",
        "process_id": "ours",
        "process_model": "53938cda",
    }


def zip_of(path: Path, areas: Mapping[str, float]) -> Path:
    """A zip as the flow segment writes it, without its images."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ecotaxa_001.tsv", table_bytes([row_of(name, area) for name, area in areas.items()]))
    return path


@pytest.fixture
def measures(tmp_path: Path) -> Measures:
    """Of five objects of the project, and of one that is not in it."""
    areas = {f"wp2_2011_{number}": 100.25 + number for number in range(5)} | {"elsewhere": 3.0}
    return read_measures([zip_of(tmp_path / "a.zip", areas)])


def fields_of(server: EcoTaxaServer, column: str) -> list[object]:
    return [served.fields.get(f"fre.{column}") for served in server.objects]


def pushed(client: EcoTaxaClient, measures: Measures) -> PushPlan:
    """A whole push, as the command does it, and the plan after it."""
    wait_for_earlier(client, 42)
    push(client, plan_push(client, 42, measures))
    return plan_push(client, 42, measures)


def is_done(plan: PushPlan) -> bool:
    return (plan.changed, plan.equal, plan.unknown) == ({}, 5, ["elsewhere"])


def test_only_measures_are_read_and_they_get_a_prefix(measures: Measures) -> None:
    assert measures.columns == {
        "plankseg_mask_origin": "[t]",
        "plankseg_area": "[f]",
        "plankseg_agreement": "[f]",
        "plankseg_model": "[t]",
    }
    assert measures.rows["wp2_2011_1"] == {
        "plankseg_mask_origin": "corrected",
        "plankseg_area": "101.25",
        "plankseg_agreement": "",
        "plankseg_model": "53938cda",
    }


def test_a_plan_says_what_will_change_and_changes_nothing(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures
) -> None:
    plan = plan_push(client, 42, measures)
    assert plan.lines() == [
        "Villefranche: 5 objects will change, 0 have these measurements.",
        "New columns: plankseg_mask_origin, plankseg_area, plankseg_agreement, plankseg_model",
        "Columns that are written over: none",
        "1 objects, such as elsewhere, are not in the project; --create adds them.",
    ]
    assert (server.files, server.imports) == ({}, [])


@pytest.mark.parametrize("unpacks", [True, False], ids=["server of today", "older server"])
def test_measures_arrive_beside_the_instruments_own_and_a_second_push_does_nothing(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures, unpacks: bool
) -> None:
    server.unpacks = unpacks
    instrument, taxa = fields_of(server, "area"), [served.fields["txo.display_name"] for served in server.objects]
    assert is_done(pushed(client, measures))
    assert fields_of(server, "plankseg_area") == [100.25, 101.25, 102.25, 103.25, 104.25, None, None]
    assert fields_of(server, "plankseg_mask_origin")[:2] == ["corrected", "corrected"]
    assert (fields_of(server, "area"), len(server.objects)) == (instrument, 7)
    assert [served.fields["txo.display_name"] for served in server.objects] == taxa
    assert is_done(pushed(client, measures))
    assert (len(server.files), len(server.imports)) == (1, 1)


def test_what_is_sent_keeps_ecotaxas_rules_but_for_the_images_that_an_update_needs_not(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures, tmp_path: Path
) -> None:
    pushed(client, measures)
    (sent,) = server.files.values()
    (tmp_path / "sent.zip").write_bytes(sent)
    assert set(complaints([tmp_path / "sent.zip"])) == {
        f"line {number}: image 'update.png' is not in the zip" for number in range(3, 8)
    }


def test_only_what_differs_is_sent(server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures) -> None:
    pushed(client, measures)
    server.objects[3].fields["fre.plankseg_area"] = 1.0
    plan = plan_push(client, 42, measures)
    assert list(plan.changed) == ["wp2_2011_3"]
    assert plan.new_columns == []
    with pytest.raises(EcoTaxaError, match=r"1 objects, such as wp2_2011_3"):
        plan.require_done(create=False)
    assert is_done(pushed(client, measures))


def test_without_a_prefix_the_projects_own_columns_are_named(
    server: EcoTaxaServer, client: EcoTaxaClient, tmp_path: Path
) -> None:
    measures = read_measures([zip_of(tmp_path / "a.zip", {"wp2_2011_0": 5.0})], prefix="")
    assert "Columns that are written over: area" in plan_push(client, 42, measures).lines()
    pushed(client, measures)
    assert fields_of(server, "area")[:2] == [5.0, 1201.5]


def test_an_object_whose_name_we_wrote_more_plainly_is_known_again(
    server: EcoTaxaServer, client: EcoTaxaClient, tmp_path: Path
) -> None:
    server.objects[2].fields["obj.orig_id"] = 'net "A"  no 2'
    measures = read_measures([zip_of(tmp_path / "a.zip", {"net A no 2": 5.0})])
    plan = plan_push(client, 42, measures)
    assert (list(plan.changed), plan.unknown) == (['net "A"  no 2'], [])
    after = pushed(client, measures)
    assert (after.changed, after.equal) == ({}, 1)
    assert fields_of(server, "plankseg_area")[2] == 5.0


def test_objects_that_share_an_identifier_are_left_alone(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures
) -> None:
    server.objects[6].fields["obj.orig_id"] = "wp2_2011_0"
    plan = plan_push(client, 42, measures)
    assert plan.ambiguous == ["wp2_2011_0"]
    assert len(plan.changed) == 4
    push(client, plan)
    assert fields_of(server, "plankseg_area")[0] is None


@pytest.mark.parametrize("path", ["/api/user_files/$", "/api/file_import", "/api/projects", "/query", "/api/jobs/0/"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"status": 401}, {"cut": 2}], ids=str)
def test_after_every_fault_the_same_push_completes_and_imports_once(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures, path: str, fault: dict[str, int]
) -> None:
    server.faults = [Fault(path, **fault) for _ in range(ATTEMPTS)]  # type: ignore[arg-type]
    with pytest.raises(EcoTaxaError) as caught:
        pushed(client, measures)
    assert isinstance(caught.value, EcoTaxaAuthError) == (fault == {"status": 401})
    server.faults = []
    assert is_done(pushed(client, measures))
    assert len(server.imports) == 1
    assert len(server.files) == 1


def test_an_import_whose_answer_was_cut_off_says_that_nobody_knows(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures
) -> None:
    server.faults = [Fault("/api/file_import", cut=2)]
    with pytest.raises(EcoTaxaDownError, match=r"Whether it arrived is not known. Run the same command again"):
        push(client, plan_push(client, 42, measures))
    assert len(server.imports) == 1


def test_a_job_that_fails_is_told_in_its_own_words(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures
) -> None:
    server.job_faults = [{"state": "E", "errors": ["In ecotaxa.tsv:", " - Too many custom fields"]}]
    with pytest.raises(EcoTaxaError, match="Too many custom fields"):
        push(client, plan_push(client, 42, measures))
    assert is_done(pushed(client, measures))


def test_progress_is_told_and_foreign_jobs_are_not_waited_for(
    server: EcoTaxaServer, client: EcoTaxaClient, measures: Measures
) -> None:
    told: list[tuple[int, int | None]] = []
    server.jobs = [{"id": 0, "state": "R", "params": {"prj_id": 42, "req": {"source_path": "/mine.zip"}}}]
    assert not wait_for_earlier(client, 42)
    push(client, plan_push(client, 42, measures), told=lambda *now: told.append(now))
    assert told == [(50, 100), (100, 100)]
    wait_for_job(client, 1)


def test_what_is_no_zip_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(ArchiveError, match="cannot be read as a zip for EcoTaxa"):
        read_measures([tmp_path / "torn.zip"])
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_measures([tmp_path / "missing.zip"])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ArchiveError, match=r"holds no ecotaxa\*\.tsv"):
        read_measures([tmp_path / "other.zip"])
    first = zip_of(tmp_path / "a.zip", {"x": 1.0})
    with pytest.raises(ArchiveError, match="'x', which was named before"):
        read_measures([first, first])
    with pytest.raises(ArchiveError, match="hold no object"):
        read_measures([])
    with pytest.raises(SettingsError, match="--prefix 'Plankseg '"):
        read_measures([first], prefix="Plankseg ")
