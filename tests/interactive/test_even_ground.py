"""On even ground a click is answered by the outline at local contrast; elsewhere that is not asked."""

import cv2
import numpy as np

from plankseg.config import AssistConfig
from plankseg.imaging.background import border_statistics
from plankseg.imaging.masks import dice
from plankseg.interactive.even_ground import EVENEST_SPREAD, even_ground_part
from plankseg.interactive.evidence import Evidence
from plankseg.interactive.local_contrast import grey_votes
from plankseg.interactive.prompts import Click, Prompts
from plankseg.interactive.repair import repair_mask


def part_at(
    evidence: Evidence, pixel: tuple[int, int], *, is_positive: bool, most_pale: float = 20_000
) -> np.ndarray | None:
    return even_ground_part(evidence, pixel, is_positive, most_pale=most_pale)


def tailed(ground: int = 250) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark body with a tail of 4 px on white ground: the image, its true mask, and its body alone."""
    body = np.zeros((90, 220), bool)
    body[30:60, 15:50] = True
    truth = body.copy()
    truth[43:47, 50:200] = True
    return np.where(truth, 120, ground).astype(np.uint8), truth, body


def test_one_click_on_a_long_thin_tail_adds_all_of_it() -> None:
    image, truth, body = tailed()
    answer = repair_mask(image, None, body, Prompts((Click(45, 170, True),)), AssistConfig())
    assert dice(answer, truth) > 0.97


def test_a_tail_may_be_many_times_as_large_as_the_body_that_was_found() -> None:
    image, _, body = tailed()
    image[35:55, 60:210] = 120
    found = body.copy()
    found[:, :38] = False
    answer = repair_mask(image, None, found, Prompts((Click(45, 170, True),)), AssistConfig())
    added = answer & ~found
    assert added.sum() > 5 * found.sum()
    assert added[36:54, 62:208].all()


def test_one_alt_click_takes_a_tail_away_and_leaves_the_body() -> None:
    _, truth, _ = tailed()
    without_tail = np.where(truth, 120, 250).astype(np.uint8)
    without_tail[43:47, 50:] = 250
    answer = repair_mask(without_tail, None, truth, Prompts((Click(45, 170, False),)), AssistConfig())
    assert not answer[:, 53:].any()
    assert answer[32:58, 17:48].all()


def test_one_click_on_an_object_starts_its_mask() -> None:
    image, truth, _ = tailed()
    answer = repair_mask(image, None, np.zeros_like(truth), Prompts((Click(45, 30, True),)), AssistConfig())
    assert dice(answer, truth) > 0.97


def test_where_an_object_starts_on_uneven_ground_its_grey_bounds_it() -> None:
    image, truth, _ = tailed()
    noise = np.random.default_rng(0).normal(0, 8, truth.shape)
    noisy = np.clip(image - 40 + noise, 0, 255).astype(np.uint8)
    answer = repair_mask(noisy, None, np.zeros_like(truth), Prompts((Click(45, 30, True),)), AssistConfig())
    assert dice(answer, truth) > 0.8


def test_a_click_on_a_pale_fin_adds_what_no_outline_holds_and_its_blur_beside_the_mask_stays_out() -> None:
    image, truth, body = tailed()
    image[47:57, 60:190] = 243  # 7 grey levels below the ground, the tail 130
    answer = repair_mask(image, None, truth, Prompts((Click(52.5, 120.5, True),)), AssistConfig())
    assert answer[48:56, 62:188].all()
    assert not answer[60:, 60:].any()
    assert part_at(Evidence(image, None, truth), (47, 120), is_positive=True) is None, "a pixel from the mask"
    image[70:80, 120:180] = 249
    assert part_at(Evidence(image, None, body), (75, 150), is_positive=True) is None, "as pale as noise"


def test_nothing_is_said_of_uneven_ground_nor_where_mask_and_outline_agree() -> None:
    image, truth, body = tailed()
    noise = np.random.default_rng(0).normal(0, 8, truth.shape)
    noisy = np.clip(image - 40 + noise, 0, 255).astype(np.uint8)
    assert part_at(Evidence(noisy, None, body), (45, 170), is_positive=True) is None
    assert part_at(Evidence(image, None, body), (80, 170), is_positive=True) is None, "that is ground"
    assert part_at(Evidence(image, None, body), (45, 30), is_positive=False) is None, "that is the body"


def test_a_click_on_a_thin_error_does_not_bring_back_what_was_taken_away() -> None:
    image, truth, _ = tailed()
    image[10:31, 60:90] = 120  # debris that the outline joins with the body by a thread
    image[30:32, 48:62] = 120
    mask = truth.copy()
    mask[30:60, 15] = False  # a column of the body is missing, and nothing of the debris is wanted
    mask[30:32, 15:50] = False
    part = part_at(Evidence(image, None, mask), (45, 15), is_positive=True)
    assert part is not None
    assert part[45, 15]
    assert not part[12:28, 64:86].any()


def test_greys_vote_for_what_looks_like_the_object_and_are_silent_of_too_few_pixels() -> None:
    image, truth, body = tailed()
    part = np.zeros_like(truth)
    part[43:47, 50:80] = True
    votes = grey_votes(Evidence(image, None, body), part, is_positive=True)
    assert votes[45, 150] > 1
    assert votes[80, 150] < -1
    refused = grey_votes(Evidence(image, None, truth), part, is_positive=False)
    assert refused[80, 150] > 1
    assert not grey_votes(Evidence(image, None, np.zeros_like(truth)), np.zeros_like(truth), is_positive=True).any()


def test_a_click_on_shaded_ground_does_not_add_the_ground() -> None:
    rows, columns = np.mgrid[:240, :250]
    shaded = 250 - 3 * columns / 249 + np.random.default_rng(1).normal(0, 1, columns.shape)
    truth = (abs(rows - 120) < 20) & (abs(columns - 60) < 20)
    image = np.where(truth, 120, shaded).clip(0, 255).round().astype(np.uint8)
    answer = repair_mask(image, None, truth, Prompts((Click(200.5, 230.5, True),)), AssistConfig())
    assert (answer & ~truth).sum() <= 3 * truth.sum()
    part = part_at(Evidence(image, None, truth), (200, 230), is_positive=True, most_pale=3.0 * truth.sum())
    assert part is None


def test_the_ground_of_a_small_vignette_is_even_although_the_objects_blur_reaches_its_border() -> None:
    rows, columns = np.mgrid[:30, :30]
    body = np.where(np.hypot(rows - 14.5, columns - 14.5) < 12, 100, 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(body, (0, 0), 2.0)
    assert border_statistics(blurred)[1] > EVENEST_SPREAD
    empty = np.zeros(blurred.shape, bool)
    answer = repair_mask(blurred, None, empty, Prompts((Click(14.5, 14.5, True),)), AssistConfig())
    assert dice(answer, blurred < 215) > 0.95, "a quarter of the contrast"
    grey = np.asarray(blurred - 40)
    assert part_at(Evidence(grey, None, empty), (14, 14), is_positive=True) is None, "its ground is not white"


def test_a_click_near_the_thin_end_of_a_tail_that_widens_slowly_adds_all_of_it() -> None:
    rows, columns = np.mgrid[:100, :260]
    tail = (columns > 40) & (columns < 220) & (abs(rows - 50) < 6 + (columns - 40) / 10)
    image = np.where(tail, 150, 250).astype(np.uint8)
    body = np.zeros_like(tail)
    body[40:60, 220:250] = True
    image[body] = 60
    answer = repair_mask(image, None, body, Prompts((Click(50.5, 130.5, True),)), AssistConfig())
    assert dice(answer, tail | body) > 0.97


def test_a_click_on_a_pale_fin_leaves_the_blur_around_the_body_and_takes_the_arm_of_the_fin() -> None:
    image = np.full((120, 200), 254, np.uint8)
    body, fin = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    body[30:90, 100:160] = True
    fin[50:70, 40:100] = True
    fin[59:62, 10:40] = True  # its arm
    halo = cv2.dilate(body.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    image[halo | fin] = 244
    image[body] = 60
    answer = repair_mask(image, None, body, Prompts((Click(60.5, 70.5, True),)), AssistConfig())
    assert answer[54:66, 44:94].all()
    assert answer[60, 14:40].all()
    assert not answer[35:85, 162:].any(), "the blur behind the body"
