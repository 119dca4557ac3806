//! From a file's bytes to upright grey pixels of known meaning.
//!
//! What a file is, its first bytes say, not its name: memory sticks from scanners carry `IM000001` as often as
//! `chest.dcm`. [`decode`] looks at them and hands the file to one of three decoders: `picture` (PNG, JPEG, TIFF),
//! `dicom` and `nifti`. What comes back is always the same: a [`Frame`] as a radiologist would hang it, or a
//! [`Volume`] that cuts such frames on demand. [`gather`] finds out which files of a folder are the slices of one volume.
//!
//! Files come from outside, so nothing in them is believed. Sizes are compared with [`Limits`] before memory is
//! allocated for them, and the decoders of others (`image`, `dicom-rs`, `openjp2`, `nifti`) run where a panic of
//! theirs becomes [`DecodeError::DecoderFailed`]: screening must go on with the next image.

mod codestream;
mod dicom;
mod error;
mod jpeg;
mod jpeg_ls;
mod nifti;
mod picture;
mod series;
mod square;
mod volume;

pub use error::DecodeError;
pub use series::{Gathered, Input, Series, gather};
pub use square::as_stored;
pub use volume::{Affine, NiftiHeader, Outline, StoreError, Volume, VolumeSource};

use std::{
    fs::{File, Metadata},
    io::{BufRead, BufReader, Read},
    panic::AssertUnwindSafe,
    path::Path,
};

use thorax_shared::{
    modality::Modality,
    plane::{Orientation, Plane},
    preprocess::Pixels,
    verdict::ReferReason,
};

use square::shown_size;

/// One picture, upright and with dark meaning air, ready for preprocessing.
///
/// Its pixels are square, as far as the file says how large they are, and no more than 8 Mi: a larger picture is shrunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The pixels as a reader expects them: head up for films, the patient's right on the left of the picture,
    /// anterior up for slices; air dark, bone bright.
    pub pixels: Pixels,
    /// What the file says it is; `None` where it does not say.
    pub modality: Option<Modality>,
    /// How the stored rows and columns were turned to make `pixels`; [`as_stored`] is the way back for masks.
    pub orientation: Orientation,
    /// Columns and rows as stored, before they were turned and before pixels that are not square were made square.
    pub stored_size: (usize, usize),
    /// Height and width of a pixel of `pixels` in millimetres (down, across), where the file says.
    pub spacing_mm: Option<[f32; 2]>,
    /// Share of pixels (0 to 1) that are clearly coloured; radiographs have (nearly) none.
    pub colour_share: f32,
    /// Whether the file itself says how the picture hangs. Where it does not, `pixels` are as stored, which is mostly the right way
    /// up, but nobody knows which lung is the right one.
    pub sides_known: bool,
    /// Why a person has to look whatever the models say: the file leaves open, or contradicts itself about, what a verdict would
    /// rest on.
    pub refer: Option<ReferReason>,
}

/// What a file held.
#[derive(Clone, Debug)]
pub enum Study {
    /// One picture.
    Image(Frame),
    /// A stack of axial slices.
    Volume(Volume),
}

/// How much a file may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file itself.
    pub max_file_bytes: u64,
    /// Rows times columns of one picture.
    pub max_pixels: u64,
    /// Bytes of pixels after decompression.
    pub max_decoded_bytes: u64,
}

impl Default for Limits {
    /// A file of 512 MiB, a picture of 64 Mi pixels (the largest detectors have 20 Mi), 1 GiB unpacked.
    fn default() -> Self {
        Self { max_file_bytes: 512 << 20, max_pixels: 64 << 20, max_decoded_bytes: 1 << 30 }
    }
}

impl Limits {
    /// Refuses pictures that are empty or have too many pixels.
    fn check_dimensions(&self, width: u64, height: u64) -> Result<(), DecodeError> {
        match width.checked_mul(height) {
            Some(pixels) if pixels > 0 && pixels <= self.max_pixels => Ok(()),
            _ => Err(DecodeError::Dimensions { width, height, limit: self.max_pixels }),
        }
    }
}

