"""Our CLAHE against OpenCV's: the same picture, one thread each, in turn.

    python shared/references/clahe_ratio.py [PAIRS]   # 11 pairs unless told otherwise

Prints for each size the medians over all pairs and the median of the pairs' ratios (below 1: ours is faster).
"""

import statistics
import subprocess
import sys
import time

import cv2

from probe import example
from synthetic import picture

cv2.setNumThreads(1)
PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 11


def opencv_ms(image, runs):
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        clahe.apply(image)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours_ms(width, height, bits, runs):
    command = [example("clahe_time"), *map(str, (width, height, bits, runs))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


print(f"OpenCV {cv2.__version__}, {PAIRS} pairs, 8 x 8 tiles, clip limit 2")
for bits in (8, 16):
    for width, height, runs in ((512, 512, 41), (1024, 1024, 21), (2500, 2048, 9)):
        image = picture("film", 1, width, height, bits)
        pairs = []
        for pair in range(PAIRS):
            both = [lambda: ours_ms(width, height, bits, runs), lambda: opencv_ms(image, runs)]
            if pair % 2:  # whoever comes second may find a warmer core
                theirs = both[1]()
                ours = both[0]()
            else:
                ours = both[0]()
                theirs = both[1]()
            pairs.append((ours, theirs))
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = (statistics.median(times) for times in zip(*pairs))
        print(f"{width}x{height} {bits:2} bit: ours {ours:8.3f} ms, OpenCV {theirs:8.3f} ms, ratio {ratio:.3f}", flush=True)
