//! No step turns left into right: exact nets on lopsided phantoms, from every format and every way of storing it.
//!
//! The nets are real graphs of one 3x3 convolution and a sigmoid. Their first mask is what is bright. Their second is the same
//! moved one pixel to the patient's left and one to the back, so that a net which saw the picture mirrored, and a mask which was
//! mirrored back, would not cancel out. What every mask must be, voxel by voxel, is said here from the phantom, and not by the
//! code that is tested.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{io::Read, path::Path};

use candle_core::{Device, Tensor};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use thorax_decode::{Limits, Study, Volume, decode_bytes};
use thorax_nn::{
    convolution::ConvolutionConfig,
    graph::{Graph, Operation},
};
use thorax_phantom::{Format, ModalityChoice, Phantom, PhantomArgs, generate_files};
use thorax_shared::{
    modality::Modality,
    plane::Plane,
    preprocess::{
        PreprocessSpec,
        spec::{Core, Equalisation, Normalise, Window},
    },
};

use super::{
    Segmenter, nifti,
    predict::{draw_volume, predict_file as predict},
};

pub(crate) const SIDE: usize = 64;
/// What is brighter than this, of 255, is in the masks.
pub(crate) const BRIGHT: f32 = 200.5;
/// Hounsfield units of lesions and the most of anything else: far from the threshold, which is -170 HU in the lung window.
const LESION: i16 = 200;
const HIGHEST: i16 = -400;

/// A net whose mask `c` is what lies `shifts[c]` (right, down) of what is brighter than `thresholds[c]`.
pub(crate) fn net(names: &[&str], masks: &[(f32, [i32; 2])], modality: Modality) -> Segmenter {
    let steepness = 500.0;
    let mut weight = vec![0f32; masks.len() * 9];
    for (mask, (_, [right, down])) in masks.iter().enumerate() {
        weight[mask * 9 + (3 * (1 - down) + 1 - right) as usize] = steepness;
    }
    let bias: Vec<f32> = masks.iter().map(|(threshold, _)| -steepness * threshold / 255.0).collect();
    let weight = Tensor::from_vec(weight, (masks.len(), 1, 3, 3), &Device::Cpu).unwrap();
    let bias = Tensor::from_vec(bias, masks.len(), &Device::Cpu).unwrap();
    let mut graph = Graph::new([1, SIDE, SIDE]);
    let logits = graph.convolution(0, weight, bias, ConvolutionConfig::dense(3));
    let probabilities = graph.push(Operation::Sigmoid, &[logits]);
    graph.output("logits", logits);
    graph.output("masks", probabilities);
    let spec = PreprocessSpec {
        window: Window::Hounsfield { center: -600.0, width: 1500.0 },
        working_side: SIDE as u32,
        clahe: Equalisation::Never,
        core: Core::Whole,
        input_side: SIDE as u32,
        normalise: Normalise { mean: vec![0.0], std: vec![1.0] },
    };
    Segmenter::new(graph, spec, modality, names).unwrap()
}

/// What is bright, and what is bright moved to the patient's left and to the back.
fn sided_net(modality: Modality) -> Segmenter {
    net(&["infection", "moved"], &[(BRIGHT, [0, 0]), (BRIGHT, [1, 1])], modality)
}

/// Both masks that [`sided_net`] must give of an upright slice whose lesions are `bright`.
fn expected(bright: &Plane<bool>) -> [Plane<bool>; 2] {
    let moved = Plane::from_fn(SIDE, SIDE, |x, y| x > 0 && y > 0 && bright.get(x - 1, y - 1));
    [bright.clone(), moved]
}

