//! PNG, JPEG and TIFF, made here with `image` and, in `fixtures/encodings`, with Pillow
//! (`references/decode_fixtures.py`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
use thorax_decode::{DecodeError, Frame, Limits, Study, as_stored, decode_bytes};
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
    let large = encoded(ImageBuffer::from_pixel(4096, 2048, Luma([9u8])), ImageFormat::Png);
    assert_eq!(eight(&frame_of(&large).unwrap()).data().len(), 4096 * 2048);
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
        // The end chunk of PNG and the end marker of JPEG may go missing with nothing lost.
        let needed = match name {
            "PNG" => bytes.len() - 20,
            "JPEG" | "JPEG with EXIF" => bytes.len() - 2,
            _ => bytes.len(),
        };
        for length in 0..needed {
            assert!(decode_bytes(&bytes[..length], &Limits::default()).is_err(), "{name} cut to {length}");
        }
    }
}

/// A page of a TIFF: its tags with their values (SHORT or LONG by the value), and its only strip.
#[derive(Clone)]
struct Page {
    tags: Vec<(u16, Vec<u32>)>,
    strip: Vec<u8>,
}

impl Page {
    /// Grey pixels of eight bits, 20 x 10 and `grey` everywhere.
    fn grey(grey: u8) -> Self {
        let tags = vec![
            (256, vec![20]),
            (257, vec![10]),
            (258, vec![8]),
            (259, vec![1]),
            (262, vec![1]),
            (277, vec![1]),
            (278, vec![10]),
        ];
        Self { tags, strip: vec![grey; 200] }
    }

    fn with(mut self, tag: u16, values: &[u32]) -> Self {
        self.tags.retain(|(other, _)| *other != tag);
        self.tags.push((tag, values.to_vec()));
        self.tags.sort();
        self
    }

    fn strip(mut self, strip: Vec<u8>) -> Self {
        self.strip = strip;
        self
    }
}

/// A TIFF of these pages (TIFF 6.0), little-endian; `big` with offsets of eight bytes.
fn tiff(pages: &[Page], big: bool) -> Vec<u8> {
    let word = |value: u64| if big { value.to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() };
    let mut bytes = if big { b"II\x2b\0\x08\0\0\0".to_vec() } else { b"II\x2a\0".to_vec() };
    let mut link = bytes.len();
    bytes.extend(word(0));
    for page in pages {
        let strip = bytes.len() as u32;
        bytes.extend(&page.strip);
        let mut tags = page.tags.clone();
        tags.extend([(273, vec![strip]), (279, vec![page.strip.len() as u32])]);
        tags.sort();
        let mut entries = vec![];
        for (tag, values) in &tags {
            let mut data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if data.len() > word(0).len() {
                let at = bytes.len() as u64;
                bytes.extend(&data);
                data = word(at);
            }
            data.resize(word(0).len(), 0);
            entries.extend([tag.to_le_bytes(), 4u16.to_le_bytes()].concat());
            entries.extend(word(values.len() as u64));
            entries.extend(data);
        }
        let directory = word(bytes.len() as u64);
        bytes[link..link + directory.len()].copy_from_slice(&directory);
        if big {
            bytes.extend((tags.len() as u64).to_le_bytes());
        } else {
            bytes.extend((tags.len() as u16).to_le_bytes());
        }
        bytes.extend(entries);
        link = bytes.len();
        bytes.extend(word(0));
    }
    bytes
}

#[test]
fn the_full_page_of_a_tiff_is_read_and_several_are_refused() {
    let (film, other) = (Page::grey(77), Page::grey(200));
    let thumbnail = other.clone().with(254, &[1]);
    let old_thumbnail = other.clone().with(255, &[2]);
    let whole = Plane::filled(20, 10, 77u8);
    for big in [false, true] {
        for pages in [
            vec![film.clone()],
            vec![thumbnail.clone(), film.clone()],
            vec![film.clone(), thumbnail.clone()],
            vec![old_thumbnail.clone(), thumbnail.clone(), film.clone()],
            // Alone, what calls itself a thumbnail is the picture.
            vec![film.clone().with(254, &[1])],
        ] {
            let frame = frame_of(&tiff(&pages, big)).unwrap();
            assert_eq!(eight(&frame), &whole, "{} pages, {big}", pages.len());
        }
        for pages in [vec![film.clone(), other.clone()], vec![film.clone(); 3], vec![thumbnail.clone(); 2]] {
            let error = frame_of(&tiff(&pages, big)).unwrap_err();
            assert!(error.to_string().contains(&format!("{} pages", pages.len())), "{error}");
        }
    }
}

