//! Pictures and masks of a manifest, decoded by the very code that the device runs.

use std::{borrow::Cow, path::Path};

use anyhow::Context;
use thorax_decode::{Frame, Limits, Study};
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::{
    lungs,
    plane::Plane,
    preprocess::{self, Equalised, Pixels, Prepared, PreprocessError, PreprocessSpec, spec::Equalisation},
};

use super::{
    Manifest, Record,
    address::Address,
    mask::{self, Mask, is_two_valued},
    volumes,
};

/// What a mask in a picture's place is refused with.
const TWO_VALUED: &str = "nearly all its pixels have one of two values, so it is a mask and no picture";

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
    /// When the file cannot be read, is a volume, or a mask.
    pub fn read(path: &Path, equalised: bool) -> anyhow::Result<Self> {
        let picture = Self::decode(path, equalised)?;
        anyhow::ensure!(
            !is_two_valued(picture.values()),
            "{}: {TWO_VALUED}; take its row out of the manifest",
            path.display()
        );
        Ok(picture)
    }

    /// Reads one picture, whatever it shows.
    ///
    /// # Errors
    /// When the file cannot be read, or is a volume.
    pub(super) fn decode(path: &Path, equalised: bool) -> anyhow::Result<Self> {
        match thorax_decode::decode(path, &Limits::default()).with_context(|| path.display().to_string())? {
            Study::Image(frame) => Ok(Self { frame, equalised }),
            Study::Volume(_) => anyhow::bail!(
                "{}: a volume; name a slice of it, as in {}#slice=40, or import the folder that it is in",
                path.display(),
                path.display()
            ),
        }
    }

    /// The picture that a line of `manifest` calls `path`: a file, or a slice of a volume.
    ///
    /// # Errors
    /// When the file cannot be read, has no such slice, is a volume without one, or a mask.
    pub fn at(manifest: &Manifest, path: &str, equalised: bool) -> anyhow::Result<Self> {
        let picture = Self::decode_at(manifest, path, equalised)?;
        anyhow::ensure!(!is_two_valued(picture.values()), "{path}: {TWO_VALUED}; take its row out of the manifest");
        Ok(picture)
    }

    /// [`Self::at`], whatever it shows.
    ///
    /// # Errors
    /// When the file cannot be read, has no such slice, or is a volume without one.
    pub(super) fn decode_at(manifest: &Manifest, path: &str, equalised: bool) -> anyhow::Result<Self> {
        let file = manifest.locate(path);
        match Address::of(path).slice {
            None => Self::decode(&file, equalised),
            Some(slice) => {
                let frame = volumes::volume(&file)?.slice(slice, false).with_context(|| file.display().to_string())?;
                Ok(Self { frame, equalised })
            }
        }
    }

    /// SHA-256 of the file that a line of `manifest` calls `path`, hexadecimal.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(manifest: &Manifest, path: &str) -> anyhow::Result<String> {
        let file = manifest.locate(path);
        match Address::of(path).slice {
            None => Ok(hexadecimal(&file_sha256(&file)?)),
            Some(_) => volumes::sha256(&file),
        }
    }

    /// Why this is no picture to learn from, if it is none.
    pub(super) fn is_none(&self) -> Option<&'static str> {
        let mut values = self.values();
        let first = values.next();
        match values.all(|value| Some(value) == first) {
            true => Some("all its pixels are alike"),
            false => is_two_valued(self.values()).then_some(TWO_VALUED),
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> [usize; 2] {
        self.frame.pixels.size().into()
    }

    /// The grey values.
    fn values(&self) -> impl Iterator<Item = f32> + Clone + '_ {
        let (eight, sixteen, hounsfield): (&[u8], &[u16], &[i16]) = match &self.frame.pixels {
            Pixels::Eight(plane) => (plane.data(), &[], &[]),
            Pixels::Sixteen(plane) => (&[], plane.data(), &[]),
            Pixels::Hounsfield(plane) => (&[], &[], plane.data()),
        };
        let (eight, sixteen) = (eight.iter().map(|&v| f32::from(v)), sixteen.iter().map(|&v| f32::from(v)));
        eight.chain(sixteen).chain(hounsfield.iter().map(|&v| f32::from(v)))
    }

    /// Reads the picture of a manifest's line.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn of(manifest: &Manifest, record: &Record) -> anyhow::Result<Self> {
        Self::at(manifest, &record.path, record.equalised)
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
            true => Cow::Owned(PreprocessSpec { clahe: Equalisation::Never, ..spec.clone() }),
            false => Cow::Borrowed(spec),
        }
    }
}

