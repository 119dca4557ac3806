//! What is told of each file: a line of a table, a JSON object, or a screen of the panel.

use std::{path::Path, time::Duration};

use serde::Serialize;
use thorax_decode::Input;
use thorax_engine::screening::Screening;
use thorax_journal::Thresholds;
use thorax_screen::{HeatScreen, Keys, MessageScreen, Overlaid, ResultScreen, Tone};
use thorax_shared::{
    bundle::Disease,
    modality::Modality,
    reason::Reason,
    verdict::Verdict,
    words::{self, Language, Word, percent},
};

use crate::outcome::{Cost, Outcome};

/// What the panel shows of a file that was read, in English and without keys, under the name `name`; `bundle` is the bundle's title, and
/// `thresholds` are those that it was decided by, where they are to be shown.
pub fn panel<'a>(
    screening: &'a Screening,
    name: &'a str,
    bundle: &'a str,
    thresholds: Option<Thresholds>,
) -> ResultScreen<'a> {
    let shown = &screening.shown;
    let masks = shown.masks.as_ref();
    ResultScreen {
        language: Language::English,
        picture: &shown.picture,
        infection: masks.map(|masks| &masks.infection),
        lungs: masks.map(|masks| [&masks.left_lung, &masks.right_lung]),
        verdict: screening.verdict,
        modality: Some(screening.bundle.modality),
        disease: &screening.bundle.disease.words,
        probability: screening.evidence.map(|evidence| evidence.probability),
        thresholds: thresholds.map(|set| [set.negative_at as f32, set.positive_at as f32]),
        thresholds_set: thresholds.is_some_and(|set| set.of_site),
        entropy_bits: screening.evidence.map(|evidence| evidence.entropy_bits),
        involvement: screening.involvement,
        name,
        bundle,
        keys: Keys::NONE,
    }
}

/// Where the models looked in the picture of `result`; `None` where nobody can say, or the picture was rejected.
pub fn heat<'a>(screening: &'a Screening, result: ResultScreen<'a>) -> Option<HeatScreen<'a>> {
    let told = !matches!(screening.verdict, Verdict::Rejected(_));
    let heat = screening.shown.heat.as_ref().filter(|_| told)?;
    Some(HeatScreen { result, heat })
}

/// The picture that was read, and what may be laid over it. Over a picture that was rejected lies nothing.
pub fn layers(screening: &Screening) -> Overlaid<'_> {
    let shown = &screening.shown;
    let told = !matches!(screening.verdict, Verdict::Rejected(_));
    let masks = shown.masks.as_ref().filter(|_| told);
    Overlaid {
        picture: &shown.picture,
        heat: shown.heat.as_ref().filter(|_| told),
        infection: masks.map(|masks| &masks.infection),
        lungs: masks.map(|masks| [&masks.left_lung, &masks.right_lung]),
    }
}

/// What the panel shows of a file that could not be read, under the name `name`: in plain words, where the reason is among those of
/// [`words`], else what to do with any such file. What only a parser says, `reason` in one sentence, is for a technician then.
pub fn refusal<'a>(reason: &'a Reason, detail: &'a str, name: &'a str, language: Language) -> MessageScreen<'a> {
    let said = |english: &'a str| words::reason(language, english);
    let plain = said(&reason.cause).map(|cause| (cause, reason.remedy.as_deref().and_then(said)));
    let (text, remedy) =
        plain.unwrap_or_else(|| (language.word(Word::FileUnusable), Some(language.word(Word::DoSendAgain))));
    MessageScreen {
        language,
        tone: Tone::Rejected,
        title: Word::Rejected,
        name,
        text,
        remedy,
        detail: if plain.is_some() { "" } else { detail },
        keys: Keys::NONE,
    }
}

