"""PyTorch's side of `thorax-train bench nn --torch PYTHON` and `bench backbones --peers PYTHON` (see bench_peer.py).

    python bench_torch.py --threads 2 --device cpu --precision f32

The cases have the names that trainer/src/bench/cases.rs and backbones.rs give them.
"""
import argparse
import re
import warnings
from importlib.metadata import version
from importlib.util import find_spec

import torch
from attention_unet import AttentionUnet, adamw, bce_dice
from bench_peer import serve
from resnet50 import ResNet50
from torch.nn import functional as F

if find_spec("torchvision"):
    # Before anything is measured, so that a case's memory is its own.
    import torchvision.models.detection

# The jit still is the way to a frozen graph in eager PyTorch, and says at every step that it is deprecated.
warnings.filterwarnings("ignore", category=FutureWarning)
parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--device", default="cpu")
parser.add_argument("--precision", choices=["f32", "bf16", "f16"], default="f32")
options = parser.parse_args()
torch.set_num_threads(options.threads)
torch.set_num_interop_threads(1)
torch.manual_seed(1)
device = torch.device(options.device)
dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[options.precision]


def normal(*shape):
    return torch.randn(*shape, device=device).to(dtype)


def convolution(batch, channels, side, kernel, groups, part):
    """A convolution that keeps the sides: `forward`, one gradient, or `backward` (both)."""
    x, weight = normal(batch, channels, side, side), normal(channels, channels // groups, kernel, kernel)
    dy, padding = normal(batch, channels, side, side), kernel // 2
    if part == "forward":
        return lambda: F.conv2d(x, weight, None, 1, padding, 1, groups)
    mask = {"input gradient": [True, False, False], "weight gradient": [False, True, False],
            "backward": [True, True, False]}[part]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(dy, x, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], groups, mask)


def training_step():
    """Forward, loss, backward and AdamW; in half precision under autocast, as one trains in PyTorch."""
    net = AttentionUnet().to(device).train()
    optimizer = adamw(net, 1e-3)
    x = torch.randn(4, 1, 256, 256, device=device)
    truth = (torch.rand(4, 2, 256, 256, device=device) > 0.7).float()
    known = torch.ones(4, 2, 1, 1, device=device)

    def step():
        with torch.enable_grad():
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = net(x)
            bce_dice(logits.float(), truth, known).backward()
            optimizer.step()

    return step


def boxes(count, side):
    """Boxes of 8 to 64 pixels in a picture of `side`."""
    share = (torch.randn(count, 4) * 0.3 + 0.5).clamp(0, 1)
    middle, half = share[:, :2] * side, 4 + 28 * share[:, 2:]
    return torch.cat([middle - half, middle + half], 1).clamp(0, side).to(device)


def regions():
    """RoIAlign, down to the gradient of the map."""
    from torchvision.ops import roi_align

    x = torch.randn(2, 256, 64, 64, device=device, requires_grad=True)
    of = torch.cat([(torch.arange(512, device=device) % 2)[:, None], boxes(512, 256)], 1)

    def step():
        with torch.enable_grad():
            x.grad = None
            roi_align(x, of, (7, 7), 0.25, 2).sum().backward()

    return step


def suppression():
    from torchvision.ops import nms

    of, scores = boxes(2000, 1000), torch.randn(2000, device=device)
    return lambda: nms(of, scores, 0.7)


def mask_rcnn_step():
    """Forward, losses, backward and AdamW of torchvision's Mask R-CNN, all of it trained, on pictures with three lesions."""
    from torchvision.models import resnet50
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor

    body = _resnet_fpn_extractor(resnet50(weights=None), 5)
    net = MaskRCNN(body, 2, min_size=256, max_size=256, image_mean=[0.0] * 3, image_std=[1.0] * 3, box_batch_size_per_image=64)
    net = net.to(device).train()
    optimizer = adamw(net, 1e-4)
    places = [(20, 30, 60, 50), (120, 40, 40, 80), (60, 150, 30, 30)]
    masks = torch.zeros(3, 256, 256, dtype=torch.uint8, device=device)
    for mask, (left, top, width, height) in zip(masks, places):
        mask[top : top + height, left : left + width] = 1
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in places], dtype=torch.float32, device=device)
    target = {"boxes": corners, "labels": torch.ones(3, dtype=torch.long, device=device), "masks": masks}
    pictures = list(torch.randn(2, 3, 256, 256, device=device))

    def step():
        with torch.enable_grad():
            optimizer.zero_grad()
            sum(net(pictures, [target] * 2).values()).backward()
            optimizer.step()

    return step


def forward(net, x, frozen):
    net = net.to(device, dtype).eval()
    if frozen:
        net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))
    return torch.inference_mode()(lambda: net(x))


def backbone(name, batch, side, frozen):
    """timm's net of that name without its head, and with weights as timm draws them."""
    import timm

    net = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
    return forward(net, normal(batch, 3, side, side), frozen)


def build(case):
    if match := re.fullmatch(r"(\d)x\d (depthwise )?convolution, (\d+) x (\d+) x (\d+) x \d+, (.*)", case):
        kernel, batch, channels, side = (int(match[i]) for i in (1, 3, 4, 5))
        return convolution(batch, channels, side, kernel, channels if match[2] else 1, match[6])
    if match := re.fullmatch(r"timm (\w+), (\d+) x 3 x (\d+) x \d+, (eager|frozen)", case):
        return backbone(match[1], int(match[2]), int(match[3]), match[4] == "frozen")
    return {
        "attention U-Net, training step": training_step,
        # These need torchvision.
        "RoIAlign, 512 regions of 7 x 7 on 2 x 256 x 64 x 64, forward and backward": regions,
        "suppression, 2000 boxes": suppression,
        "Mask R-CNN, training step, 2 x 3 x 256 x 256, 64 regions": mask_rcnn_step,
        "ResNet50, forward": lambda: forward(ResNet50(), normal(4, 3, 224, 224), False),
        "ResNet50, forward (PyTorch frozen)": lambda: forward(ResNet50(), normal(4, 3, 224, 224), True),
    }[case]()


def synchronise():
    if device.type == "cuda":
        torch.cuda.synchronize()


# timm is needed for the backbones only.
timm = [f"timm {version('timm')}"] if find_spec("timm") else []
with torch.no_grad():
    serve(", ".join([torch.__version__, *timm]), build, synchronise)
