//! Masks of a volume as NIfTI-1 files that lie over the scan.
//!
//! The mask's header is the scan's, byte for byte, but for what tells of the values: type, scale, display range, intent and
//! description. Dimensions, voxel sizes, units, `qform` and `sform` stay as they were, and so does the order of the voxels; a
//! viewer that places the scan rightly (or wrongly) places the mask alike. `crate nifti`'s writer is not used: it makes a header
//! of its own from an array, and would bring `ndarray` along.
//!
//! Offsets are those of `nifti1.h` of the NIfTI Data Format Working Group.

use std::{io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use thorax_decode::Volume;
use thorax_files::{WriteError, write_atomically};

/// Where voxels begin: after the header and the four zeros that say that no extension follows.
const FIRST_VOXEL: usize = 352;
/// `NIFTI_TYPE_UINT8`.
const UINT8: i16 = 2;
/// `NIFTI_INTENT_LABEL`: a voxel's value is the number of a label.
const INTENT_LABEL: i16 = 1002;
/// What every mask says of itself; `descrip` has room for 80 bytes.
const DESCRIPTION: &str = "Thorax, predicted mask; research use only, not a medical device";

/// The header, and the flag of extensions, of a mask over `volume` with one byte a voxel; `name` is the mask's, of which 15 bytes
/// are kept.
pub fn mask_header(volume: &Volume, name: &str) -> [u8; FIRST_VOXEL] {
    let mut header = [0; FIRST_VOXEL];
    let scan = volume.header();
    header[..scan.len()].copy_from_slice(scan);
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let short = |value: i16| if volume.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() };
    let float = |value: f32| if volume.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() };
    let text = |text: &str, room: usize| {
        let mut bytes = text.as_bytes()[..text.len().min(room - 1)].to_vec();
        bytes.resize(room, 0);
        bytes
    };
    put(56, &[0; 12]); // intent_p1 to intent_p3
    put(68, &short(INTENT_LABEL)); // intent_code
    put(70, &short(UINT8)); // datatype
    put(72, &short(8)); // bitpix
    put(108, &float(FIRST_VOXEL as f32)); // vox_offset
    put(112, &float(1.0)); // scl_slope
    put(116, &float(0.0)); // scl_inter
    put(124, &[0; 8]); // cal_max, cal_min: no display range
    put(140, &[0; 8]); // glmax, glmin
    put(148, &text(DESCRIPTION, 80)); // descrip
    put(228, &[0; 24]); // aux_file
    put(328, &text(name, 16)); // intent_name
    put(344, b"n+1\0"); // magic: header and voxels in one file
    header
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
