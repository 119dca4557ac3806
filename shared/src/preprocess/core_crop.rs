//! The part of the picture that shows the patient.
//!
//! The paper crops every picture "to the core", which keeps a network from learning scanner tables, frames and
//! burned-in names, and spends the input's few pixels on the chest. Greys alone tell where the body of a CT slice is
//! ([`Core::Body`]), and the exposed part of a film ([`Core::Film`]); a segmenter, which looks there, tells where the lungs are,
//! and they are the core that a classifier sees ([`Core::Lungs`], and without what lies around them [`Core::LungsAlone`]).

use super::{frame, spec::Core};
use crate::plane::{Plane, Rect};
use alloc::vec::Vec;

/// The smallest core that is believed, as a divisor of the picture's area. Below it, something else was found.
const SMALLEST_CORE: usize = 4;

/// The smallest region that belongs to the body beside the largest, as a divisor of the largest one's area. In slices
/// cut close to the lungs the heart and the walls of the chest do not touch.
const SMALLEST_REGION: usize = 10;

/// Pixels of the lungs that may lie beyond a side of their box, as a divisor of all: a speck far off does not make it larger.
const STRAY_PIXELS: u64 = 200;

/// The smallest box around lungs that is believed, as a divisor of the area in which they were looked for. Below it there is
/// too little lung to tell anything of it, or something else was found.
const SMALLEST_LUNGS: usize = 8;

/// How much brighter than the darkest pixel the padding around a scanner's round field of view may be.
const PADDING_TOLERANCE: u8 = 8;

/// The rectangle that holds the core of `picture` (windowed, before equalisation).
///
/// - For [`Core::Whole`] everything, and for [`Core::Lungs`] and [`Core::LungsAlone`], which greys do not tell: see [`around_lungs`].
/// - For [`Core::Body`] the largest 8-connected region brighter than Otsu's threshold (Otsu, 1979), and any other of at
///   least a tenth of its area, boxed. The padding around a scanner's round field of view does not count for the
///   threshold, or that would lie between padding and air.
/// - For [`Core::Film`] what is left when uniform rows and columns are taken off from outside, in turn until none is
///   left: frames, collimation, borders of any grey, with a few letters in them or not.
///
/// A margin (a share of the longer side of what was found) is then put around it and cut to the picture. When less
/// than a quarter of the picture's area is left, the search found something else than a chest, and the answer is
/// the whole picture.
pub fn find_core(picture: &Plane<u8>, core: Core) -> Rect {
    let whole = Rect::full(picture.width(), picture.height());
    let (found, margin) = match core {
        Core::Whole | Core::Lungs { .. } | Core::LungsAlone { .. } => return whole,
        Core::Body { margin } => (body(picture), margin),
        Core::Film { margin } => (frame::inside(picture, 0), margin),
    };
    let grown = grown(found, margin).within(picture.width(), picture.height());
    if grown.area() < whole.area().div_ceil(SMALLEST_CORE) { whole } else { grown }
}

/// The rectangle that holds the lungs of a mask, with a margin (a share of its longer side) around it that does not leave
/// `seen`, the part of the picture in which they were looked for; `None` where hardly any were found.
pub fn around_lungs(lungs: &Plane<u8>, seen: Rect, margin: f32) -> Option<Rect> {
    let (mut columns, mut rows) = (alloc::vec![0u64; lungs.width()], alloc::vec![0u64; lungs.height()]);
    for (y, row) in rows.iter_mut().enumerate() {
        for (column, _) in columns.iter_mut().zip(lungs.row(y)).filter(|(_, value)| **value > 0) {
            *column += 1;
            *row += 1;
        }
    }
    let ((x, width), (y, height)) = (without_strays(&columns), without_strays(&rows));
    let grown = grown(Rect { x, y, width, height }, margin).common(seen);
    let believed = width > 0 && height > 0 && grown.area() >= seen.area().div_ceil(SMALLEST_LUNGS);
    believed.then_some(grown)
}

/// Start and length of the lines that hold all but the first and the last few of the pixels counted in each.
fn without_strays(counts: &[u64]) -> (usize, usize) {
    let strays = counts.iter().sum::<u64>() / STRAY_PIXELS;
    let beyond = |counts: &mut dyn Iterator<Item = &u64>| {
        let mut seen = 0;
        counts
            .take_while(|count| {
                seen += **count;
                seen <= strays
            })
            .count()
    };
    let (before, behind) = (beyond(&mut counts.iter()), beyond(&mut counts.iter().rev()));
    (before, counts.len().saturating_sub(before + behind))
}

