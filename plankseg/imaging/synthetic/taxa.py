"""Shapes of the ten synthetic taxa, head towards +x, about one unit long.

Densities follow scanned vignettes: bodies .5 to 1.3, egg rims .1 to .5, gelatinous bodies .05 to .16, antennae .12
to .4. Shapes are drawn from memory of the animals, not traced from anybody's pictures.
"""

from collections.abc import Callable

import numpy as np

from plankseg.imaging.synthetic.rasterize import Part, Path, curve, ellipse, ribbon, rough

TAXON_SHARES = {
    "copepod": 0.34,
    "egg": 0.25,
    "detritus": 0.14,
    "chaetognath": 0.07,
    "appendicularia": 0.05,
    "gelatinous": 0.05,
    "nauplius": 0.04,
    "ostracod": 0.03,
    "pteropod": 0.02,
    "zoea": 0.01,
}
"""About how often each is met at sea; they sum to 1."""

_SIDES = (1, -1)


def draw_taxon(rng: np.random.Generator) -> str:
    """Draw a taxon as often as the sea has it."""
    return str(rng.choice(list(TAXON_SHARES), p=list(TAXON_SHARES.values())))


def organism(taxon: str, rng: np.random.Generator) -> list[Part]:
    """Draw one individual of a taxon of `TAXON_SHARES`; parts overlap, so that it is one connected object."""
    return _DRAWERS[taxon](rng)


def _copepod(rng: np.random.Generator) -> list[Part]:
    body, limb, girth = rng.uniform(0.5, 1.3), rng.uniform(0.12, 0.4), rng.uniform(0.1, 0.16)
    sweep, bend, reach = rng.uniform(1.1, 1.7), rng.uniform(0, 1.2), rng.uniform(0.4, 0.8)
    parts = []
    for side in _SIDES:
        base = 0.4 + side * 0.3j * girth
        parts.append(Part(curve(base, side * sweep, reach, bend=side * bend), limb, 0.014))
        parts.append(Part(curve(-0.42 + 0j, np.pi - side * 0.35, 0.13, bend=0.0), limb, 0.02))  # furca
    for at in np.linspace(0.25, -0.05, rng.integers(3, 6)):  # swimming legs hang on one side
        parts.append(Part(curve(at + 0j, -1.9, girth * rng.uniform(1.3, 1.9), bend=-0.5), body * 0.5, 0.018))
    tail = np.linspace(-0.1, -0.45, 12)
    parts.append(Part(ribbon(tail + 0j, np.linspace(0.05, 0.025, 12)), body * 0.75))
    front = np.linspace(0, 1, 40)
    prosome = ribbon(-0.2 + 0.68 * front + 0j, girth * np.sin(np.pi * front**0.85) ** 0.6)
    parts.append(Part(prosome, body))
    parts += [Part(np.array([at - 0.6j * girth, at + 0.6j * girth]), body * 1.25, 0.012) for at in (-0.1, -0.02, 0.06)]
    if rng.random() < 0.4:  # oil sac
        parts.append(Part(ellipse(0.12 + 0j, 0.26, girth * 0.6), body * 0.5))
    return parts


def _egg(rng: np.random.Generator) -> list[Part]:
    rim, width = rng.uniform(0.1, 0.5), float(rng.choice([1.0, 1.0, 0.6]))  # anchovy eggs are long, most are round
    shell = ellipse(0j, 1.0, width)
    parts = [Part(shell, rim * 0.45), Part(np.append(shell, shell[:2]), rim, rng.uniform(0.04, 0.08))]
    if rng.random() < 0.6:
        yolk = rng.uniform(0.3, 0.7)
        shift = complex(rng.normal(0, 0.05), rng.normal(0, 0.03))
        parts.append(Part(rough(ellipse(shift, yolk, yolk * width), 0.02, rng), rim * 1.3 + 0.1))
    return parts


def _detritus(rng: np.random.Generator) -> list[Part]:
    parts, at = [], 0j
    for _ in range(rng.integers(4, 9)):
        length, density = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.9)
        flake = ellipse(at, length, length * rng.uniform(0.4, 0.9), turn=rng.uniform(0, np.pi))
        parts.append(Part(rough(flake, 0.22, rng, waves=12), density))
        parts.append(Part(curve(at, rng.uniform(0, 6.3), length * 0.8, bend=rng.normal(0, 1.5)), density, 0.025))
        at += length * 0.35 * np.exp(1j * rng.uniform(0, 2 * np.pi))
    return parts


