//! NIfTI volumes, written here byte by byte (`nifti1.h`), and those in `fixtures/encodings`, written by nibabel
//! (`references/decode_fixtures.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::io::Write;

use proptest::prelude::*;
use thorax_decode::{DecodeError, Frame, Limits, NiftiHeader, Study, Volume, VolumeSource, decode_bytes};
use thorax_shared::{
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::Pixels,
};

/// The header fields that the tests change, and the voxels.
#[derive(Clone)]
struct File {
    dimensions: [i16; 8],
    datatype: i16,
    voxel_sizes: [f32; 8],
    first_voxel: f32,
    scale: (f32, f32),
    qform: Option<[f32; 3]>,
    sform: Option<[[f32; 4]; 3]>,
    units: u8,
    magic: [u8; 4],
    voxels: Vec<u8>,
}

impl File {
    /// 2 x 3 x 2 voxels of 1000 - HU, in this data type.
    fn new(datatype: i16, voxels: Vec<u8>) -> Self {
        Self {
            dimensions: [3, 2, 3, 2, 1, 1, 1, 1],
            datatype,
            voxel_sizes: [1.0, 0.5, 0.6, 2.0, 0.0, 0.0, 0.0, 0.0],
            first_voxel: 352.0,
            scale: (0.0, 0.0),
            qform: None,
            sform: Some([[-0.5, 0.0, 0.0, 9.0], [0.0, -0.6, 0.0, 9.0], [0.0, 0.0, 2.0, 9.0]]),
            units: 2,
            magic: *b"n+1\0",
            voxels,
        }
    }

    fn int16(values: &[i16]) -> Self {
        Self::new(4, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 352];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &348i32.to_le_bytes());
        for (i, n) in self.dimensions.iter().enumerate() {
            put(40 + 2 * i, &n.to_le_bytes());
        }
        put(70, &self.datatype.to_le_bytes());
        for (i, size) in self.voxel_sizes.iter().enumerate() {
            put(76 + 4 * i, &size.to_le_bytes());
        }
        put(108, &self.first_voxel.to_le_bytes());
        put(112, &self.scale.0.to_le_bytes());
        put(116, &self.scale.1.to_le_bytes());
        put(123, &[self.units]);
        if let Some(quaternion) = self.qform {
            put(252, &1i16.to_le_bytes());
            for (i, part) in quaternion.iter().enumerate() {
                put(256 + 4 * i, &part.to_le_bytes());
            }
        }
        if let Some(rows) = self.sform {
            put(254, &1i16.to_le_bytes());
            for (i, value) in rows.iter().flatten().enumerate() {
                put(280 + 4 * i, &value.to_le_bytes());
            }
        }
        put(344, &self.magic);
        bytes.extend(&self.voxels);
        bytes
    }

    fn volume(&self) -> Volume {
        volume_of(&self.bytes()).unwrap()
    }

    fn error(&self) -> DecodeError {
        volume_of(&self.bytes()).unwrap_err()
    }
}

fn volume_of(bytes: &[u8]) -> Result<Volume, DecodeError> {
    match decode_bytes(bytes, &Limits::default())? {
        Study::Volume(volume) => Ok(volume),
        Study::Image(frame) => panic!("{frame:?}"),
    }
}

fn hounsfield(frame: &Frame) -> &Plane<i16> {
    match &frame.pixels {
        Pixels::Hounsfield(plane) => plane,
        other => panic!("{other:?}"),
    }
}

fn slices(volume: &Volume) -> Vec<Vec<i16>> {
    (0..volume.slices()).map(|i| hounsfield(&volume.slice(i).unwrap()).data().to_vec()).collect()
}

/// Voxels in the order of a volume stored to the left, to the back and to the head.
const STORED: [i16; 12] = [-1000, -900, -800, -700, -600, -500, -400, -300, -200, -100, 0, 100];

