//! Words that people write for classes, splits and modalities, and their one plain meaning.

use thorax_shared::modality::Modality;

use super::ImportArgs;
use crate::data::{Label, Split};

/// Classes whose meaning needs no telling, whatever the disease (lower case, without spaces, `-` and `_`).
const POSITIVE: [&str; 2] = ["positive", "pos"];
const NEGATIVE: [&str; 11] = [
    "normal",
    "negative",
    "neg",
    "healthy",
    "nofinding",
    "other",
    "pneumonia",
    "viralpneumonia",
    "bacterialpneumonia",
    "lungopacity",
    "cap",
];

/// Classes that say it of COVID-19, which is the disease unless the user names another.
const COVID: [&str; 12] = [
    "covid",
    "covid19",
    "covidpositive",
    "ctcovid",
    "sarscov2",
    "typical",
    "typicalappearance",
    "ct1",
    "ct2",
    "ct3",
    "ct4",
    "covid19positive",
];
const NO_COVID: [&str; 7] =
    ["noncovid", "noncovid19", "ctnoncovid", "covidnegative", "negativeforpneumonia", "ct0", "covid19negative"];

/// Classes that say that nobody knows.
const UNLABELLED: [&str; 11] = [
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

/// Whether a class is the disease, by what the user says or else by what its words mean.
pub(super) fn label_of(args: &ImportArgs, class: &str) -> Option<Label> {
    let words = words_of(class);
    // What the user says comes before what the names suggest. Whoever names a class that is the disease may mean another one than
    // COVID-19, of which classes without COVID-19 say nothing.
    let told = |word: &String| match word {
        _ if names(&args.positive, word) => Some(Label::Positive),
        _ if names(&args.negative, word) => Some(Label::Negative),
        _ => None,
    };
    let covid = args.positive.is_empty();
    let meant = |word: &String| match word.as_str() {
        word if NEGATIVE.contains(&word) || (covid && NO_COVID.contains(&word)) => Some(Label::Negative),
        word if POSITIVE.contains(&word) || (covid && COVID.contains(&word)) => Some(Label::Positive),
        _ => None,
    };
    words.iter().find_map(told).or_else(|| words.iter().find_map(meant))
}

/// Whether the user wants no pictures of a class.
pub(super) fn left_out(args: &ImportArgs, class: &str) -> bool {
    words_of(class).iter().any(|word| names(&args.leave_out, word))
}

/// Whether the user says what a class is.
pub(super) fn told(args: &ImportArgs, class: &str) -> bool {
    let told = [&args.positive, &args.negative, &args.leave_out];
    words_of(class).iter().any(|word| told.iter().any(|told| names(told, word)))
}

fn names(told: &[String], word: &str) -> bool {
    told.iter().any(|told| plain(told) == word)
}

/// The words that a class may be told by: as it is written, without the number that sorts folders, and as the manifest has it.
fn words_of(class: &str) -> [String; 3] {
    [plain(class.trim()), plain(&unsorted(class)), plain(&class_word(class))]
}

/// Whether a word is a class whose meaning needs no telling.
pub(super) fn known(class: &str) -> bool {
    let words = words_of(class);
    let known = [&POSITIVE[..], &NEGATIVE, &COVID, &NO_COVID];
    words.iter().any(|word| known.iter().any(|known| known.contains(&word.as_str())))
}

/// Whether a class says that nothing is found in its lungs. One without the disease may have another, which a mask may mark.
pub(in crate::data) fn healthy(class: &str) -> bool {
    const HEALTHY: [&str; 4] = ["normal", "healthy", "nofinding", "ct0"];
    HEALTHY.contains(&plain(&class_word(class)).as_str())
}

/// A class without the words at its end that say what its files are: `covid` of `covid-seg-volume`.
pub(super) fn without_format(class: &str) -> &str {
    const FORMATS: [&str; 7] = ["seg", "volume", "hu", "slice", "scan", "ct", "xray"];
    match class.rsplit_once(['-', '_', ' ']) {
        Some((word, format)) if FORMATS.contains(&format) => without_format(word),
        _ => class,
    }
}

/// Whether a class says that nobody knows.
pub(super) fn unlabelled(class: &str) -> bool {
    UNLABELLED.contains(&plain(class).as_str())
}

/// A class as the manifest has it: in small letters, without the number that sorts folders (`2COVID`), and `other` for pneumonia
/// that was acquired in the community (CAP), which is no word of its own anywhere else.
pub(super) fn class_word(class: &str) -> String {
    let word = unsorted(class);
    if plain(&word) == "cap" { "other".into() } else { word }
}

/// A class in small letters, without the number that sorts folders.
fn unsorted(class: &str) -> String {
    let word = class.trim().to_lowercase();
    let unsorted = word.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['_', '-', '.', ' ']);
    if unsorted.chars().next().is_some_and(char::is_alphabetic) { unsorted.to_owned() } else { word }
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

/// Whether a folder of this name sorts files by their split or kind, and says nothing of what they show.
pub(super) fn sorts_files(name: &str) -> bool {
    let word = plain(name);
    split_of(name).is_some() || word.starts_with("images") || ["image", "imgs", "img"].contains(&word.as_str())
}

/// A word without capitals, blanks, `-` and `_`.
pub(super) fn plain(word: &str) -> String {
    word.to_lowercase().replace(['-', '_', ' '], "")
}
