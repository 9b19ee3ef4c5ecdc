"""The command line: `plankseg status | promote | rollback | doctor | demo | up`; flows start from the Prefect UI."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plankseg import local_bucket, serving
from plankseg.config import Settings, settings
from plankseg.errors import PlanksegError, ServerError, SettingsError
from plankseg.rounds.effort_picture import COLUMNS, describe_anchoring, effort_rows
from plankseg.rounds.progress import recipe_in_force
from plankseg.rounds.status import Status, last_decision, read_status
from plankseg.storage.store import Store

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()

RARE = ("drawn", "empty", "skipped", "unusable", "quarantined")  # columns that are shown only where there is one

PROJECT = "plankseg"  # of the servers that we start ourselves
Directory = Annotated[Path, typer.Option(help="Working directory: store, servers' data, log-in, logs.")]


def main() -> None:
    """Run the command line; an error of ours is one clear line and exit status 1."""
    try:
        app()
    except SystemExit as ended:
        if ended.code == 0:
            sys.stdout.flush()
            sys.stderr.flush()
            # Delta's native threads now and then abort the interpreter's own shutdown after all work is done (seen once
            # in some twenty runs), and a script would read that as a failure.
            os._exit(0)
        raise
    except PlanksegError as error:
        said = f"[red]{type(error).__name__}[/red]: {escape(str(error))}"
        Console(stderr=True).print(said, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False) -> None:
    """Show images, models, rounds and what is due next."""
    found = _status(settings())
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        show(found)


def _existing_store(surroundings: Settings) -> Store:
    location = surroundings.store_location
    if not Store.exists(location):  # looking must not make one
        raise SettingsError(f"There is no store at {location}; set PLANKSEG_STORE or run `make demo`.")
    return Store.open(location)


def _status(surroundings: Settings) -> Status:
    store = _existing_store(surroundings)
    return read_status(store, recipe_in_force(store).rounds)


def show(found: Status) -> None:
    """Print the tables of models and rounds."""
    counts = found.images
    console.print(f"Store {found.store}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Images: {counts.source} source, {counts.pool} pool, {counts.validation} validation")
    if counts.validation:
        kept = found.validation
        console.print(
            f"Validation set: {kept.selection} masks choose, {kept.test} only test; "
            f"{kept.near_duplicates} near-duplicates kept out of pool and training"
        )
    models = Table(title="Models", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    for heading in ("round", "model", "side", "epochs", "Dice", "test", "promoted", "why"):
        models.add_column(heading, justify="left" if heading in {"model", "why"} else "right")
    for model in found.models:
        dice = "" if model.validation_dice is None else f"{model.validation_dice:.3f}"
        promoted = "yes" if model.promoted else "no"
        models.add_row(
            str(model.round), model.id[:8], f"{model.side_px} px", str(model.epochs), dice,
            "" if model.test_dice is None else f"{model.test_dice:.3f}", promoted,
            escape(model.reason),
        )  # fmt: skip
    rounds = Table(title="Rounds", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    rare = [name for name in RARE if any(getattr(row, name) for row in found.rounds)]
    fields = ["round", "proposed", "answered", "accepted", "corrected", *rare]
    for heading in [*fields, "redrawn", "seconds"]:
        rounds.add_column(heading, justify="right", no_wrap=True)
    for row in found.rounds:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        rounds.add_row(*(str(getattr(row, name)) for name in fields), f"{row.redrawn}/{row.proposed}", seconds)
    effort = Table(title="Effort", title_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    for heading in COLUMNS:
        effort.add_column(heading, justify="left" if heading == "asked" else "right")
    for cells in effort_rows(found.effort):
        effort.add_row(*cells)
    for table in (models, rounds, effort):
        if table.row_count:
            console.print(table)
    if at_work := last_decision(found):
        console.print(at_work, markup=False, highlight=False)
    if found.anchoring:
        console.print(describe_anchoring(found.anchoring), markup=False, highlight=False)
    console.print(f"Next: {found.next}")


@app.command()
def promote(
    model: Annotated[
        list[str], typer.Argument(help="A round ('3' or 'model 3'), the beginning of an id, or a candidate's name.")
    ],
    reason: Annotated[str, typer.Option(help="Why; shown in the status.")] = "a person's choice",
) -> None:
    """Put a model to work, also a refused one or a candidate; later rounds go on from it."""
    from plankseg.rounds.choosing import put_to_work

    chosen, decided = put_to_work(_existing_store(settings()), " ".join(model), reason=reason)
    said = "is at work" if decided else "is at work already, nothing was done"
    console.print(f"Model {chosen.round} ({chosen.model_id[:8]}) {said}.", highlight=False)


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; shown in the status.")] = "a person's choice",
) -> None:
    """Take the model at work away and go back to the one before it."""
    from plankseg.rounds.promoting import find_model
    from plankseg.rounds.promoting import rollback as decide

    store = _existing_store(settings())
    decided = decide(store, by="person", reason=reason)
    taken, back = (find_model(store, str(model_id)) for model_id in (decided.previous, decided.model_id))
    console.print(
        f"Model {taken.round} ({taken.model_id[:8]}) is taken back, "
        f"model {back.round} ({back.model_id[:8]}) is at work again.",
        highlight=False,
    )


@app.command()
def report(path: Annotated[Path, typer.Argument(help="Where the page is written.")] = Path("report.html")) -> None:
    """Write models, rounds and a gallery of every round into one page that needs nothing else."""
    from plankseg.rounds.reporting import write_report

    write_report(_existing_store(settings()), path)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


@app.command()
def ingest(
    place: Annotated[str, typer.Argument(help="Folder, tar, zip or s3://bucket/prefix with the images.")],
    role: Annotated[str, typer.Option(help="source (clean), pool (to choose from) or validation.")],
    layout: Annotated[str, typer.Option(help="auto, class_folders, ecotaxa, table or pairs.")] = "auto",
    masks: Annotated[Path | None, typer.Option(help="Folder of masks with the images' names.")] = None,
    table: Annotated[Path | None, typer.Option(help="Table of the images that lies elsewhere.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
) -> None:
    """Register images with a progress bar, as the flow does; doing it again adds only what is new."""
    from plankseg.rounds.ingesting_by_hand import ingest_at_terminal

    ingest_at_terminal(console, settings(), place, role=role, layout=layout, masks=masks, table=table, dataset=dataset)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="zooscannet or pelgas.")],
    to: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path(),
    url: Annotated[str | None, typer.Option(help="Address of the file, where another one is wanted.")] = None,
) -> None:
    """Download a published archive, or go on with a download that broke off."""
    from plankseg.archives.fetching import fetch as download
    from plankseg.archives.fetching import published
    from plankseg.bars import downloading

    found = published(name)
    console.print(f"{found.title}, licence {found.licence}, {found.page}", highlight=False, soft_wrap=True)
    with downloading(console, name) as told:
        path = download(name, to, url=url, told=told)
    console.print(f"{path} is whole. Next: plankseg ingest {path} --role pool", highlight=False, soft_wrap=True)


@app.command("show-augmentations")
def show_augmentations(
    images: Annotated[list[Path] | None, typer.Argument(help="Clean image files; synthetic ones without.")] = None,
    references: Annotated[list[Path] | None, typer.Option("--reference", help="Image of the target domain.")] = None,
    from_store: Annotated[bool, typer.Option("--from-store", help="Show the store's own source and pool.")] = False,
    output: Annotated[Path, typer.Option(help="Where the PNG is written.")] = Path("augmentations.png"),
    draws: Annotated[int, typer.Option(min=1, max=32, help="Variations of each composition.")] = 8,
    side_px: Annotated[int, typer.Option("--side", min=32, max=1024, help="Side of the squares.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Other draws.")] = 0,
) -> None:
    """Draw what each composition of augmentations makes of some images, with the masks' outlines, on one sheet."""
    from plankseg.imaging.overlay import encode_rgb
    from plankseg.rounds import augmentation_sheet as sheets

    if from_store and (images or references):
        raise SettingsError("Give image files, or --from-store, not both.")
    if from_store:
        shown = sheets.from_store(_existing_store(settings()), images=draws, side_px=side_px)
    elif images:
        shown = sheets.from_files(images, references or [], side_px=side_px)
    else:
        shown = sheets.synthetic(images=draws, seed=seed, side_px=side_px)
    output.write_bytes(encode_rgb(shown.sheet(draws=draws, seed=seed)))
    console.print(f"Written: {output}", highlight=False, soft_wrap=True)
    if shown.references is None or not len(shown.references):
        console.print("'specialized' is left out: it needs images of the target domain, ingested or by --reference.")


