//! What a JPEG, JPEG-LS, JPEG 2000 or RLE codestream says of itself, read without decoding it.
//!
//! Decoders allocate what the codestream's own header asks for. That header is therefore read first: a 300-byte DICOM
//! fragment that claims 65535 x 65535 pixels is refused before anybody believes it.

/// The frame header of a codestream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Samples a pixel.
    pub(super) components: u16,
    /// Bits a sample (the most of any component).
    pub(super) bits: u16,
    /// Whether a JPEG 2000 codestream turned red, green and blue into other components, which its decoder undoes.
    pub(super) transformed: bool,
}

/// Why a codestream of our own decoders cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CodestreamError {
    /// It ends before its last sample.
    Truncated,
    /// It contradicts the standard, or itself.
    Damaged(&'static str),
    /// Well formed, but not read.
    Unsupported(String),
}

impl CodestreamError {
    pub(super) fn damaged(what: &'static str) -> Self {
        Self::Damaged(what)
    }
}

/// There are no more bits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BitsError;

/// Bits that were read ahead, the next one at the upper end: what a reader that knows how its codestream stuffs bytes takes from.
#[derive(Debug, Default)]
pub(super) struct BitsAhead {
    pub(super) bits: u64,
    pub(super) count: u32,
}

impl BitsAhead {
    /// Whether another byte fits.
    pub(super) fn has_room(&self) -> bool {
        self.count <= 56
    }

    /// Puts the lower `width` bits of `byte`, 8 at most, behind the others; there must be room.
    pub(super) fn push(&mut self, byte: u8, width: u32) {
        self.bits |= u64::from(byte) << (64 - width - self.count);
        self.count += width;
    }

    /// Leaves out the next `count` bits, fewer than 64, which must be there.
    pub(super) fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    /// Takes `count` bits, 32 at most.
    pub(super) fn take(&mut self, count: u32) -> Result<i32, BitsError> {
        if self.count < count {
            return Err(BitsError);
        }
        if count == 0 {
            return Ok(0);
        }
        let value = self.bits >> (64 - count);
        self.skip(count);
        Ok(value as i32)
    }
}

impl From<BitsError> for CodestreamError {
    fn from(_: BitsError) -> Self {
        Self::Truncated
    }
}

/// JPEG markers (ITU-T T.81, table B.1).
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
/// The start of a JPEG-LS frame (ITU-T T.87, table C.1).
const JPEG_LS: u8 = 0xf7;

/// The frame header of a JPEG codestream (ITU-T T.81, B.2.2), `None` where there is none.
pub(super) fn jpeg_header(bytes: &[u8]) -> Option<Header> {
    let (_, frame) = jpeg_segments(bytes).find(|(marker, _)| is_start_of_frame(*marker))?;
    let &[bits, y1, y0, x1, x0, components, ..] = frame else { return None };
    Some(Header {
        width: u32::from(u16::from_be_bytes([x1, x0])),
        height: u32::from(u16::from_be_bytes([y1, y0])),
        components: components.into(),
        bits: bits.into(),
        transformed: false,
    })
}

/// Whether a JPEG codestream is of the lossless process (SOF3). The lossy ones are decoded to 8 bits only.
pub(super) fn jpeg_is_lossless(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(marker, _)| marker == 0xc3)
}

/// The number of the frame header's marker, which tells the process; 0xf7 is that of JPEG-LS.
pub(super) fn jpeg_process(bytes: &[u8]) -> Option<u8> {
    jpeg_segments(bytes).map(|(marker, _)| marker).find(|&marker| is_start_of_frame(marker))
}

/// Whether a codestream is JPEG-LS, which begins as JPEG does.
pub(super) fn is_jpeg_ls(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(marker, _)| marker == JPEG_LS)
}

/// Whether a JPEG codestream has its end marker.
pub(super) fn jpeg_has_end(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(marker, _)| marker == EOI)
}

/// Whether a JPEG codestream says how its colours are coded (JFIF's segment or Adobe's); where it does not, decoders guess.
pub(super) fn jpeg_tells_colours(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(marker, payload)| {
        matches!(marker, 0xe0 if payload.starts_with(b"JFIF\0"))
            || matches!(marker, 0xee if payload.starts_with(b"Adobe"))
    })
}

/// Bits that are put behind a JPEG without end, as long as a few blocks.
const FILLERS: [[u8; 64]; 3] = [[0x55; 64], [0xaa; 64], [0x00; 64]];

/// Bytes behind the last block that some writers leave: a byte that makes the length even, or the last part of a word.
const PADDING: usize = 16;

