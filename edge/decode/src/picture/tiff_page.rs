//! Which page of a TIFF is the picture, and whether its pixels are of a kind that is read.
//!
//! A TIFF is a chain of pictures, of which `image` reads the first and says nothing of the others. One may be a thumbnail of
//! another, and says so (NewSubfileType); several that are not are several films, and which was meant is not for us to guess.
//! What pixels `image` cannot read, or reads as something near, is named here by TIFF 6.0's tags.

use std::{borrow::Cow, io::Cursor};

use tiff::{TiffError, decoder::Decoder, tags::Tag};

use super::{DecodeError, Limits, unsupported};

/// The name of the format in messages.
const FORMAT: &str = "TIFF";

/// Bytes that begin with the only page of full size: those of the file, the address of its first page changed where that is
/// another.
pub(super) fn only<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, DecodeError> {
    let failed = |error| translate(error, limits);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let mut pages = 1;
    let mut full = vec![];
    loop {
        if !is_reduced(&mut decoder).map_err(failed)? {
            full.push(pages - 1);
        }
        if !decoder.more_images() {
            break;
        }
        decoder.next_image().map_err(failed)?;
        pages += 1;
    }
    let page = match full[..] {
        [page] => page,
        [] if pages == 1 => 0,
        _ => {
            let feature = format!("{pages} pages");
            return Err(DecodeError::Unsupported { format: FORMAT, feature, instead: "a TIFF of one page" });
        }
    };
    decoder.seek_to_image(page).map_err(failed)?;
    refuse_unread(&mut decoder).map_err(failed)??;
    let Some(address) = decoder.ifd_pointer().filter(|_| page > 0) else { return Ok(Cow::Borrowed(bytes)) };
    let mut moved = bytes.to_vec();
    let (little, eight) = (address.0.to_le_bytes(), address.0.to_be_bytes());
    let (at, address) = match *bytes {
        [b'I', _, 0x2b, ..] => (8, &little[..]),
        [b'M', _, _, 0x2b, ..] => (8, &eight[..]),
        [b'I', ..] => (4, &little[..4]),
        _ => (4, &eight[4..]),
    };
    moved[at..at + address.len()].copy_from_slice(address);
    Ok(Cow::Owned(moved))
}

/// Whether the page is a smaller version, or the transparency, of another.
fn is_reduced(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<bool, TiffError> {
    let flags = decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType)?.unwrap_or(0);
    Ok(flags & 0b101 != 0 || decoder.find_tag_unsigned::<u16>(Tag::SubfileType)? == Some(2))
}

/// Names what `image` does not read.
fn refuse_unread(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Result<(), DecodeError>, TiffError> {
    let photometric = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)?;
    let samples = decoder.find_tag_unsigned::<u16>(Tag::SamplesPerPixel)?.unwrap_or(1);
    let bits = decoder.find_tag_unsigned_vec::<u16>(Tag::BitsPerSample)?.unwrap_or_default();
    let bits = bits.iter().copied().max().unwrap_or(1);
    let format = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?.unwrap_or_default();
    let feature = match (photometric, format.first()) {
        (_, Some(2)) => "signed samples".to_owned(),
        (_, Some(3)) => "floating-point samples".to_owned(),
        (_, Some(&format)) if format != 1 => format!("samples of format {format}"),
        (Some(0 | 1), _) => match (samples, bits) {
            (1, 1 | 8 | 16) => return Ok(Ok(())),
            (1, bits) => format!("{bits} bits a pixel"),
            (samples, _) => format!("{samples} samples a pixel"),
        },
        (Some(2), _) => match (samples, bits) {
            (3 | 4, 8 | 16) => return Ok(Ok(())),
            (3 | 4, bits) => format!("{bits} bits a sample"),
            (samples, _) => format!("{samples} samples a pixel"),
        },
        (Some(3), _) => "a colour palette".to_owned(),
        (Some(4), _) => "a transparency mask".to_owned(),
        (Some(5), _) => "CMYK colours".to_owned(),
        (Some(6), _) => "YCbCr colours".to_owned(),
        (Some(8..=10), _) => "Lab colours".to_owned(),
        (Some(other), _) => format!("photometric interpretation {other}"),
        // That it is missing is for the decoder to say.
        (None, _) => return Ok(Ok(())),
    };
    Ok(Err(unsupported(FORMAT, feature)))
}

/// What `tiff` says, in our words.
fn translate(error: TiffError, limits: &Limits) -> DecodeError {
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: FORMAT }
        }
        TiffError::UnsupportedError(reason) => {
            unsupported(FORMAT, format!("a feature unknown to the decoder ({reason})"))
        }
        TiffError::LimitsExceeded => DecodeError::TooMuchData { limit: limits.max_decoded_bytes },
        other => DecodeError::Damaged { format: FORMAT, reason: other.to_string() },
    }
}
