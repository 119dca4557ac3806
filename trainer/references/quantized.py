#!/usr/bin/env python3
"""Runs what `thorax-train quantize --onnx FOLDER` wrote in ONNX Runtime, and compares it with what our interpreter gave.

    trainer/references/quantized.py FOLDER

The graphs are run as they are written (no optimisation: there ONNX defines every operator) and optimised as ONNX Runtime does it
unasked, which puts operators of its own in place of DequantizeLinear, operator, QuantizeLinear. On x86 without VNNI, ONNX
Runtime's u8 x i8 product saturates (vpmaddubsw), and its answers are others than those that ONNX defines.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime


def step_before_sigmoid(path, output):
    """The scale of what a Sigmoid that ends the graph takes; none where it does not end so."""
    graph = onnx.load(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    if makers[output].op_type != "Sigmoid" or makers[makers[output].input[0]].op_type != "DequantizeLinear":
        return None
    scale = makers[makers[output].input[0]].input[1]
    return float(next(onnx.numpy_helper.to_array(one) for one in graph.initializer if one.name == scale))


folder = pathlib.Path(sys.argv[1])
print("onnxruntime", onnxruntime.__version__)
failed = False
for path in sorted(folder.glob("*.int8.onnx")):
    name = path.name.removesuffix(".int8.onnx")
    for level, text in [
        (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, "as written"),
        (onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, "optimised"),
    ]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape
        x = numpy.fromfile(folder / f"{name}.input.f32", "<f4").reshape(shape)
        outputs = [output.name for output in session.get_outputs()]
        for output, found in zip(outputs, session.run(outputs, {"input": x})):
            ours = numpy.fromfile(folder / f"{name}.{output}.f32", "<f4").reshape(found.shape)
            if step_before_sigmoid(path, output):
                # Before the sigmoid, where the values are whole steps.
                ours, found = (numpy.log(p / (1 - p)) for p in (ours.astype("f8"), found.astype("f8")))
            apart = numpy.abs(ours - found)
            extent = numpy.abs(ours).max()
            step = step_before_sigmoid(path, output)
            # Whole steps where the output has such; else what f32 leaves of sums in another order.
            other = int((apart > (step / 2 if step else 1e-5 * extent)).sum())
            told = f"(a step is {step:.3g})" if step else ""
            print(f"{name} {output} {text}: {other} of {apart.size} values differ, by at most {apart.max():.3g} of {extent:.3g} {told}")
            failed |= text == "as written" and other > 0
sys.exit(failed)
