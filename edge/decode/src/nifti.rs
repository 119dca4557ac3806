//! NIfTI volumes of both versions (`.nii`, `.nii.gz`), read as CT.
//!
//! A NIfTI file says neither that it is a CT nor what its values are, so they have to show it ([`Meaning`]): Hounsfield units have
//! air and tissue at their places. Where somebody stored them with an offset, it is taken off; what is neither that, nor greys of
//! 8 bits that somebody windowed, nor a mask, is refused. The header's affine says where the axes point to; where it does not, or
//! says two things, no side is told and a person has to look.
//!
//! The file is read twice, and never held: once for what the values are, then for the values, which become two bytes each. So a
//! volume of doubles needs a quarter of its size in memory, and a device has little.
//!
//! The format's references are the headers `nifti1.h` and `nifti2.h` of the NIfTI Data Format Working Group.

mod gunzip;
mod meaning;

use std::io::{BufRead, Read};

use nifti::{Endianness, NiftiType};
use thorax_shared::verdict::ReferReason;

use self::{
    gunzip::Gunzip,
    meaning::{Histogram, Meaning},
};
use super::{
    DecodeError, Limits,
    volume::{Affine, Axes, NiftiHeader, Outline, Volume, VolumeSource, Voxels},
};

/// The name of the format in messages.
const FORMAT: &str = "NIfTI";

/// Lengths of the headers of version 1 and 2, which are also their first field.
const HEADERS: [usize; 2] = [348, 540];

/// Opens the file, or its bytes, at its beginning.
pub(super) type Open<'a> = dyn Fn() -> std::io::Result<Box<dyn BufRead + 'a>> + 'a;

/// Whether `bytes`, the first of a file, begin, perhaps inside gzip, with a NIfTI header of either version.
pub(super) fn is_nifti(bytes: &[u8]) -> bool {
    let mut head = Vec::new();
    // A damaged end of the compressed data does not matter here.
    let _ = unpacked(Box::new(bytes)).take(HEADERS[0] as u64).read_to_end(&mut head);
    is_version_2(&head) || matches!(head.get(344..348), Some(b"n+1\0" | b"ni1\0"))
}

fn is_version_2(head: &[u8]) -> bool {
    matches!(head.get(4..8), Some(b"n+2\0" | b"ni2\0"))
}

/// Why a gzip file whose first bytes these are is not read.
pub(super) fn not_in_gzip(bytes: &[u8]) -> DecodeError {
    match Gunzip::new(bytes).take(HEADERS[0] as u64).read_to_end(&mut Vec::new()) {
        Ok(_) => DecodeError::OtherFormat("a gzip archive without a NIfTI volume"),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated { format: "gzip" },
        Err(error) => DecodeError::Damaged { format: "gzip", reason: error.to_string() },
    }
}

/// The bytes themselves or what gzip makes of them.
fn unpacked<'a>(mut bytes: Box<dyn BufRead + 'a>) -> Box<dyn Read + 'a> {
    match bytes.fill_buf() {
        Ok([0x1f, 0x8b, ..]) => Box::new(Gunzip::new(bytes)),
        // An error comes again when it is read on.
        _ => Box::new(bytes),
    }
}

/// Decodes what `open` opens.
pub(super) fn decode(open: &Open<'_>, limits: &Limits) -> Result<Volume, DecodeError> {
    let mut source = unpacked(open()?);
    let header = Header::read(&mut source)?;
    let voxels = header.dimensions.iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
    let voxels = match voxels {
        Some(voxels) if voxels.saturating_mul(2) <= limits.max_decoded_bytes => voxels,
        _ => return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes }),
    };
    let Placement { axes, sides_known } = header.placement();
    let [across, down] = axes.in_plane();
    let [columns, rows] = [across, down].map(|axis| header.dimensions[axis]);
    limits.check_dimensions(columns as u64, rows as u64)?;

    header.skip_to_voxels(&mut source, limits)?;
    let mut histogram = Histogram::default();
    header.each_value(&mut source, voxels, |value| histogram.add(value))?;
    // The checksum comes last in gzip, and is compared when it is reached.
    std::io::copy(&mut source.take(limits.max_decoded_bytes), &mut std::io::sink()).map_err(read_error)?;
    let meaning = Meaning::of(&histogram, header.dimensions.iter().any(|&n| n <= meaning::FEW_SLICES))?;
    if meaning.is_hounsfield() && (columns == 1 || rows == 1) {
        return Err(DecodeError::NotAxial { plane: "coronal or sagittal" });
    }

    let mut source = unpacked(open()?);
    if Header::read(&mut source)?.stored != header.stored {
        return Err(damaged("it changes while it is read".into()));
    }
    header.skip_to_voxels(&mut source, limits)?;
    let voxels = header.voxels(&mut source, voxels, meaning)?;
    let mut volume = Volume::new(voxels, header.dimensions, axes, VolumeSource::Nifti(header.stored));
    if !sides_known {
        volume = volume.without_sides().referred(ReferReason::OrientationUnknown);
    }
    Ok(volume)
}

