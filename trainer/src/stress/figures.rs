//! What was read under a change, counted beside what was read of the same pictures unchanged.

use std::cmp::Ordering;

use serde::Serialize;
use thorax_shared::{
    metrics::{self, Confusion},
    verdict::Verdict,
};

use super::{Seen, Trial, Tried, readings::Readings};
use crate::judge::{Estimate, Resampling, masks::score::MaskFigures, mean};

/// The share of verdicts that every harmless change has to leave as they are.
pub const KEPT_AT_LEAST: f64 = 0.90;

/// Bootstrap resamples of patients.
const RESAMPLES: usize = 1000;
/// Confidence level of the intervals.
pub(super) const LEVEL: f64 = 0.95;

/// The figures of a change. Shares are 0 to 1; what has no value is `None`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The change.
    #[serde(flatten)]
    pub trial: Trial,
    /// Area under the ROC curve, of all pictures that were read, answered or referred.
    pub auc: Option<Estimate>,
    /// The unchanged pictures' AUC less the changed ones', of those that were read both times.
    pub auc_lost: Option<Estimate>,
    /// Share of pictures with the same of the four verdicts as unchanged.
    pub kept: Option<Estimate>,
    /// The same of those that were answered (positive, negative) unchanged.
    pub kept_of_answered: Option<Estimate>,
    /// Mean absolute change of the probability, of the pictures that were read both times.
    pub probability_change: Option<f64>,
    /// Share of pictures called positive or negative.
    pub answered: Option<f64>,
    /// Share of pictures that a person has to decide.
    pub referred: Option<f64>,
    /// Share of pictures that were rejected.
    pub refused: Option<f64>,
    /// Share of pictures that were read as they had been before a harmful change, and not refused; `None` for another change.
    pub put_right: Option<f64>,
    /// Share of pictures that were put right or refused after a harmful change.
    pub put_right_or_refused: Option<Estimate>,
    /// Share of pictures called positive or negative after a harmful change that was not put right; `None` for another change.
    pub misread: Option<f64>,
    /// Dice of the infection, all pixels together.
    pub dice: Option<Estimate>,
}

impl Figures {
    /// Counts what was read of `tried` pictures, and of pictures with masks, of patients `masked`.
    pub(super) fn count(
        trial: &Trial,
        tried: &[Tried],
        masked: &[&str],
        unchanged: &Readings,
        readings: &Readings,
        seed: u64,
    ) -> Self {
        let resampling = Resampling { resamples: RESAMPLES, level: LEVEL, seed };
        let pictures: Vec<Picture<'_>> = tried
            .iter()
            .zip(unchanged.seen.iter().zip(&readings.seen))
            .map(|(tried, (before, after))| Picture { tried, before, after })
            .collect();
        // Over the pictures that `counts` picks, and their patients.
        let estimate = |counts: &dyn Fn(&Picture<'_>) -> bool, statistic: &dyn Fn(&[&Picture<'_>]) -> Option<f64>| {
            let of: Vec<&Picture<'_>> = pictures.iter().filter(|picture| counts(picture)).collect();
            let groups: Vec<&str> = of.iter().map(|picture| picture.tried.group.as_str()).collect();
            Estimate::new(&groups, &resampling, |drawn| {
                statistic(&drawn.iter().map(|&i| of[i]).collect::<Vec<&Picture<'_>>>())
            })
        };
        let share = |holds: &dyn Fn(&Picture<'_>) -> bool| {
            mean(pictures.iter().map(|picture| f64::from(u8::from(holds(picture)))))
        };
        let share_of = |counts: &dyn Fn(&Picture<'_>) -> bool, holds: &dyn Fn(&Picture<'_>) -> bool| {
            estimate(counts, &|drawn| mean(drawn.iter().map(|picture| f64::from(u8::from(holds(picture))))))
        };
        let harmful = |figure: Option<Estimate>| figure.filter(|_| trial.harmful);
        let changes =
            pictures.iter().filter_map(|p| Some(f64::from((p.after.evidence?[0] - p.before.evidence?[0]).abs())));
        let groups_of_masks: Vec<(&str, Confusion)> =
            masked.iter().zip(&readings.masks).filter_map(|(group, pixels)| Some((*group, (*pixels)?))).collect();
        let groups: Vec<&str> = groups_of_masks.iter().map(|(group, _)| *group).collect();
        Self {
            trial: trial.clone(),
            auc: estimate(&|p| p.after.evidence.is_some(), &|drawn| auc(drawn, |p| p.after)),
            auc_lost: estimate(&|p| p.before.evidence.is_some() && p.after.evidence.is_some(), &|drawn| {
                Some(auc(drawn, |p| p.before)? - auc(drawn, |p| p.after)?)
            }),
            kept: share_of(&|_| true, &|p| p.kept()),
            kept_of_answered: share_of(&|p| answered(p.before), &|p| p.kept()),
            probability_change: mean(changes),
            answered: share(&|p| answered(p.after)),
            referred: share(&|p| matches!(p.after.verdict, Verdict::Refer(_))),
            refused: share(&|p| refused(p.after)),
            put_right: share(&|p| p.after.put_right && !refused(p.after)).filter(|_| trial.harmful),
            put_right_or_refused: harmful(share_of(&|_| true, &|p| p.after.put_right || refused(p.after))),
            misread: share(&|p| answered(p.after) && !p.after.put_right).filter(|_| trial.harmful),
            dice: Estimate::new(&groups, &resampling, |drawn| {
                MaskFigures::of(&drawn.iter().map(|&i| groups_of_masks[i].1).sum(), [None; 2]).dice
            }),
        }
    }

