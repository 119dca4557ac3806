"""Runs an ONNX file in ONNX Runtime, for a test that asks for it.

    python trainer/references/run_onnx.py MODEL.onnx FOLDER

Reads FOLDER/input.f32, little-endian values of one input after another, and writes of each run `NUMBER_OUTPUT.bin` as the output's values,
little-endian, and to standard output a line `NUMBER OUTPUT TYPE SHAPE`. Written with ONNX Runtime 1.32.
"""
import pathlib
import sys

import numpy as np
import onnxruntime

model, folder = sys.argv[1], pathlib.Path(sys.argv[2])
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
(given,) = session.get_inputs()
pictures = np.fromfile(folder / "input.f32", dtype="<f4").reshape(-1, *given.shape)
names = [output.name for output in session.get_outputs()]
for number, picture in enumerate(pictures):
    for name, values in zip(names, session.run(names, {given.name: picture})):
        values.astype(values.dtype.newbyteorder("<")).tofile(folder / f"{number}_{name}.bin")
        print(number, name, values.dtype, *values.shape)
