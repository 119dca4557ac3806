//! JPEG-LS (ITU-T T.87 and ISO/IEC 14495-1), lossless and near-lossless, as DICOM stores it.
//!
//! This is our own because a device is built with a C compiler alone: `charls` wraps C++, and what there is in Rust reads one
//! component only, or overflows on damaged data. It reads up to 16 bits and any interleave; mapping tables, restart intervals and
//! HP's colour transformation, which DICOM does not use, are refused by name.
//!
//! Names are those of the standard where it has a name: `A`, `B`, `C` and `N` of a context, `Ra` (left of the sample), `Rb` (above),
//! `Rc` (left of above), `Rd` (right of above).

use crate::codestream::{BitsAhead, BitsError, CodestreamError, marker_segment};

/// Contexts of the regular mode (A.3.5).
const CONTEXTS: usize = 365;
/// The order of the run-length codes (A.2.1).
const J: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Samples a pixel.
    pub(super) components: usize,
    /// Row by row, the samples of a pixel together.
    pub(super) samples: Vec<u16>,
}

/// The frame header (C.2.2).
#[derive(Clone, Debug)]
struct Frame {
    bits: u32,
    width: usize,
    height: usize,
    /// Identifiers of the components.
    components: Vec<u8>,
}

/// Preset coding parameters (C.2.4.1.1); 0 stands for the default.
#[derive(Clone, Copy, Debug, Default)]
struct Preset {
    maximum: i32,
    thresholds: [i32; 3],
    reset: i32,
}

/// Decodes a codestream of at most `max_samples` samples.
pub(super) fn decode(bytes: &[u8], max_samples: usize) -> Result<Picture, CodestreamError> {
    let broken = CodestreamError::damaged;
    let unsupported = |what: &str| Err(CodestreamError::Unsupported(format!("JPEG-LS with {what}")));
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| broken("no JPEG-LS codestream"))?;
    let mut preset = Preset::default();
    let mut frame: Option<Frame> = None;
    let mut samples: Vec<u16> = Vec::new();
    let mut decoded = Vec::new();
    loop {
        // A codestream that ends with its last sample has lost its end marker only.
        if frame.as_ref().is_some_and(|frame| decoded.len() == frame.components.len()) {
            break;
        }
        let (marker, payload, after) = marker_segment(rest).ok_or(CodestreamError::Truncated)?;
        rest = after;
        match (marker, payload) {
            (0xf7, &[bits @ 2..=16, y1, y0, x1, x0, count, ref components @ ..]) => {
                let (width, height) = (u16::from_be_bytes([x1, x0]).into(), u16::from_be_bytes([y1, y0]).into());
                let ids: Vec<u8> = components.chunks_exact(3).map(|component| component[0]).collect();
                if ids.len() != usize::from(count) || ids.is_empty() || width == 0 || height == 0 || frame.is_some() {
                    return Err(broken("a JPEG-LS frame header that contradicts itself"));
                }
                if components.chunks_exact(3).any(|component| component[1] != 0x11) {
                    return unsupported("subsampled components");
                }
                let needed = width * height * ids.len();
                if needed > max_samples {
                    return Err(broken("more JPEG-LS samples than the picture has"));
                }
                samples = vec![0; needed];
                frame = Some(Frame { bits: bits.into(), width, height, components: ids });
            }
            (0xf8, &[1, m1, m0, a1, a0, b1, b0, c1, c0, r1, r0]) => {
                let word = |high, low| i32::from(u16::from_be_bytes([high, low]));
                preset = Preset {
                    maximum: word(m1, m0),
                    thresholds: [word(a1, a0), word(b1, b0), word(c1, c0)],
                    reset: word(r1, r0),
                };
            }
            (0xf8, &[2 | 3, ..]) => return unsupported("mapping tables"),
            (0xf8, _) => return unsupported("parameters of an unknown kind"),
            (0xdd, payload) if payload.iter().any(|&byte| byte != 0) => return unsupported("restart intervals"),
            (0xe8, &[b'm', b'r', b'f', b'x', transform]) if transform != 0 => {
                return unsupported("HP's colour transformation");
            }
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _) => {
                return Err(broken("JPEG where the data set says JPEG-LS"));
            }
            (0xda, &[count, ref header @ ..]) => {
                let frame = frame.as_ref().ok_or_else(|| broken("a JPEG-LS scan before its frame"))?;
                let (components, parameters) = header
                    .split_at_checked(2 * usize::from(count))
                    .ok_or_else(|| broken("a JPEG-LS scan header that is too short"))?;
                let &[near, interleave, point_transform] = parameters else {
                    return Err(broken("a JPEG-LS scan header of another length"));
                };
                if components.chunks(2).any(|component| component[1] != 0) {
                    return unsupported("mapping tables");
                }
                if point_transform != 0 {
                    return unsupported("a point transform");
                }
                let place = |component: &[u8]| frame.components.iter().position(|id| *id == component[0]);
                let places: Vec<usize> = components.chunks(2).filter_map(place).collect();
                let fits = places.len() == usize::from(count) && !places.iter().any(|place| decoded.contains(place));
                if !fits || places.is_empty() || (interleave == 0 && places.len() > 1) || interleave > 2 {
                    return Err(broken("a JPEG-LS scan that does not fit its frame"));
                }
                let end = entropy_coded(rest);
                let mut scan = Scan::new(frame, preset, near.into(), &rest[..end])?;
                scan.decode(frame, interleave == 2, &places, &mut samples)?;
                decoded.extend(places);
                rest = &rest[end..];
            }
            (0xd9, _) => return Err(CodestreamError::Truncated),
            (0xf7, _) => return unsupported("samples of another number of bits than 2 to 16"),
            _ => {}
        }
    }
    let Some(Frame { width, height, components, .. }) = frame else { return Err(broken("JPEG-LS without a frame")) };
    Ok(Picture { width, height, components: components.len(), samples })
}

