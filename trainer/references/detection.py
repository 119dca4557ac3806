"""Writes trainer/tests/references/detection.safetensors: RoIAlign, suppression, pasted masks and losses by torchvision.

    pip install torch torchvision numpy safetensors
    python trainer/references/detection.py

Written with PyTorch 2.15.0 and torchvision 0.29.2. Inputs are drawn (see drawn.py); trainer/nn/tests/detection.rs makes them anew.
Matrix suppression is what Wang et al. 2020 (SOLOv2, section 3.3) define, written here in PyTorch.
"""
import json
import pathlib

import numpy as np
import torch
import torchvision
from drawn import drawn
from safetensors.numpy import save_file
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import paste_masks_in_image

ROI_ALIGN = [
    dict(x=[2, 3, 13, 17], regions=7, height=7, width=7, scale=0.25, samples=2, aligned=False),
    dict(x=[1, 2, 20, 20], regions=5, height=14, width=14, scale=0.5, samples=2, aligned=False),
    dict(x=[3, 1, 30, 25], regions=6, height=28, width=28, scale=1.0, samples=0, aligned=False),
    dict(x=[2, 2, 11, 9], regions=6, height=3, width=5, scale=0.125, samples=3, aligned=True),
]
BOXES = 200


def tensor(name, shape):
    return torch.from_numpy(drawn(name, shape))


def boxes(name, count, size):
    """Corners; some reach out of a picture of `size`."""
    value = tensor(name, [count, 4])
    middle, half = (value[:, :2] + 1) * size / 2, (value[:, 2:] + 1.05) * size / 6
    return torch.cat([middle - half, middle + half], 1)


def matrix_factors(masks, classes, sigma):
    flat = masks.flatten(1).double()
    both = flat @ flat.T
    area = flat.sum(1)
    overlap = (both / (area[:, None] + area[None] - both)).nan_to_num().triu(1)
    overlap = overlap * (classes[:, None] == classes[None])
    largest = overlap.max(0).values
    return torch.exp(-sigma * (overlap**2 - largest[:, None] ** 2)).triu(1).add(torch.ones_like(overlap).tril()).min(0).values


found = {}
for index, case in enumerate(ROI_ALIGN):
    name = f"roi_align.{index}"
    x = tensor(f"{name}.x", case["x"]).double().requires_grad_()
    regions = boxes(f"{name}.boxes", case["regions"], min(case["x"][2:]) / case["scale"]).double()
    pictures = torch.arange(case["regions"]) % case["x"][0]
    regions = torch.cat([pictures[:, None].double(), regions], 1)
    samples = case["samples"] or -1
    y = torchvision.ops.roi_align(x, regions, (case["height"], case["width"]), case["scale"], samples, case["aligned"])
    y.backward(tensor(f"{name}.upstream", list(y.shape)).double())
    found |= {f"{name}.y": y, f"{name}.gradient": x.grad}

candidates = boxes("suppression.boxes", BOXES, 100)
scores = tensor("suppression.scores", [BOXES]) * 0.5 + 0.5
classes = torch.arange(BOXES) % 3
found["suppression.greedy"] = torchvision.ops.nms(candidates, scores, 0.4)
found["suppression.class_wise"] = torchvision.ops.batched_nms(candidates, scores, classes, 0.4)
rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
discs = boxes("suppression.discs", 30, 40)
masks = torch.stack([(columns >= b[0]) & (columns < b[2]) & (rows >= b[1]) & (rows < b[3]) for b in discs])
found["suppression.matrix"] = matrix_factors(masks, torch.arange(30) % 2, 2.0)
found["suppression.overlaps"] = torchvision.ops.box_iou(candidates.double(), candidates.double())[:20]

coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
references = boxes("coder.references", 50, 100).double()
found["coder.codes"] = coder.encode([candidates[:50].double()], [references])[0]
codes = tensor("coder.codes", [50, 4]).double() * 30
found["coder.boxes"] = coder.decode(codes, [references])[:, 0]

places = torch.tensor([[3.2, 4.9, 30.1, 22.7], [-7.0, 10.0, 9.5, 60.0], [40.3, 2.0, 41.1, 3.0], [12.0, 12.0, 12.0, 40.0]])
values = tensor("paste.values", [4, 1, 28, 28]) * 0.5 + 0.5
found["paste.pictures"] = paste_masks_in_image(values, places, (48, 56))[:, 0]

logits, other = tensor("losses.logits", [6, 9]).double() * 4, tensor("losses.other", [6, 9]).double()
truth = (other > 0).double()
for name, loss in {
    "smooth_l1": lambda x: F.smooth_l1_loss(x, other, beta=1 / 9, reduction="sum"),
    "focal": lambda x: torchvision.ops.sigmoid_focal_loss(x, truth, 0.25, 2.0),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.arange(6), reduction="none"),
    "group_norm": lambda x: F.group_norm(x.reshape(1, 6, 3, 3), 2, other[0, :6] + 2, other[1, :6], 1e-5),
}.items():
    x = logits.clone().requires_grad_()
    y = loss(x)
    y.sum().backward() if name != "group_norm" else y.backward(tensor("losses.upstream", [1, 6, 3, 3]).double())
    found |= {f"{name}.y": y.reshape(-1), f"{name}.gradient": x.grad}

path = pathlib.Path(__file__).parent.parent / "tests/references/detection.safetensors"
save_file({name: value.detach().numpy().astype(np.float32) for name, value in found.items()}, path,
          {"roi_align": json.dumps(ROI_ALIGN)})
print(f"{path.name}: {len(found)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}, torchvision {torchvision.__version__}")
