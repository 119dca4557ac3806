"""Pictures with ellipses as lesions, and drawn weights, for the references of the nets that find single lesions.

trainer/nets/tests/lesion_pictures/mod.rs makes the same.
"""
import numpy as np
import torch
from drawn import drawn, drawn_parameter, places

BATCH, SIDE = 2, 128
# Left, top, width and height of the lesions of each picture, and their classes.
LESIONS = [[(10, 20, 60, 40, 1), (80, 70, 33, 50, 2)], [(30, 8, 24, 90, 2)]]
# Values of each gradient that are kept.
SAMPLES = 12


def weight(name, shape, small):
    """A parameter; where its name has a part that `small` has, that many times as large."""
    value = drawn_parameter(name, shape)
    for part, factor in small.items():
        if part in name and "running" not in name and not name.endswith("bias"):
            value = value * np.float32(factor)
    return torch.from_numpy(value)


def batch(side=SIDE):
    """Pictures of that side, in float64, and of each its boxes, labels and masks."""
    pictures = torch.from_numpy(drawn("pictures", [BATCH, 3, side, side])).double()
    targets = []
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for number, lesions in enumerate(LESIONS):
        boxes, labels, masks = [], [], []
        for left, top, width, height, label in lesions:
            # An ellipse in its box.
            x, y = (columns - left + 0.5) / width * 2 - 1, (rows - top + 0.5) / height * 2 - 1
            mask = x**2 + y**2 <= 1
            inside = mask.nonzero()
            boxes.append([inside[:, 1].min(), inside[:, 0].min(), inside[:, 1].max() + 1, inside[:, 0].max() + 1])
            labels.append(label)
            masks.append(mask)
            pictures[number] += mask * label
        targets.append({"boxes": torch.tensor(boxes).double(), "labels": torch.tensor(labels), "masks": torch.stack(masks).byte()})
    return pictures, targets


def sampled(name, value):
    """A sample of the values of a tensor, as float64."""
    chosen = torch.from_numpy(places(name, SAMPLES, value.numel()).astype(np.int64))
    return value.detach().double().flatten()[chosen]
