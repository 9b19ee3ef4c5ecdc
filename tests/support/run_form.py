"""The run form of the real Prefect UI, in which a person starts a flow."""

import re

from playwright.sync_api import Locator, Page, Response

from flows.support.run_forms import OPEN

SHOWN_MS = 60_000  # the first page of a busy server takes its time


def log_in_to_prefect(page: Page, url: str, login: str) -> None:
    """Give the log-in page what it asks for; the browser remembers it."""
    page.goto(url)
    field = page.locator("input[type=password]")
    field.wait_for(timeout=SHOWN_MS)
    field.fill(login)
    page.get_by_role("button", name="Login").click()
    field.wait_for(state="detached", timeout=SHOWN_MS)


class RunForm:
    """The run form of one deployment."""

    def __init__(self, page: Page, url: str, deployment_id: str) -> None:
        self._page = page
        page.goto(f"{url}/deployments/deployment/{deployment_id}/run")
        page.get_by_role("button", name="Submit").wait_for(timeout=SHOWN_MS)

    def write(self, label: str, value: str) -> None:
        """Fill the field of that label."""
        control = self._field(label).locator(".p-base-input__control").first
        control.fill(value)
        control.blur()

    def open(self, label: str) -> None:
        """Show the fields of a group that is closed."""
        self._field(label).locator(".p-button-group").first.get_by_text(OPEN, exact=True).click()

    def text(self) -> str:
        """All that a person reads there."""
        return self._page.locator("form").first.inner_text()

    def height_px(self) -> int:
        """How long the form is."""
        return int(self._page.locator("form").first.evaluate("form => form.scrollHeight"))

    def choose(self, label: str, value: str) -> None:
        """Take an entry of a drop-down."""
        self._field(label).locator(".p-select-button__control").press("Space")  # a click opens it and closes it again
        self._page.locator(".p-select-option").get_by_text(value, exact=True).click()

    def submit(self) -> str:
        """Press the button; the id of the run."""

        def is_run(response: Response) -> bool:
            return response.request.method == "POST" and response.url.endswith("/create_flow_run")

        for _ in range(10):  # a busy server says so, and a person presses again
            with self._page.expect_response(is_run, timeout=SHOWN_MS) as made:
                self._page.get_by_role("button", name="Submit").click()
            if made.value.status != 503:
                break
            self._page.wait_for_timeout(2000)
        assert made.value.status == 201, made.value.text()
        return str(made.value.json()["id"])

    def _field(self, label: str) -> Locator:
        title = self._page.locator(".schema-form-property__label").filter(
            has_text=re.compile(rf"^\s*{re.escape(label)}( \(Optional\))?\s*$")
        )
        return title.locator("xpath=ancestor::div[contains(concat(' ', @class, ' '), ' schema-form-property ')][1]")
