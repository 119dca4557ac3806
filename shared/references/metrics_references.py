"""Writes shared/tests/references/metrics/metrics.json: what scikit-learn, NumPy and SciPy make of a few made-up samples.

    pip install scikit-learn numpy scipy
    python shared/references/metrics_references.py

Written with scikit-learn 1.9.1, NumPy 2.4.6, SciPy 1.17.1. All numbers that go in are exact in float32.
"""
import json
import pathlib

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from sklearn import metrics
from sklearn.calibration import calibration_curve

rng = np.random.default_rng(20240229)


def as_list(a):
    return [float(x) for x in a]


def figures(predicted, truth):
    nan = float("nan")
    options = dict(zero_division=nan)
    found = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "precision": metrics.precision_score(truth, predicted, **options),
        "sensitivity": metrics.recall_score(truth, predicted, **options),
        "specificity": metrics.recall_score(truth, predicted, pos_label=0, **options),
        "f1": metrics.f1_score(truth, predicted, **options),
        "iou": nan if not (predicted | truth).any() else metrics.jaccard_score(truth, predicted),
    }
    return {k: None if np.isnan(v) else float(v) for k, v in found.items()}


def confusion():
    cases = []
    for share_predicted, share_true, n in [(0.4, 0.5, 40), (0.1, 0.2, 30), (0.0, 0.3, 12), (0.3, 0.0, 12), (0.0, 0.0, 8), (1.0, 1.0, 8)]:
        predicted, truth = rng.random(n) < share_predicted, rng.random(n) < share_true
        cases.append({
            "predicted": [int(x) for x in predicted],
            "truth": [int(x) for x in truth],
            "figures": figures(predicted.astype(int), truth.astype(int)),
        })
    return cases


def ece(p, y, bins):
    """Weighted mean gap of scikit-learn's reliability curve, bins counted apart since the curve drops empty ones."""
    share, mean = calibration_curve(y, p, n_bins=bins, strategy="uniform")
    edges = np.linspace(0, 1, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], p), minlength=bins)
    return float((np.abs(share - mean) * counts[counts > 0]).sum() / len(p))


def probabilities():
    cases = []
    for n, decimals in [(60, 1), (80, 7), (50, 2)]:
        y = rng.random(n) < 0.4
        p = np.clip(np.where(y, 0.65, 0.35) + 0.3 * rng.standard_normal(n), 0, 1)
        p = np.round(p, decimals).astype(np.float32).astype(np.float64)
        fpr, tpr, thresholds = metrics.roc_curve(y, p, drop_intermediate=False)
        entropy = scipy.stats.bernoulli(p).entropy() / np.log(2)
        entropy = entropy.astype(np.float32).astype(np.float64)
        eps = float(np.finfo(np.float32).eps)
        cases.append({
            "probabilities": as_list(p),
            "labels": [int(x) for x in y],
            "roc": {"thresholds": as_list(thresholds[1:]), "fpr": as_list(fpr), "tpr": as_list(tpr)},
            "auc": metrics.roc_auc_score(y, p),
            "brier": metrics.brier_score_loss(y, p),
            "nll": metrics.log_loss(y, np.clip(p, eps, 1 - eps)),
            "ece": {str(b): ece(p, y, b) for b in (5, 10, 15)},
            "entropy_bits": as_list(entropy),
            "error_auc": metrics.roc_auc_score((p >= 0.5) != y, entropy),
        })
    return cases


def ensembles():
    cases = []
    for members, classes in [(10, 2), (7, 5), (100, 3)]:
        p = scipy.special.softmax(rng.standard_normal((members, classes)), axis=1).astype(np.float32)
        mean = p.astype(np.float64).mean(axis=0)
        cases.append({
            "members": [as_list(row) for row in p],
            "mean": as_list(mean),
            "entropy_bits": float(scipy.stats.entropy(mean / mean.sum(), base=2)),
        })
    binary = []
    for members, temperature in [(1, 1.0), (8, 1.75), (100, 0.5)]:
        logits = (3 * rng.standard_normal(members)).astype(np.float32)
        p = scipy.special.expit(logits.astype(np.float64) / temperature)
        h = lambda q: float(scipy.stats.entropy([q, 1 - q], base=2))
        expected = float(np.mean([h(q) for q in p]))
        binary.append({
            "logits": as_list(logits),
            "temperature": temperature,
            "probability": float(p.mean()),
            "entropy_bits": h(p.mean()),
            "expected_entropy_bits": expected,
            "mutual_information_bits": h(p.mean()) - expected,
            "standard_deviation": float(p.std()),
        })
    return {"distributions": cases, "binary": binary}


def temperatures():
    cases = []
    for images, members, true_temperature in [(200, 1, 2.0), (150, 6, 0.6)]:
        centre = 2.5 * rng.standard_normal(images)
        logits = (centre[:, None] + 0.7 * rng.standard_normal((images, members))).astype(np.float32)
        y = rng.random(images) < scipy.special.expit(centre / true_temperature)

        def loss(log_temperature):
            p = scipy.special.expit(logits.astype(np.float64) / np.exp(log_temperature)).mean(axis=1)
            return metrics.log_loss(y, p)

        best = scipy.optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
        cases.append({
            "logits": [as_list(row) for row in logits],
            "labels": [int(x) for x in y],
            "temperature": float(np.exp(best.x)),
        })
    return cases


class SplitMix64:
    """Vigna's splitmix64.c."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    def below(self, bound):
        return (self.next() * bound) >> 64


def bootstrap():
    n, seed, resamples, level = 40, 7, 400, 0.95
    groups = np.sort(rng.integers(0, 15, n))
    y = rng.random(n) < 0.5
    s = np.round(y * 0.3 + rng.random(n), 2).astype(np.float32).astype(np.float64)
    random, patients, values = SplitMix64(seed), np.unique(groups), []
    for _ in range(resamples):
        drawn = np.concatenate([np.flatnonzero(groups == patients[random.below(len(patients))]) for _ in patients])
        if 0 < y[drawn].sum() < len(drawn):
            values.append(metrics.roc_auc_score(y[drawn], s[drawn]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])

    # SciPy's own percentile bootstrap of a mean, one sample a patient: other random numbers, so only nearly the same.
    sample = rng.random(200).astype(np.float32).astype(np.float64)
    theirs = scipy.stats.bootstrap((sample,), np.mean, n_resamples=20000, method="percentile", random_state=rng)
    return {
        "groups": [int(g) for g in groups], "labels": [int(x) for x in y], "scores": as_list(s),
        "seed": seed, "resamples": resamples, "level": level,
        "estimate": metrics.roc_auc_score(y, s), "low": float(low), "high": float(high), "used": len(values),
        "scipy_sample": as_list(sample),
        "scipy_interval": [float(theirs.confidence_interval.low), float(theirs.confidence_interval.high)],
    }


out = pathlib.Path(__file__).parent.parent / "tests" / "references" / "metrics" / "metrics.json"
out.parent.mkdir(parents=True, exist_ok=True)
content = {
    "confusion": confusion(),
    "probabilities": probabilities(),
    "ensembles": ensembles(),
    "temperatures": temperatures(),
    "bootstrap": bootstrap(),
}
out.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
print(out, out.stat().st_size, "bytes")
