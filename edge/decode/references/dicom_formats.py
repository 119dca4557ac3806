"""What others read of the files in `data/dicom_formats` of the shared material, for the table in docs/dicom_formats.md.

    apt-get install dcmtk
    python3 -m venv venv
    venv/bin/pip install numpy pydicom pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle pyjpegls
    venv/bin/python references/dicom_formats.py SHARED/data/dicom_formats > tests/fixtures/dicom_formats.csv
    THORAX_WRITE_FORMATS=1 cargo test --release -p thorax-decode --test dicom_formats

One line a file: its coding; who read it (pydicom with the plugins above; dcmtk, by `dcmdjpeg`, where these fail); size as frames x
rows x columns; minimum, maximum and mean of the stored values (of a palette: of its indices); and the same of the grey values
that Thorax is to make of them when it is told to read the file as a film, or as a CT slice where the file is one:

- `hounsfield`: Rescale Slope and Intercept applied, padding as air (-1024);
- `sixteen`, `eight`: with a window, its share of 65535; without, the stored value counted from the least that can be (0 to 255
  for up to 8 bits); MONOCHROME1 turned over; colours as luminance (0.2126, 0.7152, 0.0722).

The last word is `loss` where the pixels were compressed with loss, so that decoders may differ by a few levels.
"""

import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut
from pydicom.uid import UID

warnings.filterwarnings("ignore")
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")


def read(path):
    """The data set, its pixels, and who read them."""
    data = pydicom.dcmread(path)
    try:
        return data, data.pixel_array, "pydicom"
    except AttributeError:
        return data, None, "no pixel data"
    except RuntimeError:
        with tempfile.NamedTemporaryFile(suffix=".dcm") as plain:
            subprocess.run(["dcmdjpeg", path, plain.name], check=True, stderr=subprocess.DEVNULL)
            return data, pydicom.dcmread(plain.name).pixel_array, "dcmtk"


def element(data, name, frame=0):
    """An element of the data set, or else of the functional groups of all frames, or of one."""
    if name in data:
        return data[name].value
    shared = data.get("SharedFunctionalGroupsSequence") or []
    frames = data.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*shared[:1], *frames[frame : frame + 1]]:
        for sequence in group:
            if sequence.VR == "SQ" and len(sequence.value) and name in sequence.value[0]:
                return sequence.value[0][name].value
    return None


def number(data, name, frame=0):
    value = element(data, name, frame)
    return None if value in (None, "") else float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)


def windowed(data, values):
    """The share of full brightness that the file's window makes of values, if it has one (PS3.3, C.11.2.1)."""
    if "VOILUTSequence" in data:
        table = data.VOILUTSequence[0]
        entries = np.array(table.LUTData)
        first = table.LUTDescriptor[1]
        first -= 65536 if values.min() < 0 and first > 32767 else 0
        return entries[np.clip(values - first, 0, len(entries) - 1).astype(int)] / entries.max()
    center, width = number(data, "WindowCenter"), number(data, "WindowWidth")
    if center is None or width is None or width <= 1 or data.get("VOILUTFunction", "LINEAR") != "LINEAR":
        return None
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def grey(data, stored):
    """Kind and grey values."""
    photometric = data.PhotometricInterpretation
    slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
    if data.Modality == "CT" and photometric.startswith("MONOCHROME"):
        if int(data.get("NumberOfFrames") or 1) > 1:
            scales = [[number(data, name, i) for name in ("RescaleSlope", "RescaleIntercept")] for i in range(len(stored))]
            hounsfield = np.stack([frame * (m or 1) + (b or 0) for frame, (m, b) in zip(stored.astype(float), scales)])
        else:
            hounsfield = stored * (1 if slope is None else slope) + (intercept or 0)
        padding = data.get("PixelPaddingValue")
        if isinstance(padding, int):
            padding -= 65536 if data.PixelRepresentation and padding > 32767 else 0
            hounsfield = np.where(stored == padding, -1024, hounsfield)
        return "hounsfield", np.rint(np.clip(hounsfield, -32768, 32767))
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, data)
        # 16-bit entries are shown by their upper half.
        stored = stored >> 8 if stored.dtype == np.uint16 and data.RedPaletteColorLookupTableDescriptor[2] > 8 else stored
    elif stored.shape[-1] == 3 and stored.dtype.itemsize == 2:
        stored = np.rint(stored / 65535 * 255)
    if stored.shape[-1] == 3:
        # pydicom has turned YCbCr to RGB already.
        return "eight", stored.astype(int) @ np.array([2126, 7152, 722]) // 10000
    values = stored * (slope or 1) + (intercept or 0)
    share = windowed(data, values)
    full = 65535 if share is not None else max(2**data.BitsStored - 1, 255)
    if share is None:
        least = -(2 ** (data.BitsStored - 1)) if data.PixelRepresentation else 0
        share = (stored.astype(float) - least) / (2**data.BitsStored - 1)
    share = 1 - share if photometric == "MONOCHROME1" else share
    return "sixteen" if full > 255 else "eight", np.rint(share * full)


def main(folder):
    print("file,modality,coding,reader,size,stored_minimum,stored_maximum,stored_mean,kind,minimum,maximum,mean,loss")
    for path in sorted(folder.iterdir()):
        data, stored, reader = read(path)
        syntax = data.file_meta.get("TransferSyntaxUID", UID("1.2.840.10008.1.2"))
        coding = f"{syntax.name.split(' (')[0].split(':')[0].split(',')[0]}; {data.get('PhotometricInterpretation', '-')}"
        first = f"{path.name},{data.get('Modality', '-')},{coding},{reader}"
        if stored is None:
            print(f"{first},-,-,-,-,-,-,-,-,-")
            continue
        frames = int(data.get("NumberOfFrames") or 1)
        kind, values = grey(data, stored)
        print(
            f"{first},{frames} x {data.Rows} x {data.Columns},{stored.min()},{stored.max()},{stored.mean():.4f},"
            f"{kind},{values.min():.0f},{values.max():.0f},{values.mean():.4f},{'loss' if syntax in LOSSY else '-'}"
        )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
