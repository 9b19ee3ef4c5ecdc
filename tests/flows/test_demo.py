"""`make demo`: on real folders it stops where a person must click, and ends what it started. Real servers."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.demo import SYNTHETIC
from plankseg.imaging.synthetic.demo_domains import write_domains
from plankseg.learning.network.packaged_weights import is_packaged
from plankseg.pipeline.loop.progress import read_progress
from plankseg.storage.store import Store
from tests.support.screens import artifacts_of, not_for_people

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]
PLANKSEG = str(Path(sys.executable).parent / "plankseg")


def demo(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as `make demo` does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANKSEG_")}
    return subprocess.run(
        [PLANKSEG, "demo", *options], cwd=cwd, env=environment, capture_output=True, text=True, timeout=800, check=False
    )


def test_on_folders_without_masks_twenty_images_wait_for_a_person_and_a_second_run_changes_nothing(
    tmp_path: Path,
) -> None:
    folders = write_domains(tmp_path / "plancton d'été", source=24, pool=30, validation=1)
    work = tmp_path / "où je travaille"
    options = ["--directory", str(work), "--source", str(folders.source), "--pool", str(folders.pool)]
    ran = demo(*options, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Round 1 waits for a person: run `make up DIR=" in ran.stdout
    progress = read_progress(Store.open(work / "store"))
    assert (progress.round, len(progress.chosen), progress.unanswered) == (1, 20, 20)
    assert (work / "report.html").stat().st_size > 10_000
    assert not_for_people((work / "report.html").read_text()) == []
    assert "The person in this demo is simulated" not in (work / "report.html").read_text()
    artifacts = list(artifacts_of(work / "prefect" / "prefect.db"))
    assert "ingest-pool" in {key for key, _ in artifacts}
    assert [(key, found) for key, text in artifacts if (found := not_for_people(text))] == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(work) in " ".join(p.info["cmdline"] or [])]

    again = demo(*options, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert read_progress(Store.open(work / "store")) == progress

    other = demo(
        "--directory", str(work), "--source", str(folders.pool), "--pool", str(tmp_path / "none"), cwd=tmp_path
    )
    assert other.returncode == 1
    assert "is not a folder" in other.stderr
    assert read_progress(Store.open(work / "store")) == progress


def test_the_synthetic_demo_starts_from_weights_that_need_no_hub_and_no_clock_chooses_for_it() -> None:
    assert is_packaged(SYNTHETIC.network)
    assert SYNTHETIC.inference.backend != "auto", (
        "which way is the fastest differs by load, and so would the models' ids"
    )
    assert SYNTHETIC.training.pool_mask_weight
