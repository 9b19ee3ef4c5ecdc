"""How does a mask become Label Studio's brush run-length code, and how does it come back?

The wire form is thi.ng's rle-pack, as Label Studio's interface writes it: 32 bits number of values, 5 bits word size,
four times 4 bits of length sizes, then tokens; every pixel stands as four values (RGBA), so an `h x w` mask has
`h * w * 4` of them. It is read here and not with the SDK's `decode_rle`, which trusts the header's announced size,
reads past the end without a word, and costs four seconds of imports.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from plankseg.errors import BrushError
from plankseg.imaging.arrays import Mask

CHANNELS = 4
ALPHA_THRESHOLD = 128  # brush edges are anti-aliased: half covered counts as covered
PAINTED = 255  # a 0/1 mask would show as an invisible region
LENGTH_SIZES = (3, 4, 8, 16)
LONGEST_RUN = 1 << LENGTH_SIZES[-1]
WORD_BITS = 8
HEADER_BITS = 32 + 5 + 4 * 4
LONGEST_TOKEN_BITS = 1 + 2 + 16 + WORD_BITS


def encode_brush(mask: Mask) -> list[int]:
    """The brush code of a mask at its own size, 0/255 in all four channels; byte for byte the SDK's `mask2rle`."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(starts, append=flat.size) * CHANNELS
    bits = [f"{flat.size * CHANNELS:032b}{WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        bits.append(_run_token(length, PAINTED if flat[start] else 0))
    text = "".join(bits)
    text += "0" * (8 - len(text) % 8)  # the SDK pads with one to eight bits
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run_token(length: int, value: int) -> str:
    full, rest = divmod(length - 1, LONGEST_RUN)
    longest = f"111{LONGEST_RUN - 1:016b}{value:08b}" * full
    index = next(i for i, size in enumerate(LENGTH_SIZES) if rest < 1 << size)
    return f"{longest}1{index:02b}{rest:0{LENGTH_SIZES[index]}b}{value:08b}"


def decode_brush(rle: object, *, shape: tuple[int, int]) -> Mask:
    """The mask of a brush code, True where alpha >= 128.

    `shape` is our own record of the image (height, width): Label Studio's `original_width` is what the client said.
    Raises BrushError, before memory is taken, where the code does not fit the shape, is cut off or is no code at all.
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
    """The code as bytes, or BrushError where it is no list of bytes or longer than any code of that image can be."""
    if not isinstance(rle, Sequence) or isinstance(rle, str):
        raise BrushError(f"The brush code is a {type(rle).__name__}; a list of whole numbers 0 to 255 is needed.")
    if not (HEADER_BITS + 7) // 8 <= len(rle) <= longest:
        raise BrushError(f"The brush code has {len(rle)} bytes; this image's has 7 to {longest}.")
    try:
        return bytes(rle)
    except (TypeError, ValueError) as error:
        raise BrushError(f"The brush code holds something that is no whole number 0 to 255: {error}.") from error


def _unpack(packed: bytes, values: int) -> UInt8[np.ndarray, "values"]:
    """Walk the tokens: a run repeats one word, a literal lists its words."""
    bits = f"{int.from_bytes(packed, 'big'):0{len(packed) * 8}b}"
    if int(bits[32:37], 2) + 1 != WORD_BITS:
        raise BrushError(f"The brush code has words of {int(bits[32:37], 2) + 1} bits; Label Studio writes 8.")
    sizes = [int(bits[start : start + 4], 2) + 1 for start in range(37, HEADER_BITS, 4)]
    out = np.zeros(values, dtype=np.uint8)
    at, done = HEADER_BITS, 0
    while done < values:
        if at + 3 > len(bits):
            raise _cut_off(done, values)
        is_run = bits[at] == "1"
        words_at = at + 3 + sizes[int(bits[at + 1 : at + 3], 2)]
        if words_at > len(bits):
            raise _cut_off(done, values)
        count = int(bits[at + 3 : words_at], 2) + 1
        at = words_at + WORD_BITS * (1 if is_run else count)
        if at > len(bits):
            raise _cut_off(done, values)
        if done + count > values:
            raise BrushError(f"The brush code has a run of {count} values at value {done}, past the end at {values}.")
        words = int(bits[words_at:at], 2)
        out[done : done + count] = words if is_run else np.frombuffer(words.to_bytes(count, "big"), dtype=np.uint8)
        done += count
    return out


def _cut_off(done: int, values: int) -> BrushError:
    return BrushError(f"The brush code is cut off after {done} of {values} values.")
