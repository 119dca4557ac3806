"""Brixia scores as boxes for `thorax-train train backbone --lesions FACTOR --boxes OUT.csv`.

    thorax-edge screen --json --modality xray --masks MASKS FILM...
    python3 brixia_to_boxes.py SCORES.csv MASKS OUT.csv [--path COLUMN]

Two readers give each of six zones, three of each lung from above, 0 (nothing) to 3 (mostly alveolar infiltrates); A, B, C are the patient's right
lung, on the left of the picture (Borghesi and Maroldi 2020, doi:10.1007/s11547-020-01200-3; Signoroni et al. 2021, doi:10.1016/j.media.2021.102046).
Each zone becomes a third of the box around its lung, as MASKS has it, and the share that it is said to be taken is the readers' mean over 3: a grade
of severity in the place of an area, which is as near as the scores come. A film without a mask of its lungs is left out, and counted.

SCORES.csv has a column COLUMN (our_path) with the film's path in the manifest, and S-A to S-F and J-A to J-F, the readers'. Needs numpy and Pillow.
"""
import argparse
import csv
import pathlib
import sys

import numpy as np
from PIL import Image

ZONES = {"right": "ABC", "left": "DEF"}


def lungs(folder, stem):
    """Where each lung is, as the picture has it: the patient's right lung is on the left."""
    read = lambda name: np.asarray(Image.open(folder / f"{stem}_{name}.png")) > 0
    if (folder / f"{stem}_left_lung.png").exists():
        return {"right": read("right_lung"), "left": read("left_lung")}
    if not (folder / f"{stem}_lungs.png").exists():
        return None
    both = read("lungs")
    columns = np.arange(both.shape[1])
    middle = (both.sum(0) * columns).sum() / max(both.sum(), 1)
    return {"right": both & (columns < middle), "left": both & (columns >= middle)}


def zones(lung):
    """Left, top, right and bottom of the three thirds of the box around a lung."""
    rows, columns = np.where(lung)
    top, bottom = rows.min(), rows.max() + 1
    edges = np.linspace(top, bottom, 4)
    return [(columns.min(), a, columns.max() + 1, b) for a, b in zip(edges, edges[1:])]


def score(row, path, column):
    """A reader's score of a zone, 0 to 3."""
    if row.get(column) not in ("0", "1", "2", "3"):
        sys.exit(f"{path}: {column} is {row.get(column)!r}; a zone has 0 to 3: mend the table, or take the film out")
    return int(row[column])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("scores")
    arguments.add_argument("masks", type=pathlib.Path)
    arguments.add_argument("out")
    arguments.add_argument("--path", default="our_path", metavar="COLUMN")
    arguments = arguments.parse_args()
    films = left_out = 0
    seen, boxes = {}, []
    with open(arguments.scores, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = row[arguments.path]
        stem = pathlib.PurePosixPath(path).stem
        if seen.setdefault(stem, path) != path:
            sys.exit(f"{path} and {seen[stem]}: masks of films of one name cannot be told apart; give one of them another name")
        found = lungs(arguments.masks, stem)
        if found is None or not all(lung.any() for lung in found.values()):
            left_out += 1
            continue
        films += 1
        for side, names in ZONES.items():
            for name, box in zip(names, zones(found[side])):
                boxes.append([path, *(f"{edge:.1f}" for edge in box), f"{(score(row, path, f'S-{name}') + score(row, path, f'J-{name}')) / 6:.4g}"])
    with open(arguments.out, "w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["path", "x0", "y0", "x1", "y1", "share"])
        table.writerows(boxes)
    print(f"{films} films, {left_out} left out: no mask of both lungs", file=sys.stderr)


if __name__ == "__main__":
    main()
