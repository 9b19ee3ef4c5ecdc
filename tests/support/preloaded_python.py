"""A Python that has torch, Lightning and Prefect imported, and forks a process for each program that it is sent.

Such a process is one of its own: it has its own id, environment and output, and dies of SIGKILL as any other. Only the
imports are shared, which cost ten seconds of CPU for every interpreter. Usage: preloaded_python.py SOCKET
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = (
    "pandas",
    "boto3",
    "label_studio_sdk",
    "flows.advance",
    "flows.compare",
    "flows.finalize",
    "flows.ingest",
    "flows.maintain",
    "flows.propose",
    "flows.segment",
    "plankseg.pipeline.training.multi_gpu",
    "plankseg.pipeline.training.round_training",
)
FIXED = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME")  # Prefect reads them when it is imported
DIE_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


def main(address: str) -> None:
    """Serve until the end; what comes after is one process for each program, which ends as any Python does."""
    for name in PRELOADED:
        importlib.import_module(name)
    assert threading.active_count() == 1, f"a fork would lose these threads: {threading.enumerate()}"
    gc.freeze()  # what was imported is garbage to none of the programs, and need not be looked through by each
    program = serve(address)
    environment = program["environment"]
    differs = {name for name in FIXED if os.environ.get(name) != environment.get(name)}
    assert not differs, f"Prefect was imported with other settings than the program's: {sorted(differs)}"
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(program["folder"])
    random.seed()
    if "OMP_NUM_THREADS" in environment:
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    end(run(program["command"]))


def serve(address: str) -> dict[str, Any]:
    """Listen for programs, and return only in the process that is to run one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the programs
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen()
        Path(f"{address}.new").rename(address)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return attend(connection)
            connection.close()


def attend(connection: socket.socket) -> dict[str, Any]:
    """Fork once more: one process runs the program, the other one says its id and how it ended."""
    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    program: dict[str, Any] = json.loads(connection.makefile().readline())
    child = os.fork()
    if child:
        tell(connection, child)
    die_with_parent()
    connection.close()
    for stream, descriptor in (("stdout", 1), ("stderr", 2)):
        file = os.open(program[stream], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    return program


def tell(connection: socket.socket, child: int) -> NoReturn:
    """Say the program's process id, wait for its end, and say its exit status, negative for a signal."""
    with contextlib.suppress(BrokenPipeError):  # whoever asked no longer listens
        connection.sendall(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run(command: list[str]) -> int:
    """Run a file, lines of Python after `-c`, or a module after `-m`, as the interpreter does; the exit status."""
    try:
        if command[0] == "-m":
            sys.argv, sys.path[0] = command[1:], ""
            runpy.run_module(command[1], run_name="__main__")
        elif command[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *command[2:]], ""
            exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001  (as the interpreter does: whatever it is, it is printed)
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> NoReturn:
    """End as the interpreter does, but let the system clear the modules: that takes longer than most programs."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends."""
    import ctypes

    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
