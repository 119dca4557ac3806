//! How every file comes into being: whole, or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// How the name of a temporary file begins.
const PREFIX: &str = ".thorax-";
/// How it ends.
const SUFFIX: &str = ".part";

/// A file could not be written; the file that stood at `path` before, if any, is untouched.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {reason}; check that the folder is writable and the disk has room", path = path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What the operating system, or the writer, said.
    pub reason: io::Error,
}

/// Writes `path` through `fill` so that a reader, or a power cut, sees either the old file or all of the new one.
///
/// The bytes go to a temporary file in the same folder (created with its parents where missing), are synced to the
/// disk, and only then renamed over `path`; at last the folder itself is synced, so that the rename lasts.
///
/// # Errors
/// [`WriteError`] with the path, when `fill` fails or the system refuses one of the steps.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    write(path, fill, |temporary| {
        allow_reading(temporary.as_file())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map(drop).map_err(|failed| failed.error)
    })
}

/// As [`write_atomically`], for a file that must be new: what is called `path` is never replaced.
///
/// # Errors
/// [`WriteError`]; its reason is [`io::ErrorKind::AlreadyExists`] where there is something called `path`.
pub fn write_new(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    write(path, fill, |temporary| {
        allow_reading(temporary.as_file())?;
        temporary.as_file().sync_all()?;
        temporary.persist_noclobber(path).map(drop).map_err(|failed| failed.error)
    })
}

/// As [`write_atomically`], for what only its owner may read and what is never replaced, such as a key.
///
/// # Errors
/// [`WriteError`]; its reason is [`io::ErrorKind::AlreadyExists`] where there is something called `path`.
pub fn write_secret(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    write(path, fill, |temporary| {
        temporary.as_file().sync_all()?;
        temporary.persist_noclobber(path).map(drop).map_err(|failed| failed.error)
    })
}

/// As [`write_atomically`], for what only its owner may read, such as a list of passwords' hashes.
///
/// # Errors
/// [`WriteError`].
pub fn replace_secret(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
    write(path, fill, |temporary| {
        temporary.as_file().sync_all()?;
        temporary.persist(path).map(drop).map_err(|failed| failed.error)
    })
}

/// Fills a temporary file beside `path` and has `finish` give it its name; whatever fails, it is gone.
fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    finish: impl FnOnce(tempfile::NamedTempFile) -> io::Result<()>,
) -> Result<(), WriteError> {
    let attempt = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?;
        let mut buffered = BufWriter::new(temporary.as_file_mut());
        fill(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        finish(temporary)?;
        sync_folder(folder)
    };
    attempt().map_err(|reason| WriteError { path: path.to_owned(), reason })
}

/// Removes the temporary files that killed processes left in `folder`, and says how many there were. Nobody else may be writing
/// into the folder: see [`FolderLock`](crate::FolderLock).
///
/// # Errors
/// A folder that cannot be read, or a file that cannot be removed.
pub fn remove_left_over(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Temporary files are born readable by their owner alone; a finished one is as readable as any other.
#[cfg(unix)]
fn allow_reading(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn allow_reading(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Has the disk keep which files a folder holds, so that a new name outlasts a power cut.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Nothing here: the system has no such call.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.txt");
        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half of the new")?;
            Err(io::Error::other("the lamp went out"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("file.txt") && error.to_string().contains("the lamp went out"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_is_for_its_owner_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/signing.key");
        write_secret(&path, |out| out.write_all(b"secret")).unwrap();
        let error = write_secret(&path, |out| out.write_all(b"other")).unwrap_err();
        assert_eq!(error.reason.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        // A full disk.
        let full = path.with_file_name("full.key");
        write_secret(&full, |_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing half-written is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_new_file_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("study/image.dcm");
        write_new(&path, |out| out.write_all(b"ours")).unwrap();
        let error = write_new(&path, |out| out.write_all(b"other")).unwrap_err();
        assert_eq!(error.reason.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".thorax-a1B2c3.part", "kept.part", ".thorax-kept", "kept.txt"] {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        fs::create_dir(folder.path().join(".thorax-folder.part")).unwrap();
        assert_eq!(remove_left_over(folder.path()).unwrap(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        assert_eq!(remove_left_over(folder.path()).unwrap(), 0);
    }

    #[test]
    fn a_second_write_replaces_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        write_atomically(&path, |out| out.write_all(b"a longer first text")).unwrap();
        write_atomically(&path, |out| out.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
