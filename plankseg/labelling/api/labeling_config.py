"""Names of the controls in `label_studio/labeling_config.xml`, and the check that a project has them."""

from xml.etree import ElementTree

IMAGE = "image"
BRUSH = "mask"
LABEL = "plankton"
QUALITY = "quality"
UNUSABLE = "unusable"


def config_problem(labeling_config: str) -> str | None:
    """What a labelling configuration lacks for our tasks and answers; None when it has all five names."""
    try:
        root = ElementTree.fromstring(labeling_config)  # noqa: S314  our own file, or our own server's
    except ElementTree.ParseError as error:
        return f"it is no XML ({error})"
    for path in (
        f".//Image[@name='{IMAGE}'][@value='${IMAGE}']",
        f".//BrushLabels[@name='{BRUSH}'][@toName='{IMAGE}']/Label[@value='{LABEL}']",
        f".//Choices[@name='{QUALITY}'][@toName='{IMAGE}']/Choice[@value='{UNUSABLE}']",
    ):
        if root.find(path) is None:
            return f"it has no {path.removeprefix('.//')}"
    return None
