"""Peak memory of a few lines of Python in a process of their own."""

import subprocess
import sys

_REPORT = """
import resource as _resource
print(_resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_of(code: str) -> tuple[int, str]:
    """The peak in bytes of a process that runs the code, and what it printed."""
    done = subprocess.run([sys.executable, "-c", code + _REPORT], check=True, capture_output=True, text=True)
    *said, peak = done.stdout.splitlines()
    return int(peak) * 1024, "\n".join(said)