/// What `decode` makes of a JPEG that lacks its end marker and nothing else; `None` where more is missing.
///
/// Every decoder makes up what is missing of a cut picture. So whatever is put behind a whole one must leave the picture as it is,
/// and whatever is put behind its beginning must not: then the last bits that were read are the last there are.
pub(super) fn jpeg_without_end<T: PartialEq>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    if !jpeg_has_all_scans(bytes) {
        return None;
    }
    // The half of a marker.
    let length = bytes.iter().rposition(|&byte| byte != 0xff)? + 1;
    let data = &bytes[..length];
    // Where the decoder waits for the next restart marker, it shall have it.
    let restarts = data.windows(2).filter(|pair| matches!(pair, [0xff, 0xd0..=0xd7])).count();
    let restart = [0xff, 0xd0 + (restarts % 8) as u8];
    let ended = |data: &[u8], restart: &[u8], filler: &[u8]| decode(&[data, restart, filler, &[0xff, EOI]].concat());
    let whole = decode(&[data, &[0xff, EOI]].concat())?;
    for filler in &FILLERS {
        for restart in [&[][..], &restart] {
            if ended(data, restart, filler).as_ref() != Some(&whole) {
                return None;
            }
        }
    }
    let beginning = &data[..length.checked_sub(PADDING)?];
    let is_read_to_its_end = ended(beginning, &[], &FILLERS[0]) != ended(beginning, &[], &FILLERS[1]);
    is_read_to_its_end.then_some(whole)
}

/// Whether the scans of a JPEG codestream, as far as their headers go, bring every coefficient of every component to its last bit
/// (ITU-T T.81, B.2.3); of the lossless process every component.
fn jpeg_has_all_scans(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    const MISSING: u8 = u8::MAX;
    let lossless = jpeg_is_lossless(bytes);
    let mut missing_bits: Vec<(u8, [u8; 64])> = vec![];
    for (marker, payload) in jpeg_segments(bytes) {
        if is_start_of_frame(marker) {
            let components = payload.get(6..).unwrap_or_default().chunks_exact(3);
            missing_bits = components.map(|component| (component[0], [MISSING; 64])).collect();
        }
        if marker == SCAN
            && let Some((&count, rest)) = payload.split_first()
            && let Some((components, &[first, last, bits])) = rest.split_at_checked(2 * usize::from(count))
        {
            let (first, last) = if lossless { (0, 63) } else { (usize::from(first), usize::from(last)) };
            for (_, missing) in missing_bits.iter_mut().filter(|(id, _)| components.iter().step_by(2).any(|c| c == id))
            {
                missing.iter_mut().take(last + 1).skip(first).for_each(|missing| *missing = bits & 15);
            }
        }
    }
    let has_all = |missing: &[u8; 64]| missing.iter().all(|&bits| bits == 0 || (lossless && bits != MISSING));
    !missing_bits.is_empty() && missing_bits.iter().all(|(_, missing)| has_all(missing))
}

/// Start-of-frame markers: that of JPEG-LS, and all of 0xc0 to 0xcf but those of Huffman tables, of the reserved extension and of
/// arithmetic conditioning.
pub(super) fn is_start_of_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf | JPEG_LS) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// The first marker of `bytes` with its payload, and what follows; data before it are passed over. A marker is 0xff and a byte
/// that is neither 0 (a stuffed 0xff of the data), a restart marker, nor 0xff (fill).
pub(super) fn marker_segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff))?;
    let (marker, rest) = (bytes[at + 1], &bytes[at + 2..]);
    if matches!(marker, SOI | EOI | 0x01) {
        return Some((marker, &[], rest));
    }
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    Some((marker, rest.get(2..length)?, &rest[length..]))
}

/// The marker segments with their payloads; entropy-coded data is passed over.
fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = if bytes.starts_with(&[0xff, SOI]) { &bytes[2..] } else { &[] };
    std::iter::from_fn(move || {
        let (marker, payload, after) = marker_segment(rest)?;
        rest = after;
        Some((marker, payload))
    })
    // After the end of the image there may be anything (a DICOM padding byte, a second picture).
    .scan(false, |ended, segment| {
        let go_on = !*ended;
        *ended = segment.0 == EOI;
        go_on.then_some(segment)
    })
}

