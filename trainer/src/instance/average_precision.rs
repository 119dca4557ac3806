//! COCO's average precision and recall of masks (Lin et al. 2014; the rules are those of pycocotools 2.0).
//!
//! The lesions that were found are taken in the order of their scores, the surest first; each is matched with the free true lesion that it
//! overlaps best, if by enough. Precision at 101 levels of recall, made to fall, is averaged over ten thresholds of overlap, 0.5 to 0.95.
//!
//! Small lesions may be ignored, as those outside of a range of areas are in COCO's figures: whoever misses a small true one loses nothing,
//! and what is matched with one, or is itself small and matched with none, is neither right nor wrong.

use std::ops::Range;

use thorax_nets::instance::targets::{Targets, components};

/// Thresholds of overlap.
const THRESHOLDS: usize = 10;
/// Levels of recall.
const RECALLS: usize = 101;
/// At most so many lesions found on a picture count.
pub const MOST: usize = 100;

fn threshold(index: usize) -> f64 {
    // numpy.linspace(0.5, 0.95, 10).
    if index + 1 == THRESHOLDS { 0.95 } else { 0.5 + index as f64 * ((0.95 - 0.5) / 9.0) }
}

/// What was found on a picture, matched with what is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// Of each lesion found its score, the highest first.
    scores: Vec<f64>,
    /// The same lesions: whether it is a true one, at each threshold; nothing where it is ignored.
    right: Vec<[Option<bool>; THRESHOLDS]>,
    /// True lesions, without those that are ignored.
    truths: usize,
}

impl Matches {
    /// Scores and masks found, the true masks, and those true ones that are ignored, all of one size. What is found of fewer than `smallest`
    /// pixels and matched with none is ignored as well.
    pub fn of(found: &[(f64, &[bool])], truths: &[&[bool]], ignored: &[&[bool]], smallest: usize) -> Self {
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|&a, &b| found[b].0.total_cmp(&found[a].0));
        order.truncate(MOST);
        let all = [truths, ignored].concat();
        let overlaps: Vec<Vec<f64>> =
            order.iter().map(|&index| all.iter().map(|truth| overlap(found[index].1, truth)).collect()).collect();
        let unmatched = |&index: &usize| (area(found[index].1) >= smallest).then_some(false);
        let mut right: Vec<_> = order.iter().map(|index| [unmatched(index); THRESHOLDS]).collect();
        for step in 0..THRESHOLDS {
            let mut free = vec![true; all.len()];
            for (own, right) in overlaps.iter().zip(&mut right) {
                let least = threshold(step).min(1.0 - 1e-10);
                // An ignored one only where there is no other.
                let matched = best(own, &free, 0..truths.len(), least);
                let Some(truth) = matched.or_else(|| best(own, &free, truths.len()..all.len(), least)) else {
                    continue;
                };
                free[truth] = false;
                right[step] = (truth < truths.len()).then_some(true);
            }
        }
        Self { scores: order.iter().map(|&index| found[index].0).collect(), right, truths: truths.len() }
    }

    /// Scores and masks found, and the connected parts of the true `mask`, whose rows have `width` pixels; those of fewer than `smallest`
    /// pixels, which no net was taught, are ignored.
    ///
    /// # Errors
    /// A mask that is not made of rows of that width.
    pub fn of_mask(
        found: &[(f64, &[bool])],
        mask: &[bool],
        width: usize,
        smallest: usize,
    ) -> candle_core::Result<Self> {
        if width == 0 || !mask.len().is_multiple_of(width) {
            candle_core::bail!("a mask of {} pixels has no rows of {width}", mask.len());
        }
        // What has an overlap of one half with a smaller one is too small itself, and ignored whether it is matched or not.
        let least = smallest.div_ceil(2).max(1);
        let numbers: Vec<f32> = components(mask, width, least).into_iter().map(|number| number as f32).collect();
        let lesions = Targets::of_numbers(&numbers, mask.len() / width, width)?.lesions;
        let masks = lesions.iter().map(|lesion| lesion.mask.as_slice());
        let (truths, ignored): (Vec<&[bool]>, Vec<&[bool]>) = masks.partition(|mask| area(mask) >= smallest);
        Ok(Self::of(found, &truths, &ignored, smallest))
    }

    /// True lesions of the picture, without those that are ignored.
    pub fn truths(&self) -> usize {
        self.truths
    }
}

