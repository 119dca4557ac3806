//! Gradient-boosted trees by the XGBoost library itself (Chen and Guestrin 2016), loaded when it is asked for.
//!
//! XGBoost was made for many rows and few columns. With a hundred thousand columns three things decide its memory, and are
//! chosen here:
//!
//! - It finds its cuts from a sketch of every column at once, which takes ten times what the data does. It is therefore given
//!   a matrix of `max_bin` rows that has every code once, and takes the cuts of that one: the codes are cut already.
//! - A node's histogram takes 16 bytes for each bin of each column, and by levels, a tree of depth 6 has 32 nodes at once.
//!   Trees are grown by loss instead, node by node, with few histograms kept. As nothing but depth limits a tree, it is
//!   the same tree.
//! - All runs share one matrix, and a run's resample is its weights. A row of weight 0 decides nothing, and gets its
//!   probability like all others.

mod library;

use std::path::{Path, PathBuf};

pub(super) use library::Library;

use self::library::Matrix;
use super::{bins::Bins, parameters::XgboostParameters, run::Run};

/// The environment variable that says where the library is.
const VARIABLE: &str = "THORAX_XGBOOST";

/// Why XGBoost could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XgboostError {
    /// There is no library.
    #[error(
        "{path}: XGBoost cannot be loaded: {reason}; install it with pip install xgboost-cpu, and give the path of \
         xgboost/lib/libxgboost.so in its folder with --xgboost or {VARIABLE}", path = path.display()
    )]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The library is too old.
    #[error(
        "{path}: XGBoost {found} is too old, 2.0 is needed; pip install xgboost-cpu, and give the path of \
         xgboost/lib/libxgboost.so in its folder with --xgboost or {VARIABLE}", path = path.display()
    )]
    Version {
        /// The library.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A function of the library failed.
    #[error("XGBoost failed in {what}: {reason}; lower xgboost.max_bin or xgboost.depth if memory ran out")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// Its reason.
        reason: String,
    },
}

impl Library {
    /// Loads XGBoost from `path`, else from where THORAX_XGBOOST says, else the system's `libxgboost.so`.
    ///
    /// # Errors
    /// When there is none, or it is older than 2.0.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, XgboostError> {
        let told = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::load(&path.map(Path::to_owned).or(told).unwrap_or_else(|| "libxgboost.so".into()))
    }
}

/// Codes in XGBoost's own form. They take two bytes each, those it was made from are not needed any more.
pub(super) struct Data<'a> {
    matrix: Matrix<'a>,
    rows: usize,
    threads: usize,
    /// Histograms that are kept: as much memory as the codes take, and at least two.
    histograms: usize,
}

impl<'a> Data<'a> {
    /// Gives the library the codes, with at most `max_bin` to a column: where there are more, neighbours are put together.
    /// XGBoost will take `threads` threads, whose number may change the last digits of what it finds.
    ///
    /// # Errors
    /// When the library fails.
    ///
    /// # Panics
    /// When labels are not as many as rows, or `max_bin` is below 2.
    pub(super) fn new(
        library: &'a Library,
        bins: &Bins,
        labels: &[bool],
        max_bin: usize,
        threads: usize,
    ) -> Result<Self, XgboostError> {
        assert!(labels.len() == bins.rows() && max_bin > 1, "one label a row, and two bins");
        let (rows, columns) = (bins.rows(), bins.columns());
        let levels = |column| bins.bins(column).min(max_bin);
        // The longest column has a row for each level; the others repeat their last.
        let every = library.matrix([max_bin, columns], max_bin, threads, None, |range, out| {
            for (level, out) in range.zip(out.chunks_exact_mut(columns)) {
                out.iter_mut().enumerate().for_each(|(column, out)| *out = level.min(levels(column) - 1) as u8);
            }
        })?;
        let mut matrix = library.matrix([rows, columns], max_bin, threads, Some(&every), |range, out| {
            // Some columns at a time, so that the lines of the cache that they are written to are still there.
            for first in (0..columns).step_by(64) {
                for column in first..(first + 64).min(columns) {
                    let (all, levels) = (bins.bins(column), levels(column));
                    for (number, code) in bins.column(column)[range.clone()].iter().enumerate() {
                        out[number * columns + column] = (usize::from(*code) * levels / all) as u8;
                    }
                }
            }
        })?;
        let labels: Vec<f32> = labels.iter().map(|&label| f32::from(u8::from(label))).collect();
        matrix.set("label", &labels)?;
        let histogram = 16 * (0..columns).map(levels).sum::<usize>();
        Ok(Self { matrix, rows, threads, histograms: (rows * columns / histogram.max(1)).max(2) })
    }

