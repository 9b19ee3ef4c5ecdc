"""How much memory a test process takes, and how it gives back what a test has left."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

BOUND_MB = 2500
"""What fails the run."""
BASE_MB = 1000  # torch, Lightning and OpenVINO alone take nearly as much
GROWN_MB = 150

_after_last = BASE_MB


def peak_mb() -> int:
    """The most that this process has had resident."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def resident_mb() -> int:
    """What this process has resident now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() // 2**20


def give_back_if_grown() -> None:
    """Give back what can be given, where that may be much."""
    global _after_last
    if resident_mb() > _after_last + GROWN_MB:
        give_back()
        _after_last = max(BASE_MB, resident_mb())


def give_back() -> None:
    """Let go of cached networks, and hand the freed memory back to the system: the heap would keep it, in pieces."""
    if loading := sys.modules.get("plankseg.pipeline.models.loading"):
        loading.clear_cache()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
