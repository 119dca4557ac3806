//! A mask beside the true one, whoever drew them.
//!
//! `masks judge` asks what nets are worth on the pictures of a manifest. The masks of a volume are files, of `masks predict` or of
//! another program, and here they are compared with true ones: a volume counts as a patient does there, its voxels together, and the
//! distance of the outlines is a mean over slices; that of the surfaces in three dimensions stands beside it.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail};
use serde::Serialize;
use thorax_decode::{Frame, Limits, Study};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

use super::{
    NOTICE,
    score::{MaskFigures, MaskScore, together},
    volume::{SlicePair, hd95},
};
use crate::{data::mask::Foreground, judge::mean};

/// What the comparison came to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// What it may be used for.
    notice: &'static str,
    /// Slices, 1 of a picture.
    slices: usize,
    /// Slices with something to find.
    slices_with_truth: usize,
    /// Of those, slices on which nothing was found.
    missed: usize,
    /// Of all voxels together; distances are means over the slices that have one.
    figures: MaskFigures<Option<f64>>,
    /// Distance of the surfaces in three dimensions, of a volume whose file says how large a voxel is; `None` where one mask is empty.
    hd95_3d_mm: Option<f64>,
    /// Mean area found on slices without anything to find, in percent of the slice.
    false_positive_percent: Option<f64>,
}

/// A mask, slice by slice, 0 or 1, as a reader looks at it.
pub struct Stack {
    slices: Vec<Plane<u8>>,
    orientation: Orientation,
    spacing_mm: Option<[f32; 2]>,
    /// From slice to slice, of a volume.
    slice_distance_mm: Option<f32>,
}

impl Stack {
    /// Of a file; `label`: what has this value, else what [`Foreground`] says is marked, as in training.
    ///
    /// # Errors
    /// A file that cannot be read, or a scan in Hounsfield units.
    pub fn read(path: &Path, label: Option<u16>) -> anyhow::Result<Self> {
        let (frames, slice_distance_mm): (Vec<Frame>, _) = match thorax_decode::decode(path, &Limits::default())? {
            Study::Image(frame) => (vec![frame], None),
            Study::Volume(volume) => (
                (0..volume.slices()).filter_map(|index| volume.slice_on_grid(index)).collect(),
                volume.slice_distance_mm(),
            ),
        };
        let first = frames.first().context("no slices; export it again")?;
        let (orientation, spacing_mm) = (first.orientation, first.spacing_mm);
        let foreground = match label {
            Some(_) => Foreground::Empty,
            None => Foreground::of(&values(&frames)).map_err(anyhow::Error::msg)?,
        };
        let belongs = |value: u16| u8::from(label.map_or_else(|| foreground.holds(value), |label| value == label));
        let slices = frames.into_iter().map(|frame| match frame.pixels {
            Pixels::Eight(plane) => Ok(plane.map(|value| belongs(value.into()))),
            Pixels::Sixteen(plane) => Ok(plane.map(belongs)),
            Pixels::Hounsfield(_) => bail!("a scan in Hounsfield units; give masks, of whole numbers from 0 on"),
        });
        let slices = slices.collect::<anyhow::Result<_>>()?;
        Ok(Self { slices, orientation, spacing_mm, slice_distance_mm })
    }

    /// `40 slices of 512 x 512`.
    pub fn size(&self) -> String {
        let [width, height] = self.slices.first().map_or([0; 2], |slice| [slice.width(), slice.height()]);
        format!("{} slices of {width} x {height}", self.slices.len())
    }

    /// Whether a voxel of the one lies where that of the other does, as far as the files say.
    pub fn lies_over(&self, other: &Self) -> bool {
        let spacing = match (self.spacing_mm, other.spacing_mm) {
            // Programs round what they write.
            (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.01 * b),
            _ => true,
        };
        self.size() == other.size() && self.orientation == other.orientation && spacing
    }
}

/// All values of a mask; none of a scan in Hounsfield units, which is no mask.
fn values(frames: &[Frame]) -> BTreeSet<u16> {
    let mut values = BTreeSet::new();
    for frame in frames {
        match &frame.pixels {
            Pixels::Eight(plane) => values.extend(plane.data().iter().map(|&value| u16::from(value))),
            Pixels::Sixteen(plane) => values.extend(plane.data()),
            Pixels::Hounsfield(_) => {}
        }
    }
    values
}

/// Compares two stacks of one size.
///
/// # Errors
/// Slices of two sizes.
pub fn compare(found: &Stack, truth: &Stack) -> anyhow::Result<Comparison> {
    let spacing_mm = found.spacing_mm.or(truth.spacing_mm);
    let slice_distance_mm = found.slice_distance_mm.or(truth.slice_distance_mm);
    let slices = found.slices.iter().zip(&truth.slices);
    let pairs: Vec<SlicePair> = slices.clone().map(|(found, truth)| SlicePair::new(found, truth)).collect();
    let spacing = slice_distance_mm.zip(spacing_mm).map(|(slice, [row, column])| [slice, row, column].map(f64::from));
    let hd95_3d_mm = spacing.map(|spacing| hd95(&pairs.iter().collect::<Vec<_>>(), spacing)).transpose()?.flatten();
    let slices =
        slices.map(|(found, truth)| MaskScore::new(found, truth, spacing_mm)).collect::<Result<Vec<_>, _>>()?;
    let (nothing, something): (Vec<&MaskScore>, Vec<&MaskScore>) =
        slices.iter().partition(|slice| slice.is_truth_empty());
    let (_, figures) = together(&slices.iter().collect::<Vec<_>>());
    Ok(Comparison {
        notice: NOTICE,
        slices: slices.len(),
        slices_with_truth: something.len(),
        missed: something.iter().filter(|slice| slice.is_missed()).count(),
        figures,
        hd95_3d_mm,
        false_positive_percent: mean(nothing.iter().map(|slice| slice.false_positive_percent())),
    })
}

impl Comparison {
    /// In words.
    pub fn told(&self) -> String {
        let mut lines = vec![format!(
            "{} slices, {} with something to find, of which {} were missed",
            self.slices, self.slices_with_truth, self.missed
        )];
        for (name, figure) in MaskFigures::<f64>::NAMES.iter().zip(self.figures.into_array()) {
            let digits = if name.starts_with("hd95") { 2 } else { 4 };
            let figure = figure.map_or_else(|| "–".into(), |figure| format!("{figure:.digits$}"));
            lines.push(format!("{:<15} {figure}", name.replace('_', " ")));
        }
        if self.slices > 1 {
            let figure = self.hd95_3d_mm.map_or_else(|| "–".into(), |figure| format!("{figure:.2}"));
            lines.push(format!("{:<15} {figure}", "hd95 in 3d, mm"));
        }
        if let Some(percent) = self.false_positive_percent {
            lines.push(format!("on slices without anything to find, {percent:.3} % is marked in the mean"));
        }
        lines.join("\n")
    }
}