@app.command("copy-store")
def copy_store(
    source: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix of the store.")],
    target: Annotated[str, typer.Argument(help="Where its copy goes: another folder or address.")],
) -> None:
    """Copy a whole store, verified; run again after a kill, or later, it copies only what is missing."""
    from plankseg.storage.copying import copy_store as copy

    with console.status("") as line:
        done = copy(source, target, on_progress=lambda n, of: line.update(f"{n} of {of} files"))
    console.print(f"Copied {done.files} files, {done.bytes / 1e6:.1f} MB; {done.there} were there already.")


@app.command()
def gif(
    image: Annotated[str, typer.Argument(help="The beginning of an image_id, or the image's name in its archive.")],
    path: Annotated[Path, typer.Argument(help="Where the GIF is written.")] = Path("image.gif"),
    model: Annotated[str | None, typer.Option(help="The beginning of a model's id; unset: final or active.")] = None,
) -> None:
    """Show how an image's mask comes about: before, every test-time view, after, the object alone."""
    from plankseg.rounds.picturing import gif_of, image_named
    from plankseg.rounds.progress import model_for

    store = _existing_store(settings())
    path.write_bytes(gif_of(store, model_for(store, model), image_named(store, image), settings()))
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


@app.command()
def doctor(
    directory: Annotated[
        Path | None, typer.Option(help="Look at what `plankseg up` serves from this working directory.")
    ] = None,
) -> None:
    """Check every part, and name the cure for what is not in order."""
    from plankseg.doctor import examine

    table = Table()
    for heading in ("part", "state", "what was seen", "cure"):
        table.add_column(heading)
    if directory is not None:
        at = serving.Surroundings(
            directory.resolve(),
            int(os.environ.get("PREFECT_PORT", 4200)),
            int(os.environ.get("LABEL_STUDIO_PORT", 8080)),
        )
        os.environ.update(at.environment())
    findings = list(examine(settings()))
    for finding in findings:
        table.add_row(finding.part, finding.state, finding.seen, finding.cure)
    console.print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


