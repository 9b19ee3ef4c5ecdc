"""Speed of our brush codec against the SDK's, on masks as pre-labelling makes them. Prints one JSON object.

usage: brush.py [--masks 200] [--rounds 5]

Both encode and decode the same synthetic plankton masks in turn, in this process; the codes are compared byte by byte
and the masks pixel by pixel before anything is timed.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np
import typer
from _machine import machine

from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.labelling.api.brush_rle import decode_brush, encode_brush

BOUNDS = {"encode_ratio": 5.0, "decode_ratio": 5.0}
MASKS_AT_SCALE = 10_000


def sdk_codec() -> ModuleType:
    """The SDK's own codec, loaded as one file: importing its package costs seconds and changes nothing in the codec."""
    package = importlib.util.find_spec("label_studio_sdk")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "converter" / "brush.py"
    spec = importlib.util.spec_from_file_location("sdk_brush", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sdk_brush"] = module
    spec.loader.exec_module(module)
    return module


def seconds_of(work: Callable[[object], object], items: Sequence[object]) -> float:
    started = time.perf_counter()
    for item in items:
        work(item)
    return time.perf_counter() - started


def main(masks: int = 200, rounds: int = 5) -> None:
    """Measure, print, and exit 0 only if both bounds hold."""
    sdk = sdk_codec()
    drawn = [draw_sample("noisy", seed, max_side_px=600).mask for seed in range(masks)]
    levels = [mask.astype(np.uint8) * 255 for mask in drawn]
    codes = [encode_brush(mask) for mask in drawn]
    for mask, level, code in zip(drawn, levels, codes, strict=True):
        assert code == list(sdk.mask2rle(level)), "the same bytes"
        assert np.array_equal(decode_brush(code, shape=mask.shape), mask), "the same pixels"
    shapes = dict(zip(map(id, codes), (mask.shape for mask in drawn), strict=True))
    times: dict[str, list[float]] = {name: [] for name in ("sdk_encode", "encode", "sdk_decode", "decode")}
    for _ in range(rounds):
        times["sdk_encode"].append(seconds_of(sdk.mask2rle, levels))
        times["encode"].append(seconds_of(encode_brush, drawn))
        times["sdk_decode"].append(seconds_of(sdk.decode_rle, codes))
        times["decode"].append(seconds_of(lambda code: decode_brush(code, shape=shapes[id(code)]), codes))
    figures = {
        name: median(theirs / ours for theirs, ours in zip(times[f"sdk_{step}"], times[step], strict=True))
        for step, name in (("encode", "encode_ratio"), ("decode", "decode_ratio"))
    }
    per_mask = {f"{name}_ms": 1000 * median(taken) / masks for name, taken in times.items()}
    at_scale = {
        f"{step}_s_for_{MASKS_AT_SCALE}": per_mask[f"{step}_ms"] * MASKS_AT_SCALE / 1000
        for step in ("encode", "decode")
    }
    ok = all(figures[name] >= bound for name, bound in BOUNDS.items())
    shown = {name: round(value, 3) for name, value in (figures | per_mask | at_scale).items()}
    print(json.dumps({"figures": shown, "bounds": BOUNDS, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
