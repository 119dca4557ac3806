//! DICOM files of every shape, written here byte by byte (PS3.5, section 7), and those in `fixtures/encodings`, written
//! by pydicom and DCMTK (`references/decode_fixtures.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::collections::BTreeMap;

use thorax_decode::{DecodeError, Frame, Limits, Study, decode_bytes};
use thorax_shared::{
    modality::Modality,
    plane::{Orientation, Plane},
    preprocess::{
        Pixels,
        resize::{resize_i16, resize_u8},
    },
    verdict::ReferReason,
};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
const RLE: &str = "1.2.840.10008.1.2.5";

const MODALITY: u32 = 0x0008_0060;
const VIEW_POSITION: u32 = 0x0018_5101;
const PATIENT_ORIENTATION: u32 = 0x0020_0020;
const IMAGE_ORIENTATION: u32 = 0x0020_0037;
const SAMPLES_PER_PIXEL: u32 = 0x0028_0002;
const PHOTOMETRIC: u32 = 0x0028_0004;
const PLANAR: u32 = 0x0028_0006;
const FRAMES: u32 = 0x0028_0008;
const ROWS: u32 = 0x0028_0010;
const COLUMNS: u32 = 0x0028_0011;
const PIXEL_SPACING: u32 = 0x0028_0030;
const IMAGER_SPACING: u32 = 0x0018_1164;
const BITS_ALLOCATED: u32 = 0x0028_0100;
const BITS_STORED: u32 = 0x0028_0101;
const HIGH_BIT: u32 = 0x0028_0102;
const REPRESENTATION: u32 = 0x0028_0103;
const PADDING: u32 = 0x0028_0120;
const PADDING_LIMIT: u32 = 0x0028_0121;
const CENTER: u32 = 0x0028_1050;
const WIDTH: u32 = 0x0028_1051;
const INTERCEPT: u32 = 0x0028_1052;
const SLOPE: u32 = 0x0028_1053;
const VOI_FUNCTION: u32 = 0x0028_1056;
const MODALITY_LUT: u32 = 0x0028_3000;
const VOI_LUT: u32 = 0x0028_3010;
const LUT_DESCRIPTOR: u32 = 0x0028_3002;
const LUT_DATA: u32 = 0x0028_3006;
const PIXELS: u32 = 0x7fe0_0010;

type Elements = BTreeMap<u32, (&'static str, Vec<u8>)>;

/// A DICOM file to be.
#[derive(Clone)]
struct File {
    syntax: &'static str,
    elements: Elements,
}

impl File {
    /// A film of 3 columns and 2 rows, 8 bits, with the values 0, 50, 100, 150, 200, 250.
    fn film() -> Self {
        Self { syntax: EXPLICIT, elements: BTreeMap::new() }
            .text(MODALITY, "CS", "DX")
            .short(SAMPLES_PER_PIXEL, 1)
            .text(PHOTOMETRIC, "CS", "MONOCHROME2")
            .short(ROWS, 2)
            .short(COLUMNS, 3)
            .short(BITS_ALLOCATED, 8)
            .short(BITS_STORED, 8)
            .short(HIGH_BIT, 7)
            .short(REPRESENTATION, 0)
            .with(PIXELS, "OB", vec![0, 50, 100, 150, 200, 250])
    }

    /// A slice of that size with 12 bits in 16: stored values 0, 24, 1024, 1064, 2024, 4095, HU 1024 less.
    fn slice() -> Self {
        Self::film()
            .text(MODALITY, "CS", "CT")
            .text(IMAGE_ORIENTATION, "DS", r"1\0\0\0\1\0")
            .short(BITS_ALLOCATED, 16)
            .short(BITS_STORED, 12)
            .short(HIGH_BIT, 11)
            .text(INTERCEPT, "DS", "-1024")
            .text(SLOPE, "DS", "1")
            .words(&[0, 24, 1024, 1064, 2024, 4095])
    }

    fn with(mut self, tag: u32, vr: &'static str, mut value: Vec<u8>) -> Self {
        if value.len() % 2 == 1 {
            value.push(if matches!(vr, "OB" | "UI") { 0 } else { b' ' });
        }
        self.elements.insert(tag, (vr, value));
        self
    }

    fn without(mut self, tag: u32) -> Self {
        self.elements.remove(&tag);
        self
    }

    fn text(self, tag: u32, vr: &'static str, value: &str) -> Self {
        self.with(tag, vr, value.into())
    }

    fn short(self, tag: u32, value: u16) -> Self {
        self.with(tag, "US", value.to_le_bytes().into())
    }

    fn words(self, values: &[u16]) -> Self {
        self.with(PIXELS, "OW", values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A sequence of one item with a look-up table.
    fn table(self, sequence: u32, first: u16, bits: u16, entries: &[u16]) -> Self {
        let words = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let item = BTreeMap::from([
            (LUT_DESCRIPTOR, ("US", words(&[entries.len() as u16, first, bits]))),
            (LUT_DATA, ("OW", words(entries))),
        ]);
        let encoded = encode(&item, true);
        let mut value = vec![0xfe, 0xff, 0x00, 0xe0];
        value.extend((encoded.len() as u32).to_le_bytes());
        value.extend(encoded);
        self.with(sequence, "SQ", value)
    }

    /// Pixel data of that transfer syntax in these fragments.
    fn encapsulated(mut self, syntax: &'static str, fragments: &[&[u8]]) -> Self {
        self.syntax = syntax;
        let mut value = item(0xe000, &[]);
        for fragment in fragments {
            value.extend(item(0xe000, fragment));
        }
        value.extend(item(0xe0dd, &[]));
        self.with(PIXELS, "encapsulated", value)
    }

    fn data_set(&self) -> Vec<u8> {
        encode(&self.elements, self.syntax != IMPLICIT)
    }

    fn meta(&self) -> Vec<u8> {
        let uid = self.syntax.bytes().chain((self.syntax.len() % 2 == 1).then_some(0)).collect();
        let rest = encode(&BTreeMap::from([(0x0002_0010, ("UI", uid))]), true);
        let length = (rest.len() as u32).to_le_bytes().into();
        [encode(&BTreeMap::from([(0x0002_0000, ("UL", length))]), true), rest].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        [vec![0; 128], b"DICM".into(), self.meta(), self.data_set()].concat()
    }

    fn frame(&self) -> Frame {
        self.decode().unwrap()
    }

    fn decode(&self) -> Result<Frame, DecodeError> {
        frame_of(&self.bytes())
    }
}

fn item(element: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xfe, 0xff];
    bytes.extend(element.to_le_bytes());
    bytes.extend((value.len() as u32 + value.len() as u32 % 2).to_le_bytes());
    bytes.extend(value);
    bytes.extend(vec![0; value.len() % 2]);
    bytes
}

fn encode(elements: &Elements, explicit: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, (vr, value)) in elements {
        bytes.extend(((tag >> 16) as u16).to_le_bytes());
        bytes.extend((*tag as u16).to_le_bytes());
        let (vr, length) = if *vr == "encapsulated" { ("OB", u32::MAX) } else { (*vr, value.len() as u32) };
        if !explicit {
            bytes.extend(length.to_le_bytes());
        } else if matches!(vr, "OB" | "OW" | "OF" | "SQ" | "UN") {
            bytes.extend(vr.bytes().chain([0, 0]));
            bytes.extend(length.to_le_bytes());
        } else {
            bytes.extend(vr.bytes());
            bytes.extend((length as u16).to_le_bytes());
        }
        bytes.extend(value);
    }
    bytes
}

fn frame_of(bytes: &[u8]) -> Result<Frame, DecodeError> {
    match decode_bytes(bytes, &Limits::default())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(volume) => panic!("{volume:?}"),
    }
}

