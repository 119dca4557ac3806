//! Pictures and masks of a manifest, decoded by the very code that the device runs.

use std::{borrow::Cow, path::Path};

use anyhow::Context;
use thorax_decode::{Frame, Limits, Study};
use thorax_shared::{
    lungs,
    plane::Plane,
    preprocess::{self, Equalised, Prepared, PreprocessError, PreprocessSpec},
};

use super::{Manifest, Record};

/// A picture, and what its manifest knows of it that no file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What the device's decoders made of the file.
    pub frame: Frame,
    /// Somebody equalised the picture (CLAHE) before it was published, so the step is left out.
    pub equalised: bool,
}

impl Picture {
    /// Reads one picture.
    ///
    /// # Errors
    /// When the file cannot be read, or is a volume.
    pub fn read(path: &Path, equalised: bool) -> anyhow::Result<Self> {
        match thorax_decode::decode(path, &Limits::default()).with_context(|| path.display().to_string())? {
            Study::Image(frame) => Ok(Self { frame, equalised }),
            Study::Volume(_) => anyhow::bail!("{}: a volume; training takes single pictures", path.display()),
        }
    }

    /// Reads the picture of a manifest's line.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn of(manifest: &Manifest, record: &Record) -> anyhow::Result<Self> {
        Self::read(&manifest.locate(&record.path), record.equalised)
    }

    /// [`Equalised::new`] of this picture, which is not equalised twice.
    ///
    /// # Errors
    /// Those of [`Equalised::new`].
    pub fn equalise(&self, spec: &PreprocessSpec) -> Result<Equalised, PreprocessError> {
        Equalised::new(&self.frame.pixels, &self.spec(spec))
    }

    /// [`preprocess::prepare`] of this picture, which is not equalised twice.
    ///
    /// # Errors
    /// Those of [`Equalised::new`].
    pub fn prepare(&self, spec: &PreprocessSpec) -> Result<Prepared, PreprocessError> {
        preprocess::prepare(&self.frame.pixels, &self.spec(spec))
    }

    /// `spec` for this picture: without CLAHE when it is equalised already.
    fn spec<'a>(&self, spec: &'a PreprocessSpec) -> Cow<'a, PreprocessSpec> {
        match self.equalised {
            true => Cow::Owned(PreprocessSpec { clahe: None, ..spec.clone() }),
            false => Cow::Borrowed(spec),
        }
    }
}

/// The masks of a record at the picture's own size, in the order of [`NAMES`](thorax_shared::mask::NAMES), 0 or 255. A mask of both lungs is cut in two.
///
/// # Errors
/// A mask that cannot be read or has another size than its picture.
pub fn truth_masks(
    manifest: &Manifest,
    record: &Record,
    picture: &Plane<u8>,
) -> anyhow::Result<Vec<Option<Plane<u8>>>> {
    let read = |path: &str| -> anyhow::Result<Plane<u8>> {
        let path = manifest.locate(path);
        let image = image::open(&path).with_context(|| path.display().to_string())?.into_luma8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        anyhow::ensure!(
            (width, height) == (picture.width(), picture.height()),
            "{}: the mask is {width} x {height}, its picture {} x {}",
            path.display(),
            picture.width(),
            picture.height()
        );
        Ok(Plane::new(width, height, image.into_raw())?.map(|v| if v > 127 { 255 } else { 0 }))
    };
    let infection = (!record.mask.is_empty()).then(|| read(&record.mask)).transpose()?;
    let paths: Vec<&str> = record.lung_masks().collect();
    let [left, right] = match paths[..] {
        [] => [None, None],
        [both] => lungs::split(&read(both)?).map(Some),
        [left, right] => [Some(read(left)?), Some(read(right)?)],
        _ => anyhow::bail!("{}: {} lung masks; give one, or the left and the right", record.path, paths.len()),
    };
    Ok(vec![infection, left, right])
}
