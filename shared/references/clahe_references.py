"""OpenCV's CLAHE of synthetic pictures, as SHA-256, into tests/references/preprocess/clahe.json.

    python shared/references/clahe_references.py            # writes the file
    python shared/references/clahe_references.py --sweep N  # N random cases against the Rust code, to the bit
"""

import argparse
import hashlib
import json
import pathlib
import random

import cv2
import numpy as np

from probe import Probe
from synthetic import picture

FILE = pathlib.Path(__file__).resolve().parents[1] / "tests" / "references" / "preprocess" / "clahe.json"
KINDS = ("noise", "film", "dark", "flat")
CLIPS = (0.0, 1.0, 2.0, 4.0, 40.0)
GRIDS = ((1, 1), (2, 3), (4, 4), (8, 8), (16, 5))
SIZES = ((1, 1), (1, 9), (7, 1), (2, 2), (5, 3), (16, 16), (17, 64), (64, 65), (96, 120), (131, 97))


def equalised(image, clip, grid):
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=grid).apply(image)


def case(kind, seed, width, height, bits, clip, grid):
    result = equalised(picture(kind, seed, width, height, bits), clip, grid)
    digest = hashlib.sha256(result.astype("<u2" if bits == 16 else "u1").tobytes()).hexdigest()
    return {
        "kind": kind, "seed": seed, "width": width, "height": height, "bits": bits,
        "clip_limit": clip, "tiles_x": grid[0], "tiles_y": grid[1], "sha256": digest,
    }  # fmt: skip


def write():
    cases = []
    for size in SIZES:
        for clip in CLIPS:
            for grid in GRIDS:
                seed = len(cases)
                cases.append(case(KINDS[seed % 4], seed, *size, 8, clip, grid))
    for size in SIZES:
        for number, grid in enumerate(GRIDS[:4]):
            seed = len(cases)
            cases.append(case(KINDS[(seed + number) % 4], seed, *size, 16, CLIPS[seed % 5], grid))
    for bits in (8, 16):
        for clip in CLIPS:
            cases.append(case("film", len(cases), 640, 509, bits, clip, (8, 8)))
            cases.append(case("film", len(cases), 512, 512, bits, clip, (8, 8)))
    content = {"made_by": f"OpenCV {cv2.__version__}, shared/references/clahe_references.py", "cases": cases}
    lines = ",\n".join("    " + json.dumps(one) for one in cases)
    FILE.write_text(f'{{\n  "made_by": {json.dumps(content["made_by"])},\n  "cases": [\n{lines}\n  ]\n}}\n')
    print(f"{len(cases)} cases, {FILE.stat().st_size} bytes, OpenCV {cv2.__version__}")


def sweep(count):
    probe, generator = Probe(), random.Random(count)  # another count, other cases
    differing = 0
    for number in range(count):
        bits = 16 if generator.random() < 0.15 else 8
        longest = generator.choice((8, 40, 200, 700))
        width, height = generator.randint(1, longest), generator.randint(1, longest)
        grid = tuple(generator.choice((1, 2, 3, 4, 5, 8, 8, 11, 16, 29, 64) if bits == 8 else (1, 2, 3, 8)) for _ in "xy")
        clip = generator.choice((0.0, -1.0, 1.0, 2.0, 3.0, 4.0, 40.0, 1e4, generator.uniform(0, 0.1), generator.uniform(0, 50)))
        image = picture(generator.choice(KINDS), generator.getrandbits(32), width, height, bits)
        if generator.random() < 0.3:  # smooth structures with many equal neighbours
            image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.5, 8))
        expected, found = equalised(image, clip, grid), probe.clahe(image, clip, *grid)
        if not np.array_equal(expected, found):
            differing += 1
            print("differs:", width, height, bits, grid, clip, int((expected != found).sum()), "pixels")
    print(f"{count} cases, {differing} differ, OpenCV {cv2.__version__}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", type=int, metavar="N")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    sweep(arguments.sweep) if arguments.sweep else write()
