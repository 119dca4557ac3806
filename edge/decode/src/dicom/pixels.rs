//! From pixel data, native or compressed, to one sample after the other.
//!
//! The transfer syntax names a family of codings; which one of it was used, and with how many bits and components, the codestream
//! says, and it is believed before the data set, as pydicom does.

use std::borrow::Cow;

use dicom_dictionary_std::{tags, uids};
use dicom_encoding::{
    adapters::{PixelDataObject, RawPixelData},
    transfer_syntax::Codec,
};
use jpeg_decoder::ColorTransform;

use super::{
    FORMAT, damaged,
    dataset::{DataSet, EXPLICIT_VR_BIG_ENDIAN},
};
use crate::{
    DecodeError, Limits,
    codestream::{self, CodestreamError, Header},
    jpeg, jpeg_ls,
};

/// The image pixel module (PS3.3, C.7.6.3): how samples lie in the pixel data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) columns: u16,
    pub(super) rows: u16,
    /// Pictures, one after the other.
    pub(super) frames: usize,
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
        if !matches!((bits_allocated, samples_per_pixel), (8 | 16, 1 | 3)) {
            let samples =
                if samples_per_pixel == 1 { "one sample".into() } else { format!("{samples_per_pixel} samples") };
            let bits = if bits_allocated == 1 { "one bit".into() } else { format!("{bits_allocated} bits") };
            return Err(unsupported(format!("{samples} a pixel of {bits}")));
        }
        if !(1..=bits_allocated).contains(&bits_stored) || !(bits_stored - 1..bits_allocated).contains(&high_bit) {
            return Err(damaged(format!(
                "{bits_stored} bits stored of {bits_allocated} allocated, high bit {high_bit}"
            )));
        }
        let photometric = data
            .keyword(tags::PHOTOMETRIC_INTERPRETATION)
            .ok_or_else(|| damaged("Photometric Interpretation is missing".into()))?;
        let narrow = |value: i64| u16::try_from(value).map_err(|_| damaged(format!("{value} in the pixel module")));
        Ok(Self {
            columns: narrow(columns)?,
            rows: narrow(rows)?,
            frames: usize::try_from(data.integer(tags::NUMBER_OF_FRAMES)?.unwrap_or(1)).unwrap_or(1).max(1),
            samples_per_pixel: narrow(samples_per_pixel)?,
            photometric,
            bits_allocated: narrow(bits_allocated)?,
            bits_stored: narrow(bits_stored)?,
            high_bit: narrow(high_bit)?,
            signed: data.integer(tags::PIXEL_REPRESENTATION)? == Some(1),
            planar: data.integer(tags::PLANAR_CONFIGURATION)? == Some(1),
        })
    }

    /// Pixels of a frame.
    pub(super) fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    /// The stored value that the low `bits_stored` bits of `code` stand for.
    pub(super) fn stored_value(&self, code: u16) -> i32 {
        let unused = 32 - u32::from(self.bits_stored);
        if self.signed { (i32::from(code) << unused) >> unused } else { i32::from(code) }
    }

    /// Unused bits below a sample.
    fn shift(&self) -> u16 {
        self.high_bit + 1 - self.bits_stored
    }

    /// The `bits_stored` bits of a sample as it lies in memory.
    fn code(&self, sample: u16, shift: u16) -> u16 {
        (sample >> shift) & ((1u32 << self.bits_stored) - 1) as u16
    }
}

/// How a family of transfer syntaxes codes samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Native,
    Rle,
    /// JPEG and JPEG-LS, which the codestream tells apart.
    Jpeg,
    Jpeg2000,
}

/// The samples of a picture.
#[derive(Debug)]
pub(super) struct Samples {
    /// `bits_stored` bits each, channels of a pixel together, row by row.
    pub(super) codes: Vec<u16>,
    /// Samples a pixel, 1 or 3: those of the codestream.
    pub(super) channels: u16,
    /// The photometric interpretation of `codes`, which is the file's unless the decoder changed it.
    pub(super) photometric: String,
}

/// The samples of frame `index`, counted from 0.
pub(super) fn read(data: &DataSet<'_>, layout: &Layout, index: usize) -> Result<Samples, DecodeError> {
    match coding(data)? {
        Coding::Native => native(data, layout, index),
        Coding::Rle => rle(data, layout, &frame(data, layout, index, |_| true)?),
        Coding::Jpeg => jpeg(layout, &frame(data, layout, index, |bytes| bytes.starts_with(&[0xff, 0xd8]))?),
        Coding::Jpeg2000 => {
            jpeg_2000(data, layout, &frame(data, layout, index, |bytes| codestream::jpeg2000(bytes).is_some())?)
        }
    }
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
        uids::JPEG2000_LOSSLESS | uids::JPEG2000 | uids::HTJ2K_LOSSLESS | uids::HTJ2K_LOSSLESS_RPCL | uids::HTJ2K => {
            Coding::Jpeg2000
        }
        uid if is_jpeg(uid) => Coding::Jpeg,
        uid => return Err(DecodeError::TransferSyntax { name: transfer_syntax.name(), uid: uid.into() }),
    })
}

