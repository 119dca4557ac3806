//! The progress bar of everything that takes a while.

use rayon::prelude::*;

/// A progress bar for `length` steps of work called `name`, on standard error.
pub fn progress(length: usize, name: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{prefix:>18} {wide_bar} {pos}/{len} {per_sec} {eta} {msg}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    indicatif::ProgressBar::new(length as u64).with_style(style).with_prefix(name.to_owned())
}

/// Applies `work` to all items on all cores, in order, behind a progress bar called `name`.
pub fn in_parallel<T: Sync, U: Send>(name: &str, items: &[T], work: impl Fn(&T) -> U + Sync + Send) -> Vec<U> {
    let bar = progress(items.len(), name);
    let results = items.par_iter().map(work).inspect(|_| bar.inc(1)).collect();
    bar.finish_and_clear();
    results
}
