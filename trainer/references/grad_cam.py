"""Grad-CAM by pytorch-grad-cam, of support vector machines that PyTorch computes and scikit-learn fits.

    pip install numpy torch timm grad-cam scikit-learn safetensors pillow
    python trainer/references/grad_cam.py
    python trainer/references/grad_cam.py RUN_FOLDER STORE WEIGHTS EXPLAINED --classifier svm-rbf --runs 3

Written with PyTorch 2.15.0, timm 1.0.31, grad-cam 1.5.7, scikit-learn 1.9.1.

Without arguments it writes tests/references/grad_cam.safetensors: a few pictures' features, machines of two runs on them, and
the maps of two new pictures, in float64. tests of trainer/src/explain read it.

With arguments it sets what `thorax-train explain --maps` wrote to the folder EXPLAINED beside timm's net with the weights
WEIGHTS: the machines are fitted by scikit-learn on the run folder's resamples, and PyTorch runs backwards from their mean
decision value to the net's last map. It reads the pictures that the net saw (NAME_input.png), prints differences of decision
values and heat, and fails where a heat of a familiar picture differs by more than --goal. Both solvers stop within `tolerance` of
the run folder, so that 0.001 is reached for every picture only where `tolerance` is 1e-6: with 1e-3, a picture whose kernels are
small showed 0.002.
"""
import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.svm import SVC

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("folder", type=Path, nargs="?", help="what `thorax-train classify --out` wrote")
arguments.add_argument("store", type=Path, nargs="?", help="the feature store that it learnt from")
arguments.add_argument("weights", type=Path, nargs="?", help="the backbone's weights with timm's names")
arguments.add_argument("explained", type=Path, nargs="?", help="what `thorax-train explain --maps --out` wrote")
arguments.add_argument("--classifier", choices=["svm-rbf", "svm-polynomial"], default="svm-rbf")
arguments.add_argument("--runs", type=int, help="as explain's [default: all]")
arguments.add_argument("--goal", type=float, default=1e-3, help="largest difference of a heat of 0 to 1")
arguments = arguments.parse_args()


class Stored(torch.nn.Module):
    """The last map as a store keeps it; rounding is taken for no change by whoever runs backwards."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, features):
        kept = features.half().to(features) if self.half else features
        return features + (kept - features).detach()


class Machine(torch.nn.Module):
    """From a picture to the mean decision value of the runs."""

    def __init__(self, net, half, mean, scale, rows, kernel, coefficients, biases):
        super().__init__()
        self.net, self.stored = net, Stored(half)
        self.mean, self.scale, self.rows = (torch.from_numpy(values) for values in (mean, scale, rows))
        self.coefficients, self.biases, self.kernel = torch.from_numpy(coefficients), torch.from_numpy(biases), kernel

    def forward(self, picture):
        features = self.stored(self.net(picture))
        x = (features.flatten(1).double() - self.mean) * self.scale
        if self.kernel["name"] == "svm-polynomial":
            values = (self.kernel["gamma"] * x @ self.rows.T + self.kernel["coef0"]) ** self.kernel["degree"]
        else:
            away = torch.stack([((row - x) ** 2).sum(1) for row in self.rows], 1)
            values = torch.exp(-self.kernel["gamma"] * away)
        self.decisions = values @ self.coefficients.T + self.biases
        return self.decisions.mean(1)


def explain(machine, picture, covid):
    """`[side, side]`: the heat."""
    with GradCAM(machine, [machine.stored]) as cam:
        return cam(picture, targets=[lambda output: output if covid else -output])[0]


def kernel_matrix(kernel, gram):
    if kernel["name"] == "svm-polynomial":
        return (kernel["gamma"] * gram + kernel["coef0"]) ** kernel["degree"]
    square = gram.diagonal()
    return np.exp(-kernel["gamma"] * np.maximum(square[:, None] + square[None, :] - 2 * gram, 0))


def fit(kernel, gram, positive, counts, c, tolerance):
    """Coefficients `[runs, N]` and biases `[runs]`."""
    values = kernel_matrix(kernel, gram)
    coefficients, biases = np.zeros(counts.shape), np.zeros(len(counts))
    for run, count in enumerate(counts):
        learn = np.flatnonzero(count)
        machine = SVC(C=c, kernel="precomputed", tol=tolerance)
        machine.fit(values[np.ix_(learn, learn)], positive[learn], sample_weight=count[learn].astype(float))
        coefficients[run, learn[machine.support_]] = machine.dual_coef_[0]
        biases[run] = machine.intercept_[0]
    return coefficients, biases


def standard(features):
    """Mean and 1 / standard deviation of the training pictures' columns; 1 where they are constant."""
    mean, variance = features.mean(0, dtype=np.float64), features.var(0, dtype=np.float64)
    constant = variance <= 1e-12 * mean**2
    return mean, np.where(constant, 1, 1 / np.sqrt(np.where(constant, 1, variance))), (~constant).mean()


class Given(torch.nn.Module):
    """A net that sees the same in every picture."""

    def __init__(self, features):
        super().__init__()
        self.features = torch.nn.Parameter(torch.from_numpy(features)[None])

    def forward(self, picture):
        return self.features * 1


