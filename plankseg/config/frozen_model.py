"""A pydantic model that cannot be changed, whose fields have titles that people read."""

from pydantic import BaseModel, ConfigDict


def field_title(name: str, _: object = None) -> str:
    """A field's name as the run form shows it: 'side_px_per_round' becomes 'Side per round (px)'."""
    words = name.split("_")
    unit = " (px)" if "px" in words else ""
    return " ".join(word for word in words if word != "px").capitalize() + unit


class FrozenModel(BaseModel):
    """A pydantic model that cannot be changed and refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=field_title)
