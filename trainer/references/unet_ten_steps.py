"""Writes trainer/tests/references/unet_ten_steps.safetensors: ten training steps of a small attention U-Net in float64.

    pip install torch numpy safetensors
    python trainer/references/unet_ten_steps.py             # writes the file
    python trainer/references/unet_ten_steps.py --search    # how DRAW was found

Written with PyTorch 2.15.0. Weights and pictures are drawn (drawn.py), masks are discs; trainer/tests/unet_ten_steps.rs
makes them anew. The file holds the losses of all steps, the logits of the first and the last, and the weights and moving
statistics after the last step. The same steps in float32 are run beside, and how far they end from float64 is printed.

Why a search: where a value meets the kink of a ReLU, or two the first place in a pooling window, float32 rounds it to
either side; the gradient jumps, Adam divides the jump by its own size, and after ten steps PyTorch's float32 is per cents
away from PyTorch's float64 (26 % in the logits for 48x48 pictures and a net as drawn). A comparison to 1e-4 then says
nothing about either program. So the net is small, and DRAW is the first number whose pictures and weights keep every value
of all ten steps at least CLEARANCE away from a kink.

Why EPSILON is 1e-5: Adam's first step is a gradient divided by its own size. With 1e-8, the default, a gradient of 4e-8
among others of 4e-2, which float32 cannot tell from its rounding, moves its weight nearly as far as any other does. The
decay of 0.01 and the two betas are the defaults.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from attention_unet import AttentionUnet, adamw, bce_dice
from drawn import drawn, drawn_parameter
from safetensors.numpy import save_file
from torch.overrides import TorchFunctionMode

CONFIG = dict(channels_in=1, channels_out=2, base_channels=4, blocks=3)
BATCH, SIDE, STEPS, LEARNING_RATE, EPSILON = 2, 24, 10, 1e-3, 1e-5
CLEARANCE = 2e-5
DRAW = 1003


class Kinks(TorchFunctionMode):
    """Notes how near to a kink any ReLU or 2x2 pooling comes."""

    closest = float("inf")

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.relu:
            self.closest = min(self.closest, args[0].detach().abs().min().item())
        elif function is torch.max_pool2d:
            x = args[0].detach()
            first, second = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).topk(2, -1).values.unbind(-1)
            # A window of zeros (after ReLU) hands its gradient to a ReLU that passes nothing on.
            self.closest = min(self.closest, (first - second)[first > 0].min().item())
        return function(*args, **(kwargs or {}))


def batch(draw, dtype):
    """Pictures, masks, and which masks are known (the second of the last picture is not)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros((BATCH, 2, SIDE, SIDE), np.float32)
    for n in range(BATCH):
        for c in range(2):
            row, column, radius = 7 + 5 * n + 2 * c, 10 + 2 * n - c, 4 + 3 * c - n
            truth[n, c] = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    x = drawn(f"{draw}.picture", (BATCH, 1, SIDE, SIDE)) + truth.sum(1, keepdims=True)
    known = np.ones((BATCH, 2, 1, 1), np.float32)
    known[-1, 1] = 0
    return [torch.from_numpy(a).to(dtype) for a in (x, truth, known)]


def train(draw, dtype, clearance=0.0):
    """What ten steps give, by name; None when a value comes nearer to a kink than `clearance`."""
    net = AttentionUnet(**CONFIG).train()
    for name, parameter in net.named_parameters():
        parameter.data = torch.from_numpy(drawn_parameter(f"{draw}.{name}", tuple(parameter.shape)))
    net.to(dtype)
    x, truth, known = batch(draw, dtype)
    optimizer = adamw(net, LEARNING_RATE, EPSILON)
    found, losses = {}, []
    for step in range(STEPS):
        with Kinks() as kinks:
            logits = net(x)
        if kinks.closest < clearance:
            return None
        loss = bce_dice(logits, truth, known)
        if step == 0:
            found["first_logits"] = logits
        if step == STEPS - 1:
            found["last_logits"] = logits
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found |= {f"weights.{name}": value for name, value in net.state_dict().items() if not name.endswith("tracked")}
    found["losses"] = torch.tensor(losses, dtype=torch.float64)
    return {name: value.detach().double().numpy() for name, value in found.items()}


def report(draw, exact):
    """How far the same steps end in float32."""
    single, worst = train(draw, torch.float32), {}
    for name, value in exact.items():
        difference = np.abs(single[name] - value).max()
        kind = name.split(".")[0]
        worst[kind] = max(worst.get(kind, (0, 0, "")), (difference / np.abs(value).max(), difference, name))
    print(f"draw {draw}: float32 from float64, of the largest value: "
          + ", ".join(f"{kind} {relative:.1e} ({name})" for kind, (relative, _, name) in worst.items()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--search" in sys.argv:
        for draw in range(100000):
            exact = train(draw, torch.float64, CLEARANCE)
            if exact:
                report(draw, exact)
                break
        sys.exit()
    exact = train(DRAW, torch.float64, CLEARANCE)
    assert exact, "a value comes near a kink: search another DRAW"
    report(DRAW, exact)
    print("losses:", *(f"{loss:.6f}" for loss in exact["losses"]))
    path = pathlib.Path(__file__).parent.parent / "tests/references/unet_ten_steps.safetensors"
    path.parent.mkdir(exist_ok=True)
    settings = CONFIG | dict(batch=BATCH, side=SIDE, steps=STEPS, learning_rate=LEARNING_RATE, epsilon=EPSILON, draw=DRAW)
    save_file({name: value.astype(np.float32) for name, value in exact.items()}, path,
              {"settings": json.dumps(settings)})
    print(f"{path.name}: {path.stat().st_size} bytes, torch {torch.__version__}")