#[test]
fn white_is_zero_and_one_bit_are_read_as_they_are_meant() {
    let negative = frame_of(&tiff(&[Page::grey(77).with(262, &[0])], false)).unwrap();
    assert_eq!(eight(&negative), &Plane::filled(20, 10, 178u8));
    let strip: Vec<u8> = (0..10).flat_map(|_| [0b1010_1010, 0b1010_1010, 0b1010_0000]).collect();
    let dots = frame_of(&tiff(&[Page::grey(0).with(258, &[1]).strip(strip)], false)).unwrap();
    assert_eq!(eight(&dots), &Plane::from_fn(20, 10, |x, _| if x % 2 == 0 { 255 } else { 0 }));
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let refused = |name: &str, bytes: &[u8]| match frame_of(bytes) {
        Err(error @ DecodeError::Unsupported { .. }) => assert!(error.to_string().contains(name), "{name}: {error}"),
        other => panic!("{name}: {other:?}"),
    };
    let float = encoded(ImageBuffer::from_pixel(2, 2, Rgb([0.5f32; 3])), ImageFormat::Tiff);
    refused("floating-point samples", &float);
    let page = |tags: &[(u16, &[u32])], bytes: usize| {
        let page = tags.iter().fold(Page::grey(0), |page, (tag, values)| page.with(*tag, values));
        tiff(&[page.strip(vec![7; 200 * bytes])], false)
    };
    refused("floating-point samples", &page(&[(258, &[32]), (339, &[3])], 4));
    refused("signed samples", &page(&[(258, &[16]), (339, &[2])], 2));
    refused("CMYK colours", &page(&[(258, &[8; 4]), (262, &[5]), (277, &[4])], 4));
    refused("YCbCr colours", &page(&[(258, &[8; 3]), (262, &[6]), (277, &[3])], 3));
    refused("Lab colours", &page(&[(258, &[8; 3]), (262, &[8]), (277, &[3])], 3));
    refused("a colour palette", &page(&[(262, &[3]), (320, &[9; 768])], 1));
    refused("4 bits a pixel", &page(&[(258, &[4])], 1));
    refused("32 bits a pixel", &page(&[(258, &[32])], 4));
    refused("2 samples a pixel", &page(&[(258, &[8; 2]), (277, &[2])], 2));

    // An animation: the chunk that says so, before the picture's own.
    let mut png = encoded(ImageBuffer::from_pixel(9, 9, Luma([7u8])), ImageFormat::Png);
    let mut chunk = b"acTL\0\0\0\x02\0\0\0\0".to_vec();
    let checksum = crc32(&chunk);
    chunk.splice(0..0, 8u32.to_be_bytes());
    chunk.extend(checksum.to_be_bytes());
    png.splice(33..33, chunk);
    refused("an animation", &png);

    // JPEGs of other processes, by their frame headers.
    let jpeg = encoded(ImageBuffer::from_pixel(16, 16, Luma([7u8])), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let changed = |at: usize, value: u8| {
        let mut jpeg = jpeg.clone();
        jpeg[frame + at] = value;
        jpeg
    };
    refused("lossless compression", &changed(1, 0xc3));
    refused("arithmetic coding", &changed(1, 0xc9));
    refused("hierarchical compression", &changed(1, 0xc5));
    refused("JPEG-LS compression", &changed(1, 0xf7));
    refused("12 bits a sample", &changed(4, 12));
    refused("CMYK colours", &changed(9, 4));
}

#[test]
fn a_jpeg_may_lack_its_end_marker_and_nothing_else() {
    let drawn = ImageBuffer::from_fn(61, 45, |x, y| Luma([drawn8(x as usize, y as usize)]));
    let grey = encoded(drawn, ImageFormat::Jpeg);
    let coloured = ImageBuffer::from_fn(61, 45, |x, y| Rgb([drawn8(x as usize, y as usize), 90, 200]));
    let coloured = encoded(coloured, ImageFormat::Jpeg);
    for (name, whole) in [
        ("grey", &grey[..]),
        ("coloured", &coloured),
        ("Pillow's", include_bytes!("fixtures/encodings/grey.jpg")),
        ("Pillow's, coloured", include_bytes!("fixtures/encodings/colour.jpg")),
    ] {
        let expected = frame_of(whole).unwrap();
        let end = whole.len() - 2;
        assert_eq!(whole[end..], [0xff, 0xd9]);
        for rest in [&b""[..], b"\xff", b"\0", b"\0\0"] {
            let frame = frame_of(&[&whole[..end], rest].concat());
            assert_eq!(frame.unwrap_or_else(|error| panic!("{name}, {rest:?}: {error}")), expected, "{name}");
        }
        // Without the last bytes of its data, and padded with zeros where they were.
        for missing in [3, 4, 8, 20, 60, 200] {
            let cut = &whole[..end - missing];
            for bytes in [cut.to_vec(), [cut, &[0; 4000]].concat()] {
                let error = frame_of(&bytes).unwrap_err();
                assert!(matches!(error, DecodeError::Truncated { .. }), "{name} without {missing}: {error}");
            }
        }
    }
}

#[test]
fn a_huge_film_is_shrunk_and_its_masks_go_back() {
    let film = ImageBuffer::from_fn(5000, 6000, |x, y| Luma([if x < 2500 { 10 } else { 240 } - u8::from(y < 3000)]));
    let frame = frame_of(&encoded(film, ImageFormat::Png)).unwrap();
    let (width, height) = (eight(&frame).width(), eight(&frame).height());
    assert!(width * height <= 8 << 20 && width * height > 8_380_000, "{width} x {height}");
    assert_eq!(frame.stored_size, (5000, 6000));
    let mask = as_stored(&eight(&frame).map(|grey| u8::from(grey > 128)), frame.orientation, frame.stored_size);
    assert_eq!((mask.width(), mask.height()), (5000, 6000));
    assert!((0..6000).step_by(500).all(|y| mask.get(2498, y) == 0 && mask.get(2502, y) == 1));
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
