"""The command `plankseg export` at a terminal: masks by their source, a bar, what was written and what was not."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from plankseg.errors import SettingsError
from plankseg.pipeline.exports.mask_records import Only, masks_of_folder, masks_of_store
from plankseg.pipeline.exports.write_masks import checked_format, write_masks
from plankseg.progress_bars import counting
from plankseg.storage.store import Store

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """What was typed at the command line, not yet checked."""

    form: str
    target: Path
    masks: Path | None = None
    model: str | None = None
    only: str = "all"
    overwrite: bool = False


def export_at_terminal(console: Console, store: Store | None, arguments: ExportArguments) -> None:
    """Export the masks of a folder, or of a store. Raises SettingsError, OutputError, ModelError."""
    kind = checked_format(arguments.form)
    if arguments.only not in get_args(Only):
        raise SettingsError(f"--only {arguments.only} is not known; give one of {', '.join(get_args(Only))}.")
    only: Only = arguments.only  # type: ignore[assignment]  # checked above
    if arguments.masks is not None:
        masks = masks_of_folder(arguments.masks.expanduser().resolve(), only=only)
    else:
        assert store is not None, "without a folder the command opens the store"
        masks = masks_of_store(store, model=arguments.model, only=only)
    target = arguments.target.expanduser().resolve()
    with counting(console, f"export {kind}", unit="masks") as told:
        written = write_masks(masks, kind, target, overwrite=arguments.overwrite, told=told)
    lines = [f"{written.images} masks written: {target}"]
    if masks.without_segment:
        lines.append("All are a person's answers: the masks of the other images are made by the flow 'segment'.")
    if masks.skipped:
        lines.append(f"{masks.skipped} images that a person skipped or called unusable are left out.")
    if written.without:
        lines.append(f"{len(written.without)} images have no place in it:")
        lines += [f"  {path}: {reason}" for path, reason in written.without[:SHOWN]]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
