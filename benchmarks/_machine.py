"""The machine of a benchmark, for its JSON: figures of two processors are not compared unawares."""

import os
import platform
from pathlib import Path

import torch


def machine() -> dict[str, dict[str, object]]:
    """Processor, GPU, cores that this process may use, and the load of the last minute when it was asked."""
    info = Path("/proc/cpuinfo")
    named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "machine": {
            "processor": named[0] if named else platform.processor() or platform.machine(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "cores": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 1),
        }
    }
