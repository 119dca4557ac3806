//! How every file comes into being: whole, or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

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
    let attempt = || -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::Builder::new().prefix(".thorax-").suffix(".part").tempfile_in(folder)?;
        let mut buffered = BufWriter::new(temporary.as_file_mut());
        fill(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        allow_reading(temporary.as_file())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|failed| failed.error)?;
        sync_folder(folder)
    };
    attempt().map_err(|reason| WriteError { path: path.to_owned(), reason })
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
    fn a_second_write_replaces_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        write_atomically(&path, |out| out.write_all(b"a longer first text")).unwrap();
        write_atomically(&path, |out| out.write_all(b"second")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
