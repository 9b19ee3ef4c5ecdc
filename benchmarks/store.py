"""Speed of reading small objects from a bucket against boto3 in a serial loop. Last line: one JSON object.

usage: store.py [--latencies-ms 0,20] [--objects 2000] [--kilobytes 12]
The S3 server runs on this machine, where an answer takes no time on its way; the latency is what a bucket elsewhere
adds to each one (Amazon's own figure for the first byte of a small object is 10 to 200 ms). Ours also verifies each
object against its sha256, the rival does not.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import typer
from _machine import machine

from plankseg import local_servers, moto_server
from plankseg.storage.objects.s3_blobs import S3Blobs
from plankseg.storage.s3.addresses import Address
from plankseg.storage.s3.client import forget_connection, in_threads
from plankseg.storage.s3.objects import make_bucket

BOUNDS = {"read_speedup": 3.0, "write_speedup": 3.0}
PARTS = 4  # the two take turns, so that a change of the machine's load meets both

SERVER = Path(__file__).with_name("_bare_s3.py")


@contextmanager
def bucket(latency_ms: float) -> Iterator[str]:
    """The barest S3 server, so that what is measured is the client; named by this process's environment."""
    port = local_servers.free_port()
    named = moto_server.environment(port, os.environ)
    os.environ.clear()
    os.environ.update(named)
    process = subprocess.Popen([sys.executable, str(SERVER), str(port), str(latency_ms)])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                make_bucket("plankseg-benchmark")
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                break
        yield "plankseg-benchmark"
    finally:
        local_servers.end(process)


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(name: str, part: int, images: list[bytes]) -> dict[str, float]:
    """Wall seconds of writing and reading the images, the two ways in turn."""
    ours, rival = S3Blobs(Address(name, "ours")), boto3.client("s3")
    keys = [f"rival/{part}/{i}" for i in range(len(images))]
    shas: list[str] = []
    found: list[bytes] = []
    took = {
        "write_boto3_s": seconds(
            lambda: [rival.put_object(Bucket=name, Key=k, Body=data) for k, data in zip(keys, images, strict=True)]
        ),
        "write_ours_s": seconds(lambda: shas.extend(in_threads(lambda data: ours.put(data, "png"), images))),
        "read_boto3_s": seconds(lambda: [rival.get_object(Bucket=name, Key=k)["Body"].read() for k in keys]),
        "read_ours_s": seconds(lambda: found.extend(in_threads(lambda sha: ours.get(sha, "png"), shas))),
    }
    assert found == images, "every object came back, in order"
    return took


def figures_of(latency_ms: float, images: list[bytes]) -> dict[str, float]:
    """Seconds of both ways at one latency, how many times ours is as fast, and objects a second."""
    with bucket(latency_ms) as name:
        parts = [measure(name, part, images[part::PARTS]) for part in range(PARTS)]
    forget_connection()  # the next server has another address
    figures = {what: sum(part[what] for part in parts) for what in parts[0]}
    for what in ("read", "write"):
        figures[f"{what}_speedup"] = figures[f"{what}_boto3_s"] / figures[f"{what}_ours_s"]
        figures[f"{what}_ours_per_s"] = len(images) / figures[f"{what}_ours_s"]
    return {name: round(value, 2) for name, value in figures.items()}


def main(latencies_ms: str = "0,20", objects: int = 2000, kilobytes: int = 12) -> None:
    """Measure, print, and exit 0 only if every bound holds at every latency."""
    images = [os.urandom(1000 * kilobytes) for _ in range(objects)]
    figures = {f"{latency} ms": figures_of(float(latency), images) for latency in latencies_ms.split(",")}
    ok = all(measured[name] >= bound for measured in figures.values() for name, bound in BOUNDS.items())
    setting = {"objects": objects, "kilobytes": kilobytes}
    print(json.dumps({"setting": setting, "figures": figures, "bounds": BOUNDS, "ok": ok, **machine()}))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
