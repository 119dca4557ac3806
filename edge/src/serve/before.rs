//! Results of before the start, for the panel: what the journal keeps of them.
//!
//! The masks and maps of a result are not kept, and a picture only where the page for the tablet has one; the figures are. Nothing is
//! read anew: another bundle may run by now, and would say something else.

use image::{ImageFormat, load_from_memory_with_format};
use serde::Deserialize;
use thorax_journal::{Journal, Kind, Result, StudyResult, StudyState, Summary, Thresholds};
use thorax_objects::Source;
use thorax_screen::{Keys, ResultScreen, operator::ResultLine};
use thorax_shared::{
    lungs::Involvement,
    modality::Modality,
    plane::Plane,
    reason::Reason,
    verdict::{ReferReason, RejectReason, Verdict},
    words::Language,
};

use super::reading::OUTCOME;

/// The last `count` results, the newest first.
///
/// # Errors
/// What the journal says.
pub(super) fn lines(journal: &Journal, count: usize) -> Result<Vec<ResultLine>> {
    let today = day(&journal.now().utc());
    let mut lines = vec![];
    for (study, of) in journal.latest_studies(count)? {
        let StudyState::Finished { .. } = of.state else { continue };
        let Some(StudyResult { summary, .. }) = journal.result(study)? else { continue };
        let Some(verdict) = verdict(&summary) else { continue };
        let modality = summary.modality.as_deref().and_then(|modality| modality.parse().ok());
        lines.push(ResultLine {
            study,
            verdict,
            modality,
            patient_id: patient_id(journal, study)?,
            received: received(&of.opened.utc(), &today),
            has_heat: false,
            is_old: true,
        });
    }
    Ok(lines)
}

/// The patient's number, as the study's first file has it; empty where none tells it.
fn patient_id(journal: &Journal, study: u64) -> Result<String> {
    let first = journal.objects_of(study)?.into_iter().next().map(|(_, object)| object);
    let dicom = first.filter(|object| matches!(object.what.kind, Kind::Dicom { .. }));
    let source = dicom.and_then(|object| Source::open(&journal.path_of(&object.sha256)).ok());
    Ok(source.map_or_else(String::new, |source| source.patient().id))
}

/// When a study came, hour and minute; with month and day before them where it was not `today`.
fn received(utc: &str, today: &str) -> String {
    // Of `2026-11-29T08:31:07Z`.
    let time = utc.get(11..16).unwrap_or_default();
    let date = utc.get(5..10).filter(|_| day(utc) != today);
    date.into_iter().chain([time]).collect::<Vec<_>>().join(" ")
}

fn day(utc: &str) -> String {
    utc.get(..10).unwrap_or_default().to_owned()
}

/// What was said of a study: `Some(None)` where its images could not be read, `None` where the words are none of ours.
fn verdict(summary: &Summary) -> Option<Option<Verdict>> {
    // Behind the cause may stand what else was not read.
    let told = |verdict: Verdict| {
        let (told, reason) = (summary.cause.as_deref().unwrap_or_default(), verdict.reason());
        reason.is_some_and(|reason| told == reason.cause || told.starts_with(&format!("{}; ", reason.cause)))
    };
    match &*summary.verdict {
        "positive" => Some(Some(Verdict::Positive)),
        "negative" => Some(Some(Verdict::Negative)),
        "refer" => ReferReason::ALL.map(Verdict::Refer).into_iter().find(|verdict| told(*verdict)).map(Some),
        "rejected" => Some(RejectReason::ALL.map(Verdict::Rejected).into_iter().find(|verdict| told(*verdict))),
        _ => None,
    }
}

/// A reading, as `outcome.json` has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reading {
    verdict: String,
    modality: Option<Modality>,
    disease: Option<String>,
    probability: Option<f32>,
    entropy_bits: Option<f32>,
    involvement_percent: Option<f32>,
    involvement_left_percent: Option<f32>,
    involvement_right_percent: Option<f32>,
    bundle: Option<String>,
    results: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Readings {
    readings: Vec<Reading>,
}

/// What is kept of a result.
pub(super) struct Kept {
    /// `None` where its images could not be read.
    pub(super) verdict: Option<Verdict>,
    /// Why they could not.
    pub(super) reason: Reason,
    /// The patient's number; empty where no file tells it.
    pub(super) patient_id: String,
    reading: Reading,
    thresholds: Option<Thresholds>,
    /// Without columns where none is kept.
    picture: Plane<u8>,
}

impl Kept {
    /// Of this study; `None` where it has no result any more.
    ///
    /// # Errors
    /// What the journal says.
    pub(super) fn read(journal: &Journal, study: u64) -> Result<Option<Self>> {
        let Some(StudyResult { summary, files, .. }) = journal.result(study)? else { return Ok(None) };
        let Some(verdict) = verdict(&summary) else { return Ok(None) };
        let file = |label: &str| {
            let kept = files.iter().find(|file| file.label == label);
            kept.map(|file| journal.read_file(&file.sha256)).transpose()
        };
        // It is our own, so what cannot be read is damaged, and told by `thorax-edge journal verify`.
        let readings =
            file(OUTCOME)?.map_or_else(Readings::default, |json| serde_json::from_slice(&json).unwrap_or_default());
        let reading =
            readings.readings.into_iter().find(|reading| reading.verdict == summary.verdict).unwrap_or_default();
        let label = reading.results.iter().find(|label| label.starts_with("picture"));
        let png = label.map(|label| file(label)).transpose()?.flatten();
        let picture = png.and_then(|png| {
            let picture = load_from_memory_with_format(&png, ImageFormat::Png).ok()?.into_luma8();
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            Plane::new(width, height, picture.into_raw()).ok()
        });
        let mut reason = Reason::without_remedy(summary.cause.unwrap_or_default());
        reason.remedy = summary.remedy.map(Into::into);
        Ok(Some(Self {
            verdict,
            reason,
            patient_id: patient_id(journal, study)?,
            reading,
            thresholds: summary.thresholds,
            picture: picture.unwrap_or_else(|| Plane::filled(0, 0, 0)),
        }))
    }

