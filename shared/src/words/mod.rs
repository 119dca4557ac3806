//! The words that people read, in six languages: one table for the page and for the panel.
//!
//! A [`Word`] is a line of the table and a [`Language`] a column, so that a word that is missing in a language does not compile.
//! Sentences about pictures that were not read ([`reason`]) are looked up by their English form, which is what programs keep.
//! There is no plural and no gender to be put together, and no number inside a sentence: a figure stands beside its word.
//!
//! The words are plain on purpose. A verdict says what the device says and nothing of what a patient has; none of them is a
//! degree of belief. Native speakers who know the field have not yet checked the languages other than English.

mod reasons;
mod table;

use alloc::{format, string::String};

use serde::{Deserialize, Serialize};

use crate::modality::Modality;

pub use reasons::{reason, reasons};
pub use table::Word;

/// A language that people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// French.
    #[serde(rename = "fr")]
    French,
    /// Spanish.
    #[serde(rename = "es")]
    Spanish,
    /// Portuguese.
    #[serde(rename = "pt")]
    Portuguese,
    /// Swahili.
    #[serde(rename = "sw")]
    Swahili,
    /// Hindi.
    #[serde(rename = "hi")]
    Hindi,
}

impl Language {
    /// Every one, in the order of the table's columns.
    pub const ALL: [Self; 6] =
        [Self::English, Self::French, Self::Spanish, Self::Portuguese, Self::Swahili, Self::Hindi];

    /// Its code in ISO 639-1, as BCP 47 has it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt",
            Self::Swahili => "sw",
            Self::Hindi => "hi",
        }
    }

    /// What its speakers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::French => "Français",
            Self::Spanish => "Español",
            Self::Portuguese => "Português",
            Self::Swahili => "Kiswahili",
            Self::Hindi => "हिन्दी",
        }
    }

    /// The language of a code; `None` where it is not one of ours.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// What something is of, and it: `speed: 3`.
    pub fn told(self, what: &str, it: &str) -> String {
        match self {
            Self::French => format!("{what}\u{a0}: {it}"),
            _ => format!("{what}: {it}"),
        }
    }

    /// `number`, as `format!` writes it, with this language's decimal mark.
    pub fn number(self, number: &str) -> String {
        match self {
            Self::French | Self::Spanish | Self::Portuguese => number.replace('.', ","),
            Self::English | Self::Swahili | Self::Hindi => number.into(),
        }
    }

    /// `word` in this language.
    pub const fn word(self, word: Word) -> &'static str {
        word.all()[self as usize]
    }
}

/// A probability (0 to 1) in whole percent. Nothing is ever certain, so the ends are `<1 %` and `>99 %`; what is no number is `-`.
pub fn percent(probability: f64) -> String {
    match 100.0 * probability {
        p if p.is_nan() => "-".into(),
        p if p < 0.5 => "<1 %".into(),
        p if p >= 99.5 => ">99 %".into(),
        // It is between 0.5 and 99.5.
        p => format!("{} %", (p + 0.5) as u32),
    }
}

impl Word {
    /// The short word for a kind of image.
    pub const fn of_modality(modality: Modality) -> Self {
        match modality {
            Modality::Xray => Self::XrayShort,
            Modality::Ct => Self::CtShort,
        }
    }

    /// The word for a verdict, by what [`Verdict::as_str`](crate::verdict::Verdict::as_str) calls it.
    pub fn of_verdict(verdict: &str) -> Option<Self> {
        Some(match verdict {
            "positive" => Self::Positive,
            "negative" => Self::Negative,
            "refer" => Self::Refer,
            "rejected" => Self::Rejected,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_language_has_every_word() {
        for language in Language::ALL {
            for &word in Word::ALL {
                let said = language.word(word);
                assert!(!said.trim().is_empty() && said.trim() == said, "{language:?}, {word:?}: {said:?}");
                assert!(!said.contains(['<', '>', '&', '"', '{', '}']), "{language:?}, {word:?}: {said}");
            }
        }
    }

    #[test]
    fn hindi_is_written_in_devanagari_and_the_others_are_not() {
        let devanagari = |text: &str| text.chars().any(|c| ('\u{900}'..='\u{97f}').contains(&c));
        for &word in Word::ALL {
            for language in Language::ALL {
                assert_eq!(devanagari(language.word(word)), language == Language::Hindi, "{language:?}, {word:?}");
            }
        }
    }

    #[test]
    fn verdicts_are_told_apart_in_every_language() {
        for language in Language::ALL {
            let words = ["positive", "negative", "refer", "rejected"].map(|verdict| {
                let word = Word::of_verdict(verdict);
                word.map(|word| language.word(word))
            });
            assert!(words.iter().all(Option::is_some), "{language:?}");
            assert_eq!(words.into_iter().collect::<BTreeSet<_>>().len(), 4, "{language:?}: {words:?}");
        }
        assert_eq!(Word::of_verdict("perhaps"), None);
    }

    #[test]
    fn nothing_is_called_likely_and_no_disease_is_found() {
        for &word in Word::ALL {
            let english = Language::English.word(word).to_lowercase();
            assert!(
                !["likely", "probably", "diagnos", "infected with"].iter().any(|w| english.contains(w)),
                "{english}"
            );
        }
    }

    #[test]
    fn certainty_is_never_claimed() {
        let told = [0.0, 0.004, 0.006, 0.874, 0.994, 0.996, 1.0, f64::NAN].map(percent);
        assert_eq!(told, ["<1 %", "<1 %", "1 %", "87 %", "99 %", ">99 %", ">99 %", "-"]);
    }

    #[test]
    fn decimal_mark_and_colon_are_a_language_s() {
        assert_eq!(
            (Language::French.told("a", "b"), Language::Hindi.told("a", "b")),
            ("a\u{a0}: b".into(), "a: b".into())
        );
        assert_eq!(Language::ALL.map(|language| language.number("8.9")), ["8.9", "8,9", "8,9", "8,9", "8.9", "8.9"]);
    }

    #[test]
    fn a_code_is_a_language_s() {
        for language in Language::ALL {
            assert_eq!(Language::of_code(language.code()), Some(language));
            assert_eq!(serde_json::to_string(&language).ok(), Some(format!("{:?}", language.code())));
        }
        assert_eq!(Language::of_code("EN"), None);
    }
}
