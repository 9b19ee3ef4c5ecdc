"""A torchvision of another build than torch can be imported, by plankseg and by programs that do not know it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plankseg.learning.network import torchvision_operators
from plankseg.learning.network.torchvision_compat import smp

pytestmark = pytest.mark.slow
DEFINES_NMS = "import sys; assert 'plankseg.learning.network.torchvision_compat' not in sys.modules; "


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["segmentation_models_pytorch", "timm", "torchvision", "lightning.pytorch"])
def test_a_plain_import_works_in_the_environment_of_make_setup(package: str) -> None:
    done = run(DEFINES_NMS + f"import {package}, torch; assert hasattr(torch.ops.torchvision, 'nms')")
    assert done.returncode == 0, done.stderr


def test_a_start_of_python_imports_neither_torch_nor_torchvision() -> None:
    done = run("import sys; print('torch' in sys.modules, 'torchvision' in sys.modules, 're' in sys.modules)")
    assert done.stdout.split()[:2] == ["False", "False"]
    assert done.stderr == ""


def test_operators_are_declared_exactly_when_torchvision_brings_none() -> None:
    assert smp is not None
    import torchvision.extension  # only now: alone it would fail where the operators are missing

    assert torchvision_operators.are_declared() != torchvision.extension._has_ops()
    assert hasattr(torch.ops.torchvision, "nms")


def test_operators_that_are_there_are_left_alone() -> None:
    before = list(torchvision_operators._declared)
    assert torchvision_operators.brings_operators()
    assert torchvision_operators.declare_missing_operators() is False
    assert torchvision_operators._declared == before


def test_an_environment_of_two_builds_gets_a_start_up_file_and_one_of_one_build_loses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_operators, "installed_builds", lambda: ("2.13.0+cpu", "0.28.0+cu130"))
    monkeypatch.setattr(torchvision_operators, "brings_operators", lambda: False)
    sentence = torchvision_operators.prepare_environment(tmp_path)
    assert sentence.startswith("Torch 2.13.0+cpu and torchvision 0.28.0+cu130 are of two builds")
    assert "torchvision-0.28.0+cpu" in sentence
    assert [file.name for file in tmp_path.iterdir()] == [torchvision_operators.STARTUP_FILE]
    monkeypatch.setattr(torchvision_operators, "brings_operators", lambda: True)
    monkeypatch.setattr(torchvision_operators, "_declared", [])
    assert torchvision_operators.prepare_environment(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_builds_are_read_without_an_import() -> None:
    torch_version, torchvision_version = torchvision_operators.installed_builds()
    assert torch_version == torch.__version__
    assert torchvision_version[0].isdigit()
    assert torchvision_operators._version("no_such_package_is_here") == ""


def test_the_start_up_line_does_nothing_where_plankseg_is_not_there(tmp_path: Path) -> None:
    line = torchvision_operators.STARTUP_LINE
    isolated = [sys.executable, "-I", "-S", "-c", f"{line}\nimport sys; print(len(sys.meta_path))"]
    done = subprocess.run(isolated, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
