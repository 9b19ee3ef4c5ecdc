"""Draws of stores that exist depend on these values: they are what they always were."""

import hashlib

import pytest

from plankseg.stable_hash import stable_hash

IMAGE = hashlib.sha256(b"image").hexdigest()


@pytest.mark.parametrize("namespace", ["holdout", "half", "validation 3", "reference 0"])
def test_the_formula_is_the_one_that_recorded_draws_were_made_with(namespace: str) -> None:
    assert stable_hash(namespace, IMAGE) == hashlib.sha256(f"{namespace} {IMAGE}".encode()).digest()


def test_values_written_down_do_not_change() -> None:
    assert stable_hash("half", "a" * 64).hex()[:16] == "2b18ac3a41615d60"
    assert int.from_bytes(stable_hash("holdout", "b" * 64)[:4]) == 846824662
