#!/usr/bin/env python3
"""Writes quantized.txt: what ONNX Runtime computes with bytes, for tests/quantized_references.rs.

    python3 quantized.py        # asks for numpy, onnx, onnxruntime; made with 1.23.2 of onnx, 1.32.0 of onnxruntime

On x86 without VNNI ONNX Runtime's own products saturate, and are no reference. Nothing is optimised, so that what is
written as DequantizeLinear, an operator and QuantizeLinear is computed as such. Each line is a case: its kind, then
name=values. Tensors have their channels last; numbers are decimal, bytes and f32 (little-endian) hexadecimal.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(22)
lines = []


def run(nodes, inputs, constants, output_type, output="y"):
    """The output of a graph; `inputs` and `constants` are arrays by name."""
    types = {np.dtype("uint8"): TensorProto.UINT8, np.dtype("float32"): TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(name, types[array.dtype], array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info(output, output_type, [None] * 4)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run([output], inputs)[0]


def last(array):
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array


def write(kind, **values):
    def text(value):
        if isinstance(value, np.ndarray):
            return np.ascontiguousarray(value).tobytes().hex()
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    lines.append(" ".join([kind] + [f"{name}={text(value)}" for name, value in values.items()]))


def bytes_of(*shape):
    array = random.integers(0, 256, shape)
    array[random.random(shape) < 0.1] = 255
    return array.astype(np.uint8)


def quantization(name, scale, zero_point):
    return {f"{name}_scale": np.float32(scale), f"{name}_zero": np.uint8(zero_point)}


def convolution(channels, sides, kernel, *, stride=1, dilation=1, padding=(0, 0, 0, 0), groups=1, zeros=(0, 0), ties=False):
    c_in, c_out = channels
    x = bytes_of(2, c_in, *sides)
    weight = random.integers(-128, 128, (c_out, c_in // groups, kernel, kernel)).astype(np.int8)
    bias = random.integers(-20000, 20000, c_out).astype(np.int32)
    depth = weight[0].size
    if ties:
        # Factors that are powers of two, and small sums: every other value lies between two bytes.
        weight //= 16
        bias //= 64
        scales = np.full(c_out, 1.0, np.float32)
        x_scale, y_scale = np.float32(0.5), np.float32(64)
    else:
        scales = (random.uniform(0.5, 2, c_out) / 74 / np.sqrt(depth)).astype(np.float32)
        x_scale, y_scale = np.float32(0.0193), np.float32(0.0271)
    constants = {
        **quantization("x", x_scale, zeros[0]),
        **quantization("y", y_scale, zeros[1]),
        "weight": weight,
        "weight_scale": scales,
        "weight_zero": np.zeros(c_out, np.int8),
        "bias": bias,
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "x_scale", "x_zero", "weight", "weight_scale", "weight_zero", "y_scale", "y_zero", "bias"],
        ["y"],
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        group=groups,
        pads=padding,
    )
    y = run([node], {"x": x}, constants, TensorProto.UINT8)
    write(
        "convolution",
        sizes=[2, c_in, c_out, *sides, kernel, stride, dilation, *padding, groups],
        scales=np.array([x_scale, y_scale]),
        zeros=zeros,
        x=last(x),
        weight=weight,
        weight_scales=scales,
        bias=bias,
        y=last(y),
    )


def dequantize(name):
    return helper.make_node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_value"])


def quantize(value):
    return helper.make_node("QuantizeLinear", [value, "y_scale", "y_zero"], ["y"])


def combination(operator, second, scales, zeros, relu=False):
    a, b = bytes_of(2, 9, 4, 5), bytes_of(*second)
    constants = {}
    for name, scale, zero in zip("aby", scales, zeros):
        constants.update(quantization(name, scale, zero))
    nodes = [dequantize("a"), dequantize("b"), helper.make_node(operator, ["a_value", "b_value"], ["sum"])]
    nodes += [helper.make_node("Relu", ["sum"], ["bounded"])] if relu else []
    y = run(nodes + [quantize("bounded" if relu else "sum")], {"a": a, "b": b}, constants, TensorProto.UINT8)
    write(
        "combination",
        sizes=[2, 20, 9, int(operator == "Mul"), int(second[1] == 1), int(second[2] == 1), int(relu)],
        scales=np.array(scales, np.float32),
        zeros=zeros,
        a=last(a),
        b=last(b),
        y=last(y),
    )


# Means are summed in f32 here and as integers in Rust, which may round a tie otherwise: the scales of a mean make no ties.
def pool(operator, kernel, stride, padding, zeros=(0, 0), scales=(1, 1), **attributes):
    x = bytes_of(2, 7, 9, 8)
    constants = {**quantization("x", scales[0], zeros[0]), **quantization("y", scales[1], zeros[1])}
    attributes |= {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
    if operator == "MaxPool":
        nodes, constants = [helper.make_node(operator, ["x"], ["y"], **attributes)], {}
    else:
        nodes = [dequantize("x"), helper.make_node(operator, ["x_value"], ["mean"], **attributes), quantize("mean")]
    y = run(nodes, {"x": x}, constants, TensorProto.UINT8)
    write(
        "pool",
        sizes=[2, 7, 9, 8, kernel, stride, padding, int(operator == "MaxPool"), attributes.get("count_include_pad", 0)],
        scales=np.array(scales, np.float32),
        zeros=zeros,
        x=last(x),
        y=last(y),
    )


def moved(name, node, channels, constants=None):
    """An operator that only moves values, or forms means of bytes as they are: in f32, rounded to even."""
    x = bytes_of(2, channels, 3, 5)
    y = run([node], {"x": x.astype(np.float32)}, constants or {}, TensorProto.FLOAT)
    write(name, sizes=[2, channels, 3, 5], x=last(x), y=last(np.rint(y).astype(np.uint8)))


def resize(mode, **attributes):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, **attributes)
    moved(f"double_{mode}", node, 6, {"scales": np.array([1, 1, 2, 2], np.float32)})


def values():
    """Values near and on the ties, and beyond the ends."""
    q = quantization("y", 0.0371, 77)
    x = np.concatenate([
        (np.arange(-90, 190) + 0.5).astype(np.float32) * np.float32(0.0371),
        random.normal(0, 4, 240).astype(np.float32),
        np.array([-1e30, 1e30, 0, -0.0], np.float32),
    ]).reshape(1, 1, 1, -1)
    y = run([helper.make_node("QuantizeLinear", ["x", "y_scale", "y_zero"], ["y"])], {"x": x}, q, TensorProto.UINT8)
    back = run(
        [helper.make_node("DequantizeLinear", ["x", "y_scale", "y_zero"], ["y"])], {"x": y}, q, TensorProto.FLOAT
    )
    write("values", scales=np.array([0.0371], np.float32), zeros=[77], x=x, y=y, back=back)


convolution((3, 20), (9, 8), 1)
convolution((20, 33), (5, 6), 1, zeros=(131, 104), stride=2)
convolution((16, 16), (6, 7), 1, zeros=(3, 128), ties=True)
convolution((3, 8), (11, 9), 3, stride=2, padding=(0, 1, 2, 1), zeros=(114, 0))
convolution((6, 18), (5, 5), 3, padding=(1, 1, 1, 1), zeros=(255, 255))
convolution((5, 7), (9, 10), 3, dilation=2, padding=(2, 2, 2, 2), zeros=(17, 101))
convolution((4, 6), (9, 7), 5, padding=(2, 2, 2, 2), groups=2, zeros=(128, 128))
convolution((19, 19), (6, 8), 3, padding=(1, 1, 1, 1), groups=19, zeros=(122, 9))
convolution((18, 18), (8, 9), 5, stride=2, padding=(2, 2, 2, 2), groups=18, zeros=(0, 128))
convolution((8, 8), (9, 9), 3, padding=(1, 1, 1, 1), groups=8, zeros=(128, 0), ties=True)

for relu in (False, True):
    combination("Add", (2, 9, 4, 5), (0.0213, 0.0341, 0.0402), (120, 131, 0 if relu else 125), relu)
    # Many ties.
    combination("Add", (2, 9, 4, 5), (0.25, 0.125, 0.5), (128, 120, 130), relu)
combination("Mul", (2, 9, 1, 1), (0.0213, 1 / 255, 0.0203), (120, 0, 120))
combination("Mul", (2, 1, 4, 5), (0.0213, 0.0041, 0.0103), (20, 0, 30))
combination("Add", (2, 9, 1, 1), (0.0213, 0.0213, 0.0213), (20, 100, 30))
combination("Mul", (2, 9, 4, 5), (0.11, 0.03, 0.2), (128, 3, 77))

pool("MaxPool", 3, 2, 1)
pool("MaxPool", 2, 2, 0)
pool("AveragePool", 2, 2, 0, (13, 20), (0.0307, 0.0253))
pool("AveragePool", 3, 2, 1, (128, 120), (0.0307, 0.0311))
pool("AveragePool", 3, 1, 1, (128, 120), (0.0307, 0.0211), count_include_pad=1)

moved("depth_DCR", helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="DCR"), 12)
moved("depth_CRD", helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=2, mode="CRD"), 12)
resize("nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
resize("linear", coordinate_transformation_mode="half_pixel")
values()

Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")