/// What is told of one file. In JSON an object a line, with these fields.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The file, as it was named; of a series, that of its lowest slice.
    pub file: String,
    /// How many files a series was put together from; null for a single file.
    pub files: Option<usize>,
    /// `xray` or `ct`; null when the file could not be read.
    pub modality: Option<Modality>,
    /// `positive`, `negative`, `refer` or `rejected`.
    pub verdict: &'static str,
    /// What *positive* means, in the bundle's words; null when the file could not be read.
    pub disease: Option<String>,
    /// Its code; null when the file could not be read.
    pub disease_code: Option<DiseaseCode>,
    /// Calibrated probability of it; null when rejected.
    pub probability: Option<f32>,
    /// Entropy of the ensemble's mean distribution in bits; null when rejected.
    pub entropy_bits: Option<f32>,
    /// Infected share of the lungs in percent; null when rejected or when no lung was found.
    pub involvement_percent: Option<f32>,
    /// Infected share of the patient's left lung; null when rejected or when hardly any of it was found.
    pub involvement_left_percent: Option<f32>,
    /// Infected share of the patient's right lung; null when rejected or when hardly any of it was found.
    pub involvement_right_percent: Option<f32>,
    /// Why it is referred or rejected, in one sentence of `cause` and `remedy`; null otherwise.
    pub reason: Option<String>,
    /// What is the matter, where it is referred or rejected.
    pub cause: Option<String>,
    /// What to do about it; null where there is nothing to do.
    pub remedy: Option<String>,
    /// What is to be told of how a volume was put together; it changes no verdict.
    pub notes: Vec<String>,
    /// Name and version of the bundle; null when the file could not be read.
    pub bundle: Option<String>,
    /// Distance to the training pictures; about 1 is familiar.
    pub novelty: Option<f32>,
    /// Quality of the picture, 0 to 1.
    pub quality: Option<f32>,
    /// Slices read of a volume; null for an image.
    pub slices: Option<usize>,
    /// Slice shown of a volume, counted from 0 as the file does; null for an image.
    pub shown_slice: Option<usize>,
    /// Time spent, by stage.
    pub milliseconds: Milliseconds,
    /// Most memory the program has used so far, in MiB; null where the system does not say.
    pub peak_memory_mib: Option<f32>,
    /// Always true.
    pub research_use_only: bool,
}

/// A disease in a coding scheme.
#[derive(Clone, Debug, Serialize)]
pub struct DiseaseCode {
    /// The scheme's designator: `SCT` for SNOMED CT.
    pub scheme: String,
    /// The code in it.
    pub code: String,
    /// What the code means.
    pub meaning: String,
}

/// Time spent in each stage (of a volume, on the slice shown).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Milliseconds {
    /// Reading and decoding the file.
    pub decode: f64,
    /// Quality check, window, CLAHE, crop, resize.
    pub preprocess: f64,
    /// Backbone, heads, novelty.
    pub classify: f64,
    /// Segmentation.
    pub segment: f64,
    /// Entropy, decision, heat map.
    pub decide: f64,
}

impl Milliseconds {
    /// Of what was spent on a file.
    pub fn of(cost: &Cost) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let stages = &cost.stages;
        Self {
            decode: ms(cost.decode),
            preprocess: ms(stages.preprocess),
            classify: ms(stages.classify),
            segment: ms(stages.segment),
            decide: ms(stages.decide),
        }
    }
}

impl Row {
    /// The row of an input.
    pub fn new(input: &Input, outcome: &Outcome, cost: &Cost) -> Self {
        let row = match outcome {
            Outcome::Screened(screening) => Self::screened(input.path(), screening, cost),
            Outcome::Refused(reason) => Self { notes: input.notes().to_vec(), ..Self::refused(input.path(), reason) },
        };
        Self { files: input.slices(), ..row }
    }

    fn screened(file: &Path, screening: &Screening, cost: &Cost) -> Self {
        let told = screening.evidence.filter(|_| !matches!(screening.verdict, Verdict::Rejected(_)));
        let involvement = told.and(screening.involvement);
        let why = screening.verdict.reason();
        let Disease { words, scheme, code, meaning } = &screening.bundle.disease;
        let [scheme, code, meaning] = [scheme, code, meaning].map(ToString::to_string);
        Self {
            file: file.display().to_string(),
            files: None,
            modality: Some(screening.bundle.modality),
            verdict: screening.verdict.as_str(),
            disease: Some(words.to_string()),
            disease_code: Some(DiseaseCode { scheme, code, meaning }),
            probability: told.map(|e| e.probability),
            entropy_bits: told.map(|e| e.entropy_bits),
            involvement_percent: involvement.map(|i| i.percent),
            involvement_left_percent: involvement.and_then(|i| i.left_percent),
            involvement_right_percent: involvement.and_then(|i| i.right_percent),
            reason: why.as_ref().map(Reason::to_string),
            cause: why.as_ref().map(|why| why.cause.to_string()),
            remedy: why.and_then(|why| why.remedy).map(|remedy| remedy.into_owned()),
            notes: screening.notes.clone(),
            bundle: Some(screening.bundle.title()),
            novelty: screening.evidence.map(|e| e.novelty),
            quality: Some(screening.shown.quality.score),
            slices: screening.slices.map(|slices| slices.read),
            shown_slice: screening.slices.map(|slices| slices.shown),
            milliseconds: Milliseconds::of(cost),
            peak_memory_mib: peak_memory_mib(),
            research_use_only: true,
        }
    }