/// A phantom's slices with bright lesions and nothing else that is bright, and where the lesions are.
fn slices() -> Vec<(Plane<i16>, Plane<bool>)> {
    let slices = Phantom::generate_volume(11, SIDE, true).into_iter().skip(3).take(3);
    let slices: Vec<_> = slices
        .map(|phantom| {
            let hounsfield = phantom.hounsfield.unwrap();
            let value = |x, y| {
                let plain = (hounsfield.get(x, y).round() as i16).min(HIGHEST);
                if phantom.infection.get(x, y) { LESION } else { plain }
            };
            (Plane::from_fn(SIDE, SIDE, value), phantom.infection)
        })
        .collect();
    // Mirrored, upside down or in another order they would be others.
    let bright = &slices[1].1;
    let other = |f: fn(usize, usize) -> (usize, usize)| {
        Plane::from_fn(SIDE, SIDE, |x, y| {
            let (x, y) = f(x, y);
            bright.get(x, y)
        })
    };
    assert!(bright.data().iter().filter(|&&lesion| lesion).count() > 20);
    for turned in [other(|x, y| (SIDE - 1 - x, y)), other(|x, y| (x, SIDE - 1 - y)), other(|x, y| (y, x))] {
        let both = bright.data().iter().zip(turned.data()).filter(|(a, b)| **a && **b).count();
        let one = bright.data().iter().filter(|&&lesion| lesion).count();
        assert!(4 * both < 3 * one, "{both} of {one}");
    }
    assert_ne!(slices[0].1, slices[2].1);
    slices
}

/// A way to store a volume: which of the patient's axes (left, back, head) each stored one runs along, and which of the
/// patient's axes it runs against.
#[derive(Clone, Copy, Debug)]
struct Storage {
    axes: [usize; 3],
    against: [bool; 3],
}

impl Storage {
    fn all() -> impl Iterator<Item = Self> {
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].into_iter().flat_map(|axes| {
            (0..8).map(move |bits| Self { axes, against: [0, 1, 2].map(|axis| bits >> axis & 1 == 1) })
        })
    }

    fn dimensions(self, slices: usize) -> [usize; 3] {
        self.axes.map(|axis| [SIDE, SIDE, slices][axis])
    }

    /// `value(left, back, head)` in the stored order.
    fn stored<T>(self, slices: usize, value: impl Fn(usize, usize, usize) -> T) -> Vec<T> {
        let size = [SIDE, SIDE, slices];
        let dimensions = self.dimensions(slices);
        let mut stored = vec![];
        for k in 0..dimensions[2] {
            for j in 0..dimensions[1] {
                for i in 0..dimensions[0] {
                    let mut at = [0; 3];
                    for (axis, index) in self.axes.into_iter().zip([i, j, k]) {
                        at[axis] = if self.against[axis] { size[axis] - 1 - index } else { index };
                    }
                    stored.push(value(at[0], at[1], at[2]));
                }
            }
        }
        stored
    }

    /// A NIfTI-1 file of Hounsfield units stored so, of voxels of 0.8 x 0.8 x 5 mm (left, back, head).
    fn file(self, slices: &[(Plane<i16>, Plane<bool>)]) -> Vec<u8> {
        let mut bytes = vec![0u8; 352];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &348i32.to_le_bytes());
        let [i, j, k] = self.dimensions(slices.len()).map(|n| n as i16);
        for (at, n) in [3, i, j, k, 1, 1, 1, 1].into_iter().enumerate() {
            put(40 + 2 * at, &n.to_le_bytes());
        }
        put(70, &4i16.to_le_bytes());
        put(72, &16i16.to_le_bytes());
        let mm = [0.8f32, 0.8, 5.0];
        for (at, size) in [1.0].into_iter().chain(self.axes.map(|axis| mm[axis])).enumerate() {
            put(76 + 4 * at, &size.to_le_bytes());
        }
        put(108, &352f32.to_le_bytes());
        put(112, &1f32.to_le_bytes());
        put(123, &[2]);
        put(254, &1i16.to_le_bytes());
        for (stored, axis) in self.axes.into_iter().enumerate() {
            // NIfTI counts to the right, to the front and to the head.
            let sign = if (axis < 2) != self.against[axis] { -1.0 } else { 1.0 };
            put(280 + 16 * axis + 4 * stored, &(sign * mm[axis]).to_le_bytes());
        }
        (0..3).for_each(|row| put(280 + 16 * row + 12, &(10.0 * row as f32 - 7.5).to_le_bytes()));
        put(148, b"a scan");
        put(344, b"n+1\0");
        let voxels = self.stored(slices.len(), |x, y, z| slices[z].0.get(x, y));
        bytes.extend(voxels.into_iter().flat_map(i16::to_le_bytes));
        bytes
    }
}

