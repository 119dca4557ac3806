//! Files that no program of ours writes: made here byte by byte, so that the reader is not tested with its own writer.

use std::path::{Path, PathBuf};

use image::GrayImage;

/// CRC-32 as PNG has it (ISO 3309, polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// A PNG file with a sound header of `width` x `height` 8-bit grey pixels, and next to no pixels.
pub(crate) fn png_of_header(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind.as_slice(), data].concat();
        [&(data.len() as u32).to_be_bytes(), body.as_slice(), &crc32(&body).to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    // zlib: header, one stored block of one byte, Adler-32 of it.
    let pixels = [0x78, 0x01, 0x01, 1, 0, 0xFE, 0xFF, 0, 0, 1, 0, 1];
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &pixels), chunk(b"IEND", b"")].concat()
}

/// Something like a cat: ginger on green, two eyes, in colour.
pub(crate) fn cat(path: &Path) {
    let blob = |x: u32, y: u32, cx: f32, cy: f32, r: f32| (x as f32 - cx).hypot(y as f32 - cy) < r;
    let picture = image::RgbImage::from_fn(640, 480, |x, y| {
        let stripe = ((x as f32 / 9.0).sin() * (y as f32 / 23.0).cos() * 40.0) as i32;
        let shade = |channels: [i32; 3]| image::Rgb(channels.map(|c| (c + stripe).clamp(0, 255) as u8));
        if blob(x, y, 260.0, 190.0, 22.0) || blob(x, y, 380.0, 190.0, 22.0) {
            image::Rgb([30, 220, 60])
        } else if blob(x, y, 320.0, 230.0, 150.0) || blob(x, y, 220.0, 100.0, 50.0) || blob(x, y, 420.0, 100.0, 50.0) {
            shade([215, 130, 45])
        } else {
            shade([60, 140, 70])
        }
    });
    picture.save(path).unwrap();
}

/// A film as DICOM (Explicit VR Little Endian) that says how it hangs: the rows run to the patient's left, the columns to the feet.
pub(crate) fn dicom_film(picture: &GrayImage, out: &Path) {
    let element = |tag: [u16; 2], vr: &str, value: &[u8]| {
        let padded = [value, if value.len() % 2 == 1 { b" " } else { b"" }].concat();
        let length = if vr == "OB" {
            [&[0, 0][..], &(padded.len() as u32).to_le_bytes()].concat()
        } else {
            (padded.len() as u16).to_le_bytes().to_vec()
        };
        [&tag[0].to_le_bytes()[..], &tag[1].to_le_bytes(), vr.as_bytes(), &length, &padded].concat()
    };
    let short = |tag, value: u16| element(tag, "US", &value.to_le_bytes());
    let meta = element([2, 0x10], "UI", b"1.2.840.10008.1.2.1\0");
    let bytes = [
        vec![0; 128],
        b"DICM".to_vec(),
        element([2, 0], "UL", &(meta.len() as u32).to_le_bytes()),
        meta,
        element([0x8, 0x60], "CS", b"DX"),
        element([0x18, 0x5101], "CS", b"PA"),
        element([0x20, 0x20], "CS", br"L\F"),
        short([0x28, 0x2], 1),
        element([0x28, 0x4], "CS", b"MONOCHROME2"),
        short([0x28, 0x10], picture.height() as u16),
        short([0x28, 0x11], picture.width() as u16),
        short([0x28, 0x100], 8),
        short([0x28, 0x101], 8),
        short([0x28, 0x102], 7),
        short([0x28, 0x103], 0),
        element([0x7fe0, 0x10], "OB", picture.as_raw()),
    ];
    std::fs::write(out, bytes.concat()).unwrap();
}

/// Where the pixel data element of a phantom DICOM file (Explicit VR Little Endian) begins.
fn pixel_data(bytes: &[u8]) -> usize {
    let element = [0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0];
    bytes.windows(element.len()).position(|window| window == element).unwrap()
}