    fn refused(file: &Path, reason: &Reason) -> Self {
        Self {
            file: file.display().to_string(),
            files: None,
            modality: None,
            verdict: "rejected",
            disease: None,
            disease_code: None,
            probability: None,
            entropy_bits: None,
            involvement_percent: None,
            involvement_left_percent: None,
            involvement_right_percent: None,
            reason: Some(reason.to_string()),
            cause: Some(reason.cause.to_string()),
            remedy: reason.remedy.as_ref().map(ToString::to_string),
            notes: vec![],
            bundle: None,
            novelty: None,
            quality: None,
            slices: None,
            shown_slice: None,
            milliseconds: Milliseconds::default(),
            peak_memory_mib: peak_memory_mib(),
            research_use_only: true,
        }
    }

    /// Whether the file was refused.
    pub fn is_refused(&self) -> bool {
        self.verdict == "rejected"
    }

    /// Head of the table. Right before left, as the lungs stand in the picture.
    pub const HEADER: &'static str = "verdict   modality  probability  entropy  involved    right     left  file";

    /// What the bundle's *positive* and *negative* mean, for the end of the table; `None` when the file could not be read.
    pub fn meaning(&self) -> Option<String> {
        let (bundle, disease) = (self.bundle.as_ref()?, self.disease.as_ref()?);
        Some(format!("{bundle}: positive means {disease}, negative without it."))
    }

    /// A line of the table; further ones tell the reason and the notes.
    pub fn table_line(&self) -> String {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let share = |percent: Option<f32>| or_dash(percent.map(|p| format!("{p:.1} %")));
        let files = self.files.map_or_else(String::new, |files| format!(" (a series of {files} files)"));
        let line = format!(
            "{:<9} {:<8} {:>12} {:>8} {:>9} {:>8} {:>8}  {}{files}",
            self.verdict,
            or_dash(self.modality.map(|m| m.title().into())),
            or_dash(self.probability.map(|p| percent(p.into()))),
            or_dash(self.entropy_bits.map(|h| format!("{h:.2} bit"))),
            share(self.involvement_percent),
            share(self.involvement_right_percent),
            share(self.involvement_left_percent),
            self.file,
        );
        self.reason.iter().chain(&self.notes).fold(line, |lines, told| format!("{lines}\n          {told}"))
    }
}

/// The kernel's high-water mark of this process's resident memory.
pub(crate) fn peak_memory_mib() -> Option<f32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<f32>().ok().map(|kib| kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_has_no_numbers_and_keeps_its_reason() {
        let outcome = Outcome::Refused(Reason::new("cut short", "copy it again"));
        let row = Row::new(&Input::File("a.dcm".into()), &outcome, &Cost::default());
        assert!(row.is_refused() && row.meaning().is_none());
        let line = row.table_line();
        assert!(
            line.contains("rejected") && line.contains("a.dcm") && line.contains("cut short") && !line.contains('%'),
            "{line}"
        );
    }

    #[test]
    fn the_panel_shows_all_of_what_a_parser_says() {
        let reason = "element (0028,0010): 0 rows: not an image".to_owned();
        let reason = thorax_decode::DecodeError::Damaged { format: "DICOM", reason }.reason();
        let detail = reason.to_string();
        let said = "the DICOM file is damaged (element (0028,0010): 0 rows: not an image): copy or export it again";
        assert_eq!(detail, said);
        for language in Language::ALL {
            let screen = refusal(&reason, &detail, "a.dcm", language);
            assert_eq!((screen.text, screen.detail), (language.word(Word::FileUnusable), said));
            assert_eq!(screen.remedy, Some(language.word(Word::DoSendAgain)));
        }
        let known = Reason::new("too dark", "send the image itself");
        let screen = refusal(&known, "", "a.dcm", Language::French);
        assert_eq!((screen.text, screen.remedy, screen.detail), ("trop sombre", Some("envoyez l’image elle-même"), ""));
        let row = Row::new(&Input::File("a.dcm".into()), &Outcome::Refused(reason.clone()), &Cost::default());
        assert_eq!(row.remedy.as_deref(), Some("copy or export it again"));
        assert_eq!(row.reason, Some(detail));
    }
}
