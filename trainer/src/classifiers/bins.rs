//! Features as small whole numbers: what trees look at.
//!
//! A tree asks of a column only which numbers are below a threshold, so it needs their order and not their values. Each
//! column is cut at up to 255 places between the numbers that are learnt from, and a number is replaced by how many cuts are
//! below it, its code. Two consequences make trees on a hundred thousand columns affordable: a split is found by counting
//! in 256 bins instead of sorting, and the codes, one byte each, lie column by column in half the memory that the store's
//! f16 take in its file, so that the file is not needed any more.
//!
//! Where a column has at most 256 distinct numbers in the rows that are learnt from, each has its own bin and nothing is
//! lost. Where it has more, bins hold about as many rows each; a number that alone has more rows than that (the zeros of
//! ReLU) gets its own bin, and the others share what is left, as in LightGBM's `GreedyFindBin` (Ke et al. 2017).

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::features::{FeatureError, FeatureStore};

/// Most bins of a column: a code is a byte.
pub(super) const MOST_BINS: usize = 256;

/// Columns that are made from one opening of the store.
const BLOCK: usize = 4096;

/// The codes of `[N, C]` features.
pub struct Bins {
    rows: usize,
    columns: usize,
    /// `[C, N]`
    codes: Vec<u8>,
    /// `[C]`: bins of each column, 1 to 256.
    bins: Vec<u16>,
}

impl Bins {
    /// Codes of the rows `rows` of the store at `path`, in that order. `learn`, `[N]`, says which of them set the cuts.
    ///
    /// Takes N x C bytes, half of a store of f16, and meanwhile the pages of the store that a block of columns touches: the
    /// store is opened anew for each block, because the pages of a map count as memory of this process until it is closed.
    ///
    /// # Errors
    /// When the store cannot be read.
    ///
    /// # Panics
    /// When `learn` is not as long as `rows`, or the store has no such row.
    pub fn of(path: &Path, rows: &[usize], learn: &[bool]) -> Result<Self, FeatureError> {
        assert_eq!(rows.len(), learn.len(), "one flag a row");
        let columns = FeatureStore::open(path)?.columns();
        let mut bins = vec![1; columns];
        let mut codes = vec![0; rows.len() * columns];
        if rows.is_empty() {
            return Ok(Self { rows: 0, columns, codes, bins });
        }
        let blocks = codes.chunks_mut(BLOCK * rows.len()).zip(bins.chunks_mut(BLOCK)).zip((0..columns).step_by(BLOCK));
        for ((codes, bins), first) in blocks {
            let width = bins.len();
            // A lock for each column, which one thread takes once.
            let columns: Vec<_> = codes.chunks_exact_mut(rows.len()).zip(bins).map(Mutex::new).collect();
            FeatureStore::open(path)?.for_columns(first..first + width, |column, values| {
                let mut place = columns[column - first].lock().unwrap_or_else(PoisonError::into_inner);
                let (codes, bins) = &mut *place;
                let values: Vec<f32> = rows.iter().map(|&row| values[row]).collect();
                **bins = code(&values, learn, codes);
            });
        }
        Ok(Self { rows: rows.len(), columns, codes, bins })
    }

    /// Codes of features that are in memory: `values` `[C, N]`, column by column.
    ///
    /// # Panics
    /// When there are no rows, or not as many values in each column as flags in `learn`.
    pub fn of_columns(values: &[f32], learn: &[bool]) -> Self {
        let rows = learn.len();
        assert!(rows > 0 && values.len().is_multiple_of(rows), "{} values for columns of {rows}", values.len());
        let mut codes = vec![0; values.len()];
        let columns = values.chunks_exact(rows).zip(codes.chunks_exact_mut(rows));
        let bins: Vec<u16> = columns.map(|(values, codes)| code(values, learn, codes)).collect();
        Self { rows, columns: bins.len(), codes, bins }
    }

    /// Rows, N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, C.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `[N]`: the codes of a column, each below [`Self::bins`].
    ///
    /// # Panics
    /// When there is no such column.
    pub fn column(&self, column: usize) -> &[u8] {
        &self.codes[column * self.rows..][..self.rows]
    }

    /// How many bins a column has: 1 to 256, and 1 only where all rows learnt from have the same number.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn bins(&self, column: usize) -> usize {
        usize::from(self.bins[column])
    }
}

/// Puts the codes of a column's `values` into `codes`, and tells its bins.
fn code(values: &[f32], learn: &[bool], codes: &mut [u8]) -> u16 {
    let cuts = Cuts::between(values.iter().zip(learn).filter(|(_, learn)| **learn).map(|(value, _)| *value).collect());
    codes.iter_mut().zip(values).for_each(|(code, value)| *code = cuts.below(*value));
    cuts.bins
}

/// Where a column is cut: a number's code is how many cuts are below it.
struct Cuts {
    /// Ascending; those behind the last are infinite, so that no number is above them.
    at: [f32; MOST_BINS - 1],
    bins: u16,
}

