//! The way through: studies wait, are taken in the order in which they were opened, and are finished once.

use super::{
    Journal, Settings,
    deliveries::{check_destination, new_delivery},
    receive::Temporary,
};
use crate::{
    entries::{Delivery, Object, ResultFile, Study, StudyResult, StudyState, Summary},
    error::{JournalError, Result},
    tables::{Change, OUTBOX, QUEUE},
};
use std::path::PathBuf;

/// A study in the program's hands. It stays there until [`Journal::finish`], [`Journal::put_back`], [`Journal::hand_back`] or
/// [`Journal::give_up`], or until the journal is opened again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenStudy {
    /// Its number.
    pub number: u64,
    /// Its record.
    pub study: Study,
    /// Its objects, in the order in which they came.
    pub objects: Vec<TakenObject>,
}

/// An object of a study in the program's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenObject {
    /// Its number.
    pub number: u64,
    /// Its record.
    pub object: Object,
    /// Its file, for reading only.
    pub path: PathBuf,
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Studies that wait or are open.
    pub studies_waiting: u64,
    /// Objects of these, and of those that are taken.
    pub objects_waiting: u64,
    /// Studies in the program's hands.
    pub studies_taken: u64,
    /// Studies with a result.
    pub studies_finished: u64,
    /// Studies without, for good.
    pub studies_failed: u64,
    /// Deliveries that wait or are being sent.
    pub deliveries_waiting: u64,
    /// Deliveries that arrived.
    pub deliveries_done: u64,
    /// Deliveries that were refused for good.
    pub deliveries_given_up: u64,
}

impl Journal {
    /// Closes studies, as at the release of an association: no more objects are waited for. What is not open stays as it is.
    ///
    /// # Errors
    /// What the database says.
    pub fn close_studies(&self, numbers: &[u64]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.change(|change| {
            for &number in numbers {
                if let Some(mut study) = change.get::<Study>(number)?
                    && study.state == StudyState::Open
                {
                    study.state = StudyState::Closed;
                    change.put(number, &study)?;
                }
            }
            Ok(())
        })
    }

