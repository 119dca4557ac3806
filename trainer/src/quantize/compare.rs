//! What a bundle says, and what another that was made of it says of the same pictures.

use thorax_shared::{
    bundle::Teacher,
    metrics::{Confusion, roc_auc},
};

use crate::judge::bundle::{Evaluation, MASKS};

/// Figures of the two beside each other.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// Labelled pictures that both read.
    pub pictures: usize,
    /// AUC of the one and of the other; none where a class is missing.
    pub auc: Option<[f64; 2]>,
    /// Share of all labelled pictures that get the same verdict.
    pub verdicts_kept: f64,
    /// Spearman's correlation of the entropies.
    pub entropy_spearman: Option<f64>,
    /// Mean absolute difference of the probability.
    pub probability_apart: f64,
    /// Name of each mask, pictures with it, Dice of all pixels together of the one and of the other.
    pub dice: Vec<(String, usize, [Option<f64>; 2])>,
}

impl Comparison {
    /// Compares two evaluations of the same pictures.
    pub fn new(one: &Evaluation, other: &Evaluation) -> Self {
        let all = one.predictions.iter().zip(&other.predictions);
        let kept = all.clone().filter(|(one, other)| one.verdict == other.verdict).count();
        let read: Vec<_> = all.filter_map(|(a, b)| Some((a.positive, a.evidence?, b.evidence?))).collect();
        let labels: Vec<bool> = read.iter().map(|(positive, _, _)| *positive).collect();
        let column = |column: usize| -> [Vec<f32>; 2] {
            [
                read.iter().map(|(_, one, _)| one[column]).collect(),
                read.iter().map(|(_, _, other)| other[column]).collect(),
            ]
        };
        let (probabilities, entropies) = (column(0), column(1));
        let [auc_one, auc_other] = probabilities.each_ref().map(|scores| roc_auc(scores, &labels).ok());
        let apart = probabilities[0].iter().zip(&probabilities[1]).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        let dice = MASKS.iter().enumerate().map(|(channel, name)| {
            let pairs = one.masks.iter().zip(&other.masks);
            let both: Vec<[Confusion; 2]> =
                pairs.filter_map(|(a, b)| Some([a.masks[channel]?, b.masks[channel]?])).collect();
            let pooled = [0, 1].map(|which| both.iter().map(|pair| pair[which]).sum::<Confusion>().f1());
            ((*name).to_owned(), both.len(), pooled)
        });
        Self {
            pictures: read.len(),
            auc: auc_one.zip(auc_other).map(|(one, other)| [one, other]),
            verdicts_kept: kept as f64 / one.predictions.len().max(1) as f64,
            entropy_spearman: spearman(&entropies[0], &entropies[1]),
            probability_apart: apart / read.len().max(1) as f64,
            dice: dice.collect(),
        }
    }

    /// What the other was made of, called `name`, as the bundle says it; none where its AUC cannot be told.
    pub fn teacher(&self, name: &str) -> Option<Teacher> {
        let dice = self.dice.first().and_then(|(_, _, [one, _])| *one);
        Some(Teacher { name: name.to_owned(), auc: self.auc?[0] as f32, dice: dice.map(|dice| dice as f32) })
    }
}

/// A table of what bundles say of the same pictures: their names and evaluations, each made of the one before it.
pub fn to_markdown(bundles: &[(&str, &Evaluation)]) -> String {
    let [first, others @ ..] = bundles else { return String::new() };
    let names: Vec<&str> = bundles.iter().map(|(name, _)| *name).collect();
    let mut out = format!("| figure | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let figures: Vec<_> = bundles.iter().map(|(_, evaluation)| evaluation.figures()).collect();
    for (row, (name, _)) in figures.first().into_iter().flatten().enumerate() {
        let cells: Vec<&str> = figures.iter().map(|of| of.get(row).map_or("–", |(_, value)| value)).collect();
        out += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    let with_first = others.iter().map(|(_, other)| Comparison::new(first.1, other)).collect();
    let mut rows: Vec<(String, Vec<Comparison>)> = vec![(format!(" ({})", first.0), with_first)];
    if others.len() > 1 {
        let pairs = bundles.iter().zip(others);
        let with_previous = pairs.map(|((_, one), (_, other))| Comparison::new(one, other)).collect();
        rows.push((" (the column before)".to_owned(), with_previous));
    }
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"));
    for (beside, comparisons) in rows {
        let mut row = |name: &str, of: &dyn Fn(&Comparison) -> String| {
            let cells: Vec<String> = comparisons.iter().map(of).collect();
            out += &format!("| {name}{beside} | | {} |\n", cells.join(" | "));
        };
        row("verdicts kept", &|other| format!("{:.2} %", other.verdicts_kept * 100.0));
        row("Spearman of the entropy", &|other| number(other.entropy_spearman));
        row("mean difference of the probability", &|other| format!("{:.5}", other.probability_apart));
    }
    out
}

/// Spearman's rank correlation, equal values having the mean of their ranks; none where all are equal.
fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| product(&a, &b) / spread)
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + (same.len() - 1) as f64 / 2.0;
        same.iter().for_each(|&index| ranks[index] = rank);
        start += same.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values by `scipy.stats.spearmanr`.
    #[test]
    fn ranks_are_correlated_as_by_scipy() {
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(near(spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.8));
        assert!(near(spearman(&[1.0, 2.0, 2.0, 5.0], &[9.0, 1.0, 1.0, 0.5]), -1.0));
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_none());
    }
}