def fixture():
    random = np.random.default_rng(11)
    rows, shape, side, runs = 18, (6, 3, 4), 20, 2
    positive = np.arange(rows) % 2 == 0
    training = np.arange(rows) < 12
    # Maps after an activation: many zeros; positive pictures have more of the first channels in their upper half.
    features = random.normal(size=(rows, *shape))
    features[positive, :3, :2] += 0.8
    features = np.maximum(features, 0).astype(np.float32)
    pictures = np.maximum(random.normal(size=(2, *shape)) + 0.3, 0).astype(np.float32)
    flat = features.reshape(rows, -1)
    mean, scale, variance = standard(flat[training])
    # As ours keep them.
    mean, scale = mean.astype(np.float32).astype(float), scale.astype(np.float32).astype(float)
    standardised = (flat - mean) * scale
    counts = np.zeros((runs, rows), np.int64)
    for count in counts:
        count[training] = np.bincount(random.integers(0, 12, 12), minlength=12)
    gamma = 1 / (flat.shape[1] * variance)
    out = {"features": features, "pictures": pictures}
    for kernel in [
        {"name": "svm-rbf", "gamma": gamma},
        {"name": "svm-polynomial", "gamma": gamma, "coef0": 0.5, "degree": 3},
    ]:
        coefficients, biases = fit(kernel, standardised @ standardised.T, positive, counts, 1.0, 1e-9)
        heats, decisions = [], []
        for picture in pictures:
            net = Given(picture.astype(float))
            machine = Machine(net, False, mean, scale, standardised, kernel, coefficients, biases)
            heats.append([explain(machine, torch.zeros(1, 3, side, side), covid) for covid in (True, False)])
            decisions.append(machine.decisions[0].detach().numpy())
        name = kernel["name"]
        out[f"{name}.gamma"] = np.float64([gamma])
        out[f"{name}.coefficients"], out[f"{name}.biases"] = coefficients, biases
        # [picture, class, side, side] and [picture, run].
        out[f"{name}.heat"], out[f"{name}.decisions"] = np.float32(heats), np.float64(decisions)
        assert (coefficients != 0).sum(1).min() > 4 and (out[f"{name}.heat"].max((2, 3)) > 0.99).sum() >= 3
    path = Path(__file__).parent.parent / "tests" / "references" / "grad_cam.safetensors"
    save_file(out, path)
    print(path, path.stat().st_size, "bytes")


def compare():
    import timm
    from PIL import Image

    configuration = json.loads((arguments.folder / "configuration.json").read_text())
    parameters = configuration["parameters"]
    assert parameters["standardise"], "this script knows standardised features only"
    with open(arguments.folder / "rows.csv", newline="") as file:
        table = list(csv.DictReader(file))
    positive = np.array([row["positive"] == "true" for row in table])
    counts = np.loadtxt(arguments.folder / "resamples.csv", np.int64, delimiter=",", skiprows=1, ndmin=2).T
    counts = counts[: arguments.runs or len(counts)]
    with safe_open(arguments.store, "np") as store:
        about = json.loads(store.metadata()["thorax"])
        features = store.get_tensor("features")[[int(row["row"]) for row in table]]
    flat = features.reshape(len(table), -1).astype(np.float32)
    mean, scale, variance = standard(flat[[row["split"] == "train" for row in table]])
    flat = ((flat - mean) * scale).astype(np.float32)
    gram = np.zeros((len(table),) * 2)
    for first in range(0, flat.shape[1], 4096):
        block = flat[:, first : first + 4096].astype(float)
        gram += block @ block.T
    chosen = parameters[arguments.classifier]
    gamma = 1 / (flat.shape[1] * variance) if chosen["gamma"] == "scale" else chosen["gamma"]
    kernel = {**chosen, "name": arguments.classifier, "gamma": gamma}
    coefficients, biases = fit(kernel, gram, positive, counts, chosen["c"], chosen["tolerance"])
    support = coefficients.any(0)

    name = {"efficientnet-lite0": "tf_efficientnet_lite0", "resnet50": "resnet50"}[about["backbone"]]
    net = timm.create_model(name)
    weights = {key: torch.from_numpy(value) for key, value in load_file(arguments.weights).items()}
    missing = [key for key in net.load_state_dict(weights, strict=False).missing_keys if "num_batches" not in key]
    assert not missing, missing
    net.eval()
    net.forward = net.forward_features
    half = about["dtype"] == "f16"
    machine = Machine(net, half, mean, scale, flat[support].astype(float), kernel, coefficients[:, support], biases).eval()

    normalise = about["preprocess"]["normalise"]
    figures = json.loads((arguments.explained / "figures.json").read_text())
    with open(arguments.explained / "explained.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    worst = 0
    for figure, line in zip(figures, lines, strict=True):
        file = figure["files"][0]
        grey = np.asarray(Image.open(arguments.explained / file).convert("L"), np.float32) / 255
        channels = [(grey - m) / s for m, s in zip(normalise["mean"], normalise["std"])]
        picture = torch.from_numpy(np.float32(channels))[None]
        heat = explain(machine, picture, line["class"] == "positive")
        ours = load_file(arguments.explained / file.replace("_input.png", "_maps.safetensors"))["heat"]
        decision = machine.decisions.mean().item()
        difference = np.abs(heat - ours).max()
        # Far from all support vectors the kernels are nearly 0, and the map is one of rounding errors.
        if line["familiar"] == "true":
            worst = max(worst, difference)
        print(f"{file} (familiar: {line['familiar']}): decision {decision:.6f}, ours {float(line['decision']):.6f}; heat differs by {difference:.2e}")
    print(f"largest difference of heat: {worst:.2e}, goal {arguments.goal:g}")
    raise SystemExit(int(worst > arguments.goal))


if arguments.explained:
    compare()
else:
    fixture()
