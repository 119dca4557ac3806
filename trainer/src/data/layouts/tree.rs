//! All that lies in a folder, read once, for the layouts to recognise themselves in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    files::{entries, is_picture, relative},
    notes::Notes,
};
use crate::data::{
    DataError,
    check::{Kind, kind},
    manifest::ROOT_COMMENT,
    table::Table,
};

/// A table further down than this belongs to a picture, not to the collection.
const TABLE_DEPTH: usize = 3;

/// A folder and what is below it.
pub(super) struct Tree {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The files below it, sorted, with `/` between folders.
    pub(super) files: Vec<String>,
    /// Files with names that are no UTF-8, links that lead back, and files that systems leave.
    pub(super) notes: Notes,
    /// The user's own table of patients, which is none of the collection's.
    patients: Option<PathBuf>,
    tables: OnceLock<Vec<Result<TableFile, (String, DataError)>>>,
}

/// A table that lies among the pictures.
pub(super) struct TableFile {
    /// Below the folder.
    pub(super) file: String,
    pub(super) path: PathBuf,
    pub(super) table: Table,
    /// What had to be understood to read it.
    pub(super) told: Vec<String>,
}

impl Tree {
    /// Looks at every name below `dir`; `patients` is the user's own table of patients.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(super) fn read(dir: &Path, patients: Option<&Path>) -> Result<Self, DataError> {
        let mut notes = Notes::default();
        let canonical =
            |path: &Path| path.canonicalize().map_err(|reason| DataError::Read { path: path.to_owned(), reason });
        let root = canonical(dir)?;
        let (mut files, mut seen, mut waiting, mut links) = (vec![], BTreeSet::new(), vec![dir.to_owned()], vec![]);
        // Links come last, so that a folder is read where it lies.
        while let Some(folder) = waiting.pop().or_else(|| links.pop()) {
            let real = canonical(&folder)?;
            // One up to what the folder is in would bring in all that lies beside it.
            if (folder != dir && root.starts_with(&real)) || !seen.insert(real) {
                notes.leave_out(&relative(dir, &folder), "a link to a folder that is read already");
                continue;
            }
            for path in entries(&folder, &mut notes)? {
                match path.metadata() {
                    Err(error) => notes.leave_out(&relative(dir, &path), error.to_string()),
                    Ok(_) if path.to_str().is_none() => {
                        notes.leave_out(&relative(dir, &path), "its name is not UTF-8; rename it");
                    }
                    Ok(metadata) if metadata.is_dir() && path.is_symlink() => links.push(path),
                    Ok(metadata) if metadata.is_dir() => waiting.push(path),
                    Ok(_) => files.push(relative(dir, &path)),
                }
            }
        }
        files.sort();
        let patients = patients.and_then(|path| path.canonicalize().ok());
        Ok(Self { dir: dir.to_owned(), files, notes, patients, tables: OnceLock::new() })
    }

    /// Where a file lies.
    pub(super) fn at(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// PNG, JPEG and TIFF pictures.
    pub(super) fn pictures(&self) -> impl Iterator<Item = &str> {
        let named = |file: &&String| ending(file).is_some_and(|ending| PICTURES.contains(&ending.as_str()));
        self.files.iter().filter(named).map(String::as_str)
    }

    /// NIfTI volumes.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).filter(|file| is_volume(file))
    }

    /// DICOM files: what is called so, or has no ending and says so itself.
    pub(super) fn dicom(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).filter(|file| kind(&self.at(file)) == Kind::Dicom)
    }

    /// Files of this name, wherever they lie.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.iter().map(String::as_str).filter(move |file| file_name(file).eq_ignore_ascii_case(name))
    }

    /// The tables that lie among the pictures and can be read.
    pub(super) fn tables(&self) -> impl Iterator<Item = &TableFile> {
        self.all_tables().iter().filter_map(|table| table.as_ref().ok())
    }

    /// The tables that cannot be read, and why.
    pub(super) fn broken_tables(&self) -> impl Iterator<Item = (&str, &DataError)> {
        self.all_tables().iter().filter_map(|table| table.as_ref().err()).map(|(file, error)| (file.as_str(), error))
    }

    fn all_tables(&self) -> &[Result<TableFile, (String, DataError)>] {
        self.tables.get_or_init(|| {
            let tables = self.files.iter().filter(|file| {
                matches!(ending(file).as_deref(), Some("csv" | "tsv"))
                    && file.matches('/').count() < TABLE_DEPTH
                    && (self.patients.is_none() || self.at(file).canonicalize().ok() != self.patients)
            });
            let read = |file: &String| {
                let (path, mut told) = (self.at(file), vec![]);
                match Table::read(&path, &mut told) {
                    Ok(table) => Some(Ok(TableFile { file: file.clone(), path, table, told })),
                    // What an import wrote before is none of the collection's.
                    Err(_) if std::fs::read(&path).is_ok_and(|text| text.starts_with(ROOT_COMMENT.as_bytes())) => None,
                    Err(error) => Some(Err((file.clone(), error))),
                }
            };
            tables.filter_map(read).collect()
        })
    }

    /// Tells how many files are none of `used` and are not read, and what could not be looked at.
    pub(super) fn tell_unused(&self, used: &BTreeSet<&str>, notes: &mut Notes) {
        notes.litter += self.notes.litter;
        notes.left_out.extend(self.notes.left_out.iter().cloned());
        let unused: Vec<&str> = self.files.iter().map(String::as_str).filter(|file| !used.contains(file)).collect();
        let (pictures, others): (Vec<&str>, Vec<&str>) =
            unused.into_iter().partition(|file| is_picture(&self.at(file)));
        for file in pictures {
            notes.leave_out(file, "no rule of this layout says what it is");
        }
        if !others.is_empty() {
            notes.told.push(format!("{} other files are not read: {}", others.len(), super::listed(&others)));
        }
    }
}

const PICTURES: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// Whether a file is a NIfTI volume, by its name.
pub(super) fn is_volume(file: &str) -> bool {
    kind(Path::new(file)) == Kind::Nifti
}

/// A file's ending in small letters.
fn ending(file: &str) -> Option<String> {
    Some(Path::new(file).extension()?.to_str()?.to_ascii_lowercase())
}

/// The last part of a path.
pub(super) fn file_name(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// The folder of a file, without `/` at its end.
pub(super) fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `name` in `folder`.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The parts of a name between what is neither letter nor digit, in small letters.
pub(super) fn parts(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_lowercase).collect()
}
