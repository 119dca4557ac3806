"""Writes trainer/tests/references/blitznet.safetensors: losses and detections of BlitzNet as it is defined, in PyTorch.

    pip install torch torchvision numpy safetensors
    python trainer/references/blitznet.py

Written with PyTorch 2.15.0 and torchvision 0.29.2, in float64. The authors' program needs TensorFlow 1 and cannot be run any more; this is
their definition (Dvornik et al. 2017, and github.com/dvornikita/blitznet at a54028d, MIT) written down once more, independently of ours but
for two choices of ours that trainer/nets/src/instance/blitznet.rs tells: pixels' middles lie at 0.5 where a map is resized, and of two lesions
with one best prior the second gets its next. No gradients are kept: with two pictures the batch norms of the smallest maps have eight
values or fewer to normalise by, and PyTorch's own float32 gradients have nothing in common with its float64's (its losses differ by 6e-3).
Weights and pictures are drawn (lesion_pictures.py), under the names that ours have.
"""
import json
import math
import pathlib

import numpy as np
import torch
import torchvision
from lesion_pictures import BATCH, LESIONS, batch, weight
from safetensors.numpy import save_file
from torch.nn import functional as F

# Twice that of the others, so that the smallest map is larger than 1 x 1.
CLASSES, SIDE = 3, 256
SMALL = {".bn3.": 0.2, ".3.bn": 0.2, "location": 0.1, "confidence": 0.1, "segmentation": 0.3}
RATIOS = (2, 1 / 2, 3, 1 / 3)

backbone = torchvision.models.resnet50(weights=None)
for layer in (backbone.layer2, backbone.layer3, backbone.layer4):
    layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
backbone.fc = torch.nn.Identity()
torch.set_grad_enabled(False)
state = {name: weight(f"backbone.{name}", tuple(value.shape), SMALL) if value.ndim else value
         for name, value in backbone.state_dict().items()}
backbone.load_state_dict(state)
backbone.double()
own = {}


def parameter(name, shape):
    if name not in own:
        own[name] = weight(name, tuple(shape), SMALL).double()
    return own[name]


def normed(x, name, channels, kernel, stride=1, relu=True):
    """Convolution, batch norm of the batch, perhaps ReLU."""
    x = F.conv2d(x, parameter(f"{name}.conv.weight", (channels, x.shape[1], kernel, kernel)), None, stride, kernel // 2)
    mean, variance, scale, shift = (
        parameter(f"{name}.bn.{part}", (channels,)) for part in ("running_mean", "running_var", "weight", "bias"))
    x = F.batch_norm(x, *((None, None) if backbone.training else (mean, variance)), scale, shift, backbone.training)
    return x.relu() if relu else x


def head(x, name, channels, kernel):
    shape = (channels, x.shape[1], kernel, kernel)
    return F.conv2d(x, parameter(f"{name}.weight", shape), parameter(f"{name}.bias", (channels,)), 1, kernel // 2)


def deep(x, name, stride):
    residual = normed(x, f"{name}.1", 512, 1, stride)
    residual = normed(normed(residual, f"{name}.2", 512, 3), f"{name}.3", 2048, 1, relu=False)
    return (x[:, :, ::stride, ::stride] + residual).relu()


def join(x, skip, name):
    x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
    shortcut = x if x.shape[1] == 512 else normed(x, f"{name}.shortcut", 512, 1, relu=False)
    residual = normed(torch.cat([x, skip], 1), f"{name}.1", 128, 1)
    residual = normed(normed(residual, f"{name}.2", 128, 3), f"{name}.3", 512, 1, relu=False)
    return (shortcut + residual).relu()


def net(x):
    x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(x))))
    down = []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        down.append(x := stage(x))
    for stage in (5, 6, 7):
        down.append(x := deep(deep(x, f"extra.block{stage}.0", 2), f"extra.block{stage}.1", 1))
    up = []
    for index in range(5, -1, -1):
        up.insert(0, x := join(x, down[index], f"back.block{index + 1}"))
    up.append(up[-1].mean((2, 3), keepdim=True))
    location = torch.cat([head(x, f"location.{i}", 24, 3).permute(0, 2, 3, 1).reshape(BATCH, -1, 4) for i, x in enumerate(up)], 1)
    confidence = [head(x, f"confidence.{i}", 6 * CLASSES, 3).permute(0, 2, 3, 1).reshape(BATCH, -1, CLASSES) for i, x in enumerate(up)]
    parts = [F.interpolate(head(x, f"segmentation.{i}", 64, 1).relu(), up[0].shape[2:], mode="nearest") for i, x in enumerate(up)]
    return location, torch.cat(confidence, 1), head(torch.cat(parts, 1), "segmentation.logits", CLASSES, 3), [x.shape[2] for x in up]


