//! JPEG-LS and JPEG of 12 bits, which our own decoders read, against CharLS and dcmtk (`references/codestreams.py`), and what the
//! codestream says against what the data set says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use proptest::prelude::*;
use thorax_decode::{DecodeError, Frame, Limits, Study, decode_bytes};
use thorax_shared::preprocess::Pixels;

const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const JPEG_EXTENDED: &str = "1.2.840.10008.1.2.4.51";
const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// A picture that others encoded and decoded.
struct Case<'a> {
    rows: u16,
    columns: u16,
    components: u16,
    bits: u16,
    codestream: &'a [u8],
    samples: Vec<u16>,
}

fn cases(mut bytes: &[u8]) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<12>() {
        let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let [rows, columns, components, bits] = [0, 2, 4, 6].map(word);
        let (codestream, rest) = rest.split_at(u32::from_le_bytes(head[8..].try_into().unwrap()) as usize);
        let (samples, rest) = rest.split_at(2 * usize::from(rows) * usize::from(columns) * usize::from(components));
        let samples = samples.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
        cases.push(Case { rows, columns, components, bits, codestream, samples });
        bytes = rest;
    }
    cases
}

/// A film in that transfer syntax; `value` is its pixel data.
#[derive(Clone)]
struct Film {
    rows: u16,
    columns: u16,
    samples: u16,
    photometric: &'static str,
    allocated: u16,
    stored: u16,
    signed: bool,
    planar: bool,
}

impl Film {
    fn of(case: &Case<'_>) -> Self {
        Self {
            rows: case.rows,
            columns: case.columns,
            samples: case.components,
            photometric: if case.components == 1 { "MONOCHROME2" } else { "RGB" },
            allocated: if case.bits > 8 { 16 } else { 8 },
            stored: case.bits,
            signed: false,
            planar: false,
        }
    }

    fn file(&self, syntax: &str, fragments: Option<&[&[u8]]>, native: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        let mut element = |group: u16, number: u16, vr: &str, value: &[u8]| {
            let mut value = value.to_vec();
            if value.len() % 2 == 1 {
                value.push(if vr == "UI" { 0 } else { b' ' });
            }
            bytes.extend(group.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            bytes.extend(vr.as_bytes());
            bytes.extend((value.len() as u16).to_le_bytes());
            bytes.extend(value);
        };
        element(2, 0x10, "UI", syntax.as_bytes());
        element(8, 0x60, "CS", b"DX");
        element(0x28, 2, "US", &self.samples.to_le_bytes());
        element(0x28, 4, "CS", self.photometric.as_bytes());
        element(0x28, 6, "US", &u16::from(self.planar).to_le_bytes());
        element(0x28, 0x10, "US", &self.rows.to_le_bytes());
        element(0x28, 0x11, "US", &self.columns.to_le_bytes());
        element(0x28, 0x100, "US", &self.allocated.to_le_bytes());
        element(0x28, 0x101, "US", &self.stored.to_le_bytes());
        element(0x28, 0x102, "US", &(self.stored - 1).to_le_bytes());
        element(0x28, 0x103, "US", &u16::from(self.signed).to_le_bytes());
        bytes.extend([0xe0, 0x7f, 0x10, 0]);
        match fragments {
            None => {
                bytes.extend(b"OW\0\0");
                bytes.extend((native.len() as u32).to_le_bytes());
                bytes.extend(native);
            }
            Some(fragments) => {
                bytes.extend(b"OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0");
                for fragment in fragments {
                    bytes.extend([0xfe, 0xff, 0, 0xe0]);
                    bytes.extend((fragment.len() as u32).to_le_bytes());
                    bytes.extend(*fragment);
                }
                bytes.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
            }
        }
        bytes
    }

    fn decode(&self, syntax: &str, codestream: &[u8]) -> Result<Frame, DecodeError> {
        frame(&self.file(syntax, Some(&[codestream]), &[]))
    }
}

fn frame(bytes: &[u8]) -> Result<Frame, DecodeError> {
    match decode_bytes(bytes, &Limits::default())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(volume) => panic!("{volume:?}"),
    }
}

fn greys(frame: &Frame) -> Vec<u16> {
    match &frame.pixels {
        Pixels::Eight(plane) => plane.data().iter().map(|&grey| grey.into()).collect(),
        Pixels::Sixteen(plane) => plane.data().to_vec(),
        Pixels::Hounsfield(_) => panic!("a film has no Hounsfield units"),
    }
}

