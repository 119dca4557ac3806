//! What each threshold would do with a site's own patients.
//!
//! WHO asks a site to choose the threshold of computer-aided detection on patients of its own whose truth it knows from a confirming
//! test, and to look at what each threshold finds, misses, sends on and costs (*Determining the local calibration of computer-assisted
//! detection (CAD) thresholds and other parameters: a toolkit*, WHO and TDR, 2021). A [`Row`] has one threshold:
//! whoever is at or above it would be sent to the confirming test, and so is, at every threshold, whom the device refers for another
//! reason than the probability (entropy, novelty, a view that is unknown): no threshold changes that. Pictures that were
//! rejected have no probability and are in no row.
//!
//! Intervals are Wilson's score intervals of 95 % (Wilson 1927, *Probable inference, the law of succession, and statistical inference*,
//! equation for the roots; without continuity correction), which keep within 0 to 1 and mean something for few patients.

use std::{collections::BTreeMap, io::Read};

use thorax_shared::reason::Reason;

/// The 0.975 quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// A file of truth has a line a patient.
const MOST_BYTES: u64 = 64 << 20;

/// A patient whose truth is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// What the bundle said, 0 to 1.
    pub probability: f64,
    /// What the confirming test said.
    pub positive: bool,
    /// The device refers whatever the threshold.
    pub always_sent: bool,
}

/// A share with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The share, 0 to 1.
    pub share: f64,
    /// Lower end of the interval of 95 %.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// `count` of `of`, with Wilson's interval; `None` of nobody.
pub fn wilson(count: u64, of: u64) -> Option<Share> {
    if of == 0 {
        return None;
    }
    let (n, share) = (of as f64, count as f64 / of as f64);
    let spread = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / spread;
    let half = Z / spread * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the root is exact on paper only.
    let low = if count == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if count == of { 1.0 } else { (centre + half).min(1.0) };
    Some(Share { share, low, high })
}

/// What screening and confirming cost, a patient, in the site's money.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// A film and its reading.
    pub screen: f64,
    /// A confirming test.
    pub test: f64,
}

/// What a threshold does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Whoever is at or above it is sent to the confirming test.
    pub threshold: f64,
    /// Sent, and has it.
    pub true_positives: u64,
    /// Sent, and does not have it.
    pub false_positives: u64,
    /// Has it, and is not sent.
    pub false_negatives: u64,
    /// Does not have it, and is not sent.
    pub true_negatives: u64,
}

impl Row {
    /// What `threshold` does with `cases`.
    pub fn new(cases: &[Case], threshold: f64) -> Self {
        let count = |sent: bool, positive: bool| {
            let is =
                |case: &&Case| case.positive == positive && (case.always_sent || case.probability >= threshold) == sent;
            cases.iter().filter(is).count() as u64
        };
        Self {
            threshold,
            true_positives: count(true, true),
            false_positives: count(true, false),
            false_negatives: count(false, true),
            true_negatives: count(false, false),
        }
    }

    /// Everybody.
    pub fn screened(&self) -> u64 {
        self.sent() + self.false_negatives + self.true_negatives
    }