    /// The panel's page of a result with this verdict.
    pub(super) fn screen<'a>(
        &'a self,
        verdict: Verdict,
        name: &'a str,
        language: Language,
        keys: Keys,
    ) -> ResultScreen<'a> {
        let Reading { involvement_left_percent: left_percent, involvement_right_percent: right_percent, .. } =
            self.reading;
        ResultScreen {
            language,
            picture: &self.picture,
            infection: None,
            lungs: None,
            verdict,
            modality: self.reading.modality,
            // Older versions kept none where it was COVID-19.
            disease: self.reading.disease.as_deref().unwrap_or("COVID-19"),
            probability: self.reading.probability,
            entropy_bits: self.reading.entropy_bits,
            involvement: self.reading.involvement_percent.map(|percent| Involvement {
                percent,
                left_percent,
                right_percent,
            }),
            name,
            bundle: self.reading.bundle.as_deref().unwrap_or_default(),
            thresholds: self.thresholds.map(|set| [set.negative_at as f32, set.positive_at as f32]),
            thresholds_set: self.thresholds.is_some_and(|set| set.of_site),
            keys,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_comes_back_from_the_words_that_are_kept() {
        let refer = ReferReason::ALL.map(Verdict::Refer);
        let rejected = RejectReason::ALL.map(Verdict::Rejected);
        for said in [Verdict::Positive, Verdict::Negative].into_iter().chain(refer).chain(rejected) {
            let cause = said.reason().map(|reason| reason.cause.into_owned());
            let mut summary = Summary { verdict: said.as_str().into(), cause, ..Summary::default() };
            assert_eq!(verdict(&summary), Some(Some(said)));
            if let Some(cause) = &mut summary.cause {
                cause.push_str("; 1 of 3 images not read");
                assert_eq!(verdict(&summary), Some(Some(said)));
            }
        }
        let of = |said: &str| Summary { verdict: said.into(), cause: Some("cut short".into()), ..Summary::default() };
        assert_eq!((verdict(&of("rejected")), verdict(&of("refer")), verdict(&of("?"))), (Some(None), None, None));
    }

    #[test]
    fn a_result_of_the_journal_is_shown_as_it_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let settings = thorax_journal::Settings { quiet_seconds: 0, reserve_bytes: 0, ..Default::default() };
        let journal = Journal::open(folder.path(), settings).unwrap();
        let mut writer = journal.begin_object().unwrap();
        writer.write(b"a picture").unwrap();
        let source = thorax_journal::Source::Folder { folder: "in".into(), file: "x".into() };
        writer.commit(thorax_journal::ReceivedObject { kind: Kind::Picture, source }).unwrap();
        let study = journal.take().unwrap().unwrap().number;
        assert_eq!(lines(&journal, 5).unwrap(), [], "it is being read");
        let reason = ReferReason::HighEntropy.reason().cause.into_owned();
        let summary = Summary {
            verdict: "refer".into(),
            cause: Some(format!("{reason}; 1 of 2 images not read")),
            ..Summary::default()
        };
        let readings = serde_json::json!({ "readings": [
            { "verdict": "rejected", "cause": "too dark" },
            { "verdict": "refer", "modality": "ct", "probability": 0.4, "entropy_bits": 0.97, "involvement_percent": 12.5,
              "involvement_left_percent": 20.0, "bundle": "thorax-ct 0.2.0", "disease": "tuberculosis", "results": ["panel-2.png", "picture-2.png"] },
        ] });
        let readings = readings.to_string().into_bytes();
        let mut png = std::io::Cursor::new(vec![]);
        image::GrayImage::from_pixel(3, 2, image::Luma([77])).write_to(&mut png, ImageFormat::Png).unwrap();
        let files: [(&str, &[u8]); 2] = [(OUTCOME, &readings), ("picture-2.png", png.get_ref())];
        journal.finish(study, summary, &files, &[]).unwrap();

        let verdict = Verdict::Refer(ReferReason::HighEntropy);
        let found = lines(&journal, 5).unwrap();
        assert_eq!((found.len(), found[0].study, found[0].verdict, found[0].is_old), (1, study, Some(verdict), true));
        let kept = Kept::read(&journal, study).unwrap().unwrap();
        assert_eq!((kept.verdict, &*kept.patient_id), (Some(verdict), ""));
        let screen = kept.screen(verdict, "Study 1", Language::English, Keys::NONE);
        assert_eq!(
            (screen.probability, screen.entropy_bits, screen.bundle, screen.disease),
            (Some(0.4), Some(0.97), "thorax-ct 0.2.0", "tuberculosis")
        );
        let sides = Involvement { percent: 12.5, left_percent: Some(20.0), right_percent: None };
        assert_eq!((screen.modality, screen.involvement), (Some(Modality::Ct), Some(sides)));
        assert_eq!((screen.picture.width(), screen.picture.height(), screen.picture.get(2, 1)), (3, 2, 77));
        assert!(Kept::read(&journal, study + 1).unwrap().is_none());
    }

    #[test]
    fn of_another_day_the_date_is_told() {
        assert_eq!(received("2026-11-29T08:31:07Z", "2026-11-29"), "08:31");
        assert_eq!(received("2026-11-28T08:31:07Z", "2026-11-29"), "11-28 08:31");
        assert_eq!(received("", "2026-11-29"), "");
    }
}
