//! PNG, JPEG and TIFF, as exported by viewers and shared between hospitals.
//!
//! Such files carry no unit and no modality, only grey values; what they may carry, and a radiograph then loses its
//! meaning without, is a colour (luminance is taken, the share of coloured pixels is told), a transparency (black lies
//! behind it) and an EXIF orientation (applied).

mod tiff_page;

use std::io::Cursor;

use image::{
    DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Luma, Pixel, Primitive, Rgb,
    codecs::png::PngDecoder, metadata::Orientation as Exif,
};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

use super::{DecodeError, Frame, Limits, codestream, jpeg, oriented, plane};

/// A pixel counts as coloured when its channels differ by more than this many of 255 steps: what JPEG does to the chroma
/// of a grey picture stays below.
const COLOURED: f32 = 24.0 / 255.0;

/// Which of the three formats `bytes` are in, by their first bytes.
pub(super) fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    // A TIFF with offsets of eight bytes.
    if bytes.starts_with(b"II\x2b\0\x08\0") || bytes.starts_with(b"MM\0\x2b\0\x08") {
        return Some(ImageFormat::Tiff);
    }
    let format = image::guess_format(bytes).ok()?;
    matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Tiff).then_some(format)
}

/// The name of a format that [`format_of`] finds.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Tiff => "TIFF",
        _ => "PNG",
    }
}

/// Decodes a picture of that format.
pub(super) fn decode(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Frame, DecodeError> {
    let name = name(format);
    let (image, exif) = match format {
        ImageFormat::Jpeg => jpeg(bytes, limits)?,
        ImageFormat::Tiff => decoded(&tiff_page::only(bytes, limits)?, format, limits)?,
        _ => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), image_limits(limits));
            if decoder.and_then(|decoder| decoder.is_apng()).map_err(|error| translate(error, name, limits))? {
                return Err(unsupported(name, "an animation".into()));
            }
            decoded(bytes, format, limits)?
        }
    };
    let stored_size = (image.width() as usize, image.height() as usize);
    let orientation = from_exif(exif);
    let (pixels, colour_share) = match on_black(image) {
        DynamicImage::ImageLuma8(grey) => (Pixels::Eight(to_plane(grey, name)?), 0.0),
        DynamicImage::ImageLuma16(grey) => (Pixels::Sixteen(to_plane(grey, name)?), 0.0),
        DynamicImage::ImageRgb8(colour) => {
            let (grey, share) = luminance(&colour, name)?;
            (Pixels::Eight(grey), share)
        }
        DynamicImage::ImageRgb16(colour) => {
            let (grey, share) = luminance(&colour, name)?;
            (Pixels::Sixteen(grey), share)
        }
        other => return Err(unsupported(name, format!("pixels of type {:?}", other.color()))),
    };
    let pixels = match pixels {
        Pixels::Eight(plane) => Pixels::Eight(oriented(plane, orientation)),
        Pixels::Sixteen(plane) => Pixels::Sixteen(oriented(plane, orientation)),
        hounsfield @ Pixels::Hounsfield(_) => hounsfield,
    };
    let frame = Frame {
        pixels,
        modality: None,
        orientation,
        stored_size,
        spacing_mm: None,
        colour_share,
        sides_known: false,
        refer: None,
    };
    Ok(frame.shown())
}

/// What `image` makes of the bytes, and how the picture is to be turned.
fn decoded(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<(DynamicImage, Exif), DecodeError> {
    let translate = |error| translate(error, name(format), limits);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(image_limits(limits));
    let mut decoder = reader.into_decoder().map_err(translate)?;
    let (width, height) = decoder.dimensions();
    limits.check_dimensions(width.into(), height.into())?;
    if decoder.total_bytes() > limits.max_decoded_bytes {
        return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
    }
    decoder.set_limits(image_limits(limits)).map_err(translate)?;
    let exif = decoder.orientation().map_err(translate)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(translate)?, exif))
}

fn image_limits(limits: &Limits) -> image::Limits {
    let mut image_limits = image::Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_decoded_bytes);
    image_limits
}

/// A JPEG, which has to be whole: decoders show a cut one with the missing part grey, which is no picture to screen.
fn jpeg(bytes: &[u8], limits: &Limits) -> Result<(DynamicImage, Exif), DecodeError> {
    let name = name(ImageFormat::Jpeg);
    let process = match codestream::jpeg_process(bytes) {
        Some(0xc0..=0xc2) | None => None,
        Some(0xc3) => Some("lossless compression"),
        Some(0xf7) => Some("JPEG-LS compression"),
        Some(0xc9..=0xcb) => Some("arithmetic coding"),
        Some(_) => Some("hierarchical compression"),
    };
    if let Some(process) = process {
        return Err(unsupported(name, process.into()));
    }
    if let Some(header) = codestream::jpeg_header(bytes) {
        limits.check_dimensions(header.width.into(), header.height.into())?;
        match (header.bits, header.components) {
            (8, 1 | 3) => {}
            (8, 4) => return Err(unsupported(name, "CMYK colours".into())),
            (8, components) => return Err(unsupported(name, format!("{components} samples a pixel"))),
            (bits, _) => return Err(unsupported(name, format!("{bits} bits a sample"))),
        }
    }
    match jpeg::is_whole(bytes) {
        Some(true) => decoded(bytes, ImageFormat::Jpeg, limits),
        Some(false) => Err(DecodeError::Truncated { format: name }),
        None if codestream::jpeg_has_end(bytes) => decoded(bytes, ImageFormat::Jpeg, limits),
        None => codestream::jpeg_without_end(bytes, |bytes| decoded(bytes, ImageFormat::Jpeg, limits).ok())
            .ok_or(DecodeError::Truncated { format: name }),
    }
}