/// Whether a transfer syntax is one of JPEG's (50 to 66 and 70, most of them retired) or JPEG-LS's (80 and 81).
fn is_jpeg(uid: &str) -> bool {
    let number = uid.strip_prefix("1.2.840.10008.1.2.4.").and_then(|number| number.parse::<u8>().ok());
    matches!(number, Some(50..=66 | 70 | 80 | 81))
}

/// What is compressed of frame `index`. A frame may be cut into fragments: the offset table says which are its own (PS3.5, A.4), or
/// else it is told by fragments that begin a codestream.
fn frame<'a>(
    data: &'a DataSet<'_>,
    layout: &Layout,
    index: usize,
    begins: impl Fn(&[u8]) -> bool,
) -> Result<Cow<'a, [u8]>, DecodeError> {
    let fragments = data.fragment_list().ok_or_else(|| damaged("its pixels are not compressed as it says".into()))?;
    let own = if layout.frames == 1 {
        &fragments[..]
    } else if fragments.len() == layout.frames {
        &fragments[index..=index]
    } else {
        let mut starts: Vec<usize> = by_offset(&data.offset_table(), &fragments);
        if starts.len() != layout.frames {
            starts = (0..fragments.len()).filter(|&fragment| begins(fragments[fragment])).collect();
        }
        if starts.len() != layout.frames || starts.first() != Some(&0) {
            return Err(damaged(format!("{} fragments of {} frames", fragments.len(), layout.frames)));
        }
        let end = starts.get(index + 1).copied().unwrap_or(fragments.len());
        &fragments[starts[index]..end]
    };
    match own {
        [] => Err(DecodeError::NoPixelData),
        [one] => Ok(Cow::Borrowed(one)),
        all => Ok(Cow::Owned(all.concat())),
    }
}

/// The fragments at which the frames begin, by the offset table; those of its offsets that meet no fragment are left out.
fn by_offset(table: &[u32], fragments: &[&[u8]]) -> Vec<usize> {
    let mut place = 0u64;
    let places: Vec<u64> = fragments
        .iter()
        .map(|fragment| {
            let here = place;
            // Tag and length come before each.
            place += 8 + fragment.len() as u64;
            here
        })
        .collect();
    table.iter().filter_map(|&offset| places.binary_search(&u64::from(offset)).ok()).collect()
}

/// Samples as they lie in memory.
fn native(data: &DataSet<'_>, layout: &Layout, index: usize) -> Result<Samples, DecodeError> {
    let bytes = match data.fragment_list() {
        Some(_) => frame(data, layout, index, |_| false)?,
        None => data.native_pixels(layout.bits_allocated > 8).ok_or(DecodeError::NoPixelData)?,
    };
    let width = usize::from(layout.bits_allocated / 8);
    let pixels = layout.pixels();
    let whole = pixels * usize::from(layout.samples_per_pixel) * width;
    // Two pixels of a row share their colour (PS3.3, C.7.6.3.1.2), but not every writer that says so does so.
    let halved =
        layout.photometric == "YBR_FULL_422" && layout.samples_per_pixel == 3 && bytes.len() < layout.frames * whole;
    if halved && (layout.bits_allocated != 8 || layout.columns % 2 == 1) {
        return Err(unsupported("YBR_FULL_422 of more than 8 bits, or of an odd width".into()));
    }
    let needed = if halved { 2 * pixels } else { whole };
    let start = match data.fragment_list() {
        Some(_) => 0,
        None => index * needed,
    };
    let bytes = start
        .checked_add(needed)
        .and_then(|end| bytes.get(start..end))
        .ok_or(DecodeError::Truncated { format: FORMAT })?;
    let code = |sample| layout.code(sample, layout.shift());
    let mut codes: Vec<u16> = match width {
        1 => bytes.iter().map(|&byte| code(byte.into())).collect(),
        _ => bytes.as_chunks().0.iter().map(|&pair| code(u16::from_le_bytes(pair))).collect(),
    };
    if halved {
        let pairs = codes.as_chunks::<4>().0.iter();
        codes = pairs.flat_map(|&[first, second, blue, red]| [first, blue, red, second, blue, red]).collect();
    } else if layout.planar && layout.samples_per_pixel == 3 {
        let (red, rest) = codes.split_at(pixels);
        let (green, blue) = rest.split_at(pixels);
        codes = red.iter().zip(green).zip(blue).flat_map(|((&red, &green), &blue)| [red, green, blue]).collect();
    }
    Ok(Samples { codes, channels: layout.samples_per_pixel, photometric: layout.photometric.clone() })
}