/// Of the free ones of these numbers the one that is overlapped most, if by `least`; of equal ones the last, as pycocotools has it.
fn best(overlaps: &[f64], free: &[bool], numbers: Range<usize>, least: f64) -> Option<usize> {
    let enough = numbers.filter(|&number| free[number] && overlaps[number] >= least);
    enough.max_by(|&a, &b| overlaps[a].total_cmp(&overlaps[b]))
}

/// Pixels of a mask.
fn area(mask: &[bool]) -> usize {
    mask.iter().filter(|inside| **inside).count()
}

/// Intersection over union of two masks.
fn overlap(a: &[bool], b: &[bool]) -> f64 {
    let (mut both, mut either) = (0usize, 0usize);
    for (a, b) in a.iter().zip(b) {
        both += usize::from(*a && *b);
        either += usize::from(*a || *b);
    }
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// The figures of some pictures, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Average precision, the mean over all thresholds.
    pub ap: f64,
    /// At an overlap of 0.5.
    pub ap50: f64,
    /// At an overlap of 0.75.
    pub ap75: f64,
    /// Average recall with 1, 10 and 100 lesions a picture.
    pub ar1: f64,
    /// With 10.
    pub ar10: f64,
    /// With 100.
    pub ar100: f64,
}

impl Summary {
    /// The names, in the order of [`Self::into_array`].
    pub const NAMES: [&'static str; 6] = ["ap", "ap50", "ap75", "ar1", "ar10", "ar100"];

    /// In the order of [`Self::NAMES`].
    pub fn into_array(self) -> [f64; 6] {
        let Self { ap, ap50, ap75, ar1, ar10, ar100 } = self;
        [ap, ap50, ap75, ar1, ar10, ar100]
    }

    /// Of all pictures together; `None` where no picture has a true lesion that counts.
    pub fn of(pictures: &[&Matches]) -> Option<Self> {
        let truths: usize = pictures.iter().map(|picture| picture.truths).sum();
        if truths == 0 {
            return None;
        }
        let mut order: Vec<(f64, usize, usize)> = vec![];
        for (picture, matches) in pictures.iter().enumerate() {
            order.extend(matches.scores.iter().enumerate().map(|(rank, score)| (*score, picture, rank)));
        }
        // Stable: of equal scores the earlier picture's comes first.
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let right = |step: usize, most: usize| {
            order
                .iter()
                .filter(move |of| of.2 < most)
                .filter_map(move |&(_, picture, rank)| pictures[picture].right[rank][step])
        };
        let precisions: Vec<f64> = (0..THRESHOLDS).map(|step| average_precision(right(step, MOST), truths)).collect();
        let recall = |most: usize| {
            let found = |step: usize| right(step, most).filter(|right| *right).count() as f64 / truths as f64;
            (0..THRESHOLDS).map(found).sum::<f64>() / THRESHOLDS as f64
        };
        Some(Self {
            ap: precisions.iter().sum::<f64>() / THRESHOLDS as f64,
            ap50: precisions[0],
            ap75: precisions[5],
            ar1: recall(1),
            ar10: recall(10),
            ar100: recall(MOST),
        })
    }
}

/// The mean over the levels of recall of the best precision that is had at that recall or a higher one.
fn average_precision(right: impl Iterator<Item = bool>, truths: usize) -> f64 {
    let (mut recalls, mut precisions) = (vec![], vec![]);
    let mut hits = 0usize;
    for (rank, right) in right.enumerate() {
        hits += usize::from(right);
        recalls.push(hits as f64 / truths as f64);
        // The smallest number beside 1, as pycocotools adds it.
        precisions.push(hits as f64 / ((rank + 1) as f64 + f64::EPSILON));
    }
    for rank in (1..precisions.len()).rev() {
        precisions[rank - 1] = precisions[rank - 1].max(precisions[rank]);
    }
    let level = |index: usize| {
        // numpy.linspace(0, 1, 101).
        let recall = if index + 1 == RECALLS { 1.0 } else { index as f64 * 0.01 };
        precisions.get(recalls.partition_point(|of| *of < recall)).copied().unwrap_or(0.0)
    };
    (0..RECALLS).map(level).sum::<f64>() / RECALLS as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mask(from: usize, to: usize) -> Vec<bool> {
        (0..20).map(|at| (from..to).contains(&at)).collect()
    }

    #[test]
    fn what_is_found_exactly_has_a_precision_of_1_and_what_is_not_there_lowers_it() {
        let (a, b) = (mask(0, 10), mask(10, 20));
        let exact = Matches::of(&[(0.9, &a), (0.8, &b)], &[&b, &a], &[], 0);
        let all = Summary::of(&[&exact]).unwrap();
        assert!((all.ap - 1.0).abs() < 1e-12 && all.ar1 == 0.5 && all.ar10 == 1.0, "{all:?}");
        // The surest one is nothing: at every level of recall the precision is 2 / 3 at best.
        let none = mask(5, 7);
        let worse = Summary::of(&[&Matches::of(&[(0.9, &a), (0.95, &none), (0.8, &b)], &[&a, &b], &[], 0)]).unwrap();
        assert!((worse.ap50 - 2.0 / 3.0).abs() < 1e-12, "{worse:?}");
        // Half of it: found at an overlap of 0.5 only.
        let half = Summary::of(&[&Matches::of(&[(0.5, &mask(0, 5))], &[&a], &[], 0)]).unwrap();
        assert!((half.ap50 - 1.0).abs() < 1e-12 && half.ap75 == 0.0 && (half.ap - 0.1).abs() < 1e-12, "{half:?}");
    }

    #[test]
    fn without_a_true_lesion_there_is_no_figure_and_without_a_found_one_it_is_0() {
        let a = mask(0, 3);
        assert_eq!(Summary::of(&[&Matches::of(&[(0.9, &a)], &[], &[], 0)]), None);
        assert_eq!(Summary::of(&[&Matches::of(&[], &[&a], &[], 0)]).unwrap().into_array(), [0.0; 6]);
        let empty = mask(0, 0);
        assert_eq!(Summary::of(&[&Matches::of(&[(0.9, &empty)], &[&a], &[], 0)]).unwrap().ap, 0.0);
    }

    #[test]
    fn a_lesion_that_is_too_small_counts_neither_when_it_is_missed_nor_when_it_is_found() {
        // A lesion of ten pixels and one of three, and what is neither.
        let both: Vec<bool> = mask(0, 10).iter().zip(mask(12, 15)).map(|(a, b)| *a || b).collect();
        let (large, small, nothing) = (mask(0, 10), mask(12, 15), mask(16, 20));
        let figures = |found: &[(f64, &[bool])], smallest: usize| {
            Summary::of(&[&Matches::of_mask(found, &both, 20, smallest).unwrap()]).unwrap()
        };
        let missed = figures(&[(0.9, &large)], 4);
        assert!((missed.ap - 1.0).abs() < 1e-12 && missed.ar1 == 1.0, "{missed:?}");
        let found = figures(&[(0.9, &small), (0.8, &large)], 4);
        assert!((found.ap - 1.0).abs() < 1e-12 && found.ar10 == 1.0, "{found:?}");
        assert_eq!(found.ar1, 0.0, "it is the one that this figure looks at");
        // What is found where nothing is, is wrong, unless it is too small itself, as what is found again at the small one.
        for (other, ap50) in [(&small, 1.0), (&nothing, 0.5)] {
            let told = figures(&[(0.9, &small), (0.85, other), (0.8, &large)], 4);
            assert!((told.ap50 - ap50).abs() < 1e-12, "{told:?}");
        }
        assert_eq!(figures(&[(0.9, &large)], 3).ar100, 0.5, "no longer too small");
        assert_eq!(Summary::of(&[&Matches::of_mask(&[(0.9, &large)], &both, 20, 11).unwrap()]), None);
    }
}
