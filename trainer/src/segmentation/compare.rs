//! `thorax-train masks compare`: a mask beside the true one, whoever drew them.
//!
//! `masks judge` asks what nets are worth on the pictures of a manifest. The masks of a volume are files, of `masks predict` or of
//! another program, and here they are compared with true ones, slice by slice: a volume counts as a patient does there, its voxels
//! together, and the distance of the outlines is a mean over slices.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use thorax_decode::{Frame, Limits, Study};
use thorax_shared::{
    plane::{Orientation, Plane},
    preprocess::Pixels,
};

use super::{
    judge_masks::NOTICE,
    score::{Figures, MaskScore, mean, together},
};

/// Options of `masks compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The mask: a NIfTI volume, or a picture
    found: PathBuf,
    /// The true mask, on the voxels or pixels of the other
    truth: PathBuf,
    /// Of the true mask only what has this value; a mask of both lungs often has 1 and 2 [default: all above 0]
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u16).range(1..))]
    label: Option<u16>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// What the comparison came to.
#[derive(Debug, Serialize)]
struct Comparison {
    /// What it may be used for.
    notice: &'static str,
    /// Slices, 1 of a picture.
    slices: usize,
    /// Slices with something to find.
    slices_with_truth: usize,
    /// Of those, slices on which nothing was found.
    missed: usize,
    /// Of all voxels together; distances are means over the slices that have one.
    figures: Figures<Option<f64>>,
    /// Mean area found on slices without anything to find, in percent of the slice.
    false_positive_percent: Option<f64>,
}

/// A mask, slice by slice, 0 or 1, as a reader looks at it.
struct Stack {
    slices: Vec<Plane<u8>>,
    orientation: Orientation,
    spacing_mm: Option<[f32; 2]>,
}

impl Stack {
    /// Of a file; `label`: what has this value, else all above 0.
    fn read(path: &Path, label: Option<u16>) -> anyhow::Result<Self> {
        let frames: Vec<Frame> = match thorax_decode::decode(path, &Limits::default())? {
            Study::Image(frame) => vec![frame],
            Study::Volume(volume) => (0..volume.slices()).filter_map(|index| volume.slice(index)).collect(),
        };
        let first = frames.first().context("no slices; export it again")?;
        let (orientation, spacing_mm) = (first.orientation, first.spacing_mm);
        let belongs = |value: u16| u8::from(label.map_or(value > 0, |label| value == label));
        let slices = frames.into_iter().map(|frame| match frame.pixels {
            Pixels::Eight(plane) => Ok(plane.map(|value| belongs(value.into()))),
            Pixels::Sixteen(plane) => Ok(plane.map(belongs)),
            Pixels::Hounsfield(_) => bail!("a scan in Hounsfield units; give masks, of whole numbers from 0 on"),
        });
        Ok(Self { slices: slices.collect::<anyhow::Result<_>>()?, orientation, spacing_mm })
    }

    /// `40 slices of 512 x 512`.
    fn size(&self) -> String {
        let [width, height] = self.slices.first().map_or([0; 2], |slice| [slice.width(), slice.height()]);
        format!("{} slices of {width} x {height}", self.slices.len())
    }

    /// Whether a voxel of the one lies where that of the other does, as far as the files say.
    fn lies_over(&self, other: &Self) -> bool {
        let spacing = match (self.spacing_mm, other.spacing_mm) {
            // Programs round what they write.
            (Some(a), Some(b)) => a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.01 * b),
            _ => true,
        };
        self.size() == other.size() && self.orientation == other.orientation && spacing
    }
}

/// Carries out `masks compare`.
///
/// # Errors
/// Files that cannot be read, are no masks, or do not lie over each other.
pub(super) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let read = |path: &Path, label| Stack::read(path, label).with_context(|| path.display().to_string());
    let (found, truth) = (read(&args.found, None)?, read(&args.truth, args.label)?);
    ensure!(
        found.lies_over(&truth),
        "{}: {}, {} has {}, or they are oriented or spaced otherwise; resample the one onto the other's grid",
        args.truth.display(),
        truth.size(),
        args.found.display(),
        found.size()
    );
    let comparison = compare(&found, &truth)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        println!("{}\n{NOTICE}", comparison.told());
    }
    Ok(())
}

fn compare(found: &Stack, truth: &Stack) -> anyhow::Result<Comparison> {
    let spacing_mm = found.spacing_mm.or(truth.spacing_mm);
    let slices = found.slices.iter().zip(&truth.slices);
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
        false_positive_percent: mean(nothing.iter().map(|slice| slice.false_positive_percent())),
    })
}

impl Comparison {
    /// In words.
    fn told(&self) -> String {
        let mut lines = vec![format!(
            "{} slices, {} with something to find, of which {} were missed",
            self.slices, self.slices_with_truth, self.missed
        )];
        for (name, figure) in Figures::<f64>::NAMES.iter().zip(self.figures.into_array()) {
            let digits = if name.starts_with("hd95") { 2 } else { 4 };
            let figure = figure.map_or_else(|| "–".into(), |figure| format!("{figure:.digits$}"));
            lines.push(format!("{:<15} {figure}", name.replace('_', " ")));
        }
        if let Some(percent) = self.false_positive_percent {
            lines.push(format!("on slices without anything to find, {percent:.3} % is marked in the mean"));
        }
        lines.join("\n")
    }
}
