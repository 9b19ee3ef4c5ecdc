"""An S3 server in memory on this machine, for the demo and the tests: nothing in it outlives it."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from plankseg import local_servers
from plankseg.errors import SettingsError

BUCKET = "plankseg-demo"
STORE = f"s3://{BUCKET}/store"

ACCOUNT = "plankseg"  # the server accepts any name; boto3 needs one


def address(port: int) -> str:
    """Where the server answers."""
    return f"http://{local_servers.HOST}:{port}"


def start(log: Path, port: int) -> local_servers.Server:
    """Start it on loopback. It accepts any credentials: for demo data only.

    Raises SettingsError where moto is not installed.
    """
    if importlib.util.find_spec("moto") is None:
        raise SettingsError("The S3 server of the demo is not installed; run: pip install 'plankseg[s3-demo]'.")
    command = [sys.executable, "-m", "moto.server", "-H", local_servers.HOST, "-p", str(port)]
    return local_servers.Server("S3 server", command, health=f"{address(port)}/moto-api/", log=log, environment={})


def environment(port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment in which boto3 finds this server, and no other account of whoever runs the demo."""
    own = {
        "AWS_ENDPOINT_URL": address(port),
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": ACCOUNT,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    return {name: value for name, value in inherited.items() if not name.startswith("AWS_")} | own


@contextmanager
def serve(server_settings: local_servers.ServerSettings) -> Iterator[local_servers.Server]:
    """The server with an empty bucket; from here on this process's environment names it, and no other account."""
    from plankseg.storage.s3.objects import make_bucket

    port = local_servers.free_port()
    with start(server_settings.directory / "logs" / "s3.log", port) as server:
        named = environment(port, server_settings.environment())
        named["PLANKSEG_WORK"] = str(server_settings.directory / "work")
        os.environ.clear()
        os.environ.update(named)
        server.wait()
        make_bucket(BUCKET)
        yield server
