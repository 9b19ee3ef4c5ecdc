"""Objects of our zips that an EcoTaxa project does not have yet, created there with their image without background.

Only their rows and images are sent, so what is in the project is not touched; their measures are in the same columns as
a push writes them.
"""

import csv
import io
import tempfile
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from plankseg.archives.ecotaxa.client import EcoTaxaClient
from plankseg.archives.ecotaxa.imports import Told, import_name, import_zip
from plankseg.archives.ecotaxa.push import BOM, PREFIX, PushPlan, column_of, is_measure, rows_of
from plankseg.errors import ArchiveError


def create_objects(
    client: EcoTaxaClient, plan: PushPlan, zips: Sequence[Path], *, prefix: str = PREFIX, told: Told | None = None
) -> None:
    """Create the objects that a plan found missing, one import for each zip that has some.

    Raises:
        EcoTaxaError and its kinds: as `import_zip`; run again with a new plan it creates only what is missing.
        ArchiveError: a zip or an image in it cannot be read.
    """
    wanted = set(plan.unknown)
    for source in zips:
        with tempfile.TemporaryDirectory() as folder:
            path = _part_of(source, wanted, Path(folder), prefix=prefix)
            if path is not None:
                import_zip(client, plan.project.number, path, update=False, told=told)


def _part_of(source: Path, wanted: Collection[str], folder: Path, *, prefix: str) -> Path | None:
    """A zip of the wanted objects in another zip of ours, with their images; None where it has none of them."""
    rows = [(types, row) for types, row in rows_of(source) if row["object_id"].strip() in wanted]
    if not rows:
        return None
    types = rows[0][0]
    names = {name: f"object_{column_of(name, prefix)}" if is_measure(name) else name for name in types}
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(names.values())
    writer.writerow(types.values())
    writer.writerows([row[name] for name in names] for _, row in rows)
    table = BOM + out.getvalue().encode()
    path = folder / f"{import_name(table)}.zip"
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as part:
            part.writestr(f"{path.stem}.tsv", table, zipfile.ZIP_DEFLATED)
            for _, row in rows:
                part.writestr(row["img_file_name"], archive.read(row["img_file_name"]))
    except (KeyError, zipfile.BadZipFile, OSError) as error:
        raise ArchiveError(f"An image of {source} cannot be read or copied ({error}); export it again.") from error
    return path
