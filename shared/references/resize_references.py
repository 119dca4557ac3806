"""OpenCV's resizing of synthetic pictures, into tests/references/preprocess/resize.json.

    python shared/references/resize_references.py            # writes the file
    python shared/references/resize_references.py --sweep N  # N random cases against the Rust code

Both sides shrink: `INTER_AREA`. Both grow: `INTER_LINEAR` (which OpenCV computes with 11-bit weights for 8 bits).
"""

import argparse
import json
import pathlib
import random

import cv2
import numpy as np

from probe import Probe
from synthetic import picture

FILE = pathlib.Path(__file__).resolve().parents[1] / "tests" / "references" / "preprocess" / "resize.json"
SHRINK = [((64, 48), (32, 24)), ((61, 47), (20, 33)), ((33, 70), (31, 23)), ((40, 7), (7, 7)), ((9, 9), (1, 1)), ((30, 1), (11, 1))]
GROW = [((7, 9), (28, 27)), ((13, 11), (29, 40)), ((1, 5), (9, 12)), ((1, 1), (3, 4)), ((24, 16), (25, 17)), ((20, 20), (30, 20))]


def resized(image, size):
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).reshape(size[::-1])


def write():
    cases = []
    for old, new in SHRINK + GROW:
        for kind in ("noise", "film"):
            seed = len(cases)
            result = resized(picture(kind, seed, *old, 8), new)
            cases.append({"kind": kind, "seed": seed, "from": old, "to": new, "hex": result.tobytes().hex()})
    lines = ",\n".join("    " + json.dumps(one) for one in cases)
    made_by = f"OpenCV {cv2.__version__}, shared/references/resize_references.py"
    FILE.write_text(f'{{\n  "made_by": {json.dumps(made_by)},\n  "cases": [\n{lines}\n  ]\n}}\n')
    print(f"{len(cases)} cases, {FILE.stat().st_size} bytes, OpenCV {cv2.__version__}")


def sweep(count):
    generator, probe = random.Random(5), Probe()
    greatest = {"shrunk": 0, "grown": 0, "grown, floats from 0 to 1": 0.0}
    for _ in range(count):
        width, height = (generator.randint(1, generator.choice((4, 30, 400))) for _ in "xy")
        image = picture(generator.choice(("noise", "film")), generator.getrandbits(32), width, height, 8)
        small = (generator.randint(1, width), generator.randint(1, height))
        large = (generator.randint(width, 4 * width), generator.randint(height, 4 * height))
        for name, size in (("shrunk", small), ("grown", large)):
            difference = np.abs(resized(image, size).astype(int) - probe.resize(image, *size)).max()
            greatest[name] = max(greatest[name], int(difference))
        values = (image / 255).astype(np.float32)
        difference = np.abs(resized(values, large) - probe.resize(values, *large)).max()
        greatest["grown, floats from 0 to 1"] = max(greatest["grown, floats from 0 to 1"], float(difference))
    print(f"{count} cases, greatest differences from OpenCV {cv2.__version__}:", greatest)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", type=int, metavar="N")
    arguments = parser.parse_args()
    sweep(arguments.sweep) if arguments.sweep else write()
