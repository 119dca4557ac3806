//! The four UIDs of a data set, read while it streams past.
//!
//! A data set may be hundreds of megabytes and its elements are in order, so what is wanted is in its first kilobytes, behind
//! elements that may be long or nested. This reads element after element without keeping any but those four; it never asks for
//! memory that a length in the data set names.

use std::io::{self, Write};

use flate2::write::DeflateDecoder;

use crate::uids::{self, is_uid, trimmed};

/// Group and element.
type Tag = (u16, u16);

const SOP_CLASS_UID: Tag = (0x0008, 0x0016);
const SOP_INSTANCE_UID: Tag = (0x0008, 0x0018);
const STUDY_INSTANCE_UID: Tag = (0x0020, 0x000d);
const SERIES_INSTANCE_UID: Tag = (0x0020, 0x000e);
const WANTED: [Tag; 4] = [SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID];
/// Items and the ends of items and sequences.
const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);

const UNDEFINED: u32 = u32::MAX;
/// Sequences within sequences; nobody nests deeper.
const MOST_DEPTH: usize = 32;
/// A UID has 64 characters (PS3.5, 9.1).
const MOST_VALUE: u64 = 64;
/// Unpacked bytes of a deflated data set that are looked at; the rest is not unpacked here.
const MOST_UNPACKED: u64 = 16 << 20;

/// What a data set says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) sop_class_uid: String,
    pub(crate) sop_instance_uid: String,
    pub(crate) study_instance_uid: String,
    pub(crate) series_instance_uid: String,
}

/// Why a data set does not say what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the data set cannot be read ({0})")]
    Damaged(&'static str),
    #[error("the data set has no {0}")]
    Missing(&'static str),
    #[error("{0} is no UID")]
    NoUid(&'static str),
}

/// Reads a data set of one transfer syntax, in parts of any size.
pub(crate) struct HeadReader(Coding);

enum Coding {
    Plain(Scanner),
    Deflated(Box<DeflateDecoder<Scanner>>, bool),
}

impl HeadReader {
    pub(crate) fn new(transfer_syntax_uid: &str) -> Self {
        let scanner = Scanner {
            implicit: transfer_syntax_uid == uids::IMPLICIT_LITTLE_ENDIAN,
            big_endian: transfer_syntax_uid == uids::EXPLICIT_BIG_ENDIAN,
            levels: vec![],
            state: State::Element { bytes: [0; 12], have: 0 },
            values: Default::default(),
            seen: 0,
        };
        Self(match transfer_syntax_uid {
            uids::DEFLATED => Coding::Deflated(Box::new(DeflateDecoder::new(scanner)), false),
            _ => Coding::Plain(scanner),
        })
    }

    /// The next bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Coding::Plain(scanner) => scanner.read(bytes),
            Coding::Deflated(decoder, broken) => {
                if !*broken && !decoder.get_ref().is_over() {
                    // An error is also how the scanner ends the unpacking.
                    *broken = decoder.write_all(bytes).is_err();
                }
            }
        }
    }

    /// What was read, when there is no more.
    pub(crate) fn finish(self) -> Result<Head, HeadError> {
        let scanner = match self.0 {
            Coding::Plain(scanner) => scanner,
            Coding::Deflated(mut decoder, _) => {
                let _ = decoder.flush();
                std::mem::replace(decoder.get_mut(), Scanner::over())
            }
        };
        scanner.finish()
    }
}

enum State {
    /// In the tag, VR and length of an element.
    Element { bytes: [u8; 12], have: usize },
    /// In a value that is passed over.
    Skip(u64),
    /// In a value that is wanted.
    Value { which: usize, left: u64 },
    /// Past all that is wanted.
    Over,
    /// What makes it unreadable.
    Failed(&'static str),
}

/// What an element is in.
#[derive(Clone, Copy)]
struct Level {
    /// In an item of a sequence, or between items.
    in_item: bool,
    implicit: bool,
}

struct Scanner {
    implicit: bool,
    big_endian: bool,
    /// Sequences and items of undefined length that are open.
    levels: Vec<Level>,
    state: State,
    values: [Option<Vec<u8>>; WANTED.len()],
    seen: u64,
}

/// VRs whose length has four bytes, behind two that are reserved (PS3.5, table 7.1-1).
const LONG: [&[u8]; 13] = [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];

impl Scanner {
    fn over() -> Self {
        let values = Default::default();
        Self { implicit: false, big_endian: false, levels: vec![], state: State::Over, values, seen: 0 }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Failed(_))
    }

