"""Writes trainer/tests/references/distance_transform.json: distances of drawn masks by SciPy.

    pip install scipy numpy
    python trainer/references/distance_transform.py

Written with SciPy 1.17.1, NumPy 2.4.6. A case is a mask, in rows of `#` (true) and `.`, with `squared`, the square of each
true pixel's distance to the nearest false one for a `spacing` of rows and columns, and `signed`, the map that Kervadec et al.'s
published code (github.com/LIVIAETS/boundary-loss) calls `one_hot2dist`.
"""
import json
import pathlib

import numpy as np
from scipy.ndimage import distance_transform_edt

rng = np.random.default_rng(20261125)


def signed_distance(mask):
    """0 for an empty mask; else the distance to the mask outside, and 1 less the distance to the outside within."""
    if not mask.any():
        return np.zeros(mask.shape)
    return np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))


def ellipses(height, width, count):
    """As lesions are: a few, of any size, cut by the edge."""
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(count):
        row, column = rng.random(2) * (height, width)
        a, b = 1 + rng.random(2) * (height, width) / 4
        mask |= ((rows - row) / a) ** 2 + ((columns - column) / b) ** 2 < 1
    return mask


one_false = np.ones((40, 30), bool)
one_false[3, 5] = False
MASKS = [
    (ellipses(24, 32, 3), [1, 1]),
    (ellipses(24, 32, 3), [0.7421875, 0.7421875]),
    (ellipses(17, 25, 5), [5, 0.6875]),
    (rng.random((24, 17)) < 0.8, [1, 1]),
    (rng.random((24, 17)) < 0.97, [0.8, 3]),
    (one_false, [1, 1]),
    (~one_false, [1, 1]),
    (np.zeros((4, 6), bool), [1, 1]),
    (np.ones((1, 9), bool) & (np.arange(9) != 6), [2, 1.5]),
    (np.ones((9, 1), bool) & (np.arange(9) != 2)[:, None], [2, 1.5]),
]


def case(mask, spacing):
    def numbers(array):
        return [int(value) if value.is_integer() else round(value, 8) for value in map(float, array.ravel())]

    return {"rows": ["".join(".#"[int(pixel)] for pixel in row) for row in mask], "spacing": spacing,
            "squared": numbers(distance_transform_edt(mask, sampling=spacing) ** 2), "signed": numbers(signed_distance(mask))}


path = pathlib.Path(__file__).parents[1] / "tests" / "references" / "distance_transform.json"
path.write_text(json.dumps([case(*mask) for mask in MASKS], separators=(",", ":")) + "\n")
print(path.name, path.stat().st_size)
