//! File meta headers (DICOM PS3.10, 7.1): ours are made from what the object is, and from nothing else, so that the same data
//! set is the same file whichever way it came; those of other programs are read for their three UIDs.

use dicom_object::meta::FileMetaTableBuilder;

use crate::uids::{self, trimmed};

/// What an object is said to be before its data set comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// (0002,0002) of its file, (0000,0002) of its command.
    pub sop_class_uid: String,
    /// (0002,0003), (0000,1000).
    pub sop_instance_uid: String,
    /// (0002,0010).
    pub transfer_syntax_uid: String,
}

/// The preamble, which means nothing.
const PREAMBLE: usize = 128;
/// What comes behind it.
const PREFIX: &[u8; 4] = b"DICM";
/// No file meta header is longer.
pub const MOST_META_BYTES: usize = 64 << 10;

/// Whether a file begins like a DICOM file.
pub fn is_dicom(begins: &[u8]) -> bool {
    begins.get(PREAMBLE..PREAMBLE + PREFIX.len()) == Some(PREFIX)
}

/// Preamble, prefix and file meta header.
///
/// # Errors
/// What `dicom-object` says.
pub fn write(announced: &Announced) -> Result<Vec<u8>, dicom_object::meta::Error> {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(&announced.sop_class_uid)
        .media_storage_sop_instance_uid(&announced.sop_instance_uid)
        .transfer_syntax(&announced.transfer_syntax_uid)
        .implementation_class_uid(uids::IMPLEMENTATION_CLASS)
        .implementation_version_name(uids::IMPLEMENTATION_VERSION)
        .build()?;
    let mut bytes = vec![0; PREAMBLE];
    bytes.extend_from_slice(PREFIX);
    meta.write(&mut bytes)?;
    Ok(bytes)
}

/// Reads the header from the first [`MOST_META_BYTES`] of a file, and tells where the data set begins. The group's length is
/// not asked, since many programs write a wrong one; the group ends where another begins.
///
/// # Errors
/// What is wrong with it.
pub fn read(begins: &[u8]) -> Result<(Announced, usize), &'static str> {
    if !is_dicom(begins) {
        return Err("no DICOM file");
    }
    let mut at = PREAMBLE + PREFIX.len();
    let mut uids: [Option<String>; 3] = [const { None }; 3];
    // A data set of no elements is none, but that is found out later.
    while let Some([2, 0, low, high, vr @ ..]) = begins.get(at..at + 8).and_then(|head| <&[u8; 8]>::try_from(head).ok())
    {
        let [v, r, length @ ..] = vr;
        let (head, length) = match [*v, *r] {
            // Of the VRs that there are in this group, those whose length has four bytes.
            [b'O', b'B'] | [b'U', b'N'] => {
                let length = begins.get(at + 8..at + 12).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                (12, u32::from_le_bytes(length.ok_or("a file meta header that is cut short")?))
            }
            _ => (8, u32::from(u16::from_le_bytes(*length))),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let begin = at + head;
        let end = begin.checked_add(length).filter(|end| *end <= begins.len());
        let end = end.ok_or("a file meta header that is cut short, or too long")?;
        let which = match u16::from_le_bytes([*low, *high]) {
            0x0002 => Some(0),
            0x0003 => Some(1),
            0x0010 => Some(2),
            _ => None,
        };
        if let Some(which) = which {
            let text =
                std::str::from_utf8(&begins[begin..end]).map_err(|_| "a UID in the file meta header that is none")?;
            uids[which] = Some(trimmed(text).to_owned());
        }
        at = end;
    }
    let [Some(sop_class_uid), Some(sop_instance_uid), Some(transfer_syntax_uid)] = uids else {
        return Err("a file meta header without class, instance or transfer syntax");
    };
    Ok((Announced { sop_class_uid, sop_instance_uid, transfer_syntax_uid }, at))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announced(instance: &str) -> Announced {
        Announced {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: instance.into(),
            transfer_syntax_uid: uids::EXPLICIT_LITTLE_ENDIAN.into(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(instance in "[0-9]{1,9}(\\.[0-9]{1,9}){0,5}") {
            let bytes = write(&announced(&instance)).unwrap();
            let with_data_set = [&bytes[..], &[8, 0, 5, 0, b'C', b'S', 0, 0]].concat();
            prop_assert_eq!(read(&with_data_set).unwrap(), (announced(&instance), bytes.len()));
            prop_assert_eq!(read(&bytes).unwrap().1, bytes.len());
        }

        #[test]
        fn any_bytes_are_a_header_or_not(bytes: Vec<u8>, at in 0_usize..300, byte: u8) {
            let _ = read(&[&[0; 128], &b"DICM"[..], &bytes].concat());
            let mut damaged = write(&announced("1.2.3")).unwrap();
            if let Some(place) = damaged.get_mut(at) {
                *place = byte;
            }
            let _ = read(&damaged);
            let _ = read(&damaged[..at.min(damaged.len())]);
        }
    }
}
