"""The manifest for a segmenter that learns from another's masks (noisy student: Xie et al. 2020, "Self-training with
Noisy Student"): slices of collections without masks get those that an older bundle drew on the clean slice, and the
student learns them on changed copies.

    python3 teacher_masks.py MANIFEST MASKS OUT.csv SOURCE...

MANIFEST  of `thorax-train data import`; its CT rows are read
MASKS     folder of `thorax-edge screen --masks` over the positive training slices of the SOURCEs
SOURCE    how the names of the collections begin that have both classes; a collection with only healthy slices, or only
          infected ones, would teach the net which hospital has infections, so rows of others are left out

A positive slice on which the teacher marks less than SMALLEST of the lungs is left out: its lesion was missed, and an
empty mask would teach that it is none. Of the slices with true masks every second is kept, since neighbours in a
volume are alike; validation and test stay whole.
"""
import csv
import pathlib
import sys

import numpy
from PIL import Image

SMALLEST = 0.001


def mask(path):
    return numpy.array(Image.open(path)) > 127


def main(manifest, masks, out, *sources):
    masks = pathlib.Path(masks)
    with open(manifest, newline="") as file:
        root = file.readline().removeprefix("# root: ").strip()
        rows = [row for row in csv.DictReader(file) if row["modality"] == "ct"]
    kept = []
    for index, row in enumerate(rows):
        for column in ("path", "mask", "lung_mask"):
            row[column] = row[column] and f"{root}/{row[column]}".lstrip("/")
        if row["task"] == "segment" and (row["split"] != "train" or index % 2 == 0):
            kept.append(row)
        if row["task"] != "classify" or not row["source"].startswith(sources):
            continue
        kept.append(row)
        drawn = masks / (pathlib.Path(row["path"]).stem + ".png")
        if (row["split"], row["label"]) != ("train", "positive") or not drawn.exists():
            continue
        infection = mask(drawn)
        sides = [drawn.with_name(drawn.stem + side + ".png") for side in ("_left_lung", "_right_lung", "_lungs")]
        lungs = numpy.any([mask(side) for side in sides if side.exists()], axis=0)
        if infection.sum() < SMALLEST * lungs.sum():
            continue
        whole = drawn.with_name(drawn.stem + "_both_lungs.png")
        Image.fromarray(lungs.astype("uint8") * 255).save(whole)
        names = {"mask": drawn, "lung_mask": whole}
        kept.append(row | {"task": "segment"} | {k: str(v.resolve()).lstrip("/") for k, v in names.items()})
    with open(out, "w", newline="") as file:
        file.write("# root: /\n")
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
