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
    modality::Modality,
    plane::{Plane, Rect},
    preprocess::resize_u8,
};

use crate::{
    changes::Change,
    data::{
        Manifest, Record, Split, Task,
        fingerprint::{fingerprint, healthy_fingerprint, unlabelled_fingerprint},
        picture::{Picture, truth_masks},
    },
    heads::auc_inside,
    segmentation::boxes::Boxes,
};

/// How lesions are learnt beside the labels.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LesionTask {
    /// How much the mean cross entropy of the cells counts beside that of the labels.
    pub factor: f64,
    /// Hash of the pictures for segmentation and their masks, those of the lungs too; `None` where no infection is drawn.
    pub masks_sha256: Option<String>,
    /// Hashes of the table of boxes, and of the pictures without a label, which may have some; `None` without a table.
    pub boxes_sha256: Option<[String; 2]>,
    /// Hash of the pictures of class `normal`; `None` where there are none.
    pub healthy_sha256: Option<String>,
}

impl LesionTask {
    /// That of the pictures of `modality` in a manifest; `table` is the hash of the boxes.
    ///
    /// # Errors
    /// A mask that cannot be read.
    pub fn new(factor: f64, manifest: &Manifest, modality: Modality, table: Option<String>) -> anyhow::Result<Self> {
        let any = |of: &dyn Fn(Split) -> bool| Split::ALL.into_iter().any(of);
        let drawn = any(&|split| manifest.masked(modality, split).any(|record| !record.mask.is_empty()));
        let healthy = any(&|split| manifest.healthy(modality, split).next().is_some());
        Ok(Self {
            factor,
            masks_sha256: drawn.then(|| fingerprint(manifest, modality, Task::Segment)).transpose()?,
            boxes_sha256: table
                .map(|table| anyhow::Ok([table, unlabelled_fingerprint(manifest, modality)?]))
                .transpose()?,
            healthy_sha256: healthy.then(|| healthy_fingerprint(manifest, modality)).transpose()?,
        })
    }

    /// What tells where they lie, in words.
    pub fn told_by(&self) -> String {
        let told = [
            self.masks_sha256.as_ref().map(|_| "masks"),
            self.boxes_sha256.as_ref().map(|_| "boxes"),
            self.healthy_sha256.as_ref().map(|_| "pictures of class normal"),
        ];
        told.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What is known of where lesions lie.
#[derive(Default)]
pub struct Lesions {
    /// Around them, where no mask is drawn.
    pub boxes: Option<Boxes>,
}

impl Lesions {
    /// Pictures of a split that the heads are told no label of, but whose lesions are shown: those with masks, and in training those
    /// without a label that have boxes.
    pub fn pictures<'a>(
        &'a self,
        manifest: &'a Manifest,
        modality: Modality,
        split: Split,
    ) -> impl Iterator<Item = &'a Record> {
        let drawn = manifest.masked(modality, split).filter(|record| is_drawn(record));
        let unlabelled = (split == Split::Train).then(|| manifest.unlabelled(modality, split));
        drawn.chain(unlabelled.into_iter().flatten().filter(|record| self.boxes_of(record).is_some()))
    }

    /// Whether lesions of a picture are drawn or boxed.
    pub fn shown(&self, record: &Record) -> bool {
        is_drawn(record) || self.boxes_of(record).is_some()
    }

    /// Whether it is known where lesions of a picture lie, or that it has none.
    pub fn known(&self, record: &Record) -> bool {
        self.shown(record) || record.is_healthy()
    }

    /// The table of boxes, where it has any of a picture.
    fn boxes_of(&self, record: &Record) -> Option<&Boxes> {
        self.boxes.as_ref().filter(|boxes| boxes.has(record))
    }

    /// 255 where a lesion is, at the picture's size; `None` where nobody says. A mask goes before boxes.
    ///
    /// # Errors
    /// A mask that cannot be read or does not fit; a box outside of the picture.
    pub(super) fn of(
        &self,
        manifest: &Manifest,
        record: &Record,
        picture: &Picture,
    ) -> anyhow::Result<Option<Plane<u8>>> {
        let [width, height] = picture.size();
        if is_drawn(record) {
            return Ok(truth_masks(manifest, record, &Plane::filled(width, height, 0))?.swap_remove(INFECTION));
        }
        match self.boxes_of(record) {
            Some(boxes) => boxes.covered(record, [width, height]).map(Some),
            None => Ok(record.is_healthy().then(|| Plane::filled(width, height, 0))),
        }
    }
}

