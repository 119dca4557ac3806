//! Boxes around lesions, as masks: of each box what is lung.
//!
//! Few films have lesions drawn to the pixel, and they are of few hospitals; many have boxes around what a radiologist saw. The lung inside
//! of a box is not all infected, but where there is no box there is no lesion, and films of the same hospitals that show none can then be
//! shown beside them without the net learning that those hospitals have none.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use thorax_shared::{
    mask::{INFECTION, NAMES as MASKS},
    plane::Plane,
    preprocess::PreprocessSpec,
};

use super::{
    lungs::LungFinder,
    sample::{MaskKind, SegmentationSample},
};
use crate::{
    changes::Copies,
    data::{Manifest, Record, Split, Task},
};

/// A box around lesions.
#[derive(Clone, Copy, Debug, PartialEq)]
struct LesionBox {
    /// Left, top, right and bottom in pixels.
    corners: [f64; 4],
    /// How much of it the lesions take, 0 to 1: 0 where somebody looked and found none.
    share: f64,
}

/// Where lesions lie in the pictures of a manifest.
pub struct Boxes {
    /// The boxes of each picture.
    of: BTreeMap<String, Vec<LesionBox>>,
}

impl Boxes {
    /// Reads a table `path,x0,y0,x1,y1`: paths as in the manifest, corners in pixels of the picture, from its upper left. A further column
    /// `share`, from 0 to 1, says how much of the box the lesions take; without it, or where it is empty, that is 1.
    ///
    /// # Errors
    /// A table that cannot be read, a box without width or height, a share beyond 0 and 1.
    pub fn open(table: &Path) -> anyhow::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Row {
            path: String,
            x0: f64,
            y0: f64,
            x1: f64,
            y1: f64,
            #[serde(default)]
            share: Option<f64>,
        }
        let named = || table.display().to_string();
        let mut of = BTreeMap::<String, Vec<LesionBox>>::new();
        let mut lines = csv::Reader::from_path(table).with_context(named)?;
        for (line, row) in lines.deserialize().enumerate() {
            let Row { path, x0, y0, x1, y1, share } = row.with_context(named)?;
            ensure!(
                [x0, y0, x1, y1].iter().all(|side| side.is_finite()) && x0 < x1 && y0 < y1,
                "{}: line {}: no box from ({x0}, {y0}) to ({x1}, {y1}); give its left, top, right and bottom in pixels",
                named(),
                line + 2
            );
            let share = share.unwrap_or(1.0);
            ensure!(
                (0.0..=1.0).contains(&share),
                "{}: line {}: a share of {share}; give how much of the box the lesions take, 0 to 1",
                named(),
                line + 2
            );
            of.entry(path).or_default().push(LesionBox { corners: [x0, y0, x1, y1], share });
        }
        Ok(Self { of })
    }

    /// Whether a picture has boxes.
    pub fn has(&self, record: &Record) -> bool {
        self.of.contains_key(&record.path)
    }

    /// Whether every box is taken by lesions wholly, as far as the table says.
    pub fn are_whole(&self) -> bool {
        self.of.values().flatten().all(|of| of.share == 1.0)
    }

    /// How many pictures have any.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether no picture has any.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// How much of a picture of that width and height lesions take where one of its boxes lies, 255 for all.
    ///
    /// # Errors
    /// A box that lies more than a pixel outside of the picture.
    pub fn covered(&self, record: &Record, [width, height]: [usize; 2]) -> anyhow::Result<Plane<u8>> {
        self.inside(record, &Plane::filled(width, height, 255))
    }

    /// What of a mask of a picture lies in its boxes.
    ///
    /// # Errors
    /// Those of [`Self::covered`].
    fn inside(&self, record: &Record, mask: &Plane<u8>) -> anyhow::Result<Plane<u8>> {
        let (width, height) = (mask.width(), mask.height());
        let boxes = self.of.get(&record.path).map_or(&[][..], Vec::as_slice);
        let within = |LesionBox { corners: [x0, y0, x1, y1], .. }: &&LesionBox| {
            *x0 >= -1.0 && *y0 >= -1.0 && *x1 <= width as f64 + 1.0 && *y1 <= height as f64 + 1.0
        };
        if let Some(LesionBox { corners: [x0, y0, x1, y1], .. }) = boxes.iter().find(|of| !within(of)) {
            anyhow::bail!(
                "a box from ({x0}, {y0}) to ({x1}, {y1}) in a picture of {width} x {height} pixels; give the table in pixels of the picture that \
                 the manifest names"
            );
        }
        Ok(inside(mask, boxes))
    }

    /// The positive pictures of the training split that have boxes.
    pub fn pictures<'a>(&'a self, manifest: &'a Manifest, finder: &LungFinder) -> impl Iterator<Item = &'a Record> {
        let has = |record: &&Record| record.is_positive() && self.has(record);
        manifest.select(finder.modality(), Task::Classify, Some(Split::Train)).filter(has)
    }

    /// All [`Self::pictures`], each followed by its changed copies: infected is what of the boxes is lung; which lung is which is not known.
    ///
    /// # Errors
    /// The first file that cannot be read; a segmenter that fails; no such pictures.
    pub(super) fn load(
        &self,
        manifest: &Manifest,
        finder: &LungFinder,
        spec: &PreprocessSpec,
        copies: Copies,
    ) -> anyhow::Result<Vec<Vec<SegmentationSample>>> {
        let records: Vec<&Record> = self.pictures(manifest, finder).collect();
        let title = "pictures with boxes";
        SegmentationSample::load(manifest, &records, spec, copies, title, MaskKind::Drawn, |record, picture| {
            let lungs = finder.find(picture)?;
            let infection = self.inside(record, &lungs)?;
            Ok((0..MASKS.len()).map(|mask| (mask == INFECTION).then(|| infection.clone())).collect())
        })
    }
}