/// RLE (PS3.5, annex G).
fn rle(data: &DataSet<'_>, layout: &Layout, encoded: &[u8]) -> Result<Samples, DecodeError> {
    // A segment for each byte of each sample; the decoder allocates as many as the header tells.
    let segments = u32::from(layout.samples_per_pixel * layout.bits_allocated / 8);
    if codestream::rle_segments(encoded) != Some(segments) {
        return Err(broken("RLE"));
    }
    let bytes = decode_frame(data, layout, layout.bits_allocated, layout.samples_per_pixel, encoded)?;
    let code = |sample| layout.code(sample, layout.shift());
    let codes = match layout.bits_allocated {
        8 => bytes.iter().map(|&byte| code(byte.into())).collect(),
        _ => bytes.as_chunks().0.iter().map(|&pair| code(u16::from_le_bytes(pair))).collect(),
    };
    whole(Samples { codes, channels: layout.samples_per_pixel, photometric: layout.photometric.clone() }, layout)
}

/// JPEG and JPEG-LS.
fn jpeg(layout: &Layout, encoded: &[u8]) -> Result<Samples, DecodeError> {
    let header = codestream::jpeg_header(encoded).ok_or_else(|| broken("JPEG"))?;
    check(layout, &header)?;
    let pixels = layout.pixels() * usize::from(header.components);
    let told = |channels| match channels {
        3 if layout.samples_per_pixel == 3 => layout.photometric.clone(),
        3 => "RGB".into(),
        _ => grey(layout),
    };
    if codestream::is_jpeg_ls(encoded) {
        let picture = jpeg_ls::decode(encoded, pixels).map_err(refused)?;
        let codes = stored_codes(layout, &header, picture.samples.iter().map(|&sample| sample.into()), true);
        return whole(Samples { codes, channels: header.components, photometric: told(header.components) }, layout);
    }
    if !jpeg::is_complete(encoded) {
        return Err(DecodeError::Truncated { format: FORMAT });
    }
    let lossless = codestream::jpeg_is_lossless(encoded);
    if header.bits > 8 && !lossless {
        let samples = jpeg::decode(encoded, pixels).map_err(refused)?;
        // What loss brought above the highest value that can be stored is that value.
        let highest = i32::from(layout.code(u16::MAX, 0));
        let samples = samples.iter().map(|&sample| i32::from(sample).min(highest));
        let codes = stored_codes(layout, &header, samples, false);
        return whole(Samples { codes, channels: 1, photometric: grey(layout) }, layout);
    }
    // The decoder wants an end marker after the data.
    let ended: Cow<'_, [u8]> = match codestream::jpeg_has_end(encoded) {
        true => encoded.into(),
        false => [encoded, &[0xff, 0xd9]].concat().into(),
    };
    let mut decoder = jpeg_decoder::Decoder::new(&*ended);
    decoder.set_max_decoding_buffer_size(2 * pixels);
    // It takes three components for YCbCr where nothing in the codestream says otherwise; the data set may.
    let rgb = layout.photometric == "RGB" && header.components == 3;
    if rgb && !codestream::jpeg_tells_colours(encoded) {
        decoder.set_color_transform(ColorTransform::None);
    }
    let bytes = decoder.decode().map_err(|error| match error {
        jpeg_decoder::Error::Unsupported(feature) => unsupported(format!("JPEG of {} bits ({feature:?})", header.bits)),
        error => damaged(error.to_string()),
    })?;
    let samples: Vec<i32> = match decoder.info().map(|info| info.pixel_format) {
        Some(jpeg_decoder::PixelFormat::L16) => {
            bytes.as_chunks().0.iter().map(|&pair| u16::from_ne_bytes(pair).into()).collect()
        }
        _ => bytes.iter().map(|&byte| byte.into()).collect(),
    };
    let codes = stored_codes(layout, &header, samples.into_iter(), false);
    let photometric = if header.components == 3 { "RGB".into() } else { grey(layout) };
    whole(Samples { codes, channels: header.components, photometric }, layout)
}

