//! Where the lesions lie, as a second thing that a backbone learns.
//!
//! A label says that a film shows the disease, not what of it. Where lesions are drawn or boxed, a second output of the net, one logit for
//! each cell of its last map, learns which share of the cell they cover, so that what the heads read is asked to see them. On a picture of
//! class `normal` there are none; of all others nothing is known, and nothing is asked. Only in training: what is left of it is in the
//! backbone's weights.

use candle_core::Tensor;
use thorax_nn::elementwise::binary_cross_entropy;
use thorax_shared::{
    mask::INFECTION,
    metrics,
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::resize_u8,
};

use crate::{
    changes::Change,
    data::{
        Label, Manifest, Record, Split, Task,
        fingerprint::{fingerprint, unlabelled_fingerprint},
        picture::{Picture, truth_masks},
    },
    segmentation::boxes::Boxes,
};

/// How lesions are learnt beside the labels.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LesionTask {
    /// How much the cross entropy of a cell counts beside that of a label.
    pub factor: f64,
    /// Hashes of what tells them: of the pictures with masks, of the table of boxes, and of the pictures without a label, which may have some.
    pub sha256: Vec<String>,
}

impl LesionTask {
    /// That of the pictures of `modality` in a manifest; `table` is the hash of the boxes.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn new(factor: f64, manifest: &Manifest, modality: Modality, table: Option<String>) -> anyhow::Result<Self> {
        let mut sha256 = vec![fingerprint(manifest, modality, Task::Segment)?];
        if let Some(table) = table {
            sha256.extend([table, unlabelled_fingerprint(manifest, modality)?]);
        }
        Ok(Self { factor, sha256 })
    }

    /// Whether boxes tell them too.
    pub fn has_boxes(&self) -> bool {
        self.sha256.len() > 1
    }
}

/// What is known of where lesions lie.
#[derive(Default)]
pub struct Lesions {
    /// Around them, where no mask is drawn.
    pub boxes: Option<Boxes>,
}

impl Lesions {
    /// Pictures of a split that say nothing to the heads, but whose lesions are shown: those with masks, and in training those without a
    /// label that have boxes.
    pub fn pictures<'a>(
        &'a self,
        manifest: &'a Manifest,
        modality: Modality,
        split: Split,
    ) -> impl Iterator<Item = &'a Record> {
        let drawn = manifest.masked(modality, split).filter(|record| !record.mask.is_empty());
        let unlabelled = (split == Split::Train).then(|| manifest.unlabelled(modality, split));
        drawn.chain(unlabelled.into_iter().flatten().filter(|record| self.boxed(record)))
    }

    /// Whether lesions of a picture are drawn or boxed.
    pub fn shown(&self, record: &Record) -> bool {
        !record.mask.is_empty() || self.boxed(record)
    }

    fn boxed(&self, record: &Record) -> bool {
        self.boxes.as_ref().is_some_and(|boxes| boxes.has(record))
    }

    /// 255 where a lesion is, at the picture's size; `None` where nobody says.
    ///
    /// # Errors
    /// A mask that cannot be read or does not fit.
    pub(super) fn of(
        &self,
        manifest: &Manifest,
        record: &Record,
        picture: &Picture,
    ) -> anyhow::Result<Option<Plane<u8>>> {
        let [width, height] = picture.size();
        if !record.mask.is_empty() {
            return Ok(truth_masks(manifest, record, &Plane::filled(width, height, 0))?.swap_remove(INFECTION));
        }
        if self.boxed(record) {
            return Ok(self.boxes.as_ref().map(|boxes| boxes.covered(record, [width, height])));
        }
        let healthy = record.label == Label::Negative && record.class == "normal";
        Ok(healthy.then(|| Plane::filled(width, height, 0)))
    }
}

/// The share of each of `cells` x `cells` cells of `crop` that a mask covers after all `changes`.
pub(super) fn shares(mask: Plane<u8>, changes: &[Change], crop: Rect, cells: usize) -> Vec<f32> {
    let moved = changes.iter().fold(mask, |mask, change| change.apply_to_mask(&mask));
    resize_u8(&moved.cropped(crop), cells, cells)
        .into_data()
        .into_iter()
        .map(|share| f32::from(share) / 255.0)
        .collect()
}

