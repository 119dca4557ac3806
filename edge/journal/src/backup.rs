//! A copy of a journal, taken while it is at work, which is itself the folder of a journal; and the way back.
//!
//! The copy is of one moment: a read transaction of the database does not see what comes after it, and no file is removed as
//! long as it lasts. It is written under another name and gets its own when all of it is on the disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use redb::Database;
use thorax_files::sync_folder;

use crate::{
    check::hash_of,
    error::{JournalError, Result},
    journal::{DATABASE, FILES_FOLDER, Journal},
    store::{FileStore, FolderStore, kept_name},
    tables::{Snapshot, copy_all},
};

impl Journal {
    /// Writes a copy to `folder`, which must not exist or be empty. Every file is checked against its hash on the way. Gives the
    /// number of files.
    ///
    /// # Errors
    /// [`JournalError::NotEmpty`], [`JournalError::Damaged`] when a file is not what it was, or what the system says. Nothing is
    /// at `folder` then.
    pub fn backup(&self, folder: &Path) -> Result<u64> {
        let _removal = self.removal.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        write_copy(&self.snapshot()?, self.store(), folder)
    }
}

/// Makes the journal of a backup anew in `folder`, which must not exist or be empty. The backup is only read, so it may lie on a
/// medium that cannot be written. Deliveries that waited then wait again: let the other device rest before the copy is
/// opened. Gives the number of files.
///
/// # Errors
/// As [`Journal::backup`].
pub fn restore(backup: &Path, folder: &Path) -> Result<u64> {
    let database = Database::builder().open_read_only(backup.join(DATABASE))?;
    let files = backup.join(FILES_FOLDER);
    if !files.is_dir() {
        let evidence = format!("no folder `{FILES_FOLDER}` in it");
        return Err(JournalError::Damaged { what: format!("the backup {}", backup.display()), evidence });
    }
    let store = FolderStore::new(&files).map_err(|reason| JournalError::io("open the backup", reason))?;
    write_copy(&Snapshot::take(&database)?, &store, folder)
}

fn write_copy(snapshot: &Snapshot, store: &dyn FileStore, folder: &Path) -> Result<u64> {
    let failed = |reason| JournalError::io(format!("write the copy {}", folder.display()), reason);
    let empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let Some(name) = folder.file_name().filter(|_| empty) else {
        return Err(JournalError::NotEmpty { folder: folder.to_owned() });
    };
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let part = folder_beside(parent, name).map_err(failed)?;
    let copied = fill(snapshot, store, &part).and_then(|files| {
        // An empty folder is replaced by a rename on Unix only.
        let _ = fs::remove_dir(folder);
        fs::rename(&part, folder).and_then(|()| sync_folder(parent)).map_err(failed)?;
        Ok(files)
    });
    if copied.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    copied
}

/// A new folder beside the one that is to be.
fn folder_beside(parent: &Path, name: &std::ffi::OsStr) -> io::Result<PathBuf> {
    let part = parent.join(format!(".thorax-{}.part", name.to_string_lossy()));
    // What a copy that was cut off has left.
    if part.join(FILES_FOLDER).is_dir() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    fs::create_dir(part.join(FILES_FOLDER))?;
    Ok(part)
}

fn fill(snapshot: &Snapshot, store: &dyn FileStore, part: &Path) -> Result<u64> {
    let files = part.join(FILES_FOLDER);
    let recorded = snapshot.files()?;
    for (hash, bytes, _) in &recorded {
        let name = kept_name(hash);
        let copy = || {
            let mut to = File::create_new(files.join(&name))?;
            let found = hash_of(&mut store.open(&name)?, |part| to.write_all(part))?;
            to.sync_all()?;
            Ok(found)
        };
        let found = copy().map_err(|reason| JournalError::io(format!("copy the file {name}"), reason))?;
        if found != (*hash, *bytes) {
            let evidence = "its bytes are not those that were kept".into();
            return Err(JournalError::Damaged { what: format!("the file {name}"), evidence });
        }
    }
    let database = Database::create(part.join(DATABASE))?;
    let txn = database.begin_write()?;
    copy_all(&snapshot.0, &txn)?;
    txn.commit()?;
    database.close()?;
    sync_folder(&files).and_then(|()| sync_folder(part)).map_err(|reason| JournalError::io("sync the copy", reason))?;
    Ok(recorded.len() as u64)
}
