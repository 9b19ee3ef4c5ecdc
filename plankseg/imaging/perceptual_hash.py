"""Perceptual hash (pHash) of an image, and search for near-duplicates.

Saved again, a little smaller, a little darker: the bytes change, the coarse structure does not. The hash is pHash
(Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"): the image as 32 x 32 pixels, its
cosine transform, and for each of the 64 lowest frequencies whether it is above their median. Near-duplicates differ in
few of the 64 bits, different images in about half of them.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Integer, UInt8, UInt16, UInt64

from plankseg.imaging.arrays import Grey

SIDE_PX = 32
KEPT = 8  # frequencies per axis
DIGITS = KEPT * KEPT // 4
BLOCK = 16_384  # hashes that are compared at a time
Hashes = UInt64[np.ndarray, "n"]
References = UInt64[np.ndarray, "m"]


def perceptual_hash(grey: Grey) -> str:
    """The image's pHash as 16 hexadecimal digits; an image without any structure has the hash of a blank one."""
    import cv2  # only now: hashes that are known are compared without it

    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:KEPT, :KEPT].round(2)  # rounded, so that a blank image's zeros are equal
    return np.packbits(low > np.median(low)).tobytes().hex()


def as_numbers(hashes: Iterable[str]) -> Hashes:
    """Hashes as numbers, in their order. Raises ValueError for one that is no 16 hexadecimal digits."""
    texts = list(hashes)
    wrong = next((text for text in texts if len(text) != DIGITS), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:40]!r} is no perceptual hash of {DIGITS} hexadecimal digits; compute it anew.")
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=">u8").astype(np.uint64)


def bits_apart(hashes: Hashes, other: np.uint64) -> UInt8[np.ndarray, "n"]:
    """In how many of the 64 bits each hash differs from another one (Hamming distance)."""
    apart: UInt8[np.ndarray, "n"] = np.bitwise_count(hashes ^ other)
    return apart


def nearest(
    hashes: Hashes, references: References, *, bits: int = 64
) -> tuple[UInt8[np.ndarray, "n"], Integer[np.ndarray, "n"]]:
    """For each hash how many bits the nearest reference is away, and which it is: the first of equally near ones.

    What is more than `bits` away may be reported as 64 bits away, which is faster. Needs a few bytes a hash, however
    many references there are.
    """
    least, which = np.full(len(hashes), 64, dtype=np.uint8), np.zeros(len(hashes), dtype=np.intp)
    candidates = np.flatnonzero(_may_be_near(hashes, references, bits=bits))
    for start in range(0, len(candidates), BLOCK):  # which stay in the processor's cache for all references
        indices = candidates[start : start + BLOCK]
        block, least_here, which_here = hashes[indices], least[indices], which[indices]
        for position, reference in enumerate(references):
            apart = bits_apart(block, reference)
            nearer = apart < least_here
            if nearer.any():
                least_here[nearer], which_here[nearer] = apart[nearer], position
        least[indices], which[indices] = least_here, which_here
    return least, which


def _quarters_near(references: References, *, bits: int) -> Bool[np.ndarray, "4 65536"]:
    """For each quarter of a hash, lowest bits first, whether a reference's is at most a fourth of `bits` away."""
    every = np.arange(1 << 16, dtype=np.uint16)
    changes = every[np.bitwise_count(every) <= bits // 4]
    tables = np.zeros((4, 1 << 16), dtype=bool)
    for table, quarters in zip(tables, _quarters(references).T, strict=True):
        for quarter in np.unique(quarters):
            table[quarter ^ changes] = True
    return tables


def _may_be_near(hashes: Hashes, references: References, *, bits: int) -> Bool[np.ndarray, "n"]:
    """False only where every reference is more than `bits` away.

    Of two hashes at most so many bits apart, one of their four quarters is at most a fourth of that apart.
    """
    near = np.zeros(len(hashes), dtype=bool)
    tables = _quarters_near(references, bits=bits)
    for start in range(0, len(hashes), BLOCK):
        quarters = _quarters(hashes[start : start + BLOCK])
        for table, quarter in zip(tables, quarters.T, strict=True):
            near[start : start + BLOCK] |= table.take(quarter)
    return near


def _quarters(hashes: Hashes) -> UInt16[np.ndarray, "n 4"]:
    """The 16 bits of each quarter, lowest first."""
    return np.ascontiguousarray(hashes).astype("<u8", copy=False).view("<u2").reshape(-1, 4)


def alike(hashes: Hashes, references: References, *, bits: int) -> Bool[np.ndarray, "n"]:
    """True for each hash that is at most so many bits away from some reference."""
    least, _ = nearest(hashes, references, bits=bits)
    near: Bool[np.ndarray, "n"] = (least <= bits) & (len(references) > 0)
    return near
