//! The tables: the paper's layout, and what the paper does not have.

use thorax_nets::source::are_drawn;
use thorax_shared::metrics::Confusion;

use super::{
    document::{Look, Table},
    paper::PaperTable,
};
use crate::{
    classifiers::Kind,
    judge::{
        Estimate,
        classifiers::{Figures, Judged, Judgement, LimitRule, Resample, Spread},
    },
};

/// What stands where there is no figure.
pub(super) const NONE: &str = "–";

/// Below this, two classifiers are said to differ.
const SIGNIFICANT: f64 = 0.05;

pub(super) fn or_none<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(|| NONE.into(), text)
}

/// `93.1`, in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    or_none(share, |share| format!("{:.1}", share * 100.0))
}

/// `0.931`.
fn thousandths(value: Option<f64>) -> String {
    or_none(value, |value| format!("{value:.3}"))
}

/// `93.1 (90.2–95.0)`, in percent.
pub(super) fn percent_interval(estimate: Option<Estimate>) -> String {
    or_none(estimate, |e| format!("{:.1} ({:.1}–{:.1})", e.value * 100.0, e.low * 100.0, e.high * 100.0))
}

/// `0.931 (0.902–0.950)`.
pub(super) fn interval(estimate: Option<Estimate>) -> String {
    or_none(estimate, |e| format!("{:.3} ({:.3}–{:.3})", e.value, e.low, e.high))
}

/// `93.1 ± 1.2`, in percent.
fn percent_spread(spread: Option<Spread>) -> String {
    or_none(spread, |spread| {
        let deviation = spread.standard_deviation.map(|deviation| format!(" ± {:.1}", deviation * 100.0));
        format!("{:.1}{}", spread.mean * 100.0, deviation.unwrap_or_default())
    })
}

/// The row of the ensemble stands out.
fn look(judged: &Judged) -> Look {
    if judged.kind.is_none() { Look::Strong } else { Look::Plain }
}

/// The level of the intervals, in words.
fn level(judgement: &Judgement) -> String {
    format!(
        "{:.0} % interval ({} bootstrap resamples of patients)",
        judgement.settings.level * 100.0,
        judgement.settings.resamples
    )
}

/// Accuracy, F1, recall, precision and specificity beside the paper's.
pub(super) fn as_in_the_paper(judgement: &Judgement, paper: Option<&PaperTable>) -> Table {
    let averaged_over = match judgement.resample {
        Resample::Bootstrap => "the mean probability of all runs".to_owned(),
        Resample::Split => "the mean probability of the runs in which a picture was a test picture".to_owned(),
    };
    let beside = paper.map_or_else(
        || match are_drawn(&judgement.weights) {
            true => {
                "Drawn weights, which have seen no picture before: nothing of the paper stands beside them.".to_owned()
            }
            false => "The paper has no table for these features: it used ResNet50 and InceptionResNetV2.".to_owned(),
        },
        |paper| format!("Paper: its table {}, other pictures and another split, digits rounded.", paper.number),
    );
    let mut caption = format!(
        "In percent, on test pictures. Each run: mean ± standard deviation of {} runs. Averaged: {averaged_over}, {}. {beside}",
        judgement.runs,
        level(judgement)
    );
    if let Some(fewest) = fewest(judgement) {
        let runs = if fewest == 1 { "the first run".to_owned() } else { format!("the first {fewest} runs") };
        caption.push_str(&format!(
            " All classifiers, each run: {runs}, as each of them has; averaged: all that each has."
        ));
    }
    for (kind, not_run) in &judgement.not_run {
        caption.push_str(&format!(" {} did not run: {}.", kind.title(), not_run.reason));
    }
    if judgement.classifiers.iter().any(|judged| judged.by_sign) {
        caption.push_str(BY_SIGN);
    }
    let mut table =
        Table::new(caption, &["Classification", "", "Accuracy", "F1 score", "Recall", "Precision", "Specificity"]);
    for judged in &judgement.classifiers {
        if judged.kind.is_none() {
            not_run(judgement, paper, &mut table);
        }
        let mut name = judged.title();
        let mut look = Look::First;
        if let Some(figures) = paper.zip(judged.kind).and_then(|(paper, kind)| paper.figures(kind)) {
            table.push(Look::Faint, row(name, "paper", &figures.map(|figure| percent(Some(figure / 100.0)))));
            (name, look) = ("", Look::Plain);
        }
        let each = match judged.run_count {
            all if all == judgement.runs => "each run".to_owned(),
            1 => "one run".to_owned(),
            fewer => format!("each of {fewer} runs"),
        };
        table.push(look, row(name, &each, &judged.runs.into_array().map(percent_spread)));
        table.push(Look::Strong, row("", "averaged", &judged.averaged.into_array().map(percent_interval)));
    }
    table
}

