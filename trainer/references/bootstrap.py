"""The intervals of `thorax-train evaluate`, by an exact bootstrap over patients in NumPy.

    pip install numpy
    python trainer/references/bootstrap.py                 # writes trainer/tests/references/bootstrap.json, which a test reads
    python trainer/references/bootstrap.py --predictions P.csv --pixels M.csv --positive-at 0.5 --printed EVALUATED.md

The second form takes what `evaluate --predictions P.csv --pixels M.csv > EVALUATED.md` of one bundle left, reckons all figures anew
from the rows, and compares each with the table, digit by digit; `bundle show` tells the threshold.

Exact: the same patients are drawn (SplitMix64, Lemire's multiplication), and a patient who is drawn k times counts k times. Nothing
else is shared with the program. Written with NumPy 2.4.6.
"""
import argparse
import csv
import json
import pathlib
import sys

import numpy as np

RESAMPLES, LEVEL = 1000, 0.95
CLASSIFICATION = ["AUC", "sensitivity", "specificity", "accuracy", "ECE", "AUROC of entropy for errors", "answered",
                  "selective accuracy"]
MASKS = ["Dice per image", "IoU per image", "Dice per image, two empty masks as 1", "Dice pooled", "IoU pooled",
         "Dice per patient", "IoU per patient", "pixel accuracy"]


def draws(seed, patients):
    """`[RESAMPLES, patients]`: the numbers of the patients drawn."""
    mask, state, out = (1 << 64) - 1, seed & ((1 << 64) - 1), np.empty((RESAMPLES, patients), int)
    for place in np.ndindex(out.shape):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out[place] = ((z ^ (z >> 31)) * patients) >> 64
    return out


def interval(seed, groups, statistic):
    """Value and ends of `statistic`, a function of how often each sample counts, `[N]`; `None` where it has no value."""
    names = sorted(set(groups), key=lambda name: name.encode())
    patient = np.array([names.index(group) for group in groups])
    value = statistic(np.ones(len(groups), int))
    if value is None:
        return None
    times = [np.bincount(drawn, minlength=len(names)) for drawn in draws(seed, len(names))]
    values = [statistic(t[patient]) for t in times]
    values = [v for v in values if v is not None]
    return [float(value), *map(float, np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))] if values else None


def share(part, whole):
    return part / whole if whole > 0 else None


def auc(scores, positive, times):
    """The chance that a positive scores higher than a negative, ties half, each as often as it was drawn."""
    a, b = scores[positive], scores[~positive]
    weight = np.outer(times[positive], times[~positive])
    wins = (a[:, None] > b[None, :]) + 0.5 * (a[:, None] == b[None, :])
    return share((weight * wins).sum(), weight.sum())


def classification(seed, positive_at, rows):
    """`rows`: group, positive, probability, entropy, verdict of what was read."""
    groups = [row["group"] for row in rows]
    y = np.array([row["positive"] for row in rows], bool)
    p = np.array([row["probability"] for row in rows], np.float32).astype(float)
    entropy = np.array([row["entropy_bits"] for row in rows], np.float32).astype(float)
    verdict = np.array([row["verdict"] for row in rows])
    called = p >= np.float32(positive_at)
    answered = np.isin(verdict, ["positive", "negative"])
    right = (verdict == "positive") == y
    bins = np.clip(np.ceil(p * 15).astype(int) - 1, 0, 14)

    def ece(t):
        gaps = [abs((t * p)[bins == b].sum() - (t * y)[bins == b].sum()) for b in range(15)]
        return share(sum(gaps), t.sum())

    statistics = [
        lambda t: auc(p, y, t),
        lambda t: share(t[called & y].sum(), t[y].sum()),
        lambda t: share(t[~called & ~y].sum(), t[~y].sum()),
        lambda t: share(t[called == y].sum(), t.sum()),
        ece,
        lambda t: auc(entropy, called != y, t),
        lambda t: share(t[answered].sum(), t.sum()),
        lambda t: share(t[answered & right].sum(), t[answered].sum()),
    ]
    return dict(zip(CLASSIFICATION, [interval(seed, groups, statistic) for statistic in statistics]))


