//! The elements of a data set, one after the other, wherever they are nested (PS3.5, sections 7 and A).
//!
//! The walk borrows: an element is a place in the bytes, so that neither a claimed length nor the pixels themselves are ever
//! allocated for, and what is open is a list, so that a file of nothing but opened sequences overflows no stack. Writers stray from
//! the standard in ways that every viewer forgives, and so does this: an element whose VR is `UN` and whose length is undefined is
//! a sequence in Implicit VR Little Endian (CP-246), an unknown VR has a long length, a sequence may end where its parent does.
//!
//! `dicom-parser` and `dicom-object` were used before; the one gives up at a private sequence in `UN`, the other builds nested
//! sequences by recursion, and both allocate the lengths that a file claims.

use std::ops::{ControlFlow, Range};

use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::{FORMAT, damaged};
use crate::DecodeError;

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// Whether each element says its VR.
    pub(super) explicit: bool,
    /// Whether numbers begin with their highest byte.
    pub(super) big_endian: bool,
}

/// Every element inside a `UN` of undefined length is written so.
const IMPLICIT_LITTLE: Syntax = Syntax { explicit: false, big_endian: false };

/// A sequence around an element, and which of its items the element is in, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) sequence: Tag,
    pub(super) item: usize,
}

/// What the walk comes by.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An element with a value.
    Element { tag: Tag, vr: VR, big_endian: bool, value: Range<usize> },
    /// A fragment of the encapsulated pixel data of the data set itself; the first is the offset table.
    Fragment(Range<usize>),
    /// The end of that pixel data.
    FragmentsEnd,
}

/// An open sequence or item.
#[derive(Debug)]
struct Open {
    kind: Kind,
    /// Where it ends at the latest, by its own length or by that of what is around it.
    end: Option<usize>,
    /// How it is written inside.
    syntax: Syntax,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Sequence,
    Item,
    /// Items of bytes; `told` for those of the picture itself.
    Fragments {
        told: bool,
    },
}

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;

/// The VR that the standard gives to `tag`; of two that depend on the pixels, the unsigned one.
pub(super) fn standard_vr(tag: Tag) -> Option<VR> {
    Some(match StandardDataDictionary.by_tag(tag)?.vr() {
        VirtualVr::Exact(vr) => vr,
        VirtualVr::Xs => VR::US,
        VirtualVr::Ox | VirtualVr::Px | VirtualVr::Lt => VR::OW,
        _ => return None,
    })
}

