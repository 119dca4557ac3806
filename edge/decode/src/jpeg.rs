//! JPEG with Huffman codes (ITU-T T.81): whether all of a picture is there, and lossy pictures of 12 bits.
//!
//! The decoders that others wrote (`zune-jpeg`, `jpeg-decoder`) read lossy JPEG of 8 bits only, and they fill what is missing at
//! the end with grey, so that a picture cut short cannot be told from one that has lost nothing but its end marker. Both need
//! the same walk over the codes, of which there is one here: [`is_whole`] counts what it finds, [`decode`] makes samples of it.
//! Progressive JPEG, whose number of scans nothing tells, is not walked.

use crate::codestream::{BitsAhead, BitsError, CodestreamError, is_start_of_frame, jpeg_has_end, marker_segment};

/// A component of a frame (B.2.2).
#[derive(Clone, Debug)]
struct Component {
    id: u8,
    /// Blocks of a unit (MCU), across and down.
    sampling: [usize; 2],
    quantisation: usize,
}

/// The frame header.
#[derive(Clone, Debug)]
struct Frame {
    /// Whether samples are predicted from each other, and not transformed (SOF3).
    lossless: bool,
    bits: u32,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

/// A Huffman table (C.2, F.2.2.3): by length of the code, the first code of the next length and where its values lie.
#[derive(Clone, Debug, Default)]
struct Table {
    /// For each length from 1: one more than its last code, and what to add to a code for the place of its value.
    lengths: [(i32, i32); 16],
    values: Vec<u8>,
}

impl Table {
    fn new(counts: &[u8; 16], values: &[u8]) -> Option<Self> {
        let mut lengths = [(0, 0); 16];
        let (mut code, mut place) = (0i32, 0i32);
        for (length, &count) in lengths.iter_mut().zip(counts) {
            let end = code + i32::from(count);
            *length = (end, place - code);
            place += i32::from(count);
            code = 2 * end;
        }
        let whole = usize::try_from(place).ok()? == values.len() && code <= 2 << 16;
        whole.then(|| Self { lengths, values: values.to_vec() })
    }
}

/// Entropy-coded bits; a 0 after 0xff is no data (B.1.1.5).
struct Bits<'a> {
    rest: &'a [u8],
    ahead: BitsAhead,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.ahead.has_room() {
            let (byte, rest) = match *self.rest {
                [0xff, 0, ref rest @ ..] => (0xff, rest),
                [0xff, ..] | [] => return,
                [byte, ref rest @ ..] => (byte, rest),
            };
            self.ahead.push(byte, 8);
            self.rest = rest;
        }
    }

    /// `count` bits, 16 at most.
    fn take(&mut self, count: u32) -> Result<i32, BitsError> {
        if self.ahead.count < count {
            self.fill();
        }
        self.ahead.take(count)
    }

    /// The next value of `table`; `None` where no code fits.
    fn code(&mut self, table: &Table) -> Result<Option<u8>, BitsError> {
        self.fill();
        for (length, &(end, offset)) in (1..).zip(&table.lengths) {
            if length > self.ahead.count {
                return Err(BitsError);
            }
            let code = (self.ahead.bits >> (64 - length)) as i32;
            if code < end {
                self.ahead.skip(length);
                return Ok(usize::try_from(code + offset).ok().and_then(|place| table.values.get(place)).copied());
            }
        }
        Ok(None)
    }

    /// A number of which `size` bits follow (F.2.2.1, EXTEND).
    fn number(&mut self, size: u32) -> Result<i32, BitsError> {
        if size == 0 {
            return Ok(0);
        }
        let value = self.take(size)?;
        Ok(if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    /// Goes on behind the next restart marker.
    fn restart(&mut self) -> Result<(), BitsError> {
        self.ahead = BitsAhead::default();
        match *self.rest {
            [0xff, 0xd0..=0xd7, ref rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(BitsError),
        }
    }
}

/// The order of a block's coefficients (figure A.6), by row and column.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A block of a picture: its component, its place in blocks across and down, its coefficients row by row.
type Block<'a> = (&'a Component, [usize; 2], &'a [i32; 64]);

/// Whether all of a JPEG codestream is there; one of a kind that is not walked needs its end marker.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    is_whole(bytes).unwrap_or_else(|| jpeg_has_end(bytes))
}

/// Bytes behind the last sample that some writers leave in place of the end marker: what makes the length even, or a word full.
const PADDING: usize = 16;

/// Whether every sample of a sequential JPEG is there, with or without the marker that ends it. What cannot be told, because
/// the codestream is of another kind or contradicts itself, is `None`.
pub(super) fn is_whole(bytes: &[u8]) -> Option<bool> {
    match walk(bytes, |_, _| ()) {
        // A picture without its end marker may have a few bytes more; many are what somebody filled a gap with.
        Ok(after) => Some(after.len() <= PADDING || jpeg_has_end(bytes)),
        Err(CodestreamError::Truncated) => Some(false),
        Err(CodestreamError::Damaged(_) | CodestreamError::Unsupported(_)) => None,
    }
}

/// The samples of a lossy picture of one component, 8 to 12 bits each; at most `max_samples`.
pub(super) fn decode(bytes: &[u8], max_samples: usize) -> Result<Vec<u16>, CodestreamError> {
    let (frame, tables) = headers(bytes)?;
    if frame.components.len() != 1 || frame.lossless {
        let what = if frame.lossless { "lossless".into() } else { format!("{} components", frame.components.len()) };
        return Err(CodestreamError::Unsupported(format!("JPEG of {} bits with {what}", frame.bits)));
    }
    let (width, height) = (frame.width, frame.height);
    if width * height > max_samples {
        return Err(CodestreamError::damaged("more JPEG samples than the picture has"));
    }
    let quantisation = tables[frame.components[0].quantisation]
        .ok_or_else(|| CodestreamError::damaged("a JPEG without its quantisation table"))?;
    let basis = cosines();
    let highest = ((1u32 << frame.bits) - 1) as f32;
    let middle = (1u32 << (frame.bits - 1)) as f32;
    let mut samples = vec![0u16; width * height];
    walk(bytes, |_, (_, [across, down], coefficients)| {
        let values = std::array::from_fn(|i| coefficients[i] as f32 * f32::from(quantisation[i]));
        let block = inverse_cosine_transform(&values, &basis);
        for (y, row) in (8 * down..height).zip(block.chunks_exact(8)) {
            for (x, value) in (8 * across..width).zip(row) {
                samples[y * width + x] = (value + middle).round().clamp(0.0, highest) as u16;
            }
        }
    })?;
    Ok(samples)
}

/// Half the cosines of A.3.3, with the factor of the first: `[frequency][place]`.
fn cosines() -> [[f32; 8]; 8] {
    std::array::from_fn(|frequency| {
        std::array::from_fn(|place| {
            let angle = ((2 * place + 1) * frequency) as f64 * std::f64::consts::PI / 16.0;
            let factor = if frequency == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
            (angle.cos() * factor / 2.0) as f32
        })
    })
}

/// A.3.3, first along the rows and then along the columns.
fn inverse_cosine_transform(coefficients: &[f32; 64], basis: &[[f32; 8]; 8]) -> [f32; 64] {
    let mut rows = [0f32; 64];
    for (row, coefficients) in rows.chunks_exact_mut(8).zip(coefficients.chunks_exact(8)) {
        for (basis, coefficient) in basis.iter().zip(coefficients).filter(|(_, coefficient)| **coefficient != 0.0) {
            row.iter_mut().zip(basis).for_each(|(value, cosine)| *value += coefficient * cosine);
        }
    }
    let mut block = [0f32; 64];
    for (basis, row) in basis.iter().zip(rows.chunks_exact(8)) {
        for (values, cosine) in block.chunks_exact_mut(8).zip(basis) {
            values.iter_mut().zip(row).for_each(|(value, coefficient)| *value += coefficient * cosine);
        }
    }
    block
}

/// The quantisation tables, row by row.
type Quantisation = [Option<[u16; 64]>; 4];

/// The frame header and the quantisation tables before the first scan.
fn headers(bytes: &[u8]) -> Result<(Frame, Quantisation), CodestreamError> {
    let broken = CodestreamError::damaged;
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| broken("no JPEG codestream"))?;
    let mut tables: Quantisation = [None; 4];
    let mut frame = None;
    loop {
        let (marker, payload, after) = marker_segment(rest).ok_or(CodestreamError::Truncated)?;
        rest = after;
        match marker {
            0xdb => read_quantisation(payload, &mut tables).ok_or_else(|| broken("a JPEG quantisation table"))?,
            0xda => break,
            0xd9 => return Err(CodestreamError::Truncated),
            marker if is_start_of_frame(marker) => frame = Some(read_frame(marker, payload)?),
            _ => {}
        }
    }
    Ok((frame.ok_or_else(|| broken("a JPEG scan before its frame"))?, tables))
}

