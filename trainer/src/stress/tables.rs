//! What was found as tables: for the card and the page, and a line a picture and change for other programs.

use std::fmt::Write as _;

use super::{Figures, KEPT_AT_LEAST, Stress, Trial, figures::LEVEL};
use crate::{
    data::Split,
    judge::Estimate,
    report::document::{Look, Table},
};

/// What stands where there is no figure.
const NONE: &str = "–";

/// Columns of [`Stress::to_csv`].
const COLUMNS: [&str; 8] = ["path", "source", "label", "change", "strength", "verdict", "probability", "entropy_bits"];

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.into(), |value| format!("{value:.3}"))
}

fn interval(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(|| NONE.into(), |e| format!("{:.3} ({:.3}–{:.3})", e.value, e.low, e.high))
}

fn value(estimate: Option<Estimate>) -> Option<f64> {
    estimate.map(|estimate| estimate.value)
}

impl Stress {
    /// The figures that stand in a table, without the unchanged pictures': those of harmful or of harmless changes.
    fn shown(&self, harmful: bool) -> Vec<&Figures> {
        let changed = |trial: &Trial| trial.change.is_some() && trial.shown && trial.harmful == harmful;
        self.figures.iter().filter(|figures| changed(&figures.trial)).collect()
    }

    /// The unchanged pictures, and the harmless changes, worst first.
    pub(super) fn harmless(&self) -> Table {
        let caption = format!(
            "Harmless changes, least kept first. Kept: share of pictures with the same verdict (positive, negative, refer, rejected) as \
             unchanged; beside it the same of those that were answered (positive, negative) unchanged. AUC: of all pictures that were \
             read, answered or referred. AUC lost: unchanged less changed, of the pictures that were read both times. Change: mean \
             absolute change of the probability, of the same. Answered, referred and refused are shares of all pictures. Intervals: \
             {:.0} %, bootstrap over patients.",
            LEVEL * 100.0
        );
        let head = [
            "Change",
            "Kept",
            "Kept of answered",
            "AUC",
            "AUC lost",
            "Change of probability",
            "Answered",
            "Referred",
            "Refused",
            "Infection Dice, pooled",
        ];
        let mut table = Table::new(caption, &head);
        let mut shown = self.shown(false);
        shown.sort_by(|a, b| Figures::worst_first(a, b));
        for figures in self.figures.iter().take(1).chain(shown) {
            let unchanged = figures.trial.change.is_none();
            let of_change = |cell: String| if unchanged { NONE.into() } else { cell };
            let look = match (unchanged, figures.survived()) {
                (true, _) => Look::Faint,
                (false, true) => Look::Plain,
                (false, false) => Look::Strong,
            };
            let cells = vec![
                figures.trial.title(),
                of_change(interval(figures.kept)),
                of_change(number(value(figures.kept_of_answered))),
                interval(figures.auc),
                of_change(number(value(figures.auc_lost))),
                of_change(number(figures.probability_change)),
                number(figures.answered),
                number(figures.referred),
                number(figures.refused),
                number(value(figures.dice)),
            ];
            table.push(look, cells);
        }
        table
    }

    /// The harmful changes, worst first; `None` where none was tried.
    pub(super) fn harmful(&self) -> Option<Table> {
        let caption = "Harmful changes, least put right or refused first. Put right: what was read is the picture as it was before the \
             change. Referred: a person has to look. Answered: positive or negative, of a picture that was put right or of one that was \
             not.";
        let head = [
            "Change",
            "Put right or refused",
            "Put right",
            "Refused",
            "Referred",
            "Answered",
            "AUC",
            "Infection Dice, pooled",
        ];
        let mut table = Table::new(caption, &head);
        let mut shown = self.shown(true);
        shown.sort_by(|a, b| Figures::most_harmful_first(a, b));
        for figures in &shown {
            let cells = vec![
                figures.trial.title(),
                interval(figures.put_right_or_refused),
                number(figures.put_right),
                number(figures.refused),
                number(figures.referred),
                number(figures.answered),
                number(value(figures.auc)),
                number(value(figures.dice)),
            ];
            table.push(Look::Plain, cells);
        }
        (!shown.is_empty()).then_some(table)
    }

