//! Heads that know what must get no verdict: a chest from the side, a child's, what is no chest at all.
//!
//! They stand on the same features as the ensemble, one logistic regression a kind against all pictures that are read and against the
//! other kinds. From which probability on a picture is rejected is chosen so that hardly any picture of the validation split is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use thorax_files::{file_sha256, hexadecimal};
use thorax_nn::graph::Graph;
use thorax_shared::{bundle::Refusal, uncertainty::sigmoid, verdict::RejectReason};

use super::{ClassifyConfig, Heads, Standard};
use crate::{
    changes::{self, Change, Copies},
    data::{Manifest, Split, picture::Picture},
    features::{Contents, FeatureRow, Prepared, State, prepare},
    progress::progress,
    segmentation::LungFinder,
};

/// Share of the validation pictures, with their copies, that a kind may reject.
const MOST_REJECTED: f64 = 0.002;

/// By how much a limit lies above what the validation pictures were told: the device rounds weights, and the store features.
const MARGIN: f32 = 0.01;

/// Penalty on the squared weights: there are few pictures of a kind, and they are easily told.
const L2: f32 = 1e-2;

/// A kind in the table, what is said of it, and how it is called in a bundle.
const KINDS: [(&str, RejectReason, &str); 5] = [
    ("not-frontal", RejectReason::NotFrontal, "film from the side"),
    ("child", RejectReason::Child, "child"),
    ("soft-tissue-window", RejectReason::SoftTissueWindow, "slice in a soft-tissue window"),
    ("not-a-chest", RejectReason::OutOfDistribution, "no chest X-ray or CT slice"),
    (PHOTOGRAPH, RejectReason::OutOfDistribution, "photograph of an image"),
];

const PHOTOGRAPH: &str = "photograph";

/// What is to be refused.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RefuseArgs {
    /// Learn to reject the pictures of this table as well: path,kind,split, where kind is not-frontal, child, soft-tissue-window,
    /// not-a-chest or photograph, a path counts from the table's folder, and only rows of split train are learnt from. Needs --weights, or
    /// --segmenter
    #[arg(long, value_name = "CSV")]
    pub refuse: Option<PathBuf>,
    /// Photographs to reject as well: of so many pictures of the training split, as a telephone takes them of a monitor
    #[arg(long, value_name = "N", default_value_t = 0, requires = "refuse")]
    pub refuse_photographs: u16,
}

/// Pictures that must be rejected.
pub struct RefusedPictures {
    /// Index in [`KINDS`] and file of each.
    pictures: Vec<(usize, PathBuf)>,
    /// Of so many pictures that are read otherwise a photograph.
    photographs: usize,
}

/// Where a picture to reject is from.
enum Taken<'a> {
    /// A file of the table.
    Table(&'a Path),
    /// A picture that is read otherwise.
    Photographed { row: &'a FeatureRow, seed: u64 },
}

impl Taken<'_> {
    fn name(&self) -> String {
        match self {
            Self::Table(path) => path.display().to_string(),
            Self::Photographed { row, .. } => row.path.clone(),
        }
    }

    /// Its hash, the picture, and what is changed last.
    fn open(&self, manifest: &Manifest) -> anyhow::Result<(String, Picture, Vec<Change>)> {
        Ok(match self {
            Self::Table(path) => (hexadecimal(&file_sha256(path)?), Picture::read(path, false)?, vec![]),
            Self::Photographed { row, seed } => (
                row.sha256.clone(),
                Picture::at(manifest, &row.path, row.equalised)?,
                vec![Change::Photograph { seed: *seed }],
            ),
        })
    }
}

