//! A study on paper, in the reader's language: what the page of a study shows, as one file.

use thorax_journal::Journal;
use thorax_objects::{Page, Picture, Section};
use thorax_shared::words::{Language, Word, percent, reason};

use crate::{
    facts::{Facts, Reading, Who},
    views::meaning,
};

/// The file; an error says what cannot be read.
pub(crate) fn page(facts: &Facts, journal: &Journal, language: Language) -> Result<String, String> {
    let word = |word| language.word(word);
    let result = facts.result.as_ref().ok_or("a study without a result")?;
    let verdict = |verdict: &str| Word::of_verdict(verdict).map_or_else(|| verdict.to_owned(), |w| word(w).to_owned());
    let told = |text: &str| -> String {
        let parts = text.split("; ").map(|part| reason(language, part).unwrap_or(part));
        parts.collect::<Vec<_>>().join("; ")
    };
    let mut about = match &facts.who {
        Who::Patient(patient) => vec![
            (word(Word::Patient), patient.name.clone()),
            (word(Word::PatientId), patient.id.clone()),
            (word(Word::BirthDate), patient.birth_date.clone()),
        ],
        Who::File(name) => vec![(word(Word::File), name.clone())],
        Who::Unknown => vec![],
    };
    about.push((word(Word::Received), facts.study.opened.utc()));
    about.push((word(Word::Finished), result.finished.utc()));
    let mut sections = vec![Section { heading: word(Word::Study), rows: about }];
    let mut pictures = vec![];
    for reading in &facts.readings {
        let rows = rows(reading, language, &verdict, &told);
        sections.push(Section { heading: word(Word::Result), rows });
        let file = reading.label("panel").and_then(|label| result.files.iter().find(|file| file.label == label));
        if let Some(file) = file {
            pictures.push(journal.read_file(&file.sha256).map_err(|error| error.to_string())?);
        }
    }
    let said = facts.feedback.iter().map(|(_, said)| {
        let opinion = match said.opinion {
            thorax_journal::Opinion::Agree => Word::Agree,
            thorax_journal::Opinion::Disagree => Word::Disagree,
            thorax_journal::Opinion::Note => Word::NoteOnly,
        };
        (word(opinion), format!("{}, {}: {}", said.reader, said.at.utc(), said.note))
    });
    let said: Vec<_> = said.collect();
    if !said.is_empty() {
        sections.push(Section { heading: word(Word::Feedback), rows: said });
    }
    let summary = &result.summary;
    let reasons = summary.cause.iter().chain(&summary.remedy).map(|text| told(text));
    let means = meaning(&summary.verdict).map(|means| word(means).to_owned());
    let bundle = summary.bundle.as_deref().unwrap_or("-");
    let sha256 = summary.bundle_sha256.map(|hash| thorax_files::hexadecimal(&hash)).unwrap_or_default();
    Page {
        language: language.code(),
        right_to_left: false,
        title: &format!("Thorax · {} {}", word(Word::Study), facts.number),
        verdict: &verdict(&summary.verdict),
        reason: &means.into_iter().chain(reasons).collect::<Vec<_>>().join(" · "),
        sections,
        pictures: pictures
            .iter()
            .map(|png| Picture { png, caption: word(Word::Panel), alternative: word(Word::Panel) })
            .collect(),
        notice: word(Word::Notice),
        footer: &format!("Thorax {} · {bundle} {sha256}", env!("CARGO_PKG_VERSION")),
    }
    .html()
    .map_err(|error| error.to_string())
}

fn rows(
    reading: &Reading,
    language: Language,
    verdict: &impl Fn(&str) -> String,
    told: &impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let figures = [
        (Word::Verdict, Some(verdict(&reading.verdict))),
        (Word::Reason, reading.cause.as_deref().map(told)),
        (Word::Remedy, reading.remedy.as_deref().map(told)),
        (Word::Probability, reading.probability.map(percent)),
        (Word::Entropy, reading.entropy_bits.map(|bits| format!("{bits:.2} bit"))),
        (Word::RightInvolvement, reading.involvement_right_percent.map(|percent| format!("{percent:.1} %"))),
        (Word::LeftInvolvement, reading.involvement_left_percent.map(|percent| format!("{percent:.1} %"))),
        (Word::Quality, reading.quality.map(|quality| format!("{quality:.2}"))),
        (Word::Bundle, reading.bundle.clone()),
    ];
    figures.into_iter().filter_map(|(word, value)| Some((language.word(word), value?))).collect()
}