/// The runs that every classifier has, where one has fewer than others.
fn fewest(judgement: &Judgement) -> Option<usize> {
    judgement.classifiers.iter().map(|judged| judged.run_count).min().filter(|fewest| *fewest < judgement.runs)
}

/// Rows of the classifiers that could not run, with what to install.
fn not_run(judgement: &Judgement, paper: Option<&PaperTable>, table: &mut Table) {
    for (kind, why) in &judgement.not_run {
        let (mut name, mut look) = (kind.title(), Look::First);
        if let Some(figures) = paper.and_then(|paper| paper.figures(*kind)) {
            table.push(Look::Faint, row(name, "paper", &figures.map(|figure| percent(Some(figure / 100.0)))));
            (name, look) = ("", Look::Plain);
        }
        table.push(look, row(name, &format!("not run: {}", why.install), &[NONE; 5].map(str::to_owned)));
    }
}

/// A row of [`as_in_the_paper`]: accuracy, F1 score, recall, precision and specificity.
fn row(name: &str, of: &str, figures: &[String]) -> Vec<String> {
    [name, of].map(str::to_owned).into_iter().chain(figures.iter().take(5).cloned()).collect()
}

/// Said where support vector machines answer so.
const BY_SIGN: &str = " The SVCs' scores go by the sign of the decision, as scikit-learn's predict does, and averaged by that of most \
     runs; what else is told of them, by their probabilities.";

/// Ranking, calibration and entropy.
pub(super) fn probabilities(judgement: &Judgement) -> Table {
    let caption = format!(
        "The averaged prediction on test pictures. ECE: expected calibration error in 15 bins. Temperature and isotonic \
         calibration are fitted on validation pictures. Entropy: of the mean distribution, in bits, 0 to 1 (equation 2); the \
         part that is disagreement between runs is its mutual information. AUROC of entropy: how well it points out wrong \
         answers, 0.5 is no help. AURC: area under the risk-coverage curve, smaller is better. In brackets: {}.{}",
        level(judgement),
        fewest(judgement).map_or("", |_| " Mutual information grows with the runs that a row has.")
    );
    let head = [
        "Classification",
        "AUC",
        "AUROC of entropy",
        "AURC",
        "ECE as averaged",
        "ECE after temperature",
        "ECE after isotonic",
        "Temperature",
        "Mean entropy",
        "of right answers",
        "of wrong answers",
        "Mutual information",
    ];
    let mut table = Table::new(caption, &head);
    for judged in &judgement.classifiers {
        let (calibration, uncertainty) = (&judged.calibration, &judged.uncertainty);
        table.push(
            look(judged),
            vec![
                judged.title().into(),
                interval(judged.averaged.auc),
                interval(uncertainty.error_auc),
                thousandths(Some(judged.selective.area)),
                thousandths(Some(calibration.before.ece)),
                thousandths(calibration.tempered.as_ref().map(|after| after.ece)),
                thousandths(calibration.isotonic.as_ref().map(|after| after.ece)),
                or_none(calibration.temperature, |temperature| format!("{temperature:.2}")),
                thousandths(Some(uncertainty.mean_bits)),
                thousandths(uncertainty.right_bits),
                thousandths(uncertainty.wrong_bits),
                thousandths(Some(uncertainty.mutual_information_bits)),
            ],
        );
    }
    table
}

/// The uncertainty confusion matrix.
pub(super) fn certainty(judgement: &Judgement) -> Table {
    let caption = "An answer is uncertain from an entropy on that was chosen on validation pictures: the one with the largest sum \
         of uncertainty sensitivity (wrong answers that are uncertain) and uncertainty specificity (right answers that are certain); \
         0.5 bits, marked *, where there is no such limit. Precision: uncertain answers that are wrong. Accuracy: answers that are \
         certain and right, or uncertain and wrong. Few validation errors make a limit of chance.";
    let head = [
        "Classification",
        "Limit, bits",
        "Validation errors",
        "Right, certain",
        "Right, uncertain",
        "Wrong, certain",
        "Wrong, uncertain",
        "Accuracy, %",
        "Sensitivity, %",
        "Specificity, %",
        "Precision, %",
    ];
    let mut table = Table::new(caption, &head);
    for judged in &judgement.classifiers {
        let uncertainty = &judged.uncertainty;
        let count = |of: fn(&Confusion) -> u64| or_none(uncertainty.confusion.as_ref(), |c| of(c).to_string());
        let figure = |of: fn(&Confusion) -> Option<f64>| percent(uncertainty.confusion.as_ref().and_then(of));
        table.push(
            look(judged),
            vec![
                judged.title().into(),
                or_none(uncertainty.limit, |limit| {
                    let mark = if limit.rule == LimitRule::Fallback { "*" } else { "" };
                    format!("{:.3}{mark}", limit.bits)
                }),
                or_none(uncertainty.validation_errors, |errors| errors.to_string()),
                count(|c| c.true_negatives),
                count(|c| c.false_positives),
                count(|c| c.false_negatives),
                count(|c| c.true_positives),
                figure(Confusion::accuracy),
                figure(Confusion::sensitivity),
                figure(Confusion::specificity),
                figure(Confusion::precision),
            ],
        );
    }
    table
}

