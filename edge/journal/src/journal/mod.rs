//! The journal itself: opening it, what it puts right then, and the one way in which it is changed.

mod deliveries;
mod events;
mod readers;
mod receive;
mod retention;
mod studies;

use std::{
    collections::HashSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redb::{Database, StorageBackend, backends::FileBackend};
use serde::{Deserialize, Serialize};
use thorax_files::{FolderLock, sync_folder};

use crate::{
    clock::{Clock, Moment, SystemClock},
    entries::{Delivery, DeliveryState, Hash, Study, StudyState},
    error::{JournalError, Result},
    store::{FileStore, FolderStore, is_temporary, kept_hash, kept_name},
    tables::{Change, OUTBOX, QUEUE, Snapshot},
};

pub use deliveries::TakenDelivery;
pub use readers::Agreement;
pub use receive::{ObjectWriter, Received};
pub use retention::Removed;
pub use studies::{Counts, TakenObject, TakenStudy};

/// The database's file in the journal's folder.
pub(crate) const DATABASE: &str = "journal.redb";
/// The folder of files in the journal's folder.
pub(crate) const FILES_FOLDER: &str = "files";
/// Pages of the database that are kept in memory. redb takes a gigabyte unless told otherwise.
const CACHE_BYTES: usize = 16 << 20;
/// What a redb database begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";

/// How the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seconds after its last object until a study is taken for complete.
    pub quiet_seconds: u64,
    /// No object may have more bytes.
    pub most_object_bytes: u64,
    /// As many objects may wait to be screened.
    pub most_waiting_objects: u64,
    /// As many bytes of the disk are kept free of objects, for the database and the results of what waits.
    pub reserve_bytes: u64,
    /// A study that was taken this often without a result has failed.
    pub most_attempts: u32,
    /// Seconds until a delivery is tried for the second time; each further pause is twice as long.
    pub first_pause_seconds: u64,
    /// No pause is longer.
    pub longest_pause_seconds: u64,
    /// Studies that are over are removed, the oldest first, when there are more.
    pub keep_studies: u64,
    /// And when all files have more bytes.
    pub keep_bytes: u64,
    /// And after as many days that the device was running; 0: never for their age.
    pub keep_days: u64,
    /// Of the audit, as many lines are kept, the last.
    pub keep_audit_lines: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quiet_seconds: 30,
            most_object_bytes: 512 << 20,
            most_waiting_objects: 20_000,
            reserve_bytes: 1 << 30,
            most_attempts: 3,
            first_pause_seconds: 10,
            longest_pause_seconds: 3600,
            keep_studies: 100_000,
            keep_bytes: 64 << 30,
            keep_days: 0,
            keep_audit_lines: 100_000,
        }
    }
}

/// What was put right when the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Files that were only half written.
    pub temporary_files: u64,
    /// Files whose object or result was never acknowledged, or was removed.
    pub orphans: u64,
    /// Studies that had been taken, and wait again.
    pub studies_put_back: u64,
    /// Studies that had been taken once too often, and have failed.
    pub studies_failed: u64,
    /// Deliveries that were being sent, and wait again.
    pub deliveries_put_back: u64,
    /// Records of older versions that were rewritten.
    pub migrated: u64,
}

/// See the crate's documentation. It is shared between threads by reference.
#[derive(Debug)]
pub struct Journal {
    database: Database,
    store: Arc<dyn FileStore>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Device time when it was opened, and the clock's at that moment.
    opened_milliseconds: u64,
    opened: Duration,
    /// Held by whoever changes something, from before the transaction until its files are removed.
    writer: Mutex<Writer>,
    /// Held for writing by whoever removes files, for reading by whoever copies them all.
    pub(crate) removal: RwLock<()>,
    /// The number of the next temporary file.
    temporary: AtomicU64,
    recovery: Recovery,
    /// How often something new came into the outbox, and who waits for it.
    outbox_changes: Mutex<u64>,
    outbox_changed: Condvar,
    /// Last, so that it is given back when the database is closed.
    _lock: Option<FolderLock>,
}

#[derive(Debug, Default)]
struct Writer {
    waiting_objects: u64,
}

