"""Command `fetch-ecotaxa`: a project of EcoTaxa as a folder."""

from pathlib import Path
from typing import Annotated

import typer

from plankseg.cli.terminal import console
from plankseg.config import settings

SHOWN = 10


def fetch_ecotaxa(
    project: Annotated[int, typer.Argument(min=1, help="Number of the project, as in EcoTaxa's address /prj/NUMBER.")],
    to: Annotated[Path, typer.Option(help="Folder for its images and its table, of its own.")],
) -> None:
    """Fetch a project of EcoTaxa into a folder that ingest takes; run again, it fetches what is missing."""
    from plankseg.archives.ecotaxa.client import EcoTaxaClient
    from plankseg.archives.ecotaxa.pull import pull
    from plankseg.progress_bars import counting

    ours = settings()
    with counting(console, f"project {project}", unit="objects") as told:
        client = EcoTaxaClient(ours.ecotaxa_url, ours.ecotaxa_token, on_wait=_tell)
        with client:
            pulled = pull(client, project, to, max_pixels=ours.max_image_pixels, on_progress=told)
    _tell(f"{pulled.project.title}: {pulled.objects} objects, {pulled.fetched} images fetched now: {pulled.folder}")
    if pulled.left_out:
        _tell(f"{len(pulled.left_out)} objects are left out; run it again to try their images again:")
        for name, reason in pulled.left_out[:SHOWN]:
            _tell(f"  {name}: {reason}")
    _tell(f"Next: plankseg ingest {pulled.folder} --role pool")


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
