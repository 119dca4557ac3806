//! What every command that learns or judges asks of a manifest before it does so: that no patient and no picture is on two sides of
//! a split, and that the files are those that were imported.
//!
//! A file is hashed once. What it came to is kept in `$XDG_CACHE_HOME/thorax/sha256` (`~/.cache` where that is not set), under the
//! file's path, size and times (modified and changed, to the nanosecond), so the next command only asks for those. What was
//! modified within the last seconds is not kept: it could change again within the same tick of the clock. Where there is no such
//! folder, everything is hashed each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thorax_files::{file_sha256, hexadecimal, write_atomically};
use thorax_shared::modality::Modality;

use super::{
    DataError, Manifest, Record, Task,
    address::Address,
    check::{Problem, static_problems},
};
use crate::progress::in_parallel;

/// A file that is younger could be written once more without a sign of it.
const SETTLED: Duration = Duration::from_secs(3);

/// Reads a manifest to learn from it or to judge with it.
///
/// # Errors
/// Those of [`Manifest::load`]; [`DataError::Unsound`] for a patient, group or picture in two splits, one picture of two classes, a
/// line that stands twice, a lung mask in the place of an infection's, and pictures of unknown patients outside training.
pub fn open(path: &Path) -> Result<Manifest, DataError> {
    let manifest = Manifest::load(path)?;
    refuse(path, static_problems(&manifest))?;
    Ok(manifest)
}

/// Sees that the pictures of `modality` for `tasks`, and their masks, are the files that were imported. (The extraction of features
/// asks picture by picture, so that what it did before a changed one is kept.)
///
/// # Errors
/// [`DataError::Unsound`] naming the first files that are not, or cannot be read.
pub fn verify(manifest: &Manifest, modality: Modality, tasks: &[Task]) -> Result<(), DataError> {
    let records = manifest.records.iter().filter(|record| record.modality == modality && tasks.contains(&record.task));
    verify_records(manifest, &records.collect::<Vec<_>>())
}

/// The same of some records of a manifest.
///
/// # Errors
/// Those of [`verify`].
pub fn verify_records(manifest: &Manifest, records: &[&Record]) -> Result<(), DataError> {
    let mut cache = HashCache::open(&manifest.root);
    // A volume is named by each of its slices.
    let files = records.iter().flat_map(|record| hashes(record));
    let files: BTreeSet<(&str, &str)> = files.map(|(file, sha256)| (Address::of(file).file, sha256)).collect();
    let files: Vec<(&str, &str)> = files.into_iter().collect();
    let hashed = in_parallel("comparing files", &files, |(file, _)| cache.sha256(file));
    let mut problems = vec![];
    for ((file, expected), hashed) in files.iter().zip(hashed) {
        match hashed {
            Err(reason) => problems.push(Problem::Unreadable { file: (*file).to_owned(), reason }),
            Ok((sha256, fresh)) => {
                if !expected.is_empty() && sha256 != *expected {
                    problems.push(Problem::Changed { file: (*file).to_owned() });
                }
                cache.keep(file, fresh);
            }
        }
    }
    cache.save();
    let unknown = files.iter().filter(|(_, expected)| expected.is_empty()).count();
    if unknown > 0 {
        eprintln!(
            "the manifest has no SHA-256 of {unknown} of {} files, so nobody can say whether they changed; import again",
            files.len()
        );
    }
    refuse(&manifest.root, problems)
}

/// The files of a record, each with its SHA-256, or nothing where the manifest has none.
pub(super) fn hashes(record: &Record) -> impl Iterator<Item = (&str, &str)> {
    let masks = record.masks().zip(record.masks_sha256.split(';').chain(std::iter::repeat("")));
    std::iter::once((record.path.as_str(), record.sha256.as_str())).chain(masks)
}

fn refuse(path: &Path, problems: Vec<Problem>) -> Result<(), DataError> {
    if problems.is_empty() {
        return Ok(());
    }
    let first: Vec<String> = problems.iter().take(3).map(Problem::to_string).collect();
    Err(DataError::Unsound { path: path.to_owned(), count: problems.len(), first: first.join("; ") })
}

/// By what a file is known to be the one that was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    /// The inode's: nobody can set it back.
    changed: i128,
    sha256: String,
}

/// The hashes of the files below one folder.
struct HashCache {
    root: PathBuf,
    /// `None` where there is no place for it.
    path: Option<PathBuf>,
    files: BTreeMap<String, Seen>,
    grown: bool,
}

impl HashCache {
    fn open(root: &Path) -> Self {
        let absolute = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let name = hexadecimal(&Sha256::digest(absolute.as_os_str().as_encoded_bytes()));
        let path = cache_folder().map(|folder| folder.join(format!("thorax/sha256/{name}.json")));
        let files = path.as_deref().and_then(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok());
        Self { root: absolute, path, files: files.unwrap_or_default(), grown: false }
    }

    /// The hash of a file, and what is to be kept of it, if that is new.
    fn sha256(&self, file: &str) -> Result<(String, Option<Seen>), String> {
        let path = self.root.join(file);
        let seen = Seen::of(&path).map_err(|error| error.to_string())?;
        if let Some(known) = self.files.get(file)
            && (Seen { sha256: known.sha256.clone(), ..seen.clone() }) == *known
        {
            return Ok((known.sha256.clone(), None));
        }
        let sha256 = hexadecimal(&file_sha256(&path).map_err(|error| error.reason.to_string())?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = seen.modified.max(u128::try_from(seen.changed).unwrap_or_default());
        let settled = latest + SETTLED.as_nanos() < now.as_nanos();
        Ok((sha256.clone(), settled.then_some(Seen { sha256, ..seen })))
    }

    fn keep(&mut self, file: &str, seen: Option<Seen>) {
        if let Some(seen) = seen {
            self.files.insert(file.to_owned(), seen);
            self.grown = true;
        }
    }

    /// A cache that cannot be written costs time, and nothing else.
    fn save(&self) {
        let Some(path) = self.path.as_deref().filter(|_| self.grown) else { return };
        if let Ok(text) = serde_json::to_vec(&self.files) {
            let _ = write_atomically(path, |out| out.write_all(&text));
        }
    }
}

impl Seen {
    /// Of a file, without its hash.
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = path.metadata()?;
        let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let changed = 0;
        Ok(Self { bytes: metadata.len(), modified, changed, sha256: String::new() })
    }
}

/// Where programs keep what they can make again.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(folder("HOME")?.join(".cache")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "one").unwrap();
        let place = folder.path().join("cache.json");
        let cache = || HashCache {
            root: folder.path().to_owned(),
            path: Some(place.clone()),
            files: std::fs::read(&place).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default(),
            grown: false,
        };
        let of = |text: &str| hexadecimal(&Sha256::digest(text));
        let (sha256, fresh) = cache().sha256("a.png").unwrap();
        assert_eq!((sha256, fresh), (of("one"), None), "too young to be kept");
        let mut kept = cache();
        kept.keep("a.png", Some(Seen { sha256: of("from the cache"), ..Seen::of(&path).unwrap() }));
        kept.save();
        assert_eq!(cache().sha256("a.png").unwrap().0, of("from the cache"), "not hashed again");
        // As long, and with the old time set back on it: the inode tells.
        let time = path.metadata().unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, "two").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        assert_eq!(cache().sha256("a.png").unwrap().0, of("two"));
        assert!(cache().sha256("b.png").is_err());
    }
}