impl Journal {
    /// Whether there is a journal in `folder`.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(DATABASE).is_file()
    }

    /// Opens the journal in `folder`, which is made where missing, and puts right what a power cut left.
    ///
    /// # Errors
    /// See [`JournalError`]. Another process in the folder, records of a newer version and files without a database are refused.
    pub fn open(folder: &Path, settings: Settings) -> Result<Self> {
        let lock = FolderLock::take(folder)?;
        let path = folder.join(DATABASE);
        let failed = |what: &str| {
            let what = format!("{what} {}", folder.display());
            move |reason| JournalError::io(what, reason)
        };
        let store = FolderStore::new(&folder.join(FILES_FOLDER)).map_err(failed("make the files' folder in"))?;
        let open = fs::File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(failed("open the database in"))?;
        // A database whose name is lost is lost.
        sync_folder(folder).map_err(failed("sync"))?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(failed("sync the folder of"))?;
        }
        let backend = FileBackend::new(file)?;
        // The database's library panics on some pages that a bad disk has spoilt; nothing of what it had open is used after that.
        let open = || Self::open_on(backend, Arc::new(store), Arc::new(SystemClock::default()), settings);
        let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| JournalError::Damaged {
            what: "the journal's database".into(),
            evidence: "its pages contradict each other".into(),
        })?;
        let mut journal = opened?;
        journal._lock = Some(lock);
        Ok(journal)
    }

    /// Opens the journal on any storage, file store and clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(
        backend: impl StorageBackend,
        store: Arc<dyn FileStore>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self> {
        let names = store.names().map_err(|reason| JournalError::io("list the journal's files", reason))?;
        let kept: Vec<Hash> = names.iter().filter_map(|name| kept_hash(name)).collect();
        if unfinished(&backend)? {
            if !kept.is_empty() {
                return Err(JournalError::DatabaseMissing { files: kept.len() });
            }
            backend.set_len(0).map_err(|reason| JournalError::io("begin the database anew", reason))?;
        }
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        let opened = clock.elapsed();
        let now = Moment { unix_milliseconds: clock.unix_milliseconds(), device_milliseconds: 0 };
        let mut change = Change::begin(&database, now, 0)?;
        let mut recovery = Recovery::default();
        change.make_tables()?;
        recovery.migrated = change.migrate()?;
        // Everything that is stamped from here on is no earlier than what was committed before.
        change.now.device_milliseconds = change.device_milliseconds();
        put_back(&mut change, &settings, &mut recovery)?;
        let (opened_milliseconds, waiting_objects) = (change.now.device_milliseconds, change.waiting_objects);
        if change.dirty {
            change.commit()?;
        } else {
            drop(change);
        }
        let journal = Self {
            database,
            store,
            clock,
            settings,
            opened_milliseconds,
            opened,
            writer: Mutex::new(Writer { waiting_objects }),
            removal: RwLock::new(()),
            temporary: AtomicU64::new(0),
            recovery,
            outbox_changes: Mutex::new(0),
            outbox_changed: Condvar::new(),
            _lock: None,
        };
        journal.clean(&names, &kept)
    }

    /// Removes files that nothing in the database is about: half written, or not acknowledged before a power cut.
    fn clean(mut self, names: &[String], kept: &[Hash]) -> Result<Self> {
        let used = self.snapshot()?.files()?;
        let used: HashSet<&Hash> = used.iter().map(|(hash, ..)| hash).collect();
        let remove =
            |name: &str| self.store.remove(name).map_err(|reason| JournalError::io(format!("remove {name}"), reason));
        for name in names.iter().filter(|name| is_temporary(name)) {
            remove(name)?;
            self.recovery.temporary_files += 1;
        }
        for hash in kept.iter().filter(|hash| !used.contains(hash)) {
            remove(&kept_name(hash))?;
            self.recovery.orphans += 1;
        }
        if self.recovery != Recovery::default() {
            tracing::info!(recovery = ?self.recovery, "journal put right");
        }
        Ok(self)
    }

    /// What was put right when it was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether it still takes changes: after an error of the disk the database refuses every one until the journal is opened
    /// again. Nothing is written.
    ///
    /// # Errors
    /// What the database says.
    pub fn check(&self) -> Result<()> {
        self.change(|_| Ok(()))
    }

    /// Bytes that the disk still has for its files.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_bytes(&self) -> Result<u64> {
        self.store.free_bytes().map_err(|reason| JournalError::io("ask for the disk's free space", reason))
    }

    /// How it is kept.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where a kept file lies.
    pub fn path_of(&self, sha256: &Hash) -> PathBuf {
        self.store.path(&kept_name(sha256))
    }

    pub(crate) fn store(&self) -> &dyn FileStore {
        &*self.store
    }

    /// The time by both clocks.
    pub fn now(&self) -> Moment {
        let since = self.clock.elapsed().saturating_sub(self.opened).as_millis();
        Moment {
            unix_milliseconds: self.clock.unix_milliseconds(),
            device_milliseconds: self.opened_milliseconds + u64::try_from(since).unwrap_or(u64::MAX / 2),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.database)
    }

    /// Changes the journal, one at a time: what `work` did is durable when this returns, or was not done at all.
    fn change<T>(&self, work: impl FnOnce(&mut Change) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut change = Change::begin(&self.database, self.now(), writer.waiting_objects)?;
        let done = work(&mut change)?;
        if change.dirty {
            let (waiting_objects, unneeded) = (change.waiting_objects, std::mem::take(&mut change.unneeded));
            let wake = change.wake;
            change.commit()?;
            if wake {
                self.wake_outbox();
            }
            writer.waiting_objects = waiting_objects;
            for hash in unneeded {
                // What stays behind is an orphan, and goes when the journal is opened next.
                if let Err(reason) = self.store.remove(&kept_name(&hash)) {
                    tracing::warn!(%reason, "a file that is not needed any more cannot be removed");
                }
            }
        }
        Ok(done)
    }

    /// Names of files and records of them, at one moment.
    pub(crate) fn names_and_files(&self) -> Result<(Vec<String>, Snapshot)> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.store.names().map_err(|reason| JournalError::io("list the journal's files", reason))?;
        Ok((names, self.snapshot()?))
    }

    fn temporary_name(&self) -> String {
        crate::store::temporary_name(self.temporary.fetch_add(1, Ordering::Relaxed))
    }

    /// Refuses where too little room is left.
    fn check_room(&self) -> Result<()> {
        let free = self.free_bytes()?;
        let reserve = self.settings.reserve_bytes;
        if free < reserve { Err(JournalError::NoSpace { free, reserve }) } else { Ok(()) }
    }
}

