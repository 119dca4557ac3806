//! Answering only when certain enough: risk against coverage.
//!
//! Coverage is the share of pictures that are answered, risk the share of those answers that is wrong (El-Yaniv and Wiener
//! 2010, *On the foundations of noise-free selective classification*). Pictures are answered in the order of their
//! uncertainty, the most certain first.
//!
//! **One rule for ties, wherever this curve is asked.** Nothing tells equally uncertain pictures apart, so a limit answers all of
//! them or none: only the end of a tie is a point of the curve, and only there may a limit be chosen. The curve between two points,
//! and the area under it, take the expected risk: the mean over all orders of the tied pictures.

use alloc::vec::Vec;

use super::{MetricError, check_lengths};

/// What one limit gives: pictures with an uncertainty of at most `limit` are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskPoint {
    /// The limit.
    pub limit: f32,
    /// Answers.
    pub answered: usize,
    /// Wrong answers.
    pub wrong: usize,
}

impl RiskPoint {
    /// Share of the answers that is wrong; `None` without an answer.
    pub fn risk(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.wrong as f64 / self.answered as f64)
    }
}

/// The curve: one point for each different uncertainty, limits rising.
#[derive(Clone, Debug, PartialEq)]
pub struct RiskCoverage {
    /// At least one; the last answers all.
    pub points: Vec<RiskPoint>,
}

impl RiskCoverage {
    /// From uncertainties `[N]` (any numbers) and whether each answer `[N]` is wrong.
    ///
    /// # Errors
    /// When the lengths differ or are 0, or an uncertainty is NaN.
    pub fn new(uncertainty: &[f32], wrong: &[bool]) -> Result<Self, MetricError> {
        check_lengths(uncertainty.len(), wrong.len())?;
        if let Some((index, &value)) = uncertainty.iter().enumerate().find(|(_, u)| u.is_nan()) {
            return Err(MetricError::Score { index, value });
        }
        let mut samples: Vec<(f32, bool)> = uncertainty.iter().copied().zip(wrong.iter().copied()).collect();
        samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = RiskPoint { limit: 0.0, answered: 0, wrong: 0 };
        let tied = samples.chunk_by(|a, b| a.0 == b.0);
        let points = tied.map(|tied| {
            last = RiskPoint {
                limit: tied[0].0,
                answered: last.answered + tied.len(),
                wrong: last.wrong + tied.iter().filter(|(_, wrong)| *wrong).count(),
            };
            last
        });
        Ok(Self { points: points.collect() })
    }

    /// Pictures.
    pub fn total(&self) -> usize {
        self.points.last().map_or(0, |last| last.answered)
    }

    /// The risk after each answer, `[N]`, from the first to all. Within a tie it is the mean over all orders.
    pub fn risks(&self) -> impl Iterator<Item = f64> {
        let mut before = (0, 0);
        self.points.iter().flat_map(move |point| {
            let (answered, wrong) = core::mem::replace(&mut before, (point.answered, point.wrong));
            let share = (point.wrong - wrong) as f64 / (point.answered - answered) as f64;
            (answered + 1..=point.answered).map(move |k| (wrong as f64 + share * (k - answered) as f64) / k as f64)
        })
    }

    /// Area under the curve: the mean of [`Self::risks`] (Geifman and El-Yaniv 2017, arXiv:1705.08500). Smaller is better;
    /// an uncertainty that says nothing gives the risk of answering all.
    pub fn area(&self) -> f64 {
        self.risks().sum::<f64>() / self.total() as f64
    }

    /// The point of the largest coverage whose risk is at most `wanted`; `None` where even the most certain answers are
    /// wrong too often.
    pub fn at_risk(&self, wanted: f64) -> Option<&RiskPoint> {
        self.points.iter().rev().find(|point| point.risk().is_some_and(|risk| risk <= wanted))
    }

    /// What a limit chosen elsewhere gives here.
    pub fn at_limit(&self, limit: f32) -> RiskPoint {
        let within = self.points.partition_point(|point| point.limit <= limit);
        let last = within.checked_sub(1).map(|index| self.points[index]);
        RiskPoint { limit, ..last.unwrap_or(RiskPoint { limit, answered: 0, wrong: 0 }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use alloc::vec;

    #[test]
    fn the_order_of_equally_uncertain_pictures_changes_nothing() {
        let curve = |wrong: [bool; 4]| RiskCoverage::new(&[0.5, 0.2, 0.5, 0.5], &wrong).unwrap();
        let (first, last) = (curve([true, false, false, false]), curve([false, false, false, true]));
        assert_eq!(first, last);
        let points: Vec<usize> = first.points.iter().map(|point| point.answered).collect();
        assert_eq!(points, [1, 4], "a tie is answered whole, or not at all");
        // One of three tied answers is wrong: a third of an error after each.
        let expected = [0.0, 1.0 / 6.0, 2.0 / 9.0, 0.25];
        assert!(first.risks().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-15));
        assert!((first.area() - expected.iter().sum::<f64>() / 4.0).abs() < 1e-15);
    }

    #[test]
    fn a_limit_is_chosen_and_carried_over() {
        let curve = RiskCoverage::new(&[0.1, 0.2, 0.3, 0.3, 0.9], &[false, false, true, false, true]).unwrap();
        let chosen = curve.at_risk(0.25).unwrap();
        assert_eq!(*chosen, RiskPoint { limit: 0.3, answered: 4, wrong: 1 });
        assert_eq!(curve.at_risk(0.24).unwrap().answered, 2);
        assert_eq!(curve.at_limit(0.25).answered, 2);
        assert_eq!(curve.at_limit(0.0), RiskPoint { limit: 0.0, answered: 0, wrong: 0 });
        assert_eq!(curve.at_limit(0.0).risk(), None);
        assert_eq!(RiskCoverage::new(&[0.1], &[true]).unwrap().at_risk(0.5), None);
    }

    #[test]
    fn what_has_no_order_is_refused() {
        assert_eq!(RiskCoverage::new(&[], &[]), Err(MetricError::Empty));
        assert_eq!(RiskCoverage::new(&[0.1], &[]), Err(MetricError::Lengths { left: 1, right: 0 }));
        assert!(matches!(RiskCoverage::new(&[f32::NAN], &[true]), Err(MetricError::Score { index: 0, .. })));
    }

    proptest! {
        #[test]
        fn the_curve_ends_at_the_risk_of_all(samples in prop::collection::vec((0u8..20, any::<bool>()), 1..100), wanted in 0.0f64..1.0) {
            let (uncertainty, wrong): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(u, w)| (f32::from(u), w)).unzip();
            let curve = RiskCoverage::new(&uncertainty, &wrong).unwrap();
            let all = wrong.iter().filter(|wrong| **wrong).count() as f64 / wrong.len() as f64;
            prop_assert_eq!(curve.risks().count(), wrong.len());
            prop_assert!((curve.risks().last().unwrap() - all).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&curve.area()));
            if let Some(point) = curve.at_risk(wanted) {
                prop_assert!(point.risk().unwrap() <= wanted);
                prop_assert_eq!(curve.at_limit(point.limit), *point);
                prop_assert!(curve.points.iter().all(|other| other.answered <= point.answered || other.risk().unwrap() > wanted));
            } else {
                prop_assert!(curve.points.iter().all(|point| point.risk().unwrap() > wanted));
            }
            let useless = RiskCoverage::new(&vec![0.5; wrong.len()], &wrong).unwrap();
            prop_assert!((useless.area() - all).abs() < 1e-12);
        }
    }
}