    /// The probabilities of the positive class, `[runs][N]`, each from trees fitted to its run. One run after the other, as
    /// the weights are the matrix's; `progress` is called after each.
    ///
    /// # Errors
    /// When the library fails.
    pub(super) fn predict(
        &mut self,
        runs: &[Run],
        parameters: &XgboostParameters,
        mut progress: impl FnMut(),
    ) -> Result<Vec<Vec<f32>>, XgboostError> {
        let predict = |run: &Run| {
            let weights: Vec<f32> = run.counts.iter().map(|&count| count as f32).collect();
            self.matrix.set("weight", &weights)?;
            let mut booster = self.matrix.booster(&[
                ("objective", "binary:logistic".into()),
                ("tree_method", "hist".into()),
                ("grow_policy", "lossguide".into()),
                ("max_cached_hist_node", self.histograms.to_string()),
                ("max_leaves", "0".into()),
                ("max_depth", parameters.depth.to_string()),
                ("max_bin", parameters.max_bin.to_string()),
                ("eta", parameters.eta.to_string()),
                ("lambda", parameters.lambda.to_string()),
                ("min_child_weight", parameters.min_child_weight.to_string()),
                ("nthread", self.threads.to_string()),
                // The library's seed is a signed number.
                ("seed", (run.seed >> 1).to_string()),
            ])?;
            (0..parameters.trees).try_for_each(|round| booster.update(round))?;
            let probabilities = booster.predict(self.rows)?;
            progress();
            Ok(probabilities)
        };
        runs.iter().map(predict).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::classifiers::bins::references::Trees;

    const PARAMETERS: XgboostParameters =
        XgboostParameters { trees: 30, depth: 6, eta: 0.3, lambda: 1.0, min_child_weight: 1.0, max_bin: 64 };

    #[test]
    fn what_is_missing_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in
            [(folder.path().join("libxgboost.so"), None), (folder.path().join("text.so"), Some("no library"))]
        {
            text.iter().for_each(|text| std::fs::write(&path, text).unwrap());
            let error = Library::open(Some(&path)).err().unwrap().to_string();
            assert!(error.contains("pip install xgboost-cpu") && error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn probabilities_are_those_of_xgboost_by_python() {
        if std::env::var_os(VARIABLE).is_none() {
            eprintln!("SKIPPED: {VARIABLE} does not say where libxgboost.so is");
            return;
        }
        let library = Library::open(None).unwrap();
        let trees = Trees::read();
        let coarse: Vec<f32> = trees.codes.iter().map(|code| f32::from(code / 3)).collect();
        let bins = Bins::of_columns(&coarse, &vec![true; trees.labels.len()]);
        let mut data = Data::new(&library, &bins, &trees.labels, 64, 1).unwrap();
        drop(bins);
        let mut done = 0;
        let found = data.predict(&trees.runs[..2], &PARAMETERS, || done += 1).unwrap();
        assert_eq!(done, 2);
        for (run, (found, expected)) in found.iter().zip(trees.probabilities("xgboost")).enumerate() {
            for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
                let difference = (f64::from(*found) - expected).abs();
                assert!(
                    difference < 1e-5,
                    "XGBoost {}, run {run}, row {row}: {found} not {expected}",
                    library.version()
                );
            }
        }
        // Again the same, and after other weights.
        assert_eq!(data.predict(&trees.runs[1..2], &PARAMETERS, || ()).unwrap()[0], found[1]);
        // Codes that are put together are still good for something.
        let fine: Vec<f32> = trees.codes.iter().map(|code| f32::from(*code)).collect();
        let bins = Bins::of_columns(&fine, &vec![true; trees.labels.len()]);
        let mut data = Data::new(&library, &bins, &trees.labels, 16, 1).unwrap();
        let found = data.predict(&trees.runs[..1], &XgboostParameters { max_bin: 16, ..PARAMETERS }, || ()).unwrap();
        let learnt = || (0..trees.labels.len()).filter(|&row| trees.runs[0].counts[row] > 0);
        let right = learnt().filter(|&row| (found[0][row] > 0.5) == trees.labels[row]).count();
        assert!(right * 20 > 19 * learnt().count(), "{right} of {}", learnt().count());
        // What it refuses is an error with its reason.
        let error = data.matrix.set("weight", &[1.0]).err().map(|error| error.to_string());
        let error = error.or_else(|| {
            data.predict(&trees.runs[..1], &XgboostParameters { eta: -1.0, ..PARAMETERS }, || ())
                .err()
                .map(|e| e.to_string())
        });
        assert!(error.is_some_and(|error| error.contains("XGBoost failed in")));
    }
}
