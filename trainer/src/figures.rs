//! Pictures with a list of titles and captions, which a report shows: such as Grad-CAM beside a heat map (the paper's figure 4).

use std::path::{Component, Path};

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use thorax_files::{WriteError, write_atomically};

/// The list of a folder's figures.
const LIST: &str = "figures.json";

/// How a PNG file begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An entry of `figures.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What stands above the pictures.
    pub title: String,
    /// What stands below.
    pub caption: String,
    /// Names of PNG files beside the list, from left to right.
    pub files: Vec<String>,
}

/// Writes the list that [`read`] reads.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, figures: &[Figure]) -> anyhow::Result<()> {
    let list = serde_json::to_vec_pretty(figures)?;
    Ok::<_, WriteError>(write_atomically(&folder.join(LIST), |out| out.write_all(&list))?).map_err(Into::into)
}

/// Pictures side by side.
#[derive(Clone)]
pub struct Pictures {
    /// What stands above them.
    pub title: String,
    /// What stands below.
    pub caption: String,
    /// PNG files in base64.
    pub pngs: Vec<String>,
    /// What stands below each of them; where there is none, a letter.
    pub labels: Vec<String>,
}

/// Reads `figures.json` of a folder and the PNG files that it names.
///
/// # Errors
/// A list that is missing or malformed, a file outside the folder, and a file that is no PNG.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Pictures>> {
    let list = folder.join(LIST);
    let text = std::fs::read(&list).with_context(|| format!("{}: the list of the figures", list.display()))?;
    let figures: Vec<Figure> = serde_json::from_slice(&text).with_context(|| {
        format!("{}: expected [{{\"title\": ..., \"caption\": ..., \"files\": [\"a.png\", ...]}}, ...]", list.display())
    })?;
    let picture = |name: &String| {
        let mut parts = Path::new(name).components();
        let inside = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        ensure!(inside, "{}: {name:?} is not the name of a file beside the list", list.display());
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("{}, which figures.json names", path.display()))?;
        ensure!(bytes.starts_with(PNG), "{}: no PNG file; convert it, or leave it out of figures.json", path.display());
        Ok(BASE64_STANDARD.encode(bytes))
    };
    let pictures = figures.iter().map(|Figure { title, caption, files }| {
        let pngs = files.iter().map(picture).collect::<anyhow::Result<_>>()?;
        Ok(Pictures { title: title.clone(), caption: caption.clone(), pngs, labels: vec![] })
    });
    pictures.collect()
}
