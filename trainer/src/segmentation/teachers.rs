//! What finished segmenters draw on pictures that nobody drew masks on, for a student to learn.
//!
//! Few pictures have drawn masks. A large net that learnt from them says of every other picture how probable each mask is in each pixel, and a
//! small one learns these probabilities (Hinton et al. 2015, arXiv 1503.02531) beside the drawn masks. The teachers look at the picture as it is,
//! the student at changed copies of it.

use std::path::PathBuf;

use anyhow::ensure;
use thorax_shared::{mask::NAMES as MASKS, modality::Modality, plane::Plane, preprocess::PreprocessSpec};

use super::{
    Origin, Segmenter,
    sample::{MaskKind, SegmentationSample},
};
use crate::{
    changes::Copies,
    data::{Manifest, Record, picture::Picture},
};

/// One or several segmenters, whose probabilities are averaged.
pub struct MaskTeachers {
    all: Vec<(Origin, Segmenter)>,
}

impl MaskTeachers {
    /// Finished runs of `train segment`, or the segmenters of bundles, on pictures of `modality`: any nets, at any size.
    ///
    /// # Errors
    /// Those of [`Origin::open`]; pictures of another modality.
    pub fn open(paths: &[PathBuf], modality: Modality) -> anyhow::Result<Self> {
        let open = |path: &PathBuf| {
            let origin = Origin::open(std::slice::from_ref(path))?;
            ensure!(
                origin.modality() == modality,
                "--teacher {}: draws on {} pictures; give one of {modality}",
                path.display(),
                origin.modality()
            );
            let segmenter = origin.shipped_segmenter()?;
            Ok((origin, segmenter))
        };
        Ok(Self { all: paths.iter().map(open).collect::<anyhow::Result<_>>()? })
    }

    /// Name and [`Origin::sha256`] of each.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn describe(&self) -> anyhow::Result<Vec<[String; 2]>> {
        self.all.iter().map(|(origin, _)| Ok([origin.name(), origin.sha256()?])).collect()
    }

    /// The first that [learnt from other data](Origin::learnt_from_other) than this manifest, so that it may know patients by whom its
    /// student will be judged.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn stranger(&self, manifest: &Manifest) -> anyhow::Result<Option<String>> {
        for (origin, _) in &self.all {
            if origin.learnt_from_other(manifest)? {
                return Ok(Some(origin.name()));
            }
        }
        Ok(None)
    }

    /// Pictures `records`, each followed by its changed copies, with the mean of what all teachers say of it.
    ///
    /// # Errors
    /// The first picture that cannot be read; a net that fails.
    pub(super) fn teach(
        &self,
        manifest: &Manifest,
        records: &[&Record],
        spec: &PreprocessSpec,
        copies: Copies,
    ) -> anyhow::Result<Vec<Vec<SegmentationSample>>> {
        let title = "what the teachers draw";
        SegmentationSample::load(manifest, records, spec, copies, title, MaskKind::Probability, |_, picture| {
            self.masks(picture)
        })
    }

    /// 255 times the mean probability, at the picture's size.
    fn masks(&self, picture: &Picture) -> anyhow::Result<Vec<Option<Plane<u8>>>> {
        let mut sums: Vec<Option<Plane<f32>>> = vec![None; MASKS.len()];
        for (_, segmenter) in &self.all {
            let (_, maps) = segmenter.probabilities(picture)?;
            for (sum, map) in sums.iter_mut().zip(maps) {
                *sum = Some(match sum.take() {
                    None => map,
                    Some(sum) => Plane::from_fn(sum.width(), sum.height(), |x, y| sum.get(x, y) + map.get(x, y)),
                });
            }
        }
        let scale = 255.0 / self.all.len() as f32;
        Ok(sums.into_iter().map(|sum| Some(sum?.map(|p| (p * scale).round() as u8))).collect())
    }
}
