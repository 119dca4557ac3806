//! Words that people write for classes, splits and modalities, and their one plain meaning.

use thorax_shared::modality::Modality;

use super::ImportArgs;
use crate::data::{Label, Split};

/// Class folders whose meaning needs no telling (lower case, without spaces, `-` and `_`).
const POSITIVE: [&str; 13] = [
    "covid",
    "covid19",
    "positive",
    "pos",
    "ctcovid",
    "sarscov2",
    "typical",
    "typicalappearance",
    "ct1",
    "ct2",
    "ct3",
    "ct4",
    "covidpositive",
];
const NEGATIVE: [&str; 17] = [
    "normal",
    "negative",
    "neg",
    "healthy",
    "nofinding",
    "noncovid",
    "noncovid19",
    "ctnoncovid",
    "other",
    "pneumonia",
    "viralpneumonia",
    "bacterialpneumonia",
    "lungopacity",
    "cap",
    "negativeforpneumonia",
    "ct0",
    "covidnegative",
];

/// Classes that say that nobody knows.
pub(super) const UNLABELLED: [&str; 11] = [
    "",
    "unlabelled",
    "unlabeled",
    "unknown",
    "indeterminate",
    "indeterminateappearance",
    "atypical",
    "atypicalappearance",
    "notstated",
    "none",
    "n/a",
];

pub(super) fn label_of(args: &ImportArgs, class: &str) -> Option<Label> {
    let is_in = |told: &[String], known: &[&str]| {
        told.iter().any(|word| plain(word) == plain(class)) || known.contains(&plain(class).as_str())
    };
    // What the user says comes before what the names suggest.
    if is_in(&args.positive, &[]) {
        Some(Label::Positive)
    } else if is_in(&args.negative, &NEGATIVE) {
        Some(Label::Negative)
    } else {
        is_in(&[], &POSITIVE).then_some(Label::Positive)
    }
}

/// Whether a word is a class whose meaning needs no telling.
pub(super) fn known(class: &str) -> bool {
    let words = [plain(class), plain(&class_word(class))];
    words.iter().any(|word| POSITIVE.contains(&word.as_str()) || NEGATIVE.contains(&word.as_str()))
}

/// Whether a class says that nobody knows.
pub(super) fn unlabelled(class: &str) -> bool {
    UNLABELLED.contains(&plain(class).as_str())
}

/// A class as the manifest has it: in small letters, without the number that sorts folders (`2COVID`), and `other` for pneumonia
/// that was acquired in the community (CAP), which is no word of its own anywhere else.
pub(super) fn class_word(class: &str) -> String {
    let word = class.trim().to_lowercase();
    let unsorted = word.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['_', '-', '.', ' ']);
    let word = if unsorted.chars().next().is_some_and(char::is_alphabetic) { unsorted } else { word.as_str() };
    if plain(word) == "cap" { "other".into() } else { word.to_owned() }
}

/// What a picture is, in the words that people use.
pub(super) fn modality_of(word: &str) -> Option<Modality> {
    match plain(word).as_str() {
        "xray" | "cxr" | "chestxray" | "cr" | "dx" | "film" => Some(Modality::Xray),
        "ct" => Some(Modality::Ct),
        _ => None,
    }
}

/// A split, in the words that people use.
pub(super) fn split_of(word: &str) -> Option<Split> {
    match plain(word).as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "dev" => Some(Split::Val),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// A word without capitals, blanks, `-` and `_`.
pub(super) fn plain(word: &str) -> String {
    word.to_lowercase().replace(['-', '_', ' '], "")
}
