"""Writes trainer/tests/references/mask_rcnn.safetensors: losses, gradients and detections of torchvision's Mask R-CNN.

    pip install torch torchvision numpy safetensors
    python trainer/references/mask_rcnn.py

Written with PyTorch 2.15.0 and torchvision 0.29.2, in float64. The weights are drawn (drawn.py) and made small where activations
would grow from block to block (`weight`); the samplers take what comes first in place of what is drawn; trainer/nets/tests/mask_rcnn.rs does
the same. Batch norms are frozen, as torchvision has them with a backbone's published weights; of the gradients there is a sample.
"""
import json
import pathlib

import numpy as np
import torch
import torchvision
from lesion_pictures import BATCH, LESIONS, SIDE, batch, sampled, weight
from safetensors.numpy import save_file
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.misc import FrozenBatchNorm2d

CLASSES, STEPS, LEARNING_RATE = 3, 10, 1e-4
SMALL = {".bn3.": 0.2, "rpn.head.": 0.1, "box_predictor": 0.05, "fpn.": 0.5, "mask_fcn_logits": 0.2}


def model():
    body = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    net = MaskRCNN(_resnet_fpn_extractor(body, 3), CLASSES, min_size=SIDE, max_size=SIDE, image_mean=[0.0] * 3,
                   image_std=[1.0] * 3, box_batch_size_per_image=64)
    net.load_state_dict({name: weight(name, tuple(value.shape), SMALL) for name, value in net.state_dict().items()})
    return net.double()


torch.randperm = lambda count, **_: torch.arange(count)
net = model()
pictures, targets = batch()
trained = {name: value for name, value in net.named_parameters() if value.requires_grad}
found = {}
net.train()
losses = net(list(pictures), targets)
sum(losses.values()).backward()
found |= {f"losses.{name}": value.reshape(1) for name, value in losses.items()}
for name, value in trained.items():
    found[f"gradient.{name}"] = sampled(name, value.grad)
print({name: round(value.item(), 5) for name, value in losses.items()}, len(trained), "trained")

net.eval()
with torch.no_grad():
    detections = net(list(pictures))
for number, of in enumerate(detections):
    print(f"picture {number}: {len(of['scores'])} detections, scores {of['scores'][:5].tolist()}")
    found |= {f"found.{number}.{name}": of[name][:20] for name in ("boxes", "scores", "labels")}
    found[f"found.{number}.pixels"] = (of["masks"][:20, 0] >= 0.5).flatten(1).sum(1)

def train(net, dtype):
    """Ten steps of gradient descent with momentum: the losses, and how far the weights have gone."""
    net = net.to(dtype).train()
    moved = {name: value for name, value in net.named_parameters() if value.requires_grad}
    steps = []
    optimizer = torch.optim.SGD(moved.values(), LEARNING_RATE, momentum=0.9)
    inputs = [picture.to(dtype) for picture in pictures]
    wanted = [target | {"boxes": target["boxes"].to(dtype)} for target in targets]
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = sum(net(inputs, wanted).values())
        loss.backward()
        optimizer.step()
        steps.append(loss.item())
    gone = {"steps": torch.tensor(steps)}
    for name, value in moved.items():
        gone[f"after.{name}"] = sampled(name, value.double() - weight(name, tuple(value.shape), SMALL).double())
    return gone


exact, single = train(model(), torch.float64), train(model(), torch.float32)
print("steps:", *(f"{loss:.5f}" for loss in exact["steps"]))
worst = {name: ((single[name] - value).abs().max() / value.abs().max()).item() for name, value in exact.items()}
print(f"float32 from float64 after ten steps: {max(worst.values()):.1e} ({max(worst, key=worst.get)}), losses {worst['steps']:.1e}")
found |= exact

path = pathlib.Path(__file__).parent.parent / "tests/references/mask_rcnn.safetensors"
settings = dict(batch=BATCH, side=SIDE, classes=CLASSES, learning_rate=LEARNING_RATE, steps=STEPS, small=list(SMALL.items()),
                lesions=LESIONS)
save_file({name: value.detach().numpy().astype(np.float32) for name, value in found.items()}, path,
          {"settings": json.dumps(settings)})
print(f"{path.name}: {len(found)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}, torchvision {torchvision.__version__}")