/// How many bytes of entropy-coded data there are: up to 0xff before a byte whose highest bit is set.
fn entropy_coded(bytes: &[u8]) -> usize {
    bytes.windows(2).position(|pair| pair[0] == 0xff && pair[1] >= 0x80).unwrap_or(bytes.len())
}

/// Bits, the highest first; after 0xff a byte has seven of them (A.1, C.1.2.3).
struct Bits<'a> {
    rest: &'a [u8],
    after_ff: bool,
    ahead: BitsAhead,
}

impl Bits<'_> {
    fn fill(&mut self) {
        while self.ahead.has_room()
            && let Some((&byte, rest)) = self.rest.split_first()
        {
            let width = if self.after_ff { 7 } else { 8 };
            self.ahead.push(byte, width);
            self.after_ff = byte == 0xff;
            self.rest = rest;
        }
    }

    /// `count` bits, 32 at most.
    fn take(&mut self, count: u32) -> Result<i32, BitsError> {
        if self.ahead.count < count {
            self.fill();
        }
        self.ahead.take(count)
    }

    /// How many zeros come before the next one, which is taken as well.
    fn zeros(&mut self) -> Result<u32, BitsError> {
        self.fill();
        let zeros = self.ahead.bits.leading_zeros();
        if zeros >= self.ahead.count {
            return Err(BitsError);
        }
        self.ahead.skip(zeros);
        self.ahead.skip(1);
        Ok(zeros)
    }
}

/// The statistics of a context.
#[derive(Clone, Copy, Debug)]
struct Context {
    a: i64,
    b: i32,
    c: i32,
    n: i32,
}

/// The statistics of a run's interruption; `negative` is the standard's Nn.
#[derive(Clone, Copy, Debug)]
struct RunContext {
    a: i64,
    n: i32,
    negative: i32,
}

/// The smallest `k` for which `n << k` is not below `a` (A.5.1).
fn golomb_order(n: i32, a: i64) -> u32 {
    (0..32).find(|&k| (i64::from(n) << k) >= a).unwrap_or(32)
}

/// What decodes one scan.
struct Scan<'a> {
    bits: Bits<'a>,
    maximum: i32,
    near: i32,
    thresholds: [i32; 3],
    reset: i32,
    /// Number of values of a prediction error.
    range: i32,
    /// Bits of a prediction error (qbpp).
    error_bits: u32,
    /// Longest code (LIMIT).
    limit: u32,
    contexts: Vec<Context>,
    run_contexts: [RunContext; 2],
}

