"""torch and torchvision come from one place where both are there; a local wheel of torch comes first."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.torch_packages import LOCK, PYTHON, arguments, find_links_of_pip, local_builds, pinned

ROOT = Path(__file__).parents[2]
LOCK_TEXT = (ROOT / LOCK).read_text()
PINS = pinned(LOCK_TEXT)
TORCH, VISION = (f"{name}=={PINS[name]}" for name in ("torch", "torchvision"))
HELD = ["--constraint", "requirements.lock"]


def wheel(package: str, build: str, *, version: str | None = None, python: str = PYTHON, machine: str = "") -> str:
    label = f"+{build}" if build else ""
    tag = f"manylinux_2_28_{machine or platform.machine()}"
    return f"{package}-{version or PINS[package]}{label}-{python}-{python}-{tag}.whl"


def folder_of(tmp_path: Path, *wheels: str) -> str:
    for name in wheels:
        (tmp_path / name).touch()
    return str(tmp_path)


def test_the_lock_names_both() -> None:
    assert set(PINS) == {"torch", "torchvision"}


def test_without_a_local_wheel_both_come_from_one_index() -> None:
    assert arguments("", LOCK_TEXT, []) == ["--torch-backend", "auto", *HELD, TORCH, VISION]
    assert arguments("cu126", LOCK_TEXT, []) == ["--torch-backend", "cu126", *HELD, TORCH, VISION]


def test_the_registry_s_own_pair_is_taken_by_its_hashes() -> None:
    wanted = ["--require-hashes", "--no-deps", "--requirement", LOCK]
    assert arguments("registry", LOCK_TEXT, ["somewhere"]) == wanted


def test_both_come_from_the_folder_where_both_lie(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, wheel("torch", "cpu"), wheel("torchvision", "cpu"))
    assert arguments("", LOCK_TEXT, [folder]) == ["--find-links", folder, *HELD, f"{TORCH}+cpu", f"{VISION}+cpu"]


def test_a_build_with_both_wheels_is_taken_before_one_with_torch_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, wheel("torch", "cu130"), wheel("torch", "cpu"), wheel("torchvision", "cpu"))
    assert arguments("", LOCK_TEXT, [f"file://{folder}"])[-2:] == [f"{TORCH}+cpu", f"{VISION}+cpu"]
    assert arguments("cu130", LOCK_TEXT, [folder])[-2:] == [f"{TORCH}+cu130", VISION]


def test_two_folders_are_looked_at_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    folders = [
        folder_of(tmp_path / "one", wheel("torch", "cpu")),
        folder_of(tmp_path / "two", wheel("torchvision", "cpu")),
    ]
    assert arguments("", LOCK_TEXT, folders)[-2:] == [f"{TORCH}+cpu", f"{VISION}+cpu"]


def test_torch_alone_brings_the_registry_s_torchvision(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, wheel("torch", "cpu"))
    assert arguments("", LOCK_TEXT, [folder])[-2:] == [f"{TORCH}+cpu", VISION]


def test_wheels_that_name_no_build_are_a_pair(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, wheel("torch", ""), wheel("torchvision", ""))
    assert arguments("", LOCK_TEXT, [folder])[-2:] == [TORCH, VISION]


@pytest.mark.parametrize(
    "other",
    [
        wheel("torch", "cpu", version="1.0.0"),
        wheel("torch", "cpu", python="cp39"),
        wheel("torch", "cpu", machine="riscv64"),
        wheel("torchvision", "cpu"),
        "torch",
    ],
)
def test_a_wheel_that_would_not_do_does_not_count(tmp_path: Path, other: str) -> None:
    folder_of(tmp_path, other)
    assert local_builds("torch", PINS["torch"], [tmp_path, tmp_path / "absent"]) == set()
    assert arguments("", LOCK_TEXT, [str(tmp_path)])[0] == "--torch-backend"


def test_the_build_that_is_asked_for_is_not_replaced_by_a_local_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, wheel("torch", "cpu"), wheel("torchvision", "cpu"))
    assert arguments("cu126", LOCK_TEXT, [folder])[:2] == ["--torch-backend", "cu126"]


def test_pip_s_find_links_are_several_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/first file:///second")
    assert find_links_of_pip() == ["/first", "file:///second"]


def test_make_passes_the_build_on(tmp_path: Path) -> None:
    told = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup", "TORCH=cu126"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = re.search(r"\$\((.*torch_packages\.py.*)\)", told)
    assert command is not None
    words = command[1].split()
    assert words[1:] == ["deployments/torch_packages.py", "cu126"]
    asked = [sys.executable, *words[1:]]
    printed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True, env={"PIP_FIND_LINKS": ""})
    assert printed.stdout.split() == ["--torch-backend", "cu126", *HELD, TORCH, VISION]
