"""Runs the step of `propose` that scores and chooses, without Label Studio, in a process of its own.

usage: choose_once.py RECIPE     (JSON)
"""

import sys

from prefect import flow

from flows.propose import choose
from plankseg.config import Recipe


@flow(name="choose-once")
def choose_once(recipe: Recipe) -> None:
    """Round 1."""
    choose(recipe, 1)


if __name__ == "__main__":
    choose_once(Recipe.model_validate_json(sys.argv[1]))
