import hashlib
import subprocess
import sys

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy import ndimage
from skimage.filters import threshold_otsu

from plankseg.errors import SettingsError
from plankseg.imaging.masks import dice
from plankseg.imaging.reading import background_kind, find_footer, read_grey
from plankseg.imaging.synthetic.generator import SMALLEST_PX, SyntheticImage, draw_sample
from plankseg.imaging.synthetic.rasterize import Part, curve, exact_mask, rasterise
from plankseg.imaging.synthetic.taxa import TAXON_SHARES, organism

EIGHT = np.ones((3, 3))
QUICK = 60


@pytest.fixture(scope="module")
def clean() -> list[SyntheticImage]:
    return [draw_sample("clean", seed) for seed in range(QUICK)]


@pytest.fixture(scope="module")
def noisy() -> list[SyntheticImage]:
    return [draw_sample("noisy", seed) for seed in range(QUICK)]


def _mean_dice(samples, threshold) -> float:
    return float(np.mean([dice(s.grey < threshold(s.grey), s.mask) for s in samples]))


def test_a_fixed_threshold_finds_clean_objects_and_fails_on_noisy_ones(clean, noisy):
    assert _mean_dice(clean, lambda _: 243) >= 0.98
    assert min(dice(s.grey < 243, s.mask) for s in clean) >= 0.98
    assert _mean_dice(noisy, lambda _: 243) <= 0.6


def test_otsu_fails_on_noisy_images(noisy):
    assert _mean_dice(noisy, lambda grey: threshold_otsu(grey) + 1) <= 0.7


def test_noisy_objects_are_visible_they_differ_from_the_ground_around_them(noisy):
    for s in noisy:
        # The ground's unevenness is slow and clutter is rare, so medians inside and just outside compare fairly.
        ring = ndimage.binary_dilation(s.mask, EIGHT, iterations=6) & ~ndimage.binary_dilation(s.mask, EIGHT)
        assert np.median(s.grey[ring].astype(float)) - np.median(s.grey[s.mask].astype(float)) >= 8


def test_every_mask_is_one_connected_object_away_from_the_border(clean, noisy):
    for s in (*clean, *noisy):
        assert s.grey.shape == s.mask.shape
        assert ndimage.label(s.mask, EIGHT)[1] == 1
        assert s.mask[1:-1, 1:-1].sum() == s.mask.sum()


def test_clutter_touches_some_masks_and_is_not_part_of_them(noisy):
    touching = 0
    for s in noisy:
        beside = ndimage.binary_dilation(s.mask, EIGHT, iterations=2) & ~ndimage.binary_dilation(s.mask, EIGHT)
        touching += int((s.grey[beside] < 150).any())
    assert touching >= QUICK * 0.35


def test_the_ground_of_clean_images_is_recognised_as_erased_and_of_noisy_ones_as_kept(clean, noisy):
    assert {background_kind(s.grey) for s in clean} == {"erased"}
    assert {background_kind(s.grey) for s in noisy} == {"kept"}


def test_the_grey_image_is_what_a_reader_reads_from_the_jpeg(noisy):
    for s in noisy[:5]:
        np.testing.assert_array_equal(read_grey(s.jpeg), s.grey)


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["clean", "noisy"])
def test_another_process_draws_the_same_bytes(domain):
    code = (
        "import hashlib; from plankseg.imaging.synthetic.generator import draw_sample;"
        f"s = draw_sample('{domain}', 4); print(hashlib.sha256(s.jpeg + s.mask.tobytes()).hexdigest())"
    )
    digests = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(digests) == 1
    s = draw_sample(domain, 4)
    assert digests == {hashlib.sha256(s.jpeg + s.mask.tobytes()).hexdigest().encode() + b"\n"}


def test_seeds_and_domains_give_different_images(clean, noisy):
    assert len({s.jpeg for s in (*clean, *noisy)}) == 2 * QUICK


@pytest.mark.parametrize("longest_px", [SMALLEST_PX, 64])
def test_no_object_is_longer_than_the_side_asked_for(longest_px):
    for seed in range(20):
        rows, columns = np.nonzero(draw_sample("clean", seed, max_side_px=longest_px).mask)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 <= longest_px


def test_objects_have_the_size_asked_for_and_at_least_60_pixels():
    for taxon in TAXON_SHARES:
        for seed in range(5):
            rng = np.random.default_rng(seed)
            mask = exact_mask(
                rasterise(organism(taxon, rng), longest_px=float(SMALLEST_PX), turn=rng.uniform(0, 6)).coverage
            )
            rows, columns = np.nonzero(mask)
            assert SMALLEST_PX - 5 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= SMALLEST_PX
            assert mask.sum() >= 60, taxon


def test_a_footer_is_found_and_never_part_of_the_mask():
    plain = [draw_sample("clean", seed) for seed in range(12)]
    footed = [draw_sample("clean", seed, footer_share=1.0) for seed in range(12)]
    for without, s in zip(plain, footed, strict=True):
        assert find_footer(without.grey) == 0
        assert find_footer(s.grey) == 31
        assert not s.mask[-31:].any()
        np.testing.assert_array_equal(s.mask[:-31], without.mask)


def test_about_the_share_of_clean_images_asked_for_has_a_footer_and_no_noisy_one():
    heights = [draw_sample("clean", s).grey.shape[0] for s in range(40)]
    with_footer = [draw_sample("clean", s, footer_share=0.5).grey.shape[0] for s in range(40)]
    assert 10 <= sum(b == a + 31 for a, b in zip(heights, with_footer, strict=True)) <= 30
    assert draw_sample("noisy", 1, footer_share=1.0).jpeg == draw_sample("noisy", 1).jpeg


def test_taxa_come_about_as_often_as_at_sea(clean, noisy):
    assert sum(TAXON_SHARES.values()) == pytest.approx(1)
    copepods = sum(s.taxon == "copepod" for s in (*clean, *noisy)) / (2 * QUICK)
    assert 0.2 <= copepods <= 0.48
    assert {s.taxon for s in (*clean, *noisy)} <= set(TAXON_SHARES)


@pytest.mark.parametrize("heading", np.linspace(0, np.pi / 2, 7))
def test_a_one_pixel_antenna_stays_in_one_piece(heading):
    antenna = Part(curve(0j, heading, 1.0, bend=0.4), 0.3, 0.01)
    mask = exact_mask(rasterise([antenna], longest_px=60.0, turn=0.0).coverage)
    assert ndimage.label(mask, EIGHT)[1] == 1
    assert mask.sum() <= 60 * 2.5


def test_the_mask_rule_on_a_hand_drawn_4_by_4():
    coverage = np.array(
        [
            [0.50, 0.25, 0.00, 0.00],
            [0.50, 0.00, 0.00, 0.25],
            [0.00, 0.00, 0.25, 0.00],
            [0.00, 0.00, 0.00, 1.00],
        ],
        np.float32,
    )
    # A quarter beside two mask pixels is in; beside one (middle) or none (right) it is out.
    expected = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(exact_mask(coverage), expected)


@pytest.mark.parametrize(
    ("seed", "options", "says"),
    [(-1, {}, "seed"), (0, {"max_side_px": 8}, "at most 8 px"), (0, {"footer_share": 1.5}, "footer is 1.5")],
)
def test_what_cannot_be_drawn_is_refused_with_the_value_seen(seed, options, says):
    with pytest.raises(SettingsError, match=says):
        draw_sample("clean", seed, **options)


def test_an_unknown_domain_is_refused():
    with pytest.raises((ValueError, TypeCheckError)):
        draw_sample("dirty", 0)
