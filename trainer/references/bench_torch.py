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
