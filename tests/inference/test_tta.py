import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plankseg.config import QueryConfig
from plankseg.inference.tta import View, dihedral_views, recipe_views, views_of

pytestmark = pytest.mark.slow

GEOMETRIC = [*dihedral_views(), *recipe_views(0.0)]
IDS = ["a", "b"]


def grey(h: int, w: int, *, n: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, h, w), dtype=np.uint8))


def noise_view(sd: float, seed: int = 0) -> View:
    return next(view for view in recipe_views(sd, seed=seed) if view.name == "noise")


@pytest.mark.parametrize("view", GEOMETRIC, ids=lambda view: view.name)
@given(h=st.integers(1, 9), w=st.integers(1, 9))
def test_undo_after_do_is_identity_on_rectangles(view: View, h: int, w: int) -> None:
    squares = grey(h, w)
    assert torch.equal(view.undo(view.do(squares, IDS).float()), squares.float())


def test_recipe_views_do_what_their_names_say() -> None:
    squares = grey(2, 3)
    seen = {view.name: view.do(squares, IDS).numpy() for view in recipe_views(0.02)}
    plain = squares.numpy()
    assert list(seen) == ["identity", "horizontal_flip", "vertical_flip", "rotation_90", "noise"]
    assert np.array_equal(seen["identity"], plain)
    assert np.array_equal(seen["horizontal_flip"], plain[:, :, ::-1])
    assert np.array_equal(seen["vertical_flip"], plain[:, ::-1, :])
    assert np.array_equal(seen["rotation_90"], np.rot90(plain, 1, (1, 2)))
    assert seen["rotation_90"].shape == (2, 3, 2)


def test_the_turn_is_not_undone_by_the_same_turn() -> None:
    turn = next(view for view in recipe_views(0.0) if view.name == "rotation_90")
    squares = grey(4, 4)
    assert not torch.equal(turn.do(turn.do(squares, IDS), IDS), squares)


def test_the_eight_dihedral_views_are_eight_different_pictures() -> None:
    squares = grey(3, 3)
    pictures = {view.do(squares, IDS).numpy().tobytes() for view in dihedral_views()}
    assert len(pictures) == len({view.name for view in dihedral_views()}) == 8


def test_noise_of_an_image_depends_on_its_id_and_the_seed_alone() -> None:
    first, second = grey(6, 5, n=1, seed=1), grey(6, 5, n=1, seed=2)
    view = noise_view(0.05)
    together = view.do(torch.cat([first, second]), ["first", "second"])
    swapped = view.do(torch.cat([second, first]), ["second", "first"])
    assert torch.equal(together[:1], view.do(first, ["first"]))
    assert torch.equal(together[0], swapped[1])
    assert not torch.equal(together[0], view.do(first, ["another"])[0])
    assert not torch.equal(together[0], noise_view(0.05, seed=1).do(first, ["first"])[0])


def test_noise_has_the_asked_spread_in_grey_values_and_stays_in_range() -> None:
    middle = torch.full((1, 200, 200), 128, dtype=torch.uint8)
    spread = (noise_view(0.02).do(middle, ["a"]).float() - 128).std().item()
    assert spread == pytest.approx(0.02 * 255, rel=0.03)  # 40,000 pixels: the standard error is 0.35 %
    white = torch.full((1, 200, 200), 255, dtype=torch.uint8)
    assert noise_view(0.02).do(white, ["a"]).min() > 200  # clipped, not wrapped round to black


def test_noise_is_left_in_place_by_undo() -> None:
    maps = torch.rand(2, 3, 4)
    assert torch.equal(noise_view(0.1).undo(maps), maps)


def test_the_recipe_decides_which_views_and_which_noise() -> None:
    assert len(views_of(QueryConfig(views="recipe"))) == 5
    assert [view.name for view in views_of(QueryConfig(views="dihedral"))] == [v.name for v in dihedral_views()]
    squares = grey(5, 5)
    by_seed = [views_of(QueryConfig(seed=seed))[-1].do(squares, IDS) for seed in (0, 0, 7)]
    assert torch.equal(by_seed[0], by_seed[1])
    assert not torch.equal(by_seed[0], by_seed[2])
