"""The real pictures: `$THORAX_SHARED_MATERIAL/data`, else `../shared/data` beside the repository. None is ever copied."""

import csv
import os
import pathlib

import cv2

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("THORAX_SHARED_MATERIAL", REPOSITORY.parent / "shared")) / "data"
PARTS = ("xray", "xray_siim", "ct", "seg", "seg_xray")


def train_rows():
    if not (DATA / "manifest.csv").exists():
        raise SystemExit(f"{DATA}/manifest.csv is missing: set THORAX_SHARED_MATERIAL to the folder that holds data/")
    with open(DATA / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            part = row["path"].split("/")[0]
            if row["split"] == "train" and part in PARTS and row["path"].endswith((".jpg", ".png")):
                yield part, row


def grey(path):
    return cv2.imread(str(DATA / path), cv2.IMREAD_GRAYSCALE)
