"""Writes trainer/tests/references/masks.json: what MedPy makes of a few made-up pairs of masks.

    pip install medpy numpy scipy
    python trainer/references/masks.py

Written with MedPy 0.5.2, SciPy 1.17.1, NumPy 2.4.6. Masks are rows of 0 and 1; a figure that MedPy refuses is null.
"""
import json
import pathlib

import numpy as np
from medpy.metric import binary
from scipy.ndimage import gaussian_filter

rng = np.random.default_rng(20240611)


def blobs(height, width, share):
    """Smoothed noise above its own quantile: connected regions, some of which touch the border."""
    field = gaussian_filter(rng.standard_normal((height, width)), 2.0)
    return field > np.quantile(field, 1 - share) if share else np.zeros((height, width), bool)


def pairs():
    for height, width, share in [(24, 31, 0.2), (31, 24, 0.05), (40, 40, 0.5), (17, 50, 0.3)]:
        truth = blobs(height, width, share)
        yield truth, truth
        yield np.roll(truth, (2, -3), (0, 1)), truth
        yield blobs(height, width, share), truth
        yield blobs(height, width, share / 4), truth
        yield blobs(height, width, 0), truth
        yield truth, blobs(height, width, 0)
    frame = np.zeros((12, 15), bool)
    frame[2:10, 3:12] = True
    hollow = frame.copy()
    hollow[4:8, 5:10] = False
    yield hollow, frame
    speck = frame.copy()
    speck[11, 14] = True
    yield speck, frame
    yield np.ones((9, 14), bool), frame[:9, :14]
    yield np.ones((1, 1), bool), np.ones((1, 1), bool)


def figure(of, *arguments, **named):
    try:
        return float(of(*arguments, **named))
    except RuntimeError:
        return None


cases = []
for found, truth in pairs():
    spacing = [1.5, 0.625]
    something = bool(truth.any())
    cases.append({
        "width": found.shape[1],
        "found": ["".join(map(str, row)) for row in found.astype(int).tolist()],
        "truth": ["".join(map(str, row)) for row in truth.astype(int).tolist()],
        "spacing_mm": spacing,
        "hd95_pixels": figure(binary.hd95, found, truth),
        "hd95_mm": figure(binary.hd95, found, truth, voxelspacing=spacing),
        # Without a true pixel MedPy gives 0, where Thorax gives none.
        "dice": figure(binary.dc, found, truth) if something else None,
        "iou": figure(binary.jc, found, truth) if something else None,
        "sensitivity": figure(binary.sensitivity, found, truth) if something else None,
        "specificity": figure(binary.specificity, found, truth) if not truth.all() else None,
        "pixel_accuracy": float((found == truth).mean()),
    })

path = pathlib.Path(__file__).resolve().parents[1] / "tests/references/masks.json"
path.write_text(json.dumps(cases, separators=(",", ":")).replace("},{", "},\n{") + "\n")
print(f"{path}: {len(cases)} pairs, {path.stat().st_size} bytes")
