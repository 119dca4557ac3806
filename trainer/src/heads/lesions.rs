//! The infected share of the lungs of each row of a feature store, as evidence beside the features.
//!
//! It takes as long as extracting the features, so every share is written down as soon as it is known, and a run that was stopped goes
//! on where it was.

use std::{collections::HashMap, fs::OpenOptions, io::Write as _, path::Path};

use anyhow::Context;
use rayon::prelude::*;

use crate::{
    data::{Manifest, Split},
    features::{Contents, FeatureRow, picture},
    progress::progress,
    segmentation::LungFinder,
};

/// The file in a run's folder that has the shares, one a line: copy, percent (empty where hardly any lung was found), path.
const FILE: &str = "involvement.csv";

/// Rows that are computed before they are written.
const UNIT: usize = 32;

/// The infected share of the lungs of every row, in percent; `None` where hardly any lung was found, and in rows of the test split, which
/// nothing is learnt from.
///
/// # Errors
/// Pictures that cannot be read, a segmenter that fails, a file that cannot be written or was written by something else.
pub fn involvement(
    manifest: &Manifest,
    contents: &Contents,
    rows: &[FeatureRow],
    finder: &LungFinder,
    folder: &Path,
) -> anyhow::Result<Vec<Option<f32>>> {
    let path = folder.join(FILE);
    let mut known = read(&path)?;
    let key = |row: &FeatureRow| (row.copy, row.path.clone());
    let learnt = |row: &&FeatureRow| row.split != Split::Test;
    let missing: Vec<&FeatureRow> = rows.iter().filter(learnt).filter(|row| !known.contains_key(&key(row))).collect();
    let bar = progress(missing.len(), "lesions");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    for unit in missing.chunks(UNIT) {
        let found = unit.par_iter().map(|row| {
            let picture = picture(manifest, contents, row)?;
            let percent = finder.involvement_percent(&picture).with_context(|| row.path.clone())?;
            bar.inc(1);
            Ok((key(row), percent))
        });
        let found = found.collect::<anyhow::Result<Vec<_>>>()?;
        let mut lines = csv::Writer::from_writer(vec![]);
        for ((copy, path), percent) in &found {
            lines.write_record([&copy.to_string(), &percent.map_or_else(String::new, |p| p.to_string()), path])?;
        }
        file.write_all(&lines.into_inner()?).with_context(|| path.display().to_string())?;
        known.extend(found);
    }
    bar.finish_and_clear();
    Ok(rows.iter().map(|row| known.get(&key(row)).copied().flatten()).collect())
}

/// What was written so far. A last line that was cut off is taken off the file, so that the next one is not written onto it.
fn read(path: &Path) -> anyhow::Result<HashMap<(u16, String), Option<f32>>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        read => read.with_context(|| path.display().to_string())?,
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    let mut lines = csv::ReaderBuilder::new().has_headers(false).from_reader(&text.as_bytes()[..whole]);
    let mut known = HashMap::new();
    for line in lines.records() {
        let line = line.with_context(|| path.display().to_string())?;
        let share = || -> Option<_> {
            let percent = match line.get(1)? {
                "" => None,
                percent => Some(percent.parse().ok().filter(|p| (0.0..=100.0).contains(p))?),
            };
            Some(((line.get(0)?.parse().ok()?, line.get(2)?.to_owned()), percent))
        };
        let (key, percent) = share().with_context(|| {
            format!("{}: a line that is no share of infected lung; delete the file", path.display())
        })?;
        known.insert(key, percent);
    }
    Ok(known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert!(read(&path).unwrap().is_empty());
        std::fs::write(&path, "0,12.5,a.png\n3,,\"b, c.png\"\n1,4").unwrap();
        let known = read(&path).unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!(known[&(0, "a.png".to_owned())], Some(12.5));
        assert_eq!(known[&(3, "b, c.png".to_owned())], None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0,12.5,a.png\n3,,\"b, c.png\"\n");
        std::fs::write(&path, "0,250,a.png\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("delete the file"));
    }
}
