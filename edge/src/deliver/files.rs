//! Results as files: masks as PNG of the input's own size, and what the panel shows.
//!
//! Nothing is written before all of a file has been read: masks are [`Pending`] until then.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Context;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use thorax_decode::{Input, as_stored, name_without_ending};
use thorax_engine::screening::Reading;
use thorax_files::{WriteError, write_atomically};
use thorax_screen::{PANEL, render_png};
use thorax_shared::{plane::Plane, words::Language};

use crate::{
    outcome::{Hanging, Outcome},
    report,
};

/// What the files of the masks have behind the name: infection, the patient's left and right lung, both where the sides are not
/// known.
const MASK_SUFFIXES: [&str; 4] = ["", "_left_lung", "_right_lung", "_lungs"];

/// A result whose time to be written has not come.
#[derive(Clone, Debug)]
pub struct Pending {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Pending {
    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`WriteError`] with the path.
    pub fn write(&self) -> Result<(), WriteError> {
        write_atomically(&self.path, |out| out.write_all(&self.bytes))
    }
}

/// Where the results of some inputs go, and what they are called.
#[derive(Clone, Debug)]
pub struct ResultFiles {
    masks: Option<PathBuf>,
    prepared: Option<PathBuf>,
    display: Option<PathBuf>,
    /// Whether `display` is a folder, and not a file.
    display_folder: bool,
    /// For each input, a name for each of its files.
    names: Vec<Vec<String>>,
}

impl ResultFiles {
    /// Names for the results of `inputs`, and folders for them: `masks`, `prepared`, and `display` unless it is to be one PNG.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn new(
        inputs: &[Input],
        masks: Option<&Path>,
        prepared: Option<&Path>,
        display: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let display_folder = display.is_some_and(|path| inputs.len() > 1 || path.is_dir());
        for folder in masks.into_iter().chain(prepared).chain(display.filter(|_| display_folder)) {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("{}: cannot be made a folder", folder.display()))?;
        }
        let files: Vec<PathBuf> = inputs.iter().flat_map(|input| input.files().to_vec()).collect();
        let mut all = result_names(&files).into_iter();
        let names = inputs.iter().map(|input| all.by_ref().take(input.files().len()).collect()).collect();
        let [masks, prepared, display] = [masks, prepared, display].map(|path| path.map(Path::to_owned));
        Ok(Self { masks, prepared, display, display_folder, names })
    }

    /// What the results are called, in the order of the inputs: a name for each file, since the slices of a series are called after
    /// theirs.
    pub fn names(&self) -> &[Vec<String>] {
        &self.names
    }

    /// The input that a result would be written over, if there is one.
    pub fn overwritten_input(&self, inputs: &[Input]) -> Option<PathBuf> {
        let files = inputs.iter().flat_map(Input::files);
        let inputs: BTreeSet<PathBuf> = files.filter_map(|file| file.canonicalize().ok()).collect();
        let masks = |name: &str| self.masks.iter().flat_map(|folder| mask_paths(folder, name)).collect::<Vec<_>>();
        let prepared = |name: &str| self.prepared.as_ref().map(|folder| folder.join(format!("{name}.png")));
        self.names
            .iter()
            .flatten()
            .flat_map(|name| masks(name).into_iter().chain(prepared(name)).chain(self.panel_path(name)))
            .find(|path| path.canonicalize().is_ok_and(|path| inputs.contains(&path)))
    }

    /// What was asked for of a reading: its masks, if it has any, turned back to the rows and columns of the file, and the picture
    /// that was read.
    ///
    /// # Errors
    /// A picture that cannot be encoded.
    pub fn pictures(
        &self,
        names: &[String],
        slice: Option<usize>,
        reading: &Reading,
        hanging: Hanging,
    ) -> anyhow::Result<Vec<Pending>> {
        let name = match (names, slice) {
            ([name], Some(slice)) => format!("{name}_slice{slice:04}"),
            (names, slice) => names.get(slice.unwrap_or(0)).cloned().unwrap_or_default(),
        };
        let mut pending = vec![];
        if let (Some(folder), Some(masks)) = (&self.masks, &reading.masks) {
            let [infection, left, right, both] = mask_paths(folder, &name);
            let lungs = masks.lungs();
            let told = match hanging.sides_known {
                true => vec![(infection, &masks.infection), (left, &masks.left_lung), (right, &masks.right_lung)],
                false => vec![(infection, &masks.infection), (both, &lungs)],
            };
            for (path, mask) in told {
                let stored = as_stored(mask, hanging.orientation, hanging.stored_size);
                pending.push(Pending { path, bytes: png(&stored)? });
            }
        }
        if let Some(folder) = &self.prepared {
            pending.push(Pending { path: folder.join(format!("{name}.png")), bytes: png(&reading.picture)? });
        }
        Ok(pending)
    }

    /// Writes what the panel shows of `input`, if that was asked for.
    ///
    /// # Errors
    /// A panel that cannot be written.
    pub fn panel(&self, names: &[String], input: &Input, outcome: &Outcome) -> anyhow::Result<()> {
        let Some(path) = names.first().and_then(|name| self.panel_path(name)) else { return Ok(()) };
        let file_name = input.path().file_name().unwrap_or_default().to_string_lossy();
        match outcome {
            Outcome::Screened(screening) => {
                let title = screening.bundle.title();
                render_png(&report::panel(screening, &file_name, &title, None), PANEL, &path)?;
            }
            Outcome::Refused(reason) => {
                render_png(&report::refusal(reason, &reason.to_string(), &file_name, Language::English), PANEL, &path)?
            }
        }
        Ok(())
    }

    fn panel_path(&self, name: &str) -> Option<PathBuf> {
        let path = self.display.as_ref()?;
        Some(if self.display_folder { path.join(format!("{name}.png")) } else { path.clone() })
    }
}

fn mask_paths(folder: &Path, name: &str) -> [PathBuf; 4] {
    MASK_SUFFIXES.map(|suffix| folder.join(format!("{name}{suffix}.png")))
}

/// What each file's results are called: its name without the extension, or with it, or with a number too, where results of
/// two files would meet.
fn result_names(files: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut name_for = |file: &PathBuf| {
        let whole = file.file_name().map_or_else(|| "input".into(), |name| name.to_string_lossy().into_owned());
        let results = |name: &str| MASK_SUFFIXES.map(|suffix| format!("{name}{suffix}"));
        let name = [name_without_ending(&whole).to_owned(), whole.clone()]
            .into_iter()
            .chain((2..).map(|number| format!("{whole}_{number}")))
            .find(|name| results(name).iter().all(|result| !taken.contains(result)))
            .unwrap_or(whole);
        taken.extend(results(&name));
        name
    };
    files.iter().map(&mut name_for).collect()
}

fn png(picture: &Plane<u8>) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (u32::try_from(picture.width())?, u32::try_from(picture.height())?);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(picture.data(), width, height, ExtendedColorType::L8)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_files_of_one_name_do_not_meet() {
        let files = ["a/chest.png", "b/chest.dcm", "c/chest.png", "chest_left_lung.png", ".dcm"].map(PathBuf::from);
        let expected = ["chest", "chest.dcm", "chest.png", "chest_left_lung.png", ".dcm"];
        assert_eq!(result_names(&files), expected);
    }
}
