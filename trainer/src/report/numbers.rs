//! All figures for other programs: a long table, and everything as JSON.

use serde::Serialize;

use super::paper::PaperTable;
use crate::judge::classifiers::{Figures, Judgement, Resample};

/// The version of `judgement.json`.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Json<'a> {
    format: u32,
    judgements: &'a [&'a Judgement],
}

/// All judgements with their curves.
pub(super) fn json(judgements: &[&Judgement]) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&Json { format: FORMAT, judgements })?;
    text.push(b'\n');
    Ok(text)
}

/// Names a run in the table.
fn name(judgement: &Judgement) -> String {
    let Judgement { modality, backbone, resample, left_out, .. } = judgement;
    let resample = if *resample == Resample::Split { "/split" } else { "" };
    let left_out = left_out.as_ref().map(|source| format!("/without {source}"));
    format!("{modality}/{backbone}{resample}{}", left_out.unwrap_or_default())
}

/// One line a figure: run, classifier, source (empty: all), figure, value, and the ends of its interval where it has one. Shares
/// are 0 to 1, also the paper's.
pub(super) fn csv(judgements: &[&Judgement]) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["run", "classifier", "source", "figure", "value", "low", "high"])?;
    for judgement in judgements {
        let run = name(judgement);
        let paper = PaperTable::beside(judgement).filter(|_| judgement.left_out.is_none());
        for judged in &judgement.classifiers {
            let mut line = |source: &str, figure: &str, value: Option<f64>, interval: Option<(f64, f64)>| {
                let Some(value) = value else { return Ok(()) };
                let end = |end: Option<f64>| end.map_or_else(String::new, |end| end.to_string());
                let (low, high) = (end(interval.map(|i| i.0)), end(interval.map(|i| i.1)));
                table.write_record([&run, judged.name(), source, figure, &value.to_string(), &low, &high])
            };
            line("", "runs", Some(judged.run_count as f64), None)?;
            for (figure, estimate) in Figures::<()>::NAMES.iter().zip(judged.averaged.into_array()) {
                line("", figure, estimate.map(|e| e.value), estimate.map(|e| (e.low, e.high)))?;
            }
            for (figure, spread) in Figures::<()>::NAMES.iter().zip(judged.runs.into_array()) {
                line("", &format!("{figure}_runs_mean"), spread.map(|s| s.mean), None)?;
                line("", &format!("{figure}_runs_sd"), spread.and_then(|s| s.standard_deviation), None)?;
            }
            let of_paper = paper.zip(judged.kind).and_then(|(paper, kind)| paper.figures(kind));
            for (figure, value) in Figures::<()>::NAMES.iter().zip(of_paper.into_iter().flatten()) {
                line("", &format!("{figure}_paper"), Some(value / 100.0), None)?;
            }
            let (calibration, uncertainty) = (&judged.calibration, &judged.uncertainty);
            let forecasts = [
                ("", Some(&calibration.before)),
                ("_temperature", calibration.tempered.as_ref()),
                ("_isotonic", calibration.isotonic.as_ref()),
            ];
            for (suffix, forecast) in forecasts {
                line("", &format!("ece{suffix}"), forecast.map(|f| f.ece), None)?;
                line("", &format!("brier{suffix}"), forecast.map(|f| f.brier), None)?;
                line("", &format!("nll{suffix}"), forecast.map(|f| f.nll), None)?;
            }
            line("", "temperature", calibration.temperature.map(f64::from), None)?;
            line("", "entropy_bits", Some(uncertainty.mean_bits), None)?;
            line("", "entropy_bits_right", uncertainty.right_bits, None)?;
            line("", "entropy_bits_wrong", uncertainty.wrong_bits, None)?;
            line("", "mutual_information_bits", Some(uncertainty.mutual_information_bits), None)?;
            let error_auc = uncertainty.error_auc;
            line("", "entropy_error_auc", error_auc.map(|e| e.value), error_auc.map(|e| (e.low, e.high)))?;
            line("", "uncertain_from_bits", uncertainty.limit.map(|limit| limit.bits.into()), None)?;
            let confusion = uncertainty.confusion.as_ref();
            line("", "uncertainty_accuracy", confusion.and_then(|c| c.accuracy()), None)?;
            line("", "uncertainty_sensitivity", confusion.and_then(|c| c.sensitivity()), None)?;
            line("", "uncertainty_specificity", confusion.and_then(|c| c.specificity()), None)?;
            line("", "uncertainty_precision", confusion.and_then(|c| c.precision()), None)?;
            line("", "aurc", Some(judged.selective.area), None)?;
            let abstention = judged.selective.abstention;
            line("", "abstain_above_bits", abstention.map(|a| a.limit_bits.into()), None)?;
            line("", "abstain_coverage", abstention.map(|a| a.coverage), None)?;
            line("", "abstain_risk", abstention.and_then(|a| a.risk), None)?;
            let screening = judged.screening;
            line("", "screening_threshold", screening.map(|s| s.threshold.into()), None)?;
            for (figure, of) in [
                ("sensitivity", screening.and_then(|s| s.sensitivity)),
                ("specificity", screening.and_then(|s| s.specificity)),
            ] {
                line("", &format!("screening_{figure}"), of.map(|e| e.value), of.map(|e| (e.low, e.high)))?;
            }
            for source in &judged.sources {
                line(&source.source, "pictures", Some(source.count.pictures as f64), None)?;
                for (figure, estimate) in Figures::<()>::NAMES.iter().zip(source.figures.into_array()) {
                    line(&source.source, figure, estimate.map(|e| e.value), estimate.map(|e| (e.low, e.high)))?;
                }
            }
        }
        for comparison in &judgement.comparisons {
            let [first, second] =
                [comparison.first, comparison.second].map(|position| judgement.classifiers[position].name());
            let pair = format!("{first} : {second}");
            for (figure, p) in [("mcnemar_p", comparison.p), ("mcnemar_p_holm", comparison.corrected_p)] {
                table.write_record([&run, &pair, "", figure, &p.to_string(), "", ""])?;
            }
        }
    }
    Ok(table.into_inner()?)
}
