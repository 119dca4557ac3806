//! Contrast limited adaptive histogram equalisation.
//!
//! The picture is laid out in tiles; each tile's histogram, its peaks cut off at the clip limit and the cut-off
//! counts spread evenly, gives a table from grey value to grey value (Zuiderveld, *Graphics Gems IV*, 1994). Every
//! pixel goes through the tables of the four tiles whose centres surround it, weighted by distance.
//!
//! Results equal those of OpenCV's `cv2.createCLAHE(clip_limit, (tiles_x, tiles_y)).apply` to the bit, because
//! the paper's pictures were made with it and because teachers trained elsewhere must see the same. Hence the
//! peculiarities: a picture of which one side does not divide by the grid is padded (mirrored, without repeating
//! the edge) on *both* sides, by a whole grid where a side does divide; the left-over counts go to every n-th
//! level; all sums are taken in `f32` in one fixed order and rounded half to even.
//!
//! The work goes cell by cell, a cell being the pixels between the same four tile centres: the four tables are
//! woven into one of four corners a level, which costs one look-up a pixel and leaves plain arithmetic that
//! compilers vectorise.

use super::PreprocessError;
use super::spec::{Clahe, MAX_TILES};
use crate::plane::{Plane, Rect};
use alloc::{borrow::Cow, vec, vec::Vec};
use core::ops::Range;

/// CLAHE of an eight-bit picture, 256 levels.
///
/// # Errors
/// [`PreprocessError::Empty`] for a picture without pixels, [`PreprocessError::Tiles`] for a grid without tiles or
/// with more than [`MAX_TILES`] a side.
pub fn clahe_u8(picture: &Plane<u8>, clahe: Clahe) -> Result<Plane<u8>, PreprocessError> {
    equalise(picture, clahe)
}

/// CLAHE of a sixteen-bit picture, 65536 levels.
///
/// # Errors
/// As [`clahe_u8`].
pub fn clahe_u16(picture: &Plane<u16>, clahe: Clahe) -> Result<Plane<u16>, PreprocessError> {
    equalise(picture, clahe)
}

/// How much of a picture lies within the clip limit, 0 to 1: of each tile the share of its pixels that [`clahe_u8`] does not cut off,
/// and of the tiles in which there is something to see (a standard deviation of 4 grey levels) the upper quartile; 0 where fewer than
/// [`FEWEST_TILES`] are such.
///
/// Equalising spreads greys over all levels, so of a picture that was equalised before little is left to be cut off. Of slices without a
/// unit half lies within the limit, of those that were equalised before they were published nine tenths. JPEG and blur hardly move it.
///
/// # Errors
/// As [`clahe_u8`].
pub fn within_limit(picture: &Plane<u8>, clahe: Clahe) -> Result<f32, PreprocessError> {
    check(picture, clahe)?;
    let tiles = Tiles::new(picture, clahe);
    let area = (tiles.width * tiles.height) as u64;
    let mut counts = vec![0; u8::LEVELS * u8::HISTOGRAMS];
    let mut within = Vec::with_capacity(tiles.across * tiles.down);
    for (down, across) in (0..tiles.down).flat_map(|down| (0..tiles.across).map(move |across| (down, across))) {
        tiles.count(tiles.tile(across, down), &mut counts);
        let levels = (0u64..).zip(&counts[..u8::LEVELS]);
        let [sum, squares, kept] = levels.fold([0u64; 3], |[sum, squares, kept], (level, &count)| {
            let limited = tiles.limit.map_or(count, |limit| count.min(limit));
            let count = u64::from(count);
            [sum + level * count, squares + level * level * count, kept + u64::from(limited)]
        });
        // Of the greys' variance `squares / area - (sum / area)^2`, without a division.
        let [sum, squares, area] = [sum, squares, area].map(u128::from);
        if area * squares >= sum * sum + LEAST_DEVIATION * LEAST_DEVIATION * area * area {
            within.push(kept);
        }
    }
    within.sort_unstable();
    let quartile = within.get(within.len().saturating_sub(1) * 3 / 4).filter(|_| within.len() >= FEWEST_TILES);
    Ok(quartile.map_or(0.0, |&kept| kept as f32 / area as f32))
}

/// The least standard deviation of a tile that counts for [`within_limit`], in grey levels.
const LEAST_DEVIATION: u128 = 4;

/// The fewest such tiles that say something of a picture.
pub const FEWEST_TILES: usize = 4;

/// A grey value with a level for each of its bit patterns.
trait Grey: Copy + Default {
    /// How many levels there are.
    const LEVELS: usize;
    /// How many histograms are filled in turn, so that a run of equal values does not wait for its own counter.
    const HISTOGRAMS: usize;
    fn level(self) -> usize;
    /// `value`, which lies in the range, rounded half to even.
    fn rounded(value: f32) -> Self;
    fn floats(corners: [Self; 4]) -> [f32; 4];
}

/// Added to a float from 0 to 2^22, this leaves the value rounded half to even in the lowest bits (the default
/// rounding of every addition), at a fraction of the cost of a call.
const ROUND: f32 = 12_582_912.0;

