"""Imports into a project of EcoTaxa: a zip is uploaded, imported by a job of the server, and waited for."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.errors import EcoTaxaDownError, EcoTaxaError

SERVER_FOLDER = "plankseg"  # among the person's own files on the server
POLL_S = 3.0
_RUNNING, _ASKING = ("P", "R"), "A"
Told = Callable[[int, int | None], None]


def import_name(content: bytes) -> str:
    """The name of an import of this content, without its suffix: EcoTaxa reads tables called ecotaxa*."""
    return f"ecotaxa_{hashlib.sha256(content).hexdigest()[:16]}"


def import_zip(client: EcoTaxaClient, number: int, path: Path, *, update: bool, told: Told | None = None) -> None:
    """Import a zip, named by `import_name`, into a project and wait until EcoTaxa has done it.

    With `update` objects of the same object_id get its values and none is created; else those that are not there are
    created, and a pair of object and image that is there is left out, never made twice.

    Raises EcoTaxaError and its kinds; after EcoTaxaDownError nobody knows whether the last request arrived.
    """
    request = {"update_mode": "Yes" if update else "", "skip_existing_objects": True}
    try:
        stored = client.upload("user_files/", path, f"{SERVER_FOLDER}/{path.name}")
        request["source_path"] = _source(client, path.stem, str(stored))
        job = client.change(f"file_import/{number}", request)
    except EcoTaxaDownError as error:
        raise EcoTaxaDownError(
            f"{error} Whether it arrived is not known. Run the same command again: it looks what is missing."
        ) from error
    if not isinstance(job, dict) or not isinstance(job.get("job_id"), int):
        raise EcoTaxaError(
            f"EcoTaxa answered the import with {str(job)[:200]}, which names no job; see its page of jobs."
        )
    wait_for_job(client, job["job_id"], told=told)


def wait_for_earlier(client: EcoTaxaClient, number: int, *, told: Told | None = None) -> bool:
    """Wait for an import of ours into this project that still runs, as after a push that broke off; True if one did."""
    found = False
    for job in client.get("jobs/", for_admin="false"):
        params = job.get("params") or {}
        source = str((params.get("req") or {}).get("source_path", ""))
        is_ours = params.get("prj_id") == number and f"{SERVER_FOLDER}/ecotaxa_" in source
        if is_ours and job.get("state") in (*_RUNNING, _ASKING):
            wait_for_job(client, int(job["id"]), told=told)
            found = True
    return found


def wait_for_job(client: EcoTaxaClient, job_id: int, *, told: Told | None = None) -> None:
    """Wait until a job of EcoTaxa is done. Raises EcoTaxaError where it ends otherwise, with its own words."""
    while True:
        job = client.get(f"jobs/{job_id}/")
        state = job.get("state")
        if told is not None:
            told(int(job.get("progress_pct") or 0), 100)
        if state == "F":
            return
        if state == _ASKING:
            raise EcoTaxaError(
                f"EcoTaxa's job {job_id} asks: {str(job.get('question'))[:600]}. Answer it, or delete the job, on "
                "EcoTaxa's page of jobs; then run the same command again."
            )
        if state not in _RUNNING:
            reasons = [str(reason) for reason in job.get("errors") or []]
            raise EcoTaxaError(
                f"EcoTaxa's job {job_id} ended without importing (state {state}): {'; '.join(reasons)[:600]}. "
                "Its page of jobs has the log; run the same command again when the reason is gone."
            )
        time.sleep(POLL_S)


def _source(client: EcoTaxaClient, stem: str, stored: str) -> str:
    """What an import is told to read: servers of today unpack a zip at once, older ones keep it as it came."""
    entries = client.get(f"user_files/{SERVER_FOLDER}").get("entries") or []
    is_unpacked = any(entry.get("name") == stem and entry.get("type") == "D" for entry in entries)
    return f"{SERVER_FOLDER}/{stem}" if is_unpacked else stored
