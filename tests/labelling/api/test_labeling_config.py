"""The names in the code are those of the labelling configuration, and a configuration without them is noticed."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from plankseg.labelling.api import labeling_config
from plankseg.labelling.api.labeling_config import config_problem, upgraded_config
from tests.support.labelling_project import CONFIG

AS_SHIPPED = Path(__file__).parents[2] / "stores" / "labeling_config_1715021.xml"


def test_the_names_in_code_are_those_in_the_labelling_configuration() -> None:
    root = ElementTree.fromstring(CONFIG)
    assert [(e.get("name"), e.get("value")) for e in root.iter("Image")] == [
        (labeling_config.IMAGE, f"${labeling_config.IMAGE}")
    ]
    assert [e.get("name") for e in root.iter("BrushLabels")] == [labeling_config.BRUSH]
    assert [e.get("alias") for e in root.iter("Label")] == [labeling_config.LABEL, labeling_config.OUTLINE_LABEL]
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


def test_a_label_is_known_by_what_answers_hold_not_by_what_its_button_says() -> None:
    shown_only = CONFIG.replace('value="mask" alias="plankton"', 'value="plankton" alias="animal"')
    assert "Label[@value='plankton']" in (config_problem(shown_only) or "")
    assert config_problem(CONFIG.replace('value="mask" alias="plankton"', 'value="plankton"')) is None


def test_a_configuration_that_is_no_xml_is_noticed() -> None:
    assert "no XML" in (config_problem("<View>") or "")


# --- upgrade ---------------------------------------------------------------------------------------------------------

EARLIER = """<View>
  <Header value="Ours, changed by a person"/> <!-- a note -->
  <View style="display: flex">
    <BrushLabels name="mask" toName="image">
      <Label value="plankton" background="#00ff00"/>
    </BrushLabels>
    <Choices name="quality" toName="image"><Choice value="unusable"/></Choices>
  </View>
  <TextArea name="remark" toName="image"/>
  <Image name="image" value="$image"/>
</View>"""


def test_a_configuration_that_a_person_changed_gets_the_controls_it_lacks_and_keeps_everything() -> None:
    assert config_problem(EARLIER) is None
    upgraded = upgraded_config(EARLIER, CONFIG)
    root = ElementTree.fromstring(upgraded)
    assert [e.get("name") for e in root.iter() if e.get("toName")] == [
        *("mask", "outline", "click", "box"),
        *("quality", "remark"),
    ]
    for kept in ("Ours, changed by a person", "<!-- a note -->", "#00ff00", 'name="remark"'):
        assert kept in upgraded
    assert upgraded_config(upgraded, CONFIG) == upgraded


def test_the_newest_configuration_stays_to_the_byte() -> None:
    assert upgraded_config(CONFIG, CONFIG) == CONFIG


def test_a_configuration_that_an_earlier_plankseg_made_becomes_the_newest() -> None:
    yesterdays = (Path(__file__).parents[2] / "stores" / "labeling_config_befe71b.xml").read_text(encoding="utf-8")
    assert upgraded_config(yesterdays, CONFIG) == CONFIG, "it lacks no control, but has other words"
    assert upgraded_config(AS_SHIPPED.read_text(encoding="utf-8"), CONFIG) == CONFIG