/// The codestream inside `bytes` and its header (ITU-T T.800, A.5.1). DICOM asks for a bare codestream; where a writer
/// left the JP2 file around it, that is taken off.
pub(super) fn jpeg2000(bytes: &[u8]) -> Option<(Header, &[u8])> {
    const JP2_SIGNATURE: &[u8] = b"\0\0\0\x0cjP  ";
    let codestream = if bytes.starts_with(JP2_SIGNATURE) {
        &bytes[bytes.windows(4).position(|name| name == b"jp2c")? + 4..]
    } else {
        bytes
    };
    // SOC, SIZ, then: length, capabilities, size and offset of the grid, size and offset of the tiles, components.
    let size = codestream.strip_prefix(&[0xff, 0x4f, 0xff, 0x51])?;
    let long = |at: usize| Some(u32::from_be_bytes(size.get(at..at + 4)?.try_into().ok()?));
    let components = u16::from_be_bytes(size.get(36..38)?.try_into().ok()?);
    let component_sizes = size.get(38..38 + 3 * usize::from(components))?;
    let bits = component_sizes.chunks(3).map(|component| u16::from(component[0] & 0x7f) + 1).max()?;
    // Subsampled components would not fill the picture.
    if component_sizes.chunks(3).any(|component| component[1..] != [1, 1]) {
        return None;
    }
    let header = Header {
        width: long(4)?.checked_sub(long(12)?)?,
        height: long(8)?.checked_sub(long(16)?)?,
        components,
        bits,
        transformed: has_component_transform(codestream),
    };
    Some((header, codestream))
}

/// What the first coding style segment (COD, A.6.1) of a JPEG 2000 codestream says of the component transform.
fn has_component_transform(codestream: &[u8]) -> bool {
    let mut rest = codestream.get(2..).unwrap_or_default();
    while let &[0xff, marker, high, low, ref after @ ..] = rest {
        match (marker, after) {
            (0x52, &[_, _, _, _, transform, ..]) => return transform != 0,
            // The first tile ends the header.
            (0x90, _) => return false,
            _ => rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default(),
        }
    }
    false
}

/// Segments that the header of an RLE frame tells (PS3.5, annex G.5), `None` where there is no whole header.
pub(super) fn rle_segments(bytes: &[u8]) -> Option<u32> {
    let header = bytes.first_chunk::<64>()?;
    Some(u32::from_le_bytes([header[0], header[1], header[2], header[3]]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    fn jpeg() -> Vec<u8> {
        let picture = image::GrayImage::from_fn(33, 17, |x, y| image::Luma([(7 * x + 3 * y) as u8]));
        let mut bytes = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
        bytes
    }

    #[test]
    fn a_jpeg_tells_its_size() {
        assert_eq!(
            jpeg_header(&jpeg()),
            Some(Header { width: 33, height: 17, components: 1, bits: 8, transformed: false })
        );
    }

    #[test]
    fn what_follows_the_end_is_not_looked_at() {
        let mut bytes = vec![0xff, SOI, 0xff, EOI];
        bytes.extend(jpeg());
        assert_eq!(jpeg_header(&bytes), None);
    }

    #[test]
    fn a_thumbnail_in_the_exif_segment_is_not_the_end() {
        let whole = jpeg();
        let thumbnail = &whole;
        let mut bytes = vec![0xff, SOI, 0xff, 0xe1];
        bytes.extend((thumbnail.len() as u16 + 2).to_be_bytes());
        bytes.extend(thumbnail);
        bytes.extend(&whole[2..whole.len() - 20]);
        assert!(!jpeg_has_end(&bytes));
        assert_eq!(jpeg_header(&bytes), jpeg_header(&whole));
    }

    #[test]
    fn jpeg_2000_with_and_without_its_file() {
        let mut codestream = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
        for value in [110u32, 60, 10, 20, 100, 40, 0, 0] {
            codestream.extend(value.to_be_bytes());
        }
        codestream.extend([0, 1, 0x8b, 1, 1]);
        let plain = Header { width: 100, height: 40, components: 1, bits: 12, transformed: false };
        assert_eq!(jpeg2000(&codestream), Some((plain, &codestream[..])));
        // A comment, and then the coding style.
        codestream.extend([0xff, 0x64, 0, 4, 0, 1, 0xff, 0x52, 0, 12, 0, 0, 0, 1, 1]);
        let expected = Header { transformed: true, ..plain };
        assert_eq!(jpeg2000(&codestream), Some((expected, &codestream[..])));

        let mut file = b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\0jp2c".to_vec();
        file.extend(&codestream);
        assert_eq!(jpeg2000(&file), Some((expected, &codestream[..])));
        assert_eq!(jpeg2000(&codestream[..30]), None);
    }
}