impl Grey for u8 {
    const LEVELS: usize = 1 << 8;
    const HISTOGRAMS: usize = 4;

    #[inline(always)]
    fn level(self) -> usize {
        self.into()
    }

    #[inline(always)]
    fn rounded(value: f32) -> Self {
        (value + ROUND).to_bits() as u8
    }

    /// Through one word: four shifts vectorise where four byte loads do not.
    #[inline(always)]
    fn floats(corners: [Self; 4]) -> [f32; 4] {
        let word = u32::from_le_bytes(corners);
        [0, 8, 16, 24].map(|shift| (word >> shift & 255) as i32 as f32)
    }
}

impl Grey for u16 {
    const LEVELS: usize = 1 << 16;
    const HISTOGRAMS: usize = 1;

    #[inline(always)]
    fn level(self) -> usize {
        self.into()
    }

    #[inline(always)]
    fn rounded(value: f32) -> Self {
        (value + ROUND).to_bits() as u16
    }

    #[inline(always)]
    fn floats(corners: [Self; 4]) -> [f32; 4] {
        corners.map(f32::from)
    }
}

/// Whether `picture` can be laid out in tiles.
fn check<T: Copy>(picture: &Plane<T>, clahe: Clahe) -> Result<(), PreprocessError> {
    if picture.data().is_empty() {
        return Err(PreprocessError::Empty);
    }
    if ![clahe.tiles_x, clahe.tiles_y].iter().all(|tiles| (1..=MAX_TILES).contains(tiles)) {
        return Err(PreprocessError::Tiles { x: clahe.tiles_x, y: clahe.tiles_y });
    }
    Ok(())
}

fn equalise<T: Grey>(picture: &Plane<T>, clahe: Clahe) -> Result<Plane<T>, PreprocessError> {
    check(picture, clahe)?;
    let tiles = Tiles::new(picture, clahe);
    let columns = Axis::new(picture.width(), tiles.width, tiles.across);
    let rows = Axis::new(picture.height(), tiles.height, tiles.down);

    let mut equalised = picture.clone();
    let mut corners = vec![[T::default(); 4]; T::LEVELS];
    let mut looked_up = vec![[T::default(); 4]; picture.width()];
    // The tables of two rows of tiles, above and below the row of cells.
    let mut above = Vec::new();
    let mut below = tiles.tables(0);
    for (down, span_y) in rows.cells.iter().enumerate() {
        if down < tiles.down {
            let next = if down == 0 { below.clone() } else { tiles.tables(down) };
            above = core::mem::replace(&mut below, next);
        } else {
            above.clone_from(&below);
        }
        if span_y.is_empty() {
            continue;
        }
        for (across, span_x) in columns.cells.iter().enumerate().filter(|(_, span)| !span.is_empty()) {
            let left = across.saturating_sub(1) * T::LEVELS;
            let right = across.min(tiles.across - 1) * T::LEVELS;
            let [nw, ne] = [left, right].map(|start| &above[start..start + T::LEVELS]);
            let [sw, se] = [left, right].map(|start| &below[start..start + T::LEVELS]);
            for ((((four, &nw), &ne), &sw), &se) in corners.iter_mut().zip(nw).zip(ne).zip(sw).zip(se) {
                *four = [nw, ne, sw, se];
            }
            let weights_x = &columns.weights[span_x.clone()];
            for y in span_y.clone() {
                let start = y * picture.width();
                let span = start + span_x.start..start + span_x.end;
                let looked_up = &mut looked_up[..span.len()];
                for (four, value) in looked_up.iter_mut().zip(&picture.data()[span.clone()]) {
                    *four = corners[value.level()];
                }
                let [north, south] = rows.weights[y];
                for ((value, four), &[west, east]) in
                    equalised.data_mut()[span].iter_mut().zip(looked_up.iter()).zip(weights_x)
                {
                    let [nw, ne, sw, se] = T::floats(*four);
                    *value = T::rounded((nw * west + ne * east) * north + (sw * west + se * east) * south);
                }
            }
        }
    }
    Ok(equalised)
}

/// The (padded) picture's tiles.
struct Tiles<'a, T: Grey> {
    picture: Cow<'a, [T]>,
    stride: usize,
    across: usize,
    down: usize,
    width: usize,
    height: usize,
    /// The highest count a level may have, `None` without limit. (Clip limits that overflow OpenCV's `int` are
    /// undefined there; here they limit nothing.)
    limit: Option<u32>,
}

impl<'a, T: Grey> Tiles<'a, T> {
    fn new(picture: &'a Plane<T>, clahe: Clahe) -> Self {
        let (across, down) = (clahe.tiles_x as usize, clahe.tiles_y as usize);
        let (width, height) = (picture.width(), picture.height());
        let divides = width.is_multiple_of(across) && height.is_multiple_of(down);
        let (stride, rows, data) = if divides {
            (width, height, picture.data().into())
        } else {
            let stride = width + across - width % across;
            let rows = height + down - height % down;
            let mut padded = Vec::with_capacity(stride * rows);
            for y in 0..rows {
                let row = picture.row(mirrored(y, height));
                padded.extend_from_slice(row);
                padded.extend((width..stride).map(|x| row[mirrored(x, width)]));
            }
            (stride, rows, padded.into())
        };
        let (width, height) = (stride / across, rows / down);
        let limit = (clahe.clip_limit > 0.0)
            .then(|| ((clahe.clip_limit * (width * height) as f64 / T::LEVELS as f64) as u32).max(1));
        Self { picture: data, stride, across, down, width, height, limit }
    }

