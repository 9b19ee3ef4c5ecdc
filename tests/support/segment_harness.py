"""A store, and the flow `segment` over it in a process of its own; what it leaves, byte for byte."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plankseg import local_servers
from plankseg.storage.store import Store

DRIVER = Path(__file__).with_name("killed_harvest.py")


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

    def command(self, point: str, count: int = 0, shard_size: int = 30, views: str = "recipe") -> list[str]:
        return [sys.executable, str(DRIVER), point, str(count), str(shard_size), views]

    def segment(
        self, point: str = "nowhere", count: int = 0, shard_size: int = 30, views: str = "recipe"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(point, count, shard_size, views),
            env=self.environment, cwd=local_servers.ROOT, capture_output=True, text=True, timeout=3600, check=False,
        )  # fmt: skip

    def start(self, log: Path, *, shard_size: int, views: str = "recipe") -> "subprocess.Popen[bytes]":
        """The same, without waiting for its end."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self.command("nowhere", 0, shard_size, views),
                env=self.environment, cwd=local_servers.ROOT, stdout=output, stderr=subprocess.STDOUT,
                preexec_fn=local_servers.die_with_parent,
            )  # fmt: skip

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
