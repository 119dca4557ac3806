"""Writes trainer/tests/references/judging.json: what scikit-learn, SciPy, statsmodels and NumPy make of a few made-up answers.

    pip install scikit-learn scipy statsmodels numpy
    python trainer/references/judging.py

Written with scikit-learn 1.9.1, SciPy 1.17.1, statsmodels 0.15.0, NumPy 2.4.6. All numbers that go in are exact in float32.
"""
import json
import pathlib

import numpy as np
import scipy.stats
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(20240517)


def as_list(a):
    return [float(x) for x in a]


def isotonic():
    cases = []
    for n, steps in [(5, 8), (40, 16), (200, 1024)]:
        p = rng.integers(0, steps + 1, n) / steps
        y = (rng.random(n) < p**2).astype(float)
        fitted = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(p, y)
        asked = np.concatenate([rng.integers(0, 1025, 50) / 1024, [0, 1], p[:5]])
        cases.append({"probabilities": as_list(p), "labels": [int(v) for v in y], "asked": as_list(asked),
                      "answers": as_list(fitted.predict(asked))})
    return cases


def mcnemars():
    cases = []
    for b, c in [(0, 0), (1, 0), (3, 3), (5, 1), (2, 17), (40, 61), (300, 240), (2000, 1700), (1500, 0)]:
        p = mcnemar([[10, b], [c, 10]], exact=True).pvalue if b + c else 1.0
        if b + c:
            assert abs(p - min(1, scipy.stats.binomtest(b, b + c, 0.5).pvalue)) <= 1e-9 * p
        cases.append({"only_first": b, "only_second": c, "p": float(p)})
    return cases


def holm():
    cases = []
    for p in [[0.01], [0.04, 0.01, 0.03], [0.5, 0.9, 0.002, 0.002, 1.0, 0.04], list(rng.random(36) ** 3)]:
        cases.append({"p": as_list(p), "adjusted": as_list(multipletests(p, method="holm")[1])})
    return cases


def risk_coverage():
    """The definition, slowly: ties in every order give the mean over 20,000 shuffles; without ties there is one order."""
    cases = []
    for n, levels in [(12, None), (150, None), (60, 6)]:
        uncertainty = rng.permutation(n) / 256 if levels is None else rng.integers(0, levels, n) / levels
        wrong = rng.random(n) < 0.1 + 0.5 * uncertainty / uncertainty.max()
        def curve():
            order = rng.permutation(n)
            order = order[np.argsort(uncertainty[order], kind="stable")]
            return np.cumsum(wrong[order]) / np.arange(1, n + 1)
        risks = np.mean([curve() for _ in range(1 if levels is None else 20_000)], axis=0)
        cases.append({"uncertainty": as_list(uncertainty), "wrong": [int(w) for w in wrong], "risk": as_list(risks),
                      "aurc": float(risks.mean()), "tolerance": 1e-12 if levels is None else 2e-3})
    return cases


def uncertainty():
    """Shamsi et al.: 'uncertain' is the prediction, 'wrong' the truth; the limit maximises Youden's J."""
    cases = []
    for n in [30, 200]:
        entropy = rng.integers(0, 65, n) / 64
        wrong = (rng.random(n) < 0.05 + 0.5 * entropy).astype(int)
        fpr, tpr, thresholds = metrics.roc_curve(wrong, entropy, drop_intermediate=False)
        limit = thresholds[np.argmax(tpr - fpr)]
        uncertain = (entropy >= limit).astype(int)
        cases.append({"entropy_bits": as_list(entropy), "wrong": [int(w) for w in wrong], "limit": float(limit), "figures": {
            "accuracy": metrics.accuracy_score(wrong, uncertain),
            "sensitivity": metrics.recall_score(wrong, uncertain),
            "specificity": metrics.recall_score(wrong, uncertain, pos_label=0),
            "precision": metrics.precision_score(wrong, uncertain),
        }})
    return cases


out = pathlib.Path(__file__).parents[1] / "tests" / "references" / "judging.json"
out.write_text(json.dumps({"isotonic": isotonic(), "mcnemar": mcnemars(), "holm": holm(), "risk_coverage": risk_coverage(),
                           "uncertainty": uncertainty()}, separators=(",", ":")) + "\n")
print(out, out.stat().st_size)
