"""torchvision beside a torch of another build: its missing operators are declared, so that it can be imported.

A torchvision built for CUDA beside a CPU torch cannot load its compiled operators, and its import then ends in
`operator torchvision::nms does not exist`. Nobody here calls an operator of torchvision, so declaring them is enough.
Where torchvision brings its own, nothing is done.

`make setup` runs this module. Where the two builds do not fit, it puts a file into the environment by which every
Python there declares the operators just before it imports torchvision (`torchvision_at_import`).
"""

import re
from importlib.machinery import PathFinder
from pathlib import Path

import torch

STARTUP_FILE = "plankseg-torchvision.pth"
STARTUP_LINE = (
    "import sys; exec('try:\\n from plankseg.learning.network.torchvision_at_import import declare_at_import"
    "\\n declare_at_import()\\nexcept ImportError: pass')\n"
)
"""Python runs it as it starts; it does nothing where plankseg was taken away, or is one from before this module."""

_declared: list[torch.library.Library] = []  # a Library undoes its declarations when it is collected


def brings_operators() -> bool:
    """Whether torchvision's compiled operators are there or can be loaded; True also without a torchvision."""
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    folder = _folder("torchvision")
    if folder is None:
        return True
    for compiled in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:  # it needs libraries that this torch does not have
            return False
    return hasattr(torch.ops.torchvision, "nms")


def declare_missing_operators() -> bool:
    """Declare torchvision's operators if they cannot be had; tells whether that was needed."""
    if brings_operators():
        return False
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True


def are_declared() -> bool:
    """Whether this process goes on without torchvision's own operators."""
    return bool(_declared)


def installed_builds() -> tuple[str, str]:
    """Versions of torch and torchvision with their builds, as '2.13.0+cpu'; '' for one that is not installed."""
    return _version("torch"), _version("torchvision")


def misfit() -> str:
    """What does not fit, as a clause; '' where torchvision brings its operators."""
    if brings_operators() and not are_declared():
        return ""
    torch_version, torchvision_version = installed_builds()
    return f"torch {torch_version} and torchvision {torchvision_version} are of two builds"


def cure() -> str:
    """How both come to be of one build."""
    torch_version, torchvision_version = installed_builds()
    build = torch_version.partition("+")[2] or "cpu"
    wheel = f"torchvision-{torchvision_version.partition('+')[0]}+{build}"
    return (
        f"for one build put the wheel of {wheel} beside that of torch, in pip's folder of find-links, then `make clean "
        "setup`; or `make clean setup TORCH=registry`, 5 GB (docs/settings.md)"
    )


def _version(package: str) -> str:
    folder = _folder(package)
    found = folder and re.search(r"^__version__ = ['\"](.+)['\"]", (folder / "version.py").read_text(), re.MULTILINE)
    return found[1] if found else ""


def _folder(package: str) -> Path | None:
    spec = PathFinder.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def prepare_environment(packages: Path) -> str:
    """Put the start-up file into a folder of packages where it is needed, else take it away; a sentence about it."""
    file = packages / STARTUP_FILE
    clause = misfit()
    if not clause:
        file.unlink(missing_ok=True)
        return ""
    file.write_text(STARTUP_LINE)
    return (
        f"{clause[0].upper()}{clause[1:]}: torchvision's operators do not load, and are declared empty wherever it is "
        f"imported. plankseg calls none of them; {cure()}."
    )


if __name__ == "__main__":
    import sysconfig

    if sentence := prepare_environment(Path(sysconfig.get_path("purelib"))):
        print(sentence)