def masks(seed, rows):
    """`rows`: group and the four counts of a picture."""
    def counts(of):
        return [np.array([row[name] for row in of], np.int64)
                for name in ["true_positives", "false_positives", "true_negatives", "false_negatives"]]

    def figures(tp, fp, _tn, fn):
        """Dice and IoU; without a true pixel there are none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            known = tp + fn > 0
            return known, np.where(known, 2 * tp / (2 * tp + fp + fn), 0), np.where(known, tp / (tp + fp + fn), 0)

    def mean(known, values):
        return lambda t: share((t * known * values).sum(), (t * known).sum())

    def pooled(figure):
        def statistic(t):
            tp, fp, tn, fn = [(t * count).sum() for count in counts(rows)]
            return {"dice": share(2 * tp, 2 * tp + fp + fn) if tp + fn else None,
                    "iou": share(tp, tp + fp + fn) if tp + fn else None,
                    "accuracy": share(tp + tn, tp + fp + tn + fn)}[figure]
        return statistic

    groups = [row["group"] for row in rows]
    known, dice, iou = figures(*counts(rows))
    tp, fp, _, fn = counts(rows)
    by_convention = np.where(tp + fp + fn == 0, 1, 2 * tp / np.maximum(2 * tp + fp + fn, 1))
    patients = sorted(set(groups), key=lambda name: name.encode())
    of_patient = [{name: sum(row[name] for row in rows if row["group"] == patient)
                   for name in ["true_positives", "false_positives", "true_negatives", "false_negatives"]}
                  for patient in patients]
    patient_known, patient_dice, patient_iou = figures(*counts(of_patient))
    everything = np.ones(len(rows))
    by_image = [mean(known, dice), mean(known, iou), mean(everything, by_convention), pooled("dice"), pooled("iou")]
    found = [interval(seed, groups, statistic) for statistic in by_image]
    found += [interval(seed, patients, mean(patient_known, values)) for values in (patient_dice, patient_iou)]
    found.append(interval(seed, groups, pooled("accuracy")))
    return dict(zip(MASKS, found))


def fixture():
    """Made-up patients with few and many pictures, ties, and masks that are empty. All numbers that go in are exact in float32."""
    rng = np.random.default_rng(20261128)
    predictions, pixels = [], []
    for patient in rng.permutation(17):
        group, sick = f"p{patient}", patient % 2 == 0
        for _ in range(rng.integers(1, 7)):
            p = int(np.clip(rng.normal(40 if sick else 24, 14), 0, 64)) / 64
            predictions.append({"group": group, "positive": bool(sick), "probability": p,
                                "entropy_bits": round((1 - abs(2 * p - 1)) * 32) / 32,
                                "verdict": "refer" if 0.4 < p < 0.55 else "positive" if p >= 0.55 else "negative"})
    for patient in rng.permutation(11):
        for _ in range(rng.integers(1, 9)):
            true = int(rng.integers(0, 400)) * int(rng.random() < 0.8)
            hit = int(rng.integers(0, true + 1)) if patient % 3 else true * 9 // 10
            false = int(rng.integers(0, 90)) * int(rng.random() < 0.7)
            pixels.append({"group": f"m{patient}", "true_positives": hit, "false_positives": false,
                           "true_negatives": 4096 - true - false, "false_negatives": true - hit})
    seed, positive_at = 7, 0.5
    out = pathlib.Path(__file__).parents[1] / "tests" / "references" / "bootstrap.json"
    out.write_text(json.dumps({
        "seed": seed, "positive_at": positive_at, "predictions": predictions, "pixels": pixels,
        "classification": classification(seed, positive_at, predictions), "masks": masks(seed, pixels),
    }, separators=(",", ":")) + "\n")
    print(out, out.stat().st_size)


def printed(estimate):
    return "–" if estimate is None else "{:.3f} ({:.3f}–{:.3f})".format(*estimate)


def compare(arguments):
    """Reckons the rows of all sources together anew, and returns whether all cells are as printed."""
    read = lambda path: list(csv.DictReader(open(path, newline="")))
    rows = [row for row in read(arguments.predictions) if row["probability"]]
    for row in rows:
        row["positive"] = row["positive"] == "true"
    pixels = read(arguments.pixels)
    tables, head = [], []
    for line in open(arguments.printed, encoding="utf-8"):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| source |"):
            head = cells
        elif line.startswith("| **all** |"):
            tables.append(dict(zip(head, cells)))
    same = True
    for table in tables:
        if "AUC" in table:
            found = classification(arguments.seed, arguments.positive_at, rows)
        else:
            of_mask = [{k: int(v) if k.endswith(("positives", "negatives")) else v for k, v in row.items()}
                       for row in pixels if row["mask"] == table["mask"]]
            found = masks(arguments.seed, of_mask)
        for name, estimate in found.items():
            same &= printed(estimate) == table[name]
            print("same " if printed(estimate) == table[name] else "OTHER", table.get("mask", ""), name, table[name],
                  printed(estimate))
    return same and bool(tables)


parser = argparse.ArgumentParser()
for option in ["predictions", "pixels", "printed"]:
    parser.add_argument(f"--{option}", type=pathlib.Path)
parser.add_argument("--positive-at", type=float)
parser.add_argument("--seed", type=int, default=1)
given = parser.parse_args()
if given.printed:
    sys.exit(0 if compare(given) else "some figures are not those of the exact bootstrap")
fixture()