@app.command()
def webhook_relay(
    port: Annotated[int, typer.Option(envvar="RELAY_PORT", help="Port on this machine.")] = 8090,
    prefect_api_url: Annotated[
        str, typer.Option(envvar="PREFECT_API_URL", help="Address of the Prefect server's API.")
    ] = "http://127.0.0.1:4200/api",
) -> None:
    """Tell Prefect when a round is answered, so that `advance` starts at once and not with the next schedule."""
    from plankseg.labelling.relay import serve

    serve(settings(), port=port, prefect_api_url=prefect_api_url)


@app.command()
def demo(
    directory: Directory = Path("demo"),
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of annotation.")] = 2,
    source: Annotated[Path | None, typer.Option(help="Folder of clean images.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Folder of images to choose from.")] = None,
    pool_masks: Annotated[Path | None, typer.Option(help="Masks of the pool, for a simulated person.")] = None,
    store: Annotated[str, typer.Option(help="folder, or s3: a bucket on an S3 server in memory.")] = "folder",
) -> None:
    """Run the whole loop on two synthetic domains, or on real folders up to where a person must click."""
    if (source is None) != (pool is None):
        raise SettingsError("SOURCE and POOL belong together: give both folders, or neither.")
    folders = {"source": source, "pool": pool, "pool-masks": pool_masks}
    given = {name: path.expanduser().resolve() for name, path in folders.items() if path}
    for name, path in given.items():
        if not path.is_dir():
            raise SettingsError(f"{name.upper().replace('-', '_')}={path} is not a folder.")
    if store not in {"folder", "s3"}:
        raise SettingsError(f"STORE={store} is not known; give folder or s3.")
    in_bucket = store == "s3"
    directory = _directory_for(
        directory.resolve(), {name: str(path) for name, path in given.items()}, in_memory=in_bucket
    )
    surroundings = serving.Surroundings(directory, serving.free_port(), serving.free_port())
    options = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    options += ["--synthetic", str(directory / "images"), "--report", str(directory / "report.html")]
    with (
        serving.holding(directory),
        local_bucket.serve(surroundings) if in_bucket else nullcontext() as bucket,
        serving.start_prefect(surroundings) as prefect,
        serving.start_label_studio(surroundings) as label_studio,
    ):
        console.print(f"Prefect UI {surroundings.prefect_url}   Label Studio {surroundings.label_studio_url}")
        location = local_bucket.STORE if in_bucket else str(surroundings.store)
        if in_bucket:
            console.print(f"S3 server {os.environ['AWS_ENDPOINT_URL']}   store {location}, in memory: gone at the end")
        prefect.wait()
        command = [sys.executable, "-m", "flows.demo", "--rounds", str(rounds), *options]
        environment = surroundings.environment() | {"PLANKSEG_PROJECT": PROJECT, "PLANKSEG_STORE": location}
        with subprocess.Popen(command, env=environment, cwd=serving.ROOT, preexec_fn=serving.die_with_parent) as flow:
            try:
                _watch(flow, [prefect, label_studio, *([bucket] if bucket else [])])
            finally:
                serving.end(flow)
        if flow.returncode:
            raise ServerError(f"The demo's flows ended with exit status {flow.returncode}; see the lines above.")
        _conclude(surroundings, location)


