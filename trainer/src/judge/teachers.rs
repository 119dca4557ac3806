//! What teachers say of the pictures that a bundle was judged on, so that the two stand side by side.
//!
//! Several teachers are one ensemble: all their members' probabilities together (equations 1 and 2), each teacher's by its own temperature.
//! They say it of the pictures that the bundle has read and not rejected, and weigh the infected share of the lungs that it has found. Theirs are the
//! thresholds of their runs, of several their means; what would have them reject a picture is not asked.

use std::collections::BTreeMap;

use anyhow::Context;
use thorax_shared::{
    decision::{DecisionRule, Evidence},
    uncertainty::Ensemble,
    verdict::Verdict,
};

use super::bundle::{Evaluation, Prediction};
use crate::{
    backbone::teachers::Ensembles,
    data::{Manifest, Record, Task},
};

/// For tables.
pub fn name(teachers: &Ensembles) -> String {
    match teachers.count() {
        1 => format!("its teacher, {} members", teachers.members()),
        count => format!("its {count} teachers, {} members", teachers.members()),
    }
}

/// What `teachers` say of the labelled pictures that `beside` has read and not rejected.
///
/// # Errors
/// Pictures that are not the manifest's or cannot be read; a net that fails.
pub fn evaluate(manifest: &Manifest, teachers: &Ensembles, beside: &Evaluation) -> anyhow::Result<Evaluation> {
    let records = manifest.select(beside.modality, Task::Classify, Some(beside.split));
    let records: BTreeMap<&str, &Record> = records.map(|record| (record.path.as_str(), record)).collect();
    let record = |prediction: &&Prediction| {
        let found = records.get(prediction.path.as_str());
        found.copied().with_context(|| format!("{}: not in the manifest", prediction.path))
    };
    // Of a rejected picture nobody knows how much is infected.
    let is_read = |p: &&Prediction| p.evidence.is_some() && !matches!(p.verdict, Verdict::Rejected(_));
    let read: Vec<&Prediction> = beside.predictions.iter().filter(is_read).collect();
    let records = read.iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
    let shares: Vec<Option<f32>> = read.iter().map(|prediction| prediction.involvement_percent).collect();
    let told = teachers.ask(manifest, &records, &shares)?;
    let rule = teachers.rule();
    let predictions = read.iter().zip(&told).map(|(prediction, told)| said(prediction, told, &rule)).collect();
    Ok(beside.said_by(predictions, rule.positive_at))
}

/// The same picture, of which `told` is said.
fn said(prediction: &Prediction, told: &Ensemble, rule: &DecisionRule) -> Prediction {
    let Ensemble { probability, entropy_bits, mutual_information_bits, .. } = *told;
    let novelty = 0.0;
    Prediction {
        verdict: rule.decide(&Evidence { probability, entropy_bits, novelty }),
        evidence: Some([probability, entropy_bits, novelty, mutual_information_bits]),
        involvement_percent: None,
        ..prediction.clone()
    }
}
