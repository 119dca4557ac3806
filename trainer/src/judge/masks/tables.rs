//! A judgement as tables: Markdown for people, CSV for programs.

use std::fmt::Write as _;

use super::{
    MaskSpread, RunJudgement, RunSpread, SegmentationJudgement,
    score::{CLEARLY_FALSE_PERCENT, MaskFigures, MaskJudgement},
};
use crate::{
    judge::Estimate,
    markdown::{escaped, row},
};

/// Heads of the seven figures.
const HEADS: &str = "Dice | IoU | pixel accuracy | sensitivity | specificity | HD95 pixels | HD95 mm";

/// What the figures mean, said in every report.
fn rules(judgement: &SegmentationJudgement) -> String {
    let settings = &judgement.settings;
    format!(
        "- Masks are compared at the size of the picture. A pixel is lung from a probability of 0.5 on, and infected from the one that \
         was chosen on the validation split.\n\
         - *Per picture*: mean over pictures. *Pooled*: all pixels together. *Per patient*: pixels of a patient together, then the \
         mean over patients; distances are means over a patient's pictures. Per patient is the figure to compare by.\n\
         - A picture without a true pixel has no Dice, IoU or sensitivity: it is left out of their means over pictures, and what \
         is found on it counts as false-positive area. (Two empty masks do not count as 1.) Pooled and per patient its false \
         pixels count, but for a patient without any true pixel, who has no Dice.\n\
         - Where there is something and nothing is found (*missed*), Dice is 0 and HD95 undefined; such pictures are counted.\n\
         - HD95: 95th percentile of the distances between both outlines, both directions together (MedPy's hd95). In \
         millimetres only where the file says how large a pixel is.\n\
         - *Per volume*: voxels of a volume together, then the mean over volumes; HD95 is that of the surfaces in three dimensions, where every \
         slice from the first to the last was judged.\n\
         - Brackets: {:.0} % percentile interval, {} bootstrap resamples of patients (seed {}); none for a single patient.\n",
        100.0 * settings.level,
        settings.resamples,
        settings.seed
    )
}

/// The whole report.
pub(super) fn markdown(judgement: &SegmentationJudgement) -> String {
    let mut out = format!(
        "# Masks of {} pictures, {} split{}\n\n**{}**\n\n{}",
        judgement.modality,
        judgement.split.as_str(),
        judgement.source.as_ref().map_or_else(String::new, |source| format!(", of {}", escaped(source))),
        judgement.notice,
        rules(judgement)
    );
    for run in &judgement.runs {
        out += &of_run(run);
    }
    if !judgement.spread.is_empty() {
        let _ = write!(
            out,
            "\n## Spread of {} runs that differ in their seed alone\n\nMean ± standard deviation (least to most).\n",
            judgement.runs.len()
        );
        type Level = fn(&MaskSpread) -> MaskFigures<Option<RunSpread>>;
        let mut levels: Vec<(&str, Level)> = vec![
            ("Per patient", |mask| mask.per_patient),
            ("Per picture", |mask| mask.per_picture),
            ("Pooled", |mask| mask.pooled),
        ];
        if judgement.runs.iter().any(|run| !run.volumes.is_empty()) {
            levels.insert(1, ("Per volume", |mask| mask.per_volume));
        }
        for (title, level) in levels {
            let _ = write!(out, "\n### {title}\n\n| mask | {HEADS} |\n|{}\n", "---|".repeat(8));
            for mask in &judgement.spread {
                let cells = cells(level(mask), spread_cell);
                out += &row([&mask.mask].into_iter().chain(&cells));
            }
        }
    } else if judgement.runs.len() > 1 {
        out += "\nThe runs differ in more than their seed, so no spread is told.\n";
    }
    out
}