    /// Which pictures were tried.
    pub(super) fn told(&self) -> String {
        let drawn = if self.sampled { "a sample, drawn from a seed, of both classes and all sources" } else { "all" };
        let masked = match self.masked {
            0 => String::new(),
            masked => format!(", and {masked} with masks of the infection, moved as the picture was"),
        };
        format!(
            "Each picture of the {} split ({drawn}: {} with a label, {} of them positive, of {} patients{masked}) was changed as files are \
             changed on their way, and read by the device's own code.",
            self.split.as_str(),
            self.pictures,
            self.positive,
            self.patients
        )
    }

    /// Whether the bundle survives, in a sentence.
    pub fn judged(&self) -> String {
        let tried = self.shown(false).len();
        let fallen = self.not_survived();
        let answered = self.figures.first().and_then(|unchanged| unchanged.answered).unwrap_or_default();
        let mut answers = format!("Unchanged, {:.0} % of the pictures are answered", answered * 100.0);
        // What refers everything keeps everything.
        let of_answered =
            self.shown(false).iter().filter_map(|figures| value(figures.kept_of_answered)).reduce(f64::min);
        if let Some(least) = of_answered {
            let _ = write!(answers, ", and the worst harmless change keeps {:.0} % of these answers", least * 100.0);
        }
        answers.push('.');
        match fallen.first() {
            None => format!(
                "After each of {tried} harmless changes at least {:.0} % of the verdicts are the same. {answers}",
                KEPT_AT_LEAST * 100.0
            ),
            Some(worst) => format!(
                "After {} of {tried} harmless changes fewer than {:.0} % of the verdicts are the same; worst is \"{}\" with {:.0} %. {answers}",
                fallen.len(),
                KEPT_AT_LEAST * 100.0,
                worst.trial.title(),
                value(worst.kept).unwrap_or_default() * 100.0
            ),
        }
    }

    /// After which harmful change the most pictures get an answer although they were not put right, in a sentence; `None` where none was tried.
    pub fn judged_harmful(&self) -> Option<String> {
        let misread = |figures: &Figures| figures.misread.unwrap_or_default();
        let worst = self.shown(true).into_iter().max_by(|a, b| misread(a).total_cmp(&misread(b)))?;
        Some(format!(
            "Of harmful changes the worst is \"{}\": {:.0} % of the pictures get an answer although they were neither put right nor refused.",
            worst.trial.title(),
            misread(worst) * 100.0
        ))
    }

    /// What the worst change leaves, for a message: `JPEG 40 0.57, blur 1 0.47`, of the first few.
    pub fn worst(&self) -> String {
        let fallen = self.not_survived();
        let first = fallen.iter().take(5);
        let mut worst: Vec<String> =
            first.map(|figures| format!("{} {}", figures.trial.title(), number(value(figures.kept)))).collect();
        if fallen.len() > worst.len() {
            worst.push(format!("and {} more", fallen.len() - worst.len()));
        }
        worst.join(", ")
    }

    /// The section of a card: what was tried, whether it survives, and the tables. The heading is the caller's.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("{} {}\n", self.told(), self.judged());
        for table in std::iter::once(self.harmless()).chain(self.harmful()) {
            let _ = write!(out, "\n{}\n{}\n", table.to_markdown(), table.caption);
        }
        out
    }

    /// All figures, for other programs.
    ///
    /// # Errors
    /// None that are known of.
    pub fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// A line a picture and change.
    ///
    /// # Errors
    /// None that are known of.
    pub fn to_csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(vec![]);
        table.write_record(COLUMNS)?;
        for (figures, seen) in self.figures.iter().zip(&self.seen) {
            let Trial { name, strength, .. } = &figures.trial;
            for (picture, seen) in self.tried.iter().zip(seen) {
                let label = if picture.positive { "positive" } else { "negative" };
                let [probability, entropy] =
                    seen.evidence.map_or_else(Default::default, |evidence| evidence.map(|number| number.to_string()));
                let line: [&str; 8] = [
                    &picture.path,
                    &picture.source,
                    label,
                    name,
                    strength,
                    seen.verdict.as_str(),
                    &probability,
                    &entropy,
                ];
                table.write_record(line)?;
            }
        }
        Ok(table.into_inner()?)
    }

    /// Whether what is written here was learnt from the test split.
    pub(super) fn is_test(&self) -> bool {
        self.split == Split::Test
    }
}
