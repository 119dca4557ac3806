//! What a mask marks. Programs write what is marked as 255, 127 or 1, or number their labels from 1 on; a mask that was resized or
//! saved as JPEG has grey borders. There is one answer to "which of these values are marked", and training, `data check`, `masks
//! judge` and `masks compare` all ask here.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context;
use image::DynamicImage;
use thorax_decode::Outline;
use thorax_shared::{plane::Plane, preprocess::Pixels};

use super::{
    Manifest,
    address::{Address, is_volume},
    volumes,
};

/// Labels are small numbers: nnU-Net's and the lungs' label maps have a handful.
const LABELS: u16 = 32;
/// So many values besides 0 are labels or an accident, more are shades of grey.
const FEW: usize = 6;

/// Which values of a mask are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreground {
    /// Nothing but 0.
    Empty,
    /// 0, and this value.
    Value(u16),
    /// Small whole numbers, of which all above 0 are marked.
    Labels(Vec<u16>),
    /// These labels of several.
    Chosen(Vec<u16>),
    /// Shades of grey up to 255 or 65535: what lies above half of that.
    Above(u16),
}

impl Foreground {
    /// What a mask of these values marks.
    ///
    /// # Errors
    /// Values that could mean several things, or no background, with the remedy.
    pub fn of(values: &BTreeSet<u16>) -> Result<Self, String> {
        let marked: Vec<u16> = values.iter().copied().filter(|&value| value > 0).collect();
        let listed = || marked.iter().take(8).map(u16::to_string).collect::<Vec<_>>().join(", ");
        let highest = marked.last().copied().unwrap_or_default();
        let full = if highest > 255 { u16::MAX } else { 255 };
        match &marked[..] {
            [] => Ok(Self::Empty),
            // (Among many shades of grey, as JPEG makes, the background need not be quite 0.)
            _ if !values.contains(&0) && marked.len() <= FEW => {
                Err(format!("its values are {}, and none is 0; the background of a mask must be 0", listed()))
            }
            [value] => Ok(Self::Value(*value)),
            _ if highest <= LABELS => Ok(Self::Labels(marked)),
            _ if marked.len() <= FEW && !marked.iter().all(|&v| v <= full / 16 || v >= full - full / 16) => {
                Err(format!(
                    "its values are 0, {}, which are neither two values nor labels from 1 on; write 255 where it marks, and 0 elsewhere",
                    listed()
                ))
            }
            _ => Ok(Self::Above(full / 2)),
        }
    }

    /// [`Self::of`], or these labels, where there are any.
    ///
    /// # Errors
    /// Those of [`Self::of`].
    pub fn chosen(values: &BTreeSet<u16>, labels: Vec<u16>) -> Result<Self, String> {
        if labels.is_empty() { Self::of(values) } else { Ok(Self::Chosen(labels)) }
    }

    /// Whether a pixel of this value is marked.
    pub fn holds(&self, value: u16) -> bool {
        match self {
            Self::Empty => false,
            Self::Value(_) | Self::Labels(_) => value > 0,
            Self::Chosen(labels) => labels.contains(&value),
            Self::Above(limit) => value > *limit,
        }
    }

    /// What was made of the values, in words; `None` for 0 and 255, as masks should be, and for an empty mask.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Empty | Self::Value(255) | Self::Chosen(_) => None,
            Self::Value(value) => Some(format!("0 and {value}")),
            Self::Labels(labels) => {
                let labels: Vec<String> = labels.iter().map(u16::to_string).collect();
                Some(format!("labels {}, of which all are taken as marked", labels.join(", ")))
            }
            Self::Above(limit) => Some(format!("shades of grey, of which those above {limit} are marked")),
        }
    }
}

/// A mask's file.
pub struct Mask {
    /// 0 or 255.
    pub plane: Plane<u8>,
    /// Of which values that was made.
    pub foreground: Foreground,
}

/// Sides of a mask and of its picture may differ by so much of one, when the one is brought to the size of the other.
const SAME_SHAPE: f64 = 0.01;

/// `mask` at the size of its picture, columns and rows: each pixel as the mask has it there.
///
/// # Errors
/// A mask of another shape, which lies over another part of the picture.
pub fn fitted(mask: Plane<u8>, [width, height]: [usize; 2]) -> anyhow::Result<Plane<u8>> {
    let (columns, rows) = (mask.width(), mask.height());
    if (columns, rows) == (width, height) {
        return Ok(mask);
    }
    let ratio = (columns * height) as f64 / (rows * width).max(1) as f64;
    anyhow::ensure!(
        (ratio - 1.0).abs() <= SAME_SHAPE,
        "the mask is {columns} x {rows}, its picture {width} x {height}, which is another shape; cut the one as the other"
    );
    Ok(stretched(&mask, [width, height]))
}

