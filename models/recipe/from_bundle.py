"""Weights of a U-Net to go on training with, from the segmenter of a bundle, in which the batch norms are folded into the convolutions.

    python3 from_bundle.py BUNDLE PICTURES OUT.safetensors

Folding forgets what each channel's mean and variance were. Any will do for inference; for training they have to be those of real
batches, so they are taken from PICTURES (a text file of paths, grey slices) at the graph's own side. Needs numpy, onnx, onnxruntime,
pillow, safetensors.
"""
import re, struct, sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from PIL import Image
from safetensors.numpy import save_file

EPSILON = 1e-5


def segmenter(path):
    """The part `segmenter.onnx` (shared/SPEC.md): parts lie behind the manifest, in the order of its list."""
    data = open(path, "rb").read()
    manifest_bytes, = struct.unpack("<I", data[8:12])
    manifest, at = data[20:20 + manifest_bytes], 20 + manifest_bytes
    for name in (b"classifier.onnx", b"segmenter.onnx"):
        where = manifest.rindex(bytes([len(name)]) + name) + 1 + len(name) + 1
        length = shift = 0
        for byte in manifest[where:]:
            length, shift = length | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        if name == b"segmenter.onnx":
            return data[at:at + length]
        at += length


model = onnx.load_from_string(segmenter(sys.argv[1]))
values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer}
convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
names = [f"encoder.{block}.conv{place}" for block in range(4) for place in (0, 1)] + ["bottleneck.conv0", "bottleneck.conv1"]
names += [f"decoder.{block}.{place}" for block in range(4) for place in ("up", "conv0", "conv1")] + ["head"]

model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(node.output[0]) for node in convolutions)
session = onnxruntime.InferenceSession(model.SerializeToString())
side = session.get_inputs()[0].shape[2]
sums = {node.output[0]: [0.0, 0.0, 0] for node in convolutions}
for path in open(sys.argv[2]).read().split("\n")[:96]:
    if not path:
        continue
    grey = np.asarray(Image.open(path).convert("L").resize((side, side), Image.BILINEAR), np.float32)
    found = session.run([node.output[0] for node in convolutions], {"input": (grey[None, None] / 255 - 0.5) / 0.25})
    for node, value in zip(convolutions, found):
        total = sums[node.output[0]]
        total[0] += value.astype(np.float64).sum((0, 2, 3))
        total[1] += (value.astype(np.float64) ** 2).sum((0, 2, 3))
        total[2] += value[0, 0].size

weights = {}
for node, name in zip(convolutions, names):
    kernel, bias = (values[re.sub(r"weight$", "weight.f16", i) if i not in values else i] for i in node.input[1:3])
    weights[f"{name}.weight"] = kernel
    if ".conv" not in name:
        weights[f"{name}.bias"] = bias
        continue
    total = sums[node.output[0]]
    mean = total[0] / total[2]
    variance = total[1] / total[2] - mean ** 2
    norm = name.replace("conv", "bn")
    # norm(x) = (x - mean) / sqrt(variance + epsilon) * weight + bias, of the convolution without its bias.
    weights[f"{norm}.running_mean"] = mean - bias
    weights[f"{norm}.running_var"] = variance
    weights[f"{norm}.weight"] = np.sqrt(variance + EPSILON)
    weights[f"{norm}.bias"] = mean
save_file({name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}, sys.argv[3])
print(len(weights), "tensors")