/// What the header that `open` leads to says of the slices; no voxel is read.
pub(super) fn outline(open: &Open<'_>) -> Result<Outline, DecodeError> {
    let header = Header::read(&mut unpacked(open()?))?;
    let Placement { axes, sides_known } = header.placement();
    Ok(Outline { sides_known, ..axes.outline(header.dimensions) })
}

/// What a header says.
struct Header {
    stored: NiftiHeader,
    dimensions: [usize; 3],
    kind: NiftiType,
    first_voxel: u64,
    /// From stored values to values: factor and summand.
    scale: (f64, f64),
    /// Voxel sizes, the first of which is a sign.
    pixdim: [f64; 4],
    /// Millimetres in the unit of sizes and of the affine.
    unit_mm: f64,
    qform: Option<Affine>,
    sform: Option<Affine>,
}

/// Where the voxels lie.
struct Placement {
    axes: Axes,
    sides_known: bool,
}

impl Header {
    fn read(source: &mut dyn Read) -> Result<Self, DecodeError> {
        let mut bytes = vec![0; HEADERS[0]];
        source.read_exact(&mut bytes).map_err(read_error)?;
        if !is_version_2(&bytes) {
            return Self::version_1(&bytes);
        }
        bytes.resize(HEADERS[1], 0);
        source.read_exact(&mut bytes[HEADERS[0]..]).map_err(read_error)?;
        Self::version_2(&bytes)
    }

    fn version_1(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = nifti::NiftiHeader::from_reader(bytes).map_err(|error| damaged(error.to_string()))?;
        if &header.magic == b"ni1\0" {
            return Err(two_files());
        }
        let [qform, sform] = [header.qform_code, header.sform_code].map(|code| code > 0);
        let pixdim = std::array::from_fn(|i| header.pixdim[i].into());
        let srow = [header.srow_x, header.srow_y, header.srow_z];
        let quaternion = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
        let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
        Ok(Self {
            // `crate nifti` reads them without their sign.
            dimensions: dimensions(header.dim.map(|length| i64::from(length as i16)))?,
            kind: kind(header.datatype)?,
            // The conversion of a float saturates.
            first_voxel: (header.vox_offset as u64).max(HEADERS[0] as u64 + 4),
            scale: scale(header.scl_slope.into(), header.scl_inter.into()),
            pixdim,
            unit_mm: unit_mm(header.xyzt_units.into()),
            qform: qform.then(|| rotated(quaternion, offset, pixdim)),
            sform: sform.then(|| srow.map(|row| row.map(f64::from))),
            stored: NiftiHeader { bytes: bytes.into(), big_endian: header.endianness == Endianness::Big },
        })
    }

    fn version_2(bytes: &[u8]) -> Result<Self, DecodeError> {
        let big_endian = bytes[..4] == (HEADERS[1] as i32).to_be_bytes();
        if !big_endian && bytes[..4] != (HEADERS[1] as i32).to_le_bytes() {
            return Err(damaged("a header of another length than 540 bytes".into()));
        }
        if bytes[4..8] == *b"ni2\0" {
            return Err(two_files());
        }
        let eight = |at: usize| -> [u8; 8] {
            let mut eight: [u8; 8] = std::array::from_fn(|i| bytes[at + i]);
            if big_endian {
                eight.reverse();
            }
            eight
        };
        let long = |at: usize| i64::from_le_bytes(eight(at));
        let double = |at: usize| f64::from_le_bytes(eight(at));
        let int = |at: usize| {
            let four: [u8; 4] = std::array::from_fn(|i| bytes[at + i]);
            if big_endian { i32::from_be_bytes(four) } else { i32::from_le_bytes(four) }
        };
        let datatype = [bytes[12], bytes[13]];
        let pixdim = std::array::from_fn(|i| double(104 + 8 * i));
        let three = |at: usize| std::array::from_fn(|i| double(at + 8 * i));
        Ok(Self {
            dimensions: dimensions(std::array::from_fn(|i| long(16 + 8 * i)))?,
            kind: kind(if big_endian { i16::from_be_bytes(datatype) } else { i16::from_le_bytes(datatype) })?,
            first_voxel: u64::try_from(long(168)).unwrap_or(0).max(HEADERS[1] as u64 + 4),
            scale: scale(double(176), double(184)),
            pixdim,
            unit_mm: unit_mm(int(500)),
            qform: (int(344) > 0).then(|| rotated(three(352), three(376), pixdim)),
            sform: (int(348) > 0)
                .then(|| std::array::from_fn(|row| std::array::from_fn(|i| double(400 + 32 * row + 8 * i)))),
            stored: NiftiHeader { bytes: bytes.into(), big_endian },
        })
    }