impl RefusedPictures {
    /// The rows of split train of a table.
    ///
    /// # Errors
    /// A table that cannot be read, a kind that there is not, no rows of split train.
    pub fn open(table: &Path) -> anyhow::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Row {
            path: PathBuf,
            kind: String,
            split: String,
        }
        let named = || table.display().to_string();
        let folder = table.parent().unwrap_or(Path::new(""));
        let mut pictures = vec![];
        let mut lines = csv::Reader::from_path(table).with_context(named)?;
        for (line, row) in lines.deserialize().enumerate() {
            let row: Row = row.with_context(named)?;
            let kind = KINDS.iter().position(|(kind, ..)| *kind == row.kind).with_context(|| {
                let kinds = KINDS.map(|(kind, ..)| kind).join(", ");
                format!("{}: line {}: no kind {}; give one of {kinds}", named(), line + 2, row.kind)
            })?;
            if row.split == "train" {
                pictures.push((kind, folder.join(row.path)));
            }
        }
        anyhow::ensure!(!pictures.is_empty(), "{}: no row of split train", named());
        Ok(Self { pictures, photographs: 0 })
    }

    /// With photographs of `count` pictures of the training split beside them.
    #[must_use]
    pub fn and_photographs(self, count: u16) -> Self {
        Self { photographs: count.into(), ..self }
    }

    /// Each picture with its kind; the photographed ones evenly from the training pictures of `contents`.
    fn all<'a>(&'a self, contents: &'a Contents) -> Vec<(usize, Taken<'a>)> {
        let own = self.pictures.iter().map(|(kind, path)| (*kind, Taken::Table(path)));
        let read: Vec<_> = contents.rows.iter().filter(|row| row.split == Split::Train && row.copy == 0).collect();
        let count = self.photographs.min(read.len());
        let photograph = KINDS.iter().position(|(kind, ..)| *kind == PHOTOGRAPH).unwrap_or_default();
        let taken = (0..count).map(|number| {
            (photograph, Taken::Photographed { row: read[number * read.len() / count], seed: number as u64 })
        });
        own.chain(taken).collect()
    }

    /// The pooled features of each, and of `copies` changed copies, as those of the store were computed. What the quality check refuses needs
    /// no head and is left out.
    ///
    /// # Errors
    /// Pictures that cannot be read; a net that fails.
    pub fn features(
        &self,
        manifest: &Manifest,
        contents: &Contents,
        copies: u16,
        backbone: &Graph,
        finder: Option<&LungFinder>,
    ) -> anyhow::Result<RefusedFeatures> {
        let copies = Copies { count: copies, seed: contents.copies_seed.unwrap_or_default() };
        let pictures = self.all(contents);
        let bar = progress(pictures.len(), "pictures to refuse");
        let of = |(kind, from): &(usize, Taken<'_>)| -> anyhow::Result<Vec<(usize, Vec<f32>)>> {
            let (sha256, original, last) = from.open(manifest)?;
            let mut rows = vec![];
            for copy in 0..=copies.count {
                let mut picture = original.clone();
                let changes = [changes::history(&sha256, copy, copies.seed), last.clone()].concat();
                picture.frame.pixels = changes::apply_all(&changes, picture.frame.pixels, &contents.preprocess.window);
                let Prepared { input, state } = prepare(&picture, contents, finder)?;
                if state != State::Extracted {
                    continue;
                }
                let [c, h, w] = backbone.input_shape;
                let x = Tensor::from_vec(input, (1, c, h, w), &Device::Cpu)?;
                let maps = backbone.run(&x)?.swap_remove(0);
                rows.push((*kind, maps.flatten_from(2)?.mean(2)?.flatten_all()?.to_vec1::<f32>()?));
            }
            bar.inc(1);
            Ok(rows)
        };
        let rows = pictures.par_iter().map(|picture| of(picture).with_context(|| picture.1.name()));
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        bar.finish_and_clear();
        let rows: Vec<(usize, Vec<f32>)> = rows.into_iter().flatten().collect();
        let photographs = rows.iter().filter(|(kind, _)| KINDS[*kind].0 == PHOTOGRAPH).count();
        anyhow::ensure!(
            self.photographs == 0 || photographs > 0,
            "--refuse-photographs: no photograph of a training picture passes the quality check, so there is none to reject; leave it out"
        );
        if self.photographs > 0 {
            eprintln!("{photographs} photographs to reject, changed copies among them");
        }
        Ok(RefusedFeatures { rows })
    }
}

/// What [`RefusedPictures::features`] found.
pub struct RefusedFeatures {
    /// Index in [`KINDS`] and pooled features of each row.
    pub(super) rows: Vec<(usize, Vec<f32>)>,
}

/// A head for each kind that there were pictures of.
pub(super) struct RefusalHeads {
    /// On standardised features, `[columns, kinds]`.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) refusals: Vec<Refusal>,
}

impl RefusalHeads {
    /// Fits each kind that `refused` has against the pictures that are read, `x` `[rows, columns]` of the training split, and against the
    /// other kinds; its threshold is chosen on `validation` `[rows, columns]`. All are standardised.
    pub(super) fn fit(
        refused: &RefusedFeatures,
        standard: &Standard,
        x: &[f32],
        validation: &[f32],
        config: &ClassifyConfig,
        spread: Option<&[f32]>,
    ) -> anyhow::Result<Self> {
        let columns = standard.mean.len();
        let mut all = x.to_vec();
        refused.rows.iter().for_each(|(_, row)| all.extend(standard.row(row)));
        let rows = all.len() / columns;
        let of_row = |row: usize| row.checked_sub(x.len() / columns).map(|row| refused.rows[row].0);
        let (mut heads, mut refusals) = (vec![], vec![]);
        for (kind, (_, reason, name)) in KINDS.iter().enumerate() {
            let labels: Vec<bool> = (0..rows).map(|row| of_row(row) == Some(kind)).collect();
            let positive = labels.iter().filter(|label| **label).count();
            if positive == 0 {
                continue;
            }
            // The kind counts as much as all that it is not.
            let weight = |label: &bool| if *label { (rows - positive) as f32 / positive as f32 } else { 1.0 };
            let weights = vec![labels.iter().map(weight).collect::<Vec<f32>>()];
            let target = |row: usize, _| f32::from(u8::from(labels[row]));
            let head = Heads::fit(&all, &target, &weights, columns, config, L2, spread);
            let mut told: Vec<f32> =
                head.logits(validation, columns).iter().map(|logits| sigmoid(logits[0], 1.0)).collect();
            told.sort_by(f32::total_cmp);
            let at = ((told.len() - 1) as f64 * (1.0 - MOST_REJECTED)).ceil() as usize;
            let kind = (*name).try_into().map_err(|_| anyhow::anyhow!("{name}: longer than 64 bytes"))?;
            refusals.push(Refusal { kind, reason: *reason, at: (told[at] + MARGIN).clamp(0.5, 1.0) });
            heads.push(head);
        }
        let weights = (0..columns).flat_map(|column| heads.iter().map(move |head| head.weights[column])).collect();
        Ok(Self { weights, bias: heads.iter().map(|head| head.bias[0]).collect(), refusals })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_another_kind_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("refuse.csv");
        std::fs::write(&table, "path,kind,split\na.png,child,train\nb.png,hand,train\n").unwrap();
        let error = RefusedPictures::open(&table).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("line 3: no kind hand; give one of not-frontal, child"), "{error}");
        std::fs::write(&table, "path,kind,split\na.png,child,test\n").unwrap();
        let error = RefusedPictures::open(&table).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("no row of split train"), "{error}");
        std::fs::write(&table, "path,kind,split\na.png,child,test\nc.png,not-a-chest,train\n").unwrap();
        assert_eq!(RefusedPictures::open(&table).unwrap().pictures, [(3, folder.path().join("c.png"))]);
    }
}
