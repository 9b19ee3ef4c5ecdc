"""A store, and the flow `segment` over it in a process of its own; what it leaves, byte for byte."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plankseg import local_servers
from plankseg.storage.store import Store
from tests.support.subprocess_flow import SUPPORT, ForkedProgram, run_flow, start_flow

DRIVER = SUPPORT / "killed_harvest.py"


@dataclass(frozen=True)
class Bench:
    """A store of its own and the shared Prefect server; `more` are variables of the flow's own environment."""

    store: Store
    server_settings: local_servers.ServerSettings
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        ours = {"PLANKSEG_STORE": str(self.store.root), "PLANKSEG_DEVICE": "cpu"}
        return self.server_settings.environment() | ours | dict(self.more)

    def segment(
        self, point: str = "nowhere", count: int = 0, shard_size: int = 30, views: str = "recipe"
    ) -> subprocess.CompletedProcess[str]:
        how = (point, str(count), str(shard_size), views)
        return run_flow(DRIVER, *how, environment=self.environment, silent_s=600)

    def start(self, log: Path, *, shard_size: int, views: str = "recipe") -> ForkedProgram:
        """The same, without waiting for its end."""
        return start_flow(DRIVER, "nowhere", "0", str(shard_size), views, environment=self.environment, log=log)

    def recorded(self) -> list[str]:
        """The shards that are done, as often as they are recorded."""
        return [row["shard_id"] for row in self.store.tables.read("segments").to_pylist()]

    def harvest(self) -> dict[str, bytes]:
        """Every file of the export, and every object that finished shards name."""
        rows = self.store.tables.read("segments").to_pylist()
        files = {path.name: path.read_bytes() for path in (self.store.root / "exports").iterdir()}
        files |= {row["shard_id"]: self.store.blobs.get(row["measures_sha"], "parquet") for row in rows}
        assert len(files) > len(rows)
        finished = self.store.segments.done(rows[0]["model_id"], rows[0]["settings"])
        for row in self.store.segments.measures(finished).to_pylist():
            files[row["image_id"]] = self.store.blobs.get(row["mask_sha"], "png")
        return files
