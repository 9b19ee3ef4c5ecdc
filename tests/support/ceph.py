"""A Ceph object gateway on loopback, all in memory: an S3 server that checks signatures, expiry and credentials."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from plankseg import local_servers
from tests.support.s3_servers import S3Server

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool", "ceph")
CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
admin socket = {folder}/$name.asok
pid file =
log file = {folder}/$name.log
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data avail crit = 1
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
ms bind ipv6 = false
[client]
rgw frontends = beast endpoint=127.0.0.1:{rgw_port}
rgw thread pool size = 32
rgw enable usage log = false
rgw data = {folder}/rgw
"""


def missing() -> list[str]:
    """The programs of Ceph that this machine lacks."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def radosgw(folder: Path) -> Iterator[S3Server]:
    """One monitor, one object store in memory, one gateway with one user; ended with the block."""
    fsid, mon_port, rgw_port = str(uuid4()), local_servers.free_port(), local_servers.free_port()
    conf, keyring = folder / "ceph.conf", folder / "keyring"
    conf.write_text(CONFIGURATION.format(fsid=fsid, mon_port=mon_port, rgw_port=rgw_port, folder=folder))
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
        return done.stdout

    run("ceph-authtool", "--create-keyring", str(keyring), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    run(
        "ceph-authtool",
        str(keyring),
        "--gen-key",
        "-n",
        "client.admin",
        "--cap",
        "mon",
        "allow *",
        "--cap",
        "osd",
        "allow *",
        "--cap",
        "mgr",
        "allow *",
    )
    monmap = str(folder / "monmap")
    run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", "--fsid", fsid, monmap)
    run("ceph-mon", "-c", str(conf), "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(keyring))
    with ExitStack() as running:

        def start(*command: str) -> None:
            with (folder / f"{command[0]}.out").open("wb") as output:
                process = subprocess.Popen(
                    command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=local_servers.die_with_parent
                )
            running.callback(lambda: local_servers.end(process, patience_s=10))

        start("ceph-mon", "-c", str(conf), "-i", "a", "-f")
        ask = ("ceph", "-c", str(conf), "--connect-timeout", "60")
        key = run(*ask, "auth", "get-or-create", "osd.0", "mon", "allow profile osd", "osd", "allow *")
        keyring.write_text(keyring.read_text() + key)
        run(*ask, "osd", "new", osd := str(uuid4()))
        run("ceph-osd", "-c", str(conf), "-i", "0", "--mkfs", "--osd-uuid", osd)
        start("ceph-osd", "-c", str(conf), "-i", "0", "-f")
        server = S3Server(f"http://{local_servers.HOST}:{rgw_port}", key="PLANKTON", secret=uuid4().hex)
        run(
            "radosgw-admin",
            "-c",
            str(conf),
            "user",
            "create",
            "--uid",
            "plankton",
            "--display-name",
            "plankton",
            "--access-key",
            server.key,
            "--secret",
            server.secret,
        )
        start("radosgw", "-c", str(conf), "-n", "client.admin", "--keyring", str(keyring), "-f")
        _wait(server, folder / "radosgw.out")
        yield server


def _wait(server: S3Server, log: Path, timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            server.client().list_buckets()
        except Exception:  # noqa: BLE001  (whatever it is until it answers, the last one is raised)
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"radosgw did not answer in {timeout_s:.0f} s: {log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.3)
        else:
            return
