//! What a mask marks. Programs write what is marked as 255, 127 or 1, or number their labels from 1 on; a mask that was resized or
//! saved as JPEG has grey borders. There is one answer to "which of these values are marked", and training, `data check`, `masks
//! judge` and `masks compare` all ask here.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context;
use image::DynamicImage;
use thorax_shared::plane::Plane;

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

    /// Whether a pixel of this value is marked.
    pub fn holds(&self, value: u16) -> bool {
        match self {
            Self::Empty => false,
            Self::Value(_) | Self::Labels(_) => value > 0,
            Self::Above(limit) => value > *limit,
        }
    }

    /// What was made of the values, in words; `None` for 0 and 255, as masks should be, and for an empty mask.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Empty | Self::Value(255) => None,
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

impl Mask {
    /// Reads a picture's mask.
    ///
    /// # Errors
    /// A file that is no picture, or whose values mean no mask.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
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
        let foreground = Foreground::of(&values.iter().copied().collect())
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