fn eight(frame: &Frame) -> &[u8] {
    match &frame.pixels {
        Pixels::Eight(plane) => plane.data(),
        other => panic!("{other:?}"),
    }
}

fn sixteen(frame: &Frame) -> &[u16] {
    match &frame.pixels {
        Pixels::Sixteen(plane) => plane.data(),
        other => panic!("{other:?}"),
    }
}

fn hounsfield(frame: &Frame) -> &[i16] {
    match &frame.pixels {
        Pixels::Hounsfield(plane) => plane.data(),
        other => panic!("{other:?}"),
    }
}

const HU: [i16; 6] = [-1024, -1000, 0, 40, 1000, 3071];

#[test]
fn a_film_is_what_was_stored() {
    let frame = File::film().frame();
    assert_eq!(
        frame,
        Frame {
            pixels: Pixels::Eight(Plane::new(3, 2, vec![0, 50, 100, 150, 200, 250]).unwrap()),
            modality: Some(Modality::Xray),
            orientation: Orientation::default(),
            stored_size: (3, 2),
            spacing_mm: None,
            colour_share: 0.0,
            sides_known: false,
            refer: None,
        }
    );
}

#[test]
fn modalities() {
    for (code, expected) in [("CR", Modality::Xray), ("DX", Modality::Xray), ("RG", Modality::Xray)] {
        assert_eq!(File::film().text(MODALITY, "CS", code).frame().modality, Some(expected));
    }
    assert_eq!(File::slice().frame().modality, Some(Modality::Ct));
    assert_eq!(File::film().without(MODALITY).frame().modality, None);
    for code in ["MR", "US", "SR", "SEG", "OT", "PT"] {
        let error = File::film().text(MODALITY, "CS", code).decode().unwrap_err();
        assert!(matches!(&error, DecodeError::Modality { modality } if modality == code), "{error}");
        assert!(error.to_string().contains(code));
    }
    // A structured report has no pixels, but its modality is the better reason.
    assert!(matches!(
        File::film().text(MODALITY, "CS", "SR").without(PIXELS).decode(),
        Err(DecodeError::Modality { .. })
    ));
}

#[test]
fn with_and_without_preamble_and_meta_information() {
    let file = File::slice();
    let whole = frame_of(&file.bytes()).unwrap();
    assert_eq!(frame_of(&[b"DICM".into(), file.meta(), file.data_set()].concat()).unwrap(), whole);
    assert_eq!(frame_of(&[file.meta(), file.data_set()].concat()).unwrap(), whole);
    assert_eq!(frame_of(&file.data_set()).unwrap(), whole);
    let implicit = File { syntax: IMPLICIT, ..file.clone() };
    assert_eq!(frame_of(&implicit.bytes()).unwrap(), whole);
    assert_eq!(frame_of(&implicit.data_set()).unwrap(), whole);
    // A TIFF header in the preamble does not make it TIFF.
    let mut dual = file.bytes();
    dual[..4].copy_from_slice(b"II*\0");
    assert_eq!(frame_of(&dual).unwrap(), whole);
    // A wrong group length is common.
    let mut wrong = file.bytes();
    wrong[140] = 0;
    assert_eq!(frame_of(&wrong).unwrap(), whole);
}

#[test]
fn hounsfield_units() {
    assert_eq!(hounsfield(&File::slice().frame()), HU);
    // Junk, such as an overlay, in the unused high bits.
    let junk = File::slice().words(&[0xf000, 0x1018, 0x2400, 0xa428, 0x57e8, 0xffff]);
    assert_eq!(hounsfield(&junk.frame()), HU);
    // Left-aligned, with junk below.
    let left = File::slice().short(HIGH_BIT, 15).words(&[0xf, 0x0183, 0x4000, 0x4280, 0x7e80, 0xffff]);
    assert_eq!(hounsfield(&left.frame()), HU);
    // Signed: sign extension from the stored bits on.
    let signed =
        File::slice().short(REPRESENTATION, 1).text(INTERCEPT, "DS", "0").words(&[0x0c00, 0x0c18, 0, 40, 1000, 0x07ff]);
    assert_eq!(hounsfield(&signed.frame()), [-1024, -1000, 0, 40, 1000, 2047]);
    // A factor, rounding, saturation.
    let scaled = File::slice().short(BITS_STORED, 16).short(HIGH_BIT, 15).text(SLOPE, "DS", "2.4");
    assert_eq!(
        hounsfield(&scaled.words(&[0, 1, 2, 1000, 40000, 65535]).frame()),
        [-1024, -1022, -1019, 1376, 32767, 32767]
    );
    // Told incompletely, in other words or with another unit: the values show that they are what they seem to be.
    for file in [
        File::slice().without(SLOPE),
        File::slice().text(SLOPE, "DS", ""),
        File::slice().text(INTERCEPT, "DS", "-1024,0"),
        File::slice().text(0x0028_1054, "LO", "US"),
        File::slice().text(0x0028_1054, "LO", "hu"),
    ] {
        assert_eq!(hounsfield(&file.frame()), HU);
        assert_eq!(file.frame().refer, None);
    }
    // A whole 1024 too high.
    assert_eq!(hounsfield(&File::slice().text(INTERCEPT, "DS", "0").frame()), HU);
    // Nothing shows what they are.
    let table = File::slice().table(MODALITY_LUT, 0, 16, &[0; 16]);
    for file in [File::slice().without(INTERCEPT), File::slice().text(INTERCEPT, "DS", ""), table] {
        assert!(matches!(file.decode(), Err(DecodeError::NoHounsfield { .. })));
    }
    let strange = File::slice().text(0x0028_1054, "LO", "US").words(&[2000; 6]);
    assert!(matches!(strange.decode(), Err(DecodeError::NoHounsfield { .. })));
    // Hounsfield units by every word, but of no chest: a person has to look.
    let airless = File::slice().words(&[2000; 6]).frame();
    assert_eq!((hounsfield(&airless), airless.refer), (&[976; 6][..], Some(ReferReason::NotOfAChest)));
    assert!(matches!(File::slice().text(SLOPE, "DS", "0").decode(), Err(DecodeError::Damaged { .. })));
    assert!(matches!(File::slice().text(SLOPE, "DS", "steep").decode(), Err(DecodeError::Damaged { .. })));
}