/// What of `mask` lies in one of `boxes`, each value times the box's share; where several overlap, the largest.
fn inside(mask: &Plane<u8>, boxes: &[LesionBox]) -> Plane<u8> {
    Plane::from_fn(mask.width(), mask.height(), |x, y| {
        let (column, row) = (x as f64 + 0.5, y as f64 + 0.5);
        let within = |[x0, y0, x1, y1]: [f64; 4]| (x0..x1).contains(&column) && (y0..y1).contains(&row);
        let shares = boxes.iter().filter(|of| within(of.corners)).map(|of| of.share);
        (f64::from(mask.get(x, y)) * shares.fold(0.0, f64::max)).round() as u8
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_a_box_what_is_lung_is_infected() {
        let lungs = Plane::from_fn(8, 4, |x, _| if x < 3 { 255 } else { 0 });
        let of = |corners, share| LesionBox { corners, share };
        let boxes = [of([1.0, 1.0, 6.0, 3.0], 1.0), of([2.0, 0.0, 3.0, 2.0], 0.4), of([0.0, 3.0, 8.0, 4.0], 0.0)];
        let found = inside(&lungs, &boxes);
        let expected = Plane::from_fn(8, 4, |x, y| match (x, y) {
            (1 | 2, 1 | 2) => 255,
            (2, 0) => 102,
            _ => 0,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_box_without_area_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("boxes.csv");
        std::fs::write(&table, "path,x0,y0,x1,y1\na.png,1,2,3,4\na.png,5,5,5,9\n").unwrap();
        let error = Boxes::open(&table).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("line 3: no box from (5, 5) to (5, 9)"), "{error}");
        std::fs::write(&table, "path,x0,y0,x1,y1\na.png,1,2,3,4\na.png,5,5,6,9\n").unwrap();
        assert_eq!(Boxes::open(&table).unwrap().of["a.png"].len(), 2);
        assert!(Boxes::open(&table).unwrap().are_whole());
        std::fs::write(&table, "path,x0,y0,x1,y1,share\na.png,1,2,3,4,\na.png,5,5,6,9,0.5\n").unwrap();
        let boxes = Boxes::open(&table).unwrap();
        assert_eq!(boxes.of["a.png"].iter().map(|of| of.share).collect::<Vec<_>>(), [1.0, 0.5]);
        assert!(!boxes.are_whole());
        std::fs::write(&table, "path,x0,y0,x1,y1,share\na.png,1,2,3,4,1.5\n").unwrap();
        let error = Boxes::open(&table).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("line 2: a share of 1.5"), "{error}");
    }
}
