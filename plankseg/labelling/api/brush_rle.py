"""Encode and decode masks in Label Studio's brush run-length code.

The wire form is thi.ng's rle-pack, as Label Studio's interface writes it: 32 bits number of values, 5 bits word size,
four times 4 bits of length sizes, then tokens; every pixel is four values (RGBA), so an `h x w` mask has `h * w * 4`
values. The SDK's `decode_rle` is not used: it trusts the size that the header announces, reads past the end without
an error, and costs four seconds of imports.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

from plankseg.errors import BrushError
from plankseg.imaging.arrays import Mask

CHANNELS = 4
ALPHA_THRESHOLD = 128  # brush edges are anti-aliased: half covered counts as covered
PAINTED = 255  # a 0/1 mask would show as an invisible region
LENGTH_SIZES = (3, 4, 8, 16)
LONGEST_RUN = 1 << LENGTH_SIZES[-1]
WORD_BITS = 8
HEADER_FIELDS = (32, 5, 4, 4, 4, 4)  # bits of: number of values, word size - 1, the four length sizes - 1
HEADER_BITS = sum(HEADER_FIELDS)
LONGEST_TOKEN_BITS = 1 + 2 + 16 + WORD_BITS
_LONGEST = tuple(1 << size for size in LENGTH_SIZES)
_ALL_BITS = (1 << 64) - 1


def encode_brush(mask: Mask) -> list[int]:
    """The brush code of a mask at its own size, 0/255 in all four channels; byte for byte the SDK's `mask2rle`."""
    lengths, painted = _runs(mask.ravel())
    sizes = np.searchsorted(_LONGEST, lengths)  # which of the four length fields a run needs
    length_bits = np.asarray(LENGTH_SIZES)[sizes]
    # One token: is it a run (1), which length field (2 bits), length - 1, the word.
    tokens = (((4 | sizes) << length_bits) | (lengths - 1)) << WORD_BITS | np.where(painted, PAINTED, 0)
    header = [mask.size * CHANNELS, WORD_BITS - 1, *(size - 1 for size in LENGTH_SIZES)]
    bits = _bits(np.concatenate((header, tokens)), np.concatenate((HEADER_FIELDS, 3 + length_bits + WORD_BITS)))
    padding = np.zeros(8 - bits.size % 8, dtype=np.uint8)  # the SDK pads with one to eight bits
    code: list[int] = np.packbits(np.concatenate((bits, padding))).tolist()
    return code


def _runs(flat: Bool[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "runs"], Bool[np.ndarray, "runs"]]:
    """Lengths of the runs in values, four per pixel, and which are painted; a run longer than LONGEST_RUN is cut."""
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(starts, append=flat.size) * CHANNELS
    pieces = 1 + (lengths - 1) // LONGEST_RUN
    cut = np.full(pieces.sum(), LONGEST_RUN)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * LONGEST_RUN
    return cut, np.repeat(flat[starts], pieces)


def _bits(fields: Int[np.ndarray, "fields"], widths: Int[np.ndarray, "fields"]) -> UInt8[np.ndarray, "bits"]:
    """The fields in sequence, each with its own width, most significant bit first."""
    ends = np.cumsum(widths)
    shifts = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    bits: np.ndarray = (np.repeat(fields, widths) >> shifts) & 1
    return bits.astype(np.uint8)


def decode_brush(rle: object, *, shape: tuple[int, int]) -> Mask:
    """The mask of a brush code, True where alpha >= 128.

    `shape` is the (height, width) of the catalogue: Label Studio's `original_width` is whatever the client sent.
    Raises BrushError, before memory is allocated, if the code does not fit the shape, is cut off or is malformed.
    """
    values = shape[0] * shape[1] * CHANNELS
    packed = _packed(rle, longest=(HEADER_BITS + values * LONGEST_TOKEN_BITS) // 8 + 2)
    announced = int.from_bytes(packed[:4], "big")
    if announced != values:
        raise BrushError(
            f"The brush code announces {announced} values but the image of {shape[1]} x {shape[0]} px needs {values} "
            "(4 per pixel): it was painted on an image of another size."
        )
    alpha = _unpack(packed, values).reshape(-1, CHANNELS)[:, CHANNELS - 1]
    return (alpha >= ALPHA_THRESHOLD).reshape(shape)


def _packed(rle: object, *, longest: int) -> bytes:
    """The code as bytes. Raises BrushError if it is no list of bytes, or longer than any code of that image can be."""
    if not isinstance(rle, Sequence) or isinstance(rle, str):
        raise BrushError(f"The brush code is a {type(rle).__name__}; a list of whole numbers 0 to 255 is needed.")
    if not (HEADER_BITS + 7) // 8 <= len(rle) <= longest:
        raise BrushError(f"The brush code has {len(rle)} bytes; this image's has 7 to {longest}.")
    try:
        return bytes(rle)
    except (TypeError, ValueError) as error:
        raise BrushError(f"The brush code holds something that is no whole number 0 to 255: {error}.") from error


def _unpack(packed: bytes, values: int) -> UInt8[np.ndarray, "values"]:
    """Expand the tokens: a run repeats one word, a literal lists its words."""
    windows = _windows(packed)
    starts = windows.tolist()  # Python integers: the loop below goes token by token
    end = len(packed) * 8

    def read(at: int, bits: int) -> int:
        found: int = ((starts[at >> 3] << (at & 7)) & _ALL_BITS) >> (64 - bits)
        return found

    if (word_bits := read(32, 5) + 1) != WORD_BITS:
        raise BrushError(f"The brush code has words of {word_bits} bits; Label Studio writes 8.")
    sizes = [read(at, 4) + 1 for at in range(37, HEADER_BITS, 4)]
    words: list[int] = []
    counts: list[int] = []
    at, done = HEADER_BITS, 0
    while done < values:
        token = read(at, 3) if at + 3 <= end else 0
        words_at = at + 3 + sizes[token & 3]
        if words_at > end:
            raise _cut_off(done, values)
        count = read(at + 3, sizes[token & 3]) + 1
        is_run = token & 4
        at = words_at + WORD_BITS * (1 if is_run else count)
        if at > end:
            raise _cut_off(done, values)
        if done + count > values:
            raise BrushError(f"The brush code has a run of {count} values at value {done}, past the end at {values}.")
        if is_run:
            words.append(read(words_at, WORD_BITS))
            counts.append(count)
        else:
            words += _literal(windows, words_at, count)
            counts += [1] * count
        done += count
    return np.repeat(np.array(words, dtype=np.uint8), counts)


def _windows(packed: bytes) -> UInt64[np.ndarray, "n"]:
    """The 64 bits that begin at each byte, as one number; zeros past the end."""
    padded = np.frombuffer(packed + bytes(8), dtype=np.uint8)
    windows = np.zeros(len(packed), dtype=np.uint64)
    for index in range(8):
        windows |= padded[index : index + len(packed)].astype(np.uint64) << np.uint64(8 * (7 - index))
    return windows


def _literal(windows: UInt64[np.ndarray, "n"], at: int, count: int) -> list[int]:
    """The `count` words that begin at bit `at`."""
    first = at >> 3
    found: list[int] = ((windows[first : first + count] >> np.uint64(56 - (at & 7))) & np.uint64(255)).tolist()
    return found


def _cut_off(done: int, values: int) -> BrushError:
    return BrushError(f"The brush code is cut off after {done} of {values} values.")