    /// Whether enough verdicts stayed; of a harmful change, or a strength that stands in no table, nobody asks.
    pub(super) fn survived(&self) -> bool {
        let asked = !self.trial.harmful && self.trial.shown;
        !asked || self.kept.is_some_and(|kept| kept.value >= KEPT_AT_LEAST)
    }

    /// Least kept first.
    pub(super) fn worst_first(&self, other: &Self) -> Ordering {
        worse(self.kept, other.kept)
    }

    /// Least put right or refused first.
    pub(super) fn most_harmful_first(&self, other: &Self) -> Ordering {
        worse(self.put_right_or_refused, other.put_right_or_refused)
    }
}

/// What has no value is worst.
fn worse(a: Option<Estimate>, b: Option<Estimate>) -> Ordering {
    let value = |estimate: Option<Estimate>| estimate.map_or(f64::NEG_INFINITY, |estimate| estimate.value);
    value(a).total_cmp(&value(b))
}

/// A picture before and after.
struct Picture<'a> {
    tried: &'a Tried,
    before: &'a Seen,
    after: &'a Seen,
}

impl Picture<'_> {
    fn kept(&self) -> bool {
        self.before.verdict.as_str() == self.after.verdict.as_str()
    }
}

fn answered(seen: &Seen) -> bool {
    matches!(seen.verdict, Verdict::Positive | Verdict::Negative)
}

fn refused(seen: &Seen) -> bool {
    matches!(seen.verdict, Verdict::Rejected(_))
}