/// Walks `bytes`, until `visit` breaks or the data set ends.
///
/// # Errors
/// [`DecodeError::Truncated`] or [`DecodeError::Damaged`].
pub(super) fn walk(
    bytes: &[u8],
    syntax: Syntax,
    mut visit: impl FnMut(&[Step], Found) -> ControlFlow<()>,
) -> Result<(), DecodeError> {
    let mut open: Vec<Open> = Vec::new();
    let mut path: Vec<Step> = Vec::new();
    let mut at = 0;
    loop {
        // Whatever ends here is closed, from the inside out.
        while open.last().is_some_and(|open| open.end.is_some_and(|end| at >= end)) {
            close(&mut open, &mut path);
        }
        if at >= bytes.len() {
            // Nobody misses the delimiters at the very end, but pixels without theirs were cut.
            let cut = open.iter().any(|open| open.kind == Kind::Fragments { told: true });
            return if cut { Err(truncated()) } else { Ok(()) };
        }
        let here = open.last().map_or(syntax, |open| open.syntax);
        let around = open.last().and_then(|open| open.end);
        let tag = tag(bytes, at, here)?;
        match open.last().map(|open| &open.kind) {
            Some(kind @ (Kind::Sequence | Kind::Fragments { .. })) => {
                let length = u32_at(bytes, at + 4, here)?;
                at += 8;
                match (tag, kind) {
                    (SEQUENCE_END, kind) => {
                        let told = *kind == Kind::Fragments { told: true };
                        close(&mut open, &mut path);
                        if told && visit(&path, Found::FragmentsEnd).is_break() {
                            return Ok(());
                        }
                    }
                    (ITEM, &Kind::Fragments { told }) => {
                        let value = span(bytes, at, length)?;
                        at = value.end;
                        if told && visit(&path, Found::Fragment(value)).is_break() {
                            return Ok(());
                        }
                    }
                    (ITEM, _) => {
                        if let Some(step) = path.last_mut() {
                            // Begins at the number before 0.
                            step.item = step.item.wrapping_add(1);
                        }
                        let end = end_of(bytes, at, length, around)?;
                        open.push(Open { kind: Kind::Item, end, syntax: here });
                    }
                    _ => return Err(damaged(format!("element {tag} where a sequence has its items"))),
                }
            }
            _ if tag == ITEM_END => {
                at += 8;
                if !open.is_empty() {
                    close(&mut open, &mut path);
                }
            }
            // A delimiter too many.
            _ if tag == SEQUENCE_END => at += 8,
            _ => {
                let (vr, length, header) = header(bytes, at, tag, here)?;
                at += header;
                // What has no VR of its own is what the standard says.
                let sequence = vr == VR::SQ || (length == UNDEFINED && vr == VR::UN);
                let syntax = if here.explicit && vr == VR::UN { IMPLICIT_LITTLE } else { here };
                let known_sequence = vr == VR::UN && standard_vr(tag) == Some(VR::SQ);
                if length == UNDEFINED && !sequence && !known_sequence {
                    let told = tag == tags::PIXEL_DATA && path.is_empty();
                    // Only sequences are on the path.
                    open.push(Open { kind: Kind::Fragments { told }, end: around, syntax });
                } else if sequence || known_sequence {
                    let end = end_of(bytes, at, length, around)?;
                    path.push(Step { sequence: tag, item: usize::MAX });
                    open.push(Open { kind: Kind::Sequence, end, syntax });
                } else {
                    let value = span(bytes, at, length)?;
                    at = value.end;
                    let found = Found::Element { tag, vr, big_endian: syntax.big_endian, value };
                    if visit(&path, found).is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Closes what was opened last.
fn close(open: &mut Vec<Open>, path: &mut Vec<Step>) {
    if open.pop().is_some_and(|closed| closed.kind == Kind::Sequence) {
        path.pop();
    }
}

fn truncated() -> DecodeError {
    DecodeError::Truncated { format: FORMAT }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    at.checked_add(N).and_then(|end| bytes.get(at..end)).and_then(|bytes| bytes.try_into().ok()).ok_or_else(truncated)
}

fn u16_at(bytes: &[u8], at: usize, syntax: Syntax) -> Result<u16, DecodeError> {
    let bytes = array(bytes, at)?;
    Ok(if syntax.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

fn u32_at(bytes: &[u8], at: usize, syntax: Syntax) -> Result<u32, DecodeError> {
    let bytes = array(bytes, at)?;
    Ok(if syntax.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

fn tag(bytes: &[u8], at: usize, syntax: Syntax) -> Result<Tag, DecodeError> {
    Ok(Tag(u16_at(bytes, at, syntax)?, u16_at(bytes, at + 2, syntax)?))
}

/// The `length` bytes from `at` on.
fn span(bytes: &[u8], at: usize, length: u32) -> Result<Range<usize>, DecodeError> {
    match at.checked_add(length as usize) {
        Some(end) if end <= bytes.len() => Ok(at..end),
        _ => Err(truncated()),
    }
}

/// Where something of `length` bytes from `at` on ends, inside of what ends `around` it.
fn end_of(bytes: &[u8], at: usize, length: u32, around: Option<usize>) -> Result<Option<usize>, DecodeError> {
    let own = if length == UNDEFINED { None } else { Some(span(bytes, at, length)?.end) };
    Ok(own.into_iter().chain(around).min())
}

/// VR, length and bytes of the header of an element (PS3.5, 7.1.2 and 7.1.3). What is written without VR has the standard's,
/// and `UN` where the standard knows none.
fn header(bytes: &[u8], at: usize, tag: Tag, syntax: Syntax) -> Result<(VR, u32, usize), DecodeError> {
    if !syntax.explicit {
        return Ok((standard_vr(tag).unwrap_or(VR::UN), u32_at(bytes, at + 4, syntax)?, 8));
    }
    let told: [u8; 2] = array(bytes, at + 4)?;
    // No VR at all: the element is written as in implicit VR, if its length fits then, or its VR is blank.
    if !told.iter().all(u8::is_ascii_uppercase) {
        let vr = standard_vr(tag).unwrap_or(VR::UN);
        let implicit = u32_at(bytes, at + 4, syntax)?;
        return Ok(match implicit as usize <= bytes.len().saturating_sub(at + 8) {
            true => (vr, implicit, 8),
            false => (vr, u16_at(bytes, at + 6, syntax)?.into(), 8),
        });
    }
    let vr = VR::from_binary(told).unwrap_or(VR::UN);
    Ok(match vr {
        // PS3.5, table 7.1-1; those that came later than the reader are taken for long ones (6.2.2).
        VR::OB
        | VR::OD
        | VR::OF
        | VR::OL
        | VR::OV
        | VR::OW
        | VR::SQ
        | VR::SV
        | VR::UC
        | VR::UN
        | VR::UR
        | VR::UT
        | VR::UV => (vr, u32_at(bytes, at + 8, syntax)?, 12),
        _ => (vr, u16_at(bytes, at + 6, syntax)?.into(), 8),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    const EXPLICIT: Syntax = Syntax { explicit: true, big_endian: false };

    /// Tags of the elements found, with the sequences they are in.
    /// Where an element lies, and what it is.
    type Told = (Vec<(Tag, usize)>, Tag, VR, Vec<u8>);

    fn found(bytes: &[u8], syntax: Syntax) -> Vec<Told> {
        let mut all = vec![];
        walk(bytes, syntax, |path, found| {
            if let Found::Element { tag, vr, value, .. } = found {
                let path = path.iter().map(|step| (step.sequence, step.item)).collect();
                all.push((path, tag, vr, bytes[value].to_vec()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        all
    }

    fn implicit(tag: Tag, length: u32, value: &[u8]) -> Vec<u8> {
        [&tag.0.to_le_bytes()[..], &tag.1.to_le_bytes(), &length.to_le_bytes(), value].concat()
    }

    fn explicit(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u16).to_le_bytes();
        [&tag.0.to_le_bytes()[..], &tag.1.to_le_bytes(), vr, &length, value].concat()
    }

    fn explicit_long(tag: Tag, vr: &[u8; 2], length: u32, value: &[u8]) -> Vec<u8> {
        [&tag.0.to_le_bytes()[..], &tag.1.to_le_bytes(), vr, &[0, 0], &length.to_le_bytes(), value].concat()
    }

    #[test]
    fn a_private_sequence_of_unknown_vr_is_walked_through() {
        let inside = [
            implicit(ITEM, UNDEFINED, &[]),
            implicit(Tag(0x11, 0x10), 8, b"PHILIPS "),
            implicit(ITEM_END, 0, &[]),
            implicit(SEQUENCE_END, 0, &[]),
        ]
        .concat();
        let file =
            [explicit_long(Tag(0x11, 0x105f), b"UN", UNDEFINED, &inside), explicit(tags::VIEW_POSITION, b"CS", b"PA")]
                .concat();
        assert_eq!(
            found(&file, EXPLICIT),
            [
                (vec![(Tag(0x11, 0x105f), 0)], Tag(0x11, 0x10), VR::LO, b"PHILIPS ".to_vec()),
                (vec![], tags::VIEW_POSITION, VR::CS, b"PA".to_vec()),
            ]
        );
    }

    #[test]
    fn items_are_counted_and_lengths_close_what_they_end() {
        let value = |text: &[u8]| implicit(tags::CODE_MEANING, text.len() as u32, text);
        let item = |text: &[u8]| implicit(ITEM, value(text).len() as u32, &value(text));
        let items = [item(b"one "), item(b"two ")].concat();
        let file =
            [implicit(tags::VIEW_CODE_SEQUENCE, items.len() as u32, &items), implicit(tags::VIEW_POSITION, 2, b"AP")]
                .concat();
        assert_eq!(
            found(&file, IMPLICIT_LITTLE),
            [
                (vec![(tags::VIEW_CODE_SEQUENCE, 0)], tags::CODE_MEANING, VR::LO, b"one ".to_vec()),
                (vec![(tags::VIEW_CODE_SEQUENCE, 1)], tags::CODE_MEANING, VR::LO, b"two ".to_vec()),
                (vec![], tags::VIEW_POSITION, VR::CS, b"AP".to_vec()),
            ]
        );
    }

    #[test]
    fn a_known_sequence_in_unknown_vr_with_a_length_is_one() {
        let value = implicit(tags::CODE_VALUE, 4, b"1234");
        let item = implicit(ITEM, value.len() as u32, &value);
        let file = explicit_long(tags::VIEW_CODE_SEQUENCE, b"UN", item.len() as u32, &item);
        assert_eq!(found(&file, EXPLICIT)[0].0, [(tags::VIEW_CODE_SEQUENCE, 0)]);
    }

    #[test]
    fn what_ends_too_early_is_cut_short() {
        let whole = explicit(tags::VIEW_POSITION, b"CS", b"PA");
        for length in 1..whole.len() {
            let error = walk(&whole[..length], EXPLICIT, |_, _| ControlFlow::Continue(())).unwrap_err();
            assert!(matches!(error, DecodeError::Truncated { .. }), "{length}: {error}");
        }
        let endless = explicit_long(tags::PIXEL_DATA, b"OB", UNDEFINED, &implicit(ITEM, 0, &[]));
        assert!(walk(&endless, EXPLICIT, |_, _| ControlFlow::Continue(())).is_err());
    }

    #[test]
    fn a_hundred_thousand_open_sequences_overflow_nothing() {
        let nested = [implicit(tags::VIEW_CODE_SEQUENCE, UNDEFINED, &[]), implicit(ITEM, UNDEFINED, &[])].concat();
        walk(&nested.repeat(2000), IMPLICIT_LITTLE, |_, _| ControlFlow::Continue(())).unwrap();
    }
}
