"""Runs the flow `segment` in a process of its own, and kills that process -9 at a named point.

With the variable FINALIZE, the last training's configuration as JSON, the flow `finalize` runs before it.
usage: killed_harvest.py POINT COUNT SHARD_SIZE [VIEWS]     (POINT 'nowhere' runs to the end)
"""

import itertools
import os
import signal
import sys
from typing import Any

from plankseg.config import ExportConfig, FinalConfig, Part, SegmentConfig


def kill_in(owner: Any, name: str, *, on_call: int) -> None:
    """Die after the n-th call of a function."""
    original, calls = getattr(owner, name), itertools.count(1)  # threads call it at the same time

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        call = next(calls)
        result = original(*args, **kwargs)
        if call == on_call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def arm(point: str, count: int) -> None:
    """Make this process die at a point."""
    import plankseg.learning.lightning_module as learner
    import plankseg.pipeline.archive.ecotaxa as ecotaxa
    import plankseg.pipeline.archive.segment as segmenting
    import plankseg.storage.tables.models as models
    import plankseg.storage.tables.segments as segments

    match point:
        case "nowhere":
            pass
        case "epoch":
            kill_in(learner, "write_checkpoint", on_call=count)
        case "after the model":
            kill_in(models.Models, "commit", on_call=count)
        case "masks":
            kill_in(segmenting, "encode_mask", on_call=count)
        case "after the record":
            kill_in(segments.Segments, "commit", on_call=count)
        case "zip":
            kill_in(ecotaxa, "write_entry", on_call=count)
        case _:
            raise SystemExit(f"no point {point!r}")


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    from flows.finalize import finalize
    from flows.segment import segment

    if "FINALIZE" in os.environ:
        finalize(FinalConfig.model_validate_json(os.environ["FINALIZE"]))
    how = SegmentConfig(shard_size=int(sys.argv[3]), views=sys.argv[4] if len(sys.argv) > 4 else "recipe")
    state = segment(Part(), None, how, ExportConfig(pixel_size_mm=0.0106), return_state=True)
    print(state.result(raise_on_failure=False))
    sys.exit(0 if state.is_completed() else 1)
