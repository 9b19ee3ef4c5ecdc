"""Runs `plankseg predict` in a process of its own, and kills that process -9 at a named point.

usage: killed_predict.py POINT COUNT IMAGES MODEL OUT     (POINT 'nowhere' runs to the end; prints how many it made)
"""

import sys
from pathlib import Path

from plankseg.pipeline.models.exported_model import read_model
from plankseg.pipeline.prediction import output_folder, predict
from plankseg.pipeline.prediction.terminal_predict import open_images
from tests.support.killed_harvest import kill_in


def arm(point: str, count: int) -> None:
    """Make this process die at a point."""
    match point:
        case "nowhere":
            pass
        case "within a mask":
            kill_in(Path, "write_bytes", on_call=count)
        case "after rows":
            kill_in(output_folder.OutputFolder, "record", on_call=count)
        case "a table":
            kill_in(output_folder.pq, "write_table", on_call=count)
        case _:
            raise SystemExit(f"no point {point!r}")


if __name__ == "__main__":
    predict.ROWS_AT_ONCE = 4
    images, model, out = sys.argv[3:]
    options = predict.PredictOptions(device="cpu")
    read = read_model(Path(model))
    arm(sys.argv[1], int(sys.argv[2]))
    print(predict.predict(open_images(images), read, Path(out), options).made)
