"""Forests, AdaBoost and gradient boosting by scikit-learn and XGBoost, for the tests of `classifiers`.

Writes tests/references/trees.safetensors: codes [C, N], labels [N], how often each run counts each row [runs, N], and the
probabilities [runs, N]. Every column has every number from 0 to its largest, so that a number is its own code, and half way
between two numbers is half way between their codes.
"""

from pathlib import Path

import numpy as np
import sklearn
import xgboost
from safetensors.numpy import save_file
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier

ROWS, COLUMNS, RUNS, LEARNT = 300, 24, 10, 200
random = np.random.default_rng(5)

# Columns that say something of the label, some little, some nothing, and two constants.
labels = random.random(ROWS) < 0.4
signal = np.linspace(1.0, 0.0, COLUMNS - 2)
values = signal * labels[:, None] + random.normal(size=(ROWS, COLUMNS - 2))
codes = np.zeros((ROWS, COLUMNS), np.uint8)
codes[:, 1:-1] = values.argsort(0).argsort(0) // 2
for column in codes.T:
    assert (np.unique(column) == np.arange(column.max() + 1)).all()

counts = np.zeros((RUNS, ROWS), np.uint32)
for run in range(RUNS):
    counts[run, :LEARNT] = np.bincount(random.integers(0, LEARNT, LEARNT), minlength=LEARNT)


def fitted(make, run):
    expanded = np.repeat(np.arange(ROWS), counts[run])
    return make.fit(codes[expanded], labels[expanded]).predict_proba(codes)[:, 1]


out = {
    "codes": np.ascontiguousarray(codes.T),
    "labels": labels.astype(np.uint8),
    "counts": counts,
}

for name, rounds, rate in [("adaboost", 50, 1.0), ("adaboost_slow", 20, 0.3)]:
    probabilities = []
    for run in range(RUNS):
        # Another order of the columns must change nothing, else two stumps were equally good and the first was taken.
        first, second = (
            fitted(AdaBoostClassifier(n_estimators=rounds, learning_rate=rate, random_state=seed), run) for seed in (0, 1)
        )
        assert np.abs(first - second).max() < 1e-9
        probabilities.append(first)
    out[name] = np.float64(probabilities)

for name, options in {
    "forest": {},
    "forest_leaf": {"min_samples_leaf": 5},
    "forest_depth": {"max_depth": 3},
    "forest_one": {"max_features": 1},
    "forest_all": {"max_features": COLUMNS, "min_samples_leaf": 10},
}.items():
    forest = RandomForestClassifier(n_estimators=4000, random_state=1, n_jobs=2, **options)
    out[name] = np.float64([fitted(forest, run) for run in range(2)])

# At most 64 numbers a column, the same matrix for all runs, and the runs as weights.
coarse = codes // 3
matrix = xgboost.QuantileDMatrix(coarse, label=labels, max_bin=64)
probabilities = []
for run in range(2):
    matrix.set_weight(counts[run].astype(np.float32))
    parameters = {"objective": "binary:logistic", "tree_method": "hist", "max_bin": 64, "max_depth": 6, "eta": 0.3}
    booster = xgboost.train({**parameters, "lambda": 1.0, "min_child_weight": 1.0, "seed": 1, "nthread": 1}, matrix, 30)
    probabilities.append(booster.predict(matrix))
out["xgboost"] = np.float64(probabilities)

path = Path(__file__).parent.parent / "tests" / "references" / "trees.safetensors"
save_file(out, path)
print(path, path.stat().st_size, "bytes; scikit-learn", sklearn.__version__, "xgboost", xgboost.__version__)