/// A DICOM file without its pixels, otherwise whole.
pub(crate) fn without_pixels(dicom: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(dicom).unwrap();
    bytes.truncate(pixel_data(&bytes));
    bytes
}

/// The stored 16-bit values of a phantom DICOM file, row by row.
pub(crate) fn stored(dicom: &Path) -> Vec<u16> {
    let bytes = std::fs::read(dicom).unwrap();
    bytes[pixel_data(&bytes) + 12..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// `dicom` with other stored values.
fn with_values(dicom: &Path, values: &[u16], out: &Path) {
    let mut bytes = std::fs::read(dicom).unwrap();
    bytes.truncate(pixel_data(&bytes) + 12);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(out, bytes).unwrap();
}

/// `dicom`, a phantom CT slice, without the `infection` of one `lung`: values of its healthy part, one after the other, stand
/// there.
pub(crate) fn healed_slice(dicom: &Path, infection: &GrayImage, lung: &GrayImage, out: &Path) {
    let mut values = stored(dicom);
    let (infection, lung) = (infection.as_raw(), lung.as_raw());
    let [ill, healthy] =
        [true, false].map(|ill| (0..values.len()).filter(move |&i| lung[i] > 0 && (infection[i] > 0) == ill));
    let healthy: Vec<u16> = healthy.map(|i| values[i]).collect();
    let ill: Vec<usize> = ill.collect();
    assert!(!ill.is_empty() && !healthy.is_empty(), "nothing to heal");
    ill.into_iter().zip(healthy.iter().cycle()).for_each(|(i, value)| values[i] = *value);
    with_values(dicom, &values, out);
}

/// A phantom CT slice in the lung window (-600 HU in the middle, 1500 HU wide) as 8-bit PNG.
pub(crate) fn png_of_slice(dicom: &Path, out: &Path) {
    let values = stored(dicom);
    let side = values.len().isqrt() as u32;
    let grey = |value: u16| ((f32::from(value) - 1024.0 + 1350.0) / 1500.0 * 255.0).round() as u8;
    GrayImage::from_raw(side, side, values.into_iter().map(grey).collect()).unwrap().save(out).unwrap();
}

/// How the rows and columns of a square picture may be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Rows and columns exchanged.
    pub(crate) transpose: bool,
    /// Then left and right exchanged.
    pub(crate) mirror: bool,
    /// Then top and bottom exchanged.
    pub(crate) upside_down: bool,
}

impl Turn {
    /// All eight.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|n| Self { transpose: n & 1 > 0, mirror: n & 2 > 0, upside_down: n & 4 > 0 })
    }

    /// `values`, of a picture `side` x `side`, turned so.
    pub(crate) fn of<T: Copy>(self, values: &[T], side: usize) -> Vec<T> {
        let at = |x: usize, y: usize| {
            let x = if self.mirror { side - 1 - x } else { x };
            let y = if self.upside_down { side - 1 - y } else { y };
            let (x, y) = if self.transpose { (y, x) } else { (x, y) };
            values[y * side + x]
        };
        (0..side * side).map(|i| at(i % side, i / side)).collect()
    }

    /// Where the stored columns and rows lead, of a picture whose columns led to `right` and rows to `down`.
    fn directions(self, right: [i8; 3], down: [i8; 3]) -> [[i8; 3]; 2] {
        let (columns, rows) = if self.transpose { (down, right) } else { (right, down) };
        let turned = |direction: [i8; 3], back: bool| if back { direction.map(|d| -d) } else { direction };
        [turned(columns, self.mirror), turned(rows, self.upside_down)]
    }
}

