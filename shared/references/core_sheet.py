"""A contact sheet of what `find_core` finds on real pictures, to be looked at (and not to be kept in the repository).

    python shared/references/core_sheet.py FOLDER [SEED]   # writes FOLDER/{xray,ct,seg,seg_xray}.png
"""

import pathlib
import random
import sys

import cv2
import numpy as np

from material import PARTS, grey, train_rows
from probe import Probe

THUMB, ACROSS, DOWN = 220, 8, 3
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
probe, rows = Probe(), list(train_rows())
for part in PARTS:
    paths = [row["path"] for of, row in rows if of == part]
    kind, margin = ("film", 0.0) if "xray" in part else ("body", 0.02)
    sheet = np.zeros((DOWN * THUMB, ACROSS * THUMB, 3), np.uint8)
    for number, path in enumerate(random.Random(seed).sample(paths, ACROSS * DOWN)):
        image = grey(path)
        x, y, width, height = probe.core(image, kind, margin)
        scale = (THUMB - 4) / max(image.shape)
        thumb = cv2.cvtColor(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)
        corners = [(int(a * scale), int(b * scale)) for a, b in ((x, y), (x + width - 1, y + height - 1))]
        cv2.rectangle(thumb, *corners, (0, 0, 255), 1)
        top, left = number // ACROSS * THUMB, number % ACROSS * THUMB
        sheet[top : top + thumb.shape[0], left : left + thumb.shape[1]] = thumb
    cv2.imwrite(str(folder / f"{part}.png"), sheet)
    shares = []
    for path in paths:
        image = grey(path)
        _, _, width, height = probe.core(image, kind, margin)
        shares.append(width * height / image.size)
    print(part, len(paths), "core's share of the picture, percentiles 0 1 5 25 50:", np.percentile(shares, [0, 1, 5, 25, 50]).round(3))
