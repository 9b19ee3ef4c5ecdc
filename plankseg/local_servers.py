"""Start and stop Prefect and Label Studio on this machine.

Everything a run leaves behind lies in one working directory, readable by its owner alone: `store`, `prefect`,
`label-studio`, `logs`, `credentials.env` and `ports.json`. Servers bind 127.0.0.1 only, and only processes that we
started are ended.
"""

import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from plankseg.errors import ServerError
from plankseg.files import atomic_write

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
PRIVATE_UMASK = 0o077  # of the servers, their flows and all that they write: other users of this machine read nothing
PREFECT_USER = "plankseg"
PORTS = "ports.json"
UP_AT_TERMINAL = "UP_AT_TERMINAL"
"""Variable with the width of the terminal that a person reads, else absent: log-ins are never written into a log."""
RUNS_END_WITH_WORKER = "PLANKSEG_RUNS_END_WITH_WORKER"
"""Number of the worker of a run: runs end with it, as by a kill, and the next start finishes what they began."""

OUR_FILES = ("credentials.env", ".lock")  # by one of these a working directory is known
START_TIMEOUT_S = 300.0  # Label Studio's first start without a migrated template takes two to three minutes


@dataclass(frozen=True)
class Credentials:
    """A person's log-ins, the token that plankseg itself uses, and the secret of Label Studio's webhook.

    `prefect_login` is what Prefect's log-in page asks for, user and password in one: `plankseg:...`.
    """

    email: str
    password: str
    token: str
    webhook_secret: str
    prefect_login: str


# Each was added after the first ones: a file of an older plankseg lacks it, and gets it.
DRAWN_LATER: dict[str, Callable[[], str]] = {
    "PLANKSEG_WEBHOOK_SECRET": lambda: secrets.token_hex(20),
    "PREFECT_API_AUTH_STRING": lambda: f"{PREFECT_USER}:{secrets.token_urlsafe(18)}",
}


def ensure_credentials(directory: Path) -> Credentials:
    """The log-in of this working directory: drawn at the first start, kept in a file of mode 0600."""
    path = directory / "credentials.env"
    if not path.exists():
        make_private(directory)
        _write_private(
            path,
            "LABEL_STUDIO_USERNAME=admin@plankseg.local\n"
            f"LABEL_STUDIO_PASSWORD={secrets.token_urlsafe(12)}\n"
            f"PLANKSEG_LABEL_STUDIO_TOKEN={secrets.token_hex(20)}\n",
        )
    text = path.read_text()
    entries = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    missing = [name for name in DRAWN_LATER if name not in entries]
    if missing and "PLANKSEG_LABEL_STUDIO_TOKEN" in entries:
        drawn = {name: DRAWN_LATER[name]() for name in missing}
        entries |= drawn
        _write_private(path, "\n".join([text.rstrip(), *(f"{name}={value}" for name, value in drawn.items()), ""]))
    try:
        return Credentials(
            email=entries["LABEL_STUDIO_USERNAME"],
            password=entries["LABEL_STUDIO_PASSWORD"],
            token=entries["PLANKSEG_LABEL_STUDIO_TOKEN"],
            webhook_secret=entries["PLANKSEG_WEBHOOK_SECRET"],
            prefect_login=entries["PREFECT_API_AUTH_STRING"],
        )
    except KeyError as error:
        raise ServerError(f"{path} has no {error}; remove the file and Label Studio's folder beside it.") from error


def make_private(directory: Path) -> None:
    """Make a folder that its owner alone can enter; one of ours that others can enter is closed to them.

    A folder that was there and is not known as a working directory keeps its rights: it may be anybody's.
    """
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not directory.is_dir():
            raise
        rights = directory.stat()
        ours = rights.st_uid == os.geteuid() and any((directory / name).exists() for name in OUR_FILES)
        if ours and rights.st_mode & 0o077:
            directory.chmod(0o700)


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    atomic_write(path, text.encode(), mode=0o600, sole_writer=True)


@contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Keep a working directory for this process and the servers it starts; nothing in it is ever offered to git.

    The lock is a file's, inherited by children, and ends with the last of them.

    Raises:
        ServerError: servers of another `plankseg demo` or `plankseg up` run on this directory.
    """
    make_private(directory)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# log-in, images of others, masks: never in a repository\n*\n")
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ServerError(
            f"Another `make demo` or `make up` is at work on {directory}; end it, or choose another folder by DIR=."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, *, setting: str) -> None:
    """Raise ServerError if somebody listens on the port: Label Studio would silently take the next one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(
                f"Port {port} is taken; stop what listens there or choose another by {setting}."
            ) from error


