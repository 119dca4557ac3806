//! NIfTI-1 volumes (`.nii`, `.nii.gz`), cut into axial slices on demand.
//!
//! A volume may be stored along any axes; the header's affine says where they point to. The voxels stay as they were
//! stored (a chest CT is hundreds of megabytes, and a device has little memory), and [`Volume::slice`] gathers one
//! slice from them, turned to the radiologist's view. [`Volume::store`] is the way back, for what was drawn over a slice.
//!
//! The format's reference is the header `nifti1.h` of the NIfTI Data Format Working Group.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use nifti::{Endianness, NiftiHeader, NiftiType};
use thorax_shared::{
    modality::Modality,
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

use super::{DecodeError, Frame, Limits, oriented};

/// The name of the format in messages.
const FORMAT: &str = "NIfTI";

/// Length of a NIfTI-1 header; it is also the first field.
const HEADER: usize = 348;

/// Where voxels begin when the header says nothing sensible: after the header and the extension flag.
const FIRST_VOXEL: u64 = 352;

/// Values below this are taken for Hounsfield units: no other image of the chest has them, and every CT has air.
const CLEARLY_AIR: f64 = -200.0;

/// Hounsfield units of air, for voxels that are not numbers.
const AIR: i16 = -1024;

/// A stack of axial slices, from the feet to the head.
#[derive(Clone)]
pub struct Volume {
    /// The header as stored.
    header: Box<[u8; HEADER]>,
    /// The voxels as stored, first axis fastest.
    voxels: Vec<u8>,
    /// Type of a voxel.
    kind: NiftiType,
    /// Byte order of a voxel.
    big_endian: bool,
    /// From stored values to values: factor and summand.
    scale: (f64, f64),
    /// Voxels along the stored axes.
    dimensions: [usize; 3],
    /// The stored axis that runs along the body.
    slice_axis: usize,
    /// Whether the stored slices run from the head to the feet.
    head_first: bool,
    /// How a stored slice (its faster axis across, its slower axis down) becomes a picture.
    orientation: Orientation,
    /// Size of a voxel along the stored axes, in millimetres; 0 where unknown.
    voxel_mm: [f32; 3],
    /// What the values mean.
    meaning: Meaning,
}

/// What the values of a volume mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// Hounsfield units.
    Hounsfield,
    /// Whole numbers from 0 to 255.
    Eight,
    /// Whole numbers from 0 to 65535.
    Sixteen,
    /// Anything else; the span becomes 0 to 65535.
    Arbitrary { lowest: f64, highest: f64 },
}

/// A picture cannot be put into a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a picture of {width} x {height} for slice {index} and {voxels} voxels do not fit a volume of {slices} slices of \
     {expected_width} x {expected_height}: give a picture of the size that the slice itself has, and a voxel for each of the volume's"
)]
pub struct StoreError {
    /// The slice asked for.
    pub index: usize,
    /// Columns of the picture.
    pub width: usize,
    /// Rows of the picture.
    pub height: usize,
    /// Voxels that were given to write to.
    pub voxels: usize,
    /// Slices of the volume.
    pub slices: usize,
    /// Columns of its slices.
    pub expected_width: usize,
    /// Rows of its slices.
    pub expected_height: usize,
}

/// Tells sizes and meaning, not the voxels.
impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("slices", &self.slices())
            .field("dimensions", &self.dimensions)
            .field("kind", &self.kind)
            .field("meaning", &self.meaning)
            .field("orientation", &self.orientation)
            .finish_non_exhaustive()
    }
}

/// Whether `bytes` begin, perhaps inside gzip, with a NIfTI header of either version.
pub(super) fn is_nifti(bytes: &[u8]) -> bool {
    let mut head = Vec::new();
    // A damaged end of the compressed data does not matter here.
    let _ = reader(bytes).take(HEADER as u64).read_to_end(&mut head);
    is_version_2(&head) || matches!(head.get(344..HEADER), Some(b"n+1\0" | b"ni1\0"))
}

fn is_version_2(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"n+2\0" | b"ni2\0"))
}

/// The bytes themselves or what gzip makes of them.
fn reader(bytes: &[u8]) -> Box<dyn Read + '_> {
    if bytes.starts_with(&[0x1f, 0x8b]) { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) }
}

impl Volume {
    /// Decodes a NIfTI file.
    pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let mut source = reader(bytes);
        let mut head = [0; HEADER];
        source.read_exact(&mut head).map_err(read_error)?;
        if is_version_2(&head) {
            return Err(unsupported("version 2 headers"));
        }
        let header = NiftiHeader::from_reader(&head[..]).map_err(|error| damaged(error.to_string()))?;
        if &header.magic == b"ni1\0" {
            return Err(unsupported("voxels in a second file (.hdr and .img)"));
        }

