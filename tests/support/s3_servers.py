"""The kind of object that the S3 fixtures give to a test, and an S3 server in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from plankseg import local_servers, moto_server


@dataclass(frozen=True)
class S3Server:
    """An S3 server of this test run's own, with a user's credentials."""

    url: str
    key: str = "plankton"
    secret: str = "no-secret-of-anybodys"

    def environment(self) -> dict[str, str]:
        """The variables by which boto3, and so plankseg, finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A look at the server that is not plankseg's."""
        import boto3  # a second that only those tests pay who need it

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def new_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"test-{uuid4().hex[:16]}"
        self.client().create_bucket(Bucket=name)
        return name


@contextmanager
def moto(folder: Path) -> Iterator[S3Server]:
    """An S3 server in memory on loopback. It accepts any credentials: not for tests of who may do what."""
    port = local_servers.free_port()
    with moto_server.start(folder / "s3.log", port) as server:
        server.wait(120)
        yield S3Server(moto_server.address(port))


def named_by_environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, as this process's environment names it for one test."""
    from plankseg.storage.s3.client import forget_connection

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    forget_connection()
    yield server
    forget_connection()