#[test]
fn a_volume_stored_as_it_is_shown() {
    let volume = File::int16(&STORED).volume();
    assert_eq!(slices(&volume), [STORED[..6].to_vec(), STORED[6..].to_vec()]);
    assert_eq!(volume.slice_distance_mm(), Some(2.0));
    let frame = volume.slice(1).unwrap();
    assert_eq!((hounsfield(&frame).width(), hounsfield(&frame).height()), (2, 3));
    assert_eq!(frame.spacing_mm, Some([0.6, 0.5]));
    assert_eq!(frame.modality, Some(Modality::Ct));
    assert_eq!(frame.orientation, Default::default());
    assert!(volume.slice(2).is_none() && volume.slice(usize::MAX).is_none());
}

/// All 48 ways to store a volume along the patient's axes.
#[test]
fn every_orientation_ends_in_the_radiological_view() {
    let mut seen = 0;
    for axes in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for signs in 0..8 {
            // Stored axis i runs along the patient's axis axes[i] (left, back, head), or against it.
            let size = [2, 3, 2];
            let against = |axis: usize| signs >> axis & 1 == 1;
            let dimensions = axes.map(|axis| size[axis]);
            let mut voxels = Vec::new();
            for k in 0..dimensions[2] {
                for j in 0..dimensions[1] {
                    for i in 0..dimensions[0] {
                        let mut at = [0; 3];
                        for (axis, index) in axes.into_iter().zip([i, j, k]) {
                            at[axis] = if against(axis) { size[axis] - 1 - index } else { index };
                        }
                        voxels.push(STORED[at[0] + 2 * at[1] + 6 * at[2]]);
                    }
                }
            }
            let mut rows = [[0.0; 4]; 3];
            let mm = [0.5, 0.6, 2.0];
            for (stored, axis) in axes.into_iter().enumerate() {
                // NIfTI counts to the right, to the front and to the head.
                let sign = if (axis < 2) != against(axis) { -1.0 } else { 1.0 };
                rows[axis][stored] = sign * mm[axis];
            }
            let mut file = File::int16(&voxels);
            file.sform = Some(rows);
            file.dimensions = [3, dimensions[0] as i16, dimensions[1] as i16, dimensions[2] as i16, 1, 1, 1, 1];
            let volume = file.volume();
            assert_eq!(slices(&volume), [STORED[..6].to_vec(), STORED[6..].to_vec()], "{axes:?} {signs:03b}");
            assert_eq!(volume.slice(0).unwrap().spacing_mm, Some([0.6, 0.5]));
            assert_eq!(volume.slice_distance_mm(), Some(2.0));
            // The orientation told is the one that was applied.
            let frame = volume.slice(0).unwrap();
            let back = hounsfield(&frame).oriented(frame.orientation.inverse());
            assert_eq!(back.oriented(frame.orientation), *hounsfield(&frame));
            seen += 1;
        }
    }
    assert_eq!(seen, 48);
}

proptest! {
    /// What is drawn over a slice comes to lie on the very voxels that the slice was cut from, and the header is the file's.
    #[test]
    fn a_slice_put_back_is_what_was_stored(
        order in Just([0usize, 1, 2]).prop_shuffle(),
        against: [bool; 3],
        dimensions: [u8; 3],
        big_endian: bool,
        oblique in -0.2f32..0.2,
    ) {
        let dimensions = dimensions.map(|n| i16::from(n % 5) + 1);
        let count = dimensions.iter().map(|&n| n as usize).product::<usize>();
        // Every voxel another value, and one that makes them Hounsfield units.
        let values: Vec<i16> = (0..count as i16).map(|i| i - 1000).collect();
        let mut file = File::int16(&values);
        file.dimensions = [3, dimensions[0], dimensions[1], dimensions[2], 1, 1, 1, 1];
        let mut rows = [[0.0; 4]; 3];
        for (stored, &axis) in order.iter().enumerate() {
            rows[axis][stored] = if against[axis] { -1.5 } else { 1.5 };
            rows[(axis + 1) % 3][stored] = oblique;
        }
        file.sform = Some(rows);
        let bytes = if big_endian { swapped(&file.bytes()) } else { file.bytes() };
        let volume = volume_of(&bytes).unwrap();
        let header = NiftiHeader { bytes: bytes[..348].into(), big_endian };
        prop_assert_eq!(volume.source(), &VolumeSource::Nifti(header));
        prop_assert_eq!(volume.dimensions(), dimensions.map(|n| n as usize));
        let mut back = vec![i16::MIN; count];
        for index in 0..volume.slices() {
            let before = back.clone();
            let frame = volume.slice(index).unwrap();
            let picture = hounsfield(&frame);
            prop_assert!(volume.store(index, &picture.cropped(Rect::full(picture.width(), picture.height() - 1)), &mut back).is_err());
            prop_assert!(volume.store(index, picture, &mut back[1..]).is_err());
            prop_assert!(volume.store(volume.slices() + index, picture, &mut back).is_err());
            prop_assert_eq!(&back, &before);
            volume.store(index, picture, &mut back).unwrap();
            let changed = back.iter().zip(&before).filter(|(now, before)| now != before).count();
            prop_assert_eq!(changed, picture.data().len());
        }
        prop_assert_eq!(back, values);
    }
}

