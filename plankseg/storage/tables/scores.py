"""The `scores` table: scores that a model has given already, in the same way, so that none is computed twice."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from plankseg.storage.delta_tables import DeltaTables


class Scores:
    """The `scores` table: image and score under a key, which names all that a score depends on beside the image."""

    def __init__(self, tables: DeltaTables) -> None:
        self._tables = tables

    def known(self, key: str, image_ids: Sequence[str]) -> dict[str, float]:
        """The scores that are kept of these images; of two for one image the lower, whoever asks and whenever."""
        wanted = pc.field("image_id").isin(pa.array(list(image_ids), pa.string()))
        rows = self._tables.read("scores", columns=["image_id", "score"], where=(pc.field("key") == key) & wanted)
        once = rows.group_by("image_id").aggregate([("score", "min")]).sort_by("image_id")
        return dict(zip(once["image_id"].to_pylist(), once["score_min"].to_pylist(), strict=True))

    def keep(self, key: str, scores: Mapping[str, float]) -> None:
        """Add scores in one commit; the same ones twice are once. A second writer's of the same images do no harm."""
        if not scores:
            return
        rows = [{"key": key, "image_id": image_id, "score": scores[image_id]} for image_id in sorted(scores)]
        named = hashlib.sha256("\n".join((key, *sorted(scores))).encode()).hexdigest()
        self._tables.append("scores", rows, [f"scores-{named}"])