def _chaetognath(rng: np.random.Generator) -> list[Part]:
    body, girth, bend = rng.uniform(0.15, 0.5), rng.uniform(0.03, 0.045), rng.normal(0, 0.7)
    spine = curve(0j, 0.0, 1.0, bend=bend, points=60)
    along = np.linspace(0, 1, 60)
    trunk = ribbon(spine, girth * np.minimum(1, 0.35 + 1.6 * along))
    parts = []
    for low, high, wide in ((0, 9, 2.6), (14, 25, 2.0), (28, 40, 1.9)):  # tail fin, rear fins, front fins
        fin = np.sin(np.linspace(0.35, np.pi, high - low))
        parts.append(Part(ribbon(spine[low:high], girth * wide * fin), body * 0.45))
    parts += [Part(trunk, body), Part(spine[4:52], body * 1.6, 0.012)]
    heading = float(np.angle(spine[-1] - spine[-2]))
    for side in _SIDES:  # grasping hooks
        parts.append(Part(curve(spine[-2], heading + side * 0.6, 0.05, bend=-side * 0.8, points=8), body * 1.5, 0.01))
    return [*parts, Part(ellipse(spine[-3], 0.09, girth * 2.7, turn=heading), body * 1.8 + 0.2)]


def _appendicularia(rng: np.random.Generator) -> list[Part]:
    body, tail = rng.uniform(0.5, 1.3), rng.uniform(0.12, 0.4)
    heading = np.pi + rng.uniform(0.4, 1.3)  # the tail leaves the trunk at an angle
    wave = np.linspace(0, 2 * np.pi, 60) * rng.uniform(0.5, 1.1)
    spine = curve(0.05 + 0j, heading, 0.85, bend=rng.uniform(-1.6, 0.4), points=60)
    along = np.gradient(spine)
    spine = spine + 1j * along / np.abs(along) * 0.05 * np.sin(wave) * np.linspace(0, 1, 60)
    width = 0.05 * np.sin(np.linspace(0.5, np.pi - 0.15, 60)) ** 0.5
    return [
        Part(ribbon(spine, width), tail),
        Part(spine, tail * 2.2, 0.018),
        Part(rough(ellipse(0.1 + 0j, 0.26, 0.17), 0.04, rng), body),
        Part(ellipse(0.03 - 0.02j, 0.09, 0.08), body * 1.3),
    ]


def _gelatinous(rng: np.random.Generator) -> list[Part]:
    jelly, depth = rng.uniform(0.05, 0.16), rng.uniform(0.35, 0.6)
    half = np.linspace(-np.pi / 2, np.pi / 2, 48)
    dome = depth * np.cos(half) + 0.5j * np.sin(half)
    bell = np.concatenate([dome, [0.04 + 0.3j, 0.06 + 0j, 0.04 - 0.3j]])
    parts = []
    for base in np.linspace(-0.4, 0.4, rng.integers(5, 10)):
        length, bend = rng.uniform(0.2, 0.55), rng.normal(0, 0.6)
        parts.append(Part(curve(0.07 + 1j * base, np.pi, length, bend=bend), jelly * 1.6, 0.012))
    parts += [Part(bell, jelly), Part(np.append(bell, bell[:1]), jelly * 2.5, 0.025)]
    for side in (*_SIDES, 0):  # gonads around the stomach
        parts.append(Part(ellipse(0.5 * depth + 0.17j * side, 0.13, 0.08, turn=side * 0.8), rng.uniform(0.3, 0.6)))
    return [*parts, Part(np.array([0.5 * depth, 0.08 + 0j]), jelly * 3, 0.05)]


def _nauplius(rng: np.random.Generator) -> list[Part]:
    body, limb = rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.5)
    parts = []
    for side in _SIDES:
        for heading, at in ((0.7, 0.22), (1.5, 0.1), (2.2, 0.0)):  # three pairs of limbs, each forked into bristles
            base, length = at + 0.12j * side, rng.uniform(0.26, 0.38)
            turn = side * (heading + rng.normal(0, 0.12))
            arm = curve(base, turn, length, bend=side * 0.3)
            parts.append(Part(arm, limb, 0.05))
            parts += [Part(curve(arm[-2], turn + fork, 0.14, bend=0.0), limb * 0.7, 0.014) for fork in (-0.2, 0.35)]
        parts.append(Part(curve(-0.25 + 0j, np.pi - side * 0.25, 0.2, bend=0.0), limb, 0.022))
    shield = np.linspace(0, 1, 40)
    pear = ribbon(-0.32 + 0.66 * shield + 0j, 0.21 * np.sin(np.pi * shield**1.4) ** 0.6)
    return [*parts, Part(pear, body), Part(ellipse(0.24 + 0j, 0.07, 0.07), body + 0.7)]  # the single eye