/// A file's header and 16-bit voxels with the bytes of every number the other way round.
fn swapped(bytes: &[u8]) -> Vec<u8> {
    let mut swapped = bytes.to_vec();
    let mut turn = |range: std::ops::Range<usize>, size: usize| {
        swapped[range].chunks_exact_mut(size).for_each(<[u8]>::reverse);
    };
    turn(0..4, 4);
    turn(32..36, 4);
    turn(36..38, 2);
    turn(40..56, 2);
    turn(56..68, 4);
    turn(68..76, 2);
    turn(76..120, 4);
    turn(120..122, 2);
    turn(124..148, 4);
    turn(252..256, 2);
    turn(256..328, 4);
    turn(352..bytes.len(), 2);
    swapped
}

#[test]
fn sform_then_qform_then_voxel_sizes() {
    let mut file = File::int16(&STORED);
    // The quaternion (0, 0, 1): half a turn about the body's axis, so that stored is shown.
    file.qform = Some([0.0, 0.0, 1.0]);
    file.sform = Some([[0.5, 0.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]]);
    let turned: Vec<Vec<i16>> = [&STORED[..6], &STORED[6..]].map(|s| s.iter().rev().copied().collect()).to_vec();
    assert_eq!(slices(&file.volume()), turned);
    file.sform = None;
    assert_eq!(slices(&file.volume()), [STORED[..6].to_vec(), STORED[6..].to_vec()]);
    // A negative pixdim[0] turns the third axis round.
    file.voxel_sizes[0] = -1.0;
    assert_eq!(slices(&file.volume()), [STORED[6..].to_vec(), STORED[..6].to_vec()]);
    // Voxel sizes alone: right to left, back to front (nibabel's base affine), feet to head.
    file.qform = None;
    let flipped = |s: &[i16]| s.chunks(2).rev().flatten().copied().collect::<Vec<_>>();
    assert_eq!(slices(&file.volume()), [flipped(&STORED[..6]), flipped(&STORED[6..])]);
    // An unusable sform is passed over.
    file.sform = Some([[0.0; 4], [0.0, f32::NAN, 0.0, 0.0], [0.0; 4]]);
    assert_eq!(slices(&file.volume()), [flipped(&STORED[..6]), flipped(&STORED[6..])]);
    // Sizes that are none are unknown.
    file.voxel_sizes = [1.0, 0.0, f32::NAN, f32::INFINITY, 0.0, 0.0, 0.0, 0.0];
    let volume = file.volume();
    assert_eq!((volume.slice_distance_mm(), volume.slice(0).unwrap().spacing_mm), (None, None));
}

#[test]
fn units_are_millimetres() {
    let mut file = File::int16(&STORED);
    file.units = 1;
    assert_eq!(file.volume().slice_distance_mm(), Some(2000.0));
    file.units = 3;
    assert_eq!(file.volume().slice_distance_mm(), Some(0.002));
}

