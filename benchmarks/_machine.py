"""The machine of a benchmark, for its JSON: figures of two processors are not compared unawares."""

import os

from plankseg.parallel import processor_name


def machine() -> dict[str, dict[str, object]]:
    """Processor, GPU, cores that this process may use, and the load of the last minute when it was asked."""
    import torch  # only now: a process whose memory is measured does not hold it

    return {
        "machine": {
            "processor": processor_name(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "cores": len(os.sched_getaffinity(0)),
            "load": round(os.getloadavg()[0], 1),
        }
    }