def _directory_for(directory: Path, folders: dict[str, str], *, in_memory: bool = False) -> Path:
    """Keep a working directory for one pair of folders: what another pair left there is moved aside, not mixed in.

    A run with a store `in_memory` always begins anew, for Label Studio would remember images that are gone.
    """
    note = directory / "demo.json"
    folders = folders | ({"store": "in memory"} if in_memory else {})
    before = json.loads(note.read_text()) if note.exists() else {}
    forgot = "store" in before and (directory / "label-studio").exists()
    if forgot or ((directory / "store").exists() and (not note.exists() or before != folders)):
        aside = directory.with_name(f"{directory.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        with serving.holding(directory):
            directory.rename(aside)
        console.print(f"{directory} held a run on other folders: moved to {aside}.", highlight=False, soft_wrap=True)
    directory.mkdir(parents=True, exist_ok=True)
    part = note.with_suffix(".part")
    part.write_text(json.dumps(folders))
    part.replace(note)
    return directory


def _watch(flow: "subprocess.Popen[bytes]", servers: list[serving.Server]) -> None:
    """Wait for the flows, and say so at once if a server goes away under them."""
    while flow.poll() is None:
        for server in servers:
            code = server.process.poll()
            if code is not None:
                raise ServerError(f"{server.name} ended with exit status {code}. The end of its log:\n{server.tail()}")
        time.sleep(0.2)


def _conclude(surroundings: serving.Surroundings, location: str) -> None:
    """Print the rounds, what became of the Dice, and where to look or click."""
    found = _status(Settings(store=location))
    show(found)
    before, after = found.models[0].validation_dice, found.models[-1].validation_dice
    if len(found.models) > 1 and before is not None and after is not None:
        better = "above" if after > before else "NOT above"
        console.print(f"Validation Dice of the last model: {after:.3f}, {better} model 0's {before:.3f}.")
    relative = os.path.relpath(surroundings.directory)
    console.print(f"Gallery and report: {relative}/report.html", soft_wrap=True)
    if found.rounds and found.rounds[-1].answered < found.rounds[-1].proposed:
        console.print(
            f"Round {found.rounds[-1].round} waits for a person: run `make up DIR={relative}`, "
            f"open Label Studio there, project '{PROJECT}', tab 'Round {found.rounds[-1].round}'."
        )


@app.command()
def up(
    directory: Directory = Path("demo"),
    prefect_port: Annotated[int, typer.Option(envvar="PREFECT_PORT", help="Port of the Prefect UI.")] = 4200,
    label_studio_port: Annotated[int, typer.Option(envvar="LABEL_STUDIO_PORT", help="Port of Label Studio.")] = 8080,
    relay_port: Annotated[int, typer.Option(envvar="RELAY_PORT", help="Port of the webhook relay.")] = 8090,
) -> None:
    """Serve Prefect, a worker with the flows, Label Studio and its webhook relay, in the foreground, until Ctrl-C."""
    surroundings = serving.Surroundings(directory.resolve(), prefect_port, label_studio_port, relay_port)
    serving.require_free(prefect_port, setting="PREFECT_PORT")
    serving.require_free(label_studio_port, setting="LABEL_STUDIO_PORT")
    serving.require_free(relay_port, setting="RELAY_PORT")
    with serving.holding(surroundings.directory):
        credentials = serving.ensure_credentials(surroundings.directory)
        _greet(surroundings, credentials)
        honcho = str(Path(sys.executable).parent / "honcho")
        os.chdir(serving.ROOT)
        command = [honcho, "start", "--app-root", str(serving.ROOT), "--procfile", "deployments/Procfile"]
        title = os.environ.get("PLANKSEG_PROJECT", PROJECT)  # a new one, where the old project was deleted
        os.execve(honcho, command, surroundings.environment() | {"PLANKSEG_PROJECT": title})  # noqa: S606


def _greet(surroundings: serving.Surroundings, credentials: serving.Credentials) -> None:
    """Print where everything is, and the log-in."""
    console.print(
        f"Prefect UI    {surroundings.prefect_url}\n"
        f"Label Studio  {surroundings.label_studio_url}   {credentials.email}   {credentials.password}\n"
        f"Store         {surroundings.store}\n"
        f"Log-in and token are kept in {surroundings.directory / 'credentials.env'} (readable by you alone).",
        highlight=False,
        soft_wrap=True,
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