impl<'a> Scan<'a> {
    fn new(frame: &Frame, preset: Preset, near: i32, coded: &'a [u8]) -> Result<Self, CodestreamError> {
        let broken = || CodestreamError::damaged("JPEG-LS parameters that contradict each other");
        let full = (1i32 << frame.bits) - 1;
        let maximum = if preset.maximum == 0 { full } else { preset.maximum };
        if maximum > full || near > 255.min(maximum / 2) {
            return Err(broken());
        }
        // C.2.4.1.1.1.
        let within = |value: i32, lowest: i32| if value > maximum || value < lowest { lowest } else { value };
        let basic = |basic: i32, near_factor: i32, least: i32| {
            if maximum >= 128 {
                let factor = (maximum.min(4095) + 128) / 256;
                factor * (basic - least) + least + near_factor * near
            } else {
                let factor = 256 / (maximum + 1);
                least.max(basic / factor + near_factor * near)
            }
        };
        let first = within(basic(3, 3, 2), near + 1);
        let second = within(basic(7, 5, 3), first);
        let third = within(basic(21, 7, 4), second);
        let mut thresholds = preset.thresholds;
        for (told, default) in thresholds.iter_mut().zip([first, second, third]) {
            if *told == 0 {
                *told = default;
            }
        }
        let reset = if preset.reset == 0 { 64 } else { preset.reset };
        let ordered = near < thresholds[0] && thresholds.is_sorted() && thresholds[2] <= maximum.max(near + 1);
        if !ordered || !(3..=255.max(maximum)).contains(&reset) {
            return Err(broken());
        }
        let range = (maximum + 2 * near) / (2 * near + 1) + 1;
        let bits_of = |values: i32| 32 - (values - 1).leading_zeros();
        let sample_bits = bits_of(maximum + 1).max(2);
        let a = i64::from(2.max((range + 32) / 64));
        Ok(Self {
            bits: Bits { rest: coded, after_ff: false, ahead: BitsAhead::default() },
            maximum,
            near,
            thresholds,
            reset,
            range,
            error_bits: bits_of(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
            contexts: vec![Context { a, b: 0, c: 0, n: 1 }; CONTEXTS],
            run_contexts: [RunContext { a, n: 1, negative: 0 }; 2],
        })
    }

    /// Decodes the components at `places` of a pixel: the samples of a pixel together, or else line by line.
    fn decode(
        &mut self,
        frame: &Frame,
        by_sample: bool,
        places: &[usize],
        samples: &mut [u16],
    ) -> Result<(), CodestreamError> {
        let Frame { width, components, .. } = frame;
        let (width, stride) = (*width, components.len());
        // A line, with a sample before it and one after it.
        let mut above = vec![vec![0i32; width + 2]; places.len()];
        let mut lines = above.clone();
        let mut run_indices = vec![0usize; places.len()];
        for row in samples.chunks_exact_mut(width * stride) {
            for (line, above) in lines.iter_mut().zip(&mut above) {
                line[0] = above[1];
                above[width + 1] = above[width];
            }
            if by_sample {
                self.line(&mut lines, &above, &mut run_indices[0])?;
            } else {
                for component in 0..places.len() {
                    let (line, above) = (&mut lines[component..=component], &above[component..=component]);
                    self.line(line, above, &mut run_indices[component])?;
                }
            }
            for (line, &place) in lines.iter().zip(places) {
                for (pixel, &value) in row.chunks_exact_mut(stride).zip(&line[1..]) {
                    // Between 0 and the maximum, which has 16 bits.
                    pixel[place] = value as u16;
                }
            }
            std::mem::swap(&mut lines, &mut above);
        }
        Ok(())
    }

    /// Decodes a line of the components whose samples come together.
    fn line(
        &mut self,
        lines: &mut [Vec<i32>],
        above: &[Vec<i32>],
        run_index: &mut usize,
    ) -> Result<(), CodestreamError> {
        let end = above.first().map_or(0, |line| line.len() - 1);
        let mut x = 1;
        while x < end {
            let flat = lines.iter().zip(above).all(|(line, above)| {
                let (left, up, corner, right) = (line[x - 1], above[x], above[x - 1], above[x + 1]);
                [right - up, up - corner, corner - left].iter().all(|gradient| gradient.abs() <= self.near)
            });
            if !flat {
                for (line, above) in lines.iter_mut().zip(above) {
                    line[x] = self.regular([line[x - 1], above[x], above[x - 1], above[x + 1]])?;
                }
                x += 1;
                continue;
            }
            let run = self.run_length(end - x, run_index)?;
            for line in lines.iter_mut() {
                let value = line[x - 1];
                line[x..x + run].fill(value);
            }
            x += run;
            if x < end {
                let alone = lines.len() == 1;
                for (line, above) in lines.iter_mut().zip(above) {
                    line[x] = self.interruption(line[x - 1], above[x], alone, *run_index)?;
                }
                *run_index = run_index.saturating_sub(1);
                x += 1;
            }
        }
        Ok(())
    }

    /// The sample that is read at its context (A.3 to A.6).
    fn regular(&mut self, [ra, rb, rc, rd]: [i32; 4]) -> Result<i32, CodestreamError> {
        let quantised = [rd - rb, rb - rc, rc - ra].map(|gradient| self.quantise(gradient));
        let index = 81 * quantised[0] + 9 * quantised[1] + quantised[2];
        let sign = if index < 0 { -1 } else { 1 };
        let context = &mut self.contexts[index.unsigned_abs() as usize];

        let predicted = if rc >= ra.max(rb) {
            ra.min(rb)
        } else if rc <= ra.min(rb) {
            ra.max(rb)
        } else {
            ra + rb - rc
        };
        let predicted = (predicted + sign * context.c).clamp(0, self.maximum);

        let order = golomb_order(context.n, context.a);
        let mapped = golomb(&mut self.bits, order, self.limit, self.error_bits)?;
        let mirrored = self.near == 0 && order == 0 && 2 * context.b <= -context.n;
        let error = match (mapped % 2 == 0, mirrored) {
            (true, false) => mapped / 2,
            (false, false) => -(mapped + 1) / 2,
            (true, true) => -mapped / 2 - 1,
            (false, true) => (mapped - 1) / 2,
        };
        if error.abs() > self.range {
            return Err(CodestreamError::damaged("a JPEG-LS error out of range"));
        }

        let step = 2 * self.near + 1;
        context.b += error * step;
        context.a += i64::from(error.abs());
        if context.n == self.reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        if context.b <= -context.n {
            context.b = (context.b + context.n).max(1 - context.n);
            context.c = (context.c - 1).max(-128);
        } else if context.b > 0 {
            context.b = (context.b - context.n).min(0);
            context.c = (context.c + 1).min(127);
        }
        Ok(self.reconstruct(predicted, sign * error))
    }

    fn quantise(&self, gradient: i32) -> i32 {
        let [first, second, third] = self.thresholds;
        let size = gradient.abs();
        let quantised = match () {
            () if size <= self.near => 0,
            () if size < first => 1,
            () if size < second => 2,
            () if size < third => 3,
            () => 4,
        };
        quantised * gradient.signum()
    }

    /// The sample that is `error` steps from what was predicted (A.4.5).
    fn reconstruct(&self, predicted: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let value = predicted + error * step;
        let value = match () {
            () if value < -self.near => value + self.range * step,
            () if value > self.maximum + self.near => value - self.range * step,
            () => value,
        };
        value.clamp(0, self.maximum)
    }

    /// How many samples of the `left` ones of a line are as the one before them (A.7.1).
    fn run_length(&mut self, left: usize, run_index: &mut usize) -> Result<usize, CodestreamError> {
        let mut run = 0;
        while self.bits.take(1)? == 1 {
            let whole = 1 << J[*run_index];
            if left - run < whole {
                return Ok(left);
            }
            run += whole;
            *run_index = (*run_index + 1).min(J.len() - 1);
            if run == left {
                return Ok(run);
            }
        }
        run += self.bits.take(J[*run_index])? as usize;
        if run > left { Err(CodestreamError::damaged("a JPEG-LS run beyond its line")) } else { Ok(run) }
    }

    /// The sample that ends a run (A.7.2); where samples come together, each is taken for one that differs (`alone` is false).
    fn interruption(&mut self, ra: i32, rb: i32, alone: bool, run_index: usize) -> Result<i32, CodestreamError> {
        let same = alone && (ra - rb).abs() <= self.near;
        let kind = i32::from(same);
        let context = &mut self.run_contexts[usize::from(same)];
        let a = if same { context.a + i64::from(context.n >> 1) } else { context.a };
        let order = golomb_order(context.n, a);
        let limit = self.limit - J[run_index] - 1;
        let mapped = golomb(&mut self.bits, order, limit, self.error_bits)?;
        let value = mapped + kind;
        let odd = value % 2;
        let size = (value + odd) / 2;
        if size > self.range {
            return Err(CodestreamError::damaged("a JPEG-LS error out of range"));
        }
        let negative = (order != 0 || 2 * context.negative >= context.n) == (odd == 1);
        let error = if negative { -size } else { size };
        if error < 0 {
            context.negative += 1;
        }
        context.a += i64::from((mapped + 1 - kind) >> 1);
        if context.n == self.reset {
            context.a >>= 1;
            context.n >>= 1;
            context.negative >>= 1;
        }
        context.n += 1;
        let sign = if !same && ra > rb { -1 } else { 1 };
        Ok(self.reconstruct(if same { ra } else { rb }, sign * error))
    }
}

/// A number in the limited-length Golomb code (A.5.3).
fn golomb(bits: &mut Bits<'_>, order: u32, limit: u32, error_bits: u32) -> Result<i32, CodestreamError> {
    let longest = limit.checked_sub(error_bits + 1).ok_or_else(too_long)?;
    let zeros = bits.zeros()?;
    match () {
        () if zeros > longest || order > 16 => Err(too_long()),
        () if zeros == longest => Ok(bits.take(error_bits)? + 1),
        () => Ok(((zeros as i32) << order) + bits.take(order)?),
    }
}

fn too_long() -> CodestreamError {
    CodestreamError::damaged("a JPEG-LS code that is too long")
}
