"""Filters and tabs of Label Studio's data manager, as JSON."""

from typing import Any

# Technical columns; if they were shown, image, taxon and file would lie beyond the right edge. The rank is the order of
# the list itself, and beside an image the person reads "image 7 of 20"; the uncertainty has another unit in Prefect.
HIDDEN_COLUMNS = (
    "inner_id",
    "annotations_results",
    "annotations_ids",
    "predictions_results",
    "predictions_model_versions",
    "predictions_score",
    "file_upload",
    "storage_filename",
    "created_at",
    "updated_at",
    "updated_by",
    "avg_lead_time",
    "total_predictions",
    "draft_exists",
    "data.key",
    "data.round",
    "data.image_id",
    "data.model_id",
    "data.rank",
    "data.ranks",
    "data.uncertainty",
)


def round_filter(round: int) -> dict[str, Any]:
    """The tasks of one round, by the `round` that `build_task` wrote into them."""
    item = {"filter": "filter:tasks:data.round", "operator": "equal", "type": "Number", "value": round}
    return {"conjunction": "and", "items": [item]}


def since_filter(round: int, *, open_only: bool) -> dict[str, Any]:
    """Tasks of that round and of later ones; `with `open_only` only those without an answer or a skip."""
    conditions = {"data.round": ("greater_or_equal", round)}
    if open_only:
        conditions |= {"total_annotations": ("equal", 0), "cancelled_annotations": ("equal", 0)}
    items = [
        {"filter": f"filter:tasks:{name}", "operator": operator, "type": "Number", "value": value}
        for name, (operator, value) in conditions.items()
    ]
    return {"conjunction": "and", "items": items}


def without_round_filter() -> dict[str, Any]:
    """Tasks that plankseg did not push: a person added them."""
    item = {"filter": "filter:tasks:data.round", "operator": "empty", "type": "String", "value": "true"}
    return {"conjunction": "and", "items": [item]}


def round_tab(title: str, round: int | None) -> dict[str, Any]:
    """A tab that lists one round, the most uncertain image first; without a round, the tasks that a person added."""
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "filters": without_round_filter() if round is None else round_filter(round),
        "ordering": ["-tasks:predictions_score"],
        "hiddenColumns": {"explore": [f"tasks:{name}" for name in HIDDEN_COLUMNS], "labeling": []},
    }