/// Whether a power cut came before the database was first finished: redb writes its first word last.
fn unfinished(backend: &impl StorageBackend) -> Result<bool> {
    let failed = |reason| JournalError::io("read the database", reason);
    let length = backend.len().map_err(failed)?;
    let mut begins = [0; MAGIC.len()];
    let readable = begins.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    backend.read(0, &mut begins[..readable]).map_err(failed)?;
    let same = begins.iter().zip(MAGIC).take_while(|(found, expected)| **found == *expected).count();
    Ok(same < MAGIC.len() && begins[same..].iter().all(|byte| *byte == 0))
}

/// Puts back what was in hand when the device went down.
fn put_back(change: &mut Change, settings: &Settings, recovery: &mut Recovery) -> Result<()> {
    for number in change.listed(QUEUE)? {
        let mut study: Study = change.need(number)?;
        change.waiting_objects += study.objects;
        if study.state != StudyState::Taken {
            continue;
        }
        studies::put_back(change, settings, number, &mut study, "the device went down while it was read")?;
        match study.state {
            StudyState::Failed { .. } => recovery.studies_failed += 1,
            _ => recovery.studies_put_back += 1,
        }
    }
    for number in change.listed(OUTBOX)? {
        let mut delivery: Delivery = change.need(number)?;
        if delivery.state == DeliveryState::Sending {
            delivery.state = DeliveryState::Waiting;
            delivery.interrupted = true;
            change.put(number, &delivery)?;
            recovery.deliveries_put_back += 1;
        }
    }
    Ok(())
}