/// Thresholds and abstaining.
pub(super) fn decisions(judgement: &Judgement) -> Table {
    let settings = judgement.settings;
    let caption = format!(
        "Abstaining: of the limits of entropy with at \
         most {:.0} % wrong answers on validation pictures the one that answers most. Threshold: the largest with a sensitivity of \
         {:.0} % on validation pictures (90 % is WHO's floor for a screening test). Both may miss their target on test pictures; that \
         is what the columns show. In brackets: {}.",
        settings.risk * 100.0,
        settings.sensitivity * 100.0,
        level(judgement)
    );
    let head = [
        "Classification",
        "Abstain above, bits",
        "Answered, validation, %",
        "Answered, %",
        "Wrong of these, %",
        "Threshold",
        "Sensitivity at it, %",
        "Specificity at it, %",
    ];
    let mut table = Table::new(caption, &head);
    for judged in &judgement.classifiers {
        let (abstention, screening) = (judged.selective.abstention, judged.screening);
        table.push(
            look(judged),
            vec![
                judged.title().into(),
                thousandths(abstention.map(|a| a.limit_bits.into())),
                percent(abstention.map(|a| a.validation_coverage)),
                percent(abstention.map(|a| a.coverage)),
                percent(abstention.and_then(|a| a.risk)),
                thousandths(screening.map(|s| s.threshold.into())),
                percent_interval(screening.and_then(|s| s.sensitivity)),
                percent_interval(screening.and_then(|s| s.specificity)),
            ],
        );
    }
    table
}

/// The figures of single sources that exist.
const OF_SOURCES: [&str; 5] = ["Accuracy, %", "Recall, %", "Specificity, %", "F1 score, %", "AUC"];

fn of_source(figures: Figures<Option<Estimate>>) -> [String; 5] {
    [
        percent_interval(figures.accuracy),
        percent_interval(figures.recall),
        percent_interval(figures.specificity),
        percent_interval(figures.f1),
        interval(figures.auc),
    ]
}

/// The average of all classifiers by source.
pub(super) fn sources(judgement: &Judgement) -> Table {
    let caption = format!(
        "All classifiers averaged, on the test pictures of each source, with the {}. A source of one class has neither AUC nor F1 \
         ({NONE}), and a net that knows the source is always right about it.",
        level(judgement)
    );
    let mut head = vec!["Source", "Pictures", "Positive", "Patients"];
    head.extend(OF_SOURCES);
    let mut table = Table::new(caption, &head);
    for source in judgement.classifiers.last().map_or(&[][..], |ensemble| &ensemble.sources) {
        let count = source.count;
        let mut cells = vec![source.source.clone()];
        cells.extend([count.pictures, count.positive, count.patients].map(|n| n.to_string()));
        cells.extend(of_source(source.figures));
        table.push(Look::Plain, cells);
    }
    table
}

/// Accuracy of every classifier on every source.
pub(super) fn accuracy_by_source(judgement: &Judgement) -> Table {
    let mut head = vec!["Source"];
    head.extend(judgement.classifiers.iter().map(Judged::title));
    let mut table = Table::new("Accuracy of the averaged prediction by source, in percent.", &head);
    let sources = judgement.classifiers.first().map_or(&[][..], |first| &first.sources);
    for (number, source) in sources.iter().enumerate() {
        let of = |judged: &Judged| percent(judged.sources[number].figures.accuracy.map(|e| e.value));
        let cells = std::iter::once(source.source.clone()).chain(judgement.classifiers.iter().map(of));
        table.push(Look::Plain, cells.collect());
    }
    table
}

/// A source that was left out, beside the run that learnt from it.
pub(super) struct LeftOut<'a> {
    pub(super) source: &'a str,
    /// All its pictures, none of which was learnt from.
    pub(super) all: &'a Judgement,
    /// Its pictures that are test pictures of the main run, none learnt from.
    pub(super) same: Option<Judgement>,
    /// The run that learnt from its other pictures, by the same classifiers.
    pub(super) main: Option<Judgement>,
}

