"""Writes trainer/tests/references/volume_masks.json: distances in three dimensions by SciPy, and what MedPy makes of pairs of volumes.

    pip install medpy numpy scipy
    python trainer/references/volume_masks.py

Written with MedPy 0.5.2, SciPy 1.17.1, NumPy 2.4.6. `distances`: a mask `[D, H, W]`, its spacing, and the square of each voxel's distance to
the nearest false one (`distance_transform_edt` with `sampling`). `pairs`: two masks, their spacing, and `medpy.metric.binary.hd95`, null
where one is empty.
"""
import json
import pathlib

import numpy as np
from medpy.metric import binary
from scipy.ndimage import distance_transform_edt, gaussian_filter

rng = np.random.default_rng(20261129)


def blobs(size, share):
    """Smoothed noise above its own quantile: connected bodies, some of which touch the border."""
    field = gaussian_filter(rng.standard_normal(size), 1.5)
    return field > np.quantile(field, 1 - share)


def digits(mask):
    return "".join(map(str, mask.astype(int).ravel().tolist()))


def distances(mask, spacing):
    squared = distance_transform_edt(mask, sampling=spacing) ** 2
    return {"size": mask.shape, "voxels": digits(mask), "spacing": spacing, "squared": [round(value, 8) for value in squared.ravel().tolist()]}


def pair(found, truth, spacing):
    hd95 = float(binary.hd95(found, truth, voxelspacing=spacing)) if found.any() and truth.any() else None
    return {"size": truth.shape, "found": digits(found), "truth": digits(truth), "spacing": spacing, "hd95_mm": hd95}


def pairs():
    for size, share, spacing in [((7, 12, 10), 0.2, [5, 0.7, 0.7]), ((9, 10, 14), 0.4, [1, 1, 1]), ((5, 16, 9), 0.1, [2.5, 0.75, 0.75])]:
        truth = blobs(size, share)
        yield truth, truth, spacing
        yield np.roll(truth, (1, -2), (0, 2)), truth, spacing
        yield blobs(size, share), truth, spacing
        yield blobs(size, share / 3), truth, spacing
        yield np.zeros(size, bool), truth, spacing
    ball = np.zeros((9, 9, 9), bool)
    ball[2:7, 2:7, 2:7] = True
    hollow = ball.copy()
    hollow[4, 4, 4] = False
    yield hollow, ball, [3, 1, 1]
    speck = ball.copy()
    speck[8, 8, 8] = True
    yield speck, ball, [3, 1, 1]
    yield np.ones((3, 4, 5), bool), np.ones((3, 4, 5), bool), [3, 1, 1]
    one = np.zeros((6, 5, 5), bool)
    one[0, 0, 0] = True
    yield np.roll(one, 5, 0), one, [4, 1, 1]


one_false = np.ones((6, 7, 5), bool)
one_false[1, 2, 3] = False
written = {
    "distances": [
        distances(blobs((6, 9, 11), 0.3), [1, 1, 1]),
        distances(blobs((6, 9, 11), 0.7), [5, 0.75, 0.75]),
        distances(rng.random((5, 8, 7)) < 0.9, [0.8, 3, 1.5]),
        distances(one_false, [2.5, 1, 1]),
        distances(~one_false, [2.5, 1, 1]),
    ],
    "pairs": [pair(*masks) for masks in pairs()],
}
path = pathlib.Path(__file__).parents[1] / "tests/references/volume_masks.json"
path.write_text(json.dumps(written, separators=(",", ":")).replace("},{", "},\n{") + "\n")
print(path.name, len(written["pairs"]), "pairs,", path.stat().st_size, "bytes")
