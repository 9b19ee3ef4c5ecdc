"""The project of the settings is found or made; a deleted one stops the loop until a new title is given."""

import pytest

from plankseg.config import Settings
from plankseg.errors import LabelStudioAuthError, ProjectGoneError
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.pipeline.annotation.collect_answers import collect
from plankseg.pipeline.annotation.connection import connect, project_for
from plankseg.pipeline.annotation.push_proposals import PushOptions, push
from plankseg.storage.store import Store
from tests.support.annotation_desk import task_of


def test_without_a_token_the_variable_to_set_is_named() -> None:
    with pytest.raises(LabelStudioAuthError, match="PLANKSEG_LABEL_STUDIO_TOKEN"):
        connect(Settings(label_studio_token=None)).__enter__()


def test_a_deleted_project_stops_the_loop_and_a_new_title_goes_on_with_what_is_open(
    store: Store, server: FakeLabelStudio
) -> None:
    project = project_for(store, server, Settings())
    push(store, server, project, round_number=1)
    first, *others = (row.image_id for row in store.proposals.chosen(1))
    server.create_annotation(task_of(server, project, first), [], lead_time=1.0)
    collect(store, server, project)
    server.delete_project(project)
    with pytest.raises(ProjectGoneError, match=r"rounds \[1\] were pushed, is gone.*PLANKSEG_PROJECT to a new title"):
        project_for(store, server, Settings())
    server.add_project("plankseg", "")  # one that only has the same name is not the one
    with pytest.raises(ProjectGoneError):
        project_for(store, server, Settings())
    new = project_for(store, server, Settings(project="plankseg 2"))
    push(store, server, new, round_number=1, options=PushOptions(title="plankseg 2"))
    assert sorted(task["data"]["image_id"] for task in server.list_tasks(new)) == sorted(others)
    assert project_for(store, server, Settings(project="plankseg 2")) == new
    assert len(store.labels.answered(1)) == 1