    /// From the affine: `sform`, else `qform`, else the voxel sizes alone.
    ///
    /// Sides are not known where there is no affine, where the two contradict each other, and where it is a unit matrix to the bit,
    /// in NIfTI's directions (nibabel) or DICOM's (ITK): that is what programs write that know none, and so hang chests upside down.
    /// A scanner's voxels are no millimetre's cubes that begin at its origin.
    fn placement(&self) -> Placement {
        const UNITS: [Affine; 2] = [unit([1.0, 1.0, 1.0]), unit([-1.0, -1.0, 1.0])];
        let told: Vec<(&Affine, Axes)> = [&self.sform, &self.qform]
            .into_iter()
            .flatten()
            .filter_map(|affine| Some((affine, Axes::of(affine)?)))
            .collect();
        match told[..] {
            [(affine, axes), ref others @ ..] => Placement {
                axes: axes.in_units_of(self.unit_mm),
                sides_known: !UNITS.contains(affine) && others.iter().all(|(_, other)| axes.run_as(other)),
            },
            [] => {
                let [_, sizes @ ..] = self.pixdim.map(|size| if size.is_finite() { size.abs() as f32 } else { 0.0 });
                Placement { axes: Axes::untold(sizes).in_units_of(self.unit_mm), sides_known: false }
            }
        }
    }

    /// Passes over what lies between the header and the voxels, extensions most often.
    fn skip_to_voxels(&self, source: &mut dyn Read, limits: &Limits) -> Result<(), DecodeError> {
        if self.first_voxel > limits.max_decoded_bytes {
            return Err(damaged(format!("voxels begin at byte {}", self.first_voxel)));
        }
        let gap = self.first_voxel - self.stored.bytes.len() as u64;
        let passed = std::io::copy(&mut source.take(gap), &mut std::io::sink()).map_err(read_error)?;
        if passed < gap { Err(DecodeError::Truncated { format: FORMAT }) } else { Ok(()) }
    }

    /// Hands the next `count` values to `each`, scaled.
    fn each_value(&self, source: &mut dyn Read, count: u64, mut each: impl FnMut(f64)) -> Result<(), DecodeError> {
        use NiftiType as T;
        let size = self.kind.size_of();
        let big_endian = self.stored.big_endian;
        let (factor, summand) = self.scale;
        let mut each = |stored: f64| each(factor * stored + summand);
        let mut buffer = vec![0; size * (1 << 16)];
        let mut left = count;
        while left > 0 {
            let values = left.min(1 << 16) as usize;
            let bytes = &mut buffer[..size * values];
            source.read_exact(bytes).map_err(read_error)?;
            match self.kind {
                T::Uint8 => numbers(bytes, big_endian, |b| each(u8::from_le_bytes(b).into())),
                T::Int8 => numbers(bytes, big_endian, |b| each(i8::from_le_bytes(b).into())),
                T::Uint16 => numbers(bytes, big_endian, |b| each(u16::from_le_bytes(b).into())),
                T::Int16 => numbers(bytes, big_endian, |b| each(i16::from_le_bytes(b).into())),
                T::Uint32 => numbers(bytes, big_endian, |b| each(u32::from_le_bytes(b).into())),
                T::Int32 => numbers(bytes, big_endian, |b| each(i32::from_le_bytes(b).into())),
                T::Float32 => numbers(bytes, big_endian, |b| each(f32::from_le_bytes(b).into())),
                T::Uint64 => numbers(bytes, big_endian, |b| each(u64::from_le_bytes(b) as f64)),
                T::Int64 => numbers(bytes, big_endian, |b| each(i64::from_le_bytes(b) as f64)),
                _ => numbers(bytes, big_endian, |b| each(f64::from_le_bytes(b))),
            }
            left -= values as u64;
        }
        Ok(())
    }

