//! From bytes to the few DICOM elements that make a picture.
//!
//! [`elements`](super::elements) walks the data set; the elements in [`WANTED`] are kept, from the data set itself, from the first
//! item of its sequences, and from the functional groups of the enhanced objects (PS3.3, C.7.6.16), and reading ends with the pixel
//! data. What an element means is asked here, whatever its VR is told to be: archives write known elements as `UN`, numbers
//! as text, and decimal commas.

use std::{borrow::Cow, collections::BTreeMap, io::Read, ops::ControlFlow, ops::Range};

use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::{TransferSyntaxIndex, transfer_syntax::TransferSyntax};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{
    FORMAT, damaged,
    elements::{Found, Step, Syntax, standard_vr, walk},
};
use crate::{DecodeError, Limits};

/// The elements that are kept.
const WANTED: [Tag; 59] = [
    tags::SOP_CLASS_UID,
    tags::IMAGE_TYPE,
    tags::MODALITY,
    tags::PRESENTATION_INTENT_TYPE,
    tags::VIEW_POSITION,
    tags::CODE_VALUE,
    tags::CODE_MEANING,
    tags::PATIENT_POSITION,
    tags::IMAGER_PIXEL_SPACING,
    tags::SHUTTER_SHAPE,
    tags::SHUTTER_LEFT_VERTICAL_EDGE,
    tags::SHUTTER_RIGHT_VERTICAL_EDGE,
    tags::SHUTTER_UPPER_HORIZONTAL_EDGE,
    tags::SHUTTER_LOWER_HORIZONTAL_EDGE,
    tags::CENTER_OF_CIRCULAR_SHUTTER,
    tags::RADIUS_OF_CIRCULAR_SHUTTER,
    tags::VERTICES_OF_THE_POLYGONAL_SHUTTER,
    tags::SERIES_INSTANCE_UID,
    tags::SOP_INSTANCE_UID,
    tags::INSTANCE_NUMBER,
    tags::PATIENT_ORIENTATION,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::FRAME_TYPE,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::PIXEL_ASPECT_RATIO,
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
    tags::PRESENTATION_LUT_SHAPE,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::FLOAT_PIXEL_DATA,
    tags::DOUBLE_FLOAT_PIXEL_DATA,
    tags::PIXEL_DATA,
];

/// An element's value, as bytes of a known meaning.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    vr: VR,
    big_endian: bool,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The parts of a text, or of numbers in words, without the spaces around them.
    pub(super) fn texts(&self) -> Vec<String> {
        match self.vr {
            VR::US | VR::SS | VR::UL | VR::SL | VR::FL | VR::FD | VR::OW | VR::OB | VR::UN => {
                self.numbers().map(|numbers| numbers.iter().map(ToString::to_string).collect()).unwrap_or_default()
            }
            _ => {
                let text = String::from_utf8_lossy(self.bytes);
                text.trim_end_matches([' ', '\0'])
                    .split('\\')
                    .map(|part| part.trim_matches([' ', '\0']).to_owned())
                    .collect()
            }
        }
    }

    /// The numbers; `None` if a part is no number. A comma is taken for a point where it can be nothing else.
    fn numbers(&self) -> Option<Vec<f64>> {
        fn all<const N: usize>(value: &Value<'_>, number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let chunks = value.bytes.as_chunks().0.iter();
            chunks
                .map(|&(mut bytes)| {
                    if value.big_endian {
                        bytes.reverse();
                    }
                    number(bytes)
                })
                .collect()
        }
        Some(match self.vr {
            VR::US | VR::OW | VR::UN => all(self, |bytes| u16::from_le_bytes(bytes).into()),
            VR::SS => all(self, |bytes| i16::from_le_bytes(bytes).into()),
            VR::UL | VR::OL => all(self, |bytes| u32::from_le_bytes(bytes).into()),
            VR::SL => all(self, |bytes| i32::from_le_bytes(bytes).into()),
            VR::FL | VR::OF => all(self, |bytes| f32::from_le_bytes(bytes).into()),
            VR::FD | VR::OD => all(self, f64::from_le_bytes),
            VR::OB => self.bytes.iter().map(|&byte| byte.into()).collect(),
            _ => {
                let texts = self.texts();
                return texts.iter().map(|text| text.replace(',', ".").parse().ok()).collect();
            }
        })
    }

    /// Whole numbers of 16 bits in the order of this machine, as look-up tables and their descriptors are written.
    pub(super) fn words(&self) -> Vec<u16> {
        let of = |pair: &[u8; 2]| if self.big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
        match self.vr {
            VR::US | VR::SS | VR::OW | VR::OB | VR::UN => self.bytes.as_chunks().0.iter().map(of).collect(),
            _ => self.numbers().unwrap_or_default().into_iter().map(|number| number as i32 as u16).collect(),
        }
    }

    /// The bytes as stored.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Where a value lies.
