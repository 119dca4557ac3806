//! One of many boxes or masks that show the same: the four ways of it.
//!
//! | way | drops | source |
//! |---|---|---|
//! | [`greedy`] | what overlaps a better box that stayed | Neubeck and Van Gool 2006 |
//! | [`class_wise`] | the same within each class | |
//! | [`fast`] | what overlaps any better box, also one that is dropped itself | Bolya et al. 2019, YOLACT |
//! | [`matrix`] | nothing, but lowers each score by how much better masks overlap it | Wang et al. 2020, SOLOv2 |
//!
//! All give or take the best first; of equal scores the earlier one is better.

use super::boxes::BoundingBox;

/// The numbers of `scores`, the best first.
pub fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The boxes that stay, the best first: each that overlaps no better one which stays by more than `threshold`.
pub fn greedy(boxes: &[BoundingBox], scores: &[f32], threshold: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = vec![];
    for index in by_score(scores) {
        if kept.iter().all(|&better| boxes[better].overlap(&boxes[index]) <= threshold) {
            kept.push(index);
        }
    }
    kept
}

/// [`greedy`] among the boxes of each class; the classes together, the best first.
pub fn class_wise(boxes: &[BoundingBox], scores: &[f32], classes: &[usize], threshold: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = vec![];
    for index in by_score(scores) {
        let clear =
            |&better: &usize| classes[better] != classes[index] || boxes[better].overlap(&boxes[index]) <= threshold;
        if kept.iter().all(clear) {
            kept.push(index);
        }
    }
    kept
}

/// The boxes of one class that stay, of the best `most` of them: each that overlaps no better one by more than `threshold`,
/// whether that one stays or not.
pub fn fast(boxes: &[BoundingBox], scores: &[f32], threshold: f32, most: usize) -> Vec<usize> {
    let mut order = by_score(scores);
    order.truncate(most);
    let stays =
        |place: usize| order[..place].iter().all(|&better| boxes[better].overlap(&boxes[order[place]]) <= threshold);
    (0..order.len()).filter(|&place| stays(place)).map(|place| order[place]).collect()
}

/// The factors by which the scores of masks fall, the best of which comes first: of each class, mask `j` gets
/// `min over i < j of exp(-sigma o(i, j)^2) / exp(-sigma o(i)^2)`, with the overlap `o(i, j)` of two masks and the largest overlap
/// `o(i)` of `i` with a better one.
///
/// `masks` are of one size, `classes` as many.
pub fn matrix(masks: &[Vec<bool>], classes: &[usize], sigma: f32) -> Vec<f32> {
    let areas: Vec<usize> = masks.iter().map(|mask| mask.iter().filter(|inside| **inside).count()).collect();
    let overlap = |i: usize, j: usize| {
        if classes[i] != classes[j] {
            return 0.0;
        }
        let both = masks[i].iter().zip(&masks[j]).filter(|(a, b)| **a && **b).count();
        let union = areas[i] + areas[j] - both;
        if union == 0 { 0.0 } else { both as f32 / union as f32 }
    };
    let overlaps: Vec<Vec<f32>> = (0..masks.len()).map(|j| (0..j).map(|i| overlap(i, j)).collect()).collect();
    let largest: Vec<f32> = overlaps.iter().map(|better| better.iter().copied().fold(0.0, f32::max)).collect();
    let factor = |better: &Vec<f32>| {
        let of = |(i, overlap): (usize, &f32)| (-sigma * (overlap * overlap - largest[i] * largest[i])).exp();
        better.iter().enumerate().map(of).fold(1.0, f32::min)
    };
    overlaps.iter().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(starts: &[f32]) -> Vec<BoundingBox> {
        starts.iter().map(|&left| BoundingBox { left, top: 0.0, right: left + 10.0, bottom: 10.0 }).collect()
    }

    #[test]
    fn greedy_keeps_what_only_a_dropped_box_overlaps_and_fast_does_not() {
        // Each overlaps its neighbour by 7 / 13, and the first and last by 4 / 16.
        let boxes = row(&[0.0, 3.0, 6.0]);
        let scores = [0.9, 0.8, 0.7];
        assert_eq!(greedy(&boxes, &scores, 0.5), [0, 2]);
        assert_eq!(fast(&boxes, &scores, 0.5, 200), [0]);
        assert_eq!(fast(&boxes, &scores, 0.5, 1), [0]);
        assert_eq!(class_wise(&boxes, &scores, &[1, 2, 1], 0.5), [0, 1, 2]);
        assert_eq!(class_wise(&boxes, &scores, &[1, 1, 1], 0.5), [0, 2]);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(greedy(&[], &[], 0.5).is_empty() && fast(&[], &[], 0.5, 9).is_empty());
        assert!(class_wise(&[], &[], &[], 0.5).is_empty() && matrix(&[], &[], 2.0).is_empty());
    }

    #[test]
    fn a_mask_falls_by_what_overlaps_it_within_its_class() {
        let mask = |from: usize, to: usize| (0..12).map(|at| (from..to).contains(&at)).collect::<Vec<bool>>();
        let masks = [mask(0, 6), mask(3, 9), mask(0, 6), mask(0, 0)];
        let factors = matrix(&masks, &[1, 1, 2, 1], 2.0);
        // A third of the union of the first two.
        assert!((factors[1] - (-2f32 / 9.0).exp()).abs() < 1e-6);
        assert_eq!([factors[0], factors[2], factors[3]], [1.0; 3]);
    }

    proptest! {
        #[test]
        fn what_greedy_keeps_does_not_overlap_and_what_it_drops_does(
            starts in proptest::collection::vec((0f32..100.0, 0f32..1.0), 0..40),
        ) {
            let boxes = row(&starts.iter().map(|(start, _)| *start).collect::<Vec<_>>());
            let scores: Vec<f32> = starts.iter().map(|(_, score)| *score).collect();
            let kept = greedy(&boxes, &scores, 0.4);
            for (place, &a) in kept.iter().enumerate() {
                prop_assert!(kept[..place].iter().all(|&b| boxes[a].overlap(&boxes[b]) <= 0.4));
            }
            for dropped in (0..boxes.len()).filter(|index| !kept.contains(index)) {
                let covers = |&&b: &&usize| scores[b] >= scores[dropped] && boxes[b].overlap(&boxes[dropped]) > 0.4;
                prop_assert!(kept.iter().any(|b| covers(&b)));
            }
            prop_assert!(fast(&boxes, &scores, 0.4, usize::MAX).iter().all(|index| kept.contains(index)));
        }
    }
}