fn unsupported(format: &'static str, feature: String) -> DecodeError {
    DecodeError::Unsupported { format, feature, instead: "a PNG of 8 or 16 bits" }
}

/// Grey values of a colour picture, and the share of its pixels that are coloured. The luminance is `image`'s (sRGB
/// weights 0.2126, 0.7152, 0.0722), which leaves grey pixels exactly as they are.
pub(super) fn luminance<T>(
    colour: &ImageBuffer<Rgb<T>, Vec<T>>,
    format: &'static str,
) -> Result<(Plane<T>, f32), DecodeError>
where
    T: Primitive,
    Rgb<T>: Pixel<Subpixel = T>,
{
    let full: f32 = T::DEFAULT_MAX_VALUE.to_f32().unwrap_or(f32::MAX);
    let spread = |pixel: &Rgb<T>| {
        let channels = pixel.0.map(|channel| channel.to_f32().unwrap_or(0.0));
        channels.iter().copied().fold(f32::MIN, f32::max) - channels.iter().copied().fold(f32::MAX, f32::min)
    };
    let coloured = colour.pixels().filter(|pixel| spread(pixel) > COLOURED * full + 0.5).count();
    let grey = colour.pixels().map(|pixel| pixel.to_luma().0[0]).collect();
    let share = coloured as f32 / (colour.width() as f32 * colour.height() as f32);
    Ok((plane(format, colour.width() as usize, colour.height() as usize, grey)?, share))
}

fn to_plane<T>(grey: ImageBuffer<Luma<T>, Vec<T>>, format: &'static str) -> Result<Plane<T>, DecodeError>
where
    T: Primitive,
    Luma<T>: Pixel<Subpixel = T>,
{
    plane(format, grey.width() as usize, grey.height() as usize, grey.into_raw())
}

/// Lays a transparent picture on black; others stay as they are.
fn on_black(image: DynamicImage) -> DynamicImage {
    fn lay<const FROM: usize, const TO: usize, T: Primitive>(values: &[T]) -> Vec<T> {
        let full = T::DEFAULT_MAX_VALUE.to_u64().unwrap_or(1);
        values
            .chunks_exact(FROM)
            .flat_map(|pixel| {
                let alpha = pixel[FROM - 1].to_u64().unwrap_or(full);
                std::array::from_fn::<T, TO, _>(|channel| {
                    let value = pixel[channel].to_u64().unwrap_or(0);
                    T::from((value * alpha + full / 2) / full).unwrap_or(pixel[channel])
                })
            })
            .collect()
    }
    let (width, height) = (image.width(), image.height());
    // The lengths fit by construction; were they not to, the picture as it is goes on and is refused as unsupported.
    let flat = match &image {
        DynamicImage::ImageLumaA8(picture) => {
            ImageBuffer::from_raw(width, height, lay::<2, 1, u8>(picture)).map(DynamicImage::ImageLuma8)
        }
        DynamicImage::ImageLumaA16(picture) => {
            ImageBuffer::from_raw(width, height, lay::<2, 1, u16>(picture)).map(DynamicImage::ImageLuma16)
        }
        DynamicImage::ImageRgba8(picture) => {
            ImageBuffer::from_raw(width, height, lay::<4, 3, u8>(picture)).map(DynamicImage::ImageRgb8)
        }
        DynamicImage::ImageRgba16(picture) => {
            ImageBuffer::from_raw(width, height, lay::<4, 3, u16>(picture)).map(DynamicImage::ImageRgb16)
        }
        _ => None,
    };
    flat.unwrap_or(image)
}

/// The eight EXIF orientations as transpose and flips.
fn from_exif(exif: Exif) -> Orientation {
    let (transpose, flip_horizontal, flip_vertical) = match exif {
        Exif::NoTransforms => (false, false, false),
        Exif::FlipHorizontal => (false, true, false),
        Exif::FlipVertical => (false, false, true),
        Exif::Rotate180 => (false, true, true),
        Exif::Rotate90FlipH => (true, false, false),
        Exif::Rotate90 => (true, true, false),
        Exif::Rotate270 => (true, false, true),
        Exif::Rotate270FlipH => (true, true, true),
    };
    Orientation { transpose, flip_horizontal, flip_vertical }
}

/// What `image` says, in our words.
fn translate(error: ImageError, format: &'static str, limits: &Limits) -> DecodeError {
    match error {
        ImageError::Limits(_) => DecodeError::TooMuchData { limit: limits.max_decoded_bytes },
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        ImageError::Unsupported(reason) => unsupported(format, format!("a feature unknown to the decoder ({reason})")),
        other => DecodeError::Damaged { format, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientations_turn_as_image_does() {
        let picture = ImageBuffer::from_fn(3, 2, |x, y| Luma([(10 * y + x) as u8]));
        for exif in (1..=8).filter_map(Exif::from_exif) {
            let mut expected = DynamicImage::ImageLuma8(picture.clone());
            expected.apply_orientation(exif);
            let turned = Plane::from_fn(3, 2, |x, y| (10 * y + x) as u8).oriented(from_exif(exif));
            assert_eq!((turned.width() as u32, turned.height() as u32), (expected.width(), expected.height()));
            assert_eq!(turned.data(), expected.as_bytes(), "{exif:?}");
        }
    }
}
