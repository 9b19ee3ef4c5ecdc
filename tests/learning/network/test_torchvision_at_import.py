"""Operators are declared when torchvision is imported, and for it alone."""

import sys

import pytest

from plankseg.learning.network.torchvision_at_import import DeclareAtImport, declare_at_import


def test_it_is_asked_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [finder for finder in sys.meta_path if finder is not DeclareAtImport]
    monkeypatch.setattr(sys, "meta_path", list(others))
    declare_at_import()
    declare_at_import()
    assert sys.meta_path == [DeclareAtImport, *others]


@pytest.mark.parametrize("name", ["torch", "torchvision.ops", "json"])
def test_other_modules_are_left_to_python(name: str) -> None:
    assert DeclareAtImport.find_spec(name) is None


def test_finding_torchvision_imports_nothing() -> None:
    before = set(sys.modules)
    spec = DeclareAtImport.find_spec("torchvision")
    assert spec is not None
    assert set(sys.modules) == before
