"""HTML page of an experiment: table of the runs, learning curves, and the best three models side by side."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from plankseg.imaging.pictures.learning_curves import learning_curves
from plankseg.imaging.pictures.overlay import data_uri, fit_under
from plankseg.pipeline.models.standings import recorded_verdict
from plankseg.pipeline.reports.comparison_tables import rivals_table, seeds_table, table_of
from plankseg.pipeline.reports.html_page import page_head, table, write_page
from plankseg.pipeline.reports.side_by_side import COLOURS, ComparedImage
from plankseg.pipeline.training.comparison import Comparison

PICTURE_BYTES = 60_000
OUTLINE = "boundary_f"
STYLE = """
body { max-width: 84rem; } h1 { margin-bottom: 0; } code { background: #f0f0f0; padding: .1rem .3rem; }
table { font-size: 13px; font-variant-numeric: tabular-nums; } th { vertical-align: bottom; }
.wide { overflow-x: auto; } .wide td, .wide th { padding: .3rem .4rem; } .wide td { white-space: nowrap; }
.wide tr:nth-child(2) td { font-weight: 600; }
.sheet { display: grid; gap: .5rem; }
.sheet img { width: 100%; height: 17rem; object-fit: contain; object-position: left; image-rendering: pixelated; }
.sheet b { position: sticky; top: 0; background: #fff; padding: .3rem 0; }
.sheet p { grid-column: 1 / -1; margin: .6rem 0 0; }
"""
NO_POOL = "No pictures: the pool has no unlabelled image that can be read. Ingest a pool, then run the flow again."


def curves_picture(comparison: Comparison) -> str:
    """A picture, as a data address, of validation Dice and loss over the epochs of every finished run."""
    best = comparison.results[: len(COLOURS)]
    panels = {
        title: {result.run.key: result.metrics[name] for result in comparison.results}
        for title, name in (("validation Dice", "validation_dice"), ("training loss", "loss"))
    }
    png = learning_curves(
        panels,
        colours={result.run.key: colour for result, colour in zip(best, COLOURS, strict=False)},
        labels={result.run.key: title for result, title in zip(best, titles_of(comparison), strict=True)},
    )
    return data_uri(png)


def write_comparison(path: Path, comparison: Comparison, images: Sequence[ComparedImage]) -> None:
    """Write the page of an experiment; it needs no other file and no network."""
    write_page(path, _page(comparison, images))


def _page(comparison: Comparison, images: Sequence[ComparedImage]) -> Iterator[str]:
    best = comparison.best
    yield page_head(f"plankseg: {comparison.name}", style=STYLE)
    yield f"<h1>Experiment {escape(comparison.name)}</h1>"
    yield f"<p>{escape(summary(comparison))}</p>"
    yield f'<div class="wide">{_html(_finished(comparison))}</div>'
    yield (
        "<p>Sorted by the <i>validation Dice</i>, on the validation images that decide which model is kept, with its"
        " 95 % interval in brackets. <i>Test Dice</i> is on images that decide nothing. <i>To the best</i> is the"
        " difference to the best run on the same images: an interval with 0 in it means that the images do not tell"
        " the two apart. <i>Off edge</i>: pixels up to 2 px from the true outline do not count. <i>9 of 10"
        " above</i>: nine images of ten have a higher Dice. <i>IoU</i>: common pixels as a share of those of either"
        " mask. <i>Outline F</i>: how far the outlines agree within 2 px, 1 at best. <i>Thin parts</i>: how much of"
        " what is thinner than 3 px is found. <i>Area error</i>: how much larger (+) or smaller (-) the masks are"
        " than the true ones.</p>"
    )
    if comparison.failures:
        yield "<h2>Failed</h2>" + table(("run", "why"), sorted(comparison.failures.items()))
    if rivals := rivals_table(comparison):
        verdict = recorded_verdict(best.metrics)
        assert verdict is not None, "a table of rivals has a verdict"
        yield f"<h2>The best run and methods without a model</h2>{_html(rivals)}"
        yield f"<p>The best run is {escape(verdict.words())}.</p>"
    if seeds := seeds_table(comparison):
        yield f"<h2>The same runs with other random seeds</h2>{_html(seeds)}"
    yield "<h2>Learning curves</h2>"
    yield f'<img src="{curves_picture(comparison)}" alt="validation Dice and loss by epoch">'
    yield "<h2>The best side by side</h2>"
    yield from _sheet(comparison, images)
    yield (
        f"<h2>To take one</h2><p><code>plankseg promote {best.model.model_id[:8]}</code> makes a run model 0:"
        " the rounds then go on from it, with its recipe.</p>"
    )


def _finished(comparison: Comparison) -> list[dict[str, object]]:
    """The table's finished runs under their short names, without empty columns."""
    rows = [row for row in table_of(comparison) if row["place"]]
    filled = [name for name in rows[0] if any(row[name] for row in rows)]
    return [{name: row[name] for name in filled} | {"run": comparison.short[str(row["run"])]} for row in rows]


def summary(comparison: Comparison) -> str:
    """The result in a sentence or two."""
    best, done = comparison.best, len(comparison.results)
    failed = f", {len(comparison.failures)} failed" if comparison.failures else ""
    return (
        f"{done} runs finished{failed}. Best: {best.run.key}, Dice {best.dice:.3f} on the {best.model.validation_set};"
        f" trained on {best.metrics['examples']} images of the source at {best.model.side_px} px,"
        f" {best.model.epochs} epochs.{''.join(f' {doubt}' for doubt in doubts(comparison))}"
    )


def doubts(comparison: Comparison) -> list[str]:
    """Reasons to doubt the run with the best Dice, in sentences; empty if there is none."""
    best, reasons = comparison.best, []
    if best.metrics["best_epoch"] == 1 < best.model.epochs:
        reasons.append("Its best epoch is its first: it may have learnt where objects lie rather than where they end.")
    outlines = {result: mean["mean"] for result in comparison.results if (mean := result.mean("selection", OUTLINE))}
    measured = {result: value for result, value in outlines.items() if value is not None}
    if best in measured:
        ahead = max(measured, key=lambda result: measured[result])
        if measured[ahead] > measured[best]:
            reasons.append(
                f"By the outline (F within 2 px) {comparison.short[ahead.run.key]} is ahead, {measured[ahead]:.3f} to"
                f" {measured[best]:.3f}: look at the pictures before you take one."
            )
    return reasons


def titles_of(comparison: Comparison) -> list[str]:
    """Titles of the gallery's models, by rank."""
    results = comparison.results[: len(COLOURS)]
    return [f"{n}: {comparison.short[result.run.key]}" for n, result in enumerate(results, start=1)]


def _sheet(comparison: Comparison, images: Sequence[ComparedImage]) -> Iterator[str]:
    if not images:
        yield f"<p>{NO_POOL}</p>"
        return
    titles = titles_of(comparison)
    yield (
        f"<p>The same {len(images)} unlabelled images of the pool, drawn at random, the most disputed first."
        " Look for what the figures do not say: ghosts, lost antennae, ragged outlines.</p>"
    )
    yield f'<div class="sheet" style="grid-template-columns: repeat({len(titles) + 1}, 1fr)"><b>image</b>'
    for title, colour in zip(titles, COLOURS, strict=False):
        yield f'<b style="color: rgb{colour}">{escape(title)}</b>'
    for image in images:
        yield f"<p>{escape(image.caption)}, agreement {image.agreement:.2f}</p>"
        for name, picture in zip(("image", *titles), image.pictures(), strict=True):
            alt = f"{image.caption}, {name}"
            yield f'<img src="{data_uri(fit_under(picture, PICTURE_BYTES))}" alt="{escape(alt)}">'
    yield "</div>"


def _html(rows: Sequence[dict[str, object]]) -> str:
    return table(list(rows[0]), [list(row.values()) for row in rows])
