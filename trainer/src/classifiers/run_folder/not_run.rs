//! Classifiers that were to run and could not, since something that they need is not installed: `not_run.json`. The others' figures are
//! as good without them, and whoever reads a table should not wonder where a row is.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use thorax_files::write_atomically;

use super::{RunFolderError, read::malformed};
use crate::classifiers::{ClassifierError, Kind};

const FILE: &str = "not_run.json";

/// Why a classifier could not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRun {
    /// What is missing, and the remedy, in full.
    pub reason: String,
    /// What to install, in a few words.
    pub install: String,
}

/// Notes that `kind` could not run, or, with `None`, that it did.
///
/// # Errors
/// A file that cannot be read or written.
pub fn note_not_run(folder: &Path, kind: Kind, why: Option<NotRun>) -> Result<(), ClassifierError> {
    let path = folder.join(FILE);
    // What cannot be read is written anew.
    let found = read_not_run(folder).unwrap_or_default();
    let mut noted = found.clone();
    match why {
        Some(why) => drop(noted.insert(kind, why)),
        None => drop(noted.remove(&kind)),
    }
    if noted == found {
        return Ok(());
    }
    let mut text = serde_json::to_string_pretty(&noted)
        .map_err(|error| ClassifierError::Malformed { path: path.clone(), reason: error.to_string() })?;
    text.push('\n');
    Ok(write_atomically(&path, |out| out.write_all(text.as_bytes()))?)
}

/// The classifiers of a folder that could not run; none where nothing is noted.
///
/// # Errors
/// A file that is damaged.
pub fn read_not_run(folder: &Path) -> Result<BTreeMap<Kind, NotRun>, RunFolderError> {
    let path = folder.join(FILE);
    match std::fs::read(&path) {
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(reason) => Err(RunFolderError::Read { path, reason }),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| malformed(&path, error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_later_is_not_missing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_not_run(folder.path()).unwrap().is_empty());
        note_not_run(folder.path(), Kind::Knn, None).unwrap();
        assert!(!folder.path().join(FILE).exists(), "there was nothing to say");
        let why = NotRun { reason: "no library".into(), install: "a library".into() };
        note_not_run(folder.path(), Kind::Xgboost, Some(why.clone())).unwrap();
        assert_eq!(read_not_run(folder.path()).unwrap(), [(Kind::Xgboost, why)].into());
        note_not_run(folder.path(), Kind::Xgboost, None).unwrap();
        assert!(read_not_run(folder.path()).unwrap().is_empty());
        std::fs::write(folder.path().join(FILE), "[").unwrap();
        assert!(read_not_run(folder.path()).unwrap_err().to_string().contains(FILE));
    }
}