impl LeftOut<'_> {
    /// The figures of a classifier, or of all of them, on the source's test pictures: learnt from, and left out.
    fn compared(&self, kind: Option<Kind>) -> [Option<Figures<Option<Estimate>>>; 2] {
        let [main, same] = [&self.main, &self.same].map(|judgement| {
            judgement.as_ref().and_then(|judgement| judgement.classifiers.iter().find(|judged| judged.kind == kind))
        });
        let of_source = main.and_then(|judged| judged.sources.iter().find(|found| found.source == self.source));
        [of_source.map(|found| found.figures), same.map(|judged| judged.averaged)]
    }
}

/// All classifiers averaged, with and without a source.
pub(super) fn left_out(found: &[LeftOut]) -> Table {
    let caption = "All classifiers averaged that ran without the source. Learnt from: the run that learnt from other patients of the source, on \
         the source's test pictures. Left out: runs that learnt from no picture of the source, on the same pictures and on all of the source. The \
         difference is what hospital, scanner and file format contribute. In brackets: interval over patients.";
    let mut head = vec!["Source", "", "Pictures", "Positive"];
    head.extend(OF_SOURCES);
    let mut table = Table::new(caption, &head);
    for entry in found {
        let in_main = entry.main.as_ref().and_then(|main| main.classifiers.last());
        let in_main = in_main.and_then(|judged| judged.sources.iter().find(|found| found.source == entry.source));
        let mut row = |look, name: &str, of: &str, count: crate::judge::classifiers::Count, figures| {
            let mut cells =
                vec![name.to_owned(), of.to_owned(), count.pictures.to_string(), count.positive.to_string()];
            cells.extend(of_source(figures));
            table.push(look, cells);
        };
        let mut name = entry.source;
        if let Some(found) = in_main {
            row(Look::Faint, name, "learnt from", found.count, found.figures);
            name = "";
        }
        if let (Some(same), [_, Some(figures)]) = (&entry.same, entry.compared(None)) {
            row(Look::Plain, name, "left out, same pictures", same.test, single_class(same.test, figures));
            name = "";
        }
        if let Some(ensemble) = entry.all.classifiers.last() {
            let look = if name.is_empty() { Look::Strong } else { Look::First };
            row(look, name, "left out, all pictures", entry.all.test, single_class(entry.all.test, ensemble.averaged));
        }
    }
    table
}

/// Without the figures that a single class does not have.
fn single_class(
    count: crate::judge::classifiers::Count,
    figures: Figures<Option<Estimate>>,
) -> Figures<Option<Estimate>> {
    let both = (1..count.pictures).contains(&count.positive);
    let of = |figure: Option<Estimate>| figure.filter(|_| both);
    Figures { f1: of(figures.f1), precision: of(figures.precision), auc: of(figures.auc), ..figures }
}

/// Accuracy of every classifier, with and without a source.
pub(super) fn left_out_by_classifier(found: &[LeftOut]) -> Table {
    let classifiers: Vec<&Judged> = found.first().iter().flat_map(|first| &first.all.classifiers).collect();
    let mut head = vec!["Source"];
    head.extend(classifiers.iter().map(|judged| judged.title()));
    let caption = "Accuracy in percent on the source's test pictures: learnt from other patients of the source → source left out.";
    let mut table = Table::new(caption, &head);
    for entry in found {
        let accuracy =
            |figures: Option<Figures<Option<Estimate>>>| percent(figures.and_then(|f| f.accuracy).map(|e| e.value));
        let cells = classifiers.iter().map(|judged| entry.compared(judged.kind).map(accuracy).join(" → "));
        table.push(Look::Plain, std::iter::once(entry.source.to_owned()).chain(cells).collect());
    }
    table
}

/// McNemar's test of all pairs, as a matrix.
pub(super) fn comparisons(judgement: &Judgement) -> Table {
    let caption = format!(
        "Above the diagonal: p of the exact McNemar test of the averaged predictions on test pictures, corrected for the {} pairs by \
         Holm's method; * below {SIGNIFICANT}. Below it: pictures that only the row's classifier has right : only the column's. \
         The test takes pictures as independent; those of one patient are not, so true p are larger.",
        judgement.comparisons.len()
    );
    let mut head = vec![""];
    head.extend(judgement.classifiers.iter().map(Judged::title));
    let mut table = Table::new(caption, &head);
    for (row, judged) in judgement.classifiers.iter().enumerate() {
        let cell = |column: usize| {
            let found =
                judgement.comparisons.iter().find(|c| (c.first, c.second) == (row.min(column), row.max(column)));
            or_none(found, |comparison| match comparison.corrected_p {
                _ if row > column => format!("{} : {}", comparison.only_second, comparison.only_first),
                p if p < 0.001 => "< 0.001*".into(),
                p if p < SIGNIFICANT => format!("{p:.3}*"),
                p => format!("{p:.3}"),
            })
        };
        let cells = (0..judgement.classifiers.len()).map(cell);
        table.push(Look::Plain, std::iter::once(judged.title().to_owned()).chain(cells).collect());
    }
    table
}
