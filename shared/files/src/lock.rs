//! A folder that one process at a time works in.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::write::remove_left_over;

/// The file in the folder that is locked, and that has the number of the process which did so last.
const NAME: &str = ".lock";

/// Why a folder cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process is at it.
    #[error("{folder}: {} is at work in this folder; wait for its end, or choose another", who(*.process), folder = folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// Its number, where it says so.
        process: Option<u32>,
    },
    /// The system refuses.
    #[error("cannot work in {folder}: {reason}; check that the folder is writable and the disk has room", folder = folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

fn who(number: Option<u32>) -> String {
    number.map_or_else(|| "another process".into(), |number| format!("process {number}"))
}

/// Keeps other processes out of a folder for as long as it lives. The lock is the system's and ends with the process, however that
/// ends; the file stays, and means nothing by itself.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
    /// Temporary files that killed processes had left in the folder, and that were removed.
    pub removed: usize,
}

impl FolderLock {
    /// Takes `folder`, which is made where missing, and removes what killed processes left half-written in it. A file system without
    /// locks is done without them; nothing is removed there.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let failed = |reason| LockError::Io { folder: folder.to_owned(), reason };
        fs::create_dir_all(folder).map_err(failed)?;
        let open = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(NAME));
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Busy { folder: folder.to_owned(), process });
            }
            Err(TryLockError::Error(_)) => return Ok(Self { _file: file, removed: 0 }),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        let removed = remove_left_over(folder).map_err(failed)?;
        Ok(Self { _file: file, removed })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_process_s_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new/run");
        let lock = FolderLock::take(&folder).unwrap();
        fs::write(folder.join(".thorax-x.part"), "half").unwrap();
        // Another handle of the same process is kept out as another process is.
        let told = FolderLock::take(&folder).unwrap_err().to_string();
        let expected = format!("process {}", std::process::id());
        assert!(told.contains(&expected) && told.contains("run") && told.contains("wait for its end"), "{told}");
        assert_eq!(lock.removed, 0);
        drop(lock);
        assert_eq!(FolderLock::take(&folder).unwrap().removed, 1, "what was left half-written is removed");
    }
}
