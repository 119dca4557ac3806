//! Heads that learn what teachers say, in place of the labels: on features that stay as they are, one head a member.
//!
//! A student's own heads learn beside its backbone, for a few epochs, and say less than they could by its end; on its finished features
//! the loss is convex and these learn all of it, each member's scale with it. What members disagree in is small beside what they say together, so it is the
//! first that is lost by heads that are not done.

use anyhow::Context;
use thorax_shared::lesions::LesionEvidence;

use super::{Heads, LESION_SCALE, Lesions, PENALTIES};
use crate::progress::progress;

/// What teachers say of the rows of a table.
pub struct Said {
    /// Their members, each of whom a head learns from.
    pub members: usize,
    /// The probability that each tells of each row, `[rows, members]`, what the lesions add aside; 0.5 of rows that nobody learns from.
    pub probabilities: Vec<f32>,
    /// How the infected share of the lungs moves the logits.
    pub lesions: Option<LesionEvidence>,
}

impl Said {
    /// What a member says of a row.
    pub(super) fn of(&self, row: usize, member: usize) -> f32 {
        self.probabilities[row * self.members + member]
    }

    /// Of the heads that `fit` makes with each penalty, those whose logits, as `say` tells them of the `validation` rows, have the least cross
    /// entropy with what the teachers say of these; and the penalty.
    pub(super) fn best(
        &self,
        fit: impl Fn(f32) -> Heads,
        say: impl Fn(&Heads) -> Vec<Vec<f32>>,
        validation: &[usize],
    ) -> anyhow::Result<(f32, Heads)> {
        let bar = progress(PENALTIES.len(), "heads");
        let mut best: Option<(f64, f32, Heads)> = None;
        for l2 in PENALTIES {
            let heads = fit(l2);
            let mut loss = 0.0;
            for (logits, &row) in say(&heads).iter().zip(validation) {
                for (member, &logit) in logits.iter().enumerate() {
                    let target = self.of(row, member);
                    // -(t ln p + (1 - t) ln(1 - p)) of p = 1 / (1 + exp(-z)), without an overflow.
                    loss += f64::from(logit.max(0.0) - target * logit + (-logit.abs()).exp().ln_1p());
                }
            }
            bar.inc(1);
            if loss.is_finite() && best.as_ref().is_none_or(|(least, ..)| loss < *least) {
                best = Some((loss, l2, heads));
            }
        }
        bar.finish_and_clear();
        let (_, l2, heads) = best.context("no penalty gave a finite loss")?;
        Ok((l2, heads))
    }
}

impl Heads {
    /// The same with the share of infected lung `beside` the features, weighed as teachers weigh it, `evidence`.
    ///
    /// # Errors
    /// A share where teachers weigh none, or none where they do.
    pub(super) fn weighing(
        mut self,
        evidence: Option<&LesionEvidence>,
        beside: Option<&Lesions>,
    ) -> anyhow::Result<Self> {
        match (evidence, beside) {
            (None, None) => {}
            (Some(taught), Some(beside)) => {
                for (bias, weight) in self.bias.iter_mut().zip(&taught.weights) {
                    *bias += weight * (beside.mean - taught.mean) / taught.std;
                    self.weights.push(weight * beside.std / taught.std / LESION_SCALE as f32);
                }
            }
            (None, Some(_)) => anyhow::bail!("--lesions: the student's teachers weighed no lesions; leave it out"),
            (Some(_), None) => {
                anyhow::bail!(
                    "the student's teachers weighed the lesions that a segmenter finds; give it with --lesions"
                )
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two members whose logits are linear in the two features are learnt, each with its own scale.
    #[test]
    fn each_head_says_what_its_member_says() {
        let weights = [[0.8f32, -0.3], [0.3, 0.2]];
        let logit = |x: &[f32], member: usize| weights[member][0] * x[0] + weights[member][1] * x[1] + 0.3;
        let rows: Vec<[f32; 2]> =
            (0..120).map(|at| [(at % 11) as f32 / 3.0 - 1.6, (at % 7) as f32 / 2.0 - 1.5]).collect();
        let x = rows.concat();
        let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        let probabilities = rows.iter().flat_map(|row| [0, 1].map(|member| probability(logit(row, member)))).collect();
        let said = Said { members: 2, probabilities, lesions: None };
        let config: super::super::ClassifyConfig = super::super::tests::config();
        let target = |row: usize, member| said.of(row, member);
        let fit = |l2| Heads::fit(&x, &target, &vec![vec![1.0; rows.len()]; 2], 2, &config, l2, None);
        let all: Vec<usize> = (0..rows.len()).collect();
        let (l2, heads) = said.best(fit, |heads| heads.logits(&x, 2), &all).unwrap();
        assert_eq!(l2, PENALTIES[0], "what is linear wants no penalty");
        for (row, told) in rows.iter().zip(heads.logits(&x, 2)) {
            for (member, told) in told.into_iter().enumerate() {
                assert!((told - logit(row, member)).abs() < 0.1, "{row:?} {member} {told} {}", logit(row, member));
            }
        }
    }

    #[test]
    fn lesions_are_weighed_as_the_teachers_weigh_them() {
        let heads = || Heads { weights: vec![1.0, 2.0], bias: vec![0.5, -0.5] };
        let taught = LesionEvidence { mean: 1.0, std: 0.5, weights: vec![0.4, -0.2] };
        let ours = Lesions { mean: 1.5, std: 2.0, values: vec![] };
        let weighing = heads().weighing(Some(&taught), Some(&ours)).unwrap();
        for percent in [0.0, 2.0, 12.5] {
            let mut expected = vec![3.0 + 0.5, 6.0 - 0.5];
            taught.add_to(&mut expected, Some(percent));
            let value = LesionEvidence { mean: ours.mean, std: ours.std, weights: vec![] }.value(Some(percent)) as f32;
            let told = weighing.logits(&[3.0, LESION_SCALE as f32 * value], 2).remove(0);
            assert!(told.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{told:?} {expected:?}");
        }
        assert_eq!(heads().weighing(None, None).unwrap().weights, [1.0, 2.0]);
        assert!(heads().weighing(None, Some(&ours)).err().unwrap().to_string().contains("leave it out"));
        assert!(heads().weighing(Some(&taught), None).err().unwrap().to_string().contains("give it with --lesions"));
    }
}
