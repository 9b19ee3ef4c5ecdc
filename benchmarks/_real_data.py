"""The real images of a benchmark: those of PLANKSEG_REAL_DATA or of ../shared/data; what is done without them."""

import json
from pathlib import Path

from plankseg.imaging.synthetic.demo_domains import write_domains

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def found(data: Path | None) -> Path | None:
    """The folder that was given, or the one beside the repository; None where there is none."""
    place = data or (BESIDE if BESIDE.is_dir() else None)
    if place is not None and not place.is_dir():
        raise SystemExit(
            f"{place} is no folder; set PLANKSEG_REAL_DATA to the folder of the real images, or to nothing."
        )
    return place


def vignettes(data: Path | None, folder: Path, count: int) -> tuple[Path, str]:
    """Vignettes below a folder for each taxon, and what they are: drawn ones where there are no real ones."""
    place = found(data)
    if place is not None:
        return place / "zooscannet-sample" / "imgs", "real: zooscannet-sample"
    drawn = write_domains(folder / "drawn", source=1, pool=count, validation=1)
    return drawn.pool, "synthetic (no PLANKSEG_REAL_DATA, no ../shared/data)"


def needed(data: Path | None) -> Path:
    """The folder of the real images. Without them the benchmark ends here, and says so in its last line."""
    place = found(data)
    if place is None:
        print(json.dumps({"not_run": "needs real images; set PLANKSEG_REAL_DATA (docs/development.md)"}))
        raise SystemExit(0)
    return place
