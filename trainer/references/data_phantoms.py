"""Reads phantoms with independent readers and compares them with phantoms.csv and with each other.

    thorax-train phantom OUT --count 4 --formats png,png16,dicom,nifti
    python data_phantoms.py OUT

Needs numpy, opencv-python(-headless), pydicom, nibabel. Exits with an error at the first difference.
(Beside it, dicom3tools' `dciodvfy OUT/*.dcm` should report no error.)
"""

import csv
import pathlib
import sys

import cv2
import nibabel
import numpy as np
import pydicom

out = pathlib.Path(sys.argv[1])
rows = list(csv.DictReader(open(out / "phantoms.csv")))
pictures = {}
for row in rows:
    shape = (int(row["height"]), int(row["width"]))
    key = (row["modality"], row["seed"])
    path = out / row["file"]
    if row["format"] == "nifti":
        volume = nibabel.load(path)
        assert volume.shape == (shape[1], shape[0], int(row["slices"])), path
        assert nibabel.aff2axcodes(volume.affine) == ("L", "P", "S"), path
        assert np.allclose(volume.get_qform(), volume.get_sform(), atol=1e-3), path
        assert volume.header.get_xyzt_units()[0] == "mm", path
        pictures[key, "hu"] = np.asarray(volume.dataobj)[:, :, int(row["slices"]) // 2].T
        masks = [nibabel.load(out / row[name]) for name in ("infection_mask", "left_lung_mask", "right_lung_mask")]
        assert all(np.allclose(mask.affine, volume.affine) and mask.shape == volume.shape for mask in masks), path
        masks = [np.asarray(mask.dataobj) for mask in masks]
        assert all(set(np.unique(mask)) <= {0, 1} for mask in masks), path
    else:
        if row["format"] == "dicom":
            film = pydicom.dcmread(path)
            assert film.PatientName == "PHANTOM^SYNTHETIC" and "SYNTHETIC" in film.ImageComments, path
            grey = film.pixel_array.astype(float)
            assert grey.max() < 4096, path
            if row["modality"] == "ct":
                hu = grey * float(film.RescaleSlope) + float(film.RescaleIntercept)
                if (key, "dicom") not in pictures:
                    pictures[key, "dicom"] = hu
                low = float(film.WindowCenter) - float(film.WindowWidth) / 2
                grey = np.clip((hu - low) / float(film.WindowWidth), 0, 1)
            else:
                grey = grey / 4095
                grey = 1 - grey if film.PhotometricInterpretation == "MONOCHROME1" else grey
        else:
            grey = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert grey.dtype == (np.uint16 if row["format"] == "png16" else np.uint8), path
            grey = grey / np.iinfo(grey.dtype).max
        assert grey.shape == shape, path
        # Below the burned-in words all formats show the same.
        below = grey[shape[0] // 8 :]
        first = pictures.setdefault((key, "grey"), below)
        assert np.abs(below - first).max() < 1 / 250, (path, np.abs(below - first).max())
        masks = [cv2.imread(str(out / row[name]), cv2.IMREAD_UNCHANGED) for name in ("infection_mask", "left_lung_mask", "right_lung_mask")]
        assert all(mask.shape == shape and set(np.unique(mask)) <= {0, 255} for mask in masks), path
    infection, left, right = (mask > 0 for mask in masks)
    counted = [int(infection.sum()), int(left.sum()), int(right.sum())]
    assert counted == [int(row[name]) for name in ("lesion_pixels", "left_lung_pixels", "right_lung_pixels")], path
    assert not (infection & ~(left | right)).any(), path
    assert (counted[0] > 0) == (row["label"] == "positive"), path
    involvement = 100 * counted[0] / (counted[1] + counted[2])
    assert abs(involvement - float(row["involvement_percent"])) < 1e-6, path
    if (key, "hu") in pictures and (key, "dicom") in pictures:
        assert np.array_equal(pictures[key, "hu"], pictures[key, "dicom"]), path
print(f"{len(rows)} files agree with phantoms.csv and with each other")