#[test]
fn padding_is_air() {
    let ct = File::slice().short(PADDING, 4095);
    assert_eq!(hounsfield(&ct.frame()), [-1024, -1000, 0, 40, 1000, -1024]);
    let range = File::slice().short(PADDING, 4095).short(PADDING_LIMIT, 2000);
    assert_eq!(hounsfield(&range.frame()), [-1024, -1000, 0, 40, -1024, -1024]);
    let signed = File::slice().short(REPRESENTATION, 1).text(INTERCEPT, "DS", "0").short(PADDING, -2000i16 as u16);
    assert_eq!(hounsfield(&signed.words(&[0x0830, 0x0831, 0, 1, 2, 3]).frame()), [-1024, -1999, 0, 1, 2, 3]);
    // On a film it is as dark as the darkest, whatever the polarity.
    let film = File::film().text(PHOTOMETRIC, "CS", "MONOCHROME1").short(PADDING, 0);
    assert_eq!(eight(&film.frame()), [5, 205, 155, 105, 55, 5]);
}

#[test]
fn films_without_a_window_keep_all_that_was_stored() {
    let film = || File::slice().text(MODALITY, "CS", "CR").without(SLOPE).without(INTERCEPT);
    let stored = [0, 24, 1024, 1064, 2024, 4095];
    assert_eq!(sixteen(&film().frame()), stored);
    let inverted = stored.map(|value| 4095 - value);
    assert_eq!(sixteen(&film().text(PHOTOMETRIC, "CS", "MONOCHROME1").frame()), inverted);
    // A negative slope turns dark and bright round, a positive one changes nothing.
    let slope = |slope: &str| film().text(SLOPE, "DS", slope).text(INTERCEPT, "DS", "17");
    assert_eq!(sixteen(&slope("-0.5").frame()), inverted);
    assert_eq!(sixteen(&slope("3").frame()), stored);
    // Signed values are counted from the least.
    let signed = film().short(REPRESENTATION, 1).words(&[0x800, 0xfff, 0, 1, 0x7fe, 0x7ff]);
    assert_eq!(sixteen(&signed.frame()), [0, 2047, 2048, 2049, 4094, 4095]);
}

#[test]
fn windows() {
    let film = |center: &str, width: &str| {
        File::slice()
            .text(MODALITY, "CS", "DX")
            .without(SLOPE)
            .without(INTERCEPT)
            .text(CENTER, "DS", center)
            .text(WIDTH, "DS", width)
    };
    let values = [0u16, 24, 1024, 1064, 2024, 4095];
    // The three formulas of PS3.3, C.11.2.1.2 and C.11.2.1.3, written down again.
    let linear = values.map(|x| (((f64::from(x) - 999.5) / 1999.0 + 0.5).clamp(0.0, 1.0) * 65535.0).round() as u16);
    let exact = values.map(|x| (((f64::from(x) - 1000.0) / 2000.0 + 0.5).clamp(0.0, 1.0) * 65535.0).round() as u16);
    let sigmoid = values.map(|x| (65535.0 / (1.0 + (-4.0 * (f64::from(x) - 1000.0) / 2000.0).exp())).round() as u16);
    // Two windows: the first is taken.
    let file = film(r"1000\50", r"2000\400");
    assert_eq!(sixteen(&file.frame()), linear);
    assert_eq!(sixteen(&file.clone().text(VOI_FUNCTION, "CS", "LINEAR").frame()), linear);
    assert_eq!(sixteen(&file.clone().text(VOI_FUNCTION, "CS", "LINEAR_EXACT").frame()), exact);
    assert_eq!(sixteen(&file.clone().text(VOI_FUNCTION, "CS", "SIGMOID").frame()), sigmoid);
    // MONOCHROME1 is inverted after the window: were it before, this asymmetric window would cut the other end.
    let inverted = file.clone().text(PHOTOMETRIC, "CS", "MONOCHROME1");
    assert_eq!(sixteen(&inverted.frame()), linear.map(|value| 65535 - value));
    // The window is in rescaled values.
    let rescaled = film("500", "1000").text(SLOPE, "DS", "0.5").text(INTERCEPT, "DS", "0");
    let half = values.map(|x| (((f64::from(x) / 2.0 - 499.5) / 999.0 + 0.5).clamp(0.0, 1.0) * 65535.0).round() as u16);
    assert_eq!(sixteen(&rescaled.frame()), half);
    // The function's name in small letters; a window with a comma, a unit, or an empty second value.
    assert_eq!(sixteen(&file.clone().text(VOI_FUNCTION, "CS", "sigmoid").frame()), sigmoid);
    for (center, width) in [("1000,0", "2000,0"), ("1000 U", "2000 U"), (r"1000\ ", r"2000\ ")] {
        assert_eq!(sixteen(&film(center, width).frame()), linear);
    }
    // A window that is none, or that leaves one grey, says nothing.
    for (center, width) in [("1000", "0"), ("0", "1"), ("NaN", "NaN"), ("wide", "2"), ("-9000", "100"), ("", "")] {
        assert_eq!(sixteen(&film(center, width).frame()), values, "{center} {width}");
    }
    // A CT's window is not applied: Hounsfield units are windowed by the model's own recipe.
    assert_eq!(hounsfield(&File::slice().text(CENTER, "DS", "40").text(WIDTH, "DS", "400").frame()), HU);
}

#[test]
fn look_up_tables() {
    // The VOI table begins at 50, has five entries, and its ends go on.
    let voi = File::film().table(VOI_LUT, 98, 10, &[0, 100, 341, 682, 1023]);
    let film = voi.with(PIXELS, "OB", vec![0, 98, 99, 100, 101, 255]);
    let expected = [0, 0, 100, 341, 682, 1023].map(|grey| (f64::from(grey) / 1023.0 * 65535.0).round() as u16);
    assert_eq!(sixteen(&film.frame()), expected);
    // The bits are those of the entries, whatever the descriptor says.
    let told = File::film().table(VOI_LUT, 98, 16, &[0, 100, 341, 682, 1023]);
    assert_eq!(sixteen(&told.with(PIXELS, "OB", vec![0, 98, 99, 100, 101, 255]).frame()), expected);
    // It outranks a window.
    let both = film.clone().text(CENTER, "DS", "1").text(WIDTH, "DS", "1");
    assert_eq!(sixteen(&both.frame()), expected);
    // A modality table comes before the window.
    let modality =
        File::film().table(MODALITY_LUT, 0, 16, &[1000, 0]).text(CENTER, "DS", "500.5").text(WIDTH, "DS", "1001");
    assert_eq!(sixteen(&modality.with(PIXELS, "OB", vec![0, 1, 2, 3, 0, 255]).frame()), [65535, 0, 0, 0, 65535, 0]);
    // A descriptor that asks for more than there is.
    let mut short = File::film().table(VOI_LUT, 0, 12, &[0; 9]);
    let item = &mut short.elements.get_mut(&VOI_LUT).unwrap().1;
    let descriptor = item.windows(6).position(|w| w == [9, 0, 0, 0, 12, 0]).unwrap();
    item[descriptor] = 200;
    assert!(matches!(short.decode(), Err(DecodeError::Damaged { .. })));
}

/// A sequence whose items hold those elements.
fn sequence(items: &[Elements]) -> Vec<u8> {
    items.iter().flat_map(|elements| item(0xe000, &encode(elements, true))).collect()
}

