"""Fits the templates of `src/preprocess/upright.rs`: does a film or slice stand upright, and is it a positive?

    python3 -m venv venv
    venv/bin/pip install numpy opencv-python-headless
    venv/bin/python references/upright.py SHARED/data

A picture of 16 x 16 greys, without its mean, is compared with one template in all eight turns. The template is the ridge regression
that gives 1 to upright training pictures (mirrored ones count as upright, nobody can tell them apart by this) and 0 to the same pictures
turned, -1 to their negatives. Slices upside down look too much like upright ones, and count as upright. Weights are rounded to
integers. Prints both tables, and for every source what share of its pictures outside of the training split is called wrongly, as it is
and turned.
"""

import csv
import pathlib
import sys

import cv2
import numpy as np

SIDE = 16
RIDGE = 1.0
TURNS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]
UPRIGHT = {"xray": {(0, False), (0, True)}, "ct": {(0, False), (0, True), (2, False), (2, True)}}


def without_border(picture):
    """As `find_core` does for films, but for gaps and margins."""
    height, width = picture.shape
    top, bottom, left, right = 0, height, 0, width

    def even(line):
        return (np.abs(line.astype(int) - np.median(line)) <= 6).mean() >= 0.9

    changed = True
    while changed and bottom - top > 8 and right - left > 8:
        changed = False
        while bottom - top > 8 and even(picture[top, left:right]):
            top, changed = top + 1, True
        while bottom - top > 8 and even(picture[bottom - 1, left:right]):
            bottom, changed = bottom - 1, True
        while right - left > 8 and even(picture[top:bottom, left]):
            left, changed = left + 1, True
        while right - left > 8 and even(picture[top:bottom, right - 1]):
            right, changed = right - 1, True
    cut = picture[top:bottom, left:right]
    return cut if 4 * cut.size >= picture.size else picture


def load(path, modality):
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        return None
    low, high = np.percentile(picture, [0.5, 99.5])
    picture = np.rint(np.clip((picture - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    if max(picture.shape) > 256:
        shrink = 256 / max(picture.shape)
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    if modality == "xray":
        picture = without_border(picture)
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def turned(pictures, turn):
    quarters, mirrored = turn
    pictures = np.rot90(pictures, quarters, axes=(1, 2))
    return pictures[:, :, ::-1] if mirrored else pictures


def features(pictures):
    centred = pictures - pictures.mean((1, 2), keepdims=True)
    length = np.sqrt((centred**2).mean((1, 2), keepdims=True))
    return (centred / np.maximum(length, 1e-6)).reshape(len(pictures), -1)


def fit(pictures, upright):
    rows, wanted = [], []
    for turn in TURNS:
        row = features(turned(pictures, turn))
        rows += [row, -row]
        wanted += [np.full(len(row), float(turn in upright)), np.full(len(row), -float(turn in upright))]
    rows, wanted = np.concatenate(rows), np.concatenate(wanted)
    weights = np.linalg.solve(rows.T @ rows + RIDGE * len(rows) * np.eye(SIDE * SIDE), rows.T @ wanted)
    return np.rint(weights / np.abs(weights).max() * 127).astype(int)


def passes(pictures, weights, upright):
    """Whether each picture is called upright and positive."""
    scores = {turn: features(turned(pictures, turn)) @ weights for turn in TURNS}
    best = np.max([scores[turn] for turn in upright], axis=0)
    turned_or_negative = [np.abs(scores[turn]) for turn in TURNS if turn not in upright]
    return best >= np.max(turned_or_negative + [-scores[turn] for turn in upright], axis=0)


def main(folder):
    with open(folder / "manifest.csv", newline="") as file:
        manifest = list(csv.DictReader(file))
    for modality, upright in UPRIGHT.items():
        rows = [row for row in manifest if row["modality"] == modality]
        loaded = [(load(folder / row["path"], modality), row) for row in rows]
        pictures = np.array([picture for picture, _ in loaded if picture is not None])
        rows = [row for picture, row in loaded if picture is not None]
        training = np.array([row["split"] == "train" for row in rows])
        weights = fit(pictures[training], upright)
        print(f"{modality}: {training.sum()} training pictures")
        for line in weights.reshape(SIDE, SIDE):
            print("    " + ", ".join(map(str, line)) + ",")
        source = np.array([row["source"] for row in rows])
        for name in sorted(set(source[~training])):
            held_out = pictures[(source == name) & ~training]
            missed = [
                passes(sign * turned(held_out, turn), weights, upright)
                for turn in TURNS
                for sign in (1, -1)
                if (turn, sign) not in {(turn, 1) for turn in upright}
            ]
            wrong = 1 - passes(held_out, weights, upright).mean()
            print(f"{name[:60]}: {len(held_out)} pictures, called wrong {wrong:.4f}, turned and missed {np.mean(missed):.4f}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
