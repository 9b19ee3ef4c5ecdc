"""Arguments of `uv pip install` that bring torch and torchvision, both of one build. `make setup` asks.

usage: torch_packages.py [BUILD]     (BUILD: cpu, cu126, ..., registry; without one what fits, see docs/settings.md)

Wheels of torch in pip's folders of find-links come first: of a build whose torchvision lies there too, else of any.
Without one, uv takes the build that fits the machine from PyTorch's index. The lock files hold the hashes of what the
package registry serves. A torch from elsewhere has others: there its version is held, and whoever serves it is trusted.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

LOCK = "requirements-torch.lock"
PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"


def pinned(lock: str) -> dict[str, str]:
    """Versions of torch and torchvision in the text of the lock file."""
    return dict(re.findall(r"^(torch|torchvision)==(\S+)", lock, re.MULTILINE))


def local_builds(package: str, version: str, folders: Iterable[Path]) -> set[str]:
    """Builds ('cpu', 'cu126'; '' for a wheel that names none) of which a wheel for this Python and machine is there."""
    name = re.compile(
        rf"{package}-{re.escape(version)}(?:\+([a-z0-9.]+))?-{PYTHON}-{PYTHON}-.*{re.escape(platform.machine())}\.whl"
    )
    wheels = (path.name for folder in folders if folder.is_dir() for path in folder.iterdir())
    return {match[1] or "" for wheel in wheels if (match := name.fullmatch(wheel))}


def arguments(build: str, lock: str, find_links: list[str]) -> list[str]:
    """What follows `uv pip install`."""
    if build == "registry":
        return ["--require-hashes", "--no-deps", "--requirement", LOCK]
    pins = pinned(lock)
    folders = [Path(link.removeprefix("file://")) for link in find_links]
    torch, vision = (local_builds(name, pins[name], folders) for name in ("torch", "torchvision"))
    if build:
        torch &= {build}
    if not torch:
        wanted = [f"{name}=={pins[name]}" for name in ("torch", "torchvision")]
        return ["--torch-backend", build or "auto", "--constraint", "requirements.lock", *wanted]
    chosen = max(torch & vision or torch)
    links = [word for link in find_links for word in ("--find-links", link)]
    return [
        *links,
        *("--constraint", "requirements.lock"),
        _of_build(f"torch=={pins['torch']}", chosen),
        _of_build(f"torchvision=={pins['torchvision']}", chosen if chosen in vision else ""),
    ]


def _of_build(pin: str, build: str) -> str:
    return f"{pin}+{build}" if build else pin


def find_links_of_pip() -> list[str]:
    """Folders and pages of pip's setting, or of PIP_FIND_LINKS above it."""
    named = os.environ.get("PIP_FIND_LINKS")
    if not named:
        asked = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
        named = subprocess.run(asked, capture_output=True, text=True, check=False).stdout  # fails where it is not set
    return named.split()


if __name__ == "__main__":
    words = arguments(sys.argv[1] if len(sys.argv) > 1 else "", Path(LOCK).read_text(), find_links_of_pip())
    print(*words)
