//! From which numbers on the ensemble answers, and what may be promised of its answers.
//!
//! The two thresholds are chosen for a sensitivity and a specificity, the entropy limit for a share of wrong answers. A limit that keeps
//! a share on the validation pictures promises nothing of others, so a limit is looked for that passes a test first: with few wrong
//! answers among enough patients, a share above the wanted one would be a rare accident. Limits are tested from the strictest on, each
//! at the same level, until one fails (fixed-sequence testing: Angelopoulos, Bates, Candes, Jordan and Lei 2021, "Learn then Test",
//! arXiv:2110.01052, section 2.2), with the exact binomial test that Geifman and El-Yaniv (2017, arXiv:1705.08500) use for selective
//! classifiers. Patients are what is independent, so one picture of each counts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};
use thorax_shared::{
    decision::{self, DecisionRule, Thresholds},
    metrics::{RiskCoverage, RiskPoint},
    uncertainty::Ensemble,
};

use crate::features::FeatureRow;

/// Sensitivity wanted on the selection set: WHO's floor for a screening test is 90 %.
pub const WANTED_SENSITIVITY: f64 = 0.90;
/// Specificity wanted of a positive answer.
pub const WANTED_SPECIFICITY: f64 = 0.90;

/// Share of wrong answers that is tolerated among the answers given.
pub const WANTED_RISK: f64 = 0.10;
/// Least share of the pictures that has to be answered, whatever the risk.
pub const LEAST_ANSWERED: f64 = 0.20;

/// How sure a promise is.
const CONFIDENCE: f64 = 0.95;
/// Least share of the patients that has to be answered by a limit with a promise; below it the limit without one is taken.
const LEAST_PROMISED: f64 = 0.50;
/// Entropy limits tested lie this share of the patients apart.
const STEP: f64 = 0.05;

/// How many times farther than the limit of referring a picture is rejected.
const REJECT_FACTOR: f32 = 2.5;

/// What the entropy limit gave on one unchanged picture of each patient of the selection set, and whether that allows a promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Patients.
    pub patients: usize,
    /// Of whom got *positive* or *negative*.
    pub answered: usize,
    /// Of whom got the wrong one.
    pub wrong: usize,
    /// With this confidence at most [`WANTED_RISK`] of the answers are wrong on patients like these; `None` where the test failed.
    pub confidence: Option<f64>,
}

/// Positions of one unchanged picture of each patient, the first.
pub(super) fn one_of_each<'a>(rows: impl Iterator<Item = &'a FeatureRow>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    rows.enumerate().filter(|(_, row)| row.copy == 0 && seen.insert(&row.group)).map(|(at, _)| at).collect()
}

/// The rule of a bundle. `firsts` are the pictures of which patients are told apart. Pictures farther from the training pictures than 99 %
/// of the `unseen` pictures, those in front, are referred, those [`REJECT_FACTOR`] times as far are rejected: a training picture is near
/// itself.
pub(super) fn choose(
    ensembles: &[Ensemble],
    labels: &[bool],
    novelty: &[f32],
    unseen: usize,
    firsts: &[usize],
) -> anyhow::Result<(DecisionRule, Option<Promise>)> {
    let probabilities: Vec<f32> = ensembles.iter().map(|e| e.probability).collect();
    let mut sorted = novelty[..unseen].to_vec();
    sorted.sort_by(f32::total_cmp);
    let quantile = sorted[((sorted.len() - 1) as f64 * 0.99).round() as usize];
    let mut thresholds = decision::choose_thresholds(&probabilities, labels, WANTED_SENSITIVITY, WANTED_SPECIFICITY)?;
    // No word goes against its number: what is called positive is more probable than not, and the other way round.
    thresholds.positive_at = thresholds.positive_at.max(0.5);
    thresholds.negative_at = thresholds.negative_at.min(0.5);
    let of = |rows: &mut dyn Iterator<Item = usize>| {
        let familiar = rows.filter(|&row| novelty[row] <= quantile);
        answers(familiar.map(|row| (&ensembles[row], labels[row])), &thresholds)
    };
    let patients = of(&mut firsts.iter().copied());
    // What is predicted out of bag is said by a part of the heads, another one for each patient, and heads share patients: no test of one
    // classifier on independent patients, so nothing is promised.
    let promised = if unseen == ensembles.len() { promised(&patients, firsts.len()) } else { None };
    let limit = promised.unwrap_or_else(|| limit(&of(&mut (0..ensembles.len())), ensembles.len()));
    let (answered, wrong) = counts(&patients, limit);
    let promise = (!firsts.is_empty()).then_some(Promise {
        patients: firsts.len(),
        answered,
        wrong,
        confidence: promised.map(|_| CONFIDENCE),
    });
    let rule = DecisionRule {
        positive_at: thresholds.positive_at,
        negative_at: thresholds.negative_at,
        entropy_limit_bits: limit,
        novelty_refer: quantile,
        novelty_reject: REJECT_FACTOR * quantile,
    };
    Ok((rule, promise))
}

/// Entropy in bit, and whether the answer is wrong, of what is not in the abstain zone.
fn answers<'a>(of: impl Iterator<Item = (&'a Ensemble, bool)>, thresholds: &Thresholds) -> Vec<(f32, bool)> {
    of.filter(|(e, _)| e.probability >= thresholds.positive_at || e.probability < thresholds.negative_at)
        .map(|(e, positive)| (e.entropy_bits, (e.probability >= thresholds.positive_at) != positive))
        .collect()
}