/// `dicom`, a phantom CT slice, stored another way: pixels turned, and Image Orientation (Patient) saying so.
pub(crate) fn turned_slice(dicom: &Path, turn: Turn, out: &Path) {
    let bytes = std::fs::read(dicom).unwrap();
    let start = pixel_data(&bytes);
    let values = stored(dicom);
    let side = values.len().isqrt();
    // Patient axes: x to the left, y to the back (PS3.3, C.7.6.2.1.1); the phantom's rows lead left, its columns back.
    let cosines = turn.directions([1, 0, 0], [0, 1, 0]).concat();
    let mut text = cosines.iter().map(i8::to_string).collect::<Vec<_>>().join("\\");
    text.extend(std::iter::repeat_n(' ', text.len() % 2));
    let element = [0x20, 0x00, 0x37, 0x00, b'D', b'S'];
    let at = bytes.windows(element.len()).position(|window| window == element).unwrap();
    let length = usize::from(bytes[at + 6]);
    let pixels: Vec<u8> = turn.of(&values, side).into_iter().flat_map(u16::to_le_bytes).collect();
    let parts = [
        &bytes[..at + 6],
        &(text.len() as u16).to_le_bytes(),
        text.as_bytes(),
        &bytes[at + 8 + length..start + 12],
        &pixels,
    ];
    std::fs::write(out, parts.concat()).unwrap();
}

/// `dicom`, a phantom film, stored mirrored or upside down, with Patient Orientation saying so.
pub(crate) fn turned_film(dicom: &Path, turn: Turn, out: &Path) {
    let mut bytes = std::fs::read(dicom).unwrap();
    let start = pixel_data(&bytes) + 12;
    let values = stored(dicom);
    let pixels: Vec<u8> = turn.of(&values, values.len().isqrt()).into_iter().flat_map(u16::to_le_bytes).collect();
    bytes.truncate(start);
    bytes.extend(pixels);
    let letter = |direction: [i8; 3]| match direction {
        [1, ..] => 'L',
        [-1, ..] => 'R',
        [_, 1, _] => 'F',
        _ => 'H',
    };
    let [columns, rows] = turn.directions([1, 0, 0], [0, 1, 0]);
    let before = [&[0x20, 0x00, 0x20, 0x00, b'C', b'S', 4, 0], b"L\\F ".as_slice()].concat();
    let at = bytes.windows(before.len()).position(|window| window == before).unwrap();
    bytes[at + 8..at + 12].copy_from_slice(format!("{}\\{} ", letter(columns), letter(rows)).as_bytes());
    std::fs::write(out, bytes).unwrap();
}

/// A NIfTI-1 volume of Hounsfield units: three times the slice of a phantom DICOM file, stored turned.
pub(crate) fn turned_volume(dicom: &Path, turn: Turn, out: &Path) {
    let values: Vec<i16> = stored(dicom).into_iter().map(|v| v as i16 - 1024).collect();
    let side = values.len().isqrt();
    let mut header = vec![0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    for (i, n) in [3, side as i16, side as i16, 3, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &n.to_le_bytes());
    }
    put(70, &4i16.to_le_bytes()); // datatype: int16
    put(72, &16i16.to_le_bytes()); // bitpix
    (0..4).for_each(|i| put(76 + 4 * i, &1f32.to_le_bytes())); // pixdim
    put(108, &352f32.to_le_bytes()); // vox_offset
    put(254, &1i16.to_le_bytes()); // sform_code: scanner
    // NIfTI's axes: x to the right, y to the front, z up; the phantom's rows lead left, its columns back.
    let [i, j] = turn.directions([-1, 0, 0], [0, -1, 0]);
    let k = [0, 0, 1];
    for row in 0..3 {
        for (column, direction) in [i, j, k].into_iter().enumerate() {
            put(280 + 16 * row + 4 * column, &f32::from(direction[row]).to_le_bytes());
        }
    }
    put(344, b"n+1\0");
    let slice: Vec<u8> = turn.of(&values, side).into_iter().flat_map(i16::to_le_bytes).collect();
    std::fs::write(out, [header, slice.repeat(3)].concat()).unwrap();
}

/// Writes `bytes` to `folder/name`.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
