//! What `gunzip` makes of a file: all members one after the other, and nothing of what follows the last.
//!
//! Behind the last member there may be zeros (tapes and disks fill their blocks with them) or anything else; `gunzip` and nibabel
//! pass over it. flate2's reader of several members takes it for a damaged member.

use std::io::{BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads the members of a gzip file.
pub(super) struct Gunzip<R> {
    /// `None` behind the last member.
    member: Option<GzDecoder<R>>,
    /// Whether it is the first, which has to be there.
    first: bool,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(file: R) -> Self {
        Self { member: Some(GzDecoder::new(file)), first: true }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) if !buffer.is_empty() => {}
                // What is no header of a member is what may follow the last.
                Err(_) if !self.first && member.header().is_none() => {}
                read => return read,
            }
            self.first = false;
            let mut rest = self.member.take().map(GzDecoder::into_inner);
            // The second byte may not be in the buffer yet; the decoder compares it.
            if let Some(rest) = rest.take_if(|rest| matches!(rest.fill_buf(), Ok([0x1f, ..]))) {
                self.member = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], buffer: usize) -> std::io::Result<Vec<u8>> {
        let mut unpacked = Vec::new();
        Gunzip::new(std::io::BufReader::with_capacity(buffer, bytes)).read_to_end(&mut unpacked).map(|_| unpacked)
    }

    #[test]
    fn members_follow_each_other_and_the_rest_is_passed_over() {
        for buffer in [1, 2, 7, 4096] {
            for rest in [
                &b""[..],
                b"\0",
                b"\0\0\0\0\0\0\0\0\0\0\0\0",
                b"xxx",
                b"garbage!garbage!garbage!",
                b"\x1f",
                b"\x1fmore",
            ] {
                let file = [&packed(b"one, ")[..], &packed(b""), &packed(b"two"), rest].concat();
                assert_eq!(unpacked(&file, buffer).unwrap(), b"one, two", "{rest:?} by {buffer}");
            }
        }
    }

    #[test]
    fn a_damaged_or_cut_member_is_an_error() {
        let whole = [packed(b"one, "), packed(b"two two two")].concat();
        for at in 1..packed(b"one, ").len() {
            assert!(unpacked(&whole[..at], 64).is_err(), "cut to {at}");
        }
        let mut changed = whole.clone();
        // The checksum of the second member.
        let at = whole.len() - 8;
        changed[at] ^= 1;
        assert!(unpacked(&changed, 64).is_err());
    }
}