/// What a film of up to 8 bits or more shows of stored values: the lowest of its bits to the highest, in 255 steps or as many as
/// there are values.
fn shown(samples: &[u16], bits: u16) -> Vec<u16> {
    let full = f64::from((1u32 << bits) - 1);
    let levels = if bits <= 8 { 255.0 } else { full };
    samples.iter().map(|&sample| (f64::from(sample) / full * levels).round() as u16).collect()
}

#[test]
fn jpeg_ls_is_what_charls_decodes() {
    let mut seen = [0; 2];
    for (number, case) in cases(include_bytes!("fixtures/jpeg_ls.bin")).iter().enumerate() {
        let found =
            Film::of(case).decode(JPEG_LS, case.codestream).unwrap_or_else(|error| panic!("case {number}: {error}"));
        if case.components == 1 {
            assert_eq!(greys(&found), shown(&case.samples, case.bits), "case {number}, {} bits", case.bits);
            seen[0] += 1;
        } else {
            // As the same samples uncompressed.
            let native: Vec<u8> = match case.bits {
                ..=8 => case.samples.iter().map(|&sample| sample as u8).collect(),
                _ => case.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            };
            let native = [native, vec![0]].concat();
            let expected = frame(&Film::of(case).file(EXPLICIT, None, &native[..native.len() / 2 * 2])).unwrap();
            assert_eq!(found, expected, "case {number}");
            seen[1] += 1;
        }
    }
    assert!(seen[0] > 45 && seen[1] > 30, "{seen:?}");
}

#[test]
fn jpeg_of_12_bits_is_what_dcmtk_decodes() {
    let all = cases(include_bytes!("fixtures/jpeg_12.bin"));
    assert_eq!(all.len(), 16);
    for (number, case) in all.iter().enumerate() {
        let found = greys(&Film::of(case).decode(JPEG_EXTENDED, case.codestream).unwrap());
        let far = found.iter().zip(&case.samples).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(far <= 1, "case {number} is {far} off");
    }
}

#[test]
fn a_codestream_that_is_cut_is_no_picture_and_one_without_its_end_marker_is() {
    for (syntax, bytes) in [
        (JPEG_LS, &include_bytes!("fixtures/jpeg_ls.bin")[..]),
        (JPEG_EXTENDED, include_bytes!("fixtures/jpeg_12.bin")),
    ] {
        for case in cases(bytes).iter().step_by(5) {
            let film = Film::of(case);
            let whole = film.decode(syntax, case.codestream).unwrap();
            let end = case.codestream.windows(2).rposition(|pair| pair == [0xff, 0xd9]).unwrap();
            assert_eq!(film.decode(syntax, &case.codestream[..end]).unwrap(), whole);
            for length in [0, 1, 10, end / 3, end / 2] {
                let error = film.decode(syntax, &case.codestream[..length]).unwrap_err();
                assert!(!matches!(error, DecodeError::DecoderFailed { .. }), "{length} of {end}: {error}");
            }
        }
    }
    // Of 8 bits, where the decoder is somebody else's.
    let picture = image::GrayImage::from_fn(40, 24, |x, y| image::Luma([(5 * x + 7 * y) as u8]));
    let mut jpeg = Vec::new();
    picture.write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
    let film = Film {
        rows: 24,
        columns: 40,
        samples: 1,
        photometric: "MONOCHROME2",
        allocated: 8,
        stored: 8,
        signed: false,
        planar: false,
    };
    let whole = film.decode(JPEG_BASELINE, &jpeg).unwrap();
    assert_eq!(film.decode(JPEG_BASELINE, &jpeg[..jpeg.len() - 2]).unwrap(), whole);
    assert_eq!(frame(&jpeg[..jpeg.len() - 2]).unwrap(), frame(&jpeg).unwrap(), "a JPEG by itself");
    for cut in [3, 10, 60] {
        let cut = &jpeg[..jpeg.len() - cut];
        assert!(matches!(film.decode(JPEG_BASELINE, cut), Err(DecodeError::Truncated { .. })));
        // An end marker behind what was cut makes it no picture either.
        let closed = [cut, &[0xff, 0xd9]].concat();
        assert!(matches!(frame(&closed), Err(DecodeError::Truncated { .. })), "{}", cut.len());
    }
}