    /// The tile that is the `across`-th from the left in the `down`-th row.
    fn tile(&self, across: usize, down: usize) -> Rect {
        Rect { x: across * self.width, y: down * self.height, width: self.width, height: self.height }
    }

    /// The tables of one row of tiles, one after the other.
    fn tables(&self, down: usize) -> Vec<T> {
        let mut counts = vec![0; T::LEVELS * T::HISTOGRAMS];
        let mut tables = Vec::with_capacity(self.across * T::LEVELS);
        for across in 0..self.across {
            let tile = self.tile(across, down);
            self.count(tile, &mut counts);
            let counts = &mut counts[..T::LEVELS];
            let spread = self.limit.map_or(0, |limit| clip(counts, limit));
            // OpenCV: float(levels - 1) / int, rounded once to f32.
            let scale = (T::LEVELS - 1) as f32 / tile.area() as i32 as f32;
            let mut sum = 0u32;
            for count in counts.iter_mut() {
                sum = sum.wrapping_add(*count).wrapping_add(spread);
                *count = sum;
            }
            tables.extend(counts.iter().map(|&sum| T::rounded(sum as i32 as f32 * scale)));
        }
        tables
    }

    /// The histogram of `tile`, left in the first of the histograms in `counts`.
    ///
    /// Additions wrap because no count can pass the number of pixels, and a check each would cost the vector unit.
    fn count(&self, tile: Rect, counts: &mut [u32]) {
        counts.fill(0);
        let (first, others) = counts.split_at_mut(T::LEVELS);
        if let [a, b, c] = others.chunks_exact_mut(T::LEVELS).collect::<Vec<_>>().as_mut_slice() {
            for y in tile.y..tile.y + tile.height {
                let start = y * self.stride + tile.x;
                let (fours, rest) = self.picture[start..start + tile.width].as_chunks::<4>();
                for &[p, q, r, s] in fours {
                    first[p.level()] = first[p.level()].wrapping_add(1);
                    a[q.level()] = a[q.level()].wrapping_add(1);
                    b[r.level()] = b[r.level()].wrapping_add(1);
                    c[s.level()] = c[s.level()].wrapping_add(1);
                }
                for value in rest {
                    first[value.level()] += 1;
                }
            }
            for (((first, a), b), c) in first.iter_mut().zip(a.iter()).zip(b.iter()).zip(c.iter()) {
                *first = first.wrapping_add(*a).wrapping_add(*b).wrapping_add(*c);
            }
        } else {
            for y in tile.y..tile.y + tile.height {
                let start = y * self.stride + tile.x;
                for value in &self.picture[start..start + tile.width] {
                    first[value.level()] = first[value.level()].wrapping_add(1);
                }
            }
        }
    }
}

/// Cuts counts down to `limit`. Of what was cut off, what does not divide by the number of levels is given back to
/// every n-th level; the returned rest is to be added to each.
fn clip(counts: &mut [u32], limit: u32) -> u32 {
    let mut cut = 0u32;
    for count in counts.iter_mut() {
        cut = cut.wrapping_add(count.saturating_sub(limit));
        *count = (*count).min(limit);
    }
    let levels = counts.len();
    let left_over = cut as usize % levels;
    if let Some(step) = levels.checked_div(left_over) {
        for count in counts.iter_mut().step_by(step).take(left_over) {
            *count += 1;
        }
    }
    (cut as usize / levels) as u32
}

/// The index in a row of `length` that `index`, which may lie beyond it, mirrors to without repeating the edge:
/// `a b c d` goes on `c b a b c ...`.
fn mirrored(index: usize, length: usize) -> usize {
    if length == 1 {
        return 0;
    }
    let phase = index % (2 * length - 2);
    phase.min(2 * length - 2 - phase)
}

/// Where the pixels of one axis lie between tile centres.
struct Axis {
    /// For each of the `tiles + 1` gaps between the centres (and the edges) the pixels in it.
    cells: Vec<Range<usize>>,
    /// For each pixel the weights of the tile before and the tile after.
    weights: Vec<[f32; 2]>,
}

impl Axis {
    fn new(length: usize, tile: usize, tiles: usize) -> Self {
        let inverse = 1.0 / tile as f32;
        let mut cells = vec![0..0; tiles + 1];
        let mut weights = Vec::with_capacity(length);
        for index in 0..length {
            let position = index as f32 * inverse - 0.5;
            let before = libm::floorf(position);
            let after = position - before;
            weights.push([1.0 - after, after]);
            // `before` is -1 for the pixels before the first centre.
            let cell = ((before as i32 + 1) as usize).min(tiles);
            if cells[cell].is_empty() {
                cells[cell].start = index;
            }
            cells[cell].end = index + 1;
        }
        Self { cells, weights }
    }
}
