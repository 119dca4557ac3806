"""Occlusion by captum, of a picture of 28 x 28 whose score is a sigmoid of a weighted sum.

    pip install numpy torch captum safetensors
    python trainer/references/occlusion.py

Written with PyTorch 2.15.0, captum 0.9.0. Writes tests/references/occlusion.safetensors: the picture, the weights, and captum's
attribution of each pixel, the mean over the squares that cover it of by how much the score falls. tests of trainer/src/explain read it.
"""
from pathlib import Path

import numpy as np
import torch
from captum.attr import Occlusion
from safetensors.numpy import save_file

random = np.random.default_rng(1)
picture = random.normal(size=(2, 28, 28)).astype(np.float32)
weights = (0.05 * random.normal(size=(2, 28, 28))).astype(np.float32)
x = torch.from_numpy(picture).double()[None]


def score(pictures):
    return torch.sigmoid((pictures * torch.from_numpy(weights).double()).sum((1, 2, 3)))


# Fourteen cells of two pixels; a square covers two by two cells, and the next one is a cell further.
mean = x.mean((2, 3), keepdim=True).expand_as(x)
attribution = Occlusion(score).attribute(x, sliding_window_shapes=(2, 4, 4), strides=(2, 2, 2), baselines=mean)
assert torch.equal(attribution[0, 0], attribution[0, 1])
out = Path(__file__).parent.parent / "tests/references/occlusion.safetensors"
save_file({"picture": picture, "weights": weights, "attribution": np.ascontiguousarray(attribution[0, 0].numpy())}, out)
print(f"{out}: {attribution.min():.4f} to {attribution.max():.4f}")
