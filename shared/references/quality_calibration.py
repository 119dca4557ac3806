"""How many real train pictures, and how many spoiled ones, the default quality limits refuse.

    python shared/references/quality_calibration.py [--all]   # --all: also the measures' percentiles

Prints the table that `shared/src/preprocess/quality.rs` carries, and every real picture that is refused.
"""

import collections
import sys

import cv2
import numpy as np

from material import PARTS, grey, train_rows
from probe import Probe


def spoiled(image):
    yield "real", image
    yield "slightly blurred", cv2.GaussianBlur(image, (0, 0), 1)
    yield "blurred", cv2.GaussianBlur(image, (0, 0), 4 * max(image.shape) / 512)
    yield "dark", (image * 0.05).astype(np.uint8)
    yield "white", (255 - (255 - image.astype(float)) * 0.06).astype(np.uint8)
    black_and_white = (image > 127).astype(np.uint8) * 255
    yield "two levels", cv2.imdecode(cv2.imencode(".jpg", black_and_white)[1], cv2.IMREAD_GRAYSCALE)


probe = Probe()
answers, masks = collections.defaultdict(list), []
for part, row in train_rows():
    for kind, image in spoiled(grey(row["path"])):
        quality, reason = probe.quality(image)
        answers[part, kind].append((quality, reason))
        if kind == "real" and reason:
            print(f"{row['path']}: {reason}", {name: round(value, 3) for name, value in quality.items()})
    if row["mask"]:
        masks.append(probe.quality(grey(row["mask"])))
for part in PARTS:
    print(f"/// | `{part}` | {len(answers[part, 'real'])} |", end="")
    for kind in ("real", "slightly blurred", "blurred", "dark", "white", "two levels"):
        refused = [reason is not None for _, reason in answers[part, kind]]
        print(f" {100 * np.mean(refused):.1f} % |", end="")
    print()
print(f"infection masks: {sum(reason is not None for _, reason in masks)} of {len(masks)} refused")
if "--all" in sys.argv:
    for (part, kind), found in answers.items():
        print(part, kind, dict(collections.Counter(reason for _, reason in found)))
        for name in found[0][0]:
            print(f"    {name:14}", np.percentile([q[name] for q, _ in found], [0, 0.5, 1, 5, 50, 95, 99, 99.5, 100]).round(3))
