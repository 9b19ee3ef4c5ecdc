"""The simulated person answers like a real one, the same way every time."""

import numpy as np
import pytest

from plankseg.errors import SettingsError
from plankseg.labelling.sync.pull import RoundAnswers, read_round
from plankseg.labelling.sync.push import push_round
from plankseg.labelling.testing.fake import FakeLabelStudio
from plankseg.labelling.testing.simulated_annotator import AnswerCounts, SimulatedAnnotator
from tests.support.labelling_project import CONFIG, Bench, disc, item

SHAPE = (24, 40)
TRUTH = disc(SHAPE)
GOOD, POOR = TRUTH.copy(), disc(SHAPE, 0.15)
GOOD[12, 20] = False
ITEMS = [item(f"img{n}", premask=(GOOD, POOR, None)[n % 3]) for n in range(60)]
PREMASKS = {i.image_id: i.premask for i in ITEMS}


def annotator(**changes: float) -> SimulatedAnnotator:
    return SimulatedAnnotator(lambda _: TRUTH, **changes)  # type: ignore[arg-type]


def fake_with_tasks() -> tuple[FakeLabelStudio, int]:
    fake = FakeLabelStudio()
    project = fake.ensure_project("annotator", CONFIG)
    push_round(fake, project, ITEMS, round=1)
    return fake, project


def pull(ls: FakeLabelStudio, project: int) -> RoundAnswers:
    return read_round(ls.list_tasks(project, 1), round=1, shape_of=lambda _: SHAPE, premask_of=PREMASKS.__getitem__)


def test_good_premasks_are_accepted_poor_ones_redrawn_to_the_truth() -> None:
    fake, project = fake_with_tasks()
    counts = annotator(skip_rate=0, unusable_rate=0).answer_round(fake, project, 1)
    assert (counts.accepted, counts.redrawn, counts.skipped, counts.unusable) == (20, 40, 0, 0)
    answers = {a.image_id: a for a in pull(fake, project).answers}
    for n, pushed in enumerate(ITEMS):
        found = answers[pushed.image_id]
        assert found.origin == ("accepted", "corrected", "drawn")[n % 3]
        assert np.array_equal(found.mask, (GOOD, TRUTH, TRUTH)[n % 3])
        assert found.seconds is not None
        assert (2 <= found.seconds <= 6) if n % 3 == 0 else (25 <= found.seconds <= 60)


def test_more_wrong_pixels_take_longer() -> None:
    fake, project = fake_with_tasks()
    annotator(skip_rate=0, unusable_rate=0).answer_round(fake, project, 1)
    seconds = {a.image_id: a.seconds for a in pull(fake, project).answers}
    assert seconds["img1"] < seconds["img2"] == 60  # a poor pre-mask against none at all


def test_some_are_skipped_and_some_called_unusable() -> None:
    fake, project = fake_with_tasks()
    counts = annotator(skip_rate=0.2, unusable_rate=0.2).answer_round(fake, project, 1)
    pulled = pull(fake, project)
    by_status = {status: sum(a.status == status for a in pulled.answers) for status in ("skipped", "unusable")}
    assert by_status == {"skipped": counts.skipped, "unusable": counts.unusable}
    assert 4 <= counts.skipped <= 24
    assert 4 <= counts.unusable <= 24
    assert not pulled.unanswered


def test_skipping_sends_the_unchanged_premask_along_as_the_interface_does() -> None:
    fake, project = fake_with_tasks()
    annotator(skip_rate=1, unusable_rate=0).answer_round(fake, project, 1)
    for task in fake.list_tasks(project):
        (row,) = task["annotations"]
        assert row["was_cancelled"]
        assert row["result"] == (task["predictions"][0]["result"] if task["predictions"] else [])


