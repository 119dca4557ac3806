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
    verdict::ReferReason,
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
    (0..volume.slices()).map(|i| hounsfield(&volume.slice_on_grid(i).unwrap()).data().to_vec()).collect()
}

/// Voxels in the order of a volume stored to the left, to the back and to the head.
const STORED: [i16; 12] = [-1000, -900, -800, -700, -600, -500, -400, -300, -200, -100, 0, 100];

#[test]
fn a_volume_stored_as_it_is_shown() {
    let volume = File::int16(&STORED).volume();
    assert_eq!(slices(&volume), [STORED[..6].to_vec(), STORED[6..].to_vec()]);
    assert_eq!(volume.slice_distance_mm(), Some(2.0));
    let frame = volume.slice_on_grid(1).unwrap();
    assert_eq!((hounsfield(&frame).width(), hounsfield(&frame).height()), (2, 3));
    assert_eq!((frame.stored_size, frame.spacing_mm), ((2, 3), Some([0.6, 0.5])));
    assert_eq!((frame.sides_known, frame.refer), (true, None));
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
            assert_eq!(volume.slice_on_grid(0).unwrap().spacing_mm, Some([0.6, 0.5]));
            assert_eq!(volume.slice_distance_mm(), Some(2.0));
            // The orientation told is the one that was applied.
            let frame = volume.slice_on_grid(0).unwrap();
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
        let dimensions = dimensions.map(|n| i16::from(n % 5) + 2);
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
    let volume = file.volume();
    assert_eq!(slices(&volume), turned);
    let frame = volume.slice(0).unwrap();
    let unknown = (false, Some(ReferReason::OrientationUnknown));
    assert_eq!((frame.sides_known, frame.refer), unknown, "the two contradict each other");
    file.sform = None;
    assert!(file.volume().slice(0).unwrap().sides_known);
    assert_eq!(slices(&file.volume()), [STORED[..6].to_vec(), STORED[6..].to_vec()]);
    // A negative pixdim[0] turns the third axis round.
    file.voxel_sizes[0] = -1.0;
    assert_eq!(slices(&file.volume()), [STORED[6..].to_vec(), STORED[..6].to_vec()]);
    // Voxel sizes alone: right to left, back to front (nibabel's base affine), feet to head.
    file.qform = None;
    let flipped = |s: &[i16]| s.chunks(2).rev().flatten().copied().collect::<Vec<_>>();
    assert_eq!(slices(&file.volume()), [flipped(&STORED[..6]), flipped(&STORED[6..])]);
    let frame = file.volume().slice(0).unwrap();
    assert_eq!((frame.sides_known, frame.refer), unknown);
    // What programs write that know no affine.
    file.sform = Some([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    let frame = file.volume().slice(0).unwrap();
    assert_eq!((frame.sides_known, frame.refer), unknown);
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
    let pixels = |file: &File| file.volume().slice_on_grid(0).unwrap().pixels;
    let mut bytes = File::new(2, (0..12).flat_map(|_| 0..=255).collect());
    bytes.dimensions = [3, 16, 16, 12, 1, 1, 1, 1];
    assert_eq!(pixels(&bytes), Pixels::Eight(Plane::from_fn(16, 16, |x, y| (16 * y + x) as u8)));
    assert_eq!(bytes.volume().slice(0).unwrap().modality, None);
    // A mask decodes; that it is none is for the quality check to say.
    let mask = File::int16(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(pixels(&mask), Pixels::Eight(Plane::new(2, 3, vec![0, 1, 0, 0, 0, 1]).unwrap()));
    let words = File::int16(&[0, 300, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(pixels(&words), Pixels::Sixteen(Plane::new(2, 3, vec![0, 300, 2, 3, 4, 5]).unwrap()));
    // Neither Hounsfield units nor whole positive numbers.
    let mut fractions = File::int16(&[-3, -2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    fractions.scale = (0.25, 0.0);
    assert!(matches!(fractions.error(), DecodeError::NoHounsfield { .. }));
}

/// A round body with two lungs in air, with noise, and the padding around a round field of view.
fn chest(padding: i16) -> Vec<i16> {
    let mut noise = 1u32;
    let mut values = vec![];
    for _ in 0..6 {
        for y in 0..64i32 {
            for x in 0..64i32 {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (noise >> 27) as i16 - 16;
                let from = |cx: i32, cy: i32| (x - cx).pow(2) + (y - cy).pow(2);
                values.push(match () {
                    () if from(32, 32) > 33 * 33 => padding,
                    () if from(32, 32) > 26 * 26 => -1000 + noise,
                    () if from(20, 32) < 9 * 9 || from(44, 32) < 9 * 9 => -850 + 4 * noise,
                    () if from(32, 52) < 9 => 700 + noise,
                    () if from(32, 32) > 23 * 23 => -100 + noise,
                    () => 50 + noise,
                });
            }
        }
    }
    values
}

#[test]
fn hounsfield_units_stored_with_an_offset_are_put_right() {
    let file = |datatype: i16, voxels: Vec<u8>| {
        let mut file = File::new(datatype, voxels);
        file.dimensions = [3, 64, 64, 6, 1, 1, 1, 1];
        file
    };
    let words = |values: &[i16], of: &dyn Fn(i32) -> i32| -> Vec<u8> {
        values.iter().flat_map(|&value| (of(value.into()) as u16).to_le_bytes()).collect()
    };
    for padding in [-1024, -2048, -3024] {
        let units = chest(padding);
        let told = slices(&file(4, words(&units, &|value| value)).volume());
        assert!(told.concat() == units, "plain");
        let clamped: Vec<i16> = units.iter().map(|&value| value.max(-1024)).collect();
        for offset in [1024, 8192, 32768] {
            let told = slices(&file(512, words(&clamped, &|value| value + offset)).volume());
            assert!(told.concat() == clamped, "{padding}: + {offset}, unsigned");
        }
        // Clipped at air, and air made 0.
        let clamped: Vec<i16> = units.iter().map(|&value| value.max(-1000)).collect();
        let told = slices(&file(512, words(&clamped, &|value| value + 1000)).volume());
        assert!(told.concat() == clamped, "{padding}: + 1000");
        // Stored without a sign, as the machine does it.
        let told = slices(&file(512, words(&units, &|value| value)).volume());
        assert!(told.concat() == units, "{padding}: wrapped");
        let told = slices(&file(512, words(&units, &|value| value + 1024)).volume());
        assert!(told.concat() == units, "{padding}: + 1024, wrapped");
        // Rescaled twice.
        let mut twice = file(4, words(&units, &|value| value));
        twice.scale = (1.0, -1024.0);
        assert!(slices(&twice.volume()).concat() == units, "{padding}: twice");
    }
    // The same numbers, where they cannot be known: scaled to half, or spread over 12 bits.
    let units = chest(-1024);
    for (name, of) in [
        ("half", (&|value| (value + 1024) / 2) as &dyn Fn(i32) -> i32),
        ("spread", &|value| (value + 1024) * 2),
        ("soft tissue", &|value| value.clamp(-160, 240) + 160),
        ("negative film", &|value| 1000 - value.min(1000)),
    ] {
        let error = file(512, words(&units, of)).error();
        assert!(matches!(error, DecodeError::NoHounsfield { .. }), "{name}: {error:?}");
    }
}

#[test]
fn a_film_is_no_volume() {
    let picture: Vec<u8> = (0..64 * 64).map(|i| (i % 251) as u8).collect();
    for (name, dimensions, datatype, voxels) in [
        ("a film", [2, 64, 64, 1, 1, 1, 1, 1], 2, picture.clone()),
        ("with a third axis", [3, 64, 64, 1, 1, 1, 1, 1], 2, picture.clone()),
        ("along another axis", [3, 1, 64, 64, 1, 1, 1, 1], 2, picture.clone()),
        ("in colours", [3, 64, 64, 3, 1, 1, 1, 1], 2, picture.repeat(3)),
        ("of sixteen bits", [3, 64, 64, 1, 1, 1, 1, 1], 512, picture.iter().flat_map(|&v| [v, v]).collect()),
    ] {
        let mut file = File::new(datatype, voxels);
        file.dimensions = dimensions;
        let error = file.error();
        assert!(error.to_string().contains("a picture instead of a CT volume"), "{name}: {error}");
    }
    // One slice in Hounsfield units is a slice, unless it is not axial.
    let values: Vec<i16> = (0..64 * 64).map(|i| i % 1500 - 1000).collect();
    let mut file = File::int16(&values);
    file.dimensions = [3, 64, 64, 1, 1, 1, 1, 1];
    assert_eq!(file.volume().slices(), 1);
    file.dimensions = [3, 64, 1, 64, 1, 1, 1, 1];
    assert!(matches!(file.error(), DecodeError::NotAxial { .. }));
}

#[test]
fn voxels_that_are_not_square_become_square_and_masks_go_back() {
    let values: Vec<i16> = (0..4 * 6 * 2).map(|i| 10 * i - 1000).collect();
    let mut file = File::int16(&values);
    file.dimensions = [3, 4, 6, 2, 1, 1, 1, 1];
    // 0.5 mm across, 1.0 mm down, and stored head first.
    file.sform = Some([[-0.5, 0.0, 0.0, 9.0], [0.0, -1.0, 0.0, 9.0], [0.0, 0.0, -2.0, 9.0]]);
    let volume = file.volume();
    let frame = volume.slice(0).unwrap();
    let picture = hounsfield(&frame);
    assert_eq!((picture.width(), picture.height(), frame.stored_size), (4, 12, (4, 6)));
    assert_eq!(frame.spacing_mm, Some([0.5, 0.5]));
    assert_eq!([0, 1].map(|index| volume.stored_index(index)), [1, 0]);
    // Halfway between two rows of the second stored slice.
    assert_eq!(picture.get(0, 0), values[24]);
    assert_eq!(picture.get(1, 2), values[25] + 30);
    let mut mask = vec![0u8; 48];
    // A column and a row of the picture.
    let drawn = Plane::from_fn(4, 12, |x, y| u8::from(x == 2) + 2 * u8::from(y == 5));
    volume.store(0, &drawn, &mut mask).unwrap();
    let expected: Vec<u8> =
        (0..48).map(|i| if i < 24 { 0 } else { u8::from(i % 4 == 2) + 2 * u8::from(i / 4 == 8) }).collect();
    assert_eq!(mask, expected);
    assert!(volume.store(0, &drawn.cropped(Rect::full(4, 6)), &mut mask).is_err(), "of the stored size");
    let on_grid = volume.slice_on_grid(0).unwrap();
    assert_eq!(hounsfield(&on_grid).data(), &values[24..]);
}

#[test]
fn slices_make_a_volume() {
    let slice = |z: i16| Plane::from_fn(2, 3, move |x, y| 100 * z + 10 * y as i16 + x as i16);
    // As DICOM stores them: rows to the left, columns to the back, here from the head to the feet.
    let affine = [[-0.5, 0.0, 0.0, 1.0], [0.0, -0.5, 0.0, 2.0], [0.0, 0.0, -5.0, 3.0]];
    let volume = Volume::from_slices(3, affine, (0..3).map(|z| Ok(slice(z)))).unwrap();
    assert_eq!((volume.slices(), volume.dimensions(), volume.slice_distance_mm()), (3, [2, 3, 3], Some(5.0)));
    for index in 0..3 {
        assert_eq!(volume.stored_index(index), 2 - index);
        let frame = volume.slice(index).unwrap();
        assert_eq!(hounsfield(&frame), &slice(2 - index as i16));
        assert_eq!((frame.modality, frame.spacing_mm, frame.sides_known), (Some(Modality::Ct), Some([0.5; 2]), true));
    }
    assert_eq!(volume.source(), &VolumeSource::Series { affine });
    let frame = volume.without_sides().referred(ReferReason::OrientationUnknown).slice(0).unwrap();
    assert_eq!((frame.sides_known, frame.refer), (false, Some(ReferReason::OrientationUnknown)));

    let refused = |count, affine, slices: Vec<Result<Plane<i16>, DecodeError>>| {
        Volume::from_slices(count, affine, slices).unwrap_err().to_string()
    };
    let sagittal = [[0.0, 0.0, 5.0, 0.0], [0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]];
    assert!(refused(1, sagittal, vec![Ok(slice(0))]).contains("no axial orientation"));
    assert!(refused(1, [[0.0; 4]; 3], vec![Ok(slice(0))]).contains("no axial orientation"));
    assert!(refused(2, affine, vec![Ok(slice(0))]).contains("missing slices"));
    assert!(refused(0, affine, vec![]).contains("missing slices"));
    assert!(refused(2, affine, vec![Ok(slice(0)), Ok(Plane::filled(3, 2, 0))]).contains("two sizes"));
    assert!(refused(2, affine, vec![Ok(slice(0)), Err(DecodeError::Empty)]).contains("empty"));
}

/// The same volume under a header of version 2 (`nifti2.h`), in either byte order.
#[test]
fn version_2_says_the_same() {
    let mut first = File::int16(&STORED);
    first.scale = (2.0, 3.0);
    for big_endian in [false, true] {
        let mut bytes = vec![0u8; 544];
        let mut put = |at: usize, number: &[u8]| {
            let mut number = number.to_vec();
            if big_endian {
                number.reverse();
            }
            bytes[at..at + number.len()].copy_from_slice(&number);
        };
        put(0, &540i32.to_le_bytes());
        put(12, &4i16.to_le_bytes());
        for (i, n) in first.dimensions.iter().enumerate() {
            put(16 + 8 * i, &i64::from(*n).to_le_bytes());
        }
        for (i, size) in first.voxel_sizes.iter().enumerate() {
            put(104 + 8 * i, &f64::from(*size).to_le_bytes());
        }
        put(168, &544i64.to_le_bytes());
        put(176, &2f64.to_le_bytes());
        put(184, &3f64.to_le_bytes());
        put(348, &1i32.to_le_bytes());
        for (i, value) in first.sform.unwrap().iter().flatten().enumerate() {
            put(400 + 8 * i, &f64::from(*value).to_le_bytes());
        }
        put(500, &2i32.to_le_bytes());
        bytes[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
        let header = NiftiHeader { bytes: bytes[..540].into(), big_endian };
        bytes
            .extend(STORED.iter().flat_map(|value| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }));
        for bytes in [bytes.clone(), gzip(&bytes)] {
            let volume = volume_of(&bytes).unwrap();
            assert_eq!(slices(&volume), slices(&first.volume()));
            assert_eq!(volume.slice_on_grid(0), first.volume().slice_on_grid(0));
            assert_eq!(volume.source(), &VolumeSource::Nifti(header.clone()));
        }
        for length in 0..bytes.len() {
            assert!(decode_bytes(&bytes[..length], &Limits::default()).is_err(), "cut to {length}");
        }
        bytes[4..8].copy_from_slice(b"ni2\0");
        assert!(matches!(volume_of(&bytes), Err(DecodeError::Unsupported { .. })));
    }
    // By nibabel.
    let volume = volume_of(include_bytes!("fixtures/encodings/version_2.nii.gz")).unwrap();
    let drawn = Plane::from_fn(5, 4, |x, y| (4 - x + 10 * (3 - y)) as i16 - 1000);
    assert_eq!(hounsfield(&volume.slice(0).unwrap()), &drawn);
}

#[test]
fn what_follows_the_gzip_member_is_passed_over() {
    let packed = gzip(&File::int16(&STORED).bytes());
    for rest in [&[0; 512][..], b"garbage!", b"xxx", b"\x1f", b"\x1f\x8c"] {
        assert_eq!(slices(&volume_of(&[&packed, rest].concat()).unwrap())[1], STORED[6..], "{rest:?}");
    }
    // Two members, as bgzip and pigz write them.
    let whole = File::int16(&STORED).bytes();
    let two = [gzip(&whole[..360]), gzip(&whole[360..])].concat();
    assert_eq!(slices(&volume_of(&two).unwrap())[1], STORED[6..]);
    assert!(matches!(volume_of(&two[..gzip(&whole[..360]).len() + 5]), Err(DecodeError::Truncated { .. })));
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
    assert!(matches!(change(|f| f.dimensions[2] = -3), E::Damaged { .. }));
    assert!(matches!(change(|f| f.dimensions = [3, 20000, 20000, 1, 1, 1, 1, 1]), E::Dimensions { .. }));
    assert!(matches!(change(|f| f.dimensions = [3, 32767, 32767, 32767, 1, 1, 1, 1]), E::TooMuchData { .. }));
    assert!(matches!(change(|f| f.datatype = 128), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.datatype = 1536), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.datatype = 3), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.magic = *b"ni1\0"), E::Unsupported { .. }));
    assert!(matches!(change(|f| f.first_voxel = 1e30), E::Damaged { .. }));
    assert!(matches!(change(|f| f.first_voxel = 1e6), E::Truncated { .. }));
    assert!(matches!(change(|f| f.voxels.truncate(23)), E::Truncated { .. }));
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
            let frame = volume.slice_on_grid(z).unwrap();
            assert_eq!(frame.spacing_mm, Some([3.0, 2.0]), "{name}");
            // Stored from the right to the left and from the back to the front.
            let drawn = Plane::from_fn(5, 4, |x, y| (x + 10 * (3 - y) + 100 * z) as i16 - 1000);
            assert_eq!(hounsfield(&frame), &drawn, "{name}, slice {z}");
        }
    }
    let few = volume_of(include_bytes!("fixtures/encodings/volume_u1.nii")).unwrap_err();
    assert!(matches!(few, DecodeError::Unsupported { .. }), "three slices of eight bits may be a picture in colours");
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
