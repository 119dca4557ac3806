"""Writes trainer/tests/references/average_precision.safetensors: COCO's figures of 200 drawn cases by pycocotools.

    pip install numpy pycocotools safetensors
    python trainer/references/average_precision.py

Written with pycocotools 2.0.11. A case is a few pictures of 24 x 24 with rectangles, drawn by drawn.py as trainer/tests/average_precision.rs
draws them: the true ones, those that were found (some of them true ones that were moved), and their scores, many of which are equal. The
file holds AP, AP50, AP75, AR1, AR10 and AR100 of each case; -1 where there is no true rectangle. `ignored` are the same figures where true
rectangles of fewer than 25 pixels are ignored: their area is told as one that is outside of the range of areas that is judged.
"""
import contextlib
import io
import pathlib

import numpy as np
import pycocotools
from drawn import hashed
from pycocotools import mask as coding
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.numpy import save_file

CASES, SIDE, SMALLEST = 200, 24, 25


def rectangle(left, top, width, height):
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[top : top + height, left : left + width] = 1
    return mask


def case(number):
    """For each picture its true masks, and scores and masks of what was found."""
    words = iter(hashed(f"case {number}", 4000).tolist())
    below = lambda count: next(words) % count
    pictures = []
    for _ in range(1 + below(4)):
        true = [(below(SIDE - 3), below(SIDE - 3), 2 + below(9), 2 + below(9)) for _ in range(below(5))]
        found = []
        for _ in range(below(13)):
            score = (1 + below(20)) / 20
            if true and below(3) > 0:
                left, top, width, height = true[below(len(true))]
                found.append((score, (left + below(2), top + below(2), max(1, width + below(3) - 1), max(1, height + below(3) - 1))))
            else:
                found.append((score, (below(SIDE - 3), below(SIDE - 3), 1 + below(9), 1 + below(9))))
        pictures.append(([rectangle(*of) for of in true], [(score, rectangle(*of)) for score, of in found]))
    return pictures


def figures(pictures, smallest=0):
    truths, found = [], []
    for image, (true, of) in enumerate(pictures):
        for mask in true:
            code = coding.encode(mask)
            area = float(coding.area(code))
            truths.append(dict(id=len(truths) + 1, image_id=image, category_id=1, iscrowd=0, segmentation=code,
                               area=area if area >= smallest else -1.0, bbox=coding.toBbox(code).tolist()))
        found += [dict(image_id=image, category_id=1, score=score, segmentation=coding.encode(mask)) for score, mask in of]
    if all(truth["area"] < 0 for truth in truths):
        return [-1.0] * 6
    if not found:
        return [0.0] * 6
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dict(images=[dict(id=i, height=SIDE, width=SIDE) for i in range(len(pictures))], annotations=truths,
                            categories=[dict(id=1, name="lesion")])
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(found), "segm")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    ap, ap50, ap75, _, _, _, ar1, ar10, ar100 = judged.stats[:9]
    return [ap, ap50, ap75, ar1, ar10, ar100]


cases = [case(number) for number in range(CASES)]
found = np.array([figures(of) for of in cases])
ignored = np.array([figures(of, SMALLEST) for of in cases])
path = pathlib.Path(__file__).parent.parent / "tests/references/average_precision.safetensors"
save_file({"figures": found, "ignored": ignored}, path)
for name, of in [("figures", found), ("ignored", ignored)]:
    print(f"{name}: {CASES} cases, {(of[:, 0] < 0).sum()} without a true one, mean AP {of[of[:, 0] >= 0, 0].mean():.3f}")
print(f"{path.name}: {path.stat().st_size} bytes, pycocotools {getattr(pycocotools, '__version__', '2.0.11')}")