fn of_run(run: &RunJudgement) -> String {
    let mut out = format!("\n## {} (seed {})\n", escaped(&run.identity.run), run.identity.seed);
    if !run.identity.same_data {
        out += "\n**The run did not learn from this manifest: it may have seen pictures that it is judged on here.**\n";
    }
    type Level = fn(&MaskJudgement) -> MaskFigures<Option<Estimate>>;
    let levels: [(&str, Level); 3] = [
        ("Per patient", |mask| mask.per_patient),
        ("Per picture", |mask| mask.per_picture),
        ("Pooled", |mask| mask.pooled),
    ];
    for (title, level) in levels {
        let _ = write!(out, "\n### {title}\n\n| mask | pictures (patients) | {HEADS} |\n|{}\n", "---|".repeat(9));
        for mask in &run.masks {
            let patients = mask.patients.len();
            let cells = cells(level(mask), |estimate, digits| estimate_cell(estimate, digits, patients));
            let count = format!("{} ({patients})", mask.pictures);
            out += &row([&mask.mask, &count].into_iter().chain(&cells));
        }
    }
    if let Some(error) = run.involvement_error {
        let patients = run.masks.iter().map(|mask| mask.patients.len()).max().unwrap_or(0);
        let _ = write!(
            out,
            "\nThe infected share of the lungs found differs from the true one by {} percentage points in the mean over \
             pictures.\n",
            estimate_cell(error, 2, patients)
        );
    }
    if !run.volumes.is_empty() {
        out += &per_volume(run);
    }
    out += &false_positives(run);
    let _ = write!(out, "\n### Patients\n\n| mask | patient | pictures | {HEADS} |\n|{}\n", "---|".repeat(10));
    for mask in &run.masks {
        for patient in &mask.patients {
            let cells = cells(patient.figures, |value, digits| format!("{value:.digits$}"));
            let pictures = patient.pictures.to_string();
            out += &row([&mask.mask, &patient.group, &pictures].into_iter().chain(&cells));
        }
    }
    out
}

/// Means over volumes.
fn per_volume(run: &RunJudgement) -> String {
    let mut out = format!("\n### Per volume\n\n| mask | volumes (with HD95) | {HEADS} |\n|{}\n", "---|".repeat(9));
    for mask in &run.masks {
        let position = run.mask_names.iter().position(|name| *name == mask.mask);
        let volumes = position.map_or_else(Vec::new, |position| {
            run.volumes.iter().filter_map(|volume| volume.masks.get(position).copied().flatten()).collect()
        });
        let with_distance = volumes.iter().filter(|volume| volume.hd95_mm.is_some()).count();
        let patients = mask.patients.len();
        let cells = cells(mask.per_volume, |estimate, digits| estimate_cell(estimate, digits, patients));
        let count = format!("{} ({with_distance})", volumes.len());
        out += &row([&mask.mask, &count].into_iter().chain(&cells));
    }
    out
}

/// What was found where there is nothing, and what was not found.
fn false_positives(run: &RunJudgement) -> String {
    let mut out = format!(
        "\n### Nothing to find\n\nArea found on pictures that have none of it. Lungs are those that the net found, with what it \
         took for infected; pictures with less than 1 % of lung have no such share.\n\n\
         | mask | pictures (patients) | mean, % of picture | median, % of picture | share with more than \
         {CLEARLY_FALSE_PERCENT} % | mean, % of lungs | without lungs |\n|{}\n",
        "---|".repeat(7)
    );
    let with_masks = run.masks.iter().map(|mask| (mask.mask.as_str(), mask.false_positives));
    for (name, found) in with_masks.chain([("infection, pictures of class normal", run.negatives)]) {
        let Some(found) = found else {
            let _ = writeln!(out, "| {name} | 0 (0) |{}", " – |".repeat(5));
            continue;
        };
        let cell = |estimate: Option<Estimate>, factor: f64, digits| {
            let times = |Estimate { value, low, high }| Estimate {
                value: factor * value,
                low: factor * low,
                high: factor * high,
            };
            estimate.map_or("–".into(), |estimate| estimate_cell(times(estimate), digits, found.patients))
        };
        let _ = writeln!(
            out,
            "| {name} | {} ({}) | {} | {} | {} % | {} | {} |",
            found.pictures,
            found.patients,
            cell(found.mean_percent, 1.0, 3),
            cell(found.median_percent, 1.0, 3),
            cell(found.clearly_false, 100.0, 1),
            cell(found.mean_percent_of_lungs, 1.0, 2),
            found.without_lungs
        );
    }
    out += "\nMissed: ";
    let missed = run.masks.iter().map(|mask| {
        format!("{} on {} of {} pictures that have some", mask.mask, mask.missed, mask.pictures_with_truth)
    });
    out += &missed.collect::<Vec<_>>().join("; ");
    out += ".\n";
    out
}

