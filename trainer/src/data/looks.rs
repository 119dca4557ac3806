//! How often somebody looked at the test split.
//!
//! Whoever chooses by a figure of the test split has learnt from it, and later figures of it flatter. So beside each manifest is a list,
//! `NAME.csv.looks.csv`, with a line for each time that a bundle was judged on its test split, and cards tell how many there were.
//! Somebody who copies a manifest should copy the list along.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use thorax_shared::modality::Modality;

/// Columns of the list.
const COLUMNS: [&str; 4] = ["unix_s", "command", "modality", "judged"];

/// The list beside a manifest.
fn list(manifest: &Path) -> PathBuf {
    manifest.with_added_extension("looks.csv")
}

/// Writes down that `command` judged something, by its name, on the test pictures of `modality` of the manifest at that path. Where the folder is not ours to
/// write, it is said and nothing is written: figures are not worth less for it.
///
/// # Errors
/// A clock before 1970.
pub fn look(manifest: &Path, command: &str, modality: Modality, judged: &str) -> anyhow::Result<()> {
    let path = list(manifest);
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().to_string();
    let mut lines = csv::Writer::from_writer(vec![]);
    if !path.exists() {
        lines.write_record(COLUMNS)?;
    }
    lines.write_record([&time, command, modality.as_str(), judged])?;
    // One write at the end of the file, so that programs side by side lose nothing.
    let lines = lines.into_inner()?;
    let written = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = written.and_then(|mut file| file.write_all(&lines)) {
        eprintln!("warning: {}: this look at the test split is not written down: {error}", path.display());
    }
    Ok(())
}

/// How often the test pictures of `modality` of the manifest at that path were looked at, in words.
///
/// # Errors
/// A list that is damaged.
pub fn told(manifest: &Path, modality: Modality) -> anyhow::Result<String> {
    let path = list(manifest);
    let none = || "No look at the test split is written down beside its manifest.".to_owned();
    if !path.exists() {
        return Ok(none());
    }
    let read = |path: &Path| -> anyhow::Result<BTreeMap<String, usize>> {
        let mut commands = BTreeMap::new();
        // Of two programs that began the list at the same time each has written its columns.
        for line in csv::ReaderBuilder::new().has_headers(false).from_path(path)?.records() {
            let line = line?;
            if line == COLUMNS[..] {
                continue;
            }
            let (_, command, of, _): (u64, String, String, String) = line.deserialize(None)?;
            if of == modality.as_str() {
                *commands.entry(command).or_default() += 1;
            }
        }
        Ok(commands)
    };
    let commands = read(&path).with_context(|| {
        format!("{}: not a list of looks at the test split; mend it, or put it aside", path.display())
    })?;
    let by: Vec<String> = commands.iter().map(|(command, count)| format!("{command} {count}")).collect();
    if by.is_empty() {
        return Ok(none());
    }
    Ok(format!(
        "Looks at the test split that are written down beside its manifest: {} ({}). Whoever chose anything by one has learnt from it.",
        commands.values().sum::<usize>(),
        by.join(", ")
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_counted_and_a_damaged_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("manifest.csv");
        let (xray, ct) = (Modality::Xray, Modality::Ct);
        assert!(told(&manifest, xray).unwrap().contains("No look"));
        look(&manifest, "evaluate", xray, "one, \"0.1\"").unwrap();
        assert!(told(&manifest, ct).unwrap().contains("No look"));
        look(&manifest, "evaluate", xray, "one").unwrap();
        look(&manifest, "quantize", xray, "two").unwrap();
        look(&manifest, "evaluate", ct, "three").unwrap();
        let path = folder.path().join("manifest.csv.looks.csv");
        let lines = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, lines + "unix_s,command,modality,judged\n").unwrap();
        let said = told(&manifest, xray).unwrap();
        assert!(said.contains("beside its manifest: 3 (evaluate 2, quantize 1)"), "{said}");
        assert!(told(&manifest, ct).unwrap().contains("(evaluate 1)"));
        std::fs::write(&path, "unix_s,command,modality,judged\nyesterday,evaluate,xray,one\n").unwrap();
        let error = told(&manifest, ct).unwrap_err().to_string();
        assert!(error.contains("manifest.csv.looks.csv") && error.contains("put it aside"), "{error}");
        look(&folder.path().join("none/manifest.csv"), "evaluate", xray, "one").unwrap();
    }
}
