"""The whole chain, from a file to a picture on a panel, in Python with OpenCV and ONNX Runtime: what `thorax-edge bench` is compared with.

    thorax-train bundle show models/xray/thorax-xray.thorax --extract parts
    python edge/engine/references/chain.py thorax-edge models/xray/thorax-xray.thorax parts film.dcm [PAIRS]   # 9 pairs unless told otherwise

Both do the same with the same graphs: read the file, window it, equalise (CLAHE), cut to the film or the body, segment, classify, take the
ensemble's mean and entropy, bring masks and heat map to the picture's size, and draw them. Both run on one processor (the one this script is
bound to) with one thread, in turn, and both are warm. Prints the medians of each and the median of the pairs' ratios (below 1: ours is
faster), and how far apart the two probabilities are: cutting and resizing are OpenCV's there, so they differ a little.

Needs opencv-python-headless, onnxruntime, numpy, and pydicom for DICOM files.
"""

import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

PANEL = (480, 320)


def read(path):
    if path.suffix.lower() == ".dcm":
        import pydicom

        data = pydicom.dcmread(path)
        pixels = data.pixel_array.astype(np.float32) * float(data.get("RescaleSlope", 1)) + float(data.get("RescaleIntercept", 0))
        return pixels.max() - pixels if data.PhotometricInterpretation == "MONOCHROME1" else pixels
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return (pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)).astype(np.float32)


def window(pixels, spec):
    kind, values = next(iter(spec.items()))
    if kind.lower() == "quantiles":
        low, high = np.quantile(pixels, [values["low"], values["high"]])
    else:
        low, high = values["center"] - values["width"] / 2, values["center"] + values["width"] / 2
    return np.clip((pixels - low) * (255.0 / max(high - low, 1e-6)) + 0.5, 0, 255).astype(np.uint8)


