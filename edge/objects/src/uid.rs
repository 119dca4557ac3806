//! UIDs that follow from what they name.
//!
//! An object that is made twice of one result must be one object, or an archive gets it twice. So its UIDs are not drawn but
//! derived: the first 128 bits of a SHA-256, as a UUID of version 8 (RFC 9562, 5.8: bits of one's own choice) under the root 2.25,
//! which is for UUIDs and needs no registration (PS3.5, B.2).

use sha2::{Digest, Sha256};

/// Puts the version in, so that names of another version of this crate are other names.
const VERSION: &[u8] = b"thorax-objects 1";

/// The UID of what `parts` say, among things of the kind `purpose`.
pub(crate) fn derived(purpose: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in [VERSION, purpose.as_bytes()].iter().chain(parts) {
        // With its length, so that no two lists of parts are the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    from_bits(&hash.finalize().into())
}

/// The UID whose UUID has the first bits of `hash`.
pub(crate) fn from_bits(hash: &[u8; 32]) -> String {
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash[..16]);
    bits[6] = bits[6] & 0x0f | 0x80;
    bits[8] = bits[8] & 0x3f | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bits))
}

/// Whether `text` is a UID: numbers with dots between them, at most 64 characters (PS3.5, 9.1). Leading zeros, which are forbidden
/// and met, are let through: they do no harm.
pub(crate) fn is_uid(text: &str) -> bool {
    text.len() <= 64 && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_uid_is_one_and_names_one_thing() {
        let uid = derived("series", &[b"a", b"bc"]);
        assert!(is_uid(&uid) && uid.starts_with("2.25."), "{uid}");
        assert_eq!(uid, derived("series", &[b"a", b"bc"]));
        for other in
            [derived("series", &[b"ab", b"c"]), derived("instance", &[b"a", b"bc"]), derived("series", &[b"a"])]
        {
            assert_ne!(uid, other);
        }
    }

    #[test]
    fn version_and_variant_stand_where_a_uuid_has_them() {
        let Ok(uuid) = from_bits(&[0xff; 32]).trim_start_matches("2.25.").parse::<u128>() else {
            unreachable!("a number")
        };
        assert_eq!(format!("{uuid:032x}"), "ffffffffffff8fffbfffffffffffffff");
    }

    #[test]
    fn what_is_no_uid_is_seen() {
        assert!(is_uid("1.2.840.10008.1.2") && is_uid("2"));
        for text in ["", "1..2", ".1", "1.", "1.2a", "../1", &"1".repeat(65)] {
            assert!(!is_uid(text), "{text}");
        }
    }
}