    /// The next `count` values, as `meaning` has them.
    fn voxels(&self, source: &mut dyn Read, count: u64, meaning: Meaning) -> Result<Voxels, DecodeError> {
        // What is allocated here was seen to be there.
        let length = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(match meaning {
            // These conversions make 0 of what is no number.
            Meaning::Eight => {
                let mut voxels = Vec::with_capacity(length);
                self.each_value(source, count, |value| voxels.push(value as u8))?;
                Voxels::Eight(voxels)
            }
            Meaning::Sixteen => {
                let mut voxels = Vec::with_capacity(length);
                self.each_value(source, count, |value| voxels.push(value as u16))?;
                Voxels::Sixteen(voxels)
            }
            Meaning::Hounsfield(stored) => {
                let mut voxels = Vec::with_capacity(length);
                self.each_value(source, count, |value| voxels.push(stored.units(value)))?;
                Voxels::Hounsfield(voxels)
            }
        })
    }
}

/// Hands the numbers of `N` bytes that fill `bytes` to `each`, the lowest byte first.
fn numbers<const N: usize>(bytes: &[u8], big_endian: bool, mut each: impl FnMut([u8; N])) {
    for &number in bytes.as_chunks::<N>().0 {
        let mut number = number;
        if big_endian {
            number.reverse();
        }
        each(number);
    }
}

/// The matrix with this diagonal.
const fn unit([x, y, z]: [f64; 3]) -> Affine {
    [[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]]
}

/// Voxels along the three axes, of the header's count of axes and their lengths.
fn dimensions([axes, lengths @ ..]: [i64; 8]) -> Result<[usize; 3], DecodeError> {
    let used = usize::try_from(axes).ok().filter(|used| (1..=7).contains(used));
    let lengths = &lengths[..used.ok_or_else(|| damaged(format!("{axes} dimensions")))?];
    if let Some(length) = lengths.iter().find(|&&length| length < 1) {
        return Err(damaged(format!("a dimension of {length} voxels")));
    }
    if lengths.iter().skip(3).any(|&length| length > 1) {
        return Err(unsupported("more than three dimensions"));
    }
    let too_long =
        |length: i64| DecodeError::Dimensions { width: length as u64, height: 1, limit: u64::from(u32::MAX) };
    let mut dimensions = [1; 3];
    for (dimension, &length) in dimensions.iter_mut().zip(lengths) {
        *dimension = u32::try_from(length).map_err(|_| too_long(length))? as usize;
    }
    Ok(dimensions)
}

/// The type of the voxels, if their values are single numbers of at most eight bytes.
fn kind(datatype: i16) -> Result<NiftiType, DecodeError> {
    use NiftiType::{Float32, Float64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    match (nifti::NiftiHeader { datatype, ..Default::default() }).data_type() {
        Ok(kind @ (Int8 | Int16 | Int32 | Int64 | Uint8 | Uint16 | Uint32 | Uint64 | Float32 | Float64)) => Ok(kind),
        Ok(kind) => Err(unsupported(&format!("{kind:?} voxels"))),
        Err(_) => Err(unsupported(&format!("voxels of data type {datatype}"))),
    }
}

/// Factor and summand; a factor of 0 means that values are not scaled.
fn scale(factor: f64, summand: f64) -> (f64, f64) {
    if factor == 0.0 || !factor.is_finite() || !summand.is_finite() { (1.0, 0.0) } else { (factor, summand) }
}

/// Millimetres in the unit of length that `xyzt_units` tells.
fn unit_mm(xyzt_units: i32) -> f64 {
    match xyzt_units & 7 {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    }
}

/// Method 2 of `nifti1.h`: a rotation by a unit quaternion, the third axis turned round where `pixdim[0]` is negative.
fn rotated([b, c, d]: [f64; 3], offset: [f64; 3], pixdim: [f64; 4]) -> Affine {
    let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
    let norm = (a * a + b * b + c * c + d * d).sqrt();
    let [a, b, c, d] = [a, b, c, d].map(|part| part / norm);
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let [sign, x, y, z] = pixdim;
    let z = if sign < 0.0 { -z } else { z };
    std::array::from_fn(|row| [rotation[row][0] * x, rotation[row][1] * y, rotation[row][2] * z, offset[row]])
}

fn two_files() -> DecodeError {
    unsupported("voxels in a second file (.hdr and .img)")
}

fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported {
        format: FORMAT,
        feature: feature.into(),
        instead: "one NIfTI volume of three dimensions in one file",
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
