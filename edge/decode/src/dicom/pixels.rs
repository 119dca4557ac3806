//! From pixel data, native or compressed, to one sample after the other.

use std::borrow::Cow;

use dicom_dictionary_std::{tags, uids};
use dicom_encoding::{
    adapters::{PixelDataObject, RawPixelData},
    transfer_syntax::Codec,
};

use super::{
    FORMAT, damaged,
    dataset::{DataSet, EXPLICIT_VR_BIG_ENDIAN},
};
use crate::{DecodeError, Limits, codestream};

/// The image pixel module (PS3.3, C.7.6.3): how samples lie in the pixel data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) columns: u16,
    pub(super) rows: u16,
    /// 1 or 3.
    pub(super) samples_per_pixel: u16,
    pub(super) photometric: String,
    /// 8 or 16.
    bits_allocated: u16,
    /// 1 to `bits_allocated`.
    pub(super) bits_stored: u16,
    /// `bits_stored - 1` to `bits_allocated - 1`.
    high_bit: u16,
    /// Two's complement.
    pub(super) signed: bool,
    /// All samples of a channel together, instead of all samples of a pixel.
    planar: bool,
}

impl Layout {
    /// Reads and checks the attributes.
    pub(super) fn read(data: &DataSet<'_>, limits: &Limits) -> Result<Self, DecodeError> {
        let required = |tag, name: &str| data.integer(tag)?.ok_or_else(|| damaged(format!("{name} is missing")));
        let rows = required(tags::ROWS, "Rows")?;
        let columns = required(tags::COLUMNS, "Columns")?;
        limits.check_dimensions(columns.try_into().unwrap_or(0), rows.try_into().unwrap_or(0))?;

        let samples_per_pixel = data.integer(tags::SAMPLES_PER_PIXEL)?.unwrap_or(1);
        let bits_allocated = required(tags::BITS_ALLOCATED, "Bits Allocated")?;
        let bits_stored = data.integer(tags::BITS_STORED)?.unwrap_or(bits_allocated);
        let high_bit = data.integer(tags::HIGH_BIT)?.unwrap_or(bits_stored.saturating_sub(1));
        if !matches!((bits_allocated, samples_per_pixel), (8 | 16, 1) | (8, 3)) {
            return Err(unsupported(format!("{samples_per_pixel} samples a pixel of {bits_allocated} bits")));
        }
        if !(1..=bits_allocated).contains(&bits_stored) || !(bits_stored - 1..bits_allocated).contains(&high_bit) {
            return Err(damaged(format!(
                "{bits_stored} bits stored of {bits_allocated} allocated, high bit {high_bit}"
            )));
        }
        let photometric = data
            .text(tags::PHOTOMETRIC_INTERPRETATION)
            .ok_or_else(|| damaged("Photometric Interpretation is missing".into()))?;
        let narrow = |value: i64| u16::try_from(value).map_err(|_| damaged(format!("{value} in the pixel module")));
        Ok(Self {
            columns: narrow(columns)?,
            rows: narrow(rows)?,
            samples_per_pixel: narrow(samples_per_pixel)?,
            photometric,
            bits_allocated: narrow(bits_allocated)?,
            bits_stored: narrow(bits_stored)?,
            high_bit: narrow(high_bit)?,
            signed: data.integer(tags::PIXEL_REPRESENTATION)? == Some(1),
            planar: data.integer(tags::PLANAR_CONFIGURATION)? == Some(1),
        })
    }

    /// Number of samples.
    fn samples(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns) * usize::from(self.samples_per_pixel)
    }

    /// The stored value that the low `bits_stored` bits of `code` stand for.
    pub(super) fn stored_value(&self, code: u16) -> i32 {
        let unused = 32 - u32::from(self.bits_stored);
        if self.signed { (i32::from(code) << unused) >> unused } else { i32::from(code) }
    }
}

/// How the samples were compressed, and what that did to the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Native,
    Rle,
    /// The decoder also turns YCbCr to RGB.
    Jpeg,
    /// The decoder also undoes the component transform.
    Jpeg2000,
}

/// The samples of a picture.
#[derive(Debug)]
pub(super) struct Samples {
    /// `bits_stored` bits each, channels of a pixel together, row by row.
    pub(super) codes: Vec<u16>,
    /// The photometric interpretation of `codes`, which is the file's unless the decoder changed it.
    pub(super) photometric: String,
}

/// The samples of the only frame.
pub(super) fn read(data: &DataSet<'_>, layout: &Layout) -> Result<Samples, DecodeError> {
    let coding = coding(data)?;
    let (bytes, bits_allocated, shift) = match coding {
        Coding::Native => {
            let bytes = match data.fragments() {
                Some(fragments) => fragments,
                None => data.native_pixels().ok_or(DecodeError::NoPixelData)?,
            };
            (bytes, layout.bits_allocated, layout.high_bit + 1 - layout.bits_stored)
        }
        _ => decompress(data, layout, coding)?,
    };
    let mask = ((1u32 << layout.bits_stored) - 1) as u16;
    let clean = |sample: u16| (sample >> shift) & mask;
    let samples = layout.samples();
    let needed = samples * usize::from(bits_allocated / 8);
    let bytes = bytes.get(..needed).ok_or(DecodeError::Truncated { format: FORMAT })?;
    let mut codes: Vec<u16> = if bits_allocated == 8 {
        bytes.iter().map(|&byte| clean(byte.into())).collect()
    } else {
        bytes.as_chunks().0.iter().map(|&pair| clean(u16::from_le_bytes(pair))).collect()
    };
    if layout.planar && layout.samples_per_pixel == 3 && coding == Coding::Native {
        let (red, rest) = codes.split_at(samples / 3);
        let (green, blue) = rest.split_at(samples / 3);
        codes = red.iter().zip(green).zip(blue).flat_map(|((&red, &green), &blue)| [red, green, blue]).collect();
    }
    let photometric = match coding {
        Coding::Jpeg | Coding::Jpeg2000 if layout.samples_per_pixel == 3 => "RGB".into(),
        _ => layout.photometric.clone(),
    };
    Ok(Samples { codes, photometric })
}