#[test]
fn enhanced_objects_say_it_in_functional_groups() {
    const SHARED: u32 = 0x5200_9229;
    const PER_FRAME: u32 = 0x5200_9230;
    let text = |value: &str| value.bytes().chain((value.len() % 2 == 1).then_some(b' ')).collect::<Vec<u8>>();
    let group = |tag: u32, elements: Elements| Elements::from([(tag, ("SQ", sequence(&[elements])))]);
    let rescale = group(0x0028_9145, Elements::from([(INTERCEPT, ("DS", text("-1024"))), (SLOPE, ("DS", text("1")))]));
    let orientation = |value| group(0x0020_9116, Elements::from([(IMAGE_ORIENTATION, ("DS", text(value)))]));
    let spacing = group(0x0028_9110, Elements::from([(PIXEL_SPACING, ("DS", text(r"0.75\0.75")))]));
    let bare = || File::slice().without(IMAGE_ORIENTATION).without(INTERCEPT).without(SLOPE);
    let shared = |orientation: Elements| {
        let groups: Elements = [rescale.clone(), orientation, spacing.clone()].into_iter().flatten().collect();
        bare().with(SHARED, "SQ", sequence(&[groups]))
    };
    let frame = shared(orientation(r"-1\0\0\0\-1\0")).frame();
    assert_eq!(hounsfield(&frame), [3071, 1000, 40, 0, -1000, -1024]);
    assert_eq!((frame.spacing_mm, frame.sides_known, frame.refer), (Some([0.75; 2]), true, None));
    assert!(matches!(shared(orientation(r"1\0\0\0\0\-1")).decode(), Err(DecodeError::NotAxial { plane: "coronal" })));
    // In the groups of the one frame.
    let own: Elements = [rescale.clone(), orientation(r"1\0\0\0\1\0")].into_iter().flatten().collect();
    assert_eq!(hounsfield(&bare().with(PER_FRAME, "SQ", sequence(&[own])).frame()), HU);
}

#[test]
fn frames_of_an_enhanced_object_are_a_volume() {
    const SOP_CLASS: u32 = 0x0008_0016;
    const SHARED: u32 = 0x5200_9229;
    const PER_FRAME: u32 = 0x5200_9230;
    let text = |value: &str| value.bytes().chain((value.len() % 2 == 1).then_some(b' ')).collect::<Vec<u8>>();
    let group = |tag: u32, elements: Elements| Elements::from([(tag, ("SQ", sequence(&[elements])))]);
    let of_all = group(0x0020_9116, Elements::from([(IMAGE_ORIENTATION, ("DS", text(r"1\0\0\0\1\0")))]));
    // Each with a position and a rescale of its own.
    let of_frame = |z: &str, intercept: &str| -> Elements {
        let position = Elements::from([(0x0020_0032, ("DS", text(&format!(r"0\0\{z}"))))]);
        let scale = Elements::from([(INTERCEPT, ("DS", text(intercept))), (SLOPE, ("DS", text("1")))]);
        [group(0x0020_9113, position), group(0x0028_9145, scale)].into_iter().flatten().collect()
    };
    let object = |class: &str, frames: &[Elements]| {
        let pixels: Vec<u16> = (0..frames.len() as u16).flat_map(|n| [0, 24, 1024, 1064 + n, 2024, 3000]).collect();
        File::slice()
            .without(IMAGE_ORIENTATION)
            .without(INTERCEPT)
            .without(SLOPE)
            .text(SOP_CLASS, "UI", class)
            .text(FRAMES, "IS", &frames.len().to_string())
            .with(SHARED, "SQ", sequence(std::slice::from_ref(&of_all)))
            .with(PER_FRAME, "SQ", sequence(frames))
            .words(&pixels)
    };
    let volume = |file: &File| match decode_bytes(&file.bytes(), &Limits::default()) {
        Ok(Study::Volume(volume)) => Ok(volume),
        Ok(Study::Image(frame)) => panic!("{frame:?}"),
        Err(error) => Err(error),
    };
    let frames = [of_frame("5", "-1024"), of_frame("-5", "-1020"), of_frame("0", "-1024")];
    for class in ["1.2.840.10008.5.1.4.1.1.2.1\0", "1.2.840.10008.5.1.4.1.1.2.2\0"] {
        let found = volume(&object(class, &frames)).unwrap();
        let slices: Vec<_> = (0..3).map(|index| hounsfield(&found.slice(index).unwrap())[3]).collect();
        assert_eq!(slices, [1065 - 1020, 1066 - 1024, 1064 - 1024], "from the feet");
        let numbers = [0, 1, 2, 3].map(|index| found.frame(found.stored_index(index)));
        assert_eq!(numbers, [Some(2), Some(3), Some(1), None]);
        assert_eq!((found.slice_distance_mm(), found.notes()), (Some(5.0), &[][..]));
    }
    let enhanced = "1.2.840.10008.5.1.4.1.1.2.1\0";
    let again = [of_frame("5", "-1024"), of_frame("5", "-1024")];
    let error = volume(&object(enhanced, &again)).unwrap_err();
    assert!(error.to_string().contains("frames 1 and 2 at one place"), "{error}");
    let error = volume(&object(enhanced, &frames).without(PER_FRAME)).unwrap_err();
    assert!(error.to_string().contains("no position of frame 1"), "{error}");
    // Fewer pixels than frames, and captures of a screen.
    let short = object(enhanced, &frames).words(&[0; 12]);
    assert!(matches!(volume(&short), Err(DecodeError::Truncated { .. })));
    let captures = object("1.2.840.10008.5.1.4.1.1.7.2\0", &frames);
    assert!(matches!(volume(&captures), Err(DecodeError::MultiFrame { frames: 3 })));

    // A codestream for each frame, one of them in two fragments and no table that says so.
    let cases = include_bytes!("fixtures/encodings/jpeg_ls.dcm");
    let start = cases.windows(3).position(|bytes| bytes == [0xff, 0xd8, 0xff]).unwrap();
    let end = cases.windows(2).rposition(|bytes| bytes == [0xff, 0xd9]).unwrap() + 2;
    let codestream = &cases[start..end];
    let (a, b) = codestream.split_at(codestream.len() / 2 / 2 * 2);
    let fragments = object(enhanced, &frames)
        .short(ROWS, 32)
        .short(COLUMNS, 48)
        .encapsulated("1.2.840.10008.1.2.4.80", &[codestream, a, b, codestream]);
    let found = volume(&fragments).unwrap();
    let drawn = |intercept: i16| Plane::from_fn(48, 32, |x, y| drawn(x, y).0 + 1024 + intercept);
    for (index, intercept) in [(0, -1020), (1, -1024), (2, -1024)] {
        assert_eq!(found.slice(index).unwrap().pixels, Pixels::Hounsfield(drawn(intercept)));
    }
}