        let dimensions = dimensions(&header)?;
        let kind = header.data_type().map_err(|error| damaged(error.to_string()))?;
        if !is_real(kind) {
            return Err(unsupported(&format!("{kind:?} voxels")));
        }
        let size = dimensions.iter().map(|&n| n as u64).product::<u64>() * kind.size_of() as u64;
        if size > limits.max_decoded_bytes {
            return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
        }
        let axes = Axes::of(&header);
        let [across, down] = axes.in_plane();
        limits.check_dimensions(dimensions[across] as u64, dimensions[down] as u64)?;

        // The conversion of a float saturates; extensions between header and voxels are passed over, not kept.
        let first_voxel = (header.vox_offset as u64).max(FIRST_VOXEL);
        if first_voxel > limits.max_decoded_bytes {
            return Err(damaged(format!("voxels begin at byte {first_voxel}")));
        }
        let gap = first_voxel - HEADER as u64;
        let passed = std::io::copy(&mut source.by_ref().take(gap), &mut std::io::sink()).map_err(read_error)?;
        let mut voxels = Vec::new();
        source.by_ref().take(size).read_to_end(&mut voxels).map_err(read_error)?;
        if passed < gap || (voxels.len() as u64) < size {
            return Err(DecodeError::Truncated { format: FORMAT });
        }
        // The checksum comes last in gzip, and is compared when it is reached.
        std::io::copy(&mut source.take(limits.max_decoded_bytes), &mut std::io::sink()).map_err(read_error)?;

