"""Our resizing against OpenCV's, on random pictures and sizes.

    python shared/references/resize_sweep.py [N]   # 300 cases unless told otherwise

Both sides shrink: `INTER_AREA`. Both grow: `INTER_LINEAR` (which OpenCV computes with 11-bit weights). Prints the
greatest difference in grey levels, and for 32-bit maps that grow the greatest difference.
"""

import random
import sys

import cv2
import numpy as np

from probe import Probe
from synthetic import picture

generator, probe = random.Random(5), Probe()
greatest = {"area": 0, "linear": 0, "linear of floats": 0.0}
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 300):
    width, height = (generator.randint(1, generator.choice((4, 30, 400))) for _ in "xy")
    image = picture(generator.choice(("noise", "film")), generator.getrandbits(32), width, height, 8)
    small = (generator.randint(1, width), generator.randint(1, height))
    large = (generator.randint(width, 4 * width), generator.randint(height, 4 * height))
    for name, size, rule in (("area", small, cv2.INTER_AREA), ("linear", large, cv2.INTER_LINEAR)):
        expected = cv2.resize(image, size, interpolation=rule).reshape(size[::-1]).astype(int)
        difference = int(np.abs(expected - probe.resize(image, *size)).max())
        greatest[name] = max(greatest[name], difference)
    values = (image / 255).astype(np.float32)
    expected = cv2.resize(values, large, interpolation=cv2.INTER_LINEAR).reshape(large[::-1])
    difference = float(np.abs(expected - probe.resize(values, *large)).max())
    greatest["linear of floats"] = max(greatest["linear of floats"], difference)
print(f"OpenCV {cv2.__version__}:", greatest)