#[test]
fn a_slice_whose_orientation_nobody_knows_is_referred() {
    let frame = File::slice().without(IMAGE_ORIENTATION).frame();
    assert_eq!((frame.sides_known, frame.refer), (false, Some(ReferReason::OrientationUnknown)));
    // Prone, by Patient Orientation.
    let frame = File::slice().without(IMAGE_ORIENTATION).text(PATIENT_ORIENTATION, "CS", r"R\A").frame();
    assert_eq!(hounsfield(&frame), [3071, 1000, 40, 0, -1000, -1024]);
    assert_eq!((frame.sides_known, frame.refer), (true, None));
    let coronal = File::slice().without(IMAGE_ORIENTATION).text(PATIENT_ORIENTATION, "CS", r"L\F");
    assert!(matches!(coronal.decode(), Err(DecodeError::NotAxial { plane: "coronal" })));
}

#[test]
fn polarity_is_what_the_presentation_says() {
    const SHAPE: u32 = 0x2050_0020;
    let (positive, negative) = ([0, 50, 100, 150, 200, 250], [255, 205, 155, 105, 55, 5]);
    for (photometric, shape, shown) in [
        ("MONOCHROME2", "IDENTITY", positive),
        ("MONOCHROME2", "INVERSE", negative),
        ("MONOCHROME2", "inverse", negative),
        ("MONOCHROME1", "INVERSE", negative),
        ("MONOCHROME1", "IDENTITY", positive),
        ("MONOCHROME1", "", negative),
        ("MONOCHROME2", "", positive),
    ] {
        let film = File::film().text(PHOTOMETRIC, "CS", photometric).text(SHAPE, "CS", shape);
        assert_eq!(eight(&film.frame()), shown, "{photometric} {shape}");
    }
}

#[test]
fn detector_data_is_no_film() {
    const INTENT: u32 = 0x0008_0068;
    const SOP_CLASS: u32 = 0x0008_0016;
    let raw = |file: File| matches!(file.decode(), Err(DecodeError::ForProcessing));
    let class = || File::film().text(SOP_CLASS, "UI", "1.2.840.10008.5.1.4.1.1.1.1.1\0");
    assert!(raw(File::film().text(INTENT, "CS", "FOR PROCESSING")));
    assert!(raw(File::film().text(INTENT, "CS", "for processing")));
    assert!(raw(class()));
    assert!(!raw(class().text(INTENT, "CS", "FOR PRESENTATION")));
}

#[test]
fn what_a_shutter_hides_is_dark() {
    let film = File::film()
        .text(0x0018_1600, "CS", "RECTANGULAR")
        .text(0x0018_1602, "IS", "1")
        .text(0x0018_1604, "IS", "4")
        .text(0x0018_1606, "IS", "0")
        .text(0x0018_1608, "IS", "3");
    assert_eq!(eight(&film.frame()), [50, 50, 100, 50, 200, 250]);
}

#[test]
fn what_a_person_says_overrules_the_file() {
    let film = File::film().text(MODALITY, "CS", "OT").bytes();
    assert!(decode_bytes(&film, &Limits::default()).is_err());
    let path = std::env::temp_dir().join(format!("thorax-overruled-{}.dcm", std::process::id()));
    std::fs::write(&path, film).unwrap();
    let study = thorax_decode::decode_as(&path, &Limits::default(), Some(Modality::Xray)).unwrap();
    std::fs::remove_file(&path).unwrap();
    let Study::Image(frame) = study else { panic!("{study:?}") };
    assert_eq!(frame.modality, Some(Modality::Xray));
}

#[test]
fn films_are_hung_upright() {
    let upright = Plane::new(3, 2, vec![0u8, 50, 100, 150, 200, 250]).unwrap();
    let mut seen = std::collections::HashSet::new();
    for direction in [r"L\F", r"R\F", r"L\H", r"R\H", r"F\L", r"H\L", r"F\R", r"H\R"] {
        // Turns the upright film away, as a reader that writes this direction would have stored it.
        let (transpose, flip_horizontal, flip_vertical) = match direction.as_bytes() {
            [row @ (b'L' | b'R'), _, column] => (false, *row == b'R', *column == b'H'),
            [row, _, column] => (true, *column == b'R', *row == b'H'),
            _ => unreachable!(),
        };
        let turn = Orientation { transpose, flip_horizontal, flip_vertical };
        let stored = upright.oriented(turn.inverse());
        let film = File::film()
            .short(ROWS, stored.height() as u16)
            .short(COLUMNS, stored.width() as u16)
            .with(PIXELS, "OB", stored.data().to_vec())
            .text(IMAGER_SPACING, "DS", r"0.2\0.1")
            .text(PATIENT_ORIENTATION, "CS", direction);
        let frame = film.frame();
        // Made square: pixels are 0.1 mm wide and high.
        let (columns, rows) = if transpose { (6, 2) } else { (3, 4) };
        assert_eq!(frame.pixels, Pixels::Eight(resize_u8(&upright, columns, rows)), "{direction}");
        assert_eq!(frame.orientation, turn);
        assert_eq!(frame.stored_size, (stored.width(), stored.height()));
        assert_eq!(frame.spacing_mm, Some([0.1; 2]));
        seen.insert(format!("{turn:?}"));
    }
    assert_eq!(seen.len(), 8);
    // The first letter counts; what says nothing changes nothing.
    assert!(File::film().text(PATIENT_ORIENTATION, "CS", r"RF\FL").frame().orientation.flip_horizontal);
    for nothing in ["", "L", r"\", r"X\Y"] {
        let frame = File::film().text(PATIENT_ORIENTATION, "CS", nothing).frame();
        assert_eq!(frame.orientation, Orientation::default(), "{nothing}");
    }
}

#[test]
fn lateral_films_are_refused() {
    for file in [
        File::film().text(PATIENT_ORIENTATION, "CS", r"A\F"),
        File::film().text(PATIENT_ORIENTATION, "CS", r"P\F"),
        File::film().text(VIEW_POSITION, "CS", "LL"),
        File::film().text(VIEW_POSITION, "CS", "LATERAL"),
        File::film().text(VIEW_POSITION, "CS", "XTABLE LATERAL"),
        File::film().text(VIEW_POSITION, "CS", "LLD"),
        File::film().with(VIEW_POSITION, "UN", b"LL".to_vec()),
    ] {
        assert!(matches!(file.decode(), Err(DecodeError::NotFrontal { .. })));
    }
    for (view, refer) in [("PA", None), ("ap", None), ("", None), ("ERECT", Some(ReferReason::ViewUnknown))] {
        assert_eq!(File::film().text(VIEW_POSITION, "CS", view).frame().refer, refer, "{view}");
    }
}

