"""One odd number in a page of tasks does not cost the page."""

import json

import httpx
import pytest

from plankseg.labelling.api.transport import _parsed


def test_the_page_of_tasks_survives_an_integer_that_python_refuses() -> None:
    text = f'{{"tasks": [{{"id": 7, "lead_time": {"9" * 5000}}}]}}'
    with pytest.raises(ValueError, match="digits"):
        json.loads(text)
    assert _parsed(httpx.Response(200, text=text))["tasks"][0] == {"id": 7, "lead_time": float("inf")}
