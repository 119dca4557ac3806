"""Numbers that Python and Rust draw alike, so that a reference file holds results only, and the inputs are made anew.

The twin of `drawn` in trainer/tests/references/mod.rs. A value is a hash of its place and of its tensor's name (FNV-1a of
the name, then Wellons' "lowbias32" mixing), as a multiple of 2^-23 in [-1, 1): exact in float32.
"""
import numpy as np


def fnv1a(name):
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def drawn(name, shape):
    """A float32 array of that shape."""
    value = np.arange(int(np.prod(shape)), dtype=np.uint32) ^ np.uint32(fnv1a(name))
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    # One rounding: a 24-bit integer, minus 2^23, times a power of two.
    return (((value >> np.uint32(8)).astype(np.float32) - np.float32(2**23)) * np.float32(2**-23)).reshape(shape)


def drawn_parameter(name, shape):
    """A net's parameter as its name says: He-scaled kernels (uniform, variance 2 / fan-in), scales near 1, shifts near 0."""
    value = drawn(name, shape)
    if len(shape) > 1:
        # A transposed convolution of kernel and stride 2 adds up its input channels only.
        fan_in = shape[0] if name.endswith("up.weight") else int(np.prod(shape[1:]))
        return value * np.float32(np.sqrt(6 / fan_in))
    if name.endswith("running_var"):
        return np.float32(1) + np.float32(0.5) * value
    if name.endswith("weight"):
        return np.float32(1) + np.float32(0.25) * value
    return np.float32(0.125) * value