    /// The first study that could be taken.
    ///
    /// # Errors
    /// What the database says.
    pub fn next_study_due(&self) -> Result<Option<u64>> {
        let snapshot = self.snapshot()?;
        let now = self.now().device_milliseconds;
        for number in snapshot.queue()? {
            if is_due(&snapshot.need(number)?, now, &self.settings) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Takes the first study that is due.
    ///
    /// # Errors
    /// What the database says.
    pub fn take(&self) -> Result<Option<TakenStudy>> {
        // So that nothing is written where nothing is due.
        if self.next_study_due()?.is_none() {
            return Ok(None);
        }
        self.change(|change| {
            for number in change.listed(QUEUE)? {
                let mut study: Study = change.need(number)?;
                if !is_due(&study, change.now.device_milliseconds, &self.settings) {
                    continue;
                }
                study.state = StudyState::Taken;
                study.taken += 1;
                change.put(number, &study)?;
                let object = |number| {
                    let object: Object = change.need(number)?;
                    Ok(TakenObject { number, path: self.path_of(&object.sha256), object })
                };
                let objects = change.objects_of(number)?.into_iter().map(object).collect::<Result<_>>()?;
                return Ok(Some(TakenStudy { number, study, objects }));
            }
            Ok(None)
        })
    }

    /// Keeps the result of a study that was taken: its summary, files as label and bytes, and where it is to be delivered to.
    /// When this returns, the study is never taken again, and its deliveries will be tried.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when it is not taken; [`JournalError::NoSpace`]; what the system says. Nothing is kept then,
    /// and the study stays taken.
    pub fn finish(&self, number: u64, summary: Summary, files: &[(&str, &[u8])], destinations: &[&str]) -> Result<()> {
        destinations.iter().try_for_each(|destination| check_destination(destination))?;
        let mut written = vec![];
        for (label, bytes) in files {
            let mut file = Temporary::new(self)?;
            file.write(bytes)?;
            file.sync()?;
            let (sha256, bytes) = (file.hash(), file.bytes);
            written.push((file, ResultFile { label: (*label).to_owned(), sha256, bytes }));
        }
        self.change(|change| {
            let mut study = taken(change, number)?;
            for (file, record) in &mut written {
                file.keep(&record.sha256)?;
                change.use_file(&record.sha256, record.bytes)?;
            }
            if !written.is_empty() {
                self.sync_names()?;
            }
            let finished = change.now;
            let files = written.iter().map(|(_, record)| record.clone()).collect();
            change.put(number, &StudyResult { summary, files, finished })?;
            for destination in destinations {
                new_delivery(change, number, destination)?;
            }
            study.state = StudyState::Finished { at: finished };
            leave_queue(change, number, &study)
        })
    }

    /// Lets a study that was taken wait again, since reading it failed for a reason that may pass. One that was taken
    /// [`Settings::most_attempts`] times has failed.
    ///
    /// # Errors
    /// [`JournalError::WrongState`] when it is not taken; what the database says.
    pub fn put_back(&self, number: u64, cause: &str) -> Result<()> {
        self.change(|change| {
            let mut study = taken(change, number)?;
            put_back(change, &self.settings, number, &mut study, cause)
        })
    }

    /// Lets a study wait again as if it had not been taken, as at the program's end.
    ///
    /// # Errors
    /// As [`Self::put_back`].
    pub fn hand_back(&self, number: u64) -> Result<()> {
        self.change(|change| {
            let mut study = taken(change, number)?;
            study.state = StudyState::Closed;
            study.taken = study.taken.saturating_sub(1);
            change.put(number, &study)
        })
    }

    /// A study that was taken will have no result.
    ///
    /// # Errors
    /// As [`Self::put_back`].
    pub fn give_up(&self, number: u64, cause: &str) -> Result<()> {
        self.change(|change| {
            let mut study = taken(change, number)?;
            study.state = StudyState::Failed { at: change.now, cause: cause.to_owned() };
            leave_queue(change, number, &study)
        })
    }

    /// A study.
    ///
    /// # Errors
    /// [`JournalError::Unknown`], or what the database says.
    pub fn study(&self, number: u64) -> Result<Study> {
        self.snapshot()?.need(number)
    }

    /// All studies with their numbers, in the order in which they were opened.
    ///
    /// # Errors
    /// What the database says.
    pub fn studies(&self) -> Result<Vec<(u64, Study)>> {
        self.snapshot()?.all()?.map(|(number, study)| Ok((number, study?))).collect()
    }

    /// The last `count` studies, the newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn latest_studies(&self, count: usize) -> Result<Vec<(u64, Study)>> {
        self.snapshot()?.latest(count)
    }

    /// The objects of a study with their numbers, in the order in which they came.
    ///
    /// # Errors
    /// What the database says.
    pub fn objects_of(&self, study: u64) -> Result<Vec<(u64, Object)>> {
        let snapshot = self.snapshot()?;
        snapshot.objects_of(study)?.into_iter().map(|number| Ok((number, snapshot.need(number)?))).collect()
    }

    /// The result of a study that has one.
    ///
    /// # Errors
    /// What the database says.
    pub fn result(&self, study: u64) -> Result<Option<StudyResult>> {
        self.snapshot()?.get(study)
    }

    /// The object with this SOP Instance UID, if it is held.
    ///
    /// # Errors
    /// What the database says.
    pub fn find_instance(&self, sop_instance_uid: &str) -> Result<Option<(u64, Object)>> {
        self.snapshot()?.object_by(sop_instance_uid)
    }

    /// How many there are of what.
    ///
    /// # Errors
    /// What the database says.
    pub fn counts(&self) -> Result<Counts> {
        let snapshot = self.snapshot()?;
        let mut counts = Counts::default();
        for (_, study) in snapshot.all::<Study>()? {
            let study = study?;
            if !study.state.is_over() {
                counts.objects_waiting += study.objects;
            }
            match study.state {
                StudyState::Open | StudyState::Closed => counts.studies_waiting += 1,
                StudyState::Taken => counts.studies_taken += 1,
                StudyState::Finished { .. } => counts.studies_finished += 1,
                StudyState::Failed { .. } => counts.studies_failed += 1,
            }
        }
        for (_, delivery) in snapshot.all::<Delivery>()? {
            use crate::entries::DeliveryState;
            match delivery?.state {
                DeliveryState::Waiting | DeliveryState::Sending => counts.deliveries_waiting += 1,
                DeliveryState::Delivered { .. } => counts.deliveries_done += 1,
                DeliveryState::GivenUp { .. } => counts.deliveries_given_up += 1,
            }
        }
        Ok(counts)
    }
}

fn is_due(study: &Study, now: u64, settings: &Settings) -> bool {
    match study.state {
        StudyState::Closed => true,
        StudyState::Open => {
            let quiet = settings.quiet_seconds.saturating_mul(1000);
            now.saturating_sub(study.last_arrival.device_milliseconds) >= quiet
        }
        _ => false,
    }
}

fn taken(change: &Change, number: u64) -> Result<Study> {
    let study: Study = change.need(number)?;
    match study.state {
        StudyState::Taken => Ok(study),
        state => Err(JournalError::WrongState { what: "study", number, state: state.name() }),
    }
}

/// A study that is over: out of the queue, and its objects wait no more.
fn leave_queue(change: &mut Change, number: u64, study: &Study) -> Result<()> {
    change.waiting_objects = change.waiting_objects.saturating_sub(study.objects);
    change.unlist(QUEUE, number)?;
    change.put(number, study)
}

/// See [`Journal::put_back`].
pub(super) fn put_back(
    change: &mut Change,
    settings: &Settings,
    number: u64,
    study: &mut Study,
    cause: &str,
) -> Result<()> {
    if study.taken >= settings.most_attempts {
        let cause = format!("{cause}, at attempt {} of {}", study.taken, settings.most_attempts);
        study.state = StudyState::Failed { at: change.now, cause };
        leave_queue(change, number, study)
    } else {
        study.state = StudyState::Closed;
        study.note = Some(cause.to_owned());
        change.put(number, study)
    }
}

/// Removes the outbox's entry of a delivery that is over.
pub(super) fn leave_outbox(change: &mut Change, number: u64, delivery: &Delivery) -> Result<()> {
    change.unlist(OUTBOX, number)?;
    change.put(number, delivery)
}
