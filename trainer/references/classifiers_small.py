"""Makes trainer/tests/references/classifiers.safetensors: what scikit-learn 1.9.1 says on a small problem, for the unit tests of
trainer/src/classifiers (kNN, both support vector machines with Platt's sigmoid, Gaussian naive Bayes, the Gram matrix).

python trainer/references/classifiers_small.py
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.calibration import _SigmoidCalibration
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

ROWS, COLUMNS, TRAIN, FOLDS = 60, 24, 40, 5
random = np.random.default_rng(5)
labels = random.random(ROWS) < 0.5
# Exact in half precision; with zeros, as after ReLU.
features = random.normal(0.4 * labels[:, None] * (random.random(COLUMNS) < 0.5), 1.0, (ROWS, COLUMNS))
features = np.round(np.maximum(features, 0) * 64) / 64
counts = np.zeros((3, ROWS), dtype=np.uint32)
for run in counts:
    np.add.at(run, random.integers(0, TRAIN, TRAIN), 1)
folds = np.arange(ROWS) // 2 % FOLDS

mean, std = features[:TRAIN].mean(0), features[:TRAIN].std(0)
x = (features - mean) / std
gamma = 1 / (COLUMNS * x[:TRAIN].var())


def fitted(weights, **kernel):
    some = weights > 0
    return SVC(gamma=gamma, tol=1e-8, **kernel).fit(x[some], labels[some], sample_weight=weights[some])


def machine(counts, **kernel):
    def decide(weights):
        return fitted(weights, **kernel).decision_function(x)

    held_out = np.zeros(ROWS)
    for fold in range(FOLDS):
        held_out[folds == fold] = decide(np.where(folds == fold, 0, counts))[folds == fold]
    some = counts > 0
    sigmoid = _SigmoidCalibration().fit(held_out[some], labels[some], sample_weight=counts[some].astype(float))
    return sigmoid.predict(decide(counts))


def copies(counts):
    return np.repeat(np.arange(ROWS), counts)


def neighbours(counts, weights):
    some = copies(counts)
    return KNeighborsClassifier(5, weights=weights).fit(x[some], labels[some]).predict_proba(x)[:, 1]


def bayes(counts):
    some = copies(counts)
    return GaussianNB(var_smoothing=1e-3).fit(x[some], labels[some]).predict_proba(x)[:, 1]


polynomial, rbf = dict(kernel="poly", degree=3, coef0=0.5, C=2.0), dict(kernel="rbf", C=2.0)
tensors = {
    "features": features,
    "labels": labels.astype(np.uint32),
    "counts": counts,
    "folds": folds.astype(np.uint32),
    "gram": x @ x.T,
    "knn-uniform": [neighbours(c, "uniform") for c in counts],
    "knn-distance": [neighbours(c, "distance") for c in counts],
    "naive-bayes": [bayes(c) for c in counts],
    "svm-polynomial": [machine(c, **polynomial) for c in counts],
    "svm-rbf": [machine(c, **rbf) for c in counts],
    "svm-polynomial-answers": [fitted(c, **polynomial).predict(x) for c in counts],
    "svm-rbf-answers": [fitted(c, **rbf).predict(x) for c in counts],
}
whole = ("labels", "counts", "folds", "svm-polynomial-answers", "svm-rbf-answers")
tensors = {name: np.asarray(t, dtype=np.uint32 if name in whole else np.float32) for name, t in tensors.items()}
save_file(tensors, Path(__file__).parent.parent / "tests/references/classifiers.safetensors")
