"""Commands `fetch-ecotaxa` and `push-ecotaxa`: a project of EcoTaxa as a folder, and measures back into it."""

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


def push_ecotaxa(
    project: Annotated[int, typer.Argument(min=1, help="Number of the project.")],
    zips: Annotated[list[Path], typer.Argument(help="Zips for EcoTaxa that the flow segment wrote.")],
    prefix: Annotated[
        str, typer.Option(help="Put before our columns; '' writes over the project's own.")
    ] = "plankseg_",
    create: Annotated[bool, typer.Option("--create", help="Add objects that the project does not have.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it begins.")] = False,
) -> None:
    """Write measurements into the objects of a project of EcoTaxa; it first lists what it will do, and asks."""
    from plankseg.archives.ecotaxa.client import EcoTaxaClient
    from plankseg.archives.ecotaxa.create import create_objects
    from plankseg.archives.ecotaxa.imports import wait_for_earlier
    from plankseg.archives.ecotaxa.push import plan_push, push, read_measures
    from plankseg.progress_bars import counting

    measures = read_measures(zips, prefix=prefix)
    with EcoTaxaClient(settings().ecotaxa_url, settings().ecotaxa_token, on_wait=_tell) as client:
        client.require_token()
        with counting(console, "an earlier import", unit="%") as told:
            wait_for_earlier(client, project, told=told)
        with counting(console, f"project {project}", unit="objects") as told:
            plan = plan_push(client, project, measures, told=told)
        for line in plan.lines():
            _tell(line)
        created = len(plan.unknown) if create else 0
        if not plan.changed and not created:
            return
        if not yes and not typer.confirm(f"Change {len(plan.changed)} objects and create {created}?"):
            raise typer.Abort
        with counting(console, "import", unit="%") as told:
            push(client, plan, told=told)
            if created:
                create_objects(client, plan, zips, prefix=prefix, told=told)
        with counting(console, "reading it back", unit="objects") as told:
            plan_push(client, project, measures, told=told).require_done(create=create)
    _tell(f"{plan.project.title}: {len(plan.changed)} objects have these measurements now, {created} were created.")


def _tell(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
