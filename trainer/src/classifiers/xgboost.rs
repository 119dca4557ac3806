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
//! - A run learns from a matrix of the rows that it drew, each once, with how often as its weight. All other rows would be
//!   counted into every histogram with weight 0, which more than doubles the time. The matrix of all rows is for prediction.

mod library;

use std::path::{Path, PathBuf};

pub(super) use library::Library;

use self::library::Matrix;
use super::{bins::Bins, parameters::XgboostParameters, run::ClassifierRun};

/// What to install where there is no library.
pub const PACKAGE: &str = "pip install xgboost-cpu";

/// The environment variable that says where the library is.
const VARIABLE: &str = "THORAX_XGBOOST";

/// Why XGBoost could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XgboostError {
    /// There is no library.
    #[error(
        "{path}: XGBoost cannot be loaded: {reason}; install it with {PACKAGE}, and give the path of \
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
        "{path}: XGBoost {found} is too old, 2.0 is needed; {PACKAGE}, and give the path of \
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

/// Codes in XGBoost's own form.
pub(super) struct Data<'a> {
    library: &'a Library,
    bins: &'a Bins,
    labels: &'a [bool],
    /// A row for each level of the longest column: what the others take their cuts from.
    cuts: Matrix<'a>,
    /// All rows.
    all: Matrix<'a>,
    most: usize,
    threads: usize,
    /// Bytes of a node's histogram.
    histogram: usize,
}

impl<'a> Data<'a> {
    /// Gives the library the codes, with at most `most` to a column: where there are more, neighbours are put together.
    /// XGBoost will take `threads` threads, whose number may change the last digits of what it finds.
    ///
    /// # Errors
    /// When the library fails.
    ///
    /// # Panics
    /// When labels are not as many as rows, or `most` is below 2.
    pub(super) fn new(
        library: &'a Library,
        bins: &'a Bins,
        labels: &'a [bool],
        most: usize,
        threads: usize,
    ) -> Result<Self, XgboostError> {
        assert!(labels.len() == bins.rows() && most > 1, "one label a row, and two bins");
        let (rows, columns) = (bins.rows(), bins.columns());
        let levels = |column| bins.bins(column).min(most);
        // The columns with fewer levels repeat their last.
        let cuts = library.matrix([most, columns], most, threads, None, |range, out| {
            for (level, out) in range.zip(out.chunks_exact_mut(columns)) {
                out.iter_mut().enumerate().for_each(|(column, out)| *out = level.min(levels(column) - 1) as u8);
            }
        })?;
        let every: Vec<usize> = (0..rows).collect();
        let all = matrix(library, bins, most, threads, &cuts, &every)?;
        let histogram = 16 * (0..columns).map(levels).sum::<usize>();
        Ok(Self { library, bins, labels, cuts, all, most, threads, histogram })
    }

    /// The probability of the positive class of every row, `[N]`, from trees fitted to a run.
    ///
    /// # Errors
    /// When the library fails.
    pub(super) fn predict(
        &self,
        run: &ClassifierRun,
        parameters: &XgboostParameters,
    ) -> Result<Vec<f32>, XgboostError> {
        let drawn: Vec<usize> = (0..self.labels.len()).filter(|&row| run.counts[row] > 0).collect();
        // Histograms that are kept: as much memory as the codes that are learnt from take, and at least two.
        let histograms = (drawn.len() * self.bins.columns() / self.histogram.max(1)).max(2);
        let mut learnt = matrix(self.library, self.bins, self.most, self.threads, &self.cuts, &drawn)?;
        let labels: Vec<f32> = drawn.iter().map(|&row| f32::from(u8::from(self.labels[row]))).collect();
        let weights: Vec<f32> = drawn.iter().map(|&row| run.counts[row] as f32).collect();
        learnt.set("label", &labels)?;
        learnt.set("weight", &weights)?;
        let mut booster = learnt.booster(&[
            ("objective", "binary:logistic".into()),
            ("tree_method", "hist".into()),
            ("grow_policy", "lossguide".into()),
            ("max_cached_hist_node", histograms.to_string()),
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
        booster.predict(&self.all, self.labels.len())
    }
}

/// The matrix of some rows, cut as `cuts` is.
fn matrix<'a>(
    library: &'a Library,
    bins: &Bins,
    most: usize,
    threads: usize,
    cuts: &Matrix<'_>,
    rows: &[usize],
) -> Result<Matrix<'a>, XgboostError> {
    let columns = bins.columns();
    library.matrix([rows.len(), columns], most, threads, Some(cuts), |range, out| {
        // Some columns at a time, so that the lines of the cache that they are written to are still there.
        for first in (0..columns).step_by(64) {
            for column in first..(first + 64).min(columns) {
                let (codes, all) = (bins.column(column), bins.bins(column));
                let levels = all.min(most);
                for (number, &row) in rows[range.clone()].iter().enumerate() {
                    out[number * columns + column] = (usize::from(codes[row]) * levels / all) as u8;
                }
            }
        }
    })
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
        let Some(library) = thorax_wanted::xgboost() else { return };
        let library = Library::open(Some(&library)).unwrap();
        let trees = Trees::read();
        let coarse: Vec<f32> = trees.codes.iter().map(|code| f32::from(code / 3)).collect();
        let bins = Bins::of_columns(&coarse, &vec![true; trees.labels.len()]);
        let data = Data::new(&library, &bins, &trees.labels, 64, 1).unwrap();
        let found: Vec<Vec<f32>> = trees.runs[..2].iter().map(|run| data.predict(run, &PARAMETERS).unwrap()).collect();
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
        assert_eq!(data.predict(&trees.runs[1], &PARAMETERS).unwrap(), found[1]);
        // Codes that are put together are still good for something.
        let fine: Vec<f32> = trees.codes.iter().map(|code| f32::from(*code)).collect();
        let bins = Bins::of_columns(&fine, &vec![true; trees.labels.len()]);
        let data = Data::new(&library, &bins, &trees.labels, 16, 1).unwrap();
        let found = data.predict(&trees.runs[0], &XgboostParameters { max_bin: 16, ..PARAMETERS }).unwrap();
        let learnt = || (0..trees.labels.len()).filter(|&row| trees.runs[0].counts[row] > 0);
        let right = learnt().filter(|&row| (found[row] > 0.5) == trees.labels[row]).count();
        assert!(right * 20 > 19 * learnt().count(), "{right} of {}", learnt().count());
        // What it refuses is an error with its reason.
        let refused = data.predict(&trees.runs[0], &XgboostParameters { eta: -1.0, ..PARAMETERS });
        assert!(refused.is_err_and(|error| error.to_string().contains("XGBoost failed in")));
    }
}
