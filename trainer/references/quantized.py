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
import onnxruntime

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
            if ours.min() >= 0 and ours.max() <= 1 and output == "masks":
                # Before the sigmoid, where the values are whole steps.
                ours, found = (numpy.log(p / (1 - p)) for p in (ours.astype("f8"), found.astype("f8")))
            apart = numpy.abs(ours - found)
            extent = numpy.abs(ours).max()
            other = int((apart > 1e-5 * max(extent, 1e-9)).sum())
            print(f"{name} {output} {text}: {other} of {apart.size} values differ, by at most {apart.max():.3g} of {extent:.3g}")
            failed |= text == "as written" and other > 0
sys.exit(failed)
