"""Reference values for the decoders: pydicom (with pylibjpeg), nibabel and Pillow on the shared material.

Prints the CSV that `tests/fixtures/decode_references.csv` is:

    python3 -m venv venv
    venv/bin/pip install numpy pillow nibabel pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg
    venv/bin/python references/decode_references.py SHARED/data > tests/fixtures/decode_references.csv

One line a file: kind of value, columns, rows and number of slices after reorientation, minimum, maximum, mean, and the
SHA-256 of all values, little endian, row by row and slice by slice from the feet. The hash is `-` where the file was
compressed with loss, since decoders may then differ by a grey level.
"""

import hashlib
import pathlib
import sys

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit


def dicom(path):
    data = pydicom.dcmread(path)
    lossless = data.file_meta.TransferSyntaxUID not in (JPEGBaseline8Bit, JPEGExtended12Bit)
    if data.Modality == "CT":
        # None of the files needs turning; the script would say so.
        assert [round(x) for x in data.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0], path
        return "hounsfield", np.rint(apply_modality_lut(data.pixel_array, data)).astype("<i2")[None], lossless
    values = apply_modality_lut(data.pixel_array, data)
    if "WindowCenter" in data or "VOILUTSequence" in data:
        # pydicom scales a window to the range of the stored bits (after a rescale: of its values).
        windowed = apply_voi_lut(values, data, prefer_lut=True)
        kind, levels, grey = "sixteen", 65535, windowed / (2**data.BitsStored - 1) * 65535
    else:
        assert data.BitsStored == 8, path
        kind, levels, grey = "eight", 255, values.astype(float)
    if data.PhotometricInterpretation == "MONOCHROME1":
        grey = levels - grey
    return kind, np.rint(grey).astype("u1" if kind == "eight" else "<u2")[None], lossless


def nifti(path):
    volume = nibabel.as_closest_canonical(nibabel.load(path))
    # From right-anterior-superior, first axis fastest, to slices of rows that run to the back, columns to the left.
    values = np.rint(np.asanyarray(volume.dataobj))[::-1, ::-1, :].transpose(2, 1, 0)
    if values.min() < -200:
        return "hounsfield", values.astype("<i2"), True
    assert values.min() >= 0 and values.max() <= 255, path
    return "eight", values.astype("u1"), True


def picture(path):
    image = Image.open(path)
    lossless = image.format == "PNG"
    values = np.asarray(image)
    if values.ndim == 3:
        colours = values[..., :3].astype(float)
        if values.shape[2] == 4:
            colours = np.floor((colours * values[..., 3:] + 127) / 255)
        # Where all channels agree the luminance is theirs, whatever the weights.
        lossless = lossless and (colours == colours[..., :1]).all()
        values = colours @ [0.2126, 0.7152, 0.0722]
    return "eight", np.rint(values).astype("u1")[None], lossless


def main(folder):
    print("file,kind,columns,rows,slices,minimum,maximum,mean,sha256")
    readers = {".dcm": dicom, ".gz": nifti, ".png": picture, ".jpg": picture, ".jpeg": picture}
    for part in ("dicom", "seg_volumes", "originals"):
        for path in sorted((folder / part).iterdir()):
            kind, values, lossless = readers[path.suffix](path)
            slices, rows, columns = values.shape
            digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() if lossless else "-"
            print(
                f"{part}/{path.name},{kind},{columns},{rows},{slices},{values.min()},{values.max()},"
                f"{values.mean(dtype=float):.4f},{digest}"
            )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
