//! PNG, JPEG and TIFF, made here with `image` and, in `fixtures/encodings`, with Pillow
//! (`references/decode_fixtures.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
use thorax_decode::{DecodeError, Frame, Limits, Study, decode_bytes};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

fn frame_of(bytes: &[u8]) -> Result<Frame, DecodeError> {
    match decode_bytes(bytes, &Limits::default())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(volume) => panic!("{volume:?}"),
    }
}

fn eight(frame: &Frame) -> &Plane<u8> {
    match &frame.pixels {
        Pixels::Eight(plane) => plane,
        other => panic!("{other:?}"),
    }
}

/// The drawn pictures of `references/decode_fixtures.py`.
fn drawn8(x: usize, y: usize) -> u8 {
    ((5 * x + 7 * y) % 256) as u8
}

fn drawn16(x: usize, y: usize) -> u16 {
    16 * ((37 * x + 101 * y) % 4096) as u16
}

#[test]
fn grey_pictures_are_unchanged() {
    for (name, bytes) in [
        ("PNG", &include_bytes!("fixtures/encodings/grey.png")[..]),
        ("palette PNG", include_bytes!("fixtures/encodings/palette.png")),
        ("TIFF", include_bytes!("fixtures/encodings/grey.tif")),
        ("TIFF, LZW", include_bytes!("fixtures/encodings/lzw.tif")),
    ] {
        let frame = frame_of(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(eight(&frame), &Plane::from_fn(48, 32, drawn8), "{name}");
        assert_eq!((frame.modality, frame.spacing_mm, frame.colour_share), (None, None, 0.0));
    }
    for (name, bytes) in [
        ("PNG", &include_bytes!("fixtures/encodings/grey16.png")[..]),
        ("TIFF, deflate", include_bytes!("fixtures/encodings/grey16.tif")),
    ] {
        let frame = frame_of(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(frame.pixels, Pixels::Sixteen(Plane::from_fn(48, 32, drawn16)), "{name}");
    }
    let jpeg = frame_of(include_bytes!("fixtures/encodings/grey.jpg")).unwrap();
    let far = eight(&jpeg).data().iter().zip(Plane::from_fn(48, 32, drawn8).data()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(far <= Some(3), "JPEG at quality 100 is {far:?} off");
}

#[test]
fn grey_in_three_channels_is_the_same_grey() {
    let all = ImageBuffer::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
    let frame = frame_of(&encoded(all, ImageFormat::Png)).unwrap();
    assert_eq!(eight(&frame).data(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(frame.colour_share, 0.0);
    let all = ImageBuffer::from_fn(256, 256, |x, y| Rgb([(256 * y + x) as u16; 3]));
    let frame = frame_of(&encoded(all, ImageFormat::Png)).unwrap();
    assert_eq!(frame.pixels, Pixels::Sixteen(Plane::from_fn(256, 256, |x, y| (256 * y + x) as u16)));
}

#[test]
fn the_share_of_coloured_pixels_is_told() {
    let picture = ImageBuffer::from_fn(10, 1, |x, _| match x {
        0..4 => Rgb([100, 100, 100]),
        4..7 => Rgb([100, 124, 100]),
        _ => Rgb([100, 125, 100u8]),
    });
    assert_eq!(frame_of(&encoded(picture, ImageFormat::Png)).unwrap().colour_share, 0.3);
    let picture = ImageBuffer::from_fn(4, 1, |x, _| Rgb([100, 100, if x == 0 { 30000 } else { 5000u16 }]));
    assert_eq!(frame_of(&encoded(picture, ImageFormat::Png)).unwrap().colour_share, 0.25);
}

#[test]
fn transparency_lies_on_black() {
    let grey = ImageBuffer::from_fn(3, 1, |x, _| LumaA([200u8, [0, 128, 255][x as usize]]));
    assert_eq!(eight(&frame_of(&encoded(grey, ImageFormat::Png)).unwrap()).data(), [0, 100, 200]);
    let colour = ImageBuffer::from_fn(2, 1, |x, _| Rgba([250, 0, 0, [0u8, 255][x as usize]]));
    let frame = frame_of(&encoded(colour, ImageFormat::Png)).unwrap();
    assert_eq!((eight(&frame).data(), frame.colour_share), (&[0, 53][..], 0.5));
    let grey = ImageBuffer::from_fn(3, 1, |x, _| LumaA([40000u16, [0, 32768, 65535][x as usize]]));
    let expected = Pixels::Sixteen(Plane::new(3, 1, vec![0, 20000, 40000]).unwrap());
    assert_eq!(frame_of(&encoded(grey, ImageFormat::Png)).unwrap().pixels, expected);
    let half = frame_of(include_bytes!("fixtures/encodings/grey_alpha.png")).unwrap();
    assert_eq!(eight(&half), &Plane::from_fn(48, 32, |x, y| if x < 24 { drawn8(x, y) } else { 0 }));
}

#[test]
fn exif_orientation_is_applied() {
    // Orientation 6: to be turned a quarter clockwise.
    let frame = frame_of(include_bytes!("fixtures/encodings/colour.jpg")).unwrap();
    assert_eq!(frame.orientation, Orientation { transpose: true, flip_horizontal: true, flip_vertical: false });
    assert_eq!((eight(&frame).width(), eight(&frame).height()), (32, 48));
    // Stored red, green, blue are v, 255 - v, v / 2 with v = 5 x + 7 y.
    let luminance = |x: usize, y: usize| {
        let v = f64::from(drawn8(x, y));
        0.2126 * v + 0.7152 * (255.0 - v) + 0.0722 * (v / 2.0)
    };
    let far = |x: usize, y: usize, stored: (usize, usize)| {
        (f64::from(eight(&frame).get(x, y)) - luminance(stored.0, stored.1)).abs()
    };
    // Top left comes from bottom left, top right from top left.
    assert!(far(0, 0, (0, 31)) < 8.0 && far(31, 0, (0, 0)) < 8.0 && far(0, 47, (47, 31)) < 8.0);
}

#[test]
fn sizes_are_compared_before_memory_is_taken() {
    // 20,000 x 20,000 in a file of a hundred bytes: PNG, JPEG and TIFF headers with next to nothing behind them.
    let mut png = encoded(ImageBuffer::from_pixel(1, 1, Luma([0u8])), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut jpeg = encoded(ImageBuffer::from_pixel(8, 8, Luma([0u8])), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x4e, 0x20, 0x4e, 0x20]);
    let mut tiff = encoded(ImageBuffer::from_pixel(1, 1, Luma([0u8])), ImageFormat::Tiff);
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes([tiff[directory], tiff[directory + 1]]));
    for entry in (0..entries).map(|entry| directory + 2 + 12 * entry) {
        if matches!(u16::from_le_bytes([tiff[entry], tiff[entry + 1]]), 256 | 257) {
            tiff[entry + 2..entry + 12].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0x20, 0x4e, 0, 0]);
        }
    }
    for (name, bytes) in [("PNG", png), ("JPEG", jpeg), ("TIFF", tiff)] {
        let error = frame_of(&bytes).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Dimensions { width: 20_000, height: 20_000, .. } | DecodeError::TooMuchData { .. }
            ),
            "{name}: {error:?}"
        );
    }
    // The largest detectors are no problem.
    let large = encoded(ImageBuffer::from_pixel(5000, 5000, Luma([9u8])), ImageFormat::Png);
    assert_eq!(eight(&frame_of(&large).unwrap()).data().len(), 25_000_000);
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn a_picture_cut_anywhere_is_an_error() {
    for (name, bytes) in [
        ("PNG", &include_bytes!("fixtures/encodings/grey.png")[..]),
        ("JPEG", include_bytes!("fixtures/encodings/grey.jpg")),
        ("JPEG with EXIF", include_bytes!("fixtures/encodings/colour.jpg")),
        ("TIFF", include_bytes!("fixtures/encodings/grey.tif")),
    ] {
        // The end chunk of PNG and the directory of TIFF may go missing with nothing lost.
        let needed = match name {
            "PNG" => bytes.len() - 20,
            _ => bytes.len(),
        };
        for length in 0..needed {
            assert!(decode_bytes(&bytes[..length], &Limits::default()).is_err(), "{name} cut to {length}");
        }
    }
}

#[test]
fn what_is_not_read_is_refused() {
    // TIFF of 32-bit floats.
    let float = encoded(ImageBuffer::from_pixel(2, 2, Rgb([0.5f32; 3])), ImageFormat::Tiff);
    assert!(matches!(frame_of(&float), Err(DecodeError::Unsupported { .. })));
}

proptest::proptest! {
    #[test]
    fn damaged_pictures_are_errors_or_pictures(which in 0usize..4, at: usize, value: u8, then: usize, other: u8) {
        let mut bytes = [
            &include_bytes!("fixtures/encodings/grey.png")[..],
            include_bytes!("fixtures/encodings/colour.jpg"),
            include_bytes!("fixtures/encodings/lzw.tif"),
            include_bytes!("fixtures/encodings/colour_alpha.png"),
        ][which].to_vec();
        let length = bytes.len();
        bytes[at % length] = value;
        bytes[then % length] = other;
        let _ = decode_bytes(&bytes, &Limits::default());
    }
}
