"""Writes trainer/tests/references/nn_operators.safetensors: values and gradients of the operators, by PyTorch in float64.

    pip install torch numpy safetensors
    python trainer/references/nn_operators.py

Written with PyTorch 2.15.0. The cases stand in the file's metadata, and trainer/tests/nn_operators.rs reads them there. The
inputs and the upstream gradient of case I are drawn (see drawn.py) under the names "I.x", "I.weight", ... and "I.upstream";
the file holds "I.y" and "I.gradient.x", ... rounded to float32.
"""
import json
import pathlib

import numpy as np
import torch
from drawn import drawn
from safetensors.numpy import save_file
from torch.nn import functional as F

EPSILON, MOMENTUM = 1e-5, 0.1


def convolution(x, weight, stride=1, padding=(0, 0, 0, 0), dilation=1, groups=1):
    return dict(operator="convolution", x=x, weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups)


def transposed(x, weight, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    return dict(operator="transposed_convolution", x=x, weight=weight, stride=stride, padding=padding,
                output_padding=output_padding, dilation=dilation, groups=groups)


def max_pool(x, kernel, stride, padding=0, ceil_mode=False):
    return dict(operator="max_pool", x=x, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode)


def average_pool(x, kernel, stride, padding=0, ceil_mode=False, count_padding=True):
    return dict(operator="average_pool", x=x, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode,
                count_padding=count_padding)


def bilinear(x, height, width, align_corners):
    return dict(operator="bilinear", x=x, height=height, width=width, align_corners=align_corners)


def nearest(x, height, width):
    return dict(operator="nearest", x=x, height=height, width=width)


def batch_norm(x, train, relu):
    return dict(operator="batch_norm", x=x, train=train, relu=relu)


CASES = [
    # Widths below, at and above the blocks of vector registers; every kernel, stride and dilation at least once.
    convolution([1, 3, 9, 11], [4, 3, 1, 1]),
    convolution([3, 5, 5, 7], [3, 5, 1, 1], stride=2),
    convolution([1, 2, 6, 5], [3, 2, 2, 2]),
    convolution([3, 2, 7, 9], [3, 2, 2, 2], stride=2, padding=(1, 0, 0, 1)),
    convolution([3, 3, 7, 5], [4, 3, 3, 3], padding=(1, 1, 1, 1)),
    convolution([1, 2, 9, 17], [9, 2, 3, 3], padding=(1, 1, 1, 1)),
    convolution([1, 4, 7, 33], [5, 4, 3, 3], padding=(1, 1, 1, 1)),
    convolution([1, 2, 5, 70], [3, 2, 3, 3], padding=(1, 1, 1, 1)),
    convolution([1, 17, 4, 6], [19, 17, 3, 3], padding=(1, 1, 1, 1)),
    convolution([3, 3, 13, 10], [2, 3, 3, 3], stride=2, padding=(0, 1, 2, 1)),
    convolution([1, 3, 16, 18], [4, 3, 3, 3], stride=2, padding=(1, 1, 1, 1)),
    convolution([1, 3, 11, 16], [4, 3, 3, 3], stride=3, padding=(2, 1, 0, 3)),
    convolution([1, 3, 12, 17], [4, 3, 3, 3], padding=(2, 2, 2, 2), dilation=2),
    convolution([3, 2, 11, 13], [3, 2, 3, 3], stride=2, padding=(3, 3, 3, 3), dilation=3),
    convolution([1, 3, 9, 17], [4, 3, 5, 5], padding=(2, 2, 2, 2)),
    convolution([1, 2, 14, 11], [3, 2, 5, 5], stride=3, padding=(2, 2, 2, 2)),
    convolution([1, 3, 13, 15], [4, 3, 7, 7], stride=2, padding=(3, 3, 3, 3)),
    convolution([1, 2, 3, 3], [2, 2, 3, 3], padding=(3, 3, 3, 3)),
    convolution([1, 2, 8, 9], [3, 2, 3, 5], padding=(1, 2, 1, 2)),
    convolution([1, 3, 1, 40], [2, 3, 1, 7], padding=(0, 3, 0, 3)),
    convolution([1, 4, 8, 9], [6, 2, 3, 3], padding=(1, 1, 1, 1), groups=2),
    convolution([3, 6, 7, 5], [3, 2, 3, 3], stride=2, padding=(1, 1, 1, 1), groups=3),
    convolution([1, 6, 9, 17], [9, 2, 3, 3], padding=(2, 2, 2, 2), dilation=2, groups=3),
    convolution([1, 4, 6, 7], [8, 2, 1, 1], groups=2),
    convolution([1, 5, 9, 17], [5, 1, 3, 3], padding=(1, 1, 1, 1), groups=5),
    convolution([3, 3, 8, 7], [3, 1, 3, 3], stride=2, padding=(0, 0, 1, 1), groups=3),
    convolution([1, 3, 7, 33], [3, 1, 5, 5], padding=(2, 2, 2, 2), groups=3),
    convolution([1, 2, 13, 70], [2, 1, 5, 5], stride=2, padding=(1, 2, 2, 1), groups=2),
    convolution([1, 3, 11, 13], [3, 1, 3, 3], padding=(3, 3, 3, 3), dilation=3, groups=3),
    convolution([1, 3, 12, 17], [3, 1, 7, 7], stride=3, padding=(3, 3, 3, 3), groups=3),
    convolution([3, 4, 7, 9], [8, 1, 3, 3], padding=(1, 1, 1, 1), groups=4),
    convolution([1, 3, 9, 11], [6, 1, 5, 5], stride=2, padding=(2, 2, 2, 2), groups=3),
    transposed([1, 3, 5, 7], [3, 4, 2, 2], stride=2),
    transposed([3, 4, 4, 5], [4, 3, 3, 3], stride=2, padding=1, output_padding=1),
    transposed([1, 3, 6, 17], [3, 2, 3, 3], padding=1),
    transposed([1, 2, 5, 6], [2, 3, 5, 5], stride=3, padding=2, output_padding=2),
    transposed([1, 2, 5, 7], [2, 3, 3, 3], stride=2, padding=2, output_padding=1, dilation=2),
    transposed([1, 4, 5, 7], [4, 3, 3, 3], stride=2, padding=1, groups=2),
    transposed([1, 6, 4, 9], [6, 1, 4, 4], stride=2, padding=1, groups=6),
    transposed([1, 3, 7, 5], [3, 4, 1, 1]),
    max_pool([3, 2, 7, 9], 2, 2),
    max_pool([1, 2, 7, 9], 2, 2, ceil_mode=True),
    max_pool([1, 3, 9, 17], 3, 2, padding=1),
    max_pool([1, 2, 10, 12], 3, 2, ceil_mode=True),
    max_pool([1, 2, 8, 7], 3, 1, padding=1),
    max_pool([1, 2, 11, 13], 5, 3, padding=2, ceil_mode=True),
    max_pool([1, 2, 9, 9], 2, 3),
    average_pool([3, 2, 7, 9], 2, 2),
    average_pool([1, 2, 7, 9], 2, 2, ceil_mode=True),
    average_pool([1, 3, 9, 17], 3, 2, padding=1),
    average_pool([1, 3, 9, 17], 3, 2, padding=1, count_padding=False),
    average_pool([1, 2, 10, 12], 3, 2, padding=1, ceil_mode=True),
    average_pool([1, 2, 10, 12], 3, 2, padding=1, ceil_mode=True, count_padding=False),
    average_pool([1, 2, 8, 7], 3, 1, padding=1, count_padding=False),
    average_pool([1, 2, 11, 13], 5, 3, padding=2, ceil_mode=True),
    bilinear([3, 2, 5, 7], 10, 14, False),
    bilinear([1, 2, 5, 7], 10, 14, True),
    bilinear([1, 2, 5, 7], 13, 9, False),
    bilinear([1, 2, 5, 7], 13, 9, True),
    bilinear([1, 3, 12, 17], 5, 6, False),
    bilinear([1, 3, 12, 17], 5, 6, True),
    bilinear([1, 2, 6, 5], 3, 20, False),
    bilinear([1, 2, 6, 5], 1, 1, True),
    bilinear([1, 2, 1, 1], 3, 4, False),
    nearest([3, 2, 5, 7], 10, 14),
    nearest([1, 2, 5, 7], 13, 9),
    nearest([1, 3, 12, 17], 5, 6),
    batch_norm([3, 3, 5, 7], True, False),
    batch_norm([3, 4, 5, 7], True, True),
    batch_norm([1, 2, 9, 33], True, True),
    batch_norm([3, 3, 5, 7], False, False),
    batch_norm([1, 2, 9, 33], False, True),
]


def operands(index, case):
    """The inputs with a gradient, by name, in float64."""
    shapes = {"x": case["x"]}
    if "weight" in case:
        shapes["weight"] = case["weight"]
    if case["operator"] == "batch_norm":
        shapes |= {"gamma": [case["x"][1]], "beta": [case["x"][1]]}
    return {name: torch.from_numpy(drawn(f"{index}.{name}", shape)).double().requires_grad_()
            for name, shape in shapes.items()}


def value(index, case, inputs):
    """The operator's value, and further results by name."""
    x, weight = inputs["x"], inputs.get("weight")
    match case["operator"]:
        case "convolution":
            top, left, bottom, right = case["padding"]
            padded = F.pad(x, (left, right, top, bottom))
            return F.conv2d(padded, weight, None, case["stride"], 0, case["dilation"], case["groups"]), {}
        case "transposed_convolution":
            return F.conv_transpose2d(x, weight, None, case["stride"], case["padding"], case["output_padding"],
                                      case["groups"], case["dilation"]), {}
        case "max_pool":
            return F.max_pool2d(x, case["kernel"], case["stride"], case["padding"], 1, case["ceil_mode"]), {}
        case "average_pool":
            return F.avg_pool2d(x, case["kernel"], case["stride"], case["padding"], case["ceil_mode"],
                                case["count_padding"]), {}
        case "bilinear":
            size = (case["height"], case["width"])
            return F.interpolate(x, size, mode="bilinear", align_corners=case["align_corners"], antialias=False), {}
        case "nearest":
            return F.interpolate(x, (case["height"], case["width"]), mode="nearest"), {}
        case "batch_norm":
            # The statistics before: a mean in [-1, 1), a variance in [0.5, 1.5).
            mean = torch.from_numpy(drawn(f"{index}.moving_mean", [case["x"][1]])).double()
            variance = torch.from_numpy(1 + np.float32(0.5) * drawn(f"{index}.moving_variance", [case["x"][1]])).double()
            y = F.batch_norm(x, mean, variance, inputs["gamma"], inputs["beta"], case["train"], MOMENTUM, EPSILON)
            further = {"moving_mean": mean, "moving_variance": variance} if case["train"] else {}
            if case["relu"]:
                assert y.abs().min() > 1e-5, f"case {index}: a value so near 0 that float32 may round it over"
                y = y.relu()
            return y, further


results = {}
for index, case in enumerate(CASES):
    inputs = operands(index, case)
    y, further = value(index, case, inputs)
    y.backward(torch.from_numpy(drawn(f"{index}.upstream", list(y.shape))).double())
    further |= {"y": y} | {f"gradient.{name}": tensor.grad for name, tensor in inputs.items()}
    results |= {f"{index}.{name}": tensor.detach().numpy().astype(np.float32) for name, tensor in further.items()}

assert all(values.any() for values in results.values()), "zeros would compare nothing"
path = pathlib.Path(__file__).parent.parent / "tests/references/nn_operators.safetensors"
path.parent.mkdir(exist_ok=True)
save_file(results, path, {"cases": json.dumps(CASES)})
print(f"{path.name}: {len(CASES)} cases, {len(results)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}")
