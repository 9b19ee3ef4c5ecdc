"""Servers of ours: on loopback only, with a log-in of their own, ended with all their children."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from plankseg import local_servers
from plankseg.errors import ServerError
from plankseg.local_servers import Server, ServerSettings, ensure_credentials, free_port, require_free
from tests.support.live_servers import LiveLabelStudio, LivePrefect

ROOT = local_servers.ROOT


# --- log-in ----------------------------------------------------------------------------------------------------------


def test_the_log_in_is_drawn_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        drawn = ensure_credentials(tmp_path / "one")
    finally:
        os.umask(old)
    path = tmp_path / "one" / "credentials.env"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert ensure_credentials(tmp_path / "one") == drawn
    assert path.read_text() == text
    assert [entry.name for entry in path.parent.iterdir()] == ["credentials.env"]


def test_a_log_in_of_an_older_plankseg_gains_the_webhooks_secret_and_keeps_the_rest(tmp_path: Path) -> None:
    first = ensure_credentials(tmp_path)
    path = tmp_path / "credentials.env"
    path.write_text("\n".join(path.read_text().splitlines()[:3]))
    second = ensure_credentials(tmp_path)
    assert (second.email, second.password, second.token) == (first.email, first.password, first.token)
    assert re.fullmatch(r"[0-9a-f]{40}", second.webhook_secret)
    assert second.webhook_secret != first.webhook_secret
    assert ensure_credentials(tmp_path) == second
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_in_of_before_prefect_had_one_gains_it_and_nothing_else_changes(tmp_path: Path) -> None:
    ensure_credentials(tmp_path)
    path = tmp_path / "credentials.env"
    before = [line for line in path.read_text().splitlines() if not line.startswith("PREFECT_")]
    path.write_text("\n".join(before) + "\n")
    drawn = ensure_credentials(tmp_path)
    assert re.fullmatch(r"plankseg:[A-Za-z0-9_-]{24}", drawn.prefect_login)
    assert path.read_text().splitlines() == [*before, f"PREFECT_API_AUTH_STRING={drawn.prefect_login}"]
    assert ensure_credentials(tmp_path) == drawn
    assert path.stat().st_mode & 0o777 == 0o600


def test_servers_and_clients_of_prefect_share_the_log_in_and_no_other_page_may_ask(tmp_path: Path) -> None:
    environment = ServerSettings(tmp_path, 4201, 8081).environment()
    drawn = ensure_credentials(tmp_path).prefect_login
    assert environment["PREFECT_API_AUTH_STRING"] == environment["PREFECT_SERVER_API_AUTH_STRING"] == drawn
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4201,http://localhost:4201"


def test_a_working_directory_is_its_owners_alone_and_an_open_one_of_before_is_closed(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with local_servers.holding(tmp_path / "new"):
            assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        (tmp_path / "new").chmod(0o755)
        with local_servers.holding(tmp_path / "new"):
            assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        (tmp_path / "a home").mkdir()
        with local_servers.holding(tmp_path / "a home"):
            assert (tmp_path / "a home").stat().st_mode & 0o777 == 0o755, "it may be anybody's, with anything in it"
    finally:
        os.umask(old)


def test_servers_and_what_they_start_write_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with server_of(
            f"open({str(tmp_path / 'written')!r}, 'w').write('x\\n'); import time; time.sleep(60)", tmp_path
        ):
            wait_for(tmp_path / "written")
    finally:
        os.umask(old)
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_label_studio_gets_its_secrets_by_its_environment_and_nothing_else_of_ours(tmp_path: Path) -> None:
    """The list of processes shows arguments to everyone, even those of an `env` that lives for a millisecond."""
    seen = tmp_path / "seen"
    server = tmp_path / "server"
    server.write_text(f'#!/bin/bash\ncat "/proc/$$/cmdline" | tr "\\0" "\\n" >{seen}\nenv >{seen}.env\n')
    server.chmod(0o755)
    drawn = ensure_credentials(tmp_path)
    done = subprocess.run(
        ["bash", "-x", str(ROOT / "label_studio" / "serve.sh")],
        env=os.environ
        | {"PLANKSEG_DIR": str(tmp_path), "LABEL_STUDIO_PORT": "8123", "LABEL_STUDIO_BIN": str(server)}
        | {"LABEL_STUDIO_TEMPLATE": "/none", "DEBUG": "1", "HOST": "x", "BASH_FUNC_ours%%": "() { :; }"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    trace = done.stderr
    started = [line.strip("+ ") for line in trace.splitlines() if re.match(r"\++ (?!export |[A-Za-z_]+=)", line)]
    given = dict(line.split("=", 1) for line in Path(f"{seen}.env").read_text().splitlines() if "=" in line)
    for secret in (drawn.password, drawn.token):
        assert secret in given.values()
        assert not [command for command in started if secret in command], "an argument of a command"
        assert secret not in seen.read_text()
    assert drawn.prefect_login not in given.values()
    assert drawn.webhook_secret not in given.values()
    assert not {"DEBUG", "HOST", "PLANKSEG_DIR"} & set(given)
    assert not [name for name in given if name.startswith("BASH_FUNC")]


def test_two_working_directories_have_different_log_ins(tmp_path: Path) -> None:
    one, two = ensure_credentials(tmp_path / "one"), ensure_credentials(tmp_path / "two")
    assert one.password != two.password
    assert one.token != two.token
    assert len(one.password) >= 16
    assert re.fullmatch(r"[0-9a-f]{40}", one.token)


def test_a_log_in_that_was_begun_by_a_killed_start_is_drawn_anew(tmp_path: Path) -> None:
    (tmp_path / "credentials.part").write_text("LABEL_STUDIO_USERNAME=half")
    assert ensure_credentials(tmp_path).password


def test_a_damaged_log_in_is_named_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "credentials.env"
    path.write_text("LABEL_STUDIO_USERNAME=a@b.c\n")
    with pytest.raises(ServerError, match="LABEL_STUDIO_PASSWORD"):
        ensure_credentials(tmp_path)
    assert path.read_text() == "LABEL_STUDIO_USERNAME=a@b.c\n"


def tracked_files() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            yield path


TOKEN = re.compile(r"(?<![0-9a-fA-F])[0-9a-f]{40}(?![0-9a-fA-F])")
PASSWORD = re.compile(r"""(?i)(password|passwd|token|secret)\w*["']?\s*[:=]\s*["']?(?P<value>[^\s"',;)}<]{8,})""")
NO_LITERAL = re.compile(r"[${(\[.]|^(str|SecretStr|None|SettingsConfigDict)\b|^very$")


MADE_UP = "0123456789abcdef"  # counts upwards: a test's own, no token of anybody


def secrets_in(text: str) -> list[str]:
    """What looks like a token, or like a password that is written down and not looked up."""
    text = "\n".join(line for line in text.splitlines() if MADE_UP not in line)
    found = [match.group() for match in TOKEN.finditer(text)]
    return found + [m.group() for m in PASSWORD.finditer(text) if not NO_LITERAL.search(m.group("value"))]


def test_no_token_and_no_password_is_written_in_the_tree() -> None:
    found = {
        str(path.relative_to(ROOT)): hits
        for path in tracked_files()
        if (hits := secrets_in(path.read_bytes().decode(errors="replace")))
    }
    assert found == {}


def test_the_search_for_secrets_finds_some() -> None:
    assert secrets_in("x = '" + "0123abcd" * 5 + "'")
    assert secrets_in("LABEL_STUDIO_PASSWORD=" + "hunter2hunter2")
    assert secrets_in("password: '" + "correcthorse" + "'")
    assert not secrets_in('LABEL_STUDIO_PASSWORD="$LABEL_STUDIO_PASSWORD"')
    assert not secrets_in("sha = '" + "0123abcd" * 8 + "'")


# --- ports and addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_with_the_setting_that_chooses_another(address: str) -> None:
    with socket.socket() as taken:
        taken.bind((address, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"Port {port} is taken.*LABEL_STUDIO_PORT"):
            require_free(port, setting="LABEL_STUDIO_PORT")
    require_free(port, setting="LABEL_STUDIO_PORT")


def test_the_environment_of_a_working_directory_names_its_own_places(tmp_path: Path) -> None:
    server_settings = ServerSettings(tmp_path, 4201, 8081)
    environment = server_settings.environment()
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    assert environment["PLANKSEG_LABEL_STUDIO_URL"] == "http://127.0.0.1:8081"
    assert environment["PLANKSEG_LABEL_STUDIO_TOKEN"] == ensure_credentials(tmp_path).token
    assert environment["PLANKSEG_STORE"] == str(tmp_path / "store")
    assert Path(environment["PREFECT_HOME"]).is_relative_to(tmp_path)
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    in_bucket = ServerSettings(tmp_path, 4201, 8081, bucket="s3://plankton/store")
    assert in_bucket.environment()["PLANKSEG_STORE"] == in_bucket.store_location == "s3://plankton/store"


BIND_OPTIONS = {
    "--host": re.compile(r"prefect server start|prefect_server"),
    "--internal-host": re.compile(r"\bstart --no-browser"),
}


def commands(path: Path) -> list[str]:
    """The commands of a Procfile or a shell script, comments left out and continued lines joined."""
    text = path.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def bound_addresses(path: Path) -> list[str]:
    """The address behind the option that binds, for every line that starts a server."""
    found = []
    for line in commands(path):
        for option, starts_server in BIND_OPTIONS.items():
            if starts_server.search(line):
                words = shlex.split(line)
                assert option in words, f"{path.name} starts a server without {option}: {line}"
                found.append(words[words.index(option) + 1])
    return found


def test_scripts_and_procfile_bind_loopback() -> None:
    assert bound_addresses(ROOT / "label_studio" / "serve.sh") == ["127.0.0.1"]
    assert bound_addresses(ROOT / "deployments" / "Procfile") == ["127.0.0.1"]
    for name in ("deployments", "label_studio"):
        for path in (ROOT / name).glob("*.sh"):
            assert set(bound_addresses(path)) <= {"127.0.0.1"}


def test_no_file_binds_every_address() -> None:
    wide = re.compile(r"(host|bind|listen)\S*[ =:\"',]+0\.0\.0\.0")
    found = [
        str(path.relative_to(ROOT))
        for path in tracked_files()
        if not path.is_relative_to(ROOT / "tests") and wide.search(path.read_bytes().decode(errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("start", [local_servers.start_prefect, local_servers.start_label_studio])
def test_started_servers_are_told_to_bind_loopback_and_refuse_a_taken_port(
    start: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def remember(name: str, command: list[str], **rest: object) -> None:
        asked.update(rest, name=name, command=command)

    monkeypatch.setattr(local_servers, "Server", remember)
    server_settings = ServerSettings(tmp_path, free_port(), free_port())
    start(server_settings)  # type: ignore[operator]
    command = asked["command"]
    assert isinstance(command, list)
    if "flows.support.prefect_server" in command:
        assert command[command.index("--host") + 1] == "127.0.0.1"
    else:
        assert command == ["bash", str(ROOT / "label_studio" / "serve.sh")]
    assert str(asked["health"]).startswith("http://127.0.0.1:")
    port = int(str(asked["health"]).split(":")[2].split("/")[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ServerError, match="is taken"):
            start(server_settings)  # type: ignore[operator]


# --- processes -------------------------------------------------------------------------------------------------------


def server_of(code: str, tmp_path: Path) -> Server:
    """A "server" that runs these lines of Python and answers nobody."""
    return Server(
        "Little",
        [sys.executable, "-c", code],
        health=f"http://127.0.0.1:{free_port()}/health",
        log=tmp_path / "logs" / "little.log",
        environment=os.environ,
    )


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)
    return path.read_text()


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_server_that_dies_at_once_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = "import sys\nfor n in range(50): print('line', n)\nsys.exit('no room on the disk')"
    with server_of(code, tmp_path) as server, pytest.raises(ServerError) as caught:
        server.wait(timeout_s=30)
    message = str(caught.value)
    assert "Little ended with exit status 1" in message
    assert "no room on the disk" in message
    assert "line 49" in message
    assert "line 5\n" not in message


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with server_of("import time; time.sleep(60)", tmp_path) as server:
        with pytest.raises(ServerError, match="did not answer in 0 s"):
            server.wait(timeout_s=0.1)
    assert server.process.returncode == -signal.SIGTERM


def test_stop_ends_children_too_even_those_that_do_not_listen(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(90)"
    )
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {deaf!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{child.pid}}\\n')\n"
        "time.sleep(90)"
    )
    server = server_of(code, tmp_path)
    child = int(wait_for(tmp_path / "pid"))
    server.stop()
    assert not is_running(server.process.pid)
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)
    server.stop()  # again: nothing is left to end


def test_a_server_goes_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the death signal of a parent is Linux's")
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom plankseg.local_servers import Server\n"
        "s = Server('Little', [sys.executable, '-c', 'import time; time.sleep(90)'], health='http://127.0.0.1:9/',"
        f" log=Path({str(tmp_path / 'log')!r}), environment=os.environ)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{s.process.pid}}\\n')\n"
        "time.sleep(90)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    pid = int(wait_for(tmp_path / "pid"))
    assert is_running(pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


# --- the real servers ------------------------------------------------------------------------------------------------


def listening(port: int) -> set[str]:
    """Every address of this machine at which the port is listened on."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, number = local.split(":")
            if state == "0A" and int(number, 16) == port:
                found.add(
                    ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) if table[-1] != "6" else address
                )
    return found


def test_the_table_of_listeners_is_read_right() -> None:
    with socket.socket() as one, socket.socket() as every:
        one.bind(("127.0.0.1", 0))
        every.bind(("0.0.0.0", 0))
        for listener, address in ((one, "127.0.0.1"), (every, "0.0.0.0")):
            listener.listen()
            assert listening(listener.getsockname()[1]) == {address}


@pytest.mark.live
def test_real_servers_listen_on_loopback_alone(
    server_settings: ServerSettings, label_studio: LiveLabelStudio, prefect_server: LivePrefect
) -> None:
    for port in (server_settings.prefect_port, server_settings.label_studio_port):
        assert listening(port) == {"127.0.0.1"}
    tree = [psutil.Process(prefect_server.pid)]
    tree += tree[0].children(recursive=True)
    addresses = {c.laddr.ip for p in tree for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_a_working_directory_in_use_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with local_servers.holding(tmp_path):
        with pytest.raises(ServerError, match="at work on"), local_servers.holding(tmp_path):
            pass
    with local_servers.holding(tmp_path):
        assert (tmp_path / ".gitignore").read_text().endswith("*\n"), "nothing in it is offered to git"
