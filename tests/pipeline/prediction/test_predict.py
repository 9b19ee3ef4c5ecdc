"""`plankseg predict`: the masks of `segment`, in a folder, from whatever holds the images, killed or not."""

import hashlib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.config import Part, SegmentConfig
from plankseg.errors import ImageReadError, OutputError
from plankseg.imaging.masks import decode_mask
from plankseg.imaging.postprocessing import Postprocessing
from plankseg.imaging.reading import encode_grey
from plankseg.pipeline.archive.answers import Answers
from plankseg.pipeline.archive.segment import segment_shard
from plankseg.pipeline.archive.shards import plan
from plankseg.pipeline.exports.mask_records import masks_of_folder
from plankseg.pipeline.exports.write_masks import write_masks
from plankseg.pipeline.ingest.register_images import ingest_folder
from plankseg.pipeline.models import loading
from plankseg.pipeline.models.exported_model import ExportedModel, model_of_store
from plankseg.pipeline.prediction import predict as prediction
from plankseg.pipeline.prediction.predict import Predicted, PredictOptions, predict
from plankseg.pipeline.prediction.terminal_predict import open_images
from plankseg.storage.store import Store
from tests.support.ifcb_bins import NEW, some_rows, write_bin
from tests.support.little_store import add_answers, add_model, noisy_image, square, write_images

pytestmark = pytest.mark.slow
CPU = PredictOptions(device="cpu")
FILLED = Postprocessing(fill_holes=True)
BY_THE_IMAGE = Postprocessing(outline_reach_px=3, outline_share=0.25, automatic_above=0.8)


