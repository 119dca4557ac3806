//! `thorax-train masks predict`: the masks of pictures and volumes as files.
//!
//! A mask lies on the rows and columns, or on the voxels, that the file stores, however they were turned to be looked at: a
//! picture's masks are PNG files of its size, a volume's are NIfTI files with its header ([`super::nifti`]). Beside them lies a
//! picture with all masks drawn in, as a reader would hang it: of a volume the slice with most infection. The net is asked
//! nothing else; whether a picture is good enough to be read is for `thorax-edge screen` to say.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{GrayImage, Rgb, RgbImage};
use thorax_decode::{Limits, Study, Volume, as_stored, name_without_ending};
use thorax_shared::{
    lungs::involvement_percent,
    mask::{self, outline},
    plane::Plane,
};

use super::{Drawn, Segmenter, nifti};
use crate::{data::picture::Picture, files::write_png, progress::progress};

/// How much of the picture an infected pixel covers; lungs are outlined only.
const OPACITY: f32 = 0.45;

/// A file's name without what tells of its format.
pub fn mask_file_stem(file: &Path) -> String {
    name_without_ending(&file.file_name().unwrap_or(file.as_os_str()).to_string_lossy()).to_owned()
}

/// Reads one file (`equalised`: as [`Picture::equalised`] says), writes its masks into `folder`, and tells what was found. `free` is asked of every file before any work.
pub fn predict_file(
    segmenter: &Segmenter,
    file: &Path,
    equalised: bool,
    folder: &Path,
    free: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let study = thorax_decode::decode(file, &Limits::default())?;
    let name = mask_file_stem(file);
    let ending = if matches!(study, Study::Volume(_)) { "nii.gz" } else { "png" };
    let paths: Vec<PathBuf> =
        segmenter.names().iter().map(|mask| folder.join(format!("{name}_{mask}.{ending}"))).collect();
    let overlay_path = folder.join(format!("{name}_overlay.png"));
    paths.iter().chain([&overlay_path]).try_for_each(|path| free(path))?;
    let (shown, said) = match study {
        Study::Image(frame) => {
            let picture = Picture { frame, equalised };
            let drawn = segmenter.draw(&picture)?;
            let Picture { frame, .. } = &picture;
            for (mask, path) in drawn.masks.iter().zip(&paths) {
                write_png(path, &grey(&as_stored(mask, frame.orientation, frame.stored_size))?)?;
            }
            let said = told(segmenter.names(), &drawn.masks, drawn.seen, None);
            (drawn, said)
        }
        Study::Volume(volume) => {
            let DrawnVolume { voxels, shown, seen } = draw_volume(segmenter, &volume, equalised)?;
            for ((mask, voxels), path) in segmenter.names().iter().zip(&voxels).zip(&paths) {
                nifti::write_mask(path, &volume, mask, voxels)?;
            }
            // The voxels as one long row, since only how many there are of each counts.
            let rows = voxels.into_iter().map(|voxels| Plane::new(voxels.len(), 1, voxels));
            let said = told(segmenter.names(), &rows.collect::<Result<Vec<_>, _>>()?, seen, volume.voxel_mm());
            (shown, format!("{} slices, {said}", volume.slices()))
        }
    };
    write_png(&overlay_path, &overlay(segmenter.names(), &shown))?;
    Ok(said)
}

/// The masks of a volume.
#[derive(Debug)]
pub struct DrawnVolume {
    /// For each mask its voxels, 0 or 1, as the volume stores its own.
    pub voxels: Vec<Vec<u8>>,
    /// The slice with most of the first mask, the middle one where none has any.
    pub shown: Drawn,
    /// Pixels, over all slices, that the net saw.
    pub seen: u64,
}

/// Draws on every slice (`equalised`: as [`Picture::equalised`] says).
///
/// # Errors
/// A volume without slices; those of [`Segmenter::draw`].
pub fn draw_volume(segmenter: &Segmenter, volume: &Volume, equalised: bool) -> anyhow::Result<DrawnVolume> {
    let size = volume.dimensions().iter().product();
    let mut voxels = vec![vec![0u8; size]; segmenter.names().len()];
    let mut shown: Option<((usize, bool), Drawn)> = None;
    let mut seen = 0;
    let bar = progress(volume.slices(), "slices");
    for index in 0..volume.slices() {
        let frame = volume.slice(index).context("a slice is missing")?;
        let drawn = segmenter.draw(&Picture { frame, equalised }).with_context(|| format!("slice {index}"))?;
        for (mask, voxels) in drawn.masks.iter().zip(&mut voxels) {
            volume.store(index, &mask.map(|value| value & 1), voxels)?;
        }
        seen += drawn.seen;
        let found = drawn.masks.first().map_or(0, |mask| mask.data().iter().filter(|&&value| value != 0).count());
        let rank = (found, index == volume.slices() / 2);
        if shown.as_ref().is_none_or(|(best, _)| rank > *best) {
            shown = Some((rank, drawn));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (_, shown) = shown.context("the volume has no slices; export it again")?;
    Ok(DrawnVolume { voxels, shown, seen })
}

/// How much of each mask there is.
fn told(names: &[String], masks: &[Plane<u8>], seen: u64, voxel_mm: Option<[f32; 3]>) -> String {
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
    let lungs = mask::union(of(|name| name.contains("lung")).map(Some));
    if let Some((infection, lungs)) = of(|name| name == "infection").next().zip(lungs)
        && let Some(percent) = involvement_percent(infection, &lungs, seen)
    {
        parts.push(format!("{percent:.1} % of the lungs infected"));
    }
    parts.join(", ")
}

/// The picture with infection tinted and outlined, lungs outlined.
pub fn overlay(names: &[String], drawn: &Drawn) -> RgbImage {
    let picture = &drawn.picture;
    let outlines: Vec<Plane<bool>> = drawn.masks.iter().map(outline).collect();
    RgbImage::from_fn(picture.width() as u32, picture.height() as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let mut pixel = [picture.get(x, y); 3];
        // Lungs first, so that infection lies over them.
        for position in (0..names.len()).rev() {
            let is_infection = names[position] == "infection";
            let colour = match names[position].as_str() {
                "infection" => mask::INFECTION_COLOUR,
                "left_lung" => mask::LEFT_LUNG_COLOUR,
                _ => mask::LUNG_COLOUR,
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
