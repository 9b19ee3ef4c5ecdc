"""Bins of an Imaging FlowCytobot, written for tests as the instruments of both kinds write them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FORMAT = (
    "trigger#, ADC_time, PMTA, PMTB, PMTC, PMTD, peakA, peakB, peakC, peakD, time of flight, grabtimestart, "
    "grabtimeend, ROIx, ROIy, ROIwidth, ROIheight,start_byte, comparator_out, STartPoint, SignalLength, status, "
    "runTime, inhibitTime"
)
NEW, OLD = "D20130526T095207_IFCB013", "IFCB1_2009_216_075913"
Row = tuple[int, int, int, np.ndarray | None]
"""Trigger, column, row and grey levels of an image; None for a trigger without one."""


def some_rows(shapes: Sequence[tuple[int, int] | None] = ((30, 40), None, (25, 62))) -> list[Row]:
    """A row a shape, each a trigger of its own, with noise."""
    rng = np.random.default_rng(5)
    return [
        (number, 10 * number, 20 * number, None if shape is None else rng.integers(0, 255, shape, dtype=np.uint8))
        for number, shape in enumerate(shapes, 1)
    ]


def write_bin(folder: Path, rows: Sequence[Row], *, name: str = NEW, is_new: bool = True) -> Path:
    """Write the three files of a bin and return its path without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    stretch = bytearray(b"" if is_new else b"\0")
    lines = []
    for trigger, x, y, image in rows:
        height, width = (0, 0) if image is None else image.shape
        where = f"{x},{y},{width},{height},{len(stretch)}"
        if is_new:
            lines.append(f"{trigger}, 0.5, 1,2,3,4, 5,6,7,8, 0.1, 0.2, 0.3, {where}, 0, 0, 0, 1, 1.5, 0.25")
        else:
            lines.append(f"{trigger},.31,.06,-.61,-.17,-3.6,-.29,0,.25,{where},-.27,")
        stretch += b"" if image is None else image.tobytes()
    (folder / f"{name}.adc").write_text("".join(f"{line}\r\n" for line in lines))
    (folder / f"{name}.roi").write_bytes(bytes(stretch))
    header = f"softwareVersion: 2\r\nADCFileFormat: {FORMAT}\r\n" if is_new else '"version 1.0; October 2005"\r\n'
    (folder / f"{name}.hdr").write_text(header)
    return folder / name
