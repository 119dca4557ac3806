//! The way in: an object's bytes go to a temporary file, and become an object of the journal when all of them are there.

use sha2::{Digest, Sha256};

use super::Journal;
use crate::{
    entries::{Hash, Kind, Object, ReceivedObject, Study, StudyState},
    error::{JournalError, Result},
    store::{StoreFile, kept_name},
    tables::{Change, IDENTITIES, LATEST, QUEUE, STUDY_OBJECTS},
};

/// Free space is asked for again after as many bytes.
const BYTES_BETWEEN_LOOKS: u64 = 4 << 20;

/// What became of an object. All three are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is new.
    Accepted {
        /// Its number.
        object: u64,
        /// The study it is now part of.
        study: u64,
    },
    /// The same bytes are there already.
    Duplicate {
        /// The object they are.
        object: u64,
    },
    /// There already is an object of this SOP Instance UID, with other bytes. The first stays; this one is not kept.
    DuplicateOtherContent {
        /// The object that stays.
        object: u64,
    },
}

impl Journal {
    /// Begins an object.
    ///
    /// # Errors
    /// [`JournalError::NoSpace`], [`JournalError::QueueFull`], or what the system says.
    pub fn begin_object(&self) -> Result<ObjectWriter<'_>> {
        let waiting = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).waiting_objects;
        check_queue(self, waiting)?;
        self.check_room()?;
        let limit = self.settings.most_object_bytes;
        Ok(ObjectWriter { file: Temporary::new(self)?, limit, looked_at: 0 })
    }
}

fn check_queue(journal: &Journal, waiting: u64) -> Result<()> {
    let limit = journal.settings.most_waiting_objects;
    if waiting >= limit { Err(JournalError::QueueFull { limit }) } else { Ok(()) }
}

/// An object on its way in. Dropped before [`Self::commit`], it leaves nothing.
#[derive(Debug)]
pub struct ObjectWriter<'j> {
    file: Temporary<'j>,
    limit: u64,
    /// Bytes when the free space was last asked for.
    looked_at: u64,
}

