"""A small quantized graph with every operator that the device computes in bytes, and ONNX Runtime's answers for it.

    python3 quantized_graph.py ../tests/references      (onnx 1.23, onnxruntime 1.32)

Writes quantized.onnx, quantized_input.f32 and, of each output, quantized_NAME.f32 (little-endian, row after row). Weights, scales and
the input are drawn (seed 1).
"""
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

random = numpy.random.default_rng(1)
constants, nodes = [], []


def constant(name, values):
    constants.append(numpy_helper.from_array(numpy.asarray(values), name))
    return name


def node(kind, inputs, **attributes):
    output = f"v{len(nodes)}"
    nodes.append(helper.make_node(kind, inputs, [output], **attributes))
    return output


class Bytes:
    """A value of bytes and what they stand for."""

    def __init__(self, name, scale, zero_point):
        self.name, self.scale, self.zero_point = name, scale, zero_point

    def constants(self):
        return [
            constant(f"scale{len(constants)}", numpy.float32(self.scale)),
            constant(f"zero{len(constants)}", numpy.uint8(self.zero_point)),
        ]


def quantize(x, scale, zero_point):
    return Bytes(node("QuantizeLinear", [x, *Bytes(None, scale, zero_point).constants()]), scale, zero_point)


def dequantize(x):
    return node("DequantizeLinear", [x.name, *x.constants()])


def convolve(x, channels_in, channels_out, kernel, scale, zero_point, group=1, stride=1):
    y = Bytes(None, scale, zero_point)
    weight = random.integers(-127, 128, (channels_out, channels_in // group, kernel, kernel)).astype(numpy.int8)
    inputs = [
        x.name,
        *x.constants(),
        constant(f"weight{len(constants)}", weight),
        constant(f"scales{len(constants)}", (random.random(channels_out) * 0.004 + 0.001).astype(numpy.float32)),
        constant(f"zeros{len(constants)}", numpy.zeros(channels_out, numpy.int8)),
        *y.constants(),
        constant(f"bias{len(constants)}", random.integers(-500, 500, channels_out).astype(numpy.int32)),
    ]
    sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": group}
    y.name = node("QLinearConv", inputs, **sizes)
    return y


x = quantize("input", 0.03, 120)
a = convolve(x, 3, 20, 3, 0.05, 0, stride=2)
pooled = Bytes(node("MaxPool", [a.name], kernel_shape=[2, 2], strides=[2, 2]), a.scale, a.zero_point)
b = convolve(pooled, 20, 32, 3, 0.2, 100)
# A transposed convolution.
four = convolve(b, 32, 4 * 12, 1, a.scale, a.zero_point)
up = Bytes(node("DepthToSpace", [four.name], blocksize=2, mode="DCR"), a.scale, a.zero_point)
both = Bytes(node("Concat", [a.name, up.name], axis=1), a.scale, a.zero_point)
# A residual sum with a ReLU.
c = convolve(both, 32, 32, 5, 0.2, 90, group=32)
d = convolve(both, 32, 32, 1, 0.15, 110)
total = node("Relu", [node("Add", [dequantize(c), dequantize(d)])])
e = quantize(total, 0.1, 0)
# Swish, an attention map of one channel, and a gate of one pixel.
f = convolve(e, 32, 24, 3, 0.06, 120)
swish = dequantize(f)
g = quantize(node("Mul", [swish, node("Sigmoid", [swish])]), 0.04, 8)
map_ = quantize(node("Sigmoid", [dequantize(convolve(g, 24, 1, 1, 0.05, 128))]), 1 / 255, 0)
h = quantize(node("Mul", [dequantize(g), dequantize(map_)]), 0.03, 10)
squeezed = quantize(node("GlobalAveragePool", [dequantize(h)]), 0.01, 20)
pixel = quantize(node("Sigmoid", [dequantize(convolve(squeezed, 24, 24, 1, 0.02, 128))]), 1 / 255, 0)
i = quantize(node("Mul", [dequantize(h), dequantize(pixel)]), 0.02, 12)
# A layer that stays in floating point.
weight = constant("float", (random.random((6, 24, 3, 3)) * 0.2 - 0.1).astype(numpy.float32))
j = quantize(node("Relu", [node("Conv", [dequantize(i), weight], kernel_shape=[3, 3], pads=[1] * 4)]), 0.02, 0)
logits = dequantize(convolve(j, 6, 3, 1, 0.02, 128))
nodes.append(helper.make_node("Sigmoid", [logits], ["masks"]))
nodes.append(helper.make_node("Identity", [dequantize(squeezed)], ["features"]))

tensor = helper.make_tensor_value_info
outputs = [tensor("masks", TensorProto.FLOAT, [1, 3, 12, 10]), tensor("features", TensorProto.FLOAT, [1, 24, 1, 1])]
graph = helper.make_graph(nodes, "quantized", [tensor("input", TensorProto.FLOAT, [1, 3, 24, 20])], outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.checker.check_model(model)

folder = Path(sys.argv[1])
onnx.save(model, folder / "quantized.onnx")
x = random.normal(0, 1, (1, 3, 24, 20)).astype("<f4")
x.tofile(folder / "quantized_input.f32")
# As the file says, operator by operator.
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
for name, values in zip(["masks", "features"], session.run(None, {"input": x})):
    values.astype("<f4").tofile(folder / f"quantized_{name}.f32")
    print(name, values.min(), values.max())
optimised = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
for one, other in zip(session.run(None, {"input": x}), optimised.run(None, {"input": x})):
    print("optimised, largest difference:", abs(one - other).max())
