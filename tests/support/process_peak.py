"""Peak memory of a few lines of Python in a process of their own."""

import subprocess
import sys

# Not getrusage: its peak begins with the parent's at the fork.
_REPORT = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_of(code: str) -> tuple[int, str]:
    """The peak in bytes of a process that runs the code, and what it printed."""
    done = subprocess.run([sys.executable, "-c", code + _REPORT], check=True, capture_output=True, text=True)
    *output, peak = done.stdout.splitlines()
    return int(peak) * 1024, "\n".join(output)
