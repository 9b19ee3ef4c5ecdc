"""The export of a segmented archive: a person's mask before the model's, paths in the table and in EcoTaxa's zips."""

import csv
import io
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from plankseg.archives.ecotaxa import imports
from plankseg.archives.ecotaxa.client import EcoTaxaClient, Pace
from plankseg.archives.ecotaxa.create import create_objects
from plankseg.archives.ecotaxa.push import plan_push, push, read_measures
from plankseg.config import ExportConfig
from plankseg.imaging.masks import encode_mask
from plankseg.pipeline.archive.export import export
from plankseg.pipeline.archive.measured_masks import measures_of_mask
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow
from plankseg.storage.tables.segments import MEASURES, SegmentRow
from tests.support.ecotaxa_rules import complaints
from tests.support.ecotaxa_server import TOKEN, EcoTaxaServer
from tests.support.little_store import add_answers, add_model, noisy_image, square, write_images

SHAPE = noisy_image(0).shape
SETTINGS = '{"views": "none"}'
DIGEST = "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five segmented images of two classes, two of one name; the third of them cannot be read."""
    write_images(tmp_path / "images" / "copepod", range(3))
    for number, folder in ((7, "copepod"), (8, "salp")):
        path = write_images(tmp_path / "images" / folder, range(number, number + 1)) / f"{number:04d}.png"
        path.rename(path.with_name("same.png"))
    store = Store.open(tmp_path / "store")
    ingest_folder(store, tmp_path / "images", role="pool")
    return store


def segmented(store: Store) -> tuple[ModelRow, list[str]]:
    model, ids = add_model(store, 0), [str(image_id) for image_id in store.catalogue.ids("pool")]
    mask = square(SHAPE, 5)
    row = {"mask_sha": store.blobs.put(encode_mask(mask), "png"), "reason": None} | measures_of_mask(mask)
    rows = [{"image_id": image_id} | row | {"confidence": 0.5} for image_id in ids]
    rows[2] = dict.fromkeys(MEASURES.names) | {"image_id": ids[2], "reason": "It is torn."}
    store.segments.commit(
        SegmentRow(
            shard_id=DIGEST,
            job=DIGEST,
            model_id=model.model_id,
            settings=SETTINGS,
            images=len(ids),
            unreadable=1,
            measures_sha=store.segments.put_measures(rows),
        )
    )
    return model, ids


def test_a_persons_mask_and_word_go_before_the_models(store: Store, tmp_path: Path) -> None:
    model, ids = segmented(store)
    add_answers(store, 1, ids[:1], mask=square(SHAPE, 9))
    add_answers(store, 1, ids[1:2], status="unusable")
    add_answers(store, 1, ids[2:3], mask=square(SHAPE, 9))
    exported = export(store, model, SETTINGS, ids, config=ExportConfig(folder=str(tmp_path / "out")))
    rows = pq.read_table(exported.table).to_pylist()
    assert [row["image_id"] for row in rows] == ids
    facts = [tuple(row[name] for name in ("origin", "status", "area_px", "expected_dice", "reason")) for row in rows]
    assert facts[:4] == [
        ("corrected", "usable", 81, None, None),
        ("model", "unusable", 25, 0.5, None),
        ("model", "usable", None, None, "It is torn."),
        ("model", "usable", 25, 0.5, None),
    ]
    assert (exported.images, exported.unreadable) == (5, 1)
    again = export(store, model, SETTINGS, ids, config=ExportConfig(folder=str(tmp_path / "out")))
    assert again == exported


def test_images_go_by_their_paths(store: Store, tmp_path: Path) -> None:
    model, ids = segmented(store)
    exported = export(store, model, SETTINGS, ids, config=ExportConfig(folder=str(tmp_path / "out")))
    paths = {row["image_id"]: row["path"] for row in pq.read_table(exported.table).to_pylist()}
    there = {path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.png")}
    assert set(paths.values()) == there
    (zipped,) = exported.zips
    assert complaints([zipped]) == []
    with zipfile.ZipFile(zipped) as archive:
        (table,) = [name for name in archive.namelist() if name.endswith(".tsv")]
        text = archive.read(table).decode("utf-8-sig")
        names, _, *rows = list(csv.reader(io.StringIO(text), delimiter="\t"))
        entries = [dict(zip(names, row, strict=True)) for row in rows]
        assert {entry["img_file_name"] for entry in entries} == {*archive.namelist()} - {table}
    assert len(entries) == 4
    for entry in entries:
        folder, _, rest = entry["img_file_name"].partition("__")
        stem, _, digest = rest.rpartition("__")
        assert f"{folder}/{stem}.png" in there
        assert any(image_id.startswith(digest.removesuffix(".png")) for image_id in ids)
        assert entry["object_mask_origin"] == "model"
        assert entry["object_id"] in {stem, f"{folder}/{stem}"}
        assert (entry["object_id"] == stem) == (
            stem != "same" or sum(e["object_id"].endswith("same") for e in entries) == 1
        )


def test_the_zips_go_into_a_project_of_ecotaxa_and_are_found_there_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "POLL_S", 0.0)
    model, ids = segmented(store)
    exported = export(
        store, model, SETTINGS, ids, config=ExportConfig(pixel_size_mm=0.0106, folder=str(tmp_path / "out"))
    )
    measures = read_measures(exported.zips)
    token = SecretStr(TOKEN)
    with EcoTaxaServer() as server, EcoTaxaClient(server.url, token, pace=Pace(pause_s=0)) as client:
        server.taxa |= {"copepod", "salp"}
        create_objects(client, plan_push(client, 42, measures), exported.zips)
        assert len(server.objects) == 7 + 4
        server.objects[8].fields["fre.plankseg_area"] = 0.0
        plan = plan_push(client, 42, measures)
        assert (len(plan.changed), plan.equal, plan.unknown) == (1, 3, [])
        push(client, plan)
        plan_push(client, 42, measures).require_done(create=True)
