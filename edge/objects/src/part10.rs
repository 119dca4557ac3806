//! A Part 10 file (PS3.10) from outside, read by `dicom-object`, which trusts what it reads: it builds nested sequences by recursion
//! and allocates the lengths that a file claims. So the file is walked first, by the tokens of `dicom-parser`, which it stands on: what
//! is nested deeper than any standard sequence, or longer than the file, is refused before.
//!
//! Of the file's head only what is needed is read, here: the transfer syntax, and class and instance where the data set itself has
//! none. Application entity titles of 18 characters and the like are no reason to refuse a picture.

use std::{
    io::{Cursor, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
};

use dicom_core::{DataElement, Length, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::{DefaultDicomObject, OpenFileOptions, meta::FileMetaTableBuilder};
use dicom_parser::dataset::{DataSetReader, DataToken};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::read::DeflateDecoder;

use crate::{
    ObjectError,
    set::{plain, text},
};

/// Sequences in sequences, deeper than any that the standard has.
pub(crate) const DEEPEST: usize = 32;
/// Bytes that a deflated data set may unpack to.
const MOST_INFLATED: u64 = 512 << 20;
/// Bytes of a UID, and of the NULs or spaces behind it.
const LONGEST_UID: u64 = 128;

fn damaged(reason: impl std::fmt::Display) -> ObjectError {
    ObjectError::Damaged(plain(&reason.to_string(), 200))
}

/// What a file's head says.
#[derive(Default)]
struct Head {
    class: String,
    instance: String,
    transfer_syntax: String,
}

impl Head {
    /// Reads preamble and group 2, and leaves `file` where the data set begins.
    fn read(file: &mut (impl Read + Seek), length: u64) -> Result<Self, ObjectError> {
        let mut start = [0; 132];
        if length < 132 || file.read_exact(&mut start).is_err() || &start[128..] != b"DICM" {
            return Err(ObjectError::NotDicom);
        }
        let mut head = Self::default();
        loop {
            let at = file.stream_position()?;
            let mut element = [0; 8];
            if length - at < 8 {
                break;
            }
            file.read_exact(&mut element)?;
            if element[..2] != [2, 0] {
                file.seek(SeekFrom::Start(at))?;
                break;
            }
            // Always explicit VR little endian, where some VRs have a longer length (PS3.5, 7.1.2).
            let size = match &element[4..6] {
                b"OB" | b"OW" | b"UN" | b"UT" | b"SQ" => {
                    let mut long = [0; 4];
                    file.read_exact(&mut long)?;
                    u64::from(u32::from_le_bytes(long))
                }
                vr if vr.iter().all(u8::is_ascii_uppercase) => u64::from(u16::from_le_bytes([element[6], element[7]])),
                _ => return Err(damaged("no file meta information")),
            };
            let end = file.stream_position()? + size;
            if end > length {
                return Err(damaged("file meta information longer than the file"));
            }
            let field = match u16::from_le_bytes([element[2], element[3]]) {
                0x0002 => Some(&mut head.class),
                0x0003 => Some(&mut head.instance),
                0x0010 => Some(&mut head.transfer_syntax),
                _ => None,
            };
            if let Some(field) = field.filter(|_| size <= LONGEST_UID) {
                let mut bytes = vec![0; size as usize];
                file.read_exact(&mut bytes)?;
                *field = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c == '\0' || c == ' ').to_owned();
            }
            file.seek(SeekFrom::Start(end))?;
        }
        if head.transfer_syntax.is_empty() {
            return Err(damaged("no transfer syntax"));
        }
        Ok(head)
    }
}

/// Reads the object, up to `until` (or what comes behind it) where that is given.
pub(crate) fn read(mut file: impl Read + Seek, until: Option<Tag>) -> Result<DefaultDicomObject, ObjectError> {
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut head = Head::read(&mut file, length)?;
    if head.transfer_syntax != uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        return read_set(file, length, &head, until);
    }
    let mut set = vec![];
    DeflateDecoder::new(file).take(MOST_INFLATED + 1).read_to_end(&mut set)?;
    if set.len() as u64 > MOST_INFLATED {
        return Err(damaged("unpacks to more than 512 MiB"));
    }
    head.transfer_syntax = uids::EXPLICIT_VR_LITTLE_ENDIAN.to_owned();
    let length = set.len() as u64;
    read_set(Cursor::new(set), length, &head, until)
}

/// Reads the data set that begins where `file` stands.
fn read_set(
    mut file: impl Read + Seek,
    length: u64,
    head: &Head,
    until: Option<Tag>,
) -> Result<DefaultDicomObject, ObjectError> {
    let begin = file.stream_position()?;
    // Both are others' parsers, and a damaged file is no reason to end the program.
    let mut object = catch_unwind(AssertUnwindSafe(|| {
        walk(&mut file, length, &head.transfer_syntax, until)?;
        file.seek(SeekFrom::Start(begin))?;
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(&*head.class)
            .media_storage_sop_instance_uid(&*head.instance)
            .transfer_syntax(&*head.transfer_syntax);
        let mut start = [&[0; 128][..], b"DICM"].concat();
        meta.build().map_err(damaged)?.write(&mut start).map_err(damaged)?;
        let mut options = OpenFileOptions::new();
        if let Some(tag) = until {
            options = options.read_until(tag);
        }
        Ok::<_, ObjectError>(options.from_reader(Cursor::new(start).chain(file)).map_err(Box::new)?)
    }))
    .unwrap_or_else(|_| Err(damaged("the parser failed")))?;
    for (tag, uid) in [(tags::SOP_CLASS_UID, &head.class), (tags::SOP_INSTANCE_UID, &head.instance)] {
        if text(&object, tag).is_none() && !uid.is_empty() {
            object.put(DataElement::new(tag, VR::UI, uid.as_str()));
        }
    }
    Ok(object)
}