impl Cuts {
    fn between(mut values: Vec<f32>) -> Self {
        // -0 is 0 to a tree, and adding 0 makes it that.
        values.iter_mut().for_each(|value| *value += 0.0);
        values.sort_unstable_by(f32::total_cmp);
        let distinct = || values.chunk_by(|a, b| a == b);
        let mut cuts = Self { at: [f32::INFINITY; MOST_BINS - 1], bins: 1 };
        let (mut left, mut held) = (values.len(), 0);
        let mut distinct_left = distinct().count();
        for (here, next) in distinct().zip(distinct().skip(1)) {
            held += here.len();
            distinct_left -= 1;
            let bins_left = MOST_BINS - usize::from(cuts.bins);
            // A bin is closed when it has its share of the rows that are left, or when every number can have a bin.
            if bins_left > 0 && (held * (bins_left + 1) >= left || distinct_left <= bins_left) {
                cuts.at[usize::from(cuts.bins) - 1] = halfway(here[0], next[0]);
                cuts.bins += 1;
                left -= held;
                held = 0;
            }
        }
        cuts
    }

    /// How many cuts are below `value`: a search without branches, as each would be a coin's toss to the processor.
    fn below(&self, value: f32) -> u8 {
        let mut below = 0;
        for step in [128, 64, 32, 16, 8, 4, 2, 1] {
            below += if self.at[below + step - 1] < value { step } else { 0 };
        }
        below as u8
    }
}

/// A number from `low` on and below `high` that parts them, half way where that can be represented.
fn halfway(low: f32, high: f32) -> f32 {
    let half = low / 2.0 + high / 2.0;
    if low <= half && half < high { half } else { low }
}

/// What scikit-learn and XGBoost say of a small problem (`trainer/references/trees.py`).
#[cfg(test)]
pub(super) mod references {
    #![allow(clippy::unwrap_used)]
    use safetensors::SafeTensors;

    use super::Bins;
    use crate::classifiers::ClassifierRun;

    const FILE: &[u8] = include_bytes!("../../tests/references/trees.safetensors");

    pub(in super::super) struct Trees {
        pub(in super::super) codes: Vec<u8>,
        pub(in super::super) bins: Bins,
        pub(in super::super) labels: Vec<bool>,
        pub(in super::super) runs: Vec<ClassifierRun>,
    }

    pub(in super::super) fn run(counts: Vec<u32>, seed: u64) -> ClassifierRun {
        ClassifierRun { number: 0, seed, counts }
    }

    impl Trees {
        pub(in super::super) fn read() -> Self {
            let file = SafeTensors::deserialize(FILE).unwrap();
            let codes = file.tensor("codes").unwrap().data().to_vec();
            let labels: Vec<bool> = file.tensor("labels").unwrap().data().iter().map(|&label| label == 1).collect();
            let counts: Vec<u32> = bytemuck::pod_collect_to_vec(file.tensor("counts").unwrap().data());
            let runs =
                counts.chunks_exact(labels.len()).zip(0..).map(|(counts, seed)| run(counts.to_vec(), seed)).collect();
            let bins = Bins::of_columns(
                &codes.iter().map(|&code| f32::from(code)).collect::<Vec<_>>(),
                &vec![true; labels.len()],
            );
            Self { codes, bins, labels, runs }
        }

        /// Of each run, each row's probability.
        pub(in super::super) fn probabilities(&self, name: &str) -> Vec<Vec<f64>> {
            let file = SafeTensors::deserialize(FILE).unwrap();
            let values: Vec<f64> = bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data());
            values.chunks_exact(self.labels.len()).map(<[f64]>::to_vec).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use half::f16;
    use proptest::prelude::*;
    use thorax_nets::{Backbone, Layout};
    use thorax_shared::{
        modality::Modality,
        preprocess::{QualityLimits, spec::Normalise},
    };

    use super::*;
    use crate::{
        data::{Label, Split},
        features::{Contents, Dtype, FORMAT, FeatureRow, Opened, State, StoreWriter, WrittenRow, preprocess_sha256},
    };

    fn coded(values: &[f32], learn: &[bool]) -> (Vec<u8>, usize) {
        let bins = Bins::of_columns(values, learn);
        (bins.column(0).to_vec(), bins.bins(0))
    }

    #[test]
    fn zeros_leave_the_bins_to_the_other_numbers() {
        // Of 3000 numbers 2000 are 0 (one -0); the 1000 others share 255 bins, about four to each.
        let mut values: Vec<f32> = (1..=1000).map(|n| n as f32 / 7.0).chain([0.0; 2000]).collect();
        values[1500] = -0.0;
        let (codes, bins) = coded(&values, &[true; 3000]);
        assert_eq!(bins, 256);
        assert!(codes[1000..].iter().all(|code| *code == 0));
        for code in 1..=255 {
            let rows = codes.iter().filter(|c| **c == code).count();
            assert!((3..=5).contains(&rows), "{rows} rows have code {code}");
        }
    }