#[test]
fn slices_are_turned_to_the_radiological_view() {
    // From the head, as some planning systems store it: mirrored.
    let frame = File::slice().text(IMAGE_ORIENTATION, "DS", r"-1\0\0\0\1\0").frame();
    assert_eq!(hounsfield(&frame), [0, -1000, -1024, 3071, 1000, 40]);
    // Prone, stored as it lay: turned round.
    let frame = File::slice().text(IMAGE_ORIENTATION, "DS", r"-1\0\0\0\-1\0").frame();
    assert_eq!(hounsfield(&frame), [3071, 1000, 40, 0, -1000, -1024]);
    // Rows run to posterior.
    let frame =
        File::slice().text(IMAGE_ORIENTATION, "DS", r"0\1\0\1\0\0").text(PIXEL_SPACING, "DS", r"0.5\0.5").frame();
    assert_eq!(hounsfield(&frame), [-1024, 40, -1000, 1000, 0, 3071]);
    assert_eq!(frame.spacing_mm, Some([0.5; 2]));
    for (orientation, plane) in [(r"1\0\0\0\0\-1", "coronal"), (r"0\1\0\0\0\-1", "sagittal")] {
        let error = File::slice().text(IMAGE_ORIENTATION, "DS", orientation).decode().unwrap_err();
        assert!(error.to_string().contains(plane), "{error}");
    }
    for broken in [r"1\0\0", r"1\0\0\1\0\0", r"nan\0\0\0\1\0", r"9\0\0\0\1\0"] {
        let error = File::slice().text(IMAGE_ORIENTATION, "DS", broken).decode().unwrap_err();
        assert!(matches!(error, DecodeError::Damaged { .. }), "{broken}: {error}");
    }
}

#[test]
fn spacing_of_the_patient_goes_before_the_detector() {
    let film = File::film().text(IMAGER_SPACING, "DS", r"0.2\0.2");
    assert_eq!(film.frame().spacing_mm, Some([0.2; 2]));
    assert_eq!(film.clone().text(PIXEL_SPACING, "DS", r"0.4\0.4").frame().spacing_mm, Some([0.4; 2]));
    assert_eq!(film.text(PIXEL_SPACING, "DS", r"0\0").frame().spacing_mm, Some([0.2; 2]));
}

#[test]
fn pixels_that_are_not_square_are_made_square() {
    let stored = Plane::new(3, 2, vec![0u8, 50, 100, 150, 200, 250]).unwrap();
    let wide = Pixels::Eight(resize_u8(&stored, 6, 2));
    let spaced = File::film().text(PIXEL_SPACING, "DS", r"0.2\0.4").frame();
    assert_eq!((&spaced.pixels, spaced.spacing_mm, spaced.stored_size), (&wide, Some([0.2; 2]), (3, 2)));
    // A ratio without a length.
    let ratio = File::film().text(0x0028_0034, "IS", r"1\2");
    assert_eq!((&ratio.frame().pixels, ratio.frame().spacing_mm), (&wide, None));
    // A length goes before it.
    assert_eq!(ratio.text(PIXEL_SPACING, "DS", r"0.2\0.2").frame().pixels, Pixels::Eight(stored));
}

#[test]
fn colour() {
    let colour = File::film().short(SAMPLES_PER_PIXEL, 3).text(PHOTOMETRIC, "CS", "RGB").short(PLANAR, 0);
    let grey_then_red = vec![0, 0, 0, 9, 9, 9, 255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255];
    let frame = colour.clone().with(PIXELS, "OB", grey_then_red.clone()).frame();
    assert_eq!(eight(&frame), [0, 9, 255, 54, 182, 18]);
    assert_eq!(frame.colour_share, 0.5);
    let planes: Vec<u8> = (0..3).flat_map(|c| grey_then_red.iter().skip(c).step_by(3).copied()).collect();
    assert_eq!(colour.clone().short(PLANAR, 1).with(PIXELS, "OB", planes).frame(), frame);
    let ybr = colour.clone().text(PHOTOMETRIC, "CS", "YBR_FULL");
    let frame = ybr.with(PIXELS, "OB", [[7, 128, 128].repeat(5), vec![76, 85, 255]].concat()).frame();
    assert_eq!(eight(&frame), [7, 7, 7, 7, 7, 54]);
    for photometric in ["PALETTE COLOR", "HSV", "CIELAB"] {
        let error =
            colour.clone().text(PHOTOMETRIC, "CS", photometric).with(PIXELS, "OB", vec![0; 18]).decode().unwrap_err();
        assert!(matches!(&error, DecodeError::Unsupported { feature, .. } if feature.contains(photometric)), "{error}");
    }
}

