"""Checks of every part of an installation, each with its cure."""

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from plankseg.config import NetworkConfig, Settings
from plankseg.errors import LabelStudioError, PlanksegError
from plankseg.labelling.webhook.prefect_events import authorization
from plankseg.storage.store import Store, root_of, work_root_of

ENOUGH_DISK = 5 * 2**30


@dataclass(frozen=True)
class Finding:
    """One part: 'fine', 'absent' (optional, or not started yet) or 'broken', with what was seen and the cure."""

    part: str
    state: Literal["fine", "absent", "broken"]
    seen: str
    cure: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at every part in turn; one that fails does not hide the others."""
    checks: list[tuple[str, Callable[[Settings], Finding]]] = [
        ("torch", _torch),
        ("torchvision", _torchvision),
        ("OpenVINO", _openvino),
        ("neural network", _network),
        ("ImageNet weights", _imagenet),
        ("store", _store),
        ("disk", _disk),
        ("Prefect", _prefect),
        ("Label Studio", _label_studio),
        ("webhook relay", _relay),
        ("assistant", _assistant),
    ]
    for part, check in checks:
        try:
            yield check(settings)
        except (PlanksegError, ImportError, RuntimeError, OSError, ValueError) as error:
            yield Finding(part, "broken", f"{type(error).__name__}: {error}", "run `make setup` again")


def next_step(findings: Sequence[Finding], store: str = "") -> str:
    """What a person does next, as a sentence; `store` is named where the command would look at another one."""
    states = {finding.part: finding.state for finding in findings}
    broken = [part for part, state in states.items() if state == "broken"]
    if broken:
        return f"Broken: {', '.join(broken)}. Do what stands behind the arrow, then run `plankseg doctor` again."
    if "absent" in (states.get("Prefect"), states.get("Label Studio")):
        return "Nothing is broken. Next: `make up` serves both pages; `make demo` shows the whole loop."
    named = f" --store {store}" if store else ""
    return f"All is in order. Next: `plankseg status{named}` says what is due."


def examine_store(settings: Settings) -> Iterator[Finding]:
    """Compare every byte of the store with its digest: one finding for each damage, or that all is whole."""
    from plankseg.storage.verification import verify_store

    if not Store.exists(settings.store_location):
        return
    try:
        damages = list(verify_store(Store.open(settings.store_location)))
    except PlanksegError as error:
        yield Finding("store, every byte", "broken", str(error), "see docs/backup.md")
        return
    for damage in damages:
        yield Finding("store, every byte", "broken", str(damage), "see docs/backup.md")
    if not damages:
        yield Finding("store, every byte", "fine", "every object, table and log entry is what was written")


def _torch(settings: Settings) -> Finding:
    import torch

    from plankseg.learning.network.architecture import choose_device

    device = choose_device(settings.device)
    return Finding(
        "torch", "fine", f"{torch.__version__} computes networks on {device}, {torch.get_num_threads()} threads"
    )


def _torchvision(_: Settings) -> Finding:
    from plankseg.learning.network.torchvision_operators import installed_builds, misfit

    seen = misfit()
    if not seen:
        return Finding("torchvision", "fine", f"{installed_builds()[1]}, of the build of torch")
    return Finding(
        "torchvision", "fine", f"not needed: {seen}, so torchvision's operators do not load; plankseg uses none"
    )


def _openvino(_: Settings) -> Finding:
    from plankseg.inference.openvino_models import has_openvino

    if not has_openvino():
        return Finding(
            "OpenVINO",
            "absent",
            "not installed: torch computes all networks, slower",
            "pip install 'plankseg[openvino]'",
        )
    return Finding(
        "OpenVINO", "fine", f"{importlib.metadata.version('openvino')}, tried beside torch where there is no GPU"
    )


def _network(_: Settings) -> Finding:
    from plankseg.learning.network.architecture import build_network

    network = build_network(NetworkConfig(encoder="resnet18", encoder_weights="none"))
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return Finding("neural network", "fine", f"PyTorch made one for a trial ({millions:.1f} million weights)")


def _imagenet(_: Settings) -> Finding:
    from plankseg.errors import WeightsError
    from plankseg.learning.network.architecture import build_network
    from plankseg.learning.network.packaged_weights import PACKAGES

    packaged = next(iter(PACKAGES))
    try:
        build_network(NetworkConfig(encoder=packaged))
    except WeightsError as error:
        return Finding("ImageNet weights", "broken", f"those of {packaged} are missing", str(error))
    try:
        build_network(NetworkConfig())
    except WeightsError:
        return Finding(
            "ImageNet weights",
            "fine",
            f"{packaged}, for `laptop` and `quality`, are here; resnet34, for `published`, are not",
            "only for `published`: its first training downloads them, and says what to do where it cannot",
        )
    return Finding("ImageNet weights", "fine", f"{packaged} and resnet34 are here")


def _store(settings: Settings) -> Finding:
    path = root_of(settings.store_location)
    if isinstance(path, Path) and path.is_file():
        return Finding("store", "broken", f"{path} is a file", "set PLANKSEG_STORE to a folder")
    if not Store.exists(path):  # looking must not make one
        return Finding("store", "absent", f"none at {path}", "it is made by the first ingest; or set PLANKSEG_STORE")
    counts = Store.open(path).catalogue.counts()
    seen = ", ".join(f"{count} {role}" for role, count in counts.items()) if any(counts.values()) else "no images yet"
    if isinstance(path, Path) and _is_open_to_others(path):
        open_too = f"{path}: {seen}; other users of this machine can read it"
        return Finding("store", "fine", open_too, f"chmod 700 {path}, unless that is wanted")
    return Finding("store", "fine", f"{path}: {seen}")


def _is_open_to_others(folder: Path) -> bool:
    """True if every user of this machine gets there and can look in."""
    reachable = all(above.stat().st_mode & 0o001 for above in folder.parents)
    return reachable and folder.stat().st_mode & 0o005 == 0o005


def _disk(settings: Settings) -> Finding:
    root = root_of(settings.store_location)
    folder = work_root_of(root)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    seen = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < ENOUGH_DISK:
        return Finding("disk", "broken", seen, "free some space: checkpoints and masks need about 5 GiB")
    return Finding("disk", "fine", seen)


OF_MAKE_UP = (
    "if `make up` is running: `plankseg doctor --directory DIR` with the DIR of `make up`, or demo if you named none; "
    "else run `make up`"
)


def _prefect(_: Settings) -> Finding:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return Finding(
            "Prefect",
            "absent",
            "not configured here: PREFECT_API_URL is not set",
            f"{OF_MAKE_UP}, or set PREFECT_API_URL to your server's /api",
        )
    try:
        answer = httpx.get(f"{url}/admin/version", headers=authorization(os.environ), timeout=5)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return Finding(
                "Prefect",
                "broken",
                f"{url} wants a log-in",
                "set PREFECT_API_AUTH_STRING; for `make up` it is in the working directory's credentials.env",
            )
        version = answer.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: an answer that is no JSON
        return Finding("Prefect", "broken", _why(url, error), "run `make up`, or correct PREFECT_API_URL")
    return Finding("Prefect", "fine", f"{version} at {url}")


def _label_studio(settings: Settings) -> Finding:
    from plankseg.pipeline.annotation.connection import connect

    if settings.label_studio_token is None:
        return Finding(
            "Label Studio",
            "absent",
            "not configured here: PLANKSEG_LABEL_STUDIO_TOKEN is not set",
            f"{OF_MAKE_UP}, or set PLANKSEG_LABEL_STUDIO_TOKEN to a token of your account page",
        )
    url = settings.label_studio_url
    try:
        httpx.get(f"{url}/health", timeout=5)  # the client would ask several times, and write a line each time
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding("Label Studio", "broken", _why(url, error), "run `make up`, or correct its address")
    try:
        with connect(settings):
            pass
    except LabelStudioError as error:
        return Finding("Label Studio", "broken", str(error), "run `make up`, or correct address and token")
    here = (Path.cwd() / ".env").exists()
    return Finding("Label Studio", "fine", f"{url}{' (.env read)' if here else ''}")


def _why(url: str, error: Exception) -> str:
    """What is wrong with a server, in words where nobody is there."""
    return f"nobody answers at {url}" if isinstance(error, httpx.ConnectError) else f"{url}: {error}"


def _relay(settings: Settings) -> Finding:
    return _beside_label_studio(
        settings,
        "webhook relay",
        settings.relay_url,
        without_it="without it answers are collected when advance_regularly next runs, not at once",
        cure="run `make up` or `plankseg webhook-relay`, or correct PLANKSEG_RELAY_URL",
    )


def _assistant(settings: Settings) -> Finding:
    return _beside_label_studio(
        settings,
        "assistant",
        settings.assistant_url,
        without_it="without it clicks change nothing, brush and outlines work",
        cure="run `make up` or `plankseg assist`, or correct PLANKSEG_ASSISTANT_URL",
    )


def _beside_label_studio(settings: Settings, part: str, url: str, *, without_it: str, cure: str) -> Finding:
    """A small server of ours that Label Studio calls; without the secret that they share there is none."""
    if settings.webhook_secret is None:
        return Finding(
            part, "absent", f"not configured here: PLANKSEG_WEBHOOK_SECRET is not set; {without_it}", OF_MAKE_UP
        )
    try:
        answer = httpx.get(f"{url}/health", timeout=5).raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: an answer that is no JSON
        return Finding(part, "broken", f"{_why(url, error)}; {without_it}", cure)
    if answer != {"status": "UP"}:
        return Finding(part, "broken", f"something else answers at {url}; {without_it}", cure)
    return Finding(part, "fine", f"answers at {url}")
