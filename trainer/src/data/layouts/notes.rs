//! What an import has to tell besides its records.

use std::collections::BTreeMap;

use thorax_shared::modality::Modality;

use super::{ImportArgs, words::left_out};
use crate::data::{DataError, table::Table};

/// What an import has to tell besides its records.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) told: Vec<String>,
    pub(super) left_out: Vec<(String, String)>,
    /// Questions that the folder leaves open. A dry run lists them; an import stops at the first.
    pub(super) open: Vec<String>,
    /// Files that systems leave in folders.
    pub(super) litter: usize,
    /// What is to be done with the collection's own splits.
    pub(super) splits: Splits,
    /// Words read as others, and how often.
    pub(super) words: BTreeMap<(&'static str, String, String), usize>,
    /// Classes that the user does not want, and how many pictures or volumes each has.
    unwanted: BTreeMap<String, usize>,
    /// How many pictures and slices there are of a modality that the user does not want.
    other_modalities: BTreeMap<&'static str, usize>,
}

/// What is done with the splits that a collection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Splits {
    /// It has none: patients are dealt out.
    #[default]
    Dealt,
    /// Kept as they are.
    Kept,
    /// Train and test are kept, and val is dealt out of train.
    ValFromTrain,
    /// Train and val are kept, and test is dealt out of train.
    TestFromTrain,
}

impl Notes {
    pub(super) fn leave_out(&mut self, file: &str, reason: impl Into<String>) {
        self.left_out.push((file.to_owned(), reason.into()));
    }

    /// `written` was read as `read`.
    pub(super) fn word(&mut self, column: &'static str, written: &str, read: &str) {
        if written != read {
            *self.words.entry((column, written.to_owned(), read.to_owned())).or_default() += 1;
        }
    }

    /// Whether the user wants no pictures of a class, which is counted.
    pub(super) fn unwanted(&mut self, args: &ImportArgs, class: &str) -> bool {
        let unwanted = left_out(args, class);
        if unwanted {
            *self.unwanted.entry(class.to_owned()).or_default() += 1;
        }
        unwanted
    }

    /// Whether a picture is none of the modality that the user wants, which is counted.
    pub(super) fn other_modality(&mut self, args: &ImportArgs, modality: Modality) -> bool {
        let other = args.modality.is_some_and(|wanted| wanted != modality);
        if other {
            *self.other_modalities.entry(modality.as_str()).or_default() += 1;
        }
        other
    }

    /// Tells the columns of the table `file` that are none of `read`, and so are not read.
    pub(super) fn unread(&mut self, file: &str, table: &Table, read: &[Option<usize>]) {
        let others = table.columns().enumerate().filter(|(place, _)| !read.contains(&Some(*place)));
        let others: Vec<&str> =
            others.map(|(_, name)| if name.is_empty() { "one without a name" } else { name }).collect();
        if !others.is_empty() {
            self.told.push(format!("{file}: columns that are not read: {}", others.join(", ")));
        }
    }

    /// A question that only the user can answer.
    ///
    /// # Errors
    /// `question`, unless this is a dry run, which goes on to the next.
    pub(super) fn untold(&mut self, args: &ImportArgs, question: DataError) -> Result<(), DataError> {
        if !args.dry_run {
            return Err(question);
        }
        let question = question.to_string();
        if !self.open.contains(&question) {
            self.open.push(question);
        }
        Ok(())
    }

    /// What is told, and what is left out.
    pub(super) fn told(self) -> (Vec<String>, Vec<(String, String)>) {
        let mut told = self.told;
        told.extend(
            self.words
                .into_iter()
                .map(|((column, written, read), rows)| format!("{column} `{written}` read as `{read}` ({rows})")),
        );
        told.extend(
            self.unwanted.into_iter().map(|(class, count)| format!("class `{class}` left out, as told ({count})")),
        );
        let others = self.other_modalities.into_iter();
        told.extend(others.map(|(other, count)| format!("modality {other} left out, as --modality says ({count})")));
        if self.litter > 0 {
            told.push(format!("{} files that systems leave in folders (such as .DS_Store) passed over", self.litter));
        }
        (told, self.left_out)
    }
}

/// The first few of many names.
pub(in crate::data) fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}
