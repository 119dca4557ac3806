//! PNG, JPEG and TIFF, as exported by viewers and shared between hospitals.
//!
//! Such files carry no unit and no modality, only grey values; what they may carry, and a radiograph then loses its
//! meaning without, is a colour (luminance is taken, the share of coloured pixels is told), a transparency (black lies
//! behind it) and an EXIF orientation (applied).

use std::io::Cursor;

use image::{
    DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Luma, Pixel, Primitive, Rgb,
    metadata::Orientation as Exif,
};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

use super::{DecodeError, Frame, Limits, jpeg, oriented, plane};

/// A pixel counts as coloured when its channels differ by more than this many of 255 steps: what JPEG does to the chroma
/// of a grey picture stays below.
const COLOURED: f32 = 24.0 / 255.0;

/// Which of the three formats `bytes` are in, by their first bytes.
pub(super) fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
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
    let translate = |error| translate(error, name, limits);

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut image_limits = image::Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_decoded_bytes);
    reader.limits(image_limits.clone());
    let mut decoder = reader.into_decoder().map_err(translate)?;

    let (width, height) = decoder.dimensions();
    limits.check_dimensions(width.into(), height.into())?;
    if decoder.total_bytes() > limits.max_decoded_bytes {
        return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
    }
    decoder.set_limits(image_limits).map_err(translate)?;
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err(DecodeError::Truncated { format: name });
    }

    let orientation = from_exif(decoder.orientation().map_err(translate)?);
    let image = DynamicImage::from_decoder(decoder).map_err(translate)?;
    let (pixels, colour_share) = match on_black(image) {
        DynamicImage::ImageLuma8(grey) => (Pixels::Eight(oriented(to_plane(grey, name)?, orientation)), 0.0),
        DynamicImage::ImageLuma16(grey) => (Pixels::Sixteen(oriented(to_plane(grey, name)?, orientation)), 0.0),
        DynamicImage::ImageRgb8(colour) => {
            let (grey, share) = luminance(&colour, name)?;
            (Pixels::Eight(oriented(grey, orientation)), share)
        }
        DynamicImage::ImageRgb16(colour) => {
            let (grey, share) = luminance(&colour, name)?;
            (Pixels::Sixteen(oriented(grey, orientation)), share)
        }
        other => {
            return Err(DecodeError::Unsupported {
                format: name,
                feature: format!("pixels of type {:?}", other.color()),
                instead: "a PNG of 8 or 16 bits",
            });
        }
    };
    Ok(Frame {
        pixels,
        modality: None,
        orientation,
        stored_size: (width as usize, height as usize),
        spacing_mm: None,
        colour_share,
        sides_known: false,
        refer: None,
    })
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
        ImageError::Unsupported(reason) => DecodeError::Unsupported {
            format,
            feature: format!("a feature unknown to the decoder ({reason})"),
            instead: "a PNG of 8 or 16 bits",
        },
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
