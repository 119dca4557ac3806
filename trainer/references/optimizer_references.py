#!/usr/bin/env python3
"""Writes trainer/tests/references/optimizer.json and schedule.json with PyTorch's optimizers and schedulers.

    python trainer/references/optimizer_references.py

Needs torch. The tests in trainer/src/nn/optimizer.rs and schedule.rs take the same steps.
"""

import json
import math
import warnings
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parent.parent / "tests/references"


def weights(make):
    """The weights after each of four steps: gradient sin(3 i + step) + w_i, clipped to a norm of 1."""
    matrix = torch.tensor([[0.5, -1.0, 2.0], [0.25, 0.0, -0.125]], requires_grad=True)
    vector = torch.tensor([1.0, -0.5], requires_grad=True)
    optimizer = make([{"params": [matrix], "weight_decay": 0.1}, {"params": [vector], "weight_decay": 0.0}])
    rows = []
    for step in range(4):
        for w in (matrix, vector):
            wave = [math.sin(3 * i + step) for i in range(w.numel())]
            w.grad = torch.tensor(wave).reshape(w.shape) + w.detach()
        torch.nn.utils.clip_grad_norm_([matrix, vector], 1.0)
        optimizer.step()
        rows.append(matrix.flatten().tolist() + vector.tolist())
    return rows


def rates(make, steps):
    """The learning rate before each step, of a peak of 0.5."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def warm_cosine(optimizer, warm_up, steps):
    """Rates rise linearly from peak / (warm_up + 1)."""
    s = torch.optim.lr_scheduler
    warm = s.LinearLR(optimizer, start_factor=1 / (warm_up + 1), total_iters=warm_up)
    fall = s.CosineAnnealingLR(optimizer, T_max=steps - warm_up, eta_min=0.005)
    return s.SequentialLR(optimizer, [warm, fall], milestones=[warm_up])


def main():
    warnings.simplefilter("ignore")
    o, s = torch.optim, torch.optim.lr_scheduler
    optimizers = {
        "adamw": weights(lambda groups: o.AdamW(groups, lr=0.1)),
        "sgd": weights(lambda groups: o.SGD(groups, lr=0.1)),
        "sgd_momentum": weights(lambda groups: o.SGD(groups, lr=0.1, momentum=0.9)),
        "sgd_nesterov": weights(lambda groups: o.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)),
    }
    schedules = {
        "constant": rates(lambda x: s.ConstantLR(x, factor=1.0), 20),
        "step": rates(lambda x: s.StepLR(x, step_size=6, gamma=0.3), 20),
        "cosine": rates(lambda x: s.CosineAnnealingLR(x, T_max=20, eta_min=0.005), 20),
        "cosine_warm_up": rates(lambda x: warm_cosine(x, 5, 20), 20),
        "cosine_restarts": rates(lambda x: s.CosineAnnealingWarmRestarts(x, T_0=3, T_mult=2, eta_min=0.005), 21),
    }
    for name, values in (("optimizer", optimizers), ("schedule", schedules)):
        (OUT / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
