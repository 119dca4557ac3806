"""Why the polynomial SVM scores some 58 % where scikit-learn has 72 % on the same split.

    thorax-train features --modality xray --backbone efficientnet-lite0 --weights WEIGHTS --manifest M.csv --out xray.features
    python trainer/references/polynomial_svm.py xray.features

Needs numpy and scikit-learn. It fits scikit-learn's SVC to a feature store's training pictures, once to all of them and then, as
`thorax-train classify` does, to resamples of their patients, and scores the test pictures by the sign of the decision and by
Platt's probability (cross-fitted by patients, as ours).
"""
import json, struct, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVC

with open(sys.argv[1], "rb") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(length))
    rows = json.loads(header["__metadata__"]["thorax"])["rows"]

    def tensor(name, dtype):
        begin, end = header[name]["data_offsets"]
        file.seek(8 + length + begin)
        return np.frombuffer(file.read(end - begin), dtype)

    usable = tensor("state", "<u4") == 1
    features = tensor("features", "<f2" if header["features"]["dtype"] == "F16" else "<f4")
features = features.reshape(len(rows), -1)[usable].astype("f4")
rows = [row for row, use in zip(rows, usable) if use]
positive = np.array([row["label"] == "positive" for row in rows])
group = np.array([row["group"] for row in rows])
split = np.array([row["split"] for row in rows])
train, test = np.where(split == "train")[0], np.where(split == "test")[0]
deviation = features[train].std(0)
features = (features - features[train].mean(0)) / np.where(deviation == 0, 1, deviation)
product = (features @ features.T).astype("f8") / (features.shape[1] * features[train].var())


def machine(kernel, of):
    return SVC(C=1, kernel="precomputed", tol=1e-5).fit(kernel[np.ix_(of, of)], positive[of])


def told(predicted):
    truth = positive[test]
    shares = (predicted == truth).mean(), predicted[truth].mean(), (~predicted[~truth]).mean()
    return "accuracy %.1f, recall %.1f, specificity %.1f" % tuple(100 * share for share in shares)


for coef0 in [0, 1]:
    kernel = (product + coef0) ** 3
    for draw in range(8):
        random = np.random.default_rng(draw)
        patients = np.unique(group[train])
        drawn = [train] if draw == 0 else [train[group[train] == p] for p in random.choice(patients, len(patients))]
        of = np.concatenate(drawn)
        held_out = np.zeros(len(of))
        for learnt, held in GroupKFold(5).split(of, groups=group[of]):
            held_out[held] = machine(kernel, of[learnt]).decision_function(kernel[np.ix_(of[held], of[learnt])])
        sigmoid = LogisticRegression(C=1e6).fit(held_out[:, None], positive[of])
        decision = machine(kernel, of).decision_function(kernel[np.ix_(test, of)])
        what = "all patients" if draw == 0 else f"resample {draw}"
        print(f"coef0 {coef0}, {what}: held-out decisions {held_out.mean():.3f} +- {held_out.std():.3f}")
        print("    by the sign:", told(decision > 0))
        print("    by Platt:   ", told(sigmoid.predict_proba(decision[:, None])[:, 1] >= 0.5))