fn read_quantisation(mut payload: &[u8], tables: &mut Quantisation) -> Option<()> {
    while let Some((&head, rest)) = payload.split_first() {
        let wide = head >> 4 != 0;
        let (entries, after) = rest.split_at_checked(if wide { 128 } else { 64 })?;
        let mut table = [0; 64];
        for (index, &place) in ZIGZAG.iter().enumerate() {
            table[usize::from(place)] = if wide {
                u16::from_be_bytes([entries[2 * index], entries[2 * index + 1]])
            } else {
                entries[index].into()
            };
        }
        *tables.get_mut(usize::from(head & 15))? = Some(table);
        payload = after;
    }
    Some(())
}

fn read_frame(marker: u8, payload: &[u8]) -> Result<Frame, CodestreamError> {
    let broken = || CodestreamError::damaged("a JPEG frame header that contradicts itself");
    let kind = match marker {
        0xc0 | 0xc1 | 0xc3 => None,
        0xc2 => Some("progressive"),
        0xc9..=0xcf => Some("arithmetically coded"),
        0xf7 => return Err(broken()),
        _ => Some("hierarchical"),
    };
    let &[bits, y1, y0, x1, x0, count, ref components @ ..] = payload else { return Err(broken()) };
    if let Some(kind) = kind {
        return Err(CodestreamError::Unsupported(format!("{kind} JPEG of {bits} bits")));
    }
    let (width, height) = (u16::from_be_bytes([x1, x0]).into(), u16::from_be_bytes([y1, y0]).into());
    let lossless = marker == 0xc3;
    let components: Vec<Component> = components
        .chunks_exact(3)
        .map(|c| Component {
            id: c[0],
            sampling: [(c[1] >> 4).into(), (c[1] & 15).into()],
            quantisation: (c[2] & 3).into(),
        })
        .collect();
    let fits = components.len() == usize::from(count) && !components.is_empty();
    let sampled = components.iter().all(|c| c.sampling.iter().all(|factor| (1..=4).contains(factor)));
    let bits_fit = if lossless { (2..=16).contains(&bits) } else { (8..=12).contains(&bits) };
    if !fits || !sampled || !bits_fit || width == 0 || height == 0 {
        return Err(broken());
    }
    Ok(Frame { lossless, bits: bits.into(), width, height, components })
}

