//! Masks of a volume as NIfTI files that lie over the scan.
//!
//! The mask's header is the scan's, byte for byte, but for what tells of the values: type, scale, display range, intent and
//! description. Dimensions, voxel sizes, units, `qform` and `sform` stay as they were, and so does the order of the voxels; a
//! viewer that places the scan rightly (or wrongly) places the mask alike. A series that came in other files gets a header of
//! version 1 with its affine. `crate nifti`'s writer is not used: it makes a header of its own from an array, would bring `ndarray`
//! along, and knows no version 2.
//!
//! Offsets are those of `nifti1.h` and `nifti2.h` of the NIfTI Data Format Working Group.

use std::{io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use thorax_decode::{Affine, Volume, VolumeSource};
use thorax_files::{WriteError, write_atomically};

/// `NIFTI_TYPE_UINT8`.
const UINT8: i16 = 2;
/// `NIFTI_INTENT_LABEL`: a voxel's value is the number of a label.
const INTENT_LABEL: i16 = 1002;
/// `NIFTI_XFORM_SCANNER_ANAT`: the affine leads to the scanner's coordinates.
const SCANNER: i16 = 1;
/// `NIFTI_UNITS_MM`.
const MILLIMETRES: u8 = 2;
/// What every mask says of itself; `descrip` has room for 80 bytes.
const DESCRIPTION: &str = "Thorax, predicted mask; research use only, not a medical device";

/// A header in the making.
struct Header {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Header {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A number, given with its lowest byte first.
    fn number<const N: usize>(&mut self, at: usize, mut number: [u8; N]) {
        if self.big_endian {
            number.reverse();
        }
        self.put(at, &number);
    }

    /// As much of `text` as there is room for, and zeros.
    fn text(&mut self, at: usize, text: &str, room: usize) {
        let mut bytes = text.as_bytes()[..text.len().min(room - 1)].to_vec();
        bytes.resize(room, 0);
        self.put(at, &bytes);
    }
}

/// The header, and the four zeros that say that no extension follows, of a mask over `volume` with one byte a voxel; `name` is the
/// mask's, of which 15 bytes are kept.
pub fn mask_header(volume: &Volume, name: &str) -> Vec<u8> {
    let (bytes, big_endian) = match volume.source() {
        VolumeSource::Nifti(header) => (header.bytes.to_vec(), header.big_endian),
        VolumeSource::Series { affine } => (series_header(volume, affine), false),
    };
    let length = bytes.len();
    let first_voxel = length + 4;
    let mut header = Header { bytes, big_endian };
    if length == 540 {
        header.put(4, b"n+2\0"); // magic: header and voxels in one file
        header.number(12, UINT8.to_le_bytes()); // datatype
        header.number(14, 8i16.to_le_bytes()); // bitpix
        header.put(80, &[0; 24]); // intent_p1 to intent_p3
        header.number(168, (first_voxel as i64).to_le_bytes()); // vox_offset
        header.number(176, 1f64.to_le_bytes()); // scl_slope
        header.put(184, &[0; 24]); // scl_inter; cal_max, cal_min: no display range
        header.text(240, DESCRIPTION, 80); // descrip
        header.put(320, &[0; 24]); // aux_file
        header.number(504, i32::from(INTENT_LABEL).to_le_bytes()); // intent_code
        header.text(508, name, 16); // intent_name
    } else {
        header.put(56, &[0; 12]); // intent_p1 to intent_p3
        header.number(68, INTENT_LABEL.to_le_bytes()); // intent_code
        header.number(70, UINT8.to_le_bytes()); // datatype
        header.number(72, 8i16.to_le_bytes()); // bitpix
        header.number(108, (first_voxel as f32).to_le_bytes()); // vox_offset
        header.number(112, 1f32.to_le_bytes()); // scl_slope
        header.put(116, &[0; 4]); // scl_inter
        header.put(124, &[0; 8]); // cal_max, cal_min: no display range
        header.put(140, &[0; 8]); // glmax, glmin
        header.text(148, DESCRIPTION, 80); // descrip
        header.put(228, &[0; 24]); // aux_file
        header.text(328, name, 16); // intent_name
        header.put(344, b"n+1\0"); // magic: header and voxels in one file
    }
    header.bytes.extend([0; 4]);
    header.bytes
}

/// A header of version 1 for a volume that had none.
fn series_header(volume: &Volume, affine: &Affine) -> Vec<u8> {
    let mut header = Header { bytes: vec![0; 348], big_endian: false };
    header.number(0, 348i32.to_le_bytes()); // sizeof_hdr
    let lengths = volume.dimensions().map(|length| length as i16);
    for (i, length) in [3].into_iter().chain(lengths).chain([1; 4]).enumerate() {
        header.number(40 + 2 * i, length.to_le_bytes()); // dim
    }
    for (i, size) in [1.0].into_iter().chain(volume.voxel_mm().unwrap_or_default()).enumerate() {
        header.number(76 + 4 * i, size.to_le_bytes()); // pixdim
    }
    header.put(123, &[MILLIMETRES]); // xyzt_units
    header.number(254, SCANNER.to_le_bytes()); // sform_code
    for (i, &value) in affine.iter().flatten().enumerate() {
        header.number(280 + 4 * i, (value as f32).to_le_bytes()); // srow_x to srow_z
    }
    header.bytes
}

/// Writes `voxels` (0 or 1, in the volume's stored order) as `path`, gzipped.
///
/// # Errors
/// [`WriteError`] with the path.
pub fn write_mask(path: &Path, volume: &Volume, name: &str, voxels: &[u8]) -> Result<(), WriteError> {
    write_atomically(path, |out| {
        let mut gzip = GzEncoder::new(out, Compression::default());
        gzip.write_all(&mask_header(volume, name))?;
        gzip.write_all(voxels)?;
        gzip.finish()?.flush()
    })
}