/// Distance from slice to slice of the volume that a manifest calls `file`, in millimetres; `None` where it does not say.
///
/// # Errors
/// A file that cannot be read, or is no volume.
pub fn slice_distance_mm(manifest: &Manifest, file: &str) -> anyhow::Result<Option<f32>> {
    Ok(volumes::volume(&manifest.locate(file))?.volume().slice_distance_mm())
}

/// The masks of a record.
pub struct Truth {
    /// At the picture's own size, in the order of [`NAMES`](thorax_shared::mask::NAMES), 0 or 255; `None` where there is none. A
    /// mask of both lungs is cut in two.
    pub masks: Vec<Option<Plane<u8>>>,
    /// What was made of files that are not 0 and 255 at the picture's size, in words that a count comes before.
    pub told: Vec<String>,
}

/// [`Truth::masks`] of a record.
///
/// # Errors
/// Those of [`truth`].
pub fn truth_masks(
    manifest: &Manifest,
    record: &Record,
    picture: &Plane<u8>,
) -> anyhow::Result<Vec<Option<Plane<u8>>>> {
    Ok(truth(manifest, record, picture)?.masks)
}

/// Reads the masks of a record, at the picture's size. Which values of a file are marked, [`Mask`] says.
///
/// # Errors
/// A mask that cannot be read or has another shape than its picture; lungs given as infection.
pub fn truth(manifest: &Manifest, record: &Record, picture: &Plane<u8>) -> anyhow::Result<Truth> {
    let mut told = vec![];
    let mut read = |path: &str| -> anyhow::Result<Plane<u8>> {
        let mask = Mask::of(manifest, &record.path, path)?;
        told.extend(mask.foreground.told().map(|values| format!("masks with the values {values}")));
        let of = [mask.plane.width(), mask.plane.height()];
        let size = [picture.width(), picture.height()];
        let fitted = mask::fitted(mask.plane, size).with_context(|| path.to_owned())?;
        if of != size {
            told.push(mask::fitted_told(of, size));
        }
        Ok(fitted)
    };
    let infection = (!record.mask.is_empty()).then(|| read(&record.mask)).transpose()?;
    let paths: Vec<&str> = record.lung_masks().collect();
    let [left, right] = match paths[..] {
        [] => [None, None],
        [both] => lungs::split(&read(both)?).map(Some),
        [left, right] => [Some(read(left)?), Some(read(right)?)],
        _ => anyhow::bail!("{}: {} lung masks; give one, or the left and the right", record.path, paths.len()),
    };
    let masks = vec![infection, left, right];
    refuse_lungs_as_infection(record, &masks)?;
    Ok(Truth { masks, told })
}

/// Sees that the infection, the first of `masks`, is not just what the others mark.
///
/// # Errors
/// Where it is.
pub(super) fn refuse_lungs_as_infection(record: &Record, masks: &[Option<Plane<u8>>]) -> anyhow::Result<()> {
    let Some((Some(infection), lungs)) = masks.split_first() else { return Ok(()) };
    let lungs: Vec<&Plane<u8>> = lungs.iter().flatten().collect();
    let same_size = lungs.iter().all(|lung| lung.data().len() == infection.data().len());
    let marked = |pixel: usize| lungs.iter().any(|lung| lung.data()[pixel] > 0);
    let data = infection.data();
    let same = same_size && !lungs.is_empty() && data.iter().enumerate().all(|(i, &v)| (v > 0) == marked(i));
    anyhow::ensure!(
        !same || data.iter().all(|&v| v == 0),
        "{}: marks exactly the lungs, so it is a lung mask given as the infection's; name it in the column lung_mask",
        record.mask
    );
    Ok(())
}