/// Sees that a mask's voxels lie over its scan's.
///
/// # Errors
/// One of the two does not say where its voxels lie, and they are not stored alike: the mask may be upside down or mirrored.
pub(super) fn lies_over(mask: &Outline, scan: &Outline) -> Result<(), String> {
    if mask.lies_as(scan) {
        return Ok(());
    }
    let silent = if mask.sides_known { "the scan's" } else { "the mask's" };
    Err(format!(
        "{silent} header tells no orientation, and mask and scan are not stored alike, so nobody knows which side of the one is which of \
         the other; save the mask with its scan's affine"
    ))
}

/// `mask` with other numbers of columns and rows, each pixel as the mask has it under its centre.
fn stretched(mask: &Plane<u8>, [width, height]: [usize; 2]) -> Plane<u8> {
    let at = |i: usize, of: usize, to: usize| ((2 * i + 1) * of / (2 * to)).min(of.saturating_sub(1));
    Plane::from_fn(width, height, |x, y| mask.get(at(x, mask.width(), width), at(y, mask.height(), height)))
}

/// What is told of a mask that was [`fitted`].
pub fn fitted_told([columns, rows]: [usize; 2], [width, height]: [usize; 2]) -> String {
    format!("masks of {columns} x {rows} brought to their pictures' {width} x {height}")
}

impl Mask {
    /// Reads the mask that a line of `manifest` calls `mask`, for the picture `picture`: of a slice of a volume the slice that lies
    /// there, which has a pixel for each voxel.
    ///
    /// # Errors
    /// A file that cannot be read, or whose values mean no mask; a volume with another number of slices than the picture's, or one
    /// of which nobody knows how it lies over the picture's.
    pub fn of(manifest: &Manifest, picture: &str, mask: &str) -> anyhow::Result<Self> {
        let path = manifest.locate(mask);
        let told = || path.display().to_string();
        let Address { labels, slice: own, .. } = Address::of(mask);
        let Some(slice) = own.or(Address::of(picture).slice) else {
            return Self::labelled(&path, labels);
        };
        if !is_volume(&path.to_string_lossy()) {
            return Self::labelled(&path, labels);
        }
        let read = volumes::volume(&path)?;
        if Address::of(picture).slice.is_some() {
            let scan = volumes::volume(&manifest.locate(picture))?;
            lies_over(&read.volume().outline(), &scan.volume().outline())
                .map_err(|reason| anyhow::anyhow!("{}: {reason}", told()))?;
        }
        let (frame, shown) = if own.is_some() {
            let frame = read.slice(slice, true).with_context(told)?;
            let size = frame.pixels.size();
            (frame, size)
        } else {
            let scan = volumes::volume(&manifest.locate(picture))?;
            // The same place in the body, however the two are stored.
            let index = scan.volume().stored_index(slice);
            let frame = read.slice(read.volume().stored_index(index), true).with_context(told)?;
            let grid = scan.slice(slice, true)?.pixels.size();
            let [slices, of] = [&read, &scan].map(|read| read.volume().slices());
            anyhow::ensure!(
                slices == of && frame.pixels.size() == grid,
                "{}: {slices} slices of {:?}, its scan {picture} has {of} of {grid:?}; resample the one onto the other's grid",
                told(),
                frame.pixels.size()
            );
            // Where voxels are not square, pixels are.
            (frame, scan.slice(slice, false)?.pixels.size())
        };
        let foreground =
            Foreground::chosen(read.values(), labels).map_err(|reason| anyhow::anyhow!("{}: {reason}", told()))?;
        let marked = |value: u16| if foreground.holds(value) { 255 } else { 0 };
        let plane = match frame.pixels {
            Pixels::Eight(plane) => plane.map(|value| marked(value.into())),
            Pixels::Sixteen(plane) => plane.map(marked),
            Pixels::Hounsfield(_) => {
                anyhow::bail!("{}: a scan in Hounsfield units, where a mask was expected", told())
            }
        };
        Ok(Self { plane: stretched(&plane, shown.into()), foreground })
    }