/// Bytes that [`sniff`] may look at: the headers of a format, and of what gzip put before them.
const HEAD: u64 = 128 << 10;

/// Reads the image or volume at `path`.
///
/// # Errors
/// [`DecodeError`], whose message gives reason and remedy but not `path`.
pub fn decode(path: &Path, limits: &Limits) -> Result<Study, DecodeError> {
    decode_as(path, limits, None)
}

/// [`decode`], where a person says that the picture is of kind `modality`, whatever the file says.
///
/// # Errors
/// [`DecodeError`], whose message gives reason and remedy but not `path`.
pub fn decode_as(path: &Path, limits: &Limits, modality: Option<Modality>) -> Result<Study, DecodeError> {
    let (file, metadata, head) = open(path)?;
    if matches!(sniff(&head), Ok(Format::Nifti)) {
        // Not held in memory, so that what limits it is what it unpacks to.
        let open = || Ok(Box::new(BufReader::new(File::open(path)?)) as Box<dyn BufRead>);
        return contained("NIfTI", || nifti::decode(&open, limits)).map(Study::Volume);
    }
    decode_bytes_as(&rest_of(file, &metadata, head, limits)?, limits, modality)
}

/// The slices of the NIfTI volume at `path`, of which only the header is read.
///
/// # Errors
/// [`DecodeError`], whose message gives reason and remedy but not `path`.
pub fn nifti_outline(path: &Path) -> Result<Outline, DecodeError> {
    let (_, _, head) = open(path)?;
    match sniff(&head)? {
        Format::Nifti => contained("NIfTI", || nifti::outline(&|| Ok(Box::new(head.as_slice())))),
        _ => Err(DecodeError::OtherFormat("no NIfTI volume, whatever its name")),
    }
}

/// Opens a regular file, and reads its first bytes for [`sniff`].
fn open(path: &Path) -> Result<(File, Metadata, Vec<u8>), DecodeError> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => DecodeError::Missing,
        _ => DecodeError::Unreadable(error),
    })?;
    if metadata.is_dir() {
        return Err(DecodeError::Directory);
    }
    if !metadata.is_file() {
        return Err(DecodeError::NotAFile);
    }
    let mut head = Vec::new();
    let mut file = File::open(path)?;
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok((file, metadata, head))
}

/// All bytes of a file that was [`open`]ed.
fn rest_of(file: File, metadata: &Metadata, head: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    // The size that the file system tells is only a first guess: the file may still be growing.
    let too_large = DecodeError::FileTooLarge { limit: limits.max_file_bytes };
    if metadata.len() > limits.max_file_bytes {
        return Err(too_large);
    }
    let mut bytes = head;
    bytes.reserve_exact((metadata.len() as usize).saturating_sub(bytes.len()));
    file.take(limits.max_file_bytes.saturating_add(1).saturating_sub(bytes.len() as u64)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(too_large);
    }
    Ok(bytes)
}

/// All bytes of the file at `path`.
fn read_whole(path: &Path, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let (file, metadata, head) = open(path)?;
    rest_of(file, &metadata, head, limits)
}

/// Reads the image or volume that `bytes`, the content of a file, holds.
///
/// # Errors
/// [`DecodeError`], whose message gives reason and remedy.
pub fn decode_bytes(bytes: &[u8], limits: &Limits) -> Result<Study, DecodeError> {
    decode_bytes_as(bytes, limits, None)
}

fn decode_bytes_as(bytes: &[u8], limits: &Limits, modality: Option<Modality>) -> Result<Study, DecodeError> {
    match sniff(bytes)? {
        Format::Picture(format) => {
            contained(picture::name(format), || picture::decode(bytes, format, limits)).map(Study::Image)
        }
        Format::Dicom => contained("DICOM", || dicom::decode(bytes, limits, modality)),
        Format::Nifti => contained("NIfTI", || nifti::decode(&|| Ok(Box::new(bytes)), limits)).map(Study::Volume),
    }
}

/// The formats that are decoded.
enum Format {
    Picture(image::ImageFormat),
    Dicom,
    Nifti,
}

