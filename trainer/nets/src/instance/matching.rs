//! Which reference box learns which lesion, and which of them a step looks at.

use rand::seq::SliceRandom;
use thorax_nn::{detection::BoundingBox, seeded};

/// What a reference box is to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The lesion of that number.
    Lesion(usize),
    /// That there is none.
    Background,
    /// Nothing: it overlaps one too well for the background and too little for the lesion.
    Neither,
}

impl Match {
    /// The lesion's number.
    pub fn lesion(self) -> Option<usize> {
        match self {
            Self::Lesion(number) => Some(number),
            _ => None,
        }
    }
}

/// From which overlap on what is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matcher {
    /// A lesion from here on.
    pub lesion_from: f32,
    /// The background below this.
    pub background_below: f32,
    /// What a lesion without such a reference box gets.
    pub rescue: Rescue,
}

/// What becomes of a lesion that no reference box overlaps well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Nobody learns it.
    None,
    /// Every box that overlaps it best learns the lesion that the box itself overlaps best (Ren et al. 2015; torchvision).
    Best,
    /// One box for each lesion, the best pairs first (Bolya et al. 2019).
    One,
}

impl Matcher {
    /// What each reference box learns.
    pub fn matches(&self, references: &[BoundingBox], lesions: &[BoundingBox]) -> Vec<Match> {
        // Of each lesion the overlap with each reference box.
        let overlaps: Vec<Vec<f32>> =
            lesions.iter().map(|lesion| references.iter().map(|r| lesion.overlap(r)).collect()).collect();
        let best: Vec<(usize, f32)> = (0..references.len())
            .map(|reference| {
                let each = overlaps.iter().enumerate().map(|(lesion, overlaps)| (lesion, overlaps[reference]));
                each.fold((0, -1.0), |best, next| if next.1 > best.1 { next } else { best })
            })
            .collect();
        let mut matches: Vec<Match> = best
            .iter()
            .map(|&(lesion, overlap)| match overlap {
                overlap if overlap >= self.lesion_from => Match::Lesion(lesion),
                overlap if overlap < self.background_below => Match::Background,
                _ => Match::Neither,
            })
            .collect();
        match self.rescue {
            Rescue::None => {}
            Rescue::Best => {
                for overlaps in &overlaps {
                    let highest = overlaps.iter().copied().fold(0.0, f32::max);
                    // A lesion that no box overlaps would else be learnt by all of them.
                    let best_ones = |&reference: &usize| highest > 0.0 && overlaps[reference] == highest;
                    for reference in (0..references.len()).filter(best_ones) {
                        matches[reference] = Match::Lesion(best[reference].0);
                    }
                }
            }
            Rescue::One => one_each(overlaps, &mut matches),
        }
        matches
    }
}

/// Gives each lesion the free reference box that overlaps it best, the best pairs first.
fn one_each(mut overlaps: Vec<Vec<f32>>, matches: &mut [Match]) {
    for _ in 0..overlaps.len().min(matches.len()) {
        let mut best = (0, 0, -1.0);
        for (lesion, overlaps) in overlaps.iter().enumerate() {
            for (reference, &overlap) in overlaps.iter().enumerate() {
                if overlap > best.2 {
                    best = (lesion, reference, overlap);
                }
            }
        }
        let (lesion, reference, overlap) = best;
        if overlap < 0.0 {
            return;
        }
        matches[reference] = Match::Lesion(lesion);
        overlaps[lesion].fill(-1.0);
        overlaps.iter_mut().for_each(|overlaps| overlaps[reference] = -1.0);
    }
}

/// In which order a sampler takes what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As drawn from a seed.
    Drawn(u64),
    /// As it comes: for comparing with another program that does the same.
    AsItComes,
}

/// How many boxes of a picture a step looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// At most so many.
    pub most: usize,
    /// At most this share of them lesions.
    pub lesions: f32,
}

impl Sampler {
    /// The numbers of the boxes that learn a lesion, and of those that learn the background.
    pub fn sample(&self, matches: &[Match], order: Order) -> (Vec<usize>, Vec<usize>) {
        let all = |wanted: fn(&Match) -> bool, stream: u64, most: usize| {
            let mut found: Vec<usize> = (0..matches.len()).filter(|&index| wanted(&matches[index])).collect();
            if let Order::Drawn(seed) = order {
                found.shuffle(&mut seeded::generator(seed, stream));
            }
            found.truncate(most);
            found
        };
        let most = (self.most as f32 * self.lesions) as usize;
        let lesions = all(|matched| matches!(matched, Match::Lesion(_)), 1, most);
        let background = all(|matched| *matched == Match::Background, 2, self.most - lesions.len());
        (lesions, background)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(starts: &[f32]) -> Vec<BoundingBox> {
        starts.iter().map(|&left| BoundingBox { left, top: 0.0, right: left + 10.0, bottom: 10.0 }).collect()
    }

    const MATCHER: Matcher = Matcher { lesion_from: 0.7, background_below: 0.3, rescue: Rescue::None };

    #[test]
    fn overlap_decides_and_a_lesion_may_be_rescued() {
        // They overlap the lesion at 0 by 1, 7/13, 1/19 and 0.
        let references = row(&[0.0, 3.0, 9.0, 40.0]);
        let lesions = row(&[0.0, 12.0]);
        let matches = MATCHER.matches(&references, &lesions);
        assert_eq!(matches, [Match::Lesion(0), Match::Neither, Match::Neither, Match::Background]);
        let rescued = Matcher { rescue: Rescue::Best, ..MATCHER }.matches(&references, &lesions);
        assert_eq!(rescued[2], Match::Lesion(1));
        let one = Matcher { rescue: Rescue::One, ..MATCHER }.matches(&references, &lesions);
        assert_eq!((one[0], one[2]), (Match::Lesion(0), Match::Lesion(1)));
        // One reference box for two lesions: the better pair has it.
        let few = Matcher { rescue: Rescue::One, ..MATCHER }.matches(&row(&[1.0]), &lesions);
        assert_eq!(few, [Match::Lesion(0)]);
    }

    #[test]
    fn without_lesions_all_is_background() {
        for rescue in [Rescue::None, Rescue::Best, Rescue::One] {
            let matches = Matcher { rescue, ..MATCHER }.matches(&row(&[0.0, 3.0]), &[]);
            assert_eq!(matches, [Match::Background; 2]);
        }
    }

    #[test]
    fn a_sample_is_that_of_its_seed() {
        let matches: Vec<Match> =
            (0..100).map(|i| if i % 3 == 0 { Match::Lesion(0) } else { Match::Background }).collect();
        let sampler = Sampler { most: 20, lesions: 0.25 };
        let (lesions, background) = sampler.sample(&matches, Order::AsItComes);
        assert_eq!((lesions, background.len()), (vec![0, 3, 6, 9, 12], 15));
        let drawn = |seed| sampler.sample(&matches, Order::Drawn(seed));
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!(drawn(1).0.iter().all(|index| index % 3 == 0));
    }
}