@dataclass(frozen=True)
class ServerSettings:
    """The addresses of one working directory, and the environment that its flows run in.

    The label store is the directory's own folder, or `bucket`, an address like s3://bucket/prefix.
    """

    directory: Path
    prefect_port: int
    label_studio_port: int
    relay_port: int = 8090
    assistant_port: int = 8091
    bucket: str | None = None

    @property
    def prefect_url(self) -> str:
        """Address of the Prefect UI."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def label_studio_url(self) -> str:
        """Address of Label Studio."""
        return f"http://{HOST}:{self.label_studio_port}"

    @property
    def store(self) -> Path:
        """Folder of the directory's own label store."""
        return self.directory / "store"

    @property
    def store_location(self) -> str:
        """Where the label store is."""
        return self.bucket or str(self.store)

    def environment(self) -> dict[str, str]:
        """The variables that servers, flows and the command line need, on top of this process's own."""
        credentials = ensure_credentials(self.directory)
        # Prefect variables of another server (its database, its key) must not leak into this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return {
            **inherited,
            **{name: _without_proxy(os.environ.get(name)) for name in ("NO_PROXY", "no_proxy")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONUNBUFFERED": "1",
            "PLANKSEG_DIR": str(self.directory),
            "PLANKSEG_HOME": str(ROOT),
            "PLANKSEG_STORE": self.store_location,
            "PLANKSEG_LABEL_STUDIO_URL": self.label_studio_url,
            "PLANKSEG_LABEL_STUDIO_TOKEN": credentials.token,
            "PLANKSEG_WEBHOOK_SECRET": credentials.webhook_secret,
            "PLANKSEG_RELAY_URL": f"http://{HOST}:{self.relay_port}",
            "PLANKSEG_ASSISTANT_URL": f"http://{HOST}:{self.assistant_port}",
            "LABEL_STUDIO_PORT": str(self.label_studio_port),
            "RELAY_PORT": str(self.relay_port),
            "ASSISTANT_PORT": str(self.assistant_port),
            "PREFECT_PORT": str(self.prefect_port),
            "PREFECT_HOME": str(self.directory / "prefect"),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            # Whoever may start a flow run may name its command, so nobody starts one without the log-in.
            "PREFECT_API_AUTH_STRING": credentials.prefect_login,
            "PREFECT_SERVER_API_AUTH_STRING": credentials.prefect_login,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{self.prefect_url},http://localhost:{self.prefect_port}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",  # a round that was answered should not wait for the worker's next look
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            # In memory, Prefect's default, a restart of its server ends every long run within minutes, and the place of
            # a killed one is never free again.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "DO_NOT_TRACK": "1",
            # Servers and training share these cores: a waiting thread must sleep, not spin (4 times faster when busy).
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            "NO_ALBUMENTATIONS_UPDATE": "1",
        }


def remember_ports(served: ServerSettings) -> None:
    """Keep the ports that a working directory is served at, for those who look at it from outside."""
    ports = {name: value for name, value in asdict(served).items() if name.endswith("_port")}
    atomic_write(served.directory / PORTS, json.dumps(ports).encode(), mode=0o600)


def last_served(directory: Path, bucket: str | None = None) -> ServerSettings:
    """A working directory at the ports of its last `make up`, and where it has none, at the usual ones.

    Raises ServerError where the folder is no working directory.
    """
    if not (directory / "credentials.env").exists():
        raise ServerError(
            f"{directory} is no working directory: nothing was served from it. "
            f"`make up DIR={directory}` makes one; or name another."
        )
    kept = directory / PORTS
    ports = json.loads(kept.read_text()) if kept.exists() else {}
    return ServerSettings(directory, **({"prefect_port": 4200, "label_studio_port": 8080} | ports), bucket=bucket)


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to end this child when its parent is killed, so that a killed demo leaves no server behind."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, by)


def end_with(process_id: int) -> None:
    """Let Linux kill this process when its parent ends; at once where the worker of this number has ended already."""
    die_with_parent(signal.SIGKILL)
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)


def _without_proxy(named: str | None) -> str:
    """The list of addresses that no proxy stands in front of, with this machine on it."""
    return ",".join(filter(None, [named, HOST, "localhost"]))


def end(process: "subprocess.Popen[bytes]", *, patience_s: float = 30.0) -> None:
    """End a child that still runs: politely, then by force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """One server process of ours, with its log; a context manager that ends the whole process group."""

    def __init__(
        self, name: str, command: list[str], *, health: str, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.health = health
        self.log = log
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=ROOT,
                start_new_session=True,
                umask=PRIVATE_UMASK,
                preexec_fn=die_with_parent,
            )

    def is_healthy(self) -> bool:
        """True if the server answers its health address with 200."""
        import httpx  # only now: who asks for an address alone need not wait for it

        try:
            return httpx.get(self.health, timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Block until the server answers; ServerError with the end of its log if it does not."""
        deadline = time.monotonic() + timeout_s
        while not self.is_healthy():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with exit status {code}" if code is not None else f"did not answer in {timeout_s:.0f} s"
                raise ServerError(f"{self.name} {what}. The end of {self.log}:\n{self.tail()}")
            time.sleep(0.3)

    def tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the server's process group: politely, and after 15 s, or once the server itself is gone, by force."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        self._signal(signal.SIGKILL)  # what did not listen, and children that outlived the server
        self.process.wait()

    def _signal(self, signal_number: int) -> None:
        with suppress(ProcessLookupError):  # nobody of the group is left
            os.killpg(self.process.pid, signal_number)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_prefect(server_settings: ServerSettings) -> Server:
    """Start a Prefect server (API and UI) on loopback."""
    require_free(server_settings.prefect_port, setting="PREFECT_PORT")
    port = str(server_settings.prefect_port)
    return Server(
        "Prefect",
        [sys.executable, "-m", "flows.support.prefect_server", "--host", HOST, "--port", port],
        health=f"{server_settings.prefect_url}/api/health",
        log=server_settings.directory / "logs" / "prefect.log",
        environment=server_settings.environment(),
    )


def start_label_studio(server_settings: ServerSettings) -> Server:
    """Start Label Studio on loopback, with the log-in of the working directory."""
    require_free(server_settings.label_studio_port, setting="LABEL_STUDIO_PORT")
    return Server(
        "Label Studio",
        ["bash", str(ROOT / "label_studio" / "serve.sh")],
        health=f"{server_settings.label_studio_url}/health",
        log=server_settings.directory / "logs" / "label-studio.log",
        environment=server_settings.environment(),
    )
