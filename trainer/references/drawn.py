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


def hashed(name, count):
    """A hash of each place below `count` and of the name, as uint32."""
    value = np.arange(count, dtype=np.uint32) ^ np.uint32(fnv1a(name))
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    return value


def drawn(name, shape):
    """A float32 array of that shape."""
    value = hashed(name, int(np.prod(shape)))
    # One rounding: a 24-bit integer, minus 2^23, times a power of two.
    return (((value >> np.uint32(8)).astype(np.float32) - np.float32(2**23)) * np.float32(2**-23)).reshape(shape)


def places(name, count, total):
    """`count` places below `total`."""
    return hashed(name, count) % np.uint32(total)


def fan_in(name, shape):
    """How many products a value of the convolution's output sums up."""
    if name.endswith("up.weight"):
        # A transposed convolution of kernel and stride 2 adds up its input channels only.
        return shape[0]
    if name.endswith("/kernel"):
        # Keras: [K_h, K_w, C_in, C_out], depthwise [K_h, K_w, C, 1].
        return int(np.prod(shape[:2] if shape[3] == 1 else shape[:3]))
    return int(np.prod(shape[1:]))


def block_scale(name):
    """By what the scale of an EfficientNet block's last batch norm is multiplied; 1 for every other parameter.

    Without it the residuals of B7 add up to 1e7, and its gates become so steep that PyTorch's own float32 is far from its
    float64. Blocks that begin a stage have no residual and are left as they are.
    """
    layer, _, _ = name.replace("/gamma", ".weight").rpartition(".weight")
    for start, end, first in [("blocks.", ".bn3", ".0"), ("features.", ".block.3.1", ".0"), ("block", "_project_bn", "a")]:
        if layer.startswith(start) and layer.endswith(end):
            return 1 if layer.removesuffix(end).endswith(first) else 0.2
    return 1


def drawn_parameter(name, shape):
    """A net's parameter as its name says: He-scaled kernels (uniform, variance 2 / fan-in), scales near 1, shifts near 0."""
    value = drawn(name, shape)
    if len(shape) > 1:
        return value * np.float32(np.sqrt(6 / fan_in(name, shape)))
    if name.endswith(("running_var", "moving_variance")):
        return np.float32(1) + np.float32(0.5) * value
    if name.endswith(("weight", "gamma")):
        return (np.float32(1) + np.float32(0.25) * value) * np.float32(block_scale(name))
    return np.float32(0.125) * value