@pytest.fixture
def store(tmp_path: Path, weights: bytes, request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store.open(tmp_path / "store")
    postprocessing = getattr(request, "param", FILLED)
    add_model(store, 0, weights=weights, metrics=json.dumps({"postprocessing": asdict(postprocessing)}))
    yield store
    loading.clear_cache()


@pytest.fixture
def model(store: Store) -> ExportedModel:
    active = store.models.active()
    assert active is not None
    return model_of_store(store, active)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for taxon, seeds in (("copepod", range(5)), ("salp", range(5, 9))):
        write_images(tmp_path / "images" / taxon, seeds)
    return tmp_path / "images"


def run(images: Path | str, model: ExportedModel, out: Path, options: PredictOptions = CPU) -> Predicted:
    return predict(open_images(str(images)), model, out, options)


def masks(out: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(out).as_posix(): np.asarray(Image.open(path)) for path in sorted(out.rglob("*.png"))}


def content(out: Path) -> dict[str, bytes]:
    """Every file but the parts, of which a run that was killed has others."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".plankseg" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("store", [FILLED, BY_THE_IMAGE], indirect=True)
def test_the_masks_are_those_of_segment_at_the_images_own_paths(
    store: Store, model: ExportedModel, images: Path, tmp_path: Path
) -> None:
    ingest_folder(store, images, role="pool")
    active = store.models.active()
    assert active is not None
    job = plan(store, Part(), SegmentConfig(shard_size=4, backend="torch"), active)
    for shard in job.todo:
        segment_shard(store, shard, device="cpu")
    expected = {
        row["image_id"]: row
        for row in store.segments.measures(store.segments.done(active.model_id, job.settings)).to_pylist()
    }
    done = run(images, model, tmp_path / "out")
    found = masks(tmp_path / "out")
    assert (done.masks, done.made, done.left_out, done.backend) == (9, 9, (), "torch")
    assert sorted(found) == [
        f"{taxon}/{n:04d}.png" for taxon, ns in (("copepod", range(5)), ("salp", range(5, 9))) for n in ns
    ]
    assert any(0 < mask.mean() < 255 for mask in found.values())
    for name, mask in found.items():
        image_id = hashlib.sha256((images / name).read_bytes()).hexdigest()
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask > 0, decode_mask(store.blobs.get(expected[image_id]["mask_sha"], "png")))
    table = {row["path"]: row for row in _table(tmp_path / "out")}
    for row in table.values():
        same = expected[row["image_id"]]
        assert [row[name] for name in ("area_px", "feret_px", "width", "agreement")] == [
            same[name] for name in ("area_px", "feret_px", "width", "agreement")
        ]
        assert row["expected_dice"] == same["confidence"]
        assert (row["origin"], row["status"], row["taxon"]) == ("model", "usable", row["path"].split("/")[0])


def _table(out: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, object]] = pq.read_table(out / "measures.parquet").to_pylist()
    return rows


def test_the_images_of_an_ifcb_bin_get_masks_called_by_their_ids(model: ExportedModel, tmp_path: Path) -> None:
    bin_path = write_bin(tmp_path / "2013", some_rows())
    bin_path.with_suffix(".roi").write_bytes(bin_path.with_suffix(".roi").read_bytes()[:-1])
    done = run(bin_path, model, tmp_path / "out")
    assert sorted(masks(tmp_path / "out")) == [f"{NEW}_00001.png"]
    (row,) = _table(tmp_path / "out")
    assert (row["path"], row["external_id"], row["taxon"]) == (f"{NEW}_00001.png", f"{NEW}_00001", None)
    ((name, reason),) = done.left_out
    assert name == f"{NEW}_00003.png"
    assert "cut off" in reason
    write_masks(masks_of_folder(tmp_path / "out"), "pairs", tmp_path / "pairs")
    image = np.asarray(Image.open(tmp_path / "pairs" / "images" / f"{NEW}_00001.png"))
    assert np.array_equal(image, some_rows()[0][3]), "a bin's images are exported beside their masks"


def test_folder_tar_zip_pattern_and_table_give_the_same_masks(
    model: ExportedModel, images: Path, tmp_path: Path
) -> None:
    run(images, model, tmp_path / "out")
    expected = masks(tmp_path / "out")
    for kind in ("w", "w:gz"):
        with tarfile.open(tmp_path / f"images{kind[2:]}.tar", kind) as archive:
            archive.add(images, ".")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(images.rglob("*.png")):
            archive.write(path, path.relative_to(images))
    (images / "list.csv").write_text("file\n" + "".join(f"{name}\n" for name in expected))
    given = ["images.tar", "imagesgz.tar", "images.zip", "images/*/*.png", "images/list.csv"]
    for number, name in enumerate(given):
        run(tmp_path / name, model, tmp_path / f"out-{number}")
        found = masks(tmp_path / f"out-{number}")
        assert found.keys() == expected.keys(), name
        assert all(np.array_equal(found[path], expected[path]) for path in expected), name


def test_a_run_that_was_killed_is_completed_with_the_same_bytes(
    model: ExportedModel, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(images, model, tmp_path / "calm", replace(CPU, overlays=True))
    monkeypatch.setattr(prediction, "ROWS_AT_ONCE", 2)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict(open_images(str(images)), model, out, replace(CPU, overlays=True), stop)
    assert not (out / "measures.parquet").exists()
    assert not list(out.rglob("*.partial"))
    done = run(images, model, out, replace(CPU, overlays=True))
    assert (done.masks, done.made) == (9, 5)
    assert content(out) == content(tmp_path / "calm")
    assert len(list(out.rglob("*.jpg"))) == 9
    again = run(images, model, out, replace(CPU, overlays=True))
    assert (again.masks, again.made) == (9, 0)
    assert content(out) == content(tmp_path / "calm")


def test_what_cannot_be_read_is_listed_with_its_reason(model: ExportedModel, images: Path, tmp_path: Path) -> None:
    (images / "salp" / "torn.png").write_bytes(encode_grey(noisy_image(1))[:60])
    (images / "salp" / "text.jpg").write_text("no image")
    (images / "salp" / "0005_mask.png").write_bytes(encode_grey(noisy_image(2)))
    done = run(images, model, tmp_path / "out")
    reasons = dict(done.left_out)
    assert done.masks == 9
    assert sorted(reasons) == ["salp/0005_mask.png", "salp/text.jpg", "salp/torn.png"]
    assert "is no PNG, JPEG or TIFF" in reasons["salp/text.jpg"]
    assert "salp/torn.png" in (tmp_path / "out" / "left-out.csv").read_text()
    (images / "salp" / "text.jpg").write_bytes(encode_grey(noisy_image(99)))
    assert (run(images, model, tmp_path / "out").made, len(masks(tmp_path / "out"))) == (1, 10)


def test_not_one_readable_image_is_an_error(model: ExportedModel, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no image")
    with pytest.raises(ImageReadError, match="None of 1 images"):
        run(tmp_path / "images", model, tmp_path / "out")


def test_images_of_one_name_and_odd_names_have_masks_of_their_own(model: ExportedModel, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images" / "Appendicularia, tête <ü>", range(1))
    for number, name in enumerate(["a.png", "a.jpg", "b.c.png", 'it\'s 100% "odd".png']):
        (folder / name).write_bytes(encode_grey(noisy_image(number + 10)))
    run(tmp_path / "images", model, tmp_path / "out")
    found = {name.split("/")[1] for name in masks(tmp_path / "out")}
    assert found == {"0000.png", "a.png.png", "a.jpg.png", "b.c.png", 'it\'s 100% "odd".png'}


def test_masks_beside_their_images_are_refused_and_masks_below_them_are_not_taken_for_images(
    model: ExportedModel, images: Path
) -> None:
    with pytest.raises(OutputError, match="holds the images themselves"):
        run(images, model, images)
    assert run(images, model, images / "masks").masks == 9
    again = run(images, model, images / "masks")
    assert (again.masks, again.made) == (9, 0)


def test_another_model_or_other_views_are_not_mixed_in(model: ExportedModel, images: Path, tmp_path: Path) -> None:
    run(images, model, tmp_path / "out")
    plain = replace(CPU, how=SegmentConfig(views="none"))
    with pytest.raises(OutputError, match="holds masks of another run: settings"):
        run(images, model, tmp_path / "out", plain)
    assert run(images, model, tmp_path / "out", replace(plain, overwrite=True)).made == 9


def test_an_archive_that_ends_too_early_gives_what_is_whole(model: ExportedModel, images: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(images, ".")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(path, model, tmp_path / "out")
    assert 0 < done.masks < 9
    assert done.damage is not None
    assert "cut off" in done.damage


def test_a_mask_that_a_person_made_goes_before_the_models(
    store: Store, model: ExportedModel, images: Path, tmp_path: Path
) -> None:
    ingest_folder(store, images, role="pool")
    ids = {
        name: hashlib.sha256((images / name).read_bytes()).hexdigest() for name in ("salp/0005.png", "salp/0006.png")
    }
    drawn = square(noisy_image(0).shape, 12)
    add_answers(store, 1, [ids["salp/0005.png"]], mask=drawn)
    add_answers(store, 1, [ids["salp/0006.png"]])
    done = run(images, model, tmp_path / "out", replace(CPU, answers=Answers.of(store)))
    assert done.by_people == 1
    assert np.array_equal(masks(tmp_path / "out")["salp/0005.png"] > 0, drawn)
    rows = {row["path"]: row for row in _table(tmp_path / "out")}
    assert [rows["salp/0005.png"][name] for name in ("origin", "status", "area_px", "expected_dice")] == [
        "corrected",
        "usable",
        144,
        None,
    ]
    assert (rows["salp/0006.png"]["origin"], rows["salp/0006.png"]["status"]) == ("model", "skipped")
    assert rows["salp/0007.png"]["status"] == "usable"


def test_a_moved_output_folder_is_gone_on_with(model: ExportedModel, images: Path, tmp_path: Path) -> None:
    run(images, model, tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert run(images, model, tmp_path / "moved").made == 0