fn volume(bytes: &[u8]) -> Volume {
    match decode_bytes(bytes, &Limits::default()).unwrap() {
        Study::Volume(volume) => volume,
        Study::Image(_) => panic!("an image"),
    }
}

/// A file's bytes without gzip.
fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn anywhere(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// All 48 ways to store a volume (LPS, RAS, LAS, head first, sagittal, ...) through the files that the command writes.
#[test]
fn masks_of_a_volume_lie_on_its_voxels_however_it_is_stored() {
    let segmenter = sided_net(Modality::Ct);
    let slices = slices();
    let folder = tempfile::tempdir().unwrap();
    let truth: Vec<[Plane<bool>; 2]> = slices.iter().map(|(_, bright)| expected(bright)).collect();
    for (number, storage) in Storage::all().enumerate() {
        let scan = storage.file(&slices);
        let path = folder.path().join(format!("scan{number}.nii"));
        std::fs::write(&path, &scan).unwrap();
        let said = predict(&segmenter, &path, false, folder.path(), anywhere).unwrap();
        let lesion = slices.iter().flat_map(|(_, bright)| bright.data()).filter(|&&bright| bright).count();
        let millilitres = lesion as f64 * 0.8 * 0.8 * 5.0 / 1000.0;
        assert!(said.contains(&format!("infection {millilitres:.1} ml")), "{said}, {millilitres}");
        for (position, name) in segmenter.names().iter().enumerate() {
            let mask = unpacked(&folder.path().join(format!("scan{number}_{name}.nii.gz")));
            let voxels = storage.stored(3, |x, y, z| u8::from(truth[z][position].get(x, y)));
            assert!(mask[352..] == voxels, "{name} {storage:?}");
            // dim; pixdim; units; qform_code to srow_z.
            for same in [0..4, 40..56, 76..108, 123..124, 252..328] {
                assert_eq!(mask[same.clone()], scan[same.clone()], "{same:?}");
            }
            assert_eq!(mask[70..74], [2, 0, 8, 0]);
        }
        let shown = image::open(folder.path().join(format!("scan{number}_overlay.png"))).unwrap().into_rgb8();
        assert_eq!(shown.dimensions(), (SIDE as u32, SIDE as u32));
        // The slice with most lesion, with the colour of the infection where it is.
        let most = (0..3).max_by_key(|&z| truth[z][0].data().iter().filter(|&&lesion| lesion).count()).unwrap();
        for (pixel, (x, y)) in shown.pixels().zip((0..SIDE * SIDE).map(|i| (i % SIDE, i / SIDE))) {
            let coloured = pixel.0[0] != pixel.0[1] && pixel.0[0] > pixel.0[2];
            let moved = truth[most][1].get(x, y);
            assert!(moved || coloured == truth[most][0].get(x, y), "{storage:?} {x} {y} {pixel:?}");
        }
    }
}

#[test]
fn a_mask_s_header_is_the_scan_s_in_its_byte_order() {
    let storage = Storage { axes: [1, 0, 2], against: [true, false, true] };
    let little = storage.file(&slices());
    let header = nifti::mask_header(&volume(&little), "infection");
    let changed: Vec<usize> = (0..348).filter(|&at| header[at] != little[at]).collect();
    let may_change = [56..74, 108..120, 124..132, 140..252, 328..344];
    assert!(changed.iter().all(|at| may_change.iter().any(|range| range.contains(at))), "{changed:?}");
    assert_eq!(header[348..], [0; 4]);
    assert!(header[148..228].starts_with(b"Thorax, predicted mask; research use only") && header[227] == 0);
    assert_eq!(&header[328..344], b"infection\0\0\0\0\0\0\0");

    let mut big = little.clone();
    for (range, size) in
        [(0..4, 4), (40..56, 2), (70..76, 2), (76..120, 4), (252..256, 2), (256..328, 4), (352..little.len(), 2)]
    {
        big[range].chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    let scan = volume(&big);
    let header = nifti::mask_header(&scan, "a name that is too long");
    assert_eq!((&header[40..56], &header[252..328]), (&big[40..56], &big[252..328]));
    assert_eq!((&header[70..74], &header[108..112]), (&[0, 2, 0, 8][..], &352f32.to_be_bytes()[..]));
    assert_eq!(&header[328..344], b"a name that is \0");
    // The reader, which is not ours in this, reads the mask as eight-bit numbers of the same size and direction.
    let voxels: Vec<u8> = (0..SIDE * SIDE * 3).map(|i| (i % 2) as u8).collect();
    let mask = volume(&[&header[..], &voxels].concat());
    assert_eq!((mask.dimensions(), mask.voxel_mm()), (scan.dimensions(), scan.voxel_mm()));
    assert_eq!(mask.slice(0).unwrap().orientation, scan.slice(0).unwrap().orientation);
}

#[test]
fn masks_of_version_2_and_of_a_series_lie_where_their_scans_do() {
    let affine = [[-0.7, 0.0, 0.0, 5.0], [0.0, 0.8, 0.0, 6.0], [0.0, 0.0, -5.0, 7.0]];
    let stored: Vec<Plane<i16>> = slices().into_iter().map(|(slice, _)| slice).collect();
    let mut version_2 = vec![0u8; 544];
    let mut put = |at: usize, bytes: &[u8]| version_2[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &540i32.to_le_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &4i16.to_le_bytes());
    for (at, n) in [3, SIDE as i64, SIDE as i64, 3, 1, 1, 1, 1].into_iter().enumerate() {
        put(16 + 8 * at, &n.to_le_bytes());
    }
    put(168, &544i64.to_le_bytes());
    put(348, &1i32.to_le_bytes());
    for (at, value) in affine.into_iter().flatten().enumerate() {
        put(400 + 8 * at, &f64::to_le_bytes(value));
    }
    version_2.extend(stored.iter().flat_map(|slice| slice.data()).flat_map(|value| value.to_le_bytes()));
    let series = Volume::from_slices(3, affine, stored.into_iter().map(Ok)).unwrap();
    let voxels: Vec<u8> = (0..SIDE * SIDE * 3).map(|i| (i % 2) as u8).collect();
    for (scan, length) in [(volume(&version_2), 544), (series, 352)] {
        let header = nifti::mask_header(&scan, "left_lung");
        assert_eq!(header.len(), length);
        let mask = volume(&[&header[..], &voxels].concat());
        assert_eq!((mask.dimensions(), mask.voxel_mm()), (scan.dimensions(), scan.voxel_mm()));
        let (mask, scan) = (mask.slice_on_grid(0).unwrap(), scan.slice_on_grid(0).unwrap());
        assert_eq!((mask.orientation, mask.sides_known), (scan.orientation, scan.sides_known));
        assert_eq!(mask.spacing_mm, scan.spacing_mm);
    }
}

/// How the rows and columns of a square picture may be stored.
fn turned<T: Copy>(upright: &Plane<T>, [transpose, mirror, upside_down]: [bool; 3]) -> Plane<T> {
    Plane::from_fn(SIDE, SIDE, |x, y| {
        let x = if mirror { SIDE - 1 - x } else { x };
        let y = if upside_down { SIDE - 1 - y } else { y };
        if transpose { upright.get(y, x) } else { upright.get(x, y) }
    })
}

fn turns() -> impl Iterator<Item = [bool; 3]> {
    (0..8).map(|n| [n & 1 > 0, n & 2 > 0, n & 4 > 0])
}

/// The phantom slice `dicom` with other values, stored turned, and Image Orientation (Patient) saying so.
fn turned_dicom(dicom: &Path, slice: &Plane<i16>, turn: [bool; 3], out: &Path) {
    let mut object = dicom_object::open_file(dicom).unwrap();
    let [transpose, mirror, upside_down] = turn;
    let (columns, rows) = if transpose { ([0, 1], [1, 0]) } else { ([1, 0], [0, 1]) };
    let sign = |direction: [i32; 2], back: bool| direction.map(|part| if back { -part } else { part });
    let ([a, b], [c, d]) = (sign(columns, mirror), sign(rows, upside_down));
    object.put(DataElement::new(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, format!("{a}\\{b}\\0\\{c}\\{d}\\0")));
    let values: Vec<u16> = turned(slice, turn).data().iter().map(|hu| (hu.max(&-1024) + 1024) as u16).collect();
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.into())));
    object.write_to_file(out).unwrap();
}