/// First bytes of formats that people do send, so that the message can name them.
const OTHER_FORMATS: [(&[u8], &str); 22] = [
    (b"GIF8", "a GIF picture"),
    (b"BM", "a Windows bitmap"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or Office document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"NRRD", "an NRRD volume"),
    (b"ObjectType", "a MetaImage header"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 or MINC file"),
    (b"CDF\x01", "a NetCDF or MINC file"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 codestream"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"8BPS", "a Photoshop picture"),
    (b"P5", "a PGM picture"),
    (b"P6", "a PPM picture"),
    (b"qoif", "a QOI picture"),
];

/// What `bytes` are, by their first bytes.
fn sniff(bytes: &[u8]) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    // A DICOM preamble may hold anything, another format's magic number included (TIFF's is common).
    if dicom::has_magic(bytes) {
        return Ok(Format::Dicom);
    }
    if let Some(format) = picture::format_of(bytes) {
        return Ok(Format::Picture(format));
    }
    if nifti::is_nifti(bytes) {
        return Ok(Format::Nifti);
    }
    if dicom::looks_bare(bytes) {
        return Ok(Format::Dicom);
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(nifti::not_in_gzip(bytes));
    }
    if let Some(348) = bytes.first_chunk().map(|&length| u32::from_le_bytes(length).min(u32::from_be_bytes(length))) {
        return Err(match bytes.len() {
            ..348 => DecodeError::Truncated { format: "NIfTI" },
            _ => DecodeError::OtherFormat("an ANALYZE header without its voxels"),
        });
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Err(DecodeError::OtherFormat("a tar archive"));
    }
    if let Some((_, name)) = OTHER_FORMATS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(DecodeError::OtherFormat(name));
    }
    if bytes.len() >= 12 && &bytes[4..8] == b"ftyp" {
        return Err(DecodeError::OtherFormat("an HEIC/AVIF picture or MP4 film"));
    }
    if bytes.len() >= 12 && bytes.starts_with(b"RIFF") && &bytes[8..12] == b"WEBP" {
        return Err(DecodeError::OtherFormat("a WebP picture"));
    }
    Err(if is_text(bytes) { DecodeError::Text } else { DecodeError::UnknownFormat })
}

/// Whether the first 4096 bytes are UTF-8 without control characters other than white space.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(4096)];
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        // UTF-16, which some programs of Windows write.
        return head.iter().skip(2).filter(|&&byte| byte == 0).count() >= head.len() / 3;
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The cut may have split the last character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace())
}

/// Endings of the files that are read.
const ENDINGS: [&str; 8] = [".nii.gz", ".nii", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff"];

/// A file's name without what tells of its format, for what is made of the file; a name that is nothing else stays whole.
pub fn name_without_ending(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let ending = ENDINGS.into_iter().find(|ending| lower.ends_with(ending) && lower.len() > ending.len());
    &name[..name.len() - ending.map_or(0, str::len)]
}

/// Runs `decoder`, and turns a panic in it into [`DecodeError::DecoderFailed`].
///
/// Damaged files make some third-party decoders index out of bounds (dicom-rs' RLE reader does, for one). Nothing of
/// ours is left half-changed when they unwind: the decoders share no state and the bytes are only borrowed, which is
/// what `AssertUnwindSafe` asserts. It needs the default `panic = "unwind"`.
fn contained<T>(format: &'static str, decoder: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    std::panic::catch_unwind(AssertUnwindSafe(decoder)).unwrap_or(Err(DecodeError::DecoderFailed { format }))
}

/// `pixels` turned by `orientation`; without a copy where nothing is to be turned.
fn oriented<T: Copy>(pixels: Plane<T>, orientation: Orientation) -> Plane<T> {
    if orientation == Orientation::default() { pixels } else { pixels.oriented(orientation) }
}

/// A plane from values whose number was checked before.
fn plane<T: Copy>(format: &'static str, width: usize, height: usize, data: Vec<T>) -> Result<Plane<T>, DecodeError> {
    Plane::new(width, height, data).map_err(|error| DecodeError::Damaged { format, reason: error.to_string() })
}