def shrunk(picture, side):
    factor = side / max(picture.shape)
    return picture if factor >= 1 else cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def box(mask, margin):
    """Left, top, right, bottom of what is set, with a margin of its longer side."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    more = round(margin * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    return (max(columns[0] - more, 0), max(rows[0] - more, 0), min(columns[-1] + 1 + more, mask.shape[1]), min(rows[-1] + 1 + more, mask.shape[0]))


def core(picture, spec):
    if isinstance(spec, str):
        return 0, 0, picture.shape[1], picture.shape[0]
    kind, values = next(iter(spec.items()))
    if kind.lower() == "film":
        mask = np.zeros(picture.shape, bool)
        rows, columns = picture.std(1) > 2, picture.std(0) > 2
        mask[np.ix_(rows, columns)] = True
        return box(mask, values["margin"])
    _, body = cv2.threshold(picture, 0, 255, cv2.THRESH_OTSU)
    body = cv2.morphologyEx(body, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(body)
    largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if count > 1 else 0
    return box(labels == largest, values["margin"])


def tensor(picture, rect, spec):
    left, top, right, bottom = rect
    side = spec["input_side"]
    cut = cv2.resize(picture[top:bottom, left:right], (side, side), interpolation=cv2.INTER_AREA if right - left > side else cv2.INTER_LINEAR)
    channels = [(cut.astype(np.float32) / 255 - mean) / std for mean, std in zip(spec["normalise"]["mean"], spec["normalise"]["std"])]
    return np.stack(channels)[None]


class Chain:
    def __init__(self, parts):
        self.manifest = json.loads((parts / "manifest.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1

        def session(graph):
            return onnxruntime.InferenceSession(str(parts / graph["part"]), options, providers=["CPUExecutionProvider"])

        self.classifier = session(self.manifest["classifier"]["graph"])
        # Classifier and segmenter may be one net, which then runs once.
        graphs = self.manifest["classifier"]["graph"], self.manifest["segmenter"]["graph"]
        self.one = all(graphs[0][what] == graphs[1][what] for what in ("part", "input", "preprocess"))
        self.segmenter = self.classifier if self.one else session(self.manifest["segmenter"]["graph"])

    @staticmethod
    def equalise(working, clahe, hounsfield):
        """CLAHE, unless the recipe has none, or the picture has no unit and was equalised before (`Once` in shared/SPEC.md)."""
        if clahe is None:
            return working
        down, across, limit = clahe["tiles_y"], clahe["tiles_x"], clahe["clip_limit"]
        if "done_from" in clahe and not hounsfield:
            height, width = (side - side % tiles for side, tiles in zip(working.shape, (down, across)))
            tiles = working[:height, :width].reshape(down, height // down, across, width // across).swapaxes(1, 2).reshape(down * across, -1)
            tiles = tiles[tiles.std(1) >= 4]
            most = max(int(limit * height * width / (down * across) / 256), 1)
            within = sorted(np.minimum(np.bincount(tile, minlength=256), most).sum() / len(tile) for tile in tiles)
            if len(within) >= 4 and within[3 * (len(within) - 1) // 4] >= clahe["done_from"]:
                return working
        return cv2.createCLAHE(limit, (across, down)).apply(working)

    def run(self, path):
        manifest = self.manifest
        graph, segment = manifest["classifier"]["graph"], manifest["segmenter"]["graph"]
        spec = segment["preprocess"]
        windowed = window(read(path), spec["window"])
        working = shrunk(windowed, spec["working_side"])
        equalised = self.equalise(working, spec["clahe"], hounsfield=path.suffix.lower() == ".dcm" and "Hounsfield" in spec["window"])

        rect = core(working, spec["core"])
        names = [output.name for output in self.segmenter.get_outputs()]
        outputs = dict(zip(names, self.segmenter.run(None, {segment["input"]: tensor(equalised, rect, spec)})))
        maps = outputs[segment["outputs"][0]][0]
        factor = windowed.shape[1] / working.shape[1]
        left, top, right, bottom = (round(factor * side) for side in rect)
        masks = np.zeros((len(maps), *windowed.shape), np.uint8)
        for mask, map_ in zip(masks, maps):
            placed = cv2.resize(map_, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)[: windowed.shape[0] - top, : windowed.shape[1] - left]
            mask[top : top + placed.shape[0], left : left + placed.shape[1]] = placed >= manifest["segmenter"]["mask_threshold"]
        lungs = masks[0] | masks[1] | masks[2]
        infected = int(masks[0].sum())
        percent = 100 * infected / max(int(lungs.sum()), 1)

        spec = graph["preprocess"]
        kind = next(iter(spec["core"])) if isinstance(spec["core"], dict) else ""
        if kind.lower() == "lungs":
            small = cv2.resize(lungs, working.shape[::-1], interpolation=cv2.INTER_NEAREST)
            seen = box(small > 0, spec["core"][kind]["margin"])
        else:
            seen = core(working, spec["core"])
        if not self.one:
            names = [output.name for output in self.classifier.get_outputs()]
            outputs = dict(zip(names, self.classifier.run(None, {graph["input"]: tensor(equalised, seen, spec)})))
        logits = outputs["logits"].reshape(-1).astype(np.float64)
        lesions = manifest["extension"]["lesions"]
        if lesions:
            logits += np.array(lesions["weights"]) * (math.log1p(percent) - lesions["mean"]) / lesions["std"]
        p = float((1 / (1 + np.exp(-logits / manifest["calibration"]["temperature"]))).mean())
        entropy = -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)

        heat = np.maximum(outputs["activation"].reshape(-1, *outputs["activation"].shape[-2:]).mean(0), 0)
        seen = [round(factor * side) for side in seen]
        seen = [min(side, most) for side, most in zip(seen, 2 * windowed.shape[::-1])]
        heat = cv2.resize((255 * heat / max(heat.max(), 1e-6)).astype(np.uint8), (seen[2] - seen[0], seen[3] - seen[1]))
        shown = cv2.cvtColor(windowed, cv2.COLOR_GRAY2BGR)
        coloured = shown.copy()
        coloured[masks[0] > 0] = (60, 60, 230)
        shown = cv2.addWeighted(shown, 0.6, coloured, 0.4, 0)
        part = shown[seen[1] : seen[3], seen[0] : seen[2]]
        part[:] = cv2.addWeighted(part, 0.8, cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), 0.2, 0)
        panel = np.zeros((PANEL[1], PANEL[0], 3), np.uint8)
        small = shrunk(shown, PANEL[1])
        panel[: small.shape[0], : small.shape[1]] = small
        for line, text in enumerate((f"p {p:.2f}", f"entropy {entropy:.2f} bit", f"marked {percent:.0f} %", "research use only")):
            cv2.putText(panel, text, (PANEL[1] + 4, 40 + 40 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        return p, panel


def main():
    program, bundle, parts, file = sys.argv[1:5]
    pairs = int(sys.argv[5]) if len(sys.argv) > 5 else 9
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    chain, path = Chain(Path(parts)), Path(file)
    chain.run(path)
    modality = ["--modality", chain.manifest["modality"]]
    told = json.loads(subprocess.run([program, "screen", "--json", "--bundle", bundle, *modality, file], capture_output=True, text=True).stdout)
    ours, theirs = [], []
    for _ in range(pairs):
        bench = subprocess.run([program, "bench", "--runs", "3", "--bundle", bundle, *modality, file], check=True, capture_output=True, text=True)
        ours.append(float(re.search(r"all, warm\s+([\d.]+) ms", bench.stdout)[1]))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            p, _ = chain.run(path)
            times.append((time.perf_counter() - start) * 1e3)
        theirs.append(statistics.median(times))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs))
    print(f"{path.name}: ours {statistics.median(ours):.1f} ms, OpenCV {cv2.__version__} and ONNX Runtime {onnxruntime.__version__} {statistics.median(theirs):.1f} ms, ratio {ratio:.2f} ({pairs} pairs)")
    print(f"probability {told['probability']:.3f} and {p:.3f}")


main()