/// The masks that the command writes for `path`, whose rows and columns are `turn`ed.
fn assert_masks(segmenter: &Segmenter, path: &Path, bright: &Plane<bool>, turn: [bool; 3]) {
    let folder = tempfile::tempdir().unwrap();
    predict(segmenter, path, false, folder.path(), anywhere).unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    for (name, truth) in segmenter.names().iter().zip(expected(bright)) {
        let mask = image::open(folder.path().join(format!("{stem}_{name}.png"))).unwrap();
        assert_eq!(mask.color(), image::ColorType::L8);
        let truth = turned(&truth, turn).map(|lesion| if lesion { 255 } else { 0 });
        assert!(mask.into_luma8().as_raw() == truth.data(), "{} {name} {turn:?}", path.display());
    }
    let overlay = image::open(folder.path().join(format!("{stem}_overlay.png"))).unwrap();
    assert_eq!((overlay.width(), overlay.height()), (SIDE as u32, SIDE as u32));
}

#[test]
fn masks_of_dicom_and_png_lie_on_the_stored_rows_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (slice, bright) = slices().swap_remove(1);
    let made = generate_files(&PhantomArgs {
        out: folder.path().to_owned(),
        count: 1,
        seed: 1,
        modality: ModalityChoice::Ct,
        size: Some(SIDE as u16),
        formats: vec![Format::Dicom],
    })
    .unwrap();
    let plain = folder.path().join(&made[0].file);
    let ct = sided_net(Modality::Ct);
    for (number, turn) in turns().enumerate() {
        let path = folder.path().join(format!("turn{number}.dcm"));
        turned_dicom(&plain, &slice, turn, &path);
        assert_masks(&ct, &path, &bright, turn);
    }
    let upright = [false; 3];
    let path = folder.path().join("slice.png");
    // One grey all around would be a frame.
    let texture = |x: usize, y: usize| 60 + ((x * 37 + y * 91) % 60) as u8;
    grey_png(&path, &Plane::from_fn(SIDE, SIDE, |x, y| if bright.get(x, y) { 230 } else { texture(x, y) }));
    assert_masks(&ct, &path, &bright, upright);
    assert_masks(&sided_net(Modality::Xray), &path, &bright, upright);
    let error = predict(&sided_net(Modality::Xray), &plain, false, folder.path(), anywhere).unwrap_err().to_string();
    assert!(error.contains("the picture is ct") && error.contains("xray"), "{error}");
}