def _ostracod(rng: np.random.Generator) -> list[Part]:
    body, height = rng.uniform(0.7, 1.3), rng.uniform(0.55, 0.7)
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    # A bean: the lower edge is flattened, with the notch that antennae leave through at the front.
    edge = np.where(np.sin(angle) < 0, 0.62, 1.0)
    notch = 1 - 0.22 * np.exp(-(((angle - 5.75) / 0.16) ** 2))
    valve = (0.5 * np.cos(angle) + 0.5j * height * edge * np.sin(angle)) * notch
    antennae = [
        Part(curve(0.3 - 0.12j, -0.35 - 0.2 * k, rng.uniform(0.3, 0.42), bend=-0.5), body * 0.35, 0.016)
        for k in range(3)
    ]
    inner = Part(valve * 0.86 + 0.01j, body * 0.75)
    return [*antennae, Part(valve, body), inner, Part(ellipse(-0.05 + 0.05j, 0.2, 0.15), body * 1.2)]


def _pteropod(rng: np.random.Generator) -> list[Part]:
    shell, wing = rng.uniform(0.6, 1.2), rng.uniform(0.12, 0.35)
    turn = np.linspace(0, 2.3 * 2 * np.pi, 120)
    radius = 0.3 * np.exp(-0.16 * turn)
    spiral = radius * np.exp(-1j * turn)
    parts = []
    for side in _SIDES:  # two wings leave the opening of the shell
        spine = curve(0.22 + 0.05j, 0.7 + side * rng.uniform(0.5, 0.75), 0.5, bend=-side * 0.3)
        parts.append(
            Part(ribbon(spine, 0.13 * np.linspace(0.25, 1, 24) ** 0.8 * np.cos(np.linspace(0, 1.5, 24)) ** 0.4), wing)
        )
    disc: Path = spiral[:53] * 1.12  # the outermost turn
    return [
        *parts,
        Part(disc, shell * 0.6),
        Part(spiral, shell * 1.4, 0.045),
        Part(ellipse(0.27 + 0j, 0.18, 0.22), shell),
    ]


def _zoea(rng: np.random.Generator) -> list[Part]:
    body, spine_length = rng.uniform(0.5, 1.1), rng.uniform(0.35, 0.55)
    abdomen = curve(-0.12 - 0.05j, np.pi + 0.5, 0.62, bend=rng.uniform(0.6, 1.6), points=36)
    width = 0.045 + 0.012 * np.cos(np.linspace(0, 12 * np.pi, 36))  # segments
    heading = float(np.angle(abdomen[-1] - abdomen[-2]))
    parts = [Part(curve(-0.05 + 0.1j, 1.9, spine_length, bend=0.5), body * 0.7, 0.035)]  # dorsal spine
    parts.append(Part(curve(0.15 - 0.02j, -0.9, spine_length * 0.7, bend=-0.3), body * 0.7, 0.03))  # rostrum
    for side in _SIDES:
        parts.append(
            Part(curve(abdomen[-2], heading + side * 0.45, 0.17, bend=-side * 0.3), body * 0.8, 0.03)
        )  # telson
    for heading_leg in (-1.3, -1.7, -2.1):
        parts.append(Part(curve(-0.02 - 0.1j, heading_leg, 0.28, bend=0.5), body * 0.5, 0.03))
    parts += [Part(ribbon(abdomen, width), body * 0.8), Part(rough(ellipse(0j, 0.42, 0.34), 0.03, rng), body)]
    return [*parts, Part(ellipse(0.13 + 0.03j, 0.11, 0.11), body + 0.7)]  # the large eye


_DRAWERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "copepod": _copepod,
    "egg": _egg,
    "detritus": _detritus,
    "chaetognath": _chaetognath,
    "appendicularia": _appendicularia,
    "gelatinous": _gelatinous,
    "nauplius": _nauplius,
    "ostracod": _ostracod,
    "pteropod": _pteropod,
    "zoea": _zoea,
}