def priors(sizes):
    """Middles, widths and heights, as shares of the side."""
    step = (0.95 - 0.1) / (len(sizes) - 2)
    scales = [0.04] + [0.1 + step * i for i in range(len(sizes))]
    boxes = []
    for size, scale, larger in zip(sizes, scales, scales[1:]):
        shapes = [(scale, scale)] + [(scale * math.sqrt(r), scale / math.sqrt(r)) for r in RATIOS] + [(math.sqrt(scale * larger),) * 2]
        boxes += [((j + 0.5) / size, (i + 0.5) / size, w, h) for i in range(size) for j in range(size) for w, h in shapes]
    return torch.tensor(boxes, dtype=torch.float64)


def match(boxes, truths):
    """For each prior its truth, -1 for the background."""
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    overlaps = torchvision.ops.box_iou(corners, truths)
    best, which = overlaps.max(1)
    which = torch.where(best >= 0.5, which, -1)
    for _ in range(len(truths)):
        prior, truth = divmod(overlaps.argmax().item(), len(truths))
        which[prior] = truth
        overlaps[prior], overlaps[:, truth] = -1, -1
    return which


pictures, targets = batch(SIDE)
found = {}
backbone.eval()
location, confidence, segmentation, sizes = net(pictures)
boxes = priors(sizes)
for number in range(BATCH):
    middle = location[number, :, :2] * 0.1 * boxes[:, 2:] + boxes[:, :2]
    size = (location[number, :, 2:] * 0.2).exp() * boxes[:, 2:]
    decoded = (torch.cat([middle - size / 2, middle + size / 2], 1) * SIDE).clamp(0, SIDE)
    scores, labels = confidence[number].softmax(1)[:, 1:].flatten(), torch.arange(1, CLASSES).repeat(len(boxes))
    order = scores.argsort(descending=True, stable=True)[:400]
    order = order[scores[order] > 0.01]
    decoded = decoded.repeat_interleave(CLASSES - 1, 0)[order]
    kept = torchvision.ops.batched_nms(decoded, scores[order], labels[order], 0.45)[:20]
    print(f"picture {number}: scores {scores[order][kept][:3].tolist()}")
    found |= {f"found.{number}.boxes": decoded[kept], f"found.{number}.scores": scores[order][kept],
              f"found.{number}.labels": labels[order][kept]}
    map = F.interpolate(segmentation[number][None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0].argmax(0)
    found[f"map.{number}"] = (map > 0).sum().reshape(1)
backbone.train()
location, confidence, segmentation, sizes = net(pictures)
matches = torch.stack([match(boxes, of["boxes"] / SIDE) for of in targets])
positive = matches >= 0
labels = torch.stack([torch.where(m >= 0, of["labels"][m.clamp(min=0)], 0) for m, of in zip(matches, targets)])
truths = torch.stack([(of["boxes"] / SIDE)[m.clamp(min=0)] for m, of in zip(matches, targets)])
middle, size = (truths[..., :2] + truths[..., 2:]) / 2, truths[..., 2:] - truths[..., :2]
wanted = torch.cat([(middle - boxes[:, :2]) / boxes[:, 2:] / 0.1, (size / boxes[:, 2:]).log() / 0.2], 2)
entropy = F.cross_entropy(confidence.permute(0, 2, 1), labels, reduction="none")
count = positive.sum()
hardest = entropy[~positive].topk(min(3 * count.item(), (~positive).sum().item())).values
semantic = torch.zeros(BATCH, SIDE, SIDE, dtype=torch.long)
for number, of in enumerate(targets):
    for label, mask in zip(of["labels"], of["masks"]):
        semantic[number][mask > 0] = label
small = F.interpolate(semantic[:, None].double(), segmentation.shape[2:], mode="nearest")[:, 0].long()
losses = {
    "loss_box": F.smooth_l1_loss(location[positive], wanted[positive], reduction="sum") / count,
    "loss_class": (entropy[positive].sum() + hardest.sum()) / count,
    "loss_semantic": F.cross_entropy(segmentation, small),
}
print({name: round(value.item(), 5) for name, value in losses.items()}, count.item(), "priors with a lesion of", len(boxes) * BATCH)
found |= {f"losses.{name}": value.reshape(1) for name, value in losses.items()}

path = pathlib.Path(__file__).parent.parent / "tests/references/blitznet.safetensors"
settings = dict(batch=BATCH, side=SIDE, classes=CLASSES, small=list(SMALL.items()), lesions=LESIONS)
save_file({name: value.detach().numpy().astype(np.float32) for name, value in found.items()}, path,
          {"settings": json.dumps(settings)})
print(f"{path.name}: {len(found)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}")
