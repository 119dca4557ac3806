//! What spoils a study though no file is broken: one picture on two sides under two names, and everything by which the classes can be
//! told apart without a look at the lungs.
//!
//! [`crate::data::check`] finds what is wrong; what is here is *suspected*: each finding names the pictures and the remedy, a person
//! looks at it ([`Spoilers::page`] shows thumbnails) and decides.
//!
//! | finding | how |
//! |---|---|
//! | near-duplicates across splits or classes | a perceptual hash finds candidates, the correlation of their details decides (`twins`) |
//! | a class from one source only | counted (`confounders`) |
//! | source, size, shape, bits, format, bytes a pixel, view, age, sex, burned-in letters, sharpness tell the class | how well each does so by itself, against the same with the classes shuffled among the patients (`confounders`) |
//! | burned-in text | lines of letters (`letters`) |

mod confounders;
mod facts;
mod letters;
mod page;
mod sketch;
mod twins;

pub use confounders::{Confounder, OneSource};
pub use twins::Twins;

use crate::data::{Findings, Label, Manifest, Record, Task, check_and};
use sketch::Sketch;

/// So many findings of a kind are told one by one.
const TOLD: usize = 8;

/// So many of the least sharp pictures are shown.
const LEAST_SHARP: usize = 24;

/// What was found.
pub struct Spoilers {
    /// Pictures that are nearly the same, on two sides of a split or in two classes.
    pub twins: Vec<Twins>,
    /// Classes that come from one source alone.
    pub one_source: Vec<OneSource>,
    /// What tells the classes apart, the best first; of each modality, all that was looked at.
    pub confounders: Vec<Confounder>,
    /// Pictures with lines of letters.
    pub lettered: Vec<String>,
    /// The least sharp pictures, the worst first, of each modality whose sharpness tells the classes.
    pub blurred: Vec<String>,
    /// Pictures that were looked at.
    pub pictures: usize,
}

/// Looks at every picture of the manifest that something is learnt from, while [`check_and`] has it decoded, and gives what that found
/// too. What cannot be read is passed over: it is among the findings.
pub fn look(manifest: &Manifest) -> (Findings, Spoilers) {
    let (findings, sketched) = check_and(manifest, |record, picture| Sketch::of(manifest, record, picture));
    let (records, sketches): (Vec<&Record>, Vec<Sketch>) = sketched.into_iter().unzip();
    let pairs = twins::pairs(&sketches, |a, b| worth_telling(records[a], records[b]));
    let twins = pairs.into_iter().map(|pair| Twins::of(&records, pair)).collect();
    let labelled: Vec<(&Record, &facts::Facts)> = records
        .iter()
        .zip(&sketches)
        .filter(|(record, _)| record.task == Task::Classify && record.label != Label::Unlabelled)
        .map(|(record, sketch)| (*record, &sketch.facts))
        .collect();
    let confounders = confounders::confounders(&labelled);
    let lettered = records.iter().zip(&sketches).filter(|(_, sketch)| sketch.facts.letters);
    let spoilers = Spoilers {
        twins,
        one_source: confounders::one_source(&labelled),
        blurred: least_sharp(&labelled, &confounders),
        confounders,
        lettered: lettered.map(|(record, _)| record.path.clone()).collect(),
        pictures: records.len(),
    };
    (findings, spoilers)
}

/// The [`LEAST_SHARP`] pictures of each modality whose sharpness tells the classes.
fn least_sharp(labelled: &[(&Record, &facts::Facts)], confounders: &[Confounder]) -> Vec<String> {
    let suspected = confounders.iter().filter(|confounder| confounder.fact == facts::SHARPNESS && confounder.spoils());
    let of_one = |confounder: &Confounder| {
        let of = labelled.iter().filter(|(record, _)| record.modality == confounder.modality);
        let mut pictures: Vec<(f32, &str)> =
            of.map(|(record, facts)| (facts.sharpness, record.path.as_str())).collect();
        pictures.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
        pictures.into_iter().take(LEAST_SHARP).map(|(_, path)| path.to_owned()).collect::<Vec<_>>()
    };
    suspected.flat_map(of_one).collect()
}

/// Whether it matters that two pictures are one: they are of two patients, as far as is known, and stand on two sides.
fn worth_telling(a: &Record, b: &Record) -> bool {
    let opposed = |a, b| (a, b) == (Label::Positive, Label::Negative);
    a.modality == b.modality
        && a.group != b.group
        && (a.split != b.split || opposed(a.label, b.label) || opposed(b.label, a.label))
}

impl Spoilers {
    /// Each finding in words, with its remedy.
    pub fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.twins.iter().take(TOLD).map(Twins::to_string).collect();
        if self.twins.len() > TOLD {
            told.push(format!(
                "{} more pairs of nearly the same pictures (--page FILE shows them)",
                self.twins.len() - TOLD
            ));
        }
        told.extend(self.one_source.iter().map(OneSource::to_string));
        told.extend(self.confounders.iter().filter(|confounder| confounder.spoils()).map(Confounder::to_string));
        told
    }
}

#[cfg(test)]
mod tests;