/// Of pictures that were all read.
fn auc<'a>(pictures: &[&'a Picture<'a>], seen: impl Fn(&Picture<'a>) -> &'a Seen) -> Option<f64> {
    let probability = |picture: &&Picture<'a>| Some((seen(picture).evidence?[0], picture.tried.positive));
    let (probabilities, labels): (Vec<f32>, Vec<bool>) = pictures.iter().filter_map(probability).unzip();
    metrics::roc_auc(&probabilities, &labels).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_shared::verdict::{ReferReason, RejectReason};

    use super::*;
    use crate::stress::trials;

    const REFER: Verdict = Verdict::Refer(ReferReason::AbstainZone);
    const REJECTED: Verdict = Verdict::Rejected(RejectReason::Blurred);

    fn seen(verdict: Verdict, probability: Option<f32>) -> Seen {
        Seen { verdict, evidence: probability.map(|p| [p, 0.5]), put_right: false }
    }

    fn readings(seen: Vec<Seen>, masks: Vec<Option<Confusion>>) -> Readings {
        Readings { change: None, seen, masks }
    }

    fn tried(positive: &[bool]) -> Vec<Tried> {
        let of = |(i, &positive): (usize, &bool)| Tried {
            path: format!("{i}.png"),
            group: i.to_string(),
            source: "made".into(),
            positive,
        };
        positive.iter().enumerate().map(of).collect()
    }

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?}, expected {expected}");
    }

    #[test]
    fn every_figure_by_hand() {
        let tried = tried(&[true, true, false, false, false]);
        let before = [
            seen(Verdict::Positive, Some(0.9)),
            seen(REFER, Some(0.6)),
            seen(Verdict::Negative, Some(0.1)),
            seen(Verdict::Negative, Some(0.2)),
            seen(REJECTED, None),
        ];
        let after = [
            seen(Verdict::Positive, Some(0.8)),
            seen(REFER, Some(0.5)),
            seen(Verdict::Positive, Some(0.9)),
            seen(REJECTED, None),
            // Refused both times, but the second time after it was read.
            seen(REJECTED, Some(0.3)),
        ];
        let infection =
            |t, f, n| Confusion { true_positives: t, false_positives: f, false_negatives: n, true_negatives: 9 };
        let unchanged = readings(before.into(), vec![]);
        let changed = readings(after.into(), vec![Some(infection(2, 1, 0)), None, Some(infection(1, 0, 3))]);
        let trial = &trials(&["JPEG".into()], false).unwrap()[1];
        let found = Figures::count(trial, &tried, &["a", "b", "c"], &unchanged, &changed, 1);
        let value = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.value);
        // Positive .8 and .5 against negative .9 and .3: two of four pairs are in order.
        close(value(found.auc), 0.5);
        // Unchanged, of the three that were read both times: .9 and .6 against .1, all in order; then .8 and .5 against .9, none.
        close(value(found.auc_lost), 1.0);
        close(value(found.kept), 3.0 / 5.0);
        close(value(found.kept_of_answered), 1.0 / 3.0);
        close(found.probability_change, (0.1 + 0.1 + 0.8) / 3.0);
        close(found.answered, 2.0 / 5.0);
        close(found.referred, 1.0 / 5.0);
        close(found.refused, 2.0 / 5.0);
        close(value(found.dice), 2.0 * 3.0 / (2.0 * 3.0 + 1.0 + 3.0));
        assert!(found.put_right.is_none() && found.put_right_or_refused.is_none() && found.misread.is_none());
        let kept = found.kept.unwrap();
        assert!(kept.low < kept.value && kept.value < kept.high, "over patients: {kept:?}");
        assert!(!found.survived());

        let same = Figures::count(trial, &tried, &[], &unchanged, &unchanged, 1);
        assert_eq!((value(same.kept), value(same.auc_lost), same.dice), (Some(1.0), Some(0.0), None));
        assert!(same.survived());
    }

    #[test]
    fn what_is_harmed_is_put_right_or_refused() {
        let tried = tried(&[true, true, false, false]);
        let unchanged = readings(vec![seen(Verdict::Positive, Some(0.9)); 4], vec![]);
        let right = Seen { put_right: true, ..seen(Verdict::Positive, Some(0.9)) };
        // Put right, and read; put right, and refused all the same; refused as it was; called negative.
        let after = vec![
            right,
            Seen { put_right: true, ..seen(REJECTED, None) },
            seen(REJECTED, None),
            seen(Verdict::Negative, Some(0.2)),
        ];
        let trial = &trials(&["negative".into()], false).unwrap()[1];
        let found = Figures::count(trial, &tried, &[], &unchanged, &readings(after, vec![]), 1);
        close(found.put_right, 0.25);
        close(found.put_right_or_refused.map(|estimate| estimate.value), 0.75);
        close(found.misread, 0.25);
        assert!(found.survived(), "it is not asked of a negative that its verdict stays");
    }

    /// Nine of ten is enough, one less is not.
    #[test]
    fn the_limit_is_nine_of_ten() {
        let of = |others: usize| {
            let tried = tried(&[true; 10]);
            let unchanged = readings(vec![seen(Verdict::Positive, Some(0.9)); 10], vec![]);
            let mut after = unchanged.clone();
            after.seen[..others].fill(seen(REFER, Some(0.6)));
            let trial = &trials(&["text".into()], false).unwrap()[1];
            Figures::count(trial, &tried, &[], &unchanged, &after, 1).survived()
        };
        assert_eq!([of(0), of(1), of(2)], [true, true, false]);
    }
}
