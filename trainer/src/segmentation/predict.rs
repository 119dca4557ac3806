//! `thorax-train masks predict`: the masks of pictures and volumes as files.
//!
//! A mask lies on the rows and columns, or on the voxels, that the file stores, however they were turned to be looked at: a
//! picture's masks are PNG files of its size, a volume's are NIfTI files with its header ([`super::nifti`]). Beside them lies a
//! picture with all masks drawn in, as a reader would hang it: of a volume the slice with most infection. The net is asked
//! nothing else; whether a picture is good enough to be read is for `thorax-edge screen` to say.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use image::{GrayImage, Rgb, RgbImage};
use thorax_decode::{Frame, Limits, Study, Volume};
use thorax_shared::plane::Plane;

use super::{Drawn, Members, Segmenter, nifti, score::involvement_percent, surface_distance::surface};
use crate::{
    files::write_png,
    train::{picture, progress},
};

/// Colours of the masks, told apart by people who do not see red and green (Okabe and Ito 2008): infection, lungs, and a left
/// lung beside a right one.
const INFECTION: [u8; 3] = [213, 94, 0];
const LUNG: [u8; 3] = [86, 180, 233];
const LEFT_LUNG: [u8; 3] = [240, 228, 66];
/// How much of the picture an infected pixel covers; lungs are outlined only.
const OPACITY: f32 = 0.45;

/// Options of `masks predict`.
#[derive(Debug, clap::Args)]
pub struct PredictArgs {
    /// Folder of a finished `thorax-train train segment`; of several, the mean of their probabilities is drawn
    #[arg(long = "run", value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,
    /// Folder for the masks: NAME_MASK.png of a picture, NAME_MASK.nii.gz of a volume, NAME_overlay.png of both
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The files were equalised (CLAHE) before they were published, and are not equalised again
    #[arg(long)]
    equalised: bool,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// PNG, JPEG, TIFF and DICOM pictures, NIfTI volumes
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Carries out `masks predict`. A file that cannot be read does not keep the others from being read.
///
/// # Errors
/// A run that cannot be read; files of one name; at the end, how many files had no masks drawn (each said on standard error).
pub(super) fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let segmenter = Members::load(&args.runs)?.segmenter()?;
    let mut names = BTreeSet::new();
    for file in &args.files {
        let name = name(file);
        ensure!(
            names.insert(name.clone()),
            "{}: another file's masks are called {name} as well; predict them into another --out",
            file.display()
        );
    }
    let inputs: BTreeSet<PathBuf> = args.files.iter().filter_map(|file| file.canonicalize().ok()).collect();
    let mut failed = 0;
    for file in &args.files {
        let free = |path: &Path| {
            ensure!(
                path.canonicalize().map_or(true, |path| !inputs.contains(&path)),
                "{}: is itself to be read; choose another --out",
                path.display()
            );
            ensure!(
                args.force || !path.exists(),
                "{}: is there already; choose another --out, or --force",
                path.display()
            );
            Ok(())
        };
        match predict(&segmenter, file, args.equalised, &args.out, free) {
            Ok(said) => println!("{}: {said}", file.display()),
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error:#}", file.display());
            }
        }
    }
    println!("Research use only, not a medical device.");
    if failed > 0 {
        bail!("{failed} of {} files have no masks, for the reasons above", args.files.len());
    }
    Ok(())
}

