//! From bytes to the few DICOM elements that make a picture.
//!
//! The token reader of `dicom-parser` walks the data set; only the elements in [`WANTED`] are kept, from the data set
//! itself and from the first item of its sequences, and reading ends with the pixel data. `dicom-object` would be less
//! code, but it builds nested sequences by recursion, so that a small file of nothing but opened sequences overflows the
//! stack, and it allocates whatever length a file claims.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use dicom_core::{DataElementHeader, Length, PrimitiveValue, Tag};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::{TransferSyntaxIndex, transfer_syntax::TransferSyntax};
use dicom_parser::dataset::{DataSetReader, DataToken};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{FORMAT, damaged};
use crate::{DecodeError, Limits};

/// The elements that are kept.
const WANTED: [Tag; 29] = [
    tags::MODALITY,
    tags::VIEW_POSITION,
    tags::IMAGER_PIXEL_SPACING,
    tags::PATIENT_ORIENTATION,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::VOILUT_FUNCTION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::RESCALE_TYPE,
    tags::LUT_DESCRIPTOR,
    tags::LUT_DATA,
    tags::FLOAT_PIXEL_DATA,
    tags::DOUBLE_FLOAT_PIXEL_DATA,
    tags::PIXEL_DATA,
];

/// What a data set says, as far as it is needed.
pub(super) struct DataSet {
    /// How the pixels are encoded.
    pub(super) transfer_syntax: &'static TransferSyntax,
    /// The elements of the data set itself.
    values: BTreeMap<Tag, PrimitiveValue>,
    /// The elements of the first item of each sequence, by sequence and element.
    items: BTreeMap<(Tag, Tag), PrimitiveValue>,
    /// The fragments of encapsulated pixel data put together: where there is one frame, all are its.
    fragments: Option<Vec<u8>>,
}

impl DataSet {
    /// Reads the data set of the DICOM file in `bytes`, with or without preamble and file meta information.
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        const REGISTRY: &TransferSyntaxRegistry = &TransferSyntaxRegistry;
        let (uid, encoded) = file_meta(bytes);
        let uid = uid.unwrap_or_else(|| guess_transfer_syntax(encoded).into());
        let transfer_syntax = REGISTRY
            .get(&uid)
            .ok_or_else(|| DecodeError::TransferSyntax { name: "an unknown transfer syntax", uid: uid.clone() })?;

        let encoded = if uid == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let mut inflated = Vec::new();
            flate2::read::DeflateDecoder::new(encoded)
                .take(limits.max_decoded_bytes.saturating_add(1))
                .read_to_end(&mut inflated)
                .map_err(|error| read_error(&error, error.to_string()))?;
            if inflated.len() as u64 > limits.max_decoded_bytes {
                return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
            }
            Cow::Owned(inflated)
        } else {
            Cow::Borrowed(encoded)
        };

        let mut data_set = Self { transfer_syntax, values: BTreeMap::new(), items: BTreeMap::new(), fragments: None };
        data_set.collect(&encoded)?;
        Ok(data_set)
    }

    /// Reads elements up to the pixel data or the end.
    fn collect(&mut self, encoded: &[u8]) -> Result<(), DecodeError> {
        // Nothing in the data set can be longer than the data set; asking first keeps claimed lengths from being allocated.
        let check = |length: Length| match length.get() {
            Some(length) if length as usize > encoded.len() => Err(DecodeError::Truncated { format: FORMAT }),
            _ => Ok(()),
        };
        let mut header: Option<DataElementHeader> = None;
        let mut sequences: Vec<Tag> = Vec::new();
        let mut items = 0;
        let tokens =
            DataSetReader::new_with_ts(encoded, self.transfer_syntax).map_err(|error| damaged(error.to_string()))?;
        for token in tokens {
            match token.map_err(|error| read_error(&error, error.to_string()))? {
                DataToken::ElementHeader(element) => {
                    check(element.len)?;
                    header = Some(element);
                }
                DataToken::PrimitiveValue(value) => {
                    let Some(DataElementHeader { tag, .. }) = header.take() else { continue };
                    match sequences[..] {
                        _ if !WANTED.contains(&tag) => {}
                        [] => {
                            self.values.insert(tag, value);
                        }
                        [sequence] if items == 1 => {
                            self.items.insert((sequence, tag), value);
                        }
                        _ => {}
                    }
                    if tag == tags::PIXEL_DATA && sequences.is_empty() {
                        break;
                    }
                }
                DataToken::SequenceStart { tag, .. } => {
                    if sequences.is_empty() {
                        items = 0;
                    }
                    sequences.push(tag);
                }
                // An icon image in a sequence may be encapsulated, too.
                DataToken::PixelSequenceStart => {
                    if sequences.is_empty() {
                        self.fragments = Some(Vec::new());
                    }
                    sequences.push(tags::PIXEL_DATA);
                }
                DataToken::SequenceEnd => {
                    sequences.pop();
                    if sequences.is_empty() && self.fragments.is_some() {
                        break;
                    }
                }
                DataToken::ItemStart { len } => {
                    check(len)?;
                    if sequences.len() == 1 {
                        items += 1;
                    }
                }
                DataToken::ItemValue(fragment) => {
                    if let ([tags::PIXEL_DATA], Some(fragments)) = (&sequences[..], &mut self.fragments) {
                        fragments.extend(fragment);
                    }
                }
                DataToken::ItemEnd | DataToken::OffsetTable(_) => {}
            }
        }
        Ok(())
    }

    /// A value of the data set; empty values count as absent.
    pub(super) fn get(&self, tag: Tag) -> Option<&PrimitiveValue> {
        self.values.get(&tag).filter(|value| value.calculate_byte_len() > 0)
    }

    /// A text without the spaces around it, `None` where absent or blank.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        Some(self.get(tag)?.to_str().trim_matches([' ', '\0']).to_owned()).filter(|text| !text.is_empty())
    }

    /// The parts of a text of several values.
    pub(super) fn texts(&self, tag: Tag) -> Vec<String> {
        let parts = |value: &PrimitiveValue| {
            value.to_multi_str().iter().map(|part| part.trim_matches([' ', '\0']).to_owned()).collect()
        };
        self.get(tag).map(parts).unwrap_or_default()
    }

    /// An integer; `None` where absent.
    pub(super) fn integer(&self, tag: Tag) -> Result<Option<i64>, DecodeError> {
        self.get(tag).map(|value| value.to_int().map_err(|error| damaged(format!("{tag}: {error}")))).transpose()
    }

    /// Finite numbers; empty where absent.
    pub(super) fn numbers(&self, tag: Tag) -> Result<Vec<f64>, DecodeError> {
        let Some(value) = self.get(tag) else { return Ok(Vec::new()) };
        let numbers = value.to_multi_float64().map_err(|error| damaged(format!("{tag}: {error}")))?;
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(damaged(format!("{tag} is not finite")))
        }
    }

    /// A value in the first item of a sequence.
    pub(super) fn item(&self, sequence: Tag, tag: Tag) -> Option<&PrimitiveValue> {
        self.items.get(&(sequence, tag))
    }

    /// The native pixel data, little endian.
    pub(super) fn native_pixels(&self) -> Option<Cow<'_, [u8]>> {
        self.get(tags::PIXEL_DATA).map(PrimitiveValue::to_bytes)
    }

    /// The encapsulated pixel data.
    pub(super) fn fragments(&self) -> Option<&[u8]> {
        self.fragments.as_deref()
    }
}

