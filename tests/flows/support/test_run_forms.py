"""Run forms: short, in plain words, without 'None'; they take all that scripts sent to Prefect before."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from flows.ingest import ImageFolder
from flows.support.run_forms import CLOSED, run_form
from plankseg import local_servers
from plankseg.config import Grid, Recipe, SegmentConfig

pytestmark = pytest.mark.slow
ROWS = yaml.safe_load((local_servers.ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
DEPLOYED = {row["name"]: row for row in ROWS}
# Words of the forms that nobody outside of the project understood.
UNCLEAR = (
    "Alpha fp",
    "Beta fn",
    "Plateau factor",
    "Draws per epoch",
    "Forward batch",
    "Mode",
    "Band (px)",
    "Flat dice",
)
UNCLEAR += ("Near duplicate bits", "Shard size", "Views", "Min rank correlation")
UNCLEAR += ("Query", "Inference", "Assist", "Grid", "Config", "Data", "Upkeep", "Horizon days", "Dry run")
UNCLEAR += ("Freeze encoder", "Plateau patience", "Neighbour share", "Pool mask weight")
UNCLEAR += (
    "Holdout fraction",
    "Warm start",
    "Loader workers",
    "Strata",
    "Noise sd",
    "Region",
    "Blind",
    "Random controls",
)
UNCLEAR += ("Int8", "Calibration images", "Min dice", "Stop when flat", "Flat rounds", "Flat effort", "Arms")
UNCLEAR += ("Go on although it is flat",)
EARLIER: list[tuple[str, dict[str, Any]]] = [
    ("ingest", {"images": {"folder": "a", "role": "pool"}}),
    ("ingest", {"images": {"folder": "a", "role": "source", "masks": None, "layout": "ecotaxa", "table": None}}),
    ("pretrain", {"named": "laptop"}),
    ("pretrain", {"named": None, "recipe": Recipe().model_dump(mode="json")}),
    ("pretrain", {"recipe": {"training": {"epochs": 3, "largest_zoom": None}}}),
    ("compare", {"grid": Grid().model_dump(mode="json"), "side_by_side": None, "recipe": {}}),
    ("propose", {"recipe": None, "round_number": None}),
    ("retrain", {"recipe": Recipe().model_dump(mode="json"), "round_number": 2}),
    ("advance", {"recipe": None, "budget": None, "go_on": True}),
    ("finalize", {"recipe": None}),
    ("segment", {"model": None, "how": SegmentConfig().model_dump(mode="json"), "part": {"taxon": None}}),
    ("maintain", {"upkeep": {"horizon_days": 30}}),
]


def form_of(name: str) -> dict[str, Any]:
    flow = load_flow_from_entrypoint(str(local_servers.ROOT / DEPLOYED[name]["entrypoint"]))
    return run_form(parameter_schema(flow).model_dump(), "This flow takes a minute.")


def fields(form: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a form, those of closed groups too, with what it is called."""
    for model in (form, *form.get("definitions", {}).values()):
        for name, field in model["properties"].items():
            yield field.get("title", name), field


@pytest.mark.parametrize("name", DEPLOYED)
def test_no_form_shows_none_and_every_field_is_explained(name: str) -> None:
    form = form_of(name)
    is_valid_schema(form)
    for title, field in fields(form):
        assert title not in UNCLEAR
        assert {"type": "null"} not in field.get("anyOf", []), title
        assert "description" in field or "$ref" in field or "anyOf" in field, f"{title} is not explained"
        assert field.get("default", "") is not None, title
        assert len(re.sub(r"^0\.0*|\.", "", str(field.get("default")))) <= 4 or field.get("type") != "number", title


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_form_begins_with_what_a_run_takes_and_ends_with_what_few_need(name: str) -> None:
    shown = sorted(form_of(name)["properties"].items(), key=lambda named: named[1]["position"])
    if shown:
        assert shown[0][1]["description"].startswith("This flow takes a minute.")
    names = [name for name, _ in shown]
    assert [name for name in names if name in CLOSED] == names[len(names) - sum(name in CLOSED for name in names) :]
    assert all(shown["title"] == "Advanced" for name, shown in shown if name in CLOSED)


def test_a_training_begins_with_the_name_of_the_recipe() -> None:
    first = min(form_of("pretrain")["properties"].values(), key=lambda shown: shown["position"])
    assert first["title"] == "Recipe"
    assert [word for word in first["enum"] if word] == ["laptop", "quality", "published", "own"]
    assert first["default"] == "laptop", "what a computer without a GPU trains in minutes"


@pytest.mark.parametrize("name", DEPLOYED)
def test_every_deployment_says_how_long_a_run_takes_and_what_it_needs(name: str) -> None:
    *_, needs = DEPLOYED[name]["description"].strip().split("\n\n")
    assert needs.startswith("This flow takes ")


@pytest.mark.parametrize(("name", "parameters"), EARLIER)
def test_what_scripts_send_is_taken_as_before(name: str, parameters: dict[str, Any]) -> None:
    assert validate(parameters, form_of(name), raise_on_error=True, ignore_required=True) == []
    flow = load_flow_from_entrypoint(str(local_servers.ROOT / DEPLOYED[name]["entrypoint"]))
    flow.validate_parameters(parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("pretrain", {"named": "no recipe's name"}),
        ("pretrain", {"recipe": {"training": {"epochs": 0}}}),
        ("segment", {"how": {"shard_size": 0}}),
        ("advance", {"budget": "three"}),
    ],
)
def test_what_was_refused_is_refused(name: str, parameters: dict[str, Any]) -> None:
    assert validate(parameters, form_of(name))


def test_fields_of_an_ingest_that_few_need_may_stand_where_they_stood(tmp_path: Path) -> None:
    beside = ImageFolder.model_validate({"folder": "a", "role": "pool", "layout": "pairs", "dataset": "b"})
    assert beside == ImageFolder.model_validate(
        {"folder": "a", "role": "pool", "advanced": {"layout": "pairs", "dataset": "b"}}
    )
    with pytest.raises(ValueError, match="extra_forbidden"):
        ImageFolder.model_validate({"folder": "a", "role": "pool", "lay_out": "pairs"})
