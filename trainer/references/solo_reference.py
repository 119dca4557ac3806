"""Writes trainer/tests/references/solo.safetensors: losses, gradients and detections of mmdetection's SOLO head.

    pip install torch torchvision numpy safetensors mmengine opencv-python-headless
    pip install --no-deps mmdet==3.3.0 mmcv-lite==2.1.0                      # and what they import: scipy shapely terminaltables ...
    python trainer/references/solo_reference.py

Written with PyTorch 2.15.0, torchvision 0.29.2 and mmdet 3.3.0 (Apache-2.0), in float64. mmcv-lite has no compiled operators; those that the
head imports, but does not call here, stand as empty names. Backbone (frozen norms) and pyramid are torchvision's. Weights and pictures are
drawn (lesion_pictures.py), under the names that ours have.
"""
import importlib.machinery
import json
import pathlib
import sys
import types

import numpy as np
import torch
import torchvision
from lesion_pictures import BATCH, LESIONS, SIDE, batch, sampled, weight
from safetensors.numpy import save_file
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.misc import FrozenBatchNorm2d

CLASSES = 2
SMALL = {".bn3.": 0.2, "conv_cls": 0.1, "conv_mask_list": 0.3, "neck.": 0.5}


class Names(types.ModuleType):
    """A module that has whatever is asked of it, as long as nobody calls it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})


sys.modules["mmcv.ops"] = Names("mmcv.ops")
sys.modules["mmcv.ops"].__spec__ = importlib.machinery.ModuleSpec("mmcv.ops", None)
for name in ("nms", "carafe", "merge_cells", "modulated_deform_conv", "point_sample", "roi_align"):
    sys.modules[f"mmcv.ops.{name}"] = Names(f"mmcv.ops.{name}")
import mmcv  # noqa: E402
import mmcv.cnn.bricks.transformer  # noqa: E402

mmcv.cnn.bricks.transformer.MultiScaleDeformableAttention = torch.nn.Module

mmcv.ops = sys.modules["mmcv.ops"]
from mmdet.models.dense_heads.solo_head import SOLOHead  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

head = SOLOHead(
    num_classes=CLASSES, in_channels=256, stacked_convs=7, feat_channels=256, strides=[8, 8, 16, 32, 32],
    # The ranges belong to pictures of 800 pixels.
    scale_ranges=tuple((low * SIDE / 800, high * SIDE / 800) for low, high in ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))),
    pos_scale=0.2, num_grids=[40, 36, 24, 16, 12], cls_down_index=0,
    loss_mask=dict(type="DiceLoss", use_sigmoid=True, loss_weight=3.0),
    loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
    norm_cfg=dict(type="GN", num_groups=32, requires_grad=True),
    test_cfg=ConfigDict(nms_pre=500, score_thr=0.1, mask_thr=0.5, filter_thr=0.05, kernel="gaussian", sigma=2.0, max_per_img=100))
body = _resnet_fpn_extractor(torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d), 3)


def ours(name):
    """Our name of a parameter of the body."""
    name = name.replace("body.", "backbone.")
    for theirs, own in (("fpn.inner_blocks.", "neck.lateral_convs."), ("fpn.layer_blocks.", "neck.fpn_convs.")):
        if name.startswith(theirs):
            level, part = name.removeprefix(theirs).split(".0.")
            return f"{own}{level}.conv.{part}"
    return name


def draw(net, named):
    net.load_state_dict({name: weight(named(name), tuple(value.shape), SMALL) for name, value in net.state_dict().items()})
    return net.double()


head = draw(head, lambda name: f"mask_head.{name}")
body = draw(body, ours)
pictures, targets = batch()
instances = []
for of in targets:
    data = InstanceData()
    data.bboxes, data.labels = of["boxes"], of["labels"] - 1
    data.masks = BitmapMasks(of["masks"].numpy(), SIDE, SIDE)
    instances.append(data)
metas = [dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE))] * BATCH

found = {}
body.train(), head.train()
maps = list(body(pictures).values())
losses = head.loss_by_feat(*head(maps), instances, metas)
losses = {name: sum(value) if isinstance(value, list) else value for name, value in losses.items()}
sum(losses.values()).backward()
print({name: round(value.item(), 5) for name, value in losses.items()})
found |= {f"losses.{name}": value.reshape(1) for name, value in losses.items()}
trained = [(ours(name), value) for name, value in body.named_parameters() if value.requires_grad]
trained += [(f"mask_head.{name}", value) for name, value in head.named_parameters()]
found |= {f"gradient.{name}": sampled(name, value.grad) for name, value in trained}

body.eval(), head.eval()
with torch.no_grad():
    results = head.predict_by_feat(*head(list(body(pictures).values())), batch_img_metas=metas)
for number, of in enumerate(results):
    print(f"picture {number}: {len(of.scores)} detections, scores {of.scores[:3].tolist()}")
    found |= {f"found.{number}.scores": of.scores[:20], f"found.{number}.labels": of.labels[:20] + 1}
    found[f"found.{number}.pixels"] = of.masks[:20].flatten(1).sum(1)

path = pathlib.Path(__file__).parent.parent / "tests/references/solo.safetensors"
settings = dict(batch=BATCH, side=SIDE, classes=CLASSES, small=list(SMALL.items()), lesions=LESIONS)
save_file({name: value.detach().numpy().astype(np.float32) for name, value in found.items()}, path,
          {"settings": json.dumps(settings)})
print(f"{path.name}: {len(found)} tensors, {path.stat().st_size} bytes, torch {torch.__version__}")
