"""Flow `propose`: choose the images of a round and push them to Label Studio."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.support.artifacts import show_picture, show_table
from flows.support.flow_options import NETWORK_RETRIES, recipe_or_active, step_name
from flows.support.runners import on_dask, run_each
from flows.support.store_lock import StoreLocation, hold_store, open_store
from plankseg.config import UNCERTAINTY, Recipe, settings
from plankseg.pipeline.annotation.connection import connect, project_for
from plankseg.pipeline.annotation.push_proposals import PushOptions
from plankseg.pipeline.annotation.push_proposals import push as push_images
from plankseg.pipeline.loop.progress import check_proposable, read_progress

if TYPE_CHECKING:
    from plankseg.pipeline.acquisition.score_shards import ScoringShard  # loads torch


@task(cache_policy=NO_CACHE, task_run_name="{name}")
def score(shard: "ScoringShard", name: str, at: StoreLocation) -> None:
    """Score one shard, on any machine that sees the store."""
    from plankseg.pipeline.acquisition.score_shards import score_shard

    scored = score_shard(at.open(), shard, device=settings().device)
    get_run_logger().info("%s: %d images scored with %s", name, scored, shard.choice.score_backend)


def on_workers(shards: "Sequence[ScoringShard]") -> None:
    """Have shards scored by the workers of Dask."""
    calls = [
        {"shard": shard, "name": f"score {number} of {len(shards)}", "at": StoreLocation.of_settings()}
        for number, shard in enumerate(shards, start=1)
    ]
    for _ in run_each(score, calls):
        pass


@task(cache_policy=NO_CACHE, task_run_name="choose the images of round {round_number}")
def choose(recipe: Recipe, round_number: int) -> None:
    """Score candidate batches with test-time augmentation, keep the best one and show its gallery."""
    from plankseg.pipeline.acquisition.propose import ScoringOptions
    from plankseg.pipeline.acquisition.propose import propose as propose_round
    from plankseg.pipeline.reports.round_report import proposal_gallery, proposed_images

    store = open_store()
    scoring = ScoringOptions(spread=on_workers) if on_dask() else ScoringOptions()
    proposal = propose_round(store, recipe, settings(), round_number=round_number, scoring=scoring)
    log = get_run_logger()
    log.info(
        "Round %d: %d images chosen from %d whose uncertainty was computed, of %d images of the pool that can be "
        "chosen",
        round_number,
        len(proposal.images),
        proposal.scored,
        proposal.pool_size,
    )
    if proposal.unreadable:
        log.warning("%d images of the pool cannot be read any more: %s", len(proposal.unreadable), proposal.unreadable)
    show_table(f"round-{round_number}-computing", proposal.choice.table(), proposal.choice.describe())
    show_picture(
        f"round-{round_number}-gallery",
        f"Round {round_number}: images that a person corrects",
        proposal_gallery(store, proposal),
        f"From left to right: the image; where model {proposal.model.round} is uncertain, the brighter the more; its "
        f"pre-mask. The number is the image's uncertainty, times 1000: {UNCERTAINTY[recipe.query.measure]}.",
    )
    # Without answers: nobody has answered yet, and the table would go on saying so.
    images = [
        {name: cell for name, cell in row.items() if name != "answer"} for row in proposed_images(store, round_number)
    ]
    meaning = f"Uncertainty, times 1000: {UNCERTAINTY[recipe.query.measure]}; it serves to rank images."
    show_table(f"round-{round_number}-images", images, f"Round {round_number}: a line for each image. {meaning}")


@task(cache_policy=NO_CACHE, task_run_name="replace what was skipped in round {round_number}")
def replace(round_number: int) -> int:
    """Choose the next best image for each skipped one of the round."""
    from plankseg.pipeline.acquisition.replace import replace_skipped

    replaced = replace_skipped(open_store(), settings(), round_number=round_number)
    for skipped, image_id in replaced.items():
        get_run_logger().info("Round %d: %s was skipped, %s is asked for instead", round_number, skipped, image_id)
    return len(replaced)


@task(cache_policy=NO_CACHE, task_run_name="push round {round_number}", **NETWORK_RETRIES)
def push(round_number: int, asked_twice: float) -> int:
    """Bring what is missing of a round into Label Studio; what is there already is left alone.

    `asked_twice` is the share of its images that two people are asked about.
    """
    with connect(settings()) as label_studio:
        store = open_store()
        project = project_for(store, label_studio, settings())
        options = PushOptions.of(settings(), asked_twice=asked_twice)
        report = push_images(store, label_studio, project, round_number=round_number, options=options)
    get_run_logger().info(
        "Round %d in Label Studio (project number %d): %d tasks, %d of them new",
        round_number,
        project,
        len(report.tasks),
        len(report.imported),
    )
    return project


@flow(name="propose", flow_run_name=step_name, persist_result=False)
def propose(recipe: Recipe | None = None, round_number: int | None = None) -> int:
    """Choose the next images and put them into Label Studio with pre-masks.

    Args:
        recipe: Settings of the method, for this round alone. Left as it is: those of the model in use. Each box below
            is a group: if you press 'change', all its fields begin with the published values, not the model's, and
            all of them are used. Groups that you leave stay the model's.
        round_number: Left empty: the round that a person is correcting now, whose images and answers stay; only
            what is missing in Label Studio is added. If none is being corrected: the next one.
    """
    store = open_store()
    with hold_store(store):
        progress = read_progress(store)
        n = progress.round + (progress.trained or not progress.round) if round_number is None else round_number
        check_proposable(progress, n)
        in_force = recipe_or_active(store, recipe)
        choose(in_force, n)
        push(n, in_force.rounds.asked_twice)
    return n
