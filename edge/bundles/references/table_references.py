"""Writes edge/bundles/tests/references/table.json: what SciPy and NumPy make of made-up screenings.

    pip install numpy scipy
    python edge/bundles/references/table_references.py

Written with NumPy 2.4.6, SciPy 1.17.1. Probabilities have four digits, and some are thresholds themselves.
"""
import json
import pathlib

import numpy as np
from scipy import stats

rng = np.random.default_rng(20261128)


def share(k, n):
    if n == 0:
        return None
    ci = stats.binomtest(int(k), int(n)).proportion_ci(confidence_level=0.95, method="wilson")
    return [k / n, ci.low, ci.high]


def table(n, prevalence):
    positive = rng.random(n) < prevalence
    logit = rng.normal(np.where(positive, 1.2, -1.2), 1.0)
    probability = np.round(1 / (1 + np.exp(-logit)), 4)
    always = rng.random(n) < 0.1
    thresholds = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0] + [float(p) for p in probability[:2]]
    rows = []
    for t in sorted(set(thresholds)):
        sent = always | (probability >= t)
        tp, fp = int((sent & positive).sum()), int((sent & ~positive).sum())
        fn, tn = int((~sent & positive).sum()), int((~sent & ~positive).sum())
        rows.append({
            "threshold": t, "tp": tp, "fp": fp, "fn": fn, "tn": tn,
            "sensitivity": share(tp, tp + fn), "specificity": share(tn, tn + fp),
            "sent": (tp + fp) / n, "found_per_thousand": 1000 * tp / n,
            "screened_per_case": n / tp if tp else None,
            "cost_per_case": (n * 1.75 + (tp + fp) * 12.5) / tp if tp else None,
        })
    cases = [[float(p), bool(y), bool(a)] for p, y, a in zip(probability, positive, always)]
    return {"cases": cases, "rows": rows}


tables = [table(40, 0.3), table(300, 0.1), table(5, 0.0), table(6, 1.0)]
out = pathlib.Path(__file__).parent.parent / "tests/references/table.json"
out.write_text(json.dumps({"cost_screen": 1.75, "cost_test": 12.5, "tables": tables}) + "\n")