def test_what_happens_to_an_image_depends_on_seed_and_image_alone() -> None:
    def outcome(seed: int, order: int) -> dict[str, str]:
        fake = FakeLabelStudio()
        project = fake.ensure_project("annotator", CONFIG)
        push_round(fake, project, ITEMS[::order], round=1)
        annotator(skip_rate=0.3, unusable_rate=0.3, seed=seed).answer_round(fake, project, 1)
        return {a.image_id: f"{a.status} {a.origin} {a.seconds}" for a in pull(fake, project).answers}

    assert outcome(1, 1) == outcome(1, -1)
    assert outcome(1, 1) != outcome(2, 1)


def test_a_sitting_that_breaks_off_is_finished_by_the_next_and_nothing_is_answered_twice() -> None:
    fake, project = fake_with_tasks()
    whole, whole_project = fake_with_tasks()
    person = annotator()
    person.answer_round(whole, whole_project, 1)
    fake.break_after = "create_annotation"
    with pytest.raises(ConnectionError):
        person.answer_round(fake, project, 1)
    counts = person.answer_round(fake, project, 1)
    assert counts.left_alone == 1
    assert [len(task["annotations"]) for task in fake.list_tasks(project)] == [1] * len(ITEMS)
    strip = [(a.image_id, a.status, a.origin, a.seconds) for a in pull(fake, project).answers]
    assert strip == [(a.image_id, a.status, a.origin, a.seconds) for a in pull(whole, whole_project).answers]
    assert person.answer_round(fake, project, 1).left_alone == len(ITEMS)


def test_an_empty_truth_is_answered_with_an_empty_mask() -> None:
    fake, project = fake_with_tasks()
    person = SimulatedAnnotator(lambda _: np.zeros(SHAPE, bool), skip_rate=0, unusable_rate=0)
    person.answer_round(fake, project, 1)
    assert not any(a.mask.any() for a in pull(fake, project).answers if a.mask is not None)


def test_rates_that_are_no_shares_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"0\.7"):
        annotator(skip_rate=0.7, unusable_rate=0.4)


@pytest.mark.live
def test_on_the_real_server_the_person_does_the_same_as_on_the_fake(live: Bench) -> None:
    items = ITEMS[:12]
    fake = FakeLabelStudio()
    project = fake.ensure_project("annotator", CONFIG)
    person = annotator(skip_rate=0.2, unusable_rate=0.2)
    outcomes = []
    for ls, number in ((fake, project), (live.ls, live.project)):
        push_round(ls, number, items, round=1)
        counts = person.answer_round(ls, number, 1)
        answers = pull(ls, number).answers  # type: ignore[arg-type]
        outcomes.append((counts, [(a.image_id, a.status, a.origin, a.seconds) for a in answers]))
    assert outcomes[0] == outcomes[1]


def test_by_clicks_a_mask_is_repaired_where_they_bring_it_far_enough_else_redrawn() -> None:
    fake, project = fake_with_tasks()

    def by_clicks(image_id: str, premask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int]:
        return (GOOD, 2) if premask.any() else (premask, 10)

    person = SimulatedAnnotator(lambda _: TRUTH, skip_rate=0, unusable_rate=0, by_clicks=by_clicks)
    counts = person.answer_round(fake, project, 1)
    assert (counts.accepted, counts.clicked, counts.redrawn) == (20, 20, 20)
    answers = {answer.image_id: answer for answer in pull(fake, project).answers}
    assert [answers[name].tools.clicks for name in ("img0", "img1", "img2")] == [0, 2, 0]
    np.testing.assert_array_equal(answers["img1"].mask, GOOD)
    np.testing.assert_array_equal(answers["img2"].mask, TRUTH)
    assert (answers["img1"].seconds or 0) < (answers["img2"].seconds or 0)


def test_counts_are_told_in_words_without_what_never_happened() -> None:
    assert str(AnswerCounts(accepted=1, redrawn=17, left_alone=2)) == "1 accepted, 17 corrected, 2 left alone"
    assert str(AnswerCounts()) == "nothing was open"