/// Reads all scans, and shows each block of each component to `sink`; of a lossless picture, which has no blocks, nothing is shown.
/// Gives the bytes behind the last sample.
fn walk(bytes: &[u8], mut sink: impl FnMut(&Frame, Block<'_>)) -> Result<&[u8], CodestreamError> {
    let broken = CodestreamError::damaged;
    let (frame, _) = headers(bytes)?;
    let mut rest = &bytes[2..];
    // Tables of the first coefficient (or of a lossless difference), and of the others.
    let mut tables: [[Option<Table>; 4]; 2] = Default::default();
    let mut restart_interval = 0;
    let mut found = vec![false; frame.components.len()];
    while !found.iter().all(|found| *found) {
        let (marker, payload, after) = marker_segment(rest).ok_or(CodestreamError::Truncated)?;
        rest = after;
        match (marker, payload) {
            (0xc4, payload) => {
                let mut payload = payload;
                while let Some((&head, after)) = payload.split_first() {
                    let read = after.split_first_chunk::<16>().and_then(|(counts, after)| {
                        let total = counts.iter().map(|&count| usize::from(count)).sum();
                        let (values, after) = after.split_at_checked(total)?;
                        Some((Table::new(counts, values)?, after))
                    });
                    let (table, after) = read.ok_or_else(|| broken("a JPEG Huffman table"))?;
                    *tables
                        .get_mut(usize::from(head >> 4))
                        .and_then(|tables| tables.get_mut(usize::from(head & 15)))
                        .ok_or_else(|| broken("a JPEG Huffman table"))? = Some(table);
                    payload = after;
                }
            }
            (0xdd, &[high, low]) => restart_interval = usize::from(u16::from_be_bytes([high, low])),
            (0xda, &[count, ref header @ ..]) => {
                let components = header
                    .get(..2 * usize::from(count))
                    .ok_or_else(|| broken("a JPEG scan header that is too short"))?;
                let mut scan = Vec::new();
                for pair in components.chunks(2) {
                    let place = frame
                        .components
                        .iter()
                        .position(|component| component.id == pair[0])
                        .filter(|&place| !found[place])
                        .ok_or_else(|| broken("a JPEG scan that does not fit its frame"))?;
                    found[place] = true;
                    let table = |kind: usize, index: u8| tables[kind].get(usize::from(index)).and_then(Option::as_ref);
                    let first = table(0, pair[1] >> 4).ok_or_else(|| broken("a JPEG without its Huffman table"))?;
                    let others = table(1, pair[1] & 15);
                    if others.is_none() && !frame.lossless {
                        return Err(broken("a JPEG without its Huffman table"));
                    }
                    scan.push((&frame.components[place], first, others));
                }
                let mut bits = Bits { rest, ahead: BitsAhead::default() };
                walk_scan(&frame, &scan, &mut bits, restart_interval, &mut sink)?;
                rest = bits.rest;
            }
            (0xd9, _) => return Err(CodestreamError::Truncated),
            _ => {}
        }
    }
    Ok(rest)
}

/// Reads one scan: units one after the other, in each of them the blocks of each component (A.2).
fn walk_scan(
    frame: &Frame,
    scan: &[(&Component, &Table, Option<&Table>)],
    bits: &mut Bits<'_>,
    restart_interval: usize,
    sink: &mut impl FnMut(&Frame, Block<'_>),
) -> Result<(), CodestreamError> {
    let widest: [usize; 2] =
        std::array::from_fn(|axis| frame.components.iter().map(|c| c.sampling[axis]).max().unwrap_or(1));
    let side = if frame.lossless { 1 } else { 8 };
    let size = [frame.width, frame.height];
    // A component alone in its scan has no units but blocks, as many as its own samples need.
    let alone = scan.len() == 1;
    let units: [usize; 2] = std::array::from_fn(|axis| match (alone, scan.first()) {
        (true, Some((component, ..))) => (size[axis] * component.sampling[axis]).div_ceil(widest[axis]).div_ceil(side),
        _ => size[axis].div_ceil(widest[axis] * side),
    });
    let mut predictions = vec![0i32; scan.len()];
    let mut coefficients = [0i32; 64];
    for unit in 0..units[0] * units[1] {
        if restart_interval > 0 && unit > 0 && unit % restart_interval == 0 {
            bits.restart()?;
            predictions.fill(0);
        }
        let at = [unit % units[0], unit / units[0]];
        for ((component, first, others), prediction) in scan.iter().zip(&mut predictions) {
            let sampling = if alone { [1, 1] } else { component.sampling };
            for block in 0..sampling[0] * sampling[1] {
                let Some(others) = others.filter(|_| !frame.lossless) else {
                    match bits.code(first)? {
                        Some(size @ 0..=15) => _ = bits.number(size.into())?,
                        // 32768, without bits (H.1.2.2).
                        Some(16) => {}
                        _ => return Err(CodestreamError::damaged("an unknown JPEG code")),
                    }
                    continue;
                };
                read_block(bits, first, others, prediction, &mut coefficients)?;
                let place = [at[0] * sampling[0] + block % sampling[0], at[1] * sampling[1] + block / sampling[0]];
                sink(frame, (component, place, &coefficients));
            }
        }
    }
    Ok(())
}

/// Reads a block (F.2.2).
fn read_block(
    bits: &mut Bits<'_>,
    first: &Table,
    others: &Table,
    prediction: &mut i32,
    coefficients: &mut [i32; 64],
) -> Result<(), CodestreamError> {
    let unknown = || CodestreamError::damaged("an unknown JPEG code");
    coefficients.fill(0);
    let size = bits.code(first)?.filter(|size| *size <= 16).ok_or_else(unknown)?;
    *prediction += bits.number(size.into())?;
    if prediction.unsigned_abs() > 1 << 20 {
        return Err(CodestreamError::damaged("a JPEG coefficient out of range"));
    }
    coefficients[0] = *prediction;
    let mut index = 1;
    while index < 64 {
        let code = bits.code(others)?.ok_or_else(unknown)?;
        let (zeros, size) = (usize::from(code >> 4), u32::from(code & 15));
        match (zeros, size) {
            (15, 0) => index += 16,
            (_, 0) => break,
            _ => {
                index += zeros;
                let place =
                    ZIGZAG.get(index).ok_or_else(|| CodestreamError::damaged("a JPEG block that is too long"))?;
                coefficients[usize::from(*place)] = bits.number(size)?;
                index += 1;
            }
        }
    }
    Ok(())
}
