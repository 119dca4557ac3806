//! All that is known of a study, put together from the journal for those who look at it.

use serde::Deserialize;
use thorax_journal::{Delivery, Feedback, Journal, Kind, Object, Result, Source, Study, StudyResult};
use thorax_objects::Patient;

/// The result for programs, among the files of a result.
const OUTCOME: &str = "outcome.json";

/// A study.
pub(crate) struct Facts {
    pub(crate) number: u64,
    pub(crate) study: Study,
    pub(crate) result: Option<StudyResult>,
    pub(crate) who: Who,
    /// What was read in it; empty where nothing was.
    pub(crate) readings: Vec<Reading>,
    pub(crate) deliveries: Vec<(u64, Delivery)>,
    pub(crate) feedback: Vec<(u64, Feedback)>,
}

/// Whom or what a study is of, as its first image tells. It comes from outside, and may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Who {
    Patient(Patient),
    File(String),
    #[default]
    Unknown,
}

impl Who {
    pub(crate) fn of(journal: &Journal, objects: &[(u64, Object)]) -> Self {
        let Some((_, first)) = objects.first() else { return Self::Unknown };
        match (&first.what.kind, &first.what.source) {
            (Kind::Dicom { .. }, _) => thorax_objects::Source::open(&journal.path_of(&first.sha256))
                .map(|source| Self::Patient(source.patient()))
                .unwrap_or_default(),
            (Kind::Picture, Source::Folder { file, .. }) => Self::File(file.clone()),
            (Kind::Picture, Source::Association { .. }) => Self::Unknown,
        }
    }

    /// In a line.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Patient(patient) => {
                let parts = [patient.name.as_str(), patient.id.as_str()];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
            }
            Self::File(name) => name.clone(),
            Self::Unknown => String::new(),
        }
    }
}

/// An image or series that was read, as `outcome.json` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reading {
    pub(crate) verdict: String,
    pub(crate) modality: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) remedy: Option<String>,
    pub(crate) probability: Option<f64>,
    pub(crate) entropy_bits: Option<f64>,
    pub(crate) involvement_left_percent: Option<f64>,
    pub(crate) involvement_right_percent: Option<f64>,
    pub(crate) quality: Option<f64>,
    pub(crate) bundle: Option<String>,
    pub(crate) notes: Vec<String>,
    /// Labels of files of the result.
    results: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome {
    readings: Vec<Reading>,
}

impl Reading {
    /// The label of the file that is this reading's `what`, such as `picture`.
    pub(crate) fn label(&self, what: &str) -> Option<&str> {
        let is = |label: &&String| label.split(['-', '.']).next() == Some(what);
        self.results.iter().find(is).map(String::as_str)
    }
}

impl Facts {
    /// Of the study with this number.
    ///
    /// # Errors
    /// What the journal says.
    pub(crate) fn gather(journal: &Journal, number: u64) -> Result<Self> {
        let study = journal.study(number)?;
        let result = journal.result(number)?;
        let outcome = result.as_ref().and_then(|result| result.files.iter().find(|file| file.label == OUTCOME));
        let readings = match outcome {
            // It is our own, so what cannot be read is damaged, and told by `thorax-edge journal verify`.
            Some(file) => {
                serde_json::from_slice::<Outcome>(&journal.read_file(&file.sha256)?).unwrap_or_default().readings
            }
            None => vec![],
        };
        Ok(Self {
            number,
            study,
            result,
            who: Who::of(journal, &journal.objects_of(number)?),
            readings,
            deliveries: journal.deliveries_of(number)?,
            feedback: journal.feedback_of(number)?,
        })
    }

    /// The place of a file of the result, by its label.
    pub(crate) fn place(&self, label: &str) -> Option<usize> {
        self.result.as_ref()?.files.iter().position(|file| file.label == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_knows_its_own_files() {
        let results = ["panel-2.png", "picture-2.png", "sr-2.dcm"].map(String::from).to_vec();
        let reading = Reading { results, ..Reading::default() };
        assert_eq!(
            (reading.label("picture"), reading.label("pict"), reading.label("seg")),
            (Some("picture-2.png"), None, None)
        );
    }

    #[test]
    fn who_it_is_fits_a_line() {
        let patient = Patient { name: "Doe Jane".into(), id: "7".into(), birth_date: String::new() };
        assert_eq!(Who::Patient(patient).line(), "Doe Jane, 7");
        assert_eq!(Who::Patient(Patient::default()).line(), "");
    }
}
