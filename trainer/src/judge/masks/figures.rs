//! The paper's figure 5: pictures, the true masks on them, and those that a net drew, side by side, for `report --figures`.
//!
//! The pictures are chosen by rank, from the one with the lowest Dice to the one with the highest, and not by hand. They are
//! the data set's own: what may not be published may not be published here.

use std::path::Path;

use anyhow::Context;
use image::RgbImage;
use thorax_shared::{
    mask::{INFECTION, NAMES},
    plane::Plane,
};

use super::RunJudgement;
use crate::{
    data::{
        Manifest,
        picture::{Picture, truth_masks},
    },
    figures,
    files::write_png,
    segmentation::{DrawMasks, Drawn, predict::overlay},
};

/// Draws the lesions that a net finds in a picture.
type DrawLesions<'a> = dyn Fn(&Picture) -> anyhow::Result<RgbImage> + 'a;

/// Writes at most `count` figures of a run that was judged, their pictures and their list, into `folder`; of a net that finds single
/// lesions also what `lesions` draws.
///
/// # Errors
/// Pictures and masks that cannot be read; files that cannot be written.
pub fn write(
    manifest: &Manifest,
    segmenter: &impl DrawMasks,
    judged: &RunJudgement,
    lesions: Option<&DrawLesions<'_>>,
    count: usize,
    folder: &Path,
) -> anyhow::Result<()> {
    let Some(infection) = judged.mask_names.iter().position(|name| name == NAMES[INFECTION]) else { return Ok(()) };
    let mut ranked: Vec<(f64, &str)> = judged
        .pictures
        .iter()
        .filter_map(|picture| Some((picture.masks[infection]?.figures().dice?, picture.path.as_str())))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    let figures = ranks(ranked.len(), count).into_iter().enumerate().map(|(number, rank)| {
        let (dice, path) = ranked[rank];
        let record = manifest.records.iter().find(|record| record.path == path && !record.mask.is_empty());
        let record = record.with_context(|| format!("{path}: not in the manifest any more"))?;
        let picture = Picture::of(manifest, record)?;
        let found = segmenter.draw(&picture)?;
        let truth = Drawn { masks: truth(truth_masks(manifest, record, &found.picture)?, &found), ..found.clone() };
        let nothing = Drawn { masks: vec![], ..found.clone() };
        let mut files = vec![];
        for (what, names, drawn) in
            [("picture", &[][..], &nothing), ("truth", segmenter.names(), &truth), ("found", segmenter.names(), &found)]
        {
            let file = format!("figure_{:02}_{what}.png", number + 1);
            write_png(&folder.join(&file), &overlay(names, drawn))?;
            files.push(file);
        }
        let mut caption =
            "The picture; the true masks; those that the net drew. Infection tinted, lungs outlined.".to_owned();
        if let Some(lesions) = lesions {
            let file = format!("figure_{:02}_lesions.png", number + 1);
            write_png(&folder.join(&file), &lesions(&picture)?)?;
            files.push(file);
            caption += " Last the lesions one by one: mask, box, and score in percent.";
        }
        Ok(figures::Figure {
            title: format!("Dice of the infection {dice:.3}, rank {} of {}", rank + 1, ranked.len()),
            caption,
            files,
        })
    });
    figures::write(folder, &figures.collect::<anyhow::Result<Vec<_>>>()?)
}

/// The true masks; an empty one where the picture lacks it.
fn truth(masks: Vec<Option<Plane<u8>>>, found: &Drawn) -> Vec<Plane<u8>> {
    let empty = || Plane::filled(found.picture.width(), found.picture.height(), 0);
    masks.into_iter().map(|mask| mask.unwrap_or_else(empty)).collect()
}

/// `count` ranks out of `total`, evenly spread from the first to the last; all where there are no more.
fn ranks(total: usize, count: usize) -> Vec<usize> {
    match count {
        _ if count >= total => (0..total).collect(),
        0 => vec![],
        1 => vec![total / 2],
        _ => (0..count).map(|place| place * (total - 1) / (count - 1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_spread_from_the_worst_to_the_best() {
        assert_eq!(ranks(9, 3), [0, 4, 8]);
        assert_eq!(ranks(2, 3), [0, 1]);
        assert_eq!(ranks(9, 1), [4]);
        assert!(ranks(9, 0).is_empty() && ranks(0, 3).is_empty());
    }
}
