"""Runs what a Prefect worker was to run in a process forked by `preloaded_python.py`, and ends as that one does.

usage, as a run's command: forked_run.py SOCKET
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    program = {
        "command": ["-m", "prefect.engine"],
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "stdout": f"/proc/{os.getpid()}/fd/1",
        "stderr": f"/proc/{os.getpid()}/fd/2",
    }
    connection.sendall(f"{json.dumps(program)}\n".encode())
    answers = connection.makefile()
    process = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(process, number))
    status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