        let mut volume = Self {
            header: Box::new(head),
            voxels,
            kind,
            big_endian: header.endianness == Endianness::Big,
            scale: scale(&header),
            dimensions,
            slice_axis: axes.along[2],
            head_first: axes.negative[2],
            orientation: axes.orientation(),
            voxel_mm: axes.voxel_mm,
            meaning: Meaning::Hounsfield,
        };
        volume.meaning = volume.find_meaning()?;
        Ok(volume)
    }

    /// The file's NIfTI-1 header as stored, in the byte order that [`Self::is_big_endian`] tells. A file with this header
    /// and voxels in the stored order lies where this volume lies.
    pub fn header(&self) -> &[u8; 348] {
        &self.header
    }

    /// Whether the numbers of the file begin with their highest byte.
    pub fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// Voxels along the three stored axes, the fastest first.
    pub fn dimensions(&self) -> [usize; 3] {
        self.dimensions
    }

    /// Millimetres from voxel to voxel along the three stored axes, the fastest first; `None` where the file does not say.
    pub fn voxel_mm(&self) -> Option<[f32; 3]> {
        Some(self.voxel_mm).filter(|sizes| sizes.iter().all(|&mm| mm > 0.0))
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.dimensions[self.slice_axis]
    }

    /// Distance from slice to slice in millimetres, where the file says.
    pub fn slice_distance_mm(&self) -> Option<f32> {
        Some(self.voxel_mm[self.slice_axis]).filter(|&distance| distance > 0.0)
    }

    /// Slice `index`, counted from the feet; `None` where there is no such slice.
    pub fn slice(&self, index: usize) -> Option<Frame> {
        if index >= self.slices() {
            return None;
        }
        let at = self.stored_slice(index);
        let value = |x, y| self.value(at(x, y));
        let pixels = match self.meaning {
            Meaning::Hounsfield => Pixels::Hounsfield(self.plane(|x, y| {
                let value = value(x, y);
                // The conversion saturates.
                if value.is_nan() { AIR } else { value.round_ties_even() as i16 }
            })),
            // These conversions make 0 of what is no number.
            Meaning::Eight => Pixels::Eight(self.plane(|x, y| value(x, y) as u8)),
            Meaning::Sixteen => Pixels::Sixteen(self.plane(|x, y| value(x, y) as u16)),
            Meaning::Arbitrary { lowest, highest } => Pixels::Sixteen(self.plane(|x, y| {
                let share = (value(x, y) - lowest) / (highest - lowest).max(f64::MIN_POSITIVE);
                (share * 65535.0).round_ties_even() as u16
            })),
        };
        let [across, down] = in_plane(self.slice_axis).map(|axis| self.voxel_mm[axis]);
        let spacing = if self.orientation.transpose { [across, down] } else { [down, across] };
        Some(Frame {
            pixels,
            // Hounsfield units are what CT measures; nothing else in a NIfTI header tells the modality.
            modality: (self.meaning == Meaning::Hounsfield).then_some(Modality::Ct),
            orientation: self.orientation,
            spacing_mm: spacing.iter().all(|&mm| mm > 0.0).then_some(spacing),
            colour_share: 0.0,
            sides_known: true,
            refer: None,
        })
    }

    /// Puts `picture`, drawn over slice `index` as [`Self::slice`] shows it, into `voxels`, a volume stored as this one is
    /// (first axis fastest, `dimensions` long). Slices that are not put there stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when there is no such slice, or a size differs from the volume's; nothing is written then.
    pub fn store<T: Copy>(&self, index: usize, picture: &Plane<T>, voxels: &mut [T]) -> Result<(), StoreError> {
        let [across, down] = in_plane(self.slice_axis).map(|axis| self.dimensions[axis]);
        let (expected_width, expected_height) =
            if self.orientation.transpose { (down, across) } else { (across, down) };
        let (width, height, slices) = (picture.width(), picture.height(), self.slices());
        if index >= slices
            || (width, height) != (expected_width, expected_height)
            || voxels.len() != self.dimensions.iter().product::<usize>()
        {
            let voxels = voxels.len();
            return Err(StoreError { index, width, height, voxels, slices, expected_width, expected_height });
        }
        let at = self.stored_slice(index);
        let stored = picture.oriented(self.orientation.inverse());
        for y in 0..down {
            stored.row(y).iter().enumerate().for_each(|(x, &value)| voxels[at(x, y)] = value);
        }
        Ok(())
    }

    /// Where the voxels of slice `index` lie, by column and row of the stored slice.
    fn stored_slice(&self, index: usize) -> impl Fn(usize, usize) -> usize + use<> {
        let strides = [1, self.dimensions[0], self.dimensions[0] * self.dimensions[1]];
        let [across, down] = in_plane(self.slice_axis);
        let index = if self.head_first { self.slices() - 1 - index } else { index };
        let first = index * strides[self.slice_axis];
        move |x, y| first + x * strides[across] + y * strides[down]
    }

    /// The picture of a stored slice.
    fn plane<T: Copy>(&self, value: impl FnMut(usize, usize) -> T) -> Plane<T> {
        let [across, down] = in_plane(self.slice_axis);
        oriented(Plane::from_fn(self.dimensions[across], self.dimensions[down], value), self.orientation)
    }

    /// The value of a voxel.
    fn value(&self, index: usize) -> f64 {
        let size = self.kind.size_of();
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.voxels[index * size..(index + 1) * size]);
        if self.big_endian {
            bytes[..size].reverse();
        }
        let [a, b, c, d, ..] = bytes;
        let stored = match self.kind {
            NiftiType::Uint8 => f64::from(a),
            NiftiType::Int8 => f64::from(a as i8),
            NiftiType::Uint16 => f64::from(u16::from_le_bytes([a, b])),
            NiftiType::Int16 => f64::from(i16::from_le_bytes([a, b])),
            NiftiType::Uint32 => f64::from(u32::from_le_bytes([a, b, c, d])),
            NiftiType::Int32 => f64::from(i32::from_le_bytes([a, b, c, d])),
            NiftiType::Float32 => f64::from(f32::from_le_bytes([a, b, c, d])),
            NiftiType::Uint64 => u64::from_le_bytes(bytes) as f64,
            NiftiType::Int64 => i64::from_le_bytes(bytes) as f64,
            _ => f64::from_le_bytes(bytes),
        };
        let (factor, summand) = self.scale;
        factor * stored + summand
    }

    /// Looks at all values once.
    fn find_meaning(&self) -> Result<Meaning, DecodeError> {
        let (mut lowest, mut highest, mut whole) = (f64::INFINITY, f64::NEG_INFINITY, true);
        for value in (0..self.voxels.len() / self.kind.size_of()).map(|index| self.value(index)) {
            if value.is_finite() {
                lowest = lowest.min(value);
                highest = highest.max(value);
                whole &= value.fract() == 0.0;
            }
        }
        Ok(match (lowest, highest) {
            _ if lowest > highest => return Err(damaged("no voxel is a number".into())),
            _ if lowest < CLEARLY_AIR => Meaning::Hounsfield,
            (0.0.., ..=255.0) if whole => Meaning::Eight,
            (0.0.., ..=65535.0) if whole => Meaning::Sixteen,
            _ => Meaning::Arbitrary { lowest, highest },
        })
    }
}

/// The stored axes of a slice across `slice_axis`: the faster and the slower.
fn in_plane(slice_axis: usize) -> [usize; 2] {
    match slice_axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    }
}

/// Voxels along the three axes.
fn dimensions(header: &NiftiHeader) -> Result<[usize; 3], DecodeError> {
    let dimensions = header.dim().map_err(|error| damaged(error.to_string()))?;
    if dimensions.iter().skip(3).any(|&n| n > 1) {
        return Err(unsupported("more than three dimensions"));
    }
    Ok(std::array::from_fn(|axis| dimensions.get(axis).copied().map_or(1, usize::from)))
}