#[test]
fn what_is_missing_or_absurd_is_refused() {
    use DecodeError as E;
    let decode = |file: File| file.decode().unwrap_err();
    assert!(matches!(decode(File::film().without(PIXELS)), E::NoPixelData));
    assert!(matches!(decode(File::film().with(PIXELS, "OB", vec![])), E::NoPixelData));
    assert!(matches!(decode(File::film().with(PIXELS, "OB", vec![1, 2, 3, 4])), E::Truncated { .. }));
    assert!(matches!(decode(File::film().without(ROWS)), E::Damaged { .. }));
    assert!(matches!(decode(File::film().without(PHOTOMETRIC)), E::Damaged { .. }));
    assert!(matches!(decode(File::film().short(ROWS, 0)), E::Dimensions { height: 0, .. }));
    assert!(matches!(decode(File::film().short(ROWS, 20_000).short(COLUMNS, 20_000)), E::Dimensions { .. }));
    assert!(matches!(decode(File::film().text(FRAMES, "IS", "12")), E::MultiFrame { frames: 12 }));
    assert!(File::film().text(FRAMES, "IS", "1").decode().is_ok());
    assert!(matches!(decode(File::film().short(BITS_ALLOCATED, 32)), E::Unsupported { .. }));
    assert!(matches!(decode(File::film().short(BITS_ALLOCATED, 1)), E::Unsupported { .. }));
    assert!(matches!(decode(File::film().short(SAMPLES_PER_PIXEL, 2)), E::Unsupported { .. }));
    for (bits, high) in [(0, 7), (9, 8), (8, 3), (8, 8), (65535, 7)] {
        assert!(matches!(decode(File::film().short(BITS_STORED, bits).short(HIGH_BIT, high)), E::Damaged { .. }));
    }
    let float = File::film().without(PIXELS).with(0x7fe0_0008, "OF", vec![0; 24]);
    assert!(matches!(decode(float), E::Unsupported { .. }));
    assert!(matches!(decode(File { syntax: JPEG_BASELINE, ..File::film() }), E::Damaged { .. }));
    let unknown = File { syntax: "1.2.3.4", ..File::film() };
    assert!(matches!(decode(unknown), E::TransferSyntax { uid, .. } if uid == "1.2.3.4"));
    let video = File { syntax: "1.2.840.10008.1.2.4.102", ..File::film() };
    assert!(decode(video).to_string().contains("MPEG-4"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = File::slice().bytes();
    for length in 0..whole.len() {
        assert!(frame_of(&whole[..length]).is_err(), "cut to {length} of {}", whole.len());
    }
    for length in whole.len() - 12..whole.len() {
        assert!(matches!(frame_of(&whole[..length]), Err(DecodeError::Truncated { .. })), "cut to {length}");
    }
}

#[test]
fn what_follows_the_pixels_is_not_read() {
    let whole = File::slice().bytes();
    let padded = [whole.clone(), b"\xfc\xff\xfc\xffOB\0\0\xff\xff\xff\x7f".to_vec()].concat();
    assert_eq!(frame_of(&padded).unwrap(), frame_of(&whole).unwrap());
}

#[test]
fn deep_nesting_needs_no_stack() {
    // A million sequences in each other: 16 bytes each, never closed.
    let opened = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(1_000_000);
    let file = File::film();
    let bytes = [vec![0; 128], b"DICM".into(), file.meta(), opened].concat();
    assert!(frame_of(&bytes).is_err());
}

#[test]
fn claimed_lengths_are_not_allocated() {
    // Four gigabytes of a text that is not there.
    let file = File::film();
    let claim = b"\x08\0\x05\0UT\0\0\xfe\xff\xff\xff".to_vec();
    let bytes = [vec![0; 128], b"DICM".into(), file.meta(), claim].concat();
    assert!(matches!(frame_of(&bytes), Err(DecodeError::Truncated { .. })));
}

#[test]
fn an_icon_is_not_the_picture() {
    // An icon image sequence with its own rows, columns and pixel data.
    let icon = encode(
        &BTreeMap::from([(ROWS, ("US", vec![1, 0])), (COLUMNS, ("US", vec![2, 0])), (PIXELS, ("OB", vec![7, 7]))]),
        true,
    );
    let file = File::film().with(0x0008_1140, "SQ", item(0xe000, &icon)).with(0x0028_0200, "SQ", item(0xe000, &icon));
    assert_eq!(file.frame(), File::film().frame());
}

/// The drawn picture of `references/decode_fixtures.py`.
fn drawn(x: usize, y: usize) -> (i16, u8) {
    (((37 * x + 101 * y) % 4096) as i16 - 1024, ((5 * x + 7 * y) % 256) as u8)
}

#[test]
fn every_encoding_gives_the_drawn_picture() {
    // Pixels of 0.75 x 0.5 mm are made square.
    let slice = Pixels::Hounsfield(resize_i16(&Plane::from_fn(48, 32, |x, y| drawn(x, y).0), 48, 48));
    for (name, bytes) in [
        ("explicit", &include_bytes!("fixtures/encodings/explicit.dcm")[..]),
        ("implicit", include_bytes!("fixtures/encodings/implicit.dcm")),
        ("big_endian", include_bytes!("fixtures/encodings/big_endian.dcm")),
        ("deflated", include_bytes!("fixtures/encodings/deflated.dcm")),
        ("rle", include_bytes!("fixtures/encodings/rle.dcm")),
        ("jpeg_lossless", include_bytes!("fixtures/encodings/jpeg_lossless.dcm")),
        ("jpeg_lossless_sv1", include_bytes!("fixtures/encodings/jpeg_lossless_sv1.dcm")),
        ("jpeg_ls", include_bytes!("fixtures/encodings/jpeg_ls.dcm")),
        ("jpeg2000", include_bytes!("fixtures/encodings/jpeg2000.dcm")),
        ("htj2k", include_bytes!("fixtures/encodings/htj2k.dcm")),
    ] {
        let frame = frame_of(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(frame.pixels, slice, "{name}");
        assert_eq!(frame.spacing_mm, Some([0.5; 2]), "{name}");
        // Cut in the middle of the pixels, or with half of them overwritten, it is an error or a picture, not a panic.
        assert!(frame_of(&bytes[..bytes.len() - 200]).is_err(), "{name} cut");
        let mut damaged = bytes.to_vec();
        for byte in damaged.iter_mut().rev().take(300).step_by(3) {
            *byte ^= 0x55;
        }
        let _ = frame_of(&damaged);
    }
    let film = frame_of(include_bytes!("fixtures/encodings/film.dcm")).unwrap();
    assert_eq!(film.pixels, Pixels::Eight(Plane::from_fn(48, 32, |x, y| drawn(x, y).1)));
    let lossy = frame_of(include_bytes!("fixtures/encodings/jpeg_baseline.dcm")).unwrap();
    let far = eight(&film).iter().zip(eight(&lossy)).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far <= Some(3), "JPEG at quality 100 is {far:?} off");
    let lossy = frame_of(include_bytes!("fixtures/encodings/jpeg_extended.dcm")).unwrap();
    let smooth = Plane::from_fn(48, 32, |x, y| (50 * x + 30 * y) as i16 - 1024);
    let smooth = resize_i16(&smooth, 48, hounsfield(&lossy).len() / 48);
    let far = smooth.data().iter().zip(hounsfield(&lossy)).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far <= Some(4), "12-bit JPEG at quality 100 is {far:?} off");
}

#[test]
fn every_colour_encoding_gives_the_same_grey() {
    let native = frame_of(include_bytes!("fixtures/encodings/rgb.dcm")).unwrap();
    assert_eq!(frame_of(include_bytes!("fixtures/encodings/rle_rgb.dcm")).unwrap(), native);
    let jpeg = frame_of(include_bytes!("fixtures/encodings/jpeg_ybr.dcm")).unwrap();
    let far = eight(&native).iter().zip(eight(&jpeg)).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far <= Some(4), "JPEG at quality 100 is {far:?} off");
    assert!(native.colour_share > 0.9 && jpeg.colour_share > 0.9);
}

#[test]
fn what_is_not_read_is_named() {
    let error = frame_of(include_bytes!("fixtures/encodings/two_frames.dcm")).unwrap_err();
    assert!(matches!(error, DecodeError::MultiFrame { frames: 2 }));
}

/// A grey JPEG of that size.
fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::GrayImage::from_pixel(width, height, image::Luma([77]));
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    bytes
}

#[test]
fn fragments_of_one_frame_are_put_together() {
    let jpeg = jpeg(3, 2);
    let (a, b) = jpeg.split_at(100);
    assert_eq!(eight(&File::film().encapsulated(JPEG_BASELINE, &[a, b]).frame()), [77; 6]);
    // 8-bit JPEG in 16 allocated bits: the decoder gives bytes all the same.
    let wide = File::film().short(BITS_ALLOCATED, 16).encapsulated(JPEG_BASELINE, &[&jpeg]);
    assert_eq!(eight(&wide.frame()), [77; 6]);
}

#[test]
fn compressed_pixels_of_another_size_are_refused() {
    for (width, height) in [(3, 3), (40, 40), (2, 2)] {
        let error = File::film().encapsulated(JPEG_BASELINE, &[&jpeg(width, height)]).decode().unwrap_err();
        assert!(matches!(error, DecodeError::Damaged { .. }), "{error}");
    }
    // A codestream that claims 65535 x 65535.
    let mut bomb = jpeg(3, 2);
    let frame = bomb.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bomb[frame + 5..frame + 9].fill(0xff);
    assert!(matches!(File::film().encapsulated(JPEG_BASELINE, &[&bomb]).decode(), Err(DecodeError::Damaged { .. })));
    assert!(matches!(
        File::film().encapsulated(JPEG_BASELINE, &[&jpeg(3, 2)[..200]]).decode(),
        Err(DecodeError::Truncated { .. })
    ));
    assert!(matches!(File::film().encapsulated(JPEG_BASELINE, &[]).decode(), Err(DecodeError::NoPixelData)));
}