/// JPEG 2000, of either block coder.
fn jpeg_2000(data: &DataSet<'_>, layout: &Layout, encoded: &[u8]) -> Result<Samples, DecodeError> {
    let (header, codestream) = codestream::jpeg2000(encoded).ok_or_else(|| broken("JPEG 2000"))?;
    check(layout, &header)?;
    let bits = if header.bits <= 8 { 8 } else { 16 };
    let bytes = decode_frame(data, layout, bits, header.components, codestream)?;
    let samples: Vec<i32> = match bits {
        8 => bytes.iter().map(|&byte| byte.into()).collect(),
        _ => bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair).into()).collect(),
    };
    let codes = stored_codes(layout, &header, samples.into_iter(), true);
    let photometric = match (header.components, layout.photometric.as_str()) {
        (1, _) => grey(layout),
        // Where the codestream holds what the data set says, nothing was undone.
        (_, told @ ("YBR_FULL" | "YBR_FULL_422")) if !header.transformed => told.into(),
        _ => "RGB".into(),
    };
    whole(Samples { codes, channels: header.components, photometric }, layout)
}

/// The codes of decoded `samples`. Where the data set says that they are signed and the codestream cannot say so, or says otherwise
/// (`own_sign`), it is its highest bit that is their sign.
fn stored_codes(layout: &Layout, header: &Header, samples: impl Iterator<Item = i32>, own_sign: bool) -> Vec<u16> {
    // A codestream of just the stored bits has lost the unused bits below them.
    let shift = if header.bits <= layout.bits_stored { 0 } else { layout.shift() };
    let unused = 32 - u32::from(header.bits);
    samples
        .map(|sample| {
            let bits = sample << unused;
            let sample = if own_sign && layout.signed { bits >> unused } else { (bits as u32 >> unused) as i32 };
            layout.code(sample as u16, shift)
        })
        .collect()
}

/// Refuses a codestream that asks for more than the data set does: the decoders believe it.
fn check(layout: &Layout, header: &Header) -> Result<(), DecodeError> {
    let size = (u32::from(layout.columns), u32::from(layout.rows));
    if !matches!(header.components, 1 | 3) {
        return Err(unsupported(format!("{} samples a pixel", header.components)));
    }
    if (header.width, header.height) != size || !(1..=16).contains(&header.bits) || header.bits > layout.bits_allocated
    {
        let Header { width, height, bits, .. } = header;
        return Err(damaged(format!(
            "the compressed picture has {width} x {height} pixels of {bits} bits, the data set says {} x {} of {}",
            size.0, size.1, layout.bits_allocated
        )));
    }
    Ok(())
}

/// The samples, if there are as many as the picture needs.
fn whole(samples: Samples, layout: &Layout) -> Result<Samples, DecodeError> {
    let needed = layout.pixels() * usize::from(samples.channels);
    match samples.codes.len() == needed {
        true => Ok(samples),
        false => Err(damaged(format!("{} samples where {needed} were told", samples.codes.len()))),
    }
}

/// The photometric interpretation of one channel, also where the data set expected three.
fn grey(layout: &Layout) -> String {
    if layout.samples_per_pixel == 1 { layout.photometric.clone() } else { "MONOCHROME2".into() }
}

/// Has a decoder of `dicom-transfer-syntax-registry` decode a frame.
fn decode_frame(
    data: &DataSet<'_>,
    layout: &Layout,
    bits_allocated: u16,
    channels: u16,
    encoded: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let transfer_syntax = data.transfer_syntax;
    let Codec::EncapsulatedPixelData(Some(decoder), _) = transfer_syntax.codec() else {
        return Err(DecodeError::TransferSyntax { name: transfer_syntax.name(), uid: transfer_syntax.uid().into() });
    };
    let frame = Frame { layout, bits_allocated, channels, transfer_syntax: transfer_syntax.uid(), encoded };
    let mut decoded = Vec::new();
    decoder.decode_frame(&frame, 0, &mut decoded).map_err(|error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        damaged(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    })?;
    Ok(decoded)
}

/// One compressed frame, as the decoders of `dicom-transfer-syntax-registry` want it.
struct Frame<'a> {
    layout: &'a Layout,
    bits_allocated: u16,
    channels: u16,
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
        Some(self.channels)
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

fn broken(what: &str) -> DecodeError {
    damaged(format!("its pixels are no {what} codestream"))
}

/// What our own decoders say.
fn refused(error: CodestreamError) -> DecodeError {
    match error {
        CodestreamError::Truncated => DecodeError::Truncated { format: FORMAT },
        CodestreamError::Damaged(reason) => damaged(reason.into()),
        CodestreamError::Unsupported(feature) => unsupported(feature),
    }
}