/// The mean cross entropy of the cells whose truth is known: logits `[N, 1, g, g]`, shares of the same shape, `known` `[N, 1, 1, 1]`, 1 or 0.
/// 0 where none is known.
pub(super) fn loss(logits: &Tensor, shares: &Tensor, known: &Tensor) -> candle_core::Result<Tensor> {
    let of_pictures = binary_cross_entropy(logits, shares)?.mean_keepdim((1, 2, 3))?;
    let count = known.sum_all()?.clamp(1.0, f64::INFINITY)?;
    (of_pictures * known)?.sum_all()?.div(&count)
}

/// How well cells with a lesion, those that are covered by half, are told from the others: the area under the curve of all cells.
pub(super) fn cells_auc(logits: &[f32], shares: &[f32]) -> f64 {
    let covered: Vec<bool> = shares.iter().map(|&share| share > 0.5).collect();
    metrics::roc_auc(logits, &covered).unwrap_or(0.5)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};
    use thorax_nets::{Backbone, network::Pass};
    use thorax_nn::seeded;

    use super::*;
    use crate::backbone::net::{Frozen, LESION_MAP, Shape};

    #[test]
    fn shares_of_cells_follow_the_picture() {
        // The left half of the upper left quarter of a picture of 8 x 8.
        let mask = || Plane::from_fn(8, 8, |x, y| if x < 2 && y < 4 { 255 } else { 0 });
        let whole = Rect { x: 0, y: 0, width: 8, height: 8 };
        let near = |shares: Vec<f32>, expected: [f32; 4]| {
            assert!(shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.01), "{shares:?} {expected:?}");
        };
        near(shares(mask(), &[], whole, 2), [0.5, 0.0, 0.0, 0.0]);
        near(shares(mask(), &[Change::Mirrored], whole, 2), [0.0, 0.5, 0.0, 0.0]);
        near(
            shares(mask(), &[Change::Turned(2), Change::Noise { sigma: 9.0, seed: 1 }], whole, 2),
            [0.0, 0.0, 0.0, 0.5],
        );
        near(shares(mask(), &[], Rect { x: 0, y: 2, width: 4, height: 4 }, 2), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_is_not_known_is_not_asked() {
        let logits = Var::from_vec(vec![2f32, -1.0, 0.5, 3.0], (2, 1, 1, 2), &Device::Cpu).unwrap();
        let shares = Tensor::new(&[1f32, 0.25, 0.0, 0.0], &Device::Cpu).unwrap().reshape((2, 1, 1, 2)).unwrap();
        let known = |which: [f32; 2]| Tensor::new(&which, &Device::Cpu).unwrap().reshape((2, 1, 1, 1)).unwrap();
        let of = |logit: f64, share: f64| (1.0 + logit.exp()).ln() - share * logit;
        let found = loss(&logits, &shares, &known([1.0, 0.0])).unwrap();
        let expected = (of(2.0, 1.0) + of(-1.0, 0.25)) / 2.0;
        assert!((f64::from(found.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-6);
        let gradient = found.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient[0] < 0.0 && gradient[1] > 0.0 && gradient[2..] == [0.0, 0.0], "{gradient:?}");
        let both = loss(&logits, &shares, &known([1.0, 1.0])).unwrap().to_scalar::<f32>().unwrap();
        let expected = (2.0 * expected + of(0.5, 0.0) + of(3.0, 0.0)) / 4.0;
        assert!((f64::from(both) - expected).abs() < 1e-6);
        assert_eq!(loss(&logits, &shares, &known([0.0, 0.0])).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }

    #[test]
    fn cells_are_those_of_the_map_that_the_heads_read() {
        let shape = Shape {
            backbone: Backbone::EfficientNetLite(0),
            members: 2,
            frozen: Frozen::Stride16,
            batch_norms: false,
            dropout: 0.0,
        };
        let weights = shape.backbone.drawn_weights(5, &Device::Cpu).unwrap();
        let net = shape.network(&weights, true, &Device::Cpu).unwrap();
        let x = seeded::normal((1, 3, 96, 96), 1.0, 8, &Device::Cpu).unwrap();
        let map = net.forward(&x, Pass::Infer).unwrap().remove(LESION_MAP).unwrap().remove(0);
        let cells = shape.cells(weights.layout(), 96).unwrap();
        assert_eq!((map.dims(), cells), (&[1, 1, cells, cells][..], 3));
        assert!(net.trainable().iter().any(|(name, _)| name == "lesion_map.bias"));
    }

    #[test]
    fn covered_cells_are_told_from_others() {
        assert_eq!(cells_auc(&[2.0, 1.0, -1.0, -2.0], &[1.0, 0.6, 0.4, 0.0]), 1.0);
        assert_eq!(cells_auc(&[2.0, 1.0], &[0.0, 0.0]), 0.5);
    }
}
