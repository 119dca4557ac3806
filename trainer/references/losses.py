"""Writes trainer/tests/references/losses.json: losses of drawn logits and their gradients, by PyTorch in float64.

    pip install torch scipy numpy
    python trainer/references/losses.py

Written with PyTorch 2.15.0, SciPy 1.17.1, NumPy 2.4.6. A batch has `logits`, `truth` and signed `distance` `[N, C, H, W]` and
`known` `[N, C]`; a case has the index of its `batch`, a `config` as trainer/src/losses reads it, an `epoch`, the `loss` and
its `gradient` to the logits. Masks that are not known are left out before anything is computed. The boundary loss is that of
Kervadec et al.'s published code (github.com/LIVIAETS/boundary-loss): the mean of probability times `one_hot2dist`.
"""
import json
import pathlib

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

rng = np.random.default_rng(20261125)


def signed_distance(mask):
    """`one_hot2dist` of one mask: 0 where it is empty; 1 less the distance to the outside within."""
    if not mask.any():
        return np.zeros(mask.shape)
    return np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))


def batch(known, height, width):
    """Blobs and noisy logits of them; the masks that are not known have truth and distance 0, and logits all the same."""
    known = np.array(known, bool)
    rows, columns = np.mgrid[:height, :width]
    truth, distance = np.zeros((2, *known.shape, height, width))
    for index in np.argwhere(known):
        row, column = rng.random(2) * (height, width)
        # The last picture of each batch has an empty mask.
        mask = (rows - row) ** 2 + (columns - column) ** 2 < (0 if index[0] == len(known) - 1 else 9)
        truth[tuple(index)], distance[tuple(index)] = mask, signed_distance(mask)
    # Exact in float32.
    logits = np.round((4 * truth - 2 + 3 * rng.standard_normal(truth.shape)) * 64) / 64
    return {"logits": logits, "truth": truth, "distance": distance, "known": known}


def weights(boundary, epoch):
    """Of the terms over regions and of the boundary loss."""
    if boundary is None:
        return 1, 0
    alpha = min(boundary["first"] + boundary["rise_per_epoch"] * epoch, boundary["highest"])
    return (1 - alpha if boundary["balance"] == "rebalance" else 1), alpha


def loss(logits, truth, distance, known, config, epoch):
    region, edge = weights(config["boundary"], epoch)
    masks = []
    for mask in range(known.shape[1]):
        z, y, d = (tensor[known[:, mask], mask] for tensor in (logits, truth, distance))
        if not len(z):
            masks.append(torch.zeros(()).double())
            continue
        p = torch.sigmoid(z)
        cross_entropy = F.binary_cross_entropy_with_logits(z, y)
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        boundary = torch.einsum("bhw,bhw->bhw", p, d).mean()
        masks.append(region * (config["cross_entropy"] * cross_entropy + config["dice"] * dice) + edge * boundary)
    return torch.stack(masks).mean()


def config(cross_entropy, dice, first=None, rise=None, highest=None, balance=None):
    boundary = {"first": first, "rise_per_epoch": rise, "highest": highest, "balance": balance}
    return {"cross_entropy": cross_entropy, "dice": dice, "boundary": boundary if balance else None}


BATCHES = [
    batch([[1, 1], [1, 1], [1, 1]], 9, 13),
    batch([[1, 0], [1, 1], [0, 1], [1, 0]], 8, 7),
    # A mask that no picture has.
    batch([[1, 0, 1], [1, 0, 0]], 6, 9),
]
CASES = [
    (config(1, 1), 0),
    (config(1, 0), 3),
    (config(0, 1), 0),
    (config(0.3, 1.7), 0),
    (config(1, 1, 0.01, 0.01, 0.9, "rebalance"), 0),
    (config(1, 1, 0.01, 0.01, 0.9, "rebalance"), 24),
    (config(0, 1, 0.01, 0.01, 0.9, "rebalance"), 500),
    (config(0.5, 1, 0.1, 0.25, 2, "increase"), 3),
    (config(0, 0, 1, 0, 1, "increase"), 7),
]

cases = []
for index, values in enumerate(BATCHES):
    logits, truth, distance = (torch.from_numpy(values[name]) for name in ("logits", "truth", "distance"))
    known = torch.from_numpy(values["known"])
    for settings, epoch in CASES:
        z = logits.clone().requires_grad_()
        value = loss(z, truth, distance, known, settings, epoch)
        value.backward()
        assert all(z.grad[n, c].any() == known[n, c] or settings["cross_entropy"] + settings["dice"] == 0
                   for n, c in np.ndindex(*known.shape))
        cases.append({"batch": index, "config": settings, "epoch": epoch, "loss": value.item(),
                      "gradient": [float(f"{number:.8g}") for number in z.grad.ravel().tolist()]})

batches = []
for values in BATCHES:
    numbers = {name: [int(v) if v.is_integer() else round(v, 8) for v in map(float, values[name].ravel())]
               for name in ("logits", "truth", "distance", "known")}
    batches.append({"shape": values["logits"].shape, **numbers})
path = pathlib.Path(__file__).parents[1] / "tests" / "references" / "losses.json"
path.write_text(json.dumps({"batches": batches, "cases": cases}, separators=(",", ":")) + "\n")
print(path.name, len(cases), "cases", path.stat().st_size, "bytes, torch", torch.__version__)