/// Factor and summand; a factor of 0 means that values are not scaled.
fn scale(header: &NiftiHeader) -> (f64, f64) {
    let (factor, summand) = (f64::from(header.scl_slope), f64::from(header.scl_inter));
    if factor == 0.0 || !factor.is_finite() || !summand.is_finite() { (1.0, 0.0) } else { (factor, summand) }
}

/// Types whose values are single numbers of at most eight bytes.
fn is_real(kind: NiftiType) -> bool {
    use NiftiType::{Float32, Float64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    matches!(kind, Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64 | Float32 | Float64)
}

/// Where the stored axes point to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axes {
    /// The stored axis that runs most nearly left-right, back-front and feet-head.
    along: [usize; 3],
    /// Whether it runs to the left, to the back, to the feet.
    negative: [bool; 3],
    /// Size of a voxel along the stored axes, in millimetres; 0 where unknown.
    voxel_mm: [f32; 3],
}

impl Axes {
    /// From the header's affine: `sform`, else `qform`, else the voxel sizes alone, which by the convention of ANALYZE
    /// (and nibabel) are stored from the patient's right to the left.
    fn of(header: &NiftiHeader) -> Self {
        // affine[row][column]: rows are directions of the patient, columns are stored axes.
        let length =
            |affine: &[[f64; 3]; 3], axis: usize| affine.iter().map(|row| row[axis] * row[axis]).sum::<f64>().sqrt();
        let usable = |affine: &[[f64; 3]; 3]| {
            let volume = determinant(affine).abs() / (0..3).map(|axis| length(affine, axis)).product::<f64>();
            // Not so for what is not finite, either.
            volume > 0.1
        };
        let affine = [(header.sform_code > 0).then(|| sform(header)), (header.qform_code > 0).then(|| qform(header))]
            .into_iter()
            .flatten()
            .find(usable);
        let (affine, sizes) = match affine {
            Some(affine) => (affine, std::array::from_fn(|axis| length(&affine, axis))),
            None => {
                let [_, x, y, z, ..] =
                    header.pixdim.map(|size| if size.is_finite() { f64::from(size).abs() } else { 0.0 });
                (ANALYZE, [x, y, z])
            }
        };
        let cosine = |direction: usize, axis: usize| affine[direction][axis] / length(&affine, axis);
        let agreement =
            |along: &[usize; 3]| (0..3).map(|direction| cosine(direction, along[direction]).abs()).sum::<f64>();
        let along = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
            .into_iter()
            .max_by(|a, b| agreement(a).total_cmp(&agreement(b)))
            .unwrap_or([0, 1, 2]);
        let unit_mm = match header.xyzt_units & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        };
        Self {
            along,
            negative: std::array::from_fn(|direction| cosine(direction, along[direction]) < 0.0),
            voxel_mm: sizes.map(|size| (size * unit_mm) as f32),
        }
    }

    /// The stored axes of an axial slice: the faster and the slower.
    fn in_plane(&self) -> [usize; 2] {
        in_plane(self.along[2])
    }

    /// How a stored slice becomes a picture whose columns run to the patient's left and whose rows run to the back.
    fn orientation(&self) -> Orientation {
        Orientation {
            transpose: self.along[0] > self.along[1],
            flip_horizontal: !self.negative[0],
            flip_vertical: !self.negative[1],
        }
    }
}

/// Method 1 of `nifti1.h`, which leaves left and right open, with ANALYZE's answer.
const ANALYZE: [[f64; 3]; 3] = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// Method 3 of `nifti1.h`.
fn sform(header: &NiftiHeader) -> [[f64; 3]; 3] {
    [header.srow_x, header.srow_y, header.srow_z].map(|row| [row[0], row[1], row[2]].map(f64::from))
}

/// Method 2 of `nifti1.h`: a rotation by a unit quaternion, the third axis turned round where `pixdim[0]` is negative.
fn qform(header: &NiftiHeader) -> [[f64; 3]; 3] {
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let norm = (a * a + b * b + c * c + d * d).sqrt();
    let [a, b, c, d] = [a, b, c, d].map(|part| part / norm);
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let [_, x, y, z, ..] = header.pixdim.map(f64::from);
    let z = if header.pixdim[0] < 0.0 { -z } else { z };
    rotation.map(|row| [row[0] * x, row[1] * y, row[2] * z])
}

fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported {
        format: FORMAT,
        feature: feature.into(),
        instead: "one NIfTI-1 volume of three dimensions in one file",
    }
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: FORMAT, reason }
}

fn read_error(error: std::io::Error) -> DecodeError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        DecodeError::Truncated { format: FORMAT }
    } else {
        damaged(error.to_string())
    }
}