/// `rect` with a margin around it, a share of its longer side, cut at column and row 0 only.
fn grown(rect: Rect, margin: f32) -> Rect {
    // The cast holds a margin that is not a number, or less than nothing, to 0.
    let margin = (rect.width.max(rect.height) as f32 * margin + 0.5) as usize;
    let (x, y) = (rect.x.saturating_sub(margin), rect.y.saturating_sub(margin));
    let right = (rect.x + rect.width).saturating_add(margin);
    let bottom = (rect.y + rect.height).saturating_add(margin);
    Rect { x, y, width: right - x, height: bottom - y }
}

/// The box around the regions above Otsu's threshold that are large enough; empty when no pixel is above it.
fn body(picture: &Plane<u8>) -> Rect {
    let regions = regions(picture, otsu(picture));
    let largest = regions.iter().map(|region| region.area).max().unwrap_or(0);
    let (mut left, mut right, mut top, mut bottom) = (picture.width(), 0, picture.height(), 0);
    for region in regions.iter().filter(|region| region.area * SMALLEST_REGION >= largest) {
        left = left.min(region.bounds.x);
        top = top.min(region.bounds.y);
        right = right.max(region.bounds.x + region.bounds.width);
        bottom = bottom.max(region.bounds.y + region.bounds.height);
    }
    Rect { x: left, y: top, width: right.saturating_sub(left), height: bottom.saturating_sub(top) }
}

/// Pixels above the threshold that hang together.
struct Region {
    /// In pixels.
    area: usize,
    bounds: Rect,
}

/// All 8-connected regions of pixels above `threshold`.
fn regions(picture: &Plane<u8>, threshold: u8) -> Vec<Region> {
    let (width, height) = (picture.width(), picture.height());
    let mut unseen: Vec<bool> = picture.data().iter().map(|&value| value > threshold).collect();
    let mut regions = Vec::new();
    let mut stack = Vec::new();
    for seed in 0..unseen.len() {
        if !core::mem::take(&mut unseen[seed]) {
            continue;
        }
        stack.push(seed);
        let mut area = 0;
        let (mut left, mut right, mut top, mut bottom) = (width, 0, height, 0);
        while let Some(index) = stack.pop() {
            let (x, y) = (index % width, index / width);
            area += 1;
            (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    let neighbour = y * width + x;
                    if core::mem::take(&mut unseen[neighbour]) {
                        stack.push(neighbour);
                    }
                }
            }
        }
        let bounds = Rect { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top };
        regions.push(Region { area, bounds });
    }
    regions
}