/// Whether somebody has drawn where the infection is: a mask of a picture that is for segmentation.
fn is_drawn(record: &Record) -> bool {
    record.task == Task::Segment && !record.mask.is_empty()
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

/// The mean over pictures of `weights` `[N, 1, 1, 1]` times the mean cross entropy of their cells: logits `[N, 1, g, g]`, shares of the same
/// shape. A picture of which nothing is known weighs 0.
pub(super) fn loss(logits: &Tensor, shares: &Tensor, weights: &Tensor) -> candle_core::Result<Tensor> {
    (binary_cross_entropy(logits, shares)?.mean_keepdim((1, 2, 3))? * weights)?.mean_all()
}

/// How well cells that a lesion covers by half or more are told from the others of the same picture, over all such pairs: logits and shares of
/// each picture. Pairs of two pictures are left out, for they reward who knows which picture has lesions at all. One half where no picture has
/// cells of both kinds.
pub(super) fn cells_auc(pictures: &[[Vec<f32>; 2]]) -> f64 {
    let names: Vec<String> = (0..pictures.len()).map(|picture| picture.to_string()).collect();
    let of = |part: usize| pictures.iter().flat_map(move |picture| &picture[part]).copied();
    let covered: Vec<bool> = of(1).map(|share| share >= 0.5).collect();
    let picture_of = pictures.iter().zip(&names).flat_map(|(picture, name)| picture[0].iter().map(|_| name.as_str()));
    let both = |[_, shares]: &[Vec<f32>; 2]| {
        shares.iter().any(|&share| share >= 0.5) && shares.iter().any(|&share| share < 0.5)
    };
    match pictures.iter().any(both) {
        true => auc_inside(&of(0).collect::<Vec<_>>(), &covered, &picture_of.collect::<Vec<_>>()),
        false => 0.5,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};
    use thorax_nets::{Backbone, network::Pass};
    use thorax_nn::seeded;

    use thorax_shared::preprocess::spec::Normalise;

    use super::*;
    use crate::{
        backbone::{
            net::{Frozen, LESION_MAP, Shape},
            pictures::{Preparation, View},
        },
        changes::Copies,
        data::{Label, recipe::preprocess_spec},
    };

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
        let expected = (of(2.0, 1.0) + of(-1.0, 0.25)) / 4.0;
        assert!((f64::from(found.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-6);
        let gradient = found.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(gradient[0] < 0.0 && gradient[1] > 0.0 && gradient[2..] == [0.0, 0.0], "{gradient:?}");
        let both = loss(&logits, &shares, &known([1.0, 1.5])).unwrap().to_scalar::<f32>().unwrap();
        let expected = expected + 1.5 * (of(0.5, 0.0) + of(3.0, 0.0)) / 4.0;
        assert!((f64::from(both) - expected).abs() < 1e-6);
        assert_eq!(loss(&logits, &shares, &known([0.0, 0.0])).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }

    #[test]
    fn cells_are_those_of_the_map_that_the_heads_read() {
        let shape = Shape {
            backbone: Backbone::EfficientNetLite(0),
            reduction: Default::default(),
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
    fn covered_cells_are_told_from_others_of_their_picture() {
        let told =
            |pictures: &[[&[f32]; 2]]| cells_auc(&pictures.iter().map(|p| p.map(<[f32]>::to_vec)).collect::<Vec<_>>());
        assert_eq!(told(&[[&[2.0, 1.0, -1.0, -2.0], &[1.0, 0.5, 0.4, 0.0]]]), 1.0);
        // One pair of three is the wrong way round; whatever is said of a picture without lesions is no matter.
        assert_eq!(told(&[[&[2.0, 3.0, -1.0, -2.0], &[1.0, 0.0, 0.0, 0.0]], [&[9.0, 9.0], &[0.0, 0.0]]]), 2.0 / 3.0);
        assert_eq!(told(&[[&[9.0, 1.0], &[0.0, 0.4]]]), 0.5);
    }

    /// A mask goes before boxes, boxes before the class, and of all else nothing is known; and what is known moves with the picture.
    #[test]
    fn what_is_known_is_of_masks_boxes_and_healthy_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let square = |x: u32, y: u32| (40..60).contains(&x) && (20..40).contains(&y);
        let grey = image::GrayImage::from_fn(96, 96, |x, y| {
            image::Luma([if square(x, y) { 250 } else { (20 + (x * 7 + y * 5) % 60) as u8 }])
        });
        grey.save(folder.path().join("film.png")).unwrap();
        let mask = image::GrayImage::from_fn(96, 96, |x, y| image::Luma([if square(x, y) { 255 } else { 0 }]));
        mask.save(folder.path().join("mask.png")).unwrap();
        let table = folder.path().join("boxes.csv");
        std::fs::write(&table, "path,x0,y0,x1,y1\nboxed.png,40,20,60,40\nwide.png,40,20,160,40\ndrawn.png,0,0,5,5\n")
            .unwrap();
        for name in ["drawn", "boxed", "wide", "healthy", "other"] {
            std::fs::copy(folder.path().join("film.png"), folder.path().join(format!("{name}.png"))).unwrap();
        }
        let train = |path, task, label| Record::made(path, task, label, Split::Train);
        let drawn = train("drawn.png", Task::Segment, Label::Unlabelled);
        let negative = |path, class: &str, split| Record {
            class: class.into(),
            ..Record::made(path, Task::Classify, Label::Negative, split)
        };
        let records = vec![
            Record { mask: "mask.png".into(), ..drawn },
            train("boxed.png", Task::None, Label::Unlabelled),
            train("wide.png", Task::Classify, Label::Positive),
            negative("healthy.png", "normal", Split::Train),
            negative("other.png", "other", Split::Val),
        ];
        let manifest = Manifest::new(folder.path().to_owned(), records);
        let lesions = Lesions { boxes: Some(Boxes::open(&table).unwrap()) };
        let named = |name: &str| manifest.records.iter().find(|record| record.path == format!("{name}.png")).unwrap();
        let of = |name: &str| {
            let record = named(name);
            lesions.of(&manifest, record, &Picture::of(&manifest, record)?)
        };
        let marked =
            |name: &str| of(name).unwrap().map(|mask| mask.data().iter().filter(|&&value| value == 255).count());
        assert_eq!([marked("drawn"), marked("boxed"), marked("healthy")], [Some(400), Some(400), Some(0)]);
        assert_eq!(marked("other"), None);
        assert!(of("wide").unwrap_err().to_string().contains("to (160, 40) in a picture of 96 x 96 pixels"));
        let known = ["drawn", "boxed", "healthy", "other"].map(|name| lesions.known(named(name)));
        assert_eq!(known, [true, true, true, false]);
        let alone =
            |split| lesions.pictures(&manifest, Modality::Xray, split).map(|r| r.path.as_str()).collect::<Vec<_>>();
        assert_eq!((alone(Split::Train), alone(Split::Val)), (vec!["drawn.png", "boxed.png"], vec![]));

        // Whatever is done to the picture, the cells that are covered are those where it is bright.
        let spec = preprocess_spec(Modality::Xray, 96, Normalise { mean: vec![0.0], std: vec![1.0] });
        let preparation = Preparation {
            manifest: &manifest,
            spec: &spec,
            lungs: None,
            copies: Copies { count: 20, seed: 3 },
            lesions: Some((&lesions, 12)),
        };
        for copy in 0..=20 {
            let View { input, lesions } = preparation.view(named("boxed"), copy).unwrap();
            let shares = lesions.unwrap();
            let mean = |cell: usize| {
                let (row, column) = (cell / 12 * 8, cell % 12 * 8);
                (0..64).map(|at| input[(row + at / 8) * 96 + column + at % 8]).sum::<f32>() / 64.0
            };
            let of = |wanted: &dyn Fn(f32) -> bool| {
                let cells: Vec<f32> = (0..144).filter(|&cell| wanted(shares[cell])).map(mean).collect();
                cells.iter().sum::<f32>() / cells.len().max(1) as f32
            };
            let (inside, outside) = (of(&|share| share > 0.9), of(&|share| share < 0.1));
            assert!(
                shares.iter().any(|&share| share > 0.9) && inside > outside + 0.1,
                "copy {copy}: {inside} {outside}"
            );
        }
    }
}