impl ObjectWriter<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`], [`JournalError::NoSpace`], or what the system says. The object cannot be committed then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.file.bytes + bytes.len() as u64 > self.limit {
            self.file.broken = true;
            return Err(JournalError::TooLarge { limit: self.limit });
        }
        if self.file.bytes - self.looked_at >= BYTES_BETWEEN_LOOKS {
            self.looked_at = self.file.bytes;
            self.file.journal.check_room().inspect_err(|_| self.file.broken = true)?;
        }
        self.file.write(bytes)
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.file.bytes
    }

    /// Makes it an object of the journal. When this returns, it is one whatever happens to the power.
    ///
    /// # Errors
    /// [`JournalError::Empty`], [`JournalError::NoSpace`], [`JournalError::QueueFull`], or what the system says; nothing is
    /// acknowledged then, and the sender has to try again.
    pub fn commit(mut self, what: ReceivedObject) -> Result<Received> {
        let journal = self.file.journal;
        let bytes = self.file.bytes;
        if bytes == 0 {
            return Err(JournalError::Empty);
        }
        let sha256 = self.file.hash();
        let (identity, key) = match &what.kind {
            Kind::Dicom { sop_instance_uid, study_instance_uid, .. } => {
                (sop_instance_uid.clone(), study_instance_uid.clone())
            }
            Kind::Picture => {
                let name = format!("picture:{}", kept_name(&sha256));
                (name.clone(), name)
            }
        };
        // Asked once before anything is synced, since a cart that sends a study again sends all of it.
        if let Some((number, known)) = journal.snapshot()?.object_by(&identity)? {
            return Ok(duplicate(number, &known.sha256, &sha256));
        }
        self.file.sync()?;
        journal.change(|change| {
            if let Some(number) = change.named(IDENTITIES, &identity)? {
                return Ok(duplicate(number, &change.need::<Object>(number)?.sha256, &sha256));
            }
            check_queue(journal, change.waiting_objects)?;
            self.file.keep(&sha256)?;
            journal.sync_names()?;
            let study = study_for(change, &key)?;
            let object = change.number();
            let received = change.now;
            change.put(object, &Object { study, sha256, bytes, received, what })?;
            change.name(IDENTITIES, &identity, object)?;
            change.pair(STUDY_OBJECTS, (study, object))?;
            change.use_file(&sha256, bytes)?;
            change.waiting_objects += 1;
            Ok(Received::Accepted { object, study })
        })
    }
}

fn duplicate(object: u64, known: &Hash, sha256: &Hash) -> Received {
    if known == sha256 { Received::Duplicate { object } } else { Received::DuplicateOtherContent { object } }
}

/// The study that an object of this key joins: the latest round as long as it has not been taken, else a new one.
fn study_for(change: &mut Change, key: &str) -> Result<u64> {
    let now = change.now;
    let latest = change.named(LATEST, key)?;
    let mut round = 1;
    if let Some(number) = latest {
        let mut study: Study = change.need(number)?;
        if matches!(study.state, StudyState::Open | StudyState::Closed) {
            study.objects += 1;
            study.last_arrival = now;
            study.state = StudyState::Open;
            change.put(number, &study)?;
            return Ok(number);
        }
        round += study.round;
    }
    let number = change.number();
    let study = Study {
        key: key.to_owned(),
        round,
        earlier: latest,
        opened: now,
        last_arrival: now,
        objects: 1,
        state: StudyState::Open,
        taken: 0,
        note: None,
    };
    change.put(number, &study)?;
    change.name(LATEST, key, number)?;
    change.list(QUEUE, number)?;
    Ok(number)
}

/// A file that is being written. Dropped before [`Self::keep`], it is removed.
#[derive(Debug)]
pub(super) struct Temporary<'j> {
    journal: &'j Journal,
    name: String,
    file: Option<Box<dyn StoreFile>>,
    hash: Sha256,
    pub(super) bytes: u64,
    broken: bool,
    kept: bool,
}

impl<'j> Temporary<'j> {
    pub(super) fn new(journal: &'j Journal) -> Result<Self> {
        let name = journal.temporary_name();
        let created = journal.store.create(&name);
        let file = created.map_err(|reason| JournalError::io("make a file for an object", reason))?;
        Ok(Self { journal, name, file: Some(file), hash: Sha256::new(), bytes: 0, broken: false, kept: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match &mut self.file {
            Some(file) if !self.broken => file.write_all(bytes),
            _ => Err(std::io::Error::other("an earlier write failed")),
        };
        written.map_err(|reason| {
            self.broken = true;
            JournalError::io("write an object", reason)
        })?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// SHA-256 of what was written.
    pub(super) fn hash(&self) -> Hash {
        self.hash.clone().finalize().into()
    }

    /// Has the disk keep its bytes. Nothing can be written any more.
    pub(super) fn sync(&mut self) -> Result<()> {
        match self.file.take() {
            Some(mut file) if !self.broken => file.sync(),
            _ => Err(std::io::Error::other("an earlier write failed")),
        }
        .map_err(|reason| JournalError::io("sync an object", reason))
    }

    /// Gives it the name that its hash is. Only within a change, and once it is synced; the names are synced before the change is
    /// committed. From here on it is the database that tells whether it stays.
    pub(super) fn keep(&mut self, hash: &Hash) -> Result<()> {
        let renamed = self.journal.store.rename(&self.name, &kept_name(hash));
        renamed.map_err(|reason| JournalError::io("name an object", reason))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        drop(self.file.take());
        if !self.kept
            && let Err(reason) = self.journal.store.remove(&self.name)
        {
            tracing::warn!(%reason, "a temporary file cannot be removed");
        }
    }
}

impl Journal {
    pub(super) fn sync_names(&self) -> Result<()> {
        self.store.sync_names().map_err(|reason| JournalError::io("sync the files' folder", reason))
    }
}