    #[test]
    fn strange_numbers_end_well() {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, 0.0, -f32::NAN];
        let (codes, _) = coded(&values, &[true; 8]);
        assert!(codes[2] < codes[4] && codes[4] < codes[6] && codes[6] < codes[5] && codes[5] < codes[3]);
        assert!(codes[3] < codes[1]);
        assert_eq!(coded(&values[..2], &[false; 2]).1, 1);
    }

    #[test]
    fn codes_of_a_store_are_those_of_its_numbers() {
        // More columns than a block; rows that are left out and in another order.
        let shape = [2051, 1, 2];
        let (rows, columns) = (9, 4102);
        let value = |row: usize, column: usize| f16::from_f32(((row * 37 + column * 11) % 13) as f32 / 4.0 - 1.0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.features");
        let Opened::Unfinished(writer) = StoreWriter::open(&path, &contents(rows), shape).unwrap() else {
            unreachable!()
        };
        for unit in writer.pending().to_vec() {
            let bytes: Vec<Vec<u8>> =
                writer.unit(unit).map(|row| (0..columns).flat_map(|c| value(row, c).to_le_bytes()).collect()).collect();
            let rows: Vec<_> = bytes.iter().map(|bytes| WrittenRow { state: State::Extracted, bytes }).collect();
            writer.write(unit, &rows).unwrap();
        }
        writer.finish().unwrap();
        let (used, learn) = ([8, 0, 1, 2, 5, 7], [true, false, true, true, true, true]);
        let values: Vec<f32> = (0..columns).flat_map(|c| used.map(|row| value(row, c).to_f32())).collect();
        let (found, expected) = (Bins::of(&path, &used, &learn).unwrap(), Bins::of_columns(&values, &learn));
        assert_eq!((found.rows(), found.columns()), (6, columns));
        assert!(found.codes == expected.codes && found.bins == expected.bins);
    }

    fn contents(rows: usize) -> Contents {
        let normalise = Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] };
        let preprocess = crate::data::recipe::preprocess_spec(Modality::Ct, 224, normalise);
        let row = |row| FeatureRow {
            path: format!("{row}.png"),
            sha256: format!("{row:02x}").repeat(32),
            patient_id: format!("p{row}"),
            group: format!("p{row}"),
            source: "an example".into(),
            label: Label::Positive,
            split: Split::Train,
            equalised: false,
            copy: 0,
        };
        Contents {
            format: FORMAT,
            program: "a test".into(),
            backbone: Backbone::EfficientNetLite(0).into(),
            weights: "random:1".into(),
            weights_sha256: "ab".repeat(32),
            layout: Some(Layout::Timm),
            device: "cpu".into(),
            dtype: Dtype::F16,
            unit: 4,
            modality: Modality::Ct,
            preprocess_sha256: preprocess_sha256(&preprocess),
            preprocess,
            quality: QualityLimits::default(),
            lungs_sha256: None,
            manifest_sha256: "cd".repeat(32),
            copies: 0,
            copies_seed: None,
            rows: (0..rows).map(row).collect(),
        }
    }

    #[test]
    fn numbers_that_are_their_own_codes() {
        let trees = references::Trees::read();
        assert_eq!(trees.bins.codes, trees.codes);
    }

    proptest! {
        #[test]
        fn order_is_kept_and_few_numbers_are_told_apart(
            // Half precision has many equal numbers; wide has hardly any.
            (values, learn) in (1usize..1500, prop::bool::ANY).prop_flat_map(|(rows, wide)| {
                let value = if wide { (-1e6f32..1e6).boxed() } else { (-90i32..90).prop_map(|n| n as f32 / 8.0).boxed() };
                (prop::collection::vec(value, rows), prop::collection::vec(prop::bool::weighted(0.7), rows))
            }),
        ) {
            let (codes, bins) = coded(&values, &learn);
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
            for pair in order.windows(2) {
                prop_assert!(codes[pair[0]] <= codes[pair[1]]);
                if values[pair[0]] == values[pair[1]] {
                    prop_assert_eq!(codes[pair[0]], codes[pair[1]]);
                }
            }
            let learnt: Vec<usize> = order.into_iter().filter(|&row| learn[row]).collect();
            let distinct = learnt.chunk_by(|&a, &b| values[a] == values[b]).count();
            prop_assert_eq!(bins, distinct.clamp(1, MOST_BINS));
            let used = learnt.chunk_by(|&a, &b| codes[a] == codes[b]).count();
            prop_assert_eq!(used.max(1), bins, "every bin has a row that is learnt from");
            if distinct <= MOST_BINS {
                for pair in learnt.windows(2) {
                    prop_assert_eq!(values[pair[0]] == values[pair[1]], codes[pair[0]] == codes[pair[1]]);
                }
            }
        }
    }
}
