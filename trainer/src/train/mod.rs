//! From a manifest to trained weights: each run is a folder, each run resumes where it stopped.

pub mod checkpoint;
pub mod classify;
pub mod features;
pub mod picture;
pub mod segment;

/// A progress bar for `length` steps of work called `name`, on standard error.
pub(crate) fn progress(length: usize, name: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{prefix:>18} {wide_bar} {pos}/{len} {per_sec} {eta} {msg}")
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    indicatif::ProgressBar::new(length as u64).with_style(style).with_prefix(name.to_owned())
}