/// Goes through all tokens that `read_set` will build objects of.
fn walk(
    file: &mut (impl Read + Seek),
    length: u64,
    transfer_syntax: &str,
    until: Option<Tag>,
) -> Result<(), ObjectError> {
    let Some(syntax) = TransferSyntaxRegistry.get(transfer_syntax) else {
        return Err(damaged(format!("unknown transfer syntax {transfer_syntax}")));
    };
    // The very reader that `dicom-object` has, so that both see the same tokens: it strays from a file's lengths in ways of its own, and
    // a reader that strays otherwise would check another file. A value is read with the token behind its header, so that a header's
    // length is seen before anything is allocated for it.
    let mut depth = 0usize;
    for token in DataSetReader::new_with_ts(file, syntax).map_err(damaged)? {
        let (tag, size) = match token.map_err(damaged)? {
            DataToken::SequenceStart { tag, .. } => {
                depth += 1;
                (Some(tag), Length::UNDEFINED)
            }
            DataToken::PixelSequenceStart => {
                depth += 1;
                (Some(tags::PIXEL_DATA), Length::UNDEFINED)
            }
            DataToken::SequenceEnd => {
                depth = depth.saturating_sub(1);
                continue;
            }
            DataToken::ElementHeader(header) => (Some(header.tag), header.len),
            DataToken::ItemStart { len } => (None, len),
            _ => continue,
        };
        if depth > DEEPEST {
            return Err(damaged("sequences in sequences without end"));
        }
        if size.get().is_some_and(|size| u64::from(size) > length) {
            return Err(damaged("an element is longer than the file"));
        }
        if depth == 0 && until.is_some_and(|until| tag.is_some_and(|tag| tag >= until)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A file in explicit VR little endian whose data set is `set`.
    fn file(set: &[u8]) -> Vec<u8> {
        let uid = b"1.2.840.10008.1.2.1\0";
        let head = [&[2, 0, 0x10, 0][..], b"UI", &[uid.len() as u8, 0], uid].concat();
        [&[0; 128][..], b"DICM", &head, set].concat()
    }

    fn told(bytes: &[u8]) -> String {
        read(Cursor::new(bytes), None).unwrap_err().to_string()
    }

    #[test]
    fn sequences_without_end_do_not_overflow_the_stack() {
        // A private sequence of undefined length, and in it an item of undefined length, a million times.
        let open = [&[9, 0, 2, 0x10][..], b"SQ", &[0, 0, 255, 255, 255, 255, 0xfe, 0xff, 0, 0xe0, 255, 255, 255, 255]]
            .concat();
        assert!(told(&file(&open.repeat(1_000_000))).contains("sequences in sequences"));
    }

    #[test]
    fn a_claimed_length_is_not_allocated() {
        let long = [&[8, 0, 0x16, 0][..], b"OB", &[0, 0, 0xf0, 255, 255, 255, 1, 2]].concat();
        assert!(told(&file(&long)).contains("longer than the file"));
    }

    /// A finding of the fuzzer: of numbers of eight bytes in 38, `dicom-parser` reads four, and goes on inside of the value.
    #[test]
    fn a_length_inside_of_a_value_is_not_allocated_either() {
        let inside = [&[9, 0, 2, 0x10][..], b"OB"].concat();
        let value =
            [&[8, 0, 0x3e, 0x10][..], b"FD", &[38, 0], &[0; 32], &inside, &[0, 0, 0xf0, 255, 255, 255]].concat();
        assert!(told(&file(&value)).contains("longer than the file"));
    }

    #[test]
    fn what_is_no_part_10_file_is_told() {
        assert!(told(b"DICM").contains("not a DICOM file"));
        assert!(told(&[0; 200]).contains("not a DICOM file"));
        let headless = [&[0; 128][..], b"DICM", &[8, 0, 5, 0, b'C', b'S', 2, 0, b'A', b' ']].concat();
        assert!(told(&headless).contains("no transfer syntax"));
    }

    #[test]
    fn class_and_instance_may_stand_in_the_head_alone() {
        let uid = b"1.2.3\0";
        let head = [&[2, 0, 3, 0][..], b"UI", &[uid.len() as u8, 0], uid].concat();
        let mut bytes = file(&[&[0x20, 0, 0x13, 0][..], b"IS", &[2, 0], b"7 "].concat());
        bytes.splice(132..132, head);
        let object = read(Cursor::new(bytes), None).unwrap();
        assert_eq!(text(&object, tags::SOP_INSTANCE_UID).unwrap(), "1.2.3");
        assert_eq!(text(&object, tags::INSTANCE_NUMBER).unwrap(), "7");
    }
}