    /// Reads a picture's mask.
    ///
    /// # Errors
    /// A file that is no picture, or whose values mean no mask.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::labelled(path, vec![])
    }

    /// [`Self::read`], where only `labels` are marked, if there are any.
    fn labelled(path: &Path, labels: Vec<u16>) -> anyhow::Result<Self> {
        let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
        let image = reader.with_context(|| path.display().to_string())?.decode();
        let image = image.with_context(|| path.display().to_string())?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        // To 8 bits only what has 8: a label in 16 would become 0.
        let values: Vec<u16> = match image {
            DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_) => {
                anyhow::bail!("{}: a mask of floating-point numbers; save it in 8 bits", path.display())
            }
            image @ (DynamicImage::ImageLuma16(_)
            | DynamicImage::ImageLumaA16(_)
            | DynamicImage::ImageRgb16(_)
            | DynamicImage::ImageRgba16(_)) => image.into_luma16().into_raw(),
            image => image.into_luma8().into_raw().into_iter().map(u16::from).collect(),
        };
        let foreground = Foreground::chosen(&values.iter().copied().collect(), labels)
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
        let plane = Plane::new(width, height, values)?.map(|value| if foreground.holds(value) { 255 } else { 0 });
        Ok(Self { plane, foreground })
    }

    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.plane.data().iter().all(|&value| value == 0)
    }
}

/// Whether a picture is a mask rather than a film or slice: nearly all of its greys are one of two, neither is rare, and the lower is
/// about 0 or they are next to each other, as labels are.
pub fn is_two_valued(values: impl Iterator<Item = f32> + Clone) -> bool {
    let (low, high) = values.clone().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let near = (high - low) / 32.0;
    if near <= 0.0 || (low.abs() > near && high - low > 8.0) {
        return false;
    }
    let [mut count, mut dark, mut bright] = [0_usize; 3];
    for value in values {
        count += 1;
        dark += usize::from(value <= low + near);
        bright += usize::from(value >= high - near);
    }
    (dark + bright) * 100 >= count * 98 && dark.min(bright) * 200 >= count
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_definition_of_what_is_marked() {
        let of = |values: &[u16]| Foreground::of(&values.iter().copied().collect());
        let marked = |values: &[u16]| {
            let foreground = of(values).unwrap();
            values.iter().copied().filter(|&value| foreground.holds(value)).collect::<Vec<_>>()
        };
        assert_eq!(marked(&[0, 255]), [255]);
        assert_eq!(marked(&[0, 127]), [127]);
        assert_eq!(marked(&[0, 1]), [1]);
        assert_eq!(marked(&[0, 1, 2, 3]), [1, 2, 3]);
        assert_eq!(marked(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).len(), 9, "nnU-Net's labels");
        assert_eq!(marked(&[0, 65535]), [65535]);
        assert_eq!(marked(&[0, 3, 250, 255]), [250, 255], "a border of JPEG");
        let ramp: Vec<u16> = (0..=255).step_by(5).collect();
        assert_eq!(marked(&ramp).first(), Some(&130));
        assert_eq!(of(&[0]).unwrap(), Foreground::Empty);
        assert_eq!(of(&[0, 255]).unwrap().told(), None);
        assert!(of(&[0, 1]).unwrap().told().unwrap().contains("0 and 1"));
        assert!(of(&[0, 1, 2]).unwrap().told().unwrap().contains("labels 1, 2"));
        for values in [&[255][..], &[1, 2], &[0, 85, 170, 255], &[0, 128, 255]] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }

    #[test]
    fn a_mask_of_sixteen_bits_or_colours_keeps_its_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let left = |x: u32| x < 3;
        image::ImageBuffer::from_fn(8, 8, |x, _| image::Luma([u16::from(left(x))])).save(&path).unwrap();
        let count = |mask: &Mask| mask.plane.data().iter().filter(|&&value| value == 255).count();
        assert_eq!(count(&Mask::read(&path).unwrap()), 24, "1 of 65535");
        image::RgbImage::from_fn(8, 8, |x, _| image::Rgb(if left(x) { [255, 0, 0] } else { [0; 3] }))
            .save(&path)
            .unwrap();
        assert_eq!(count(&Mask::read(&path).unwrap()), 24, "red is dark, but marked");
        image::GrayImage::new(8, 8).save(&path).unwrap();
        assert!(Mask::read(&path).unwrap().is_empty());
        image::GrayImage::from_pixel(8, 8, image::Luma([255])).save(&path).unwrap();
        let error = format!("{:#}", Mask::read(&path).err().unwrap());
        assert!(error.contains("mask.png") && error.contains("none is 0"), "{error}");
    }

    #[test]
    fn a_mask_is_told_from_a_picture() {
        let square = |i: usize| if (20..40).contains(&(i / 64)) && i % 64 > 30 { 255.0 } else { 0.0 };
        assert!(is_two_valued((0..4096).map(square)));
        assert!(is_two_valued((0..4096).map(|i| square(i) + (i % 3) as f32)), "with JPEG's noise");
        assert!(!is_two_valued((0..4096).map(|i| (i % 64) as f32)));
        assert!(is_two_valued((0..4096).map(|i| 1.0 + square(i) / 255.0)), "labels 1 and 2");
        assert!(!is_two_valued((0..4096).map(|_| 7.0)), "black is for the quality check");
    }
}
