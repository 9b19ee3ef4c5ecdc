"""Names of the controls in `label_studio/labeling_config.xml`, the check that a project has them, and its upgrade."""

import hashlib
from xml.etree import ElementTree

IMAGE = "image"
BRUSH = "mask"
LABEL = "plankton"
QUALITY = "quality"
UNUSABLE = "unusable"
OUTLINE = "outline"
OUTLINE_LABEL = "outline"
CLICK = "click"
BOX = "box"


def config_problem(labeling_config: str) -> str | None:
    """What a labelling configuration lacks for our tasks and answers; None when it has all five names.

    A label's `alias`, where it has one, is its name in answers; `value` is then what people see.
    """
    try:
        root = ElementTree.fromstring(labeling_config)  # noqa: S314  our own file, or our own server's
    except ElementTree.ParseError as error:
        return f"it is no XML ({error})"
    image = f"Image[@name='{IMAGE}'][@value='${IMAGE}']"
    if root.find(f".//{image}") is None:
        return f"it has no {image}"
    for path, name in (
        (f"BrushLabels[@name='{BRUSH}'][@toName='{IMAGE}']/Label", LABEL),
        (f"Choices[@name='{QUALITY}'][@toName='{IMAGE}']/Choice", UNUSABLE),
    ):
        if name not in (element.get("alias") or element.get("value") for element in root.iterfind(f".//{path}")):
            return f"it has no {path}[@value='{name}']"
    return None


# Later controls, which a project of an earlier plankseg lacks: tag and name.
LATER = (("PolygonLabels", OUTLINE), ("KeyPoint", CLICK), ("Rectangle", BOX))
# Configurations that earlier versions of plankseg made projects from, by the SHA-256 of their elements.
EARLIER = (
    "548b4f72365d23c09bb485c016de3604e1221292e69ae84463428a6900b0cc33",
    "7842a531d9ce96f168609b68ff53bdc449df105ebd31bc8a51a822626fb21343",
    "8f7fe33db8c6c500b16f607743bf33cca5ef47b089a733eb0b02de9b4c3e345c",
    "23f6aa0bf4b3888c49cc876e6aa46782e769f08b16cca0371602e56c6ad6d684",
    "bcc111b53bfc8cd25e26b6cf961755e5200336123d9d24db5ccc3a18504f58f2",
    "cc56de7454c5d9d8924c24bbaf818299a90636424d62ae4159707db9e523546e",
    "9f8db560adf42dca1e7ea6f344569cfe4a7b14ffd140832b58b17054347b299a",
    "9b7dcbe6d22efb0a337654488780f32dca1fbce185adb925b7eba5282d184712",
)


def upgraded_config(given: str, newest: str) -> str:
    """A usable configuration with the controls of `newest` that it lacks; the same text where it lacks none.

    One that an earlier plankseg made becomes the newest one, with its words and labels. In one that a person changed,
    everything stays, and the controls are added behind the brush's.
    """
    if _digest(given) in EARLIER:
        return newest
    root = ElementTree.fromstring(given, ElementTree.XMLParser(target=_with_comments()))  # noqa: S314  our own server's
    missing = [(tag, name) for tag, name in LATER if root.find(f".//{tag}[@name='{name}']") is None]
    if not missing:
        return given
    parent = next(element for element in root.iter() if element.find(f"BrushLabels[@name='{BRUSH}']") is not None)
    brush = _found(parent, "BrushLabels", BRUSH)
    brush.attrib.setdefault("smart", "false")  # Label Studio's own smart brush asks for nothing that we answer
    behind = list(parent).index(brush) + 1
    source = ElementTree.fromstring(newest)  # noqa: S314  our own file
    for offset, (tag, name) in enumerate(missing):
        parent.insert(behind + offset, _found(source, f".//{tag}", name))
    return ElementTree.tostring(root, encoding="unicode")


def _with_comments() -> ElementTree.TreeBuilder:
    return ElementTree.TreeBuilder(insert_comments=True)


def _found(root: ElementTree.Element, path: str, name: str) -> ElementTree.Element:
    found = root.find(f"{path}[@name='{name}']")
    assert found is not None, f"the labelling configuration has no {path} {name}"
    return found


def _digest(config: str) -> str:
    """Digest of a configuration's elements and attributes; spaces between elements and comments do not count."""
    root = ElementTree.fromstring(config)  # noqa: S314  our own file, or our own server's
    facts = [(element.tag, sorted(element.attrib.items()), (element.text or "").strip()) for element in root.iter()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
