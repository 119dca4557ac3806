"""Two convolutions in the form that ONNX Runtime's own tool writes: all in f32, between QuantizeLinear and DequantizeLinear.

    python3 qdq_graph.py ../tests/references      (onnx 1.23, onnxruntime 1.32)

Writes qdq.onnx. Weights and the pictures that calibrate it are drawn (seed 1).
"""
import sys
import tempfile
from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

random = numpy.random.default_rng(1)
SHAPE = [1, 3, 8, 8]


class Pictures(CalibrationDataReader):
    left = 2

    def get_next(self):
        self.left -= 1
        return {"input": random.standard_normal(SHAPE).astype(numpy.float32)} if self.left >= 0 else None


def weight(name, *shape):
    return numpy_helper.from_array(random.standard_normal(shape).astype(numpy.float32), name)


nodes = [
    helper.make_node("Conv", ["input", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"], name="relu"),
    helper.make_node("Conv", ["b", "w2", "b2"], ["masks"], name="second"),
]
constants = [weight("w1", 4, 3, 3, 3), weight("b1", 4), weight("w2", 2, 4, 1, 1), weight("b2", 2)]
inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)]
outputs = [helper.make_tensor_value_info("masks", TensorProto.FLOAT, [1, 2, 8, 8])]
graph = helper.make_graph(nodes, "real", inputs, outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

with tempfile.TemporaryDirectory() as folder:
    real = str(Path(folder) / "real.onnx")
    onnx.save(model, real)
    quantize_static(real, str(Path(sys.argv[1]) / "qdq.onnx"), Pictures(), QuantFormat.QDQ, per_channel=True)
