"""One drawn picture in every encoding that the decoders read (and some that they refuse), written by others' software.

    apt-get install dcmtk
    venv/bin/pip install numpy pillow nibabel pydicom pylibjpeg pylibjpeg-openjpeg imagecodecs
    venv/bin/python references/decode_fixtures.py tests/fixtures/encodings

The picture is 48 columns by 32 rows; the stored value of column x, row y is (37 x + 101 y) mod 4096 in 12 bits, and
(5 x + 7 y) mod 256 in 8. As CT, HU = stored - 1024. Volumes are 5 x 4 x 3 voxels of -1000 + x + 10 y + 100 z.
The same files are seeds of the fuzz targets (fuzz/README.md).
"""

import pathlib
import subprocess
import sys

import imagecodecs
import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

ROWS, COLUMNS = 32, 48
Y, X = np.mgrid[:ROWS, :COLUMNS]
TWELVE = ((37 * X + 101 * Y) % 4096).astype("<u2")
EIGHT = ((5 * X + 7 * Y) % 256).astype("u1")


def data_set(modality, pixels, bits):
    meta = FileMetaDataset()
    storage = CTImageStorage if modality == "CT" else ComputedRadiographyImageStorage
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID = storage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Modality = modality
    data.PatientName = "Drawn^Picture"
    data.PatientID = "0"
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = ROWS, COLUMNS
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored = bits
    data.HighBit = bits - 1
    data.PixelRepresentation = 0
    if modality == "CT":
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [0.75, 0.5]
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    return data


def save(data, path, syntax=ExplicitVRLittleEndian):
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path, enforce_file_format=True)


def dcmtk(program, *arguments):
    subprocess.run([program, *arguments], check=True)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    ct = folder / "explicit.dcm"
    save(data_set("CT", TWELVE, 12), ct)
    save(data_set("CT", TWELVE, 12), folder / "implicit.dcm", ImplicitVRLittleEndian)
    save(data_set("CT", TWELVE, 12), folder / "deflated.dcm", DeflatedExplicitVRLittleEndian)
    dcmtk("dcmconv", "+tb", ct, folder / "big_endian.dcm")
    for name, syntax in (("rle", RLELossless), ("jpeg2000", JPEG2000Lossless)):
        data = data_set("CT", TWELVE, 12)
        data.compress(syntax, TWELVE)
        data.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    data = data_set("CT", TWELVE, 12)
    data.PixelData = encapsulate([imagecodecs.htj2k_encode(TWELVE, reversible=True)])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    save(data, folder / "htj2k.dcm", HTJ2KLossless)
    dcmtk("dcmcjpeg", "+el", ct, folder / "jpeg_lossless.dcm")
    dcmtk("dcmcjpeg", "+e1", ct, folder / "jpeg_lossless_sv1.dcm")
    dcmtk("dcmcjpls", ct, folder / "jpeg_ls.dcm")

    film = folder / "film.dcm"
    save(data_set("CR", EIGHT, 8), film)
    dcmtk("dcmcjpeg", "+eb", "+q", "100", film, folder / "jpeg_baseline.dcm")
    # Smooth, so that loss is small.
    smooth = data_set("CT", (50 * X + 30 * Y).astype("<u2"), 12)
    save(smooth, folder / "smooth.dcm")
    dcmtk("dcmcjpeg", "+ee", "+q", "100", folder / "smooth.dcm", folder / "jpeg_extended.dcm")
    (folder / "smooth.dcm").unlink()

    colours = np.stack([EIGHT, 255 - EIGHT, EIGHT // 2], axis=-1)
    save(data_set("CR", colours, 8), folder / "rgb.dcm")
    dcmtk("dcmcjpeg", "+eb", "+q", "100", "+cy", "+s4", folder / "rgb.dcm", folder / "jpeg_ybr.dcm")
    data = data_set("CR", colours, 8)
    data.compress(RLELossless, colours)
    data.save_as(folder / "rle_rgb.dcm", enforce_file_format=True)
    frames = data_set("CT", TWELVE, 12)
    frames.NumberOfFrames = 2
    frames.PixelData *= 2
    save(frames, folder / "two_frames.dcm")

    z, y, x = np.mgrid[:3, :4, :5]
    voxels = (-1000 + x + 10 * y + 100 * z).transpose(2, 1, 0)
    for code in ("i2", ">i2", "i4", "i8", "f4", "f8"):
        header = nibabel.Nifti1Header(endianness=">" if code.startswith(">") else "<")
        volume = nibabel.Nifti1Image(voxels.astype(code), np.diag([-2.0, 3.0, 4.0, 1.0]), header, dtype=code)
        nibabel.save(volume, folder / f"volume_{code.replace('>', 'big_')}.nii.gz")
    nibabel.save(nibabel.Nifti1Image((voxels + 1000).astype("u1"), np.eye(4)), folder / "volume_u1.nii")
    nibabel.save(nibabel.Nifti2Image(voxels.astype("i2"), np.eye(4)), folder / "version_2.nii.gz")
    # Stored with a factor, and with the slices along the first axis, tilted a little.
    scaled = nibabel.Nifti1Image((voxels.transpose(2, 0, 1) * 2).astype("i2"), None)
    c, s = np.cos(0.1), np.sin(0.1)
    tilted = np.array([[0, -2.0, 0, 5], [0, 0, 3.0, 6], [4.0, 0, 0, 7], [0, 0, 0, 1]])
    scaled.set_qform(np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]) @ tilted, code=1)
    scaled.set_sform(None, code=0)
    scaled.header.set_slope_inter(0.5, 0)
    nibabel.save(scaled, folder / "volume_sagittal_qform.nii.gz")

    Image.fromarray(EIGHT).save(folder / "grey.png")
    Image.fromarray(EIGHT).convert("P").save(folder / "palette.png")
    Image.fromarray(TWELVE * np.uint16(16)).save(folder / "grey16.png")
    Image.fromarray(EIGHT).save(folder / "grey.jpg", quality=100)
    Image.fromarray(colours).save(folder / "colour.jpg", quality=100, exif=exif(6))
    Image.fromarray(EIGHT).save(folder / "grey.tif")
    Image.fromarray(EIGHT).save(folder / "lzw.tif", compression="tiff_lzw")
    Image.fromarray(TWELVE * np.uint16(16)).save(folder / "grey16.tif", compression="tiff_deflate")
    alpha = np.where(X < 24, 255, 0).astype("u1")
    Image.fromarray(np.stack([EIGHT, alpha], axis=-1), "LA").save(folder / "grey_alpha.png")
    Image.fromarray(np.dstack([colours, alpha])).save(folder / "colour_alpha.png")


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
