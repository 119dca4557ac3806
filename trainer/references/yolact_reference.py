"""Writes trainer/tests/references/yolact.safetensors: losses, gradients and detections of the authors' YOLACT.

    git clone https://github.com/dbolya/yolact                         # commit 902073d was used (MIT)
    pip install torch torchvision numpy safetensors opencv-python-headless matplotlib pycocotools
    python trainer/references/yolact_reference.py YOLACT

Written with PyTorch 2.15.0, in float64. Weights and pictures are drawn (lesion_pictures.py); parameters are drawn under the names that ours
have, which differ in the backbone. The program asks for a GPU when it is imported; here it is told there is none.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from lesion_pictures import BATCH, LESIONS, SIDE, batch, sampled, weight
from safetensors.numpy import save_file

CLASSES = 3
SMALL = {".bn3.": 0.2, "bbox_layer": 0.1, "conf_layer": 0.1, "mask_layer": 0.1, "proto_net.10": 0.1, "fpn.": 0.5, "semantic": 0.1}

sys.path.insert(0, sys.argv[1])
torch.cuda.current_device = lambda: 0
from data import cfg, set_cfg  # noqa: E402

set_cfg("yolact_resnet50_config")
cfg.num_classes, cfg.max_size = CLASSES, SIDE
scales = [[scale * SIDE / 550] for scale in (24, 48, 96, 192, 384)]
cfg.backbone.pred_scales = scales
import yolact  # noqa: E402
from layers.modules.multibox_loss import MultiBoxLoss  # noqa: E402

yolact.use_jit = False


def ours(name):
    """Our name of a parameter."""
    parts = name.split(".")
    if parts[:2] == ["backbone", "layers"]:
        return ".".join(["backbone", f"layer{int(parts[2]) + 1}", *parts[3:]])
    return name


net = yolact.Yolact()
state = {name: weight(ours(name), tuple(value.shape), SMALL) if value.ndim else value for name, value in net.state_dict().items()}
net.load_state_dict(state)
net = net.double()
net.detect.use_fast_nms = True
pictures, targets = batch()
boxes = [torch.cat([of["boxes"] / SIDE, of["labels"][:, None].double() - 1], 1) for of in targets]
masks = [of["masks"].double() for of in targets]
torch.set_default_dtype(torch.float64)
# The loss makes masks of numbers by `float()`.
torch.Tensor.float = torch.Tensor.double
torch.randperm = lambda count, **_: torch.arange(count)

found = {}
net.eval()
with torch.no_grad():
    for number, of in enumerate(net(pictures)):
        of = of["detection"]
        print(f"picture {number}: {len(of['score'])} detections, scores {of['score'][:3].tolist()}")
        found |= {f"found.{number}.scores": of["score"][:20], f"found.{number}.labels": of["class"][:20] + 1}
        found[f"found.{number}.boxes"] = (of["box"][:20] * SIDE).clamp(0, SIDE)

net.train()
losses = MultiBoxLoss(CLASSES, cfg.positive_iou_threshold, cfg.negative_iou_threshold, cfg.ohem_negpos_ratio)(
    net, net(pictures), boxes, masks, [0] * BATCH)
sum(losses.values()).backward()
names = {"B": "loss_box", "C": "loss_class", "M": "loss_mask", "S": "loss_semantic"}
print({names[name]: round(value.item(), 5) for name, value in losses.items()})
found |= {f"losses.{names[name]}": value.reshape(1) for name, value in losses.items()}
trained = [(ours(name), value) for name, value in net.named_parameters()]
found |= {f"gradient.{name}": sampled(name, value.grad) for name, value in trained}

path = pathlib.Path(__file__).parent.parent / "tests/references/yolact.safetensors"
settings = dict(batch=BATCH, side=SIDE, classes=CLASSES, small=list(SMALL.items()), lesions=LESIONS)
save_file({name: value.detach().numpy().astype(np.float32) for name, value in found.items()}, path,
          {"settings": json.dumps(settings)})
print(f"{path.name}: {len(found)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}")