/// How many answers have at most an entropy of `limit`, and how many of these are wrong.
fn counts(answers: &[(f32, bool)], limit: f32) -> (usize, usize) {
    let given = answers.iter().filter(|(entropy, _)| *entropy <= limit);
    given.fold((0, 0), |(answered, wrong), (_, is_wrong)| (answered + 1, wrong + usize::from(*is_wrong)))
}

/// The largest entropy limit that passed the tests, if it answers enough of `patients`. Which limits are tested depends on the
/// entropies alone, not on what is wrong.
fn promised(answers: &[(f32, bool)], patients: usize) -> Option<f32> {
    let mut entropies: Vec<f32> = answers.iter().map(|(entropy, _)| *entropy).collect();
    entropies.sort_by(f32::total_cmp);
    let share = |step: usize| LEAST_ANSWERED + STEP * step as f64;
    let counts_of = |limit: &f32| counts(answers, *limit);
    let passed = (0..)
        .map(|step| (share(step) * patients as f64).ceil() as usize)
        .take_while(|&count| count <= entropies.len())
        .chain([entropies.len()])
        .filter_map(|count| entropies.get(count.checked_sub(1)?).copied())
        .take_while(|limit| passes(counts_of(limit)))
        .last()?;
    (counts_of(&passed).0 as f64 >= LEAST_PROMISED * patients as f64).then_some(passed.min(1.0))
}

/// So few wrong answers would be rarer than the confidence allows if more than [`WANTED_RISK`] of all were wrong.
fn passes((answered, wrong): (usize, usize)) -> bool {
    Binomial::new(WANTED_RISK, answered as u64).is_ok_and(|wrongs| wrongs.cdf(wrong as u64) <= 1.0 - CONFIDENCE)
}

/// The largest entropy at which at most [`WANTED_RISK`] of the answers are wrong; if there is none that answers [`LEAST_ANSWERED`] of
/// `pictures`, the one with the least risk that does. A limit answers all pictures of an entropy, or none.
fn limit(answers: &[(f32, bool)], pictures: usize) -> f32 {
    let (entropies, wrong): (Vec<f32>, Vec<bool>) = answers.iter().copied().unzip();
    let least = (LEAST_ANSWERED * pictures as f64).ceil().max(1.0) as usize;
    let Ok(curve) = RiskCoverage::new(&entropies, &wrong) else { return 1.0 };
    let enough = curve.points.iter().filter(|point| point.answered >= least);
    let risk = |point: &RiskPoint| point.risk().unwrap_or(1.0).max(WANTED_RISK);
    // Of equal ones the last, which answers most.
    let best = enough.rev().min_by(|a, b| risk(a).total_cmp(&risk(b)));
    best.map_or(1.0, |point| point.limit.min(1.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_keeps_the_risk() {
        // Sure answers are right, unsure ones wrong: the limit lies between them.
        let answers = [(0.1, false), (0.2, false), (0.15, false), (0.3, false), (0.9, true), (0.95, true)];
        assert_eq!(limit(&answers, 6), 0.3);
        assert_eq!(limit(&answers[..4], 4), 0.3);
    }

    #[test]
    fn a_limit_answers_a_tie_whole() {
        // Nine sure answers are right; of three that are equally unsure, the first is right, the others are not. The limit at their
        // entropy answers all three and is wrong in two of twelve, however they are ordered.
        let mut answers = vec![(0.1, false); 9];
        answers.extend([(0.9, false), (0.9, true), (0.9, true)]);
        assert_eq!(limit(&answers, 12), 0.1);
        answers.swap(9, 11);
        assert_eq!(limit(&answers, 12), 0.1);
    }

    #[test]
    fn a_promise_wants_enough_patients() {
        // 28 right answers of 28 happen in 0.9^28 = 5.2 % of cases where one of ten is wrong, 29 of 29 in 4.7 %.
        assert!(!passes((28, 0)) && passes((29, 0)));
        // scipy.stats.binom.cdf(4, 89, 0.1) is 0.0497, cdf(4, 88, 0.1) 0.0530.
        assert!(passes((89, 4)) && !passes((88, 4)));
        let right = vec![(0.5, false); 40];
        assert_eq!(promised(&right, 40), Some(0.5));
        assert_eq!(promised(&right[..20], 20), None, "too few patients");
        assert_eq!(promised(&right, 100), None, "too few of the patients get an answer");
    }

    #[test]
    fn no_limit_is_tried_after_one_that_failed() {
        let ramp = |wrong: std::ops::Range<usize>| -> Vec<(f32, bool)> {
            (0..400).map(|i| (i as f32 / 400.0, wrong.contains(&i))).collect()
        };
        let limit = promised(&ramp(300..400), 400).unwrap();
        assert!((0.75..0.8).contains(&limit), "{limit}");
        assert_eq!(promised(&ramp(0..30), 400), None, "the strictest fails, though the loosest would pass");
    }

    /// Of many samples in which every answer is wrong with a little more than the wanted risk, at most 1 in 20 gets a promise.
    #[test]
    fn false_promises_are_rare() {
        use rand::Rng as _;
        let mut random = thorax_nn::seeded::generator(3, 0);
        let mut drawn = || (0..200).map(|i| (i as f32 / 200.0, random.random_bool(0.101))).collect::<Vec<_>>();
        let promises = (0..2000).filter(|_| promised(&drawn(), 200).is_some()).count();
        assert!((1..=120).contains(&promises), "{promises} of 2000");
    }
}
