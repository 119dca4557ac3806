//! What a bundle says, and what another that was made of it says of the same pictures.

use std::collections::BTreeMap;

use thorax_shared::{
    bundle::Teacher,
    metrics::{Confusion, roc_auc},
};

use super::bundle::{Evaluation, Prediction};
use crate::ranks::spearman;

/// Probabilities, entropies and mutual information of the labelled pictures that both read, and which of these are positive.
struct Read {
    positive: Vec<bool>,
    probabilities: [Vec<f32>; 2],
    entropies: [Vec<f32>; 2],
    mutual_information: [Vec<f32>; 2],
}

impl Read {
    fn by_both(one: &Evaluation, other: &Evaluation) -> Self {
        let all = by_both(one, other).into_iter();
        let read: Vec<_> = all.filter_map(|(a, b)| Some((a.positive, [a.evidence?, b.evidence?]))).collect();
        let column = |column: usize| [0, 1].map(|which| read.iter().map(|(_, both)| both[which][column]).collect());
        Self {
            positive: read.iter().map(|(positive, _)| *positive).collect(),
            probabilities: column(0),
            entropies: column(1),
            mutual_information: column(3),
        }
    }
}

/// The labelled pictures that both were asked of: teachers are not asked of what a bundle rejects.
fn by_both<'a>(one: &'a Evaluation, other: &'a Evaluation) -> Vec<(&'a Prediction, &'a Prediction)> {
    let others: BTreeMap<&str, &Prediction> = other.predictions.iter().map(|p| (p.path.as_str(), p)).collect();
    one.predictions.iter().filter_map(|p| Some((p, *others.get(p.path.as_str())?))).collect()
}

/// How far another bundle is from one.
struct Comparison {
    /// Share of the labelled pictures that both were asked of that get the same verdict.
    verdicts_kept: f64,
    /// Spearman's correlation of the entropies.
    entropy_spearman: Option<f64>,
    /// Spearman's correlation of what is disagreement of the members.
    mutual_information_spearman: Option<f64>,
    /// Mean absolute difference of the probability.
    probability_apart: f64,
}

impl Comparison {
    fn new(one: &Evaluation, other: &Evaluation) -> Self {
        let all = by_both(one, other);
        let kept = all.iter().filter(|(one, other)| one.verdict == other.verdict).count();
        let Read { probabilities: [a, b], entropies, mutual_information, .. } = Read::by_both(one, other);
        let apart = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        Self {
            verdicts_kept: kept as f64 / all.len().max(1) as f64,
            entropy_spearman: spearman(&entropies[0], &entropies[1]),
            mutual_information_spearman: spearman(&mutual_information[0], &mutual_information[1]),
            probability_apart: apart / a.len().max(1) as f64,
        }
    }
}

/// What `other` was made of, called `name`, as the bundle says it: its figures on the pictures that both read; none where its AUC cannot be
/// told.
pub fn teacher(name: &str, one: &Evaluation, other: &Evaluation) -> Option<Teacher> {
    let Read { positive, probabilities, .. } = Read::by_both(one, other);
    let auc = roc_auc(&probabilities[0], &positive).ok()?;
    roc_auc(&probabilities[1], &positive).ok()?;
    let drawn = one.masks.iter().zip(&other.masks).filter_map(|(a, b)| a.masks[0].zip(b.masks[0]));
    let dice = drawn.map(|(a, _)| a).sum::<Confusion>().f1();
    Some(Teacher { name: name.to_owned(), auc: auc as f32, dice: dice.map(|dice| dice as f32) })
}

/// A table of what bundles say of the same pictures: their names and evaluations, each made of the one before it.
pub fn to_markdown(bundles: &[(&str, &Evaluation)]) -> String {
    let [first, others @ ..] = bundles else { return String::new() };
    let names: Vec<&str> = bundles.iter().map(|(name, _)| *name).collect();
    let mut out = format!("| figure | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let figures: Vec<_> = bundles.iter().map(|(_, evaluation)| evaluation.figures()).collect();
    // Not all of them draw masks.
    let longest = figures.iter().max_by_key(|of| of.len());
    for (name, _) in longest.into_iter().flatten() {
        let cell =
            |of: &Vec<(String, String)>| of.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let cells: Vec<String> = figures.iter().map(|of| cell(of).unwrap_or_else(|| "–".to_owned())).collect();
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
        row("Spearman of the mutual information", &|other| number(other.mutual_information_spearman));
        row("mean difference of the probability", &|other| format!("{:.5}", other.probability_apart));
    }
    out
}
