"""Connect to the Label Studio of the settings, and find or make its projects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plankseg.config import Settings
from plankseg.errors import ProjectGoneError
from plankseg.labelling.api.protocol import LabelStudio
from plankseg.storage.store import Store

LABELING_CONFIG = Path(__file__).resolve().parents[3] / "label_studio" / "labeling_config.xml"
LONGEST_TITLE = 50  # Label Studio's own limit
VALIDATION_SUFFIX = " validation"
AUDIT_SUFFIX = " audit"


@contextmanager
def connect(settings: Settings) -> Iterator[LabelStudio]:
    """The Label Studio of the settings, checked: it answers and accepts our token. Closed at the end.

    Raises:
        LabelStudioAuthError: no token, or a refused one.
        LabelStudioDownError: no server answers at the address.
    """
    from plankseg.labelling.api.client import LabelStudioClient  # its SDK is slow to load

    client = LabelStudioClient(settings.label_studio_url, settings.required_token())
    with client:
        client.check()
        yield client


def project_of(label_studio: LabelStudio, settings: Settings) -> int:
    """The project of the settings, made from `label_studio/labeling_config.xml` if it is missing."""
    return label_studio.ensure_project(settings.project, LABELING_CONFIG.read_text(encoding="utf-8"))


def project_for(store: Store, label_studio: LabelStudio, settings: Settings) -> int:
    """The project of the settings; made only while nothing was ever pushed into one of that title.

    Raises ProjectGoneError when the one that rounds were pushed into was deleted or renamed.
    """
    pushed = store.pushes.projects(settings.project)
    if pushed and label_studio.find_project(settings.project) not in pushed:
        project, rounds = list(pushed.items())[-1]
        raise ProjectGoneError(
            f"Label Studio project {project} ({settings.project!r}), into which rounds {rounds} were pushed, is gone: "
            "deleted, renamed, or this is another server. Every answer that was collected is safe in the store. Bring "
            "it back, or set PLANKSEG_PROJECT to a new title: the open images of the last round are then pushed there."
        )
    return project_of(label_studio, settings)


def project_of_validation(label_studio: LabelStudio, settings: Settings) -> int:
    """The project for the validation set, named after the one for the rounds; made if it is missing."""
    return label_studio.ensure_project(title_of_validation(settings), LABELING_CONFIG.read_text(encoding="utf-8"))


def title_of_validation(settings: Settings) -> str:
    """Title of the project for the validation set."""
    return _title_with(settings, VALIDATION_SUFFIX)


def project_of_audits(label_studio: LabelStudio, settings: Settings) -> int:
    """The project for masks to be audited, named after the one for the rounds; made if it is missing."""
    return label_studio.ensure_project(title_of_audits(settings), LABELING_CONFIG.read_text(encoding="utf-8"))


def title_of_audits(settings: Settings) -> str:
    """Title of the project for masks to be audited."""
    return _title_with(settings, AUDIT_SUFFIX)


def _title_with(settings: Settings, suffix: str) -> str:
    return settings.project[: LONGEST_TITLE - len(suffix)].rstrip() + suffix