/// Whether the file says by `DICM` that it is DICOM.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM") || bytes.starts_with(b"DICM")
}

/// Whether the file begins, without preamble, with what could be the file meta information or the data set itself.
pub(crate) fn looks_bare(bytes: &[u8]) -> bool {
    match *bytes {
        [2, 0, element, 0, v, r, ..] => element <= 0x16 && v.is_ascii_uppercase() && r.is_ascii_uppercase(),
        // Explicit VR, or implicit VR with the length that a first element (group length, character set, ...) has.
        [8, 0, _, 0, v, r, l2, l3, ..] => {
            (v.is_ascii_uppercase() && r.is_ascii_uppercase()) || (r, l2, l3) == (0, 0, 0)
        }
        _ => false,
    }
}

/// The transfer syntax that the file meta information names, and the bytes after it. It is always in Explicit VR
/// Little Endian (PS3.10, 7.1); its group length is often wrong, so that the elements are walked instead.
fn file_meta(bytes: &[u8]) -> (Option<String>, &[u8]) {
    let mut rest = match bytes {
        _ if bytes.get(128..132) == Some(b"DICM") => &bytes[132..],
        [b'D', b'I', b'C', b'M', rest @ ..] => rest,
        _ => bytes,
    };
    let mut uid = None;
    while let &[2, 0, element, high, ref vr @ ..] = &rest[..rest.len().min(6)] {
        let (header, length) = match (vr, rest) {
            (b"OB" | b"OW" | b"UN" | b"SQ" | b"UT", &[_, _, _, _, _, _, _, _, a, b, c, d, ..]) => {
                (12, u32::from_le_bytes([a, b, c, d]) as usize)
            }
            (_, &[_, _, _, _, _, _, a, b, ..]) => (8, usize::from(u16::from_le_bytes([a, b]))),
            _ => break,
        };
        let Some(value) = length.checked_add(header).and_then(|end| rest.get(header..end)) else { break };
        if (element, high) == (0x10, 0) {
            uid = Some(String::from_utf8_lossy(value).trim_matches([' ', '\0']).to_owned());
        }
        rest = &rest[header + length..];
    }
    (uid.filter(|uid| !uid.is_empty()), rest)
}

/// What the first element of a data set without file meta information looks like.
fn guess_transfer_syntax(data_set: &[u8]) -> &'static str {
    match *data_set {
        [_, _, _, _, v, r, ..] if v.is_ascii_uppercase() && r.is_ascii_uppercase() => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        _ => uids::IMPLICIT_VR_LITTLE_ENDIAN,
    }
}

/// A reader's error: cut short, if an unexpected end is among its causes.
fn read_error(error: &(dyn std::error::Error + 'static), reason: String) -> DecodeError {
    let cut = std::iter::successors(Some(error), |error| error.source())
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof);
    if cut { DecodeError::Truncated { format: FORMAT } } else { damaged(reason) }
}