#[derive(Clone, Debug)]
struct Place {
    vr: VR,
    big_endian: bool,
    span: Range<usize>,
}

/// What a data set says, as far as it is needed.
pub(super) struct DataSet<'a> {
    /// How the pixels are encoded.
    pub(super) transfer_syntax: &'static TransferSyntax,
    /// The frame that is asked about, counted from 0.
    pub(super) frame: usize,
    /// The data set as it is written, unpacked.
    encoded: Cow<'a, [u8]>,
    /// The elements of the data set itself.
    values: BTreeMap<Tag, Place>,
    /// The elements of the first item of each sequence, by sequence and element.
    items: BTreeMap<(Tag, Tag), Place>,
    /// The elements of the functional groups that all frames share.
    shared_groups: BTreeMap<Tag, Place>,
    /// Those of each frame.
    frame_groups: Vec<BTreeMap<Tag, Place>>,
    /// The offset table and the fragments of encapsulated pixel data.
    fragments: Option<Vec<Range<usize>>>,
}

impl<'a> DataSet<'a> {
    /// Reads the data set of the DICOM file in `bytes`, with or without preamble and file meta information.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
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
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated { format: FORMAT },
                    _ => damaged(error.to_string()),
                })?;
            if inflated.len() as u64 > limits.max_decoded_bytes {
                return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
            }
            Cow::Owned(inflated)
        } else {
            Cow::Borrowed(encoded)
        };
        let syntax =
            Syntax { explicit: uid != uids::IMPLICIT_VR_LITTLE_ENDIAN, big_endian: uid == EXPLICIT_VR_BIG_ENDIAN };
        let mut data_set = Self {
            transfer_syntax,
            frame: 0,
            encoded: Cow::Borrowed(&[]),
            values: BTreeMap::new(),
            items: BTreeMap::new(),
            shared_groups: BTreeMap::new(),
            frame_groups: Vec::new(),
            fragments: None,
        };
        walk(&encoded, syntax, |path, found| data_set.keep(path, found))?;
        data_set.encoded = encoded;
        Ok(data_set)
    }

    /// Keeps what is wanted, up to the pixel data.
    fn keep(&mut self, path: &[Step], found: Found) -> ControlFlow<()> {
        let (tag, place) = match found {
            Found::Element { tag, vr, big_endian, value } if WANTED.contains(&tag) => {
                // Bytes of no told meaning have that of the standard.
                let vr = match standard_vr(tag) {
                    Some(standard) if matches!(vr, VR::UN | VR::OB) => standard,
                    _ => vr,
                };
                (tag, Place { vr, big_endian, span: value })
            }
            Found::Element { .. } => return ControlFlow::Continue(()),
            Found::Fragment(value) => {
                self.fragments.get_or_insert_default().push(value);
                return ControlFlow::Continue(());
            }
            Found::FragmentsEnd => {
                self.fragments.get_or_insert_default();
                return ControlFlow::Break(());
            }
        };
        match *path {
            [] => {
                self.values.insert(tag, place);
                if tag == tags::PIXEL_DATA {
                    return ControlFlow::Break(());
                }
            }
            [Step { sequence, item: 0 }] => {
                self.items.insert((sequence, tag), place);
            }
            // A group of one attribute or more, in a sequence of its own with one item.
            [Step { sequence: tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, item: 0 }, Step { item: 0, .. }] => {
                self.shared_groups.insert(tag, place);
            }
            [Step { sequence: tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, item }, Step { item: 0, .. }] => {
                // Items come one after the other, each with bytes of its own, so this never grows beyond the file.
                if item >= self.frame_groups.len() {
                    self.frame_groups.resize_with(item + 1, BTreeMap::new);
                }
                self.frame_groups[item].insert(tag, place);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn value(&self, place: &Place) -> Option<Value<'_>> {
        let bytes = &self.encoded[place.span.clone()];
        (!bytes.is_empty()).then_some(Value { vr: place.vr, big_endian: place.big_endian, bytes })
    }

    /// A value of the data set or, in the enhanced objects, of the functional groups of all frames or of the [`Self::frame`];
    /// empty values count as absent.
    pub(super) fn get(&self, tag: Tag) -> Option<Value<'_>> {
        let places = [
            self.values.get(&tag),
            self.shared_groups.get(&tag),
            self.frame_groups.get(self.frame).and_then(|group| group.get(&tag)),
        ];
        places.into_iter().flatten().find_map(|place| self.value(place))
    }

    /// A text without the spaces around it, `None` where absent or blank.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        Some(self.get(tag)?.texts().join("\\")).filter(|text| !text.is_empty())
    }

    /// A keyword: a text in capitals.
    pub(super) fn keyword(&self, tag: Tag) -> Option<String> {
        self.text(tag).map(|text| text.to_uppercase())
    }

    /// The parts of a text of several values.
    pub(super) fn texts(&self, tag: Tag) -> Vec<String> {
        self.get(tag).map(|value| value.texts()).unwrap_or_default()
    }

    /// An integer; `None` where absent.
    pub(super) fn integer(&self, tag: Tag) -> Result<Option<i64>, DecodeError> {
        Ok(match self.numbers(tag)?[..] {
            [] => None,
            [number, ..] if number.fract() == 0.0 && number.abs() < 1e15 => Some(number as i64),
            [number, ..] => return Err(damaged(format!("{tag} is {number}, not a whole number"))),
        })
    }

    /// Finite numbers; empty where absent or blank.
    pub(super) fn numbers(&self, tag: Tag) -> Result<Vec<f64>, DecodeError> {
        let Some(value) = self.get(tag) else { return Ok(Vec::new()) };
        if value.texts().iter().all(String::is_empty) {
            return Ok(Vec::new());
        }
        value
            .numbers()
            .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
            .ok_or_else(|| damaged(format!("{tag} is {:?}, not numbers", value.texts().join("\\"))))
    }

    /// The first of the numbers of an element that may be ignored: `None` where it is absent or no number. What stands behind the
    /// number, such as its unit, does not count.
    pub(super) fn hint(&self, tag: Tag) -> Option<f64> {
        let first = self.get(tag)?.texts().into_iter().next()?;
        let number: f64 = first.split_whitespace().next()?.replace(',', ".").parse().ok()?;
        number.is_finite().then_some(number)
    }

    /// A value in the first item of a sequence.
    pub(super) fn item(&self, sequence: Tag, tag: Tag) -> Option<Value<'_>> {
        self.value(self.items.get(&(sequence, tag))?)
    }

    /// The native pixel data, little endian, of samples of one byte or of two (`wide`).
    pub(super) fn native_pixels(&self, wide: bool) -> Option<Cow<'_, [u8]>> {
        let value = self.get(tags::PIXEL_DATA)?;
        // Words are swapped, whatever lies in them (PS3.5, 7.3).
        Some(match value.big_endian && (wide || value.vr == VR::OW) {
            true => Cow::Owned(value.bytes().as_chunks::<2>().0.iter().flat_map(|&[high, low]| [low, high]).collect()),
            false => Cow::Borrowed(value.bytes()),
        })
    }

    /// The fragments of the encapsulated pixel data, without the offset table.
    pub(super) fn fragment_list(&self) -> Option<Vec<&[u8]>> {
        let fragments = self.fragments.as_ref()?;
        Some(fragments.iter().skip(1).map(|span| &self.encoded[span.clone()]).collect())
    }

    /// Where the frames of encapsulated pixel data begin, if that is told.
    pub(super) fn offset_table(&self) -> Vec<u32> {
        let table = self.fragments.iter().flatten().next().map_or(&[][..], |span| &self.encoded[span.clone()]);
        table.as_chunks().0.iter().map(|&offset| u32::from_le_bytes(offset)).collect()
    }

    /// Whether there is any pixel data that is read.
    pub(super) fn has_pixels(&self) -> bool {
        self.get(tags::PIXEL_DATA).is_some() || self.fragments.iter().flatten().skip(1).any(|span| !span.is_empty())
    }
}

/// Retired from the standard, not from the archives.
pub(super) const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

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
