//! Files and folders as they lie, without what systems leave there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{notes::Notes, problem};
use crate::data::{DataError, check::is_dicom, manifest::stays_inside};

/// The pictures of a folder by their names without extension.
pub(super) fn by_stem(dir: &Path, name: &str, notes: &mut Notes) -> Result<BTreeMap<String, String>, DataError> {
    let mut files = BTreeMap::new();
    for path in entries(&dir.join(name), notes)? {
        if path.to_str().is_none() || !is_picture(&path) {
            notes.leave_out(&relative(dir, &path), "no picture's name in UTF-8 (PNG, JPEG, TIFF, DICOM, NIfTI)");
            continue;
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = files.insert(stem(&file_name), relative(dir, &path)) {
            return Err(problem(&path, format!("has the same name as {other} but for the extension; rename one")));
        }
    }
    Ok(files)
}

pub(super) fn stem(name: &str) -> String {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

pub(super) fn is_picture(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".nii.gz"]
        .iter()
        .any(|extension| name.ends_with(extension))
        || is_dicom(path)
}

/// What a folder holds, sorted, but for litter, which is counted.
pub(super) fn entries(dir: &Path, notes: &mut Notes) -> Result<Vec<PathBuf>, DataError> {
    let failed = |reason| DataError::Read { path: dir.to_owned(), reason };
    let read: Result<Vec<PathBuf>, _> = fs::read_dir(dir).map_err(failed)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = read.map_err(failed)?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let litter = name.starts_with('.') || ["__macosx", "thumbs.db", "desktop.ini"].contains(&name.as_str());
        notes.litter += usize::from(litter);
        !litter
    });
    paths.sort();
    Ok(paths)
}

/// `path` below `dir`, with `/` between folders on every system.
pub(super) fn relative(dir: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

/// A file's path below `dir`, with `/` between folders.
pub(super) fn inside(dir: &Path, written: &str) -> Result<String, String> {
    let refused =
        || format!("`{written}` does not lie under {}: write a path relative to it, without ..", dir.display());
    let mut file = written.to_owned();
    if Path::new(written).is_absolute() {
        let roots = [dir.canonicalize().ok(), std::path::absolute(dir).ok()];
        let below = roots.iter().flatten().find_map(|root| Path::new(written).strip_prefix(root).ok());
        file = below.ok_or_else(refused)?.to_string_lossy().into_owned();
    } else if written.contains('\\') && !dir.join(written).exists() {
        file = written.replace('\\', "/");
    }
    while let Some(rest) = file.strip_prefix("./") {
        file = rest.to_owned();
    }
    if stays_inside(&file) { Ok(file) } else { Err(refused()) }
}
