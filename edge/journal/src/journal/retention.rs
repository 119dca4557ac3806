//! What goes when there is too much: studies that are over, the oldest first, with all that belongs to them. That a reader agreed
//! or did not stays, without the note, since it counts for the bundle; of the audit the last lines stay.
//!
//! A study is never removed as long as it waits or one of its deliveries does. Age is reckoned in device time, so that a wall
//! clock that jumps ahead by years removes nothing.

use super::Journal;
use crate::{
    entries::{Audit, Delivery, Feedback, Hash, Kind, Object, Study, StudyResult},
    error::{JournalError, Result},
    store::kept_name,
    tables::{Change, IDENTITIES, LATEST, STUDY_DELIVERIES, STUDY_FEEDBACK, STUDY_OBJECTS, Snapshot},
};
use std::sync::PoisonError;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Studies.
    pub studies: u64,
    /// Files, of objects and results.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Studies that go in one transaction.
const AT_ONCE: usize = 64;
const MILLISECONDS_A_DAY: u64 = 24 * 3600 * 1000;

impl Journal {
    /// Removes what [`Settings`](crate::Settings) do not let be kept. It waits for a backup that is being made.
    ///
    /// # Errors
    /// What the database says.
    pub fn retain(&self) -> Result<Removed> {
        let _removal = self.removal.write().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot()?;
        let settings = &self.settings;
        let mut bytes: u64 = snapshot.files()?.iter().map(|(_, bytes, _)| bytes).sum();
        let mut studies = snapshot.count::<Study>()?;
        let now = self.now().device_milliseconds;
        let too_old = |study: &Study| {
            let age = now.saturating_sub(study.last_arrival.device_milliseconds);
            settings.keep_days > 0 && age > settings.keep_days.saturating_mul(MILLISECONDS_A_DAY)
        };
        let mut removed = Removed::default();
        let mut numbers = vec![];
        for (number, study) in snapshot.all::<Study>()? {
            let study = study?;
            let too_many = studies > settings.keep_studies || bytes > settings.keep_bytes;
            if !too_many && settings.keep_days == 0 {
                break;
            }
            if !(too_many || too_old(&study)) || !may_go(&snapshot, number, &study)? {
                continue;
            }
            numbers.push(number);
            studies -= 1;
            bytes = bytes.saturating_sub(own_bytes(&snapshot, number)?);
        }
        for numbers in numbers.chunks(AT_ONCE) {
            let part = self.change(|change| {
                let mut part = Removed::default();
                numbers.iter().try_for_each(|number| remove(change, *number, &mut part))?;
                Ok(part)
            })?;
            removed.studies += part.studies;
            removed.files += part.files;
            removed.bytes += part.bytes;
        }
        if snapshot.count::<Audit>()? > settings.keep_audit_lines {
            self.change(|change| change.keep_last::<Audit>(settings.keep_audit_lines))?;
        }
        if removed.studies > 0 {
            tracing::info!(?removed, "studies removed");
        }
        Ok(removed)
    }

    /// The kept files of one study.
    pub(crate) fn files_of(snapshot: &Snapshot, study: u64) -> Result<Vec<(Hash, u64)>> {
        let mut files = vec![];
        for number in snapshot.objects_of(study)? {
            let object: Object = snapshot.need(number)?;
            files.push((object.sha256, object.bytes));
        }
        if let Some(result) = snapshot.get::<StudyResult>(study)? {
            files.extend(result.files.iter().map(|file| (file.sha256, file.bytes)));
        }
        Ok(files)
    }

    /// The bytes of a kept file, checked against the hash that is its name.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when the file is missing or changed; what the system says.
    pub fn read_file(&self, sha256: &Hash) -> Result<Vec<u8>> {
        use sha2::{Digest, Sha256};
        let name = kept_name(sha256);
        let damaged = |evidence: String| JournalError::Damaged { what: format!("the file {name}"), evidence };
        let mut file = self.store.open(&name).map_err(|reason| damaged(reason.to_string()))?;
        let mut bytes = vec![];
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|reason| damaged(reason.to_string()))?;
        if Hash::from(Sha256::digest(&bytes)) != *sha256 {
            return Err(damaged("its bytes are not those that were kept".into()));
        }
        Ok(bytes)
    }
}

/// Whether nothing waits for a study any more.
fn may_go(snapshot: &Snapshot, number: u64, study: &Study) -> Result<bool> {
    if !study.state.is_over() {
        return Ok(false);
    }
    for delivery in snapshot.deliveries_of(number)? {
        if !snapshot.need::<Delivery>(delivery)?.state.is_over() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn own_bytes(snapshot: &Snapshot, study: u64) -> Result<u64> {
    Ok(Journal::files_of(snapshot, study)?.iter().map(|(_, bytes)| bytes).sum())
}

fn remove(change: &mut Change, number: u64, removed: &mut Removed) -> Result<()> {
    let study: Study = change.need(number)?;
    // A delivery may have been wanted since it was chosen.
    for delivery in change.deliveries_of(number)? {
        if !change.need::<Delivery>(delivery)?.state.is_over() {
            return Ok(());
        }
    }
    let mut leave = |change: &mut Change, hash: &Hash, bytes: u64| -> Result<()> {
        if change.leave_file(hash)? {
            removed.files += 1;
            removed.bytes += bytes;
        }
        Ok(())
    };
    for object_number in change.objects_of(number)? {
        let object: Object = change.need(object_number)?;
        leave(change, &object.sha256, object.bytes)?;
        match &object.what.kind {
            Kind::Dicom { sop_instance_uid, .. } => change.unname(IDENTITIES, sop_instance_uid, object_number)?,
            Kind::Picture => change.unname(IDENTITIES, &study.key, object_number)?,
        }
        change.unpair(STUDY_OBJECTS, (number, object_number))?;
        change.drop::<Object>(object_number)?;
    }
    if let Some(result) = change.get::<StudyResult>(number)? {
        for file in &result.files {
            leave(change, &file.sha256, file.bytes)?;
        }
        change.drop::<StudyResult>(number)?;
    }
    for delivery in change.deliveries_of(number)? {
        change.unpair(STUDY_DELIVERIES, (number, delivery))?;
        change.drop::<Delivery>(delivery)?;
    }
    for said in change.feedback_of(number)? {
        let feedback: Feedback = change.need(said)?;
        change.put(said, &Feedback { note: String::new(), ..feedback })?;
        change.unpair(STUDY_FEEDBACK, (number, said))?;
    }
    change.unname(LATEST, &study.key, number)?;
    change.drop::<Study>(number)?;
    removed.studies += 1;
    Ok(())
}
