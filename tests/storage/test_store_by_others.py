"""Pandas and DuckDB read a store as docs/store.md says, before and after it was tidied."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plankseg import local_servers
from plankseg.imaging.masks import encode_mask
from plankseg.storage import maintenance
from plankseg.storage.store import Store
from tests.support.table_rows import answer, automatic, image, sha

pytestmark = pytest.mark.slow


def snippets() -> dict[str, str]:
    """The Python of the page, by the heading above it; those for a bucket are not run."""
    found: dict[str, str] = {}
    for section in (local_servers.ROOT / "docs" / "store.md").read_text().split("\n## ")[1:]:
        for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            found[f"{section.splitlines()[0]} {len(found)}"] = code
    return {heading: code for heading, code in found.items() if "s3://" not in code}


@pytest.fixture(params=[False, True], ids=["as written", "tidied"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three images of two taxa; two were answered, one of them twice, and one has an automatic mask."""
    store = Store.open(tmp_path / "demo" / "store")
    store.catalogue.add([image("a", taxon="egg"), image("b", taxon="egg"), image("c", "source", taxon="zoea")])
    mask = store.blobs.put(encode_mask(np.eye(5, dtype=bool)), "png")
    store.labels.add([automatic("c", mask_sha=mask)])
    for minutes, row in enumerate([("a", 1, 10.0), ("b", 2, 30.0), ("a", 1, 20.0)]):
        store.labels.add([answer(row[0], row[1], minutes, seconds=row[2], mask_sha=mask)])
    if request.param:
        monkeypatch.setattr(maintenance, "LEAST_HORIZON", timedelta(0))
        maintenance.maintain(store)
    monkeypatch.chdir(tmp_path)
    return store


def test_the_pages_code_runs_and_finds_what_is_there(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"mask_sha": store.labels.current()[0].mask_sha}
    for code in snippets().values():
        exec(code, names)
    assert names["newest"].set_index("image_id")["seconds"].to_dict() == pytest.approx(
        {sha("a"): 20.0, sha("b"): 30.0, sha("c"): float("nan")}, nan_ok=True
    )
    assert len(names["first"]) == 1
    np.testing.assert_array_equal(names["mask"], np.eye(5, dtype=bool))
    shown = capsys.readouterr().out
    assert re.search(r"egg\s*│\s*2\s*│\s*20.0", shown)
    assert "zoea" not in shown.partition("taxon │")[2]


def test_every_kind_of_reader_is_on_the_page() -> None:
    assert {heading.rpartition(" ")[0] for heading in snippets()} == {"pandas", "DuckDB", "A mask"}