#[test]
fn a_panic_in_a_decoder_is_contained() {
    // One segment, which is shorter than the picture: dicom-rs 0.10 indexes past its end.
    let mut frame = vec![0; 66];
    frame[..8].copy_from_slice(&[1, 0, 0, 0, 64, 0, 0, 0]);
    let error = File::film().encapsulated(RLE, &[&frame]).decode().unwrap_err();
    assert!(matches!(error, DecodeError::DecoderFailed { format: "DICOM" }), "{error}");
}

#[test]
fn rle_headers_are_not_believed() {
    // Found by the fuzzer: dicom-rs 0.10 allocates what the header tells, here 7 GB.
    let mut frame = vec![0; 128];
    frame[..4].copy_from_slice(&[0x62, 0x68, 0x68, 0x68]);
    assert!(matches!(File::film().encapsulated(RLE, &[&frame]).decode(), Err(DecodeError::Damaged { .. })));
    assert!(matches!(File::film().encapsulated(RLE, &[&[1, 0]]).decode(), Err(DecodeError::Damaged { .. })));
}

mod properties {
    use proptest::prelude::*;
    use thorax_shared::preprocess::spec::Window;

    use super::*;

    proptest! {
        #[test]
        fn damaged_files_are_errors_or_pictures(at in 0usize..3600, byte: u8, other in 0usize..3600, value: u8) {
            let mut bytes = include_bytes!("fixtures/encodings/explicit.dcm").to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes[other % length] = value;
            let _ = frame_of(&bytes);
        }

        #[test]
        fn hounsfield_units_are_the_formula(stored in proptest::array::uniform6(any::<u16>()), bits in 1u16..=16, signed: bool) {
            let file = File::slice().short(BITS_STORED, bits).short(HIGH_BIT, bits - 1).short(REPRESENTATION, signed.into());
            let expected = stored.map(|word| {
                let code = i64::from(word) % (1 << bits);
                let value = if signed && code >= 1 << (bits - 1) { code - (1 << bits) } else { code };
                (value - 1024).clamp(i16::MIN.into(), i16::MAX.into()) as i16
            });
            let frame = file.words(&stored).frame();
            prop_assert_eq!(hounsfield(&frame), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However a film is stored, the prepared picture is the same to one grey level.
        #[test]
        fn a_film_is_the_same_however_it_is_stored(
            (width, height, greys) in (9usize..20, 9usize..20)
                .prop_flat_map(|(w, h)| (Just(w), Just(h), proptest::collection::vec(any::<u8>(), w * h))),
        ) {
            let picture = Plane::new(width, height, greys.clone()).unwrap();
            let expected = prepared(&Pixels::Eight(picture));
            let size = |file: File| file.short(ROWS, height as u16).short(COLUMNS, width as u16);
            let same = |name: &str, frame: Frame| {
                let found = prepared(&frame.pixels);
                let apart = found.data().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).max();
                prop_assert!(apart <= Some(1), "{name}: {apart:?} apart");
                Ok(())
            };
            let (columns, rows) = (width as u32, height as u32);
            let luma = image::GrayImage::from_raw(columns, rows, greys.clone()).unwrap();
            let wide: Vec<u16> = greys.iter().map(|&grey| u16::from(grey) * 257).collect();
            let luma16 = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(columns, rows, wide).unwrap();
            for format in [image::ImageFormat::Png, image::ImageFormat::Tiff] {
                for image in [image::DynamicImage::from(luma.clone()), luma16.clone().into()] {
                    let mut bytes = std::io::Cursor::new(Vec::new());
                    image.write_to(&mut bytes, format).unwrap();
                    same(&format!("{format:?} {:?}", image.color()), frame_of(bytes.get_ref()).unwrap())?;
                }
            }
            let bytes = |greys: &[u8]| size(File::film()).with(PIXELS, "OB", greys.to_vec());
            let negative: Vec<u8> = greys.iter().map(|grey| 255 - grey).collect();
            same("8 bits", bytes(&greys).frame())?;
            same("8 bits and their window", bytes(&greys).text(CENTER, "DS", "128").text(WIDTH, "DS", "256").frame())?;
            same("MONOCHROME1", bytes(&negative).text(PHOTOMETRIC, "CS", "MONOCHROME1").frame())?;
            same("INVERSE", bytes(&negative).text(0x2050_0020, "CS", "INVERSE").frame())?;
            same("slope -1", bytes(&negative).text(SLOPE, "DS", "-1").text(INTERCEPT, "DS", "255").frame())?;
            let mut implicit = bytes(&greys);
            implicit.syntax = IMPLICIT;
            same("implicit", implicit.frame())?;
            for bits in [8u16, 10, 12, 15, 16] {
                for signed in [false, true] {
                    let half = if signed { 1i32 << (bits - 1) } else { 0 };
                    let stored: Vec<u16> = greys
                        .iter()
                        .map(|&grey| ((i32::from(grey) << (bits - 8)) - half) as u16 & ((1u32 << bits) - 1) as u16)
                        .collect();
                    let file = size(File::film())
                        .short(BITS_ALLOCATED, 16)
                        .short(BITS_STORED, bits)
                        .short(HIGH_BIT, bits - 1)
                        .short(REPRESENTATION, signed.into())
                        .words(&stored);
                    let window = |center: i32| {
                        file.clone().text(CENTER, "DS", &center.to_string()).text(WIDTH, "DS", &(1 << bits).to_string())
                    };
                    same(&format!("{bits} bits, signed {signed}"), file.frame())?;
                    same(&format!("{bits} bits, window, signed {signed}"), window((1 << (bits - 1)) - half).frame())?;
                }
            }
        }

        /// Hounsfield units are the same from every way of writing them.
        #[test]
        fn a_slice_is_the_same_however_it_is_stored(values in proptest::array::uniform6(-1000i16..3000)) {
            let mut values = values;
            // Every slice has air and soft tissue.
            (values[0], values[1]) = (-1000, 40);
            let stored = |offset: i16| values.map(|value| (value + offset) as u16);
            let base = |bits: u16| File::slice().short(BITS_STORED, bits).short(HIGH_BIT, bits - 1);
            let signed = |file: File| file.short(REPRESENTATION, 1).words(&stored(0));
            for (name, file) in [
                ("offset", base(16).words(&stored(1024))),
                ("12 bits and an offset", base(12).words(&stored(1024).map(|value| value & 0xfff))),
                ("offset, intercept 0", base(16).text(INTERCEPT, "DS", "0").words(&stored(1024))),
                ("signed", signed(base(16)).text(INTERCEPT, "DS", "0")),
                ("signed, no rescale", signed(base(16)).without(INTERCEPT).without(SLOPE)),
                ("signed, no unit", signed(base(16)).text(INTERCEPT, "DS", "0").text(0x0028_1054, "LO", "US")),
                ("half slope", base(16).text(SLOPE, "DS", "0.5").words(&stored(1024).map(|value| value * 2))),
            ] {
                let frame = file.frame();
                prop_assert_eq!(hounsfield(&frame), values, "{}", name);
            }
        }
    }

    /// As every film is prepared.
    fn prepared(pixels: &Pixels) -> Plane<u8> {
        thorax_shared::preprocess::window(pixels, &Window::Quantiles { low: 0.005, high: 0.995 })
    }
}
