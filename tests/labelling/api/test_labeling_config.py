"""The names in the code are those of the labelling configuration, and a configuration without them is noticed."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from plankseg.labelling.api import labeling_config
from plankseg.labelling.api.labeling_config import config_problem
from tests.support.labelling_project import CONFIG


def test_the_names_in_code_are_those_in_the_labelling_configuration() -> None:
    root = ElementTree.fromstring(CONFIG)
    assert [(e.get("name"), e.get("value")) for e in root.iter("Image")] == [
        (labeling_config.IMAGE, f"${labeling_config.IMAGE}")
    ]
    assert [e.get("name") for e in root.iter("BrushLabels")] == [labeling_config.BRUSH]
    assert [e.get("value") for e in root.iter("Label")] == [labeling_config.LABEL, labeling_config.OUTLINE_LABEL]
    assert [e.get("name") for e in root.iter("PolygonLabels")] == [labeling_config.OUTLINE]
    assert [e.get("name") for e in root.iter("KeyPoint")] == [labeling_config.CLICK]
    assert [e.get("name") for e in root.iter("Rectangle")] == [labeling_config.BOX]
    assert [e.get("name") for e in root.iter("Choices")] == [labeling_config.QUALITY]
    assert [e.get("value") for e in root.iter("Choice")] == [labeling_config.UNUSABLE]
    assert {e.get("toName") for e in root.iter() if e.get("toName")} == {labeling_config.IMAGE}
    assert config_problem(CONFIG) is None


def test_the_folder_of_the_labelling_configuration_holds_no_python_file() -> None:
    folder = Path(__file__).parents[3] / "label_studio"  # one would shadow the server's package of the same name
    assert (folder / "labeling_config.xml").is_file()
    assert not list(folder.rglob("*.py"))


@pytest.mark.parametrize(
    "name",
    [
        labeling_config.IMAGE,
        labeling_config.BRUSH,
        labeling_config.LABEL,
        labeling_config.QUALITY,
        labeling_config.UNUSABLE,
    ],
)
def test_a_configuration_that_lacks_a_name_is_noticed(name: str) -> None:
    assert config_problem(CONFIG.replace(f'"{name}"', '"other"'))


def test_a_configuration_that_is_no_xml_is_noticed() -> None:
    assert "no XML" in (config_problem("<View>") or "")