#[test]
fn the_codestream_is_believed_before_the_data_set() {
    // Two's complement of fewer bits than the data set stores.
    let case = &cases(include_bytes!("fixtures/jpeg_ls.bin"))[30];
    assert!(case.bits > 8 && case.bits < 16 && case.components == 1);
    let film = Film { stored: 16, signed: true, ..Film::of(case) };
    let unused = 16 - case.bits;
    let expected: Vec<u16> =
        case.samples.iter().map(|&sample| (((sample << unused) as i16 >> unused) as i32 + 32768) as u16).collect();
    assert_eq!(greys(&film.decode(JPEG_LS, case.codestream).unwrap()), expected);
    // Three components where one was told, and JPEG-LS where JPEG was told.
    let colours = cases(include_bytes!("fixtures/jpeg_ls.bin")).into_iter().find(|case| case.components == 3).unwrap();
    let right = Film::of(&colours).decode(JPEG_LS, colours.codestream).unwrap();
    let told_grey = Film { samples: 1, photometric: "MONOCHROME2", ..Film::of(&colours) };
    assert_eq!(told_grey.decode(JPEG_LS, colours.codestream).unwrap(), right);
    assert_eq!(Film::of(&colours).decode(JPEG_BASELINE, colours.codestream).unwrap(), right);
    // Other sizes are two pictures.
    let other = Film { rows: colours.rows + 1, ..Film::of(&colours) };
    assert!(matches!(other.decode(JPEG_LS, colours.codestream), Err(DecodeError::Damaged { .. })));
}

#[test]
fn kinds_of_uncompressed_pixels_are_read_or_named() {
    let grey = Film {
        rows: 2,
        columns: 4,
        samples: 1,
        photometric: "MONOCHROME2",
        allocated: 8,
        stored: 8,
        signed: false,
        planar: false,
    };
    let luma = [10u8, 20, 30, 40, 50, 60, 70, 80];
    let native = |film: &Film, value: &[u8]| frame(&film.file(EXPLICIT, None, value));
    let expected: Vec<u16> = luma.iter().map(|&v| v.into()).collect();
    // Halved colours: two luminances, blue and red; and the same told of pixels that are whole.
    let halved: Vec<u8> = luma.chunks(2).flat_map(|pair| [pair[0], pair[1], 128, 128]).collect();
    let ybr = Film { samples: 3, photometric: "YBR_FULL_422", ..grey.clone() };
    assert_eq!(greys(&native(&ybr, &halved).unwrap()), expected);
    let whole: Vec<u8> = luma.iter().flat_map(|&v| [v, 128, 128]).collect();
    assert_eq!(greys(&native(&ybr, &whole).unwrap()), expected);
    assert_eq!(greys(&native(&Film { photometric: "YBR_FULL", ..ybr.clone() }, &whole).unwrap()), expected);
    // Red, green and blue of 16 bits, also channel by channel.
    let wide: Vec<u8> = luma.iter().flat_map(|&v| [v; 6]).collect();
    let rgb = Film { samples: 3, photometric: "RGB", allocated: 16, stored: 16, ..grey.clone() };
    assert_eq!(greys(&native(&rgb, &wide).unwrap()), expected);
    let by_channel: Vec<u8> = (0..3).flat_map(|_| luma.iter().flat_map(|&v| [v; 2])).collect();
    assert_eq!(greys(&native(&Film { planar: true, ..rgb.clone() }, &by_channel).unwrap()), expected);
    // What is not read is named, and never called damaged or cut short.
    for (film, named) in [
        (Film { allocated: 1, stored: 1, ..grey.clone() }, "one sample a pixel of one bit"),
        (Film { allocated: 32, stored: 32, ..grey.clone() }, "one sample a pixel of 32 bits"),
        (Film { samples: 4, photometric: "CMYK", ..grey.clone() }, "4 samples a pixel of 8 bits"),
        (Film { photometric: "HSV", ..grey.clone() }, "photometric interpretation HSV"),
        (Film { columns: 3, ..ybr.clone() }, "YBR_FULL_422 of more than 8 bits, or of an odd width"),
    ] {
        let error = native(&film, &[0; 12]).unwrap_err();
        assert!(matches!(&error, DecodeError::Unsupported { feature, .. } if feature == named), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A damaged codestream is an error or a picture, and no panic, not even one that is contained.
    #[test]
    fn damaged_codestreams_do_no_harm(
        ls in any::<bool>(),
        number in 0usize..1000,
        changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..8),
        cut in 0usize..4000,
    ) {
        let bytes = if ls { &include_bytes!("fixtures/jpeg_ls.bin")[..] } else { include_bytes!("fixtures/jpeg_12.bin") };
        let all = cases(bytes);
        let case = &all[number % all.len()];
        let mut codestream = case.codestream.to_vec();
        for (at, value) in changes {
            let at = at % codestream.len();
            codestream[at] = value;
        }
        codestream.truncate(cut.max(codestream.len() / 2));
        let syntax = if ls { JPEG_LS } else { JPEG_EXTENDED };
        let found = Film::of(case).decode(syntax, &codestream);
        prop_assert!(!matches!(found, Err(DecodeError::DecoderFailed { .. })), "{codestream:?}");
    }
}