pub(crate) fn grey_png(path: &Path, plane: &Plane<u8>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::GrayImage::from_raw(plane.width() as u32, plane.height() as u32, plane.data().to_vec())
        .unwrap()
        .save(path)
        .unwrap();
}

#[test]
fn a_taken_name_keeps_anything_from_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slice.png");
    grey_png(&path, &Plane::filled(SIDE, SIDE, 90));
    let taken = |path: &Path| {
        anyhow::ensure!(!path.ends_with("slice_moved.png"), "{} is there", path.display());
        Ok(())
    };
    assert!(predict(&sided_net(Modality::Ct), &path, false, folder.path(), taken).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_net_that_draws_other_masks_is_refused() {
    let segmenter = net(&["infection", "lung"], &[(BRIGHT, [0, 0])], Modality::Ct);
    let scan = Storage { axes: [0, 1, 2], against: [false; 3] }.file(&slices());
    let error = format!("{:#}", draw_volume(&segmenter, &volume(&scan), false).unwrap_err());
    assert!(error.contains("draws 1 masks, not 2 (infection, lung)"), "{error}");
    let mut graph = Graph::new([1, SIDE, SIDE]);
    graph.output("logits", 0);
    let recipe = segmenter.preprocess().clone();
    let error = Segmenter::new(graph, recipe, Modality::Ct, &["infection"]).err().unwrap().to_string();
    assert!(error.contains("no output masks"), "{error}");
}