#[test]
fn stored_values_are_scaled() {
    let mut file = File::int16(&STORED);
    file.scale = (0.5, 3.0);
    assert_eq!(slices(&file.volume())[0], [-497, -447, -397, -347, -297, -247]);
    for none in [(0.0, 3.0), (f32::NAN, 3.0), (2.0, f32::INFINITY)] {
        file.scale = none;
        assert_eq!(slices(&file.volume())[0], STORED[..6]);
    }
}

#[test]
fn what_the_values_mean() {
    let pixels = |file: &File| file.volume().slice(0).unwrap().pixels;
    let bytes = File::new(2, (0..12).collect());
    assert_eq!(pixels(&bytes), Pixels::Eight(Plane::new(2, 3, vec![0, 1, 2, 3, 4, 5]).unwrap()));
    assert_eq!(bytes.volume().slice(0).unwrap().modality, None);
    // A mask decodes; that it is none is for the quality check to say.
    let mask = File::int16(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(pixels(&mask), Pixels::Eight(Plane::new(2, 3, vec![0, 1, 0, 0, 0, 1]).unwrap()));
    let words = File::int16(&[0, 300, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(pixels(&words), Pixels::Sixteen(Plane::new(2, 3, vec![0, 300, 2, 3, 4, 5]).unwrap()));
    // Neither Hounsfield units nor whole positive numbers: the span is stretched.
    let mut fractions = File::int16(&[-3, -2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    fractions.scale = (0.25, 0.0);
    let stretched = vec![0, 10922, 43690, 65535, 32768, 32768];
    assert_eq!(pixels(&fractions), Pixels::Sixteen(Plane::new(2, 3, stretched).unwrap()));
}

#[test]
fn not_a_number_is_air() {
    let floats = [f32::NAN, -1000.0, f32::INFINITY, f32::NEG_INFINITY, 1.5, 40000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let file = File::new(16, floats.iter().flat_map(|value| value.to_le_bytes()).collect());
    assert_eq!(slices(&file.volume())[0], [-1024, -1000, 32767, -32768, 2, 32767]);
    let nothing = File::new(16, f32::NAN.to_le_bytes().repeat(12));
    assert!(matches!(nothing.error(), DecodeError::Damaged { .. }));
}

#[test]
fn what_is_not_read_is_refused() {
    use DecodeError as E;
    let change = |change: fn(&mut File)| {
        let mut file = File::int16(&STORED);
        change(&mut file);
        file.error()
    };
    assert!(matches!(change(|f| f.dimensions = [4, 2, 3, 1, 2, 1, 1, 1]), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.dimensions[2] = 0), E::Damaged { .. }));
    assert!(matches!(
        change(|f| f.dimensions[2] = -3),
        E::Truncated { .. } | E::TooMuchData { .. } | E::Dimensions { .. }
    ));
    assert!(matches!(change(|f| f.dimensions = [3, 20000, 20000, 1, 1, 1, 1, 1]), E::Dimensions { .. }));
    assert!(matches!(change(|f| f.dimensions = [3, 32767, 32767, 32767, 1, 1, 1, 1]), E::TooMuchData { .. }));
    assert!(matches!(change(|f| f.datatype = 128), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.datatype = 1536), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.datatype = 3), E::Damaged { .. }));
    assert!(matches!(change(|f| f.magic = *b"ni1\0"), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.first_voxel = 1e30), E::Damaged { .. }));
    assert!(matches!(change(|f| f.first_voxel = 1e6), E::Truncated { .. }));
    assert!(matches!(change(|f| f.voxels.truncate(23)), E::Truncated { .. }));
    let second = volume_of(include_bytes!("fixtures/encodings/version_2.nii.gz")).unwrap_err();
    assert!(second.to_string().contains("version 2"), "{second}");
    // A fourth dimension of one is none; a missing third is one slice; an extension is passed over.
    let mut file = File::int16(&STORED);
    file.dimensions = [4, 2, 3, 2, 1, 1, 1, 1];
    assert_eq!(file.volume().slices(), 2);
    file.dimensions = [2, 2, 3, 9, 9, 1, 1, 1];
    assert_eq!(file.volume().slices(), 1);
    file.dimensions = [3, 2, 3, 2, 1, 1, 1, 1];
    file.first_voxel = 368.0;
    file.voxels.splice(0..0, [0xee; 16]);
    assert_eq!(slices(&file.volume())[1], STORED[6..]);
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = File::int16(&STORED).bytes();
    let packed = gzip(&whole);
    assert!(volume_of(&packed).is_ok());
    for length in 0..whole.len() {
        assert!(decode_bytes(&whole[..length], &Limits::default()).is_err(), "cut to {length}");
    }
    for length in 0..packed.len() {
        assert!(decode_bytes(&packed[..length], &Limits::default()).is_err(), "packed, cut to {length}");
    }
    // Not every bit of a compressed file matters, but none may change a voxel.
    for at in 0..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 4;
        if let Ok(Study::Volume(volume)) = decode_bytes(&damaged, &Limits::default()) {
            assert_eq!(slices(&volume), [STORED[..6].to_vec(), STORED[6..].to_vec()], "byte {at} changed");
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn gzip_does_not_unpack_without_end() {
    // A header that asks for two slices, and a gigabyte of zeros behind it, in a megabyte.
    let limits = Limits { max_decoded_bytes: 1 << 20, ..Limits::default() };
    let mut file = File::int16(&STORED);
    file.voxels.resize(64 << 20, 0);
    assert!(decode_bytes(&gzip(&file.bytes()), &limits).is_ok());
    // A header that asks for all of it.
    file.dimensions = [3, 512, 512, 128, 1, 1, 1, 1];
    assert!(matches!(decode_bytes(&gzip(&file.bytes()), &limits), Err(DecodeError::TooMuchData { .. })));
}

/// The drawn volume of `references/decode_fixtures.py`.
#[test]
fn every_encoding_gives_the_drawn_volume() {
    for (name, bytes) in [
        ("i2", &include_bytes!("fixtures/encodings/volume_i2.nii.gz")[..]),
        ("big i2", include_bytes!("fixtures/encodings/volume_big_i2.nii.gz")),
        ("i4", include_bytes!("fixtures/encodings/volume_i4.nii.gz")),
        ("i8", include_bytes!("fixtures/encodings/volume_i8.nii.gz")),
        ("f4", include_bytes!("fixtures/encodings/volume_f4.nii.gz")),
        ("f8", include_bytes!("fixtures/encodings/volume_f8.nii.gz")),
        ("sagittal, by qform", include_bytes!("fixtures/encodings/volume_sagittal_qform.nii.gz")),
    ] {
        let volume = volume_of(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(volume.slices(), 3, "{name}");
        assert_eq!(volume.slice_distance_mm(), Some(4.0), "{name}");
        for z in 0..3 {
            let frame = volume.slice(z).unwrap();
            assert_eq!(frame.spacing_mm, Some([3.0, 2.0]), "{name}");
            // Stored from the right to the left and from the back to the front.
            let drawn = Plane::from_fn(5, 4, |x, y| (x + 10 * (3 - y) + 100 * z) as i16 - 1000);
            assert_eq!(hounsfield(&frame), &drawn, "{name}, slice {z}");
        }
    }
    let bytes = volume_of(include_bytes!("fixtures/encodings/volume_u1.nii")).unwrap();
    let drawn = Plane::from_fn(5, 4, |x, y| (4 - x + 10 * (3 - y)) as u8);
    assert_eq!(bytes.slice(0).unwrap().pixels, Pixels::Eight(drawn));
}

proptest::proptest! {
    #[test]
    fn any_header_is_an_error_or_a_volume(changes in proptest::collection::vec((0usize..376, proptest::num::u8::ANY), 1..12)) {
        let mut bytes = File::int16(&STORED).bytes();
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(Study::Volume(volume)) = decode_bytes(&bytes, &Limits::default()) {
            for index in 0..volume.slices() {
                assert!(volume.slice(index).is_some());
            }
        }
    }
}
