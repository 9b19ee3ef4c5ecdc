"""Label Studio's JSON: tasks with brush masks, a model's as predictions and a person's as annotations; lossless.

The labelling configuration is the one of `label_studio`. Images are named as local files of a Label Studio that serves
the folder of the images (`LOCAL_FILES_DOCUMENT_ROOT`); another prefix can be given.
"""

import json
from urllib.parse import quote

from plankseg.formats.coco import facts_of
from plankseg.formats.mask_record import MaskRecord
from plankseg.labelling.api.labeling_config import IMAGE
from plankseg.labelling.api.tasks import premask_regions

LOCAL_FILES = "/data/local-files/?d="


def task(record: MaskRecord, *, prefix: str = LOCAL_FILES) -> str:
    """One image as a task to import, as a line of JSON."""
    data = {IMAGE: prefix + quote(record.path), "path": record.path} | facts_of(record)
    is_model = record.origin == "model"
    region = premask_regions(record.mask, origin="prediction" if is_model else "manual") if record.mask.any() else []
    content: dict[str, object] = {"data": data}
    if is_model:
        score = None if record.score is None else min(max(record.score, 0.0), 1.0)
        content["predictions"] = [{"model_version": record.model_id or "plankseg", "score": score, "result": region}]
    else:
        content["annotations"] = [{"result": region, "was_cancelled": False}]
    return json.dumps(content)