/// How the transfer syntax codes pixels; those that are not read are refused by name.
fn coding(data: &DataSet<'_>) -> Result<Coding, DecodeError> {
    let transfer_syntax = data.transfer_syntax;
    Ok(match transfer_syntax.uid() {
        uids::IMPLICIT_VR_LITTLE_ENDIAN
        | uids::EXPLICIT_VR_LITTLE_ENDIAN
        | EXPLICIT_VR_BIG_ENDIAN
        | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
        | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => Coding::Native,
        uids::RLE_LOSSLESS => Coding::Rle,
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
            Coding::Jpeg
        }
        uids::JPEG2000_LOSSLESS | uids::JPEG2000 | uids::HTJ2K_LOSSLESS | uids::HTJ2K_LOSSLESS_RPCL | uids::HTJ2K => {
            Coding::Jpeg2000
        }
        uid => return Err(DecodeError::TransferSyntax { name: transfer_syntax.name(), uid: uid.into() }),
    })
}

/// Decodes the fragments: bytes, bits a sample occupies in them, and unused bits below each sample.
fn decompress<'a>(
    data: &'a DataSet<'_>,
    layout: &Layout,
    coding: Coding,
) -> Result<(Cow<'a, [u8]>, u16, u16), DecodeError> {
    let encoded = data.fragments().ok_or_else(|| damaged("its pixels are not compressed as it says".into()))?;
    let broken = |what: &str| damaged(format!("its pixels are no {what} codestream"));
    let encoded = &*encoded;
    let (header, encoded) = match coding {
        Coding::Jpeg => {
            if !codestream::jpeg_is_complete(encoded) {
                return Err(DecodeError::Truncated { format: FORMAT });
            }
            let header = codestream::jpeg_header(encoded).ok_or_else(|| broken("JPEG"))?;
            if header.bits > 8 && !codestream::jpeg_is_lossless(encoded) {
                return Err(unsupported(format!("lossy JPEG of {} bits", header.bits)));
            }
            (Some(header), encoded)
        }
        Coding::Jpeg2000 => {
            let (header, codestream) = codestream::jpeg2000(encoded).ok_or_else(|| broken("JPEG 2000"))?;
            (Some(header), codestream)
        }
        Coding::Rle | Coding::Native => {
            // A segment for each byte of each sample; the decoder allocates as many as the header tells.
            let segments = u32::from(layout.samples_per_pixel * layout.bits_allocated / 8);
            if codestream::rle_segments(encoded) != Some(segments) {
                return Err(broken("RLE"));
            }
            (None, encoded)
        }
    };
    // The decoders believe the codestream, so it must ask for no more than the data set does.
    if let Some(header) = header {
        let told = (u32::from(layout.columns), u32::from(layout.rows), layout.samples_per_pixel);
        if (header.width, header.height, header.components) != told || header.bits > layout.bits_allocated {
            return Err(damaged(format!("compressed pixels ({header:?}) other than the data set says ({layout:?})")));
        }
    }
    // JPEG decoders give one byte a sample where that is enough, whatever the data set allocates.
    let bits_allocated = match header {
        Some(header) if header.bits <= 8 => 8,
        Some(_) => 16,
        None => layout.bits_allocated,
    };
    // A codestream of just the stored bits has lost the unused bits below them.
    let shift = match header {
        Some(header) if header.bits <= layout.bits_stored => 0,
        _ => layout.high_bit + 1 - layout.bits_stored,
    };
    let Codec::EncapsulatedPixelData(Some(decoder), _) = data.transfer_syntax.codec() else {
        let (name, uid) = (data.transfer_syntax.name(), data.transfer_syntax.uid().into());
        return Err(DecodeError::TransferSyntax { name, uid });
    };
    let frame = Frame { layout, bits_allocated, transfer_syntax: data.transfer_syntax.uid(), encoded };
    let mut decoded = Vec::new();
    decoder.decode_frame(&frame, 0, &mut decoded).map_err(|error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        damaged(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    })?;
    Ok((Cow::Owned(decoded), bits_allocated, shift))
}

/// One compressed frame, as the decoders of `dicom-transfer-syntax-registry` want it.
struct Frame<'a> {
    layout: &'a Layout,
    bits_allocated: u16,
    transfer_syntax: &'static str,
    encoded: &'a [u8],
}

impl PixelDataObject for Frame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.transfer_syntax
    }

    fn rows(&self) -> Option<u16> {
        Some(self.layout.rows)
    }

    fn cols(&self) -> Option<u16> {
        Some(self.layout.columns)
    }

    fn samples_per_pixel(&self) -> Option<u16> {
        Some(self.layout.samples_per_pixel)
    }

    fn bits_allocated(&self) -> Option<u16> {
        Some(self.bits_allocated)
    }

    fn bits_stored(&self) -> Option<u16> {
        Some(self.layout.bits_stored.min(self.bits_allocated))
    }

    fn photometric_interpretation(&self) -> Option<&str> {
        Some(&self.layout.photometric)
    }

    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }

    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }

    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.encoded))
    }

    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        None
    }

    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData { fragments: vec![self.encoded.to_vec()].into(), offset_table: Vec::new().into() })
    }
}

/// Pixels of a kind that is not read.
pub(super) fn unsupported(feature: String) -> DecodeError {
    DecodeError::Unsupported { format: FORMAT, feature, instead: "MONOCHROME2 of 8 to 16 bits" }
}
