//! Pictures and masks of a manifest, decoded by the very code that the device runs.

use std::path::Path;

use anyhow::Context;
use thorax_decode::{Frame, Limits, Study};
use thorax_shared::{lungs, plane::Plane};

use super::{Manifest, Record};

/// Reads one picture.
///
/// # Errors
/// When the file cannot be read, or is a volume.
pub fn read(path: &Path) -> anyhow::Result<Frame> {
    match thorax_decode::decode(path, &Limits::default()).with_context(|| path.display().to_string())? {
        Study::Image(frame) => Ok(frame),
        Study::Volume(_) => anyhow::bail!("{}: a volume; training takes single pictures", path.display()),
    }
}

/// Reads the picture of a manifest's line.
///
/// # Errors
/// Those of [`read`].
pub fn read_record(manifest: &Manifest, record: &Record) -> anyhow::Result<Frame> {
    Ok(Frame { equalised: record.equalised, ..read(&manifest.locate(&record.path))? })
}

/// The masks of a record at the picture's own size, in the order of [`MASKS`], 0 or 255. A mask of both lungs is cut in two.
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