/// Otsu's threshold: the grey value that splits the histogram into two classes (at or below, above) with the greatest
/// variance between them; the lowest if several do.
///
/// Padding is left out: the darkest pixels of each row from either end to the first brighter one. When that leaves
/// less than half of the picture it is background like any other, and counts.
fn otsu(picture: &Plane<u8>) -> u8 {
    let darkest = picture.data().iter().copied().min().unwrap_or(0);
    let is_padding = |value: &u8| *value <= darkest.saturating_add(PADDING_TOLERANCE);
    let mut counts = [0u64; 256];
    for y in 0..picture.height() {
        let row = picture.row(y);
        let first = row.iter().position(|value| !is_padding(value)).unwrap_or(row.len());
        let end = row.iter().rposition(|value| !is_padding(value)).map_or(first, |last| last + 1);
        for &value in &row[first..end] {
            counts[usize::from(value)] += 1;
        }
    }
    if counts.iter().sum::<u64>() * 2 < picture.data().len() as u64 {
        counts.fill(0);
        for &value in picture.data() {
            counts[usize::from(value)] += 1;
        }
    }
    let total: f64 = counts.iter().map(|count| *count as f64).sum();
    let sum: f64 = (0u32..).zip(counts).map(|(value, count)| f64::from(value) * count as f64).sum();
    let (mut below, mut sum_below) = (0.0, 0.0);
    let mut best = (0.0, darkest);
    for (value, count) in (0u8..=255).zip(counts) {
        below += count as f64;
        sum_below += f64::from(value) * count as f64;
        let above = total - below;
        if below > 0.0 && above > 0.0 {
            let difference = sum_below / below - (sum - sum_below) / above;
            let between = below * above * difference * difference;
            if between > best.0 {
                best = (between, value);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texture that no line of which is uniform.
    fn texture(x: usize, y: usize) -> u8 {
        (60 + (x * 37 + y * 91) % 120) as u8
    }

    #[test]
    fn a_frame_with_letters_is_taken_off() {
        let inside = Rect { x: 20, y: 12, width: 150, height: 160 };
        for frame in [0, 255, 90] {
            let mut picture = Plane::from_fn(200, 190, |x, y| {
                let in_x = (inside.x..inside.x + inside.width).contains(&x);
                let in_y = (inside.y..inside.y + inside.height).contains(&y);
                if in_x && in_y { texture(x, y) } else { frame }
            });
            for y in 3..9 {
                for x in 5..14 {
                    picture.data_mut()[y * 200 + x] = if (x + y) % 2 == 0 { 255 - frame } else { frame };
                }
            }
            assert_eq!(find_core(&picture, Core::Film { margin: 0.0 }), inside, "frame of {frame}");
        }
    }

    #[test]
    fn a_body_is_found_beside_a_table() {
        let picture = Plane::from_fn(200, 160, |x, y| {
            let (dx, dy) = (x as i32 - 100, y as i32 - 70);
            let in_body = dx * dx * 50 * 50 + dy * dy * 80 * 80 <= 80 * 80 * 50 * 50;
            let in_lung = (dx.abs() - 35).pow(2) + dy * dy < 20 * 20;
            match () {
                () if in_body && !in_lung => 180,
                () if y == 150 => 220,
                () => 10,
            }
        });
        let found = find_core(&picture, Core::Body { margin: 0.0 });
        assert_eq!(found, Rect { x: 20, y: 20, width: 161, height: 101 });
        let wider = find_core(&picture, Core::Body { margin: 0.05 });
        assert_eq!(wider, Rect { x: 12, y: 12, width: 177, height: 117 });
    }

    #[test]
    fn little_or_nothing_found_means_the_whole_picture() {
        let speck = Plane::from_fn(64, 48, |x, y| if (x, y) == (30, 20) { 255 } else { 0 });
        let constant = Plane::filled(64, 48, 17);
        for picture in [speck, constant] {
            let cores = [
                Core::Body { margin: 0.02 },
                Core::Film { margin: 0.02 },
                Core::Lungs { margin: 0.02 },
                Core::LungsAlone { margin: 0.02, fade: 0.05 },
            ];
            for core in [Core::Whole].into_iter().chain(cores) {
                assert_eq!(find_core(&picture, core), Rect::full(64, 48), "{core:?}");
            }
        }
    }

    /// A mask of 200 x 100 with two lungs, and a speck far away.
    fn lungs() -> Plane<u8> {
        Plane::from_fn(200, 100, |x, y| {
            let lung = ((50..80).contains(&x) || (100..140).contains(&x)) && (20..70).contains(&y);
            if lung || (x, y) == (3, 95) { 255 } else { 0 }
        })
    }

    #[test]
    fn the_box_around_the_lungs_leaves_specks_out_and_keeps_inside_of_what_was_seen() {
        let whole = Rect::full(200, 100);
        assert_eq!(around_lungs(&lungs(), whole, 0.0), Some(Rect { x: 50, y: 20, width: 90, height: 50 }));
        assert_eq!(around_lungs(&lungs(), whole, 0.1), Some(Rect { x: 41, y: 11, width: 108, height: 68 }));
        let seen = Rect { x: 45, y: 0, width: 100, height: 75 };
        assert_eq!(around_lungs(&lungs(), seen, 0.1), Some(Rect { x: 45, y: 11, width: 100, height: 64 }));
    }

    #[test]
    fn hardly_any_lung_is_no_core() {
        let seen = Rect { x: 10, y: 0, width: 150, height: 90 };
        let nothing = lungs().map(|_| 0);
        let little =
            Plane::from_fn(200, 100, |x, y| if (60..90).contains(&x) && (30..50).contains(&y) { 255 } else { 0 });
        for lungs in [nothing, little] {
            assert_eq!(around_lungs(&lungs, seen, 0.05), None);
        }
    }

    #[test]
    fn otsu_splits_two_peaks() {
        let picture = Plane::from_fn(100, 1, |x, _| if x < 30 { 40 } else { 200 });
        assert_eq!(otsu(&picture), 40);
    }
}