    /// How many are sent to the confirming test.
    pub fn sent(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    /// Share of those who have it that are sent.
    pub fn sensitivity(&self) -> Option<Share> {
        wilson(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Share of those who do not have it that are not sent.
    pub fn specificity(&self) -> Option<Share> {
        wilson(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Share of all that is sent.
    pub fn sent_share(&self) -> f64 {
        self.sent() as f64 / self.screened().max(1) as f64
    }

    /// Yield: cases that are found among a thousand who are screened.
    pub fn found_per_thousand(&self) -> f64 {
        1000.0 * self.true_positives as f64 / self.screened().max(1) as f64
    }

    /// How many are screened for a case that is found; `None` where none is.
    pub fn screened_per_case(&self) -> Option<f64> {
        (self.true_positives > 0).then(|| self.screened() as f64 / self.true_positives as f64)
    }

    /// What a case costs that is found; `None` where none is.
    pub fn cost_per_case(&self, costs: Costs) -> Option<f64> {
        let all = self.screened() as f64 * costs.screen + self.sent() as f64 * costs.test;
        (self.true_positives > 0).then(|| all / self.true_positives as f64)
    }
}

/// By what a line of the truth names a patient's pictures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// The journal's number of the study.
    Record(u64),
    /// The SOP Instance UID of one of its images (0008,0018).
    SopInstance(String),
}

/// The truth, by what it is of: `true` has the disease. Each name stands once.
pub type Truth = BTreeMap<Named, bool>;

/// Reads a table in CSV with a header: `record` (the journal's number of the study) or `sop_instance_uid`, and `truth`, which is
/// `positive` or `negative`. Other columns are passed over.
///
/// # Errors
/// The line and what is wrong with it, such as two lines that contradict each other; nothing is guessed.
pub fn read_truth(file: impl Read) -> Result<Truth, Reason> {
    let form = "give columns `record` or `sop_instance_uid`, and `truth` with `positive` or `negative`";
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file.take(MOST_BYTES));
    let unreadable = |error: csv::Error| Reason::new(format!("no table ({error})"), form);
    let header = reader.headers().map_err(unreadable)?.clone();
    let column =
        |name: &str| header.iter().position(|found| found.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
    let (record, instance) = (column("record"), column("sop_instance_uid"));
    let Some(truth) = column("truth").filter(|_| record.is_some() || instance.is_some()) else {
        return Err(Reason::new(format!("the header is `{}`", header.iter().collect::<Vec<_>>().join(",")), form));
    };
    let mut found = Truth::new();
    for row in reader.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(0, csv::Position::line);
        let wrong = |cause: String| Reason::new(format!("line {line}: {cause}"), form);
        let cell = |column: Option<usize>| column.and_then(|column| row.get(column)).filter(|cell| !cell.is_empty());
        let named = match (cell(record), cell(instance)) {
            (Some(number), _) => {
                Named::Record(number.parse().map_err(|_| wrong(format!("{number:?} is no number of a record")))?)
            }
            (None, Some(uid)) => Named::SopInstance(uid.to_owned()),
            (None, None) => return Err(wrong("neither record nor SOP Instance UID".into())),
        };
        let positive = match cell(Some(truth)) {
            Some(word) if word.eq_ignore_ascii_case("positive") => true,
            Some(word) if word.eq_ignore_ascii_case("negative") => false,
            other => return Err(wrong(format!("the truth is {:?}", other.unwrap_or_default()))),
        };
        if found.insert(named, positive).is_some_and(|before| before != positive) {
            return Err(wrong("says the opposite of a line before it".into()));
        }
    }
    match found.is_empty() {
        true => Err(Reason::new("there is no line behind the header", form)),
        false => Ok(found),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_truth_is_read_or_refused_by_line() {
        let text = "\u{feff}Record, sop_instance_uid,age,Truth\n7,,40,positive\n ,1.2.3,41,Negative\n7,,40,positive\n";
        let expected = [(Named::Record(7), true), (Named::SopInstance("1.2.3".into()), false)];
        assert_eq!(read_truth(text.as_bytes()).unwrap(), expected.into());
        for (text, words) in [
            ("", "the header is ``"),
            ("record\n1\n", "the header is `record`"),
            ("record,truth\n", "no line behind the header"),
            ("record,truth\n1,positive\n1,negative\n", "line 3: says the opposite"),
            ("record,truth\n1,yes\n", "line 2: the truth is \"yes\""),
            ("record,truth\n,positive\n", "line 2: neither record"),
            ("record,truth\n-1,positive\n", "line 2: \"-1\" is no number"),
            ("record,truth\n1,positive,2\n", "no table"),
        ] {
            let told = read_truth(text.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains("`positive` or `negative`"), "{text:?}: {told}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(bytes: Vec<u8>, rows in "record,truth\n([0-9]{0,3},[positvenga]{0,8}\n){0,4}") {
            let _ = read_truth(&bytes[..]);
            let _ = read_truth(rows.as_bytes());
        }

        #[test]
        fn a_higher_threshold_sends_no_more_and_misses_no_fewer(
            cases in prop::collection::vec((0f64..=1.0, any::<bool>(), any::<bool>()), 0..40), low in 0f64..=1.0, more in 0f64..=1.0,
        ) {
            let case = |(probability, positive, always_sent)| Case { probability, positive, always_sent };
            let cases: Vec<Case> = cases.into_iter().map(case).collect();
            let (lower, higher) = (Row::new(&cases, low), Row::new(&cases, low + more));
            prop_assert_eq!(lower.screened(), cases.len() as u64);
            prop_assert!(higher.sent() <= lower.sent() && higher.false_negatives >= lower.false_negatives);
            for share in [lower.sensitivity(), lower.specificity()].into_iter().flatten() {
                prop_assert!(0.0 <= share.low && share.low <= share.share && share.share <= share.high && share.high <= 1.0);
            }
        }
    }
}
