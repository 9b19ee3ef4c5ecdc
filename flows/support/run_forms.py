"""The run forms of the Prefect UI: plain titles, closed groups for what few need, no 'str / None'.

Prefect draws a form from the JSON schema of a flow's parameters. The schemas made here show less of it and accept the
same parameters: what scripts send, None too, is taken as before.
"""

from copy import deepcopy
from typing import Any

from plankseg.config import field_title

Schema = dict[str, Any]

TITLES = {
    "named": "Recipe",
    "recipe": "Advanced",
    "how": "Advanced",
    "draw": "Validation images",
    "final": "Final training",
    "part": "Which images",
    "side_by_side": "Runs at the same time",
    "round_number": "Round",
    "budget": "Rounds in all",
    "go_on": "Go on although nothing improves",
    "grid": "What is compared",
    "data": "Images and their masks",
    "config": "What and how much",
    "folder": "Folder for the results",
    "export": "Table and zips",
    "upkeep": "What is tidied",
}
"""What a parameter is called in the forms, where its name alone does not say it."""

CLOSED = ("recipe", "how")
"""Parameters that few need: a form shows them last, and closed."""

CLOSED_IN = {"Recipe", "ImageFolder"}
"""Models whose groups are closed too: all of a recipe at once has the length of ten screens."""

AS_IT_IS: Schema = {"title": "leave as it is", "type": "object", "properties": {}, "additionalProperties": False}
OPEN = "change"


def run_form(parameters: Schema, needs: str = "") -> Schema:
    """The schema of a run form, from a flow's own. `needs` says how long a run takes and what it needs."""
    form = deepcopy(parameters)
    models = form.get("definitions", {})
    for name, model in models.items():
        shown = {key: without_none(field) for key, field in model.get("properties", {}).items()}
        model["properties"] = {key: shortened(field) for key, field in shown.items()}
        if name in CLOSED_IN:
            groups = {key for key, shown in model["properties"].items() if "$ref" in shown}
            model["properties"] |= {key: closed(model["properties"][key], models) for key in groups}
    shown_first = sorted(form["properties"], key=lambda name: (name in CLOSED, form["properties"][name]["position"]))
    form["properties"] = {
        name: top_level(name, form["properties"][name], models) | {"position": position}
        for position, name in enumerate(shown_first)
    }
    if needs and shown_first:
        first = form["properties"][shown_first[0]]
        first["description"] = f"{needs}\n\n{first.get('description', '')}".strip()
    return form


def top_level(name: str, parameter: Schema, models: dict[str, Schema]) -> Schema:
    """A parameter of the flow itself."""
    may_be_none = "anyOf" in parameter
    shown = without_none(parameter) | {"title": TITLES.get(name, field_title(name))}
    if name in CLOSED and "$ref" in shown:
        shown = closed(shown, models)
        if may_be_none:
            shown["type"] = "object"  # where a field has a type, Prefect takes None too
    return shown


def without_none(field: Schema) -> Schema:
    """A field that may be None as one that may be left empty; Prefect takes None where a field is not required."""
    alternatives = [branch for branch in field.get("anyOf", []) if branch.get("type") != "null"]
    if len(alternatives) != 1 or len(field["anyOf"]) != 2:
        return field
    shown = {key: value for key, value in field.items() if key not in ("anyOf", "default")} | alternatives[0]
    if field.get("default") is not None:
        shown["default"] = field["default"]
    if "enum" in shown:  # for scripts, which may send None; the form lists words alone
        shown["enum"] = [*shown["enum"], None]
        if "default" in shown:  # Prefect takes None where a type is named and no default
            shown.pop("type", None)
    return shown


def shortened(field: Schema) -> Schema:
    """A field whose number has four digits at most: 0.6667, not 0.6666666666666666."""
    default = field.get("default")
    return field | {"default": float(f"{default:.4g}")} if isinstance(default, float) else field


def closed(group: Schema, models: dict[str, Schema]) -> Schema:
    """A group of fields that is not shown until a person asks for it; left alone, nothing of it is sent."""
    model = models[group["$ref"].rpartition("/")[2]]
    model["title"] = OPEN  # the label of the button that opens it
    kept = {"description": model.get("description", "")} | {
        key: value for key, value in group.items() if key not in ("$ref", "default")
    }
    return kept | {"anyOf": [deepcopy(AS_IT_IS), {"$ref": group["$ref"]}]}