    fn read(&mut self, mut bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        while !bytes.is_empty() {
            match &mut self.state {
                State::Over | State::Failed(_) => return,
                State::Skip(left) => {
                    let passed = (*left).min(bytes.len() as u64);
                    *left -= passed;
                    bytes = &bytes[usize::try_from(passed).unwrap_or(bytes.len())..];
                    if *left == 0 {
                        self.state = State::Element { bytes: [0; 12], have: 0 };
                    }
                }
                State::Value { which, left } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    self.values[*which].get_or_insert_default().extend_from_slice(&bytes[..taken]);
                    *left -= taken as u64;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.state = State::Element { bytes: [0; 12], have: 0 };
                    }
                }
                State::Element { bytes: head, have } => {
                    head[*have] = bytes[0];
                    *have += 1;
                    bytes = &bytes[1..];
                    if *have >= 8 {
                        let (head, have) = (*head, *have);
                        self.element(&head[..have]);
                    }
                }
            }
        }
    }

    fn short(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn long(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Eight bytes of an element, or twelve.
    fn element(&mut self, head: &[u8]) {
        let [a, b, c, d, e, f, g, h, more @ ..] = head else { return };
        let tag = (self.short([*a, *b]), self.short([*c, *d]));
        let implicit = self.levels.last().map_or(self.implicit, |level| level.implicit);
        if tag.0 == ITEM.0 {
            let length = self.long([*e, *f, *g, *h]);
            self.state = self.delimiter(tag, length, implicit);
            return;
        }
        let (vr, length) = if implicit {
            (None, self.long([*e, *f, *g, *h]))
        } else {
            let vr = [*e, *f];
            if !vr.iter().all(u8::is_ascii_uppercase) {
                self.state = State::Failed("an element without a value representation");
                return;
            }
            if LONG.contains(&&vr[..]) {
                // Wait for the other four bytes.
                let Ok(length) = <[u8; 4]>::try_from(more) else { return };
                (Some(vr), self.long(length))
            } else {
                (Some(vr), u32::from(self.short([*g, *h])))
            }
        };
        self.state = self.value(tag, vr, length, implicit);
    }

    /// What comes behind the item, or the end, of this length.
    fn delimiter(&mut self, tag: Tag, length: u32, implicit: bool) -> State {
        let next = State::Element { bytes: [0; 12], have: 0 };
        match (tag, self.levels.last().map(|level| level.in_item)) {
            (ITEM, Some(false)) if length == UNDEFINED => self.enter(Level { in_item: true, implicit }),
            (ITEM, Some(false)) if length == 0 => next,
            (ITEM, Some(false)) => State::Skip(u64::from(length)),
            (ITEM_END, Some(true)) | (SEQUENCE_END, Some(false)) => {
                self.levels.pop();
                next
            }
            _ => State::Failed("items and sequences that do not fit together"),
        }
    }

    fn enter(&mut self, level: Level) -> State {
        if self.levels.len() == MOST_DEPTH {
            return State::Failed("sequences nested too deeply");
        }
        self.levels.push(level);
        State::Element { bytes: [0; 12], have: 0 }
    }

    /// What is done about the value behind an element's head.
    fn value(&mut self, tag: Tag, vr: Option<[u8; 2]>, length: u32, implicit: bool) -> State {
        match self.levels.last() {
            Some(level) if !level.in_item => return State::Failed("an element between items"),
            None if tag > SERIES_INSTANCE_UID => return State::Over,
            _ => {}
        }
        if length == UNDEFINED {
            // What is of unknown VR is implicit inside (PS3.5, 6.2.2, note 4).
            return self.enter(Level { in_item: false, implicit: implicit || vr == Some(*b"UN") });
        }
        match WANTED.iter().position(|wanted| *wanted == tag) {
            Some(which) if self.levels.is_empty() => {
                if u64::from(length) > MOST_VALUE || self.values[which].is_some() {
                    return State::Failed("a UID that is too long, or there twice");
                }
                self.values[which] = Some(vec![]);
                if length > 0 {
                    return State::Value { which, left: u64::from(length) };
                }
            }
            _ if length > 0 => return State::Skip(u64::from(length)),
            _ => {}
        }
        State::Element { bytes: [0; 12], have: 0 }
    }

    fn finish(self) -> Result<Head, HeadError> {
        if let State::Failed(why) = self.state {
            return Err(HeadError::Damaged(why));
        }
        let names = ["SOP Class UID", "SOP Instance UID", "Study Instance UID", "Series Instance UID"];
        let mut uids = [const { String::new() }; WANTED.len()];
        for ((uid, value), name) in uids.iter_mut().zip(self.values).zip(names) {
            let value = value.filter(|value| !value.is_empty()).ok_or(HeadError::Missing(name))?;
            let text = String::from_utf8(value).map_err(|_| HeadError::NoUid(name))?;
            *uid = Some(trimmed(&text)).filter(|text| is_uid(text)).ok_or(HeadError::NoUid(name))?.to_owned();
        }
        let [sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid] = uids;
        Ok(Head { sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid })
    }
}

impl Write for Scanner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_over() || self.seen > MOST_UNPACKED {
            return Err(io::Error::other("enough"));
        }
        self.read(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: "1.2.3".into(),
            study_instance_uid: "1.2.4".into(),
            series_instance_uid: "1.2.50".into(),
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Form {
        Implicit,
        Explicit,
        Big,
    }

    fn element(form: Form, tag: Tag, vr: &[u8], length: u32, value: &[u8]) -> Vec<u8> {
        let short = |n: u16| if form == Form::Big { n.to_be_bytes() } else { n.to_le_bytes() };
        let long = |n: u32| if form == Form::Big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut bytes = [short(tag.0), short(tag.1)].concat();
        if form == Form::Implicit || tag.0 == 0xfffe {
            bytes.extend(long(length));
        } else {
            bytes.extend(vr);
            if LONG.contains(&vr) {
                bytes.extend([0, 0]);
                bytes.extend(long(length));
            } else {
                bytes.extend(short(length as u16));
            }
        }
        bytes.extend(value);
        bytes
    }

    fn whole(form: Form, tag: Tag, vr: &[u8], value: &[u8]) -> Vec<u8> {
        element(form, tag, vr, value.len() as u32, value)
    }

    fn uid(form: Form, tag: Tag, text: &str) -> Vec<u8> {
        let mut value = text.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        whole(form, tag, b"UI", &value)
    }

    /// A data set with sequences of either kind, one within the other, that have UIDs of their own.
    fn data_set(form: Form) -> Vec<u8> {
        let within = uid(form, SOP_INSTANCE_UID, "9.9.9");
        let item = whole(form, ITEM, b"", &within);
        let nested = [
            element(form, (0x0008, 0x1115), b"SQ", UNDEFINED, &[]),
            element(form, ITEM, b"", UNDEFINED, &[]),
            uid(form, STUDY_INSTANCE_UID, "9.9"),
            whole(form, (0x0008, 0x1199), b"SQ", &item),
            element(form, (0x0008, 0x1150), b"SQ", UNDEFINED, &[]),
            element(form, SEQUENCE_END, b"", 0, &[]),
            element(form, ITEM_END, b"", 0, &[]),
            item,
            element(form, SEQUENCE_END, b"", 0, &[]),
        ]
        .concat();
        [
            whole(form, (0x0008, 0x0005), b"CS", b"ISO_IR 100"),
            uid(form, SOP_CLASS_UID, &head().sop_class_uid),
            uid(form, SOP_INSTANCE_UID, &head().sop_instance_uid),
            nested,
            whole(form, (0x0009, 0x1001), b"OB", &[7; 5000]),
            whole(form, (0x0010, 0x0010), b"PN", b""),
            uid(form, STUDY_INSTANCE_UID, &head().study_instance_uid),
            uid(form, SERIES_INSTANCE_UID, &head().series_instance_uid),
            whole(form, (0x0028, 0x0010), b"US", &[0, 1]),
            b"what comes here is not looked at".to_vec(),
        ]
        .concat()
    }

    fn read(syntax: &str, bytes: &[u8], at_once: usize) -> Result<Head, HeadError> {
        let mut reader = HeadReader::new(syntax);
        bytes.chunks(at_once).for_each(|part| reader.read(part));
        reader.finish()
    }

    const FORMS: [(Form, &str); 3] = [
        (Form::Implicit, uids::IMPLICIT_LITTLE_ENDIAN),
        (Form::Explicit, uids::EXPLICIT_LITTLE_ENDIAN),
        (Form::Big, uids::EXPLICIT_BIG_ENDIAN),
    ];

    #[test]
    fn the_uids_are_found_however_the_bytes_come() {
        for (form, syntax) in FORMS {
            for at_once in [1, 7, 64, 1 << 20] {
                assert_eq!(read(syntax, &data_set(form), at_once).unwrap(), head(), "{syntax} {at_once}");
            }
        }
        let mut packed = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::fast());
        packed.write_all(&data_set(Form::Explicit)).unwrap();
        packed.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(read(uids::DEFLATED, &packed, 100).unwrap(), head());
    }

    #[test]
    fn what_is_inside_of_unknown_is_implicit() {
        let (e, i) = (Form::Explicit, Form::Implicit);
        let unknown = [
            element(e, (0x0009, 0x1010), b"UN", UNDEFINED, &[]),
            element(i, ITEM, b"", UNDEFINED, &[]),
            whole(i, (0x0009, 0x1011), b"", b"text"),
            element(i, ITEM_END, b"", 0, &[]),
            element(i, SEQUENCE_END, b"", 0, &[]),
        ]
        .concat();
        let all = data_set(e);
        // In front of (0010,0010).
        let at = all.windows(8).position(|part| part == b"\x10\0\x10\0PN\0\0").unwrap();
        let all = [&all[..at], &unknown, &all[at..]].concat();
        assert_eq!(read(uids::EXPLICIT_LITTLE_ENDIAN, &all, 11).unwrap(), head());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let (form, syntax) = FORMS[1];
        let refused = |bytes: &[u8], told: &str| {
            let error = read(syntax, bytes, 5).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        };
        let of = |uid_of_instance: &str| {
            [
                uid(form, SOP_CLASS_UID, "1.2"),
                uid(form, SOP_INSTANCE_UID, uid_of_instance),
                uid(form, STUDY_INSTANCE_UID, "1.3"),
                uid(form, SERIES_INSTANCE_UID, "1.4"),
            ]
            .concat()
        };
        read(syntax, &of("1.5"), 5).unwrap();
        refused(b"", "no SOP Class UID");
        refused(&of("../../etc/passwd"), "SOP Instance UID is no UID");
        refused(&of(""), "no SOP Instance UID");
        refused(&of(&"1".repeat(66)), "too long");
        refused(&of("1.5")[..40], "no Series Instance UID");
        refused(&of("1.5").repeat(2), "there twice");
        refused(&data_set(Form::Implicit), "without a value representation");
        refused(&element(form, ITEM_END, b"", 0, &[]), "do not fit");
        let deep =
            [element(form, (0x0008, 0x1115), b"SQ", UNDEFINED, &[]), element(form, ITEM, b"", UNDEFINED, &[])].concat();
        refused(&deep.repeat(100), "too deeply");
        // A value of four gigabytes is waited for, and never there.
        refused(&element(form, (0x0008, 0x0001), b"OB", UNDEFINED - 1, b"x"), "no SOP Class UID");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_in_any_parts_alike(bytes: Vec<u8>, at_once in 1_usize..20, which in 0_usize..3) {
            let syntax = FORMS[which].1;
            prop_assert_eq!(read(syntax, &bytes, at_once), read(syntax, &bytes, 1 << 20));
            let _ = read(uids::DEFLATED, &bytes, at_once);
        }

        #[test]
        fn a_damaged_data_set_is_read_in_any_parts_alike(at in 0_usize..400, byte: u8, at_once in 1_usize..50, which in 0_usize..3) {
            let (form, syntax) = FORMS[which];
            let mut bytes = data_set(form);
            bytes[at] = byte;
            prop_assert_eq!(read(syntax, &bytes, at_once), read(syntax, &bytes, 1 << 20));
        }
    }
}
