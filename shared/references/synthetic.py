"""Pictures that Python and Rust make alike, so that only results need to be stored.

The noise of pixel i is `lowbias32(seed + i)` (Wellons' hash prospector), computed in 32 bits that wrap.
"""

import numpy as np


def mixed(value):
    value = value.astype(np.uint32)
    value = (value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = (value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


def picture(kind, seed, width, height, bits):
    """`kind`: noise (every level alike), film (slopes and some noise), dark (a few levels), flat (one level)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint64)
    noise = mixed((np.uint64(seed) + y * np.uint64(width) + x) & np.uint64(0xFFFFFFFF))
    if kind == "noise":
        value = noise & np.uint32(0xFFFF)
    elif kind == "film":
        slope = (x * 90 // width + y * y // height * 100 // height).astype(np.uint32)
        value = (slope << np.uint32(8)) + (noise & np.uint32(0x3FFF))
    elif kind == "dark":
        value = noise & (noise >> np.uint32(7)) & np.uint32(0x1FFF)
    elif kind == "flat":
        value = np.full((height, width), mixed(np.array([seed]))[0] & np.uint32(0xFFFF), np.uint32)
    else:
        raise ValueError(kind)
    return (value >> np.uint32(16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
