"""Drawn pictures as codestreams that our own decoders read, with what others decode from them.

    apt-get install dcmtk
    venv/bin/pip install numpy pydicom pyjpegls
    venv/bin/python references/codestreams.py tests/fixtures

`jpeg_ls.bin` holds JPEG-LS by CharLS (pyjpegls), of 2 to 16 bits, one and three components in each interleave, lossless and near;
`jpeg_12.bin` JPEG extended of 12 bits by dcmtk. A case is, in little endian: rows, columns, components, bits (u16 each), length of
the codestream (u32), the codestream, and the samples (u16 each, those of a pixel together) as CharLS or dcmtk decodes them.
"""

import pathlib
import struct
import subprocess
import sys
import tempfile

import jpeg_ls
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def case(codestream, samples, bits):
    samples = samples.astype("<u2")
    rows, columns, components = samples.shape if samples.ndim == 3 else (*samples.shape, 1)
    head = struct.pack("<4HI", rows, columns, components, bits, len(codestream))
    return head + bytes(codestream) + samples.tobytes()


def picture(random, rows, columns, components, bits, kind):
    """Flat with steps (runs), a slope with noise, or noise alone."""
    full = 2**bits - 1
    y, x = np.mgrid[:rows, :columns]
    shape = (rows, columns, components)
    if kind == 0:
        values = ((x // 5 + y // 3) % 3)[..., None] * (full // 3) + np.zeros(shape)
        values[random.random(shape) < 0.02] = full
    elif kind == 1:
        values = (x * 3 + y * 5)[..., None] * full / 200 + random.normal(0, full / 60 + 0.4, shape)
    else:
        values = random.integers(0, full + 1, shape)
    values = np.clip(np.rint(values), 0, full).astype("u1" if bits <= 8 else "<u2")
    return values if components > 1 else values[..., 0]


def jpeg_ls_cases(random):
    for bits in (2, 5, 8, 10, 12, 15, 16):
        for kind in range(3):
            for near in (0, 1, 3):
                if near * 2 >= 2**bits - 1:
                    continue
                rows, columns = random.integers(9, 24, 2)
                yield jpeg_ls_case(picture(random, rows, columns, 1, bits, kind), bits, near, 0)
    for bits in (8, 12):
        for kind in range(3):
            for near in (0, 2):
                for interleave in (0, 1, 2):
                    rows, columns = random.integers(7, 18, 2)
                    yield jpeg_ls_case(picture(random, rows, columns, 3, bits, kind), bits, near, interleave)


def jpeg_ls_case(values, bits, near, interleave):
    rows, columns = values.shape[:2]
    components = 1 if values.ndim == 2 else 3
    # By plane, all of a component come first.
    source = values.transpose(2, 0, 1) if components == 3 and interleave == 0 else values
    try:
        encoded = jpeg_ls.encode_buffer(
            source.tobytes(), rows, columns, components, bits, lossy_error=near, interleave_mode=interleave
        )
    except RuntimeError:
        # Noise grows when it is coded, beyond pyjpegls' buffer.
        return b""
    decoded = np.frombuffer(jpeg_ls.decode_buffer(bytes(encoded))[0], dtype=values.dtype)
    if components == 3 and interleave == 0:
        decoded = decoded.reshape(3, rows, columns).transpose(1, 2, 0)
    decoded = decoded.reshape(values.shape)
    assert abs(decoded.astype(int) - values).max() <= near
    return case(encoded, decoded, bits)


def jpeg_12_cases(random, folder):
    for rows, columns in ((8, 8), (17, 23), (1, 40), (33, 9)):
        for kind, quality in ((0, 90), (1, 100), (1, 60), (2, 80)):
            values = picture(random, rows, columns, 1, 12, kind)
            plain, coded, again = folder / "plain.dcm", folder / "coded.dcm", folder / "again.dcm"
            save(values, plain)
            subprocess.run(["dcmcjpeg", "+ee", "+q", str(quality), plain, coded], check=True)
            subprocess.run(["dcmdjpeg", coded, again], check=True)
            data = pydicom.dcmread(coded)
            frame = next(generate_frames(data.PixelData, number_of_frames=1))
            yield case(frame, pydicom.dcmread(again).pixel_array, 12)


def save(values, path):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.826.0.1.3680043.8.498.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientName, data.PatientID = "CT", "Drawn^Picture", "0"
    data.StudyInstanceUID = data.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = values.astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    fixtures = pathlib.Path(sys.argv[1])
    (fixtures / "jpeg_ls.bin").write_bytes(b"".join(jpeg_ls_cases(np.random.default_rng(1))))
    with tempfile.TemporaryDirectory() as folder:
        (fixtures / "jpeg_12.bin").write_bytes(b"".join(jpeg_12_cases(np.random.default_rng(2), pathlib.Path(folder))))
