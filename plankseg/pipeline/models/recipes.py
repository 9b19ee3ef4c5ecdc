"""The recipe that a model was trained with, and the one in force."""

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError

from plankseg.config import Recipe
from plankseg.errors import SettingsError
from plankseg.storage.store import Store
from plankseg.storage.tables.models import ModelRow

if TYPE_CHECKING:
    from plankseg.imaging.framing import Framing
    from plankseg.imaging.postprocessing import Postprocessing


def recipe_in_force(store: Store) -> Recipe:
    """The recipe the active model was trained with, which later steps go on with; the defaults before there is one."""
    active = store.models.active()
    return recipe_of(active) if active else Recipe()


def framing_of(model: ModelRow) -> "Framing":
    """How a model's images are laid into squares."""
    from plankseg.imaging.framing import Framing  # loads OpenCV, which a look at the status must not

    return Framing(model.side_px, recipe_of(model).training.largest_zoom)


def postprocessing_of(model: ModelRow) -> "Postprocessing":
    """What is done to a model's masks wherever they are made."""
    from plankseg.imaging.postprocessing import Postprocessing  # loads OpenCV, which a look at the status must not

    return Postprocessing.recorded(json.loads(model.metrics))


def recipe_of(model: ModelRow) -> Recipe:
    """The recipe a model was trained with. Raises SettingsError for one that this plankseg does not know."""
    try:
        return Recipe.model_validate_json(model.recipe)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(
            f"The recipe of model {model.round} cannot be used: {'.'.join(map(str, first['loc']))}: {first['msg']}. "
            "Another plankseg trained it: go on with that one, or begin a new store."
        ) from error