/// The figures in the order of their heads; shares with three digits, distances with one.
fn cells<T>(figures: MaskFigures<Option<T>>, cell: impl Fn(T, usize) -> String) -> Vec<String> {
    let digits = [3, 3, 4, 3, 4, 1, 1];
    let pairs = figures.into_array().into_iter().zip(digits);
    pairs.map(|(figure, digits)| figure.map_or("–".into(), |figure| cell(figure, digits))).collect()
}

fn estimate_cell(Estimate { value, low, high }: Estimate, digits: usize, patients: usize) -> String {
    if patients > 1 {
        format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
    } else {
        format!("{value:.digits$}")
    }
}

fn spread_cell(spread: RunSpread, digits: usize) -> String {
    let RunSpread { mean, standard_deviation, min, max, .. } = spread;
    let deviation = standard_deviation.map_or(String::new(), |deviation| format!(" ± {deviation:.digits$}"));
    format!("{mean:.digits$}{deviation} ({min:.digits$} to {max:.digits$})")
}

/// A few lines for the terminal: Dice per patient.
pub fn summary(judgement: &SegmentationJudgement) -> String {
    let mut out = String::new();
    for run in &judgement.runs {
        for mask in &run.masks {
            let patients = mask.patients.len();
            let dice = mask.per_patient.dice.map_or("–".into(), |dice| estimate_cell(dice, 3, patients));
            let _ = writeln!(
                out,
                "{}: {}, Dice per patient {dice}, {} pictures of {patients} patients",
                run.identity.run, mask.mask, mask.pictures
            );
        }
    }
    out.trim_end().to_owned()
}

/// MaskFigures of a row; empty where there is none.
fn numbers(figures: MaskFigures<Option<f64>>) -> impl Iterator<Item = String> {
    figures.into_array().into_iter().map(number)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// One row for each picture and mask whose truth is known.
pub(super) fn pictures(judgement: &SegmentationJudgement) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(vec![]);
    let counts = ["true_positives", "false_positives", "true_negatives", "false_negatives"];
    let head = ["run", "path", "group", "source", "negative", "mask"].into_iter().chain(counts);
    let tail = ["false_positive_percent", "involvement_percent", "true_involvement_percent"];
    table.write_record(head.chain(MaskFigures::<()>::NAMES).chain(tail))?;
    for run in &judgement.runs {
        for picture in &run.pictures {
            for (name, score) in run.mask_names.iter().zip(&picture.masks) {
                let Some(score) = score else { continue };
                let pixels = score.pixels;
                let words = [
                    &run.identity.run,
                    &picture.path,
                    &picture.group,
                    &picture.source,
                    &picture.negative.to_string(),
                    name,
                ];
                let counts =
                    [pixels.true_positives, pixels.false_positives, pixels.true_negatives, pixels.false_negatives];
                let false_percent = score.is_truth_empty().then(|| score.false_positive_percent());
                let [found, truth] = picture.involvement_percent;
                let row = words.into_iter().cloned().chain(counts.map(|count| count.to_string()));
                table.write_record(
                    row.chain(numbers(score.figures())).chain([false_percent, found, truth].map(number)),
                )?;
            }
        }
    }
    Ok(table.into_inner()?)
}

/// One row for each volume and mask whose truth is known.
pub(super) fn volumes(judgement: &SegmentationJudgement) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(vec![]);
    table.write_record(
        ["run", "volume", "group", "source", "slices", "mask"].into_iter().chain(MaskFigures::<()>::NAMES),
    )?;
    for run in &judgement.runs {
        for volume in &run.volumes {
            for (name, mask) in run.mask_names.iter().zip(&volume.masks) {
                let Some(mask) = mask else { continue };
                let slices = volume.slices.to_string();
                let words = [&run.identity.run, &volume.file, &volume.group, &volume.source, &slices, name];
                table.write_record(words.into_iter().cloned().chain(numbers(mask.figures())))?;
            }
        }
    }
    Ok(table.into_inner()?)
}

/// One row for each patient and mask.
pub(super) fn patients(judgement: &SegmentationJudgement) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(vec![]);
    table.write_record(["run", "mask", "group", "pictures"].into_iter().chain(MaskFigures::<()>::NAMES))?;
    for run in &judgement.runs {
        for mask in &run.masks {
            for patient in &mask.patients {
                let words =
                    [run.identity.run.clone(), mask.mask.clone(), patient.group.clone(), patient.pictures.to_string()];
                table.write_record(words.into_iter().chain(numbers(patient.figures)))?;
            }
        }
    }
    Ok(table.into_inner()?)
}