/// A file's name without what tells of its format.
fn name(file: &Path) -> String {
    let whole = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let lower = whole.to_ascii_lowercase();
    let endings = [".nii.gz", ".nii", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff"];
    let ending = endings.into_iter().find(|ending| lower.ends_with(ending) && lower.len() > ending.len());
    whole[..whole.len() - ending.map_or(0, str::len)].to_owned()
}

/// Reads one file (`equalised`: as [`Frame::equalised`] says), writes its masks into `folder`, and tells what was found. `free` is asked of every file before any work.
pub(super) fn predict(
    segmenter: &Segmenter,
    file: &Path,
    equalised: bool,
    folder: &Path,
    free: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let study = thorax_decode::decode(file, &Limits::default())?;
    let name = name(file);
    let ending = if matches!(study, Study::Volume(_)) { "nii.gz" } else { "png" };
    let paths: Vec<PathBuf> =
        segmenter.names().iter().map(|mask| folder.join(format!("{name}_{mask}.{ending}"))).collect();
    let overlay_path = folder.join(format!("{name}_overlay.png"));
    paths.iter().chain([&overlay_path]).try_for_each(|path| free(path))?;
    let (shown, said) = match study {
        Study::Image(frame) => {
            let frame = Frame { equalised, ..frame };
            let drawn = segmenter.draw(&frame)?;
            for (mask, path) in drawn.masks.iter().zip(&paths) {
                write_png(path, &grey(&mask.oriented(frame.orientation.inverse()))?)?;
            }
            let said = told(segmenter.names(), &drawn.masks, None);
            (drawn, said)
        }
        Study::Volume(volume) => {
            let (voxels, shown) = draw_volume(segmenter, &volume, equalised)?;
            for ((mask, voxels), path) in segmenter.names().iter().zip(&voxels).zip(&paths) {
                nifti::write_mask(path, &volume, mask, voxels)?;
            }
            // The voxels as one long row, since only how many there are of each counts.
            let rows = voxels.into_iter().map(|voxels| Plane::new(voxels.len(), 1, voxels));
            let said = told(segmenter.names(), &rows.collect::<Result<Vec<_>, _>>()?, volume.voxel_mm());
            (shown, format!("{} slices, {said}", volume.slices()))
        }
    };
    write_png(&overlay_path, &overlay(segmenter.names(), &shown))?;
    Ok(said)
}

/// Draws on every slice (`equalised`: as [`Frame::equalised`] says). For each mask its voxels, 0 or 1, as `volume` stores its own; and the slice with most of the first mask,
/// the middle one where none has any.
///
/// # Errors
/// A volume without slices; those of [`Segmenter::draw`].
pub fn draw_volume(segmenter: &Segmenter, volume: &Volume, equalised: bool) -> anyhow::Result<(Vec<Vec<u8>>, Drawn)> {
    let size = volume.dimensions().iter().product();
    let mut voxels = vec![vec![0u8; size]; segmenter.names().len()];
    let mut shown: Option<((usize, bool), Drawn)> = None;
    let bar = progress(volume.slices(), "slices");
    for index in 0..volume.slices() {
        let frame = Frame { equalised, ..volume.slice(index).context("a slice is missing")? };
        let drawn = segmenter.draw(&frame).with_context(|| format!("slice {index}"))?;
        for (mask, voxels) in drawn.masks.iter().zip(&mut voxels) {
            volume.store(index, &mask.map(|value| value & 1), voxels)?;
        }
        let found = drawn.masks.first().map_or(0, |mask| mask.data().iter().filter(|&&value| value != 0).count());
        let rank = (found, index == volume.slices() / 2);
        if shown.as_ref().is_none_or(|(best, _)| rank > *best) {
            shown = Some((rank, drawn));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (_, shown) = shown.context("the volume has no slices; export it again")?;
    Ok((voxels, shown))
}

/// How much of each mask there is.
fn told(names: &[String], masks: &[Plane<u8>], voxel_mm: Option<[f32; 3]>) -> String {
    let mut parts: Vec<String> = names
        .iter()
        .zip(masks)
        .map(|(name, mask)| {
            let count = mask.data().iter().filter(|&&value| value != 0).count();
            match voxel_mm {
                Some([x, y, z]) => {
                    let millilitres = count as f64 * f64::from(x) * f64::from(y) * f64::from(z) / 1000.0;
                    format!("{name} {millilitres:.1} ml")
                }
                None => format!("{name} {count} pixels"),
            }
        })
        .collect();
    let of =
        |wanted: fn(&str) -> bool| names.iter().zip(masks).filter(move |(name, _)| wanted(name)).map(|(_, mask)| mask);
    let lungs = picture::union(of(|name| name.contains("lung")).map(Some));
    if let Some((infection, lungs)) = of(|name| name == "infection").next().zip(lungs)
        && let Some(percent) = involvement_percent(infection, &lungs)
    {
        parts.push(format!("{percent:.1} % of the lungs infected"));
    }
    parts.join(", ")
}

/// The picture with infection tinted and outlined, lungs outlined.
pub(super) fn overlay(names: &[String], drawn: &Drawn) -> RgbImage {
    let picture = &drawn.picture;
    let outlines: Vec<Plane<bool>> = drawn.masks.iter().map(surface).collect();
    RgbImage::from_fn(picture.width() as u32, picture.height() as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let mut pixel = [picture.get(x, y); 3];
        // Lungs first, so that infection lies over them.
        for position in (0..names.len()).rev() {
            let is_infection = names[position] == "infection";
            let colour = match names[position].as_str() {
                "infection" => INFECTION,
                "left_lung" => LEFT_LUNG,
                _ => LUNG,
            };
            if outlines[position].get(x, y) {
                pixel = colour;
            } else if is_infection && drawn.masks[position].get(x, y) != 0 {
                pixel = std::array::from_fn(|channel| {
                    let (below, above) = (f32::from(pixel[channel]), f32::from(colour[channel]));
                    (below + OPACITY * (above - below) + 0.5) as u8
                });
            }
        }
        Rgb(pixel)
    })
}

fn grey(mask: &Plane<u8>) -> anyhow::Result<GrayImage> {
    let (width, height) = (u32::try_from(mask.width())?, u32::try_from(mask.height())?);
    GrayImage::from_raw(width, height, mask.data().to_vec()).context("a mask of another size")
}
