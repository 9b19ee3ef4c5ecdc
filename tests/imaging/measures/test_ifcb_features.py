"""Volumes of bodies whose volume is known, and the figures of ifcb-features on a real bin."""

import csv
import io
import zipfile
from math import pi
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plankseg.imaging.measures.biovolume import biovolume
from plankseg.imaging.measures.ifcb_features import COLUMNS, slim_features


def ellipse(long: float, short: float, angle: float = 0.0, side: int = 161) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    return (along / long) ** 2 + (across / short) ** 2 <= 1


@pytest.mark.parametrize("radius", [12, 30, 60])
def test_a_disc_is_a_sphere(radius: int) -> None:
    found = biovolume(ellipse(radius, radius))
    assert found.method == "solid of revolution"
    assert found.volume_px3 == pytest.approx(4 / 3 * pi * radius**3, rel=0.06)
    assert found.surface_px2 == pytest.approx(4 * pi * radius**2, rel=0.12)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.0, pi / 2, 2.5])
def test_an_ellipse_is_an_ellipsoid_in_whatever_direction(angle: float) -> None:
    found = biovolume(ellipse(70, 25, angle))
    assert found.volume_px3 == pytest.approx(4 / 3 * pi * 70 * 25**2, rel=0.05)
    assert found.width_px == pytest.approx(25 * pi / 2, rel=0.12), "the tips of one that lies askew are cut off"


def test_a_body_with_arms_is_measured_by_distances_and_less_than_its_hull_would_be() -> None:
    cross = np.zeros((101, 101), bool)
    cross[45:56, 5:96] = cross[5:96, 45:56] = True
    found = biovolume(cross)
    assert found.method == "distance map"
    rods = 2 * pi * 5.5**2 * 91 - 11**3
    assert found.volume_px3 == pytest.approx(rods, rel=0.15)


def test_only_the_largest_part_counts_and_an_empty_mask_has_no_volume() -> None:
    mask = ellipse(20, 20)
    alone = biovolume(mask)
    mask[:3, :3] = True
    assert biovolume(mask) == alone
    assert biovolume(np.zeros((5, 5), bool)) is None
    with pytest.raises(ValueError, match="empty mask has no features"):
        slim_features(np.zeros((5, 5), bool))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (2, 2), (2, 9), (3, 3)])
def test_the_smallest_masks_have_finite_features(shape: tuple[int, int]) -> None:
    mask = np.zeros((12, 12), bool)
    mask[1 : 1 + shape[0], 2 : 2 + shape[1]] = True
    found = slim_features(mask)
    assert tuple(found) == COLUMNS
    assert np.isfinite(list(found.values())).all()
    assert min(value for name, value in found.items() if name not in {"Orientation", "Eccentricity"}) >= 0


def test_parts_are_counted_and_added_up() -> None:
    mask = ellipse(20, 20)
    mask[2:8, 2:6] = True
    found, part = slim_features(mask), slim_features(np.pad(np.ones((6, 4), bool), 2))
    assert found["numBlobs"] == 2
    for name in ("Area", "Biovolume", "Perimeter", "SurfaceArea"):
        assert found[f"summed{name}"] == pytest.approx(found[name] + part[name])


def test_a_real_bin_has_the_figures_of_ifcb_features(real_data: Path) -> None:
    golden = real_data / "ifcb-mit" / "golden"
    with (golden / "IFCB5_2012_028_081515_features_v4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0])[1:] == COLUMNS
    with zipfile.ZipFile(golden / "IFCB5_2012_028_081515_blobs_v4.zip") as archive:
        for row in rows:
            (name,) = (n for n in archive.namelist() if n.endswith(f"_{int(row['roi_number']):05d}.png"))
            found = slim_features(np.asarray(Image.open(io.BytesIO(archive.read(name)))) > 0)
            assert found == pytest.approx({name: float(row[name]) for name in COLUMNS}, rel=1e-4), row["roi_number"]
