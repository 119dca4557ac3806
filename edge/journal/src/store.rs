//! Where the files of the journal lie, as few words as it takes: a folder whose files are made, synced, renamed, removed.
//!
//! It is a trait so that tests can put a disk in its place that loses power.

use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use thorax_files::{hexadecimal, sha256_of, sync_folder};

use crate::entries::Hash;

/// How the name of a file ends that is being written.
const TEMPORARY: &str = ".part";

/// A folder of files.
pub trait FileStore: Debug + Send + Sync {
    /// Makes a file, which must be new.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>>;
    /// Gives a file another name, over what has that name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Has the disk keep which files there are, under which names.
    ///
    /// # Errors
    /// The system's.
    fn sync_names(&self) -> io::Result<()>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// The system's.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Bytes that can still be written.
    ///
    /// # Errors
    /// The system's.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Where a file lies, for those who read by path.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file that is being written.
pub trait StoreFile: Write + Debug + Send {
    /// Has the disk keep all that was written.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;
}

/// The name of a kept file.
pub(crate) fn kept_name(hash: &Hash) -> String {
    hexadecimal(hash)
}

/// The hash of a kept file of that name; `None` for any other name.
pub(crate) fn kept_hash(name: &str) -> Option<Hash> {
    sha256_of(name)
}

/// The name of a file that is being written.
pub(crate) fn temporary_name(number: u64) -> String {
    format!("{number}{TEMPORARY}")
}

/// Whether a file was being written when it got this name.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.ends_with(TEMPORARY)
}

/// A real folder.
#[derive(Debug)]
pub struct FolderStore {
    folder: PathBuf,
}

impl FolderStore {
    /// Takes `folder`, which is made where missing.
    ///
    /// # Errors
    /// The system's.
    pub fn new(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
}

impl FileStore for FolderStore {
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(File::create_new(self.folder.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.folder.join(name))?))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // A name that is no text is none of ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(&self.folder)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl StoreFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hash_is_the_name_of_a_kept_file() {
        let hash: Hash = std::array::from_fn(|i| (i * 7) as u8);
        assert_eq!(kept_hash(&kept_name(&hash)), Some(hash));
        for name in ["", "../../etc/passwd", &"A".repeat(64), &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(kept_hash(name), None, "{name}");
        }
        assert!(is_temporary(&temporary_name(3)) && kept_hash(&temporary_name(3)).is_none());
    }
}
