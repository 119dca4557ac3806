//! What people say of results, and who saw what: both are kept as durably as the results themselves.

use std::collections::BTreeMap;

use super::Journal;
use crate::{
    entries::{Audit, AuditEvent, Feedback, Opinion, Study, StudyResult, StudyState},
    error::{JournalError, Result},
    tables::STUDY_FEEDBACK,
};

/// How often readers agreed with one verdict of one bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The bundle's name and version; `None` for what was refused before a bundle was asked.
    pub bundle: Option<String>,
    /// The verdict.
    pub verdict: String,
    /// Readers' last words on as many results were that they agree,
    pub agree: u64,
    /// and on as many that they do not.
    pub disagree: u64,
}

impl Journal {
    /// Keeps what a reader says of a study's result; gives its number.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when the study has no result; what the database says.
    pub fn add_feedback(&self, study: u64, reader: &str, opinion: Opinion, note: &str) -> Result<u64> {
        self.change(|change| {
            let state = change.need::<Study>(study)?.state;
            if !matches!(state, StudyState::Finished { .. }) {
                return Err(JournalError::WrongState { what: "study", number: study, state: state.name() });
            }
            let summary = change.need::<StudyResult>(study)?.summary;
            let number = change.number();
            let feedback = Feedback {
                study,
                reader: reader.to_owned(),
                at: change.now,
                opinion,
                note: note.to_owned(),
                verdict: summary.verdict,
                bundle: summary.bundle,
                bundle_sha256: summary.bundle_sha256,
            };
            change.put(number, &feedback)?;
            change.pair(STUDY_FEEDBACK, (study, number))?;
            Ok(number)
        })
    }

    /// What readers said of a study, in the order in which they did.
    ///
    /// # Errors
    /// What the database says.
    pub fn feedback_of(&self, study: u64) -> Result<Vec<(u64, Feedback)>> {
        let snapshot = self.snapshot()?;
        snapshot.feedback_of(study)?.into_iter().map(|number| Ok((number, snapshot.need(number)?))).collect()
    }

    /// How often readers agreed, for each bundle and verdict, also on studies that are not kept any more. Of what one reader
    /// said of one study the last word counts; a note alone is none.
    ///
    /// # Errors
    /// What the database says.
    pub fn agreement(&self) -> Result<Vec<Agreement>> {
        let mut last: BTreeMap<(u64, String), Feedback> = BTreeMap::new();
        for (_, said) in self.snapshot()?.all::<Feedback>()? {
            let said = said?;
            if said.opinion != Opinion::Note {
                last.insert((said.study, said.reader.clone()), said);
            }
        }
        let mut counted: BTreeMap<(Option<String>, String), Agreement> = BTreeMap::new();
        for Feedback { opinion, verdict, bundle, .. } in last.into_values() {
            let key = (bundle.clone(), verdict.clone());
            let agreement = counted.entry(key).or_insert(Agreement { bundle, verdict, ..Agreement::default() });
            match opinion {
                Opinion::Agree => agreement.agree += 1,
                Opinion::Disagree => agreement.disagree += 1,
                Opinion::Note => {}
            }
        }
        Ok(counted.into_values().collect())
    }

    /// Keeps a line of the audit.
    ///
    /// # Errors
    /// What the database says.
    pub fn write_audit(
        &self,
        account: Option<&str>,
        address: &str,
        event: AuditEvent,
        study: Option<u64>,
    ) -> Result<()> {
        self.change(|change| {
            let line = Audit {
                at: change.now,
                account: account.map(str::to_owned),
                address: address.to_owned(),
                event,
                study,
            };
            let number = change.number();
            change.put(number, &line)
        })
    }

    /// The last lines of the audit, the newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn latest_audit(&self, count: usize) -> Result<Vec<(u64, Audit)>> {
        self.snapshot()?.latest(count)
    }

    /// Studies with numbers below `before` that `wanted` takes, the newest first, and their results: at most `count` of them, among
    /// the next `look_at` studies. Gives besides the number below which it is to be gone on, where there is more to look at.
    ///
    /// # Errors
    /// What the database says.
    #[allow(clippy::type_complexity, reason = "a list and the place where it goes on")]
    pub fn studies_before(
        &self,
        before: u64,
        count: usize,
        look_at: usize,
        wanted: impl Fn(&Study, Option<&StudyResult>) -> bool,
    ) -> Result<(Vec<(u64, Study, Option<StudyResult>)>, Option<u64>)> {
        let snapshot = self.snapshot()?;
        let mut found = vec![];
        let mut last = before;
        for (looked_at, study) in snapshot.before::<Study>(before)?.enumerate() {
            let (number, study) = study?;
            if looked_at == look_at || found.len() == count {
                return Ok((found, Some(last)));
            }
            let result = snapshot.get(number)?;
            if wanted(&study, result.as_ref()) {
                found.push((number, study, result));
            }
            last = number;
        }
        Ok((found, None))
    }
}
