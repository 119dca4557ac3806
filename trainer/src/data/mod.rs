//! From a folder of pictures to a manifest that training can trust.
//!
//! `import` reads one of four layouts into a [`Manifest`] (a CSV table with a line per picture), `split` deals patients
//! out to training, validation and test, `check` looks for everything that would make a measured accuracy a lie
//! (a patient on both sides, one picture under two labels, a mask of another size), and `summary` counts.
//!
//! A picture belongs to a patient, patients that cannot be told apart share a group, and a group is never divided.
//! Whose patient is not known (`unknown`) may be trained on, never tested on.

mod check;
mod import;
mod manifest;
mod split;
mod summary;

pub use check::{Problem, check};
pub use import::{ImportArgs, Layout, import};
pub use manifest::{Label, Manifest, Record, Split, Task, UNKNOWN_PATIENT};
pub use split::{Fold, Fractions, assign_fold, assign_splits};
pub use summary::summary;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use thorax_files::{ReadError, WriteError};

/// Why data could not be imported, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {reason}; check the path and the permissions", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// A manifest could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A table's line cannot be understood.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Its line, counted from 1 (0 where unknown).
        line: u64,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The folder is not laid out as expected.
    #[error("{path}: {reason}", path = path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Split fractions that are no fractions.
    #[error("fractions `{0}`: give three percentages that add up to 100, e.g. 70,10,20 (train,val,test)")]
    Fractions(String),
    /// A fold that is none.
    #[error(
        "fold `{0}`: give which of how many, e.g. 2/5; at least 3, for one is tested, one validated, the others trained on"
    )]
    Fold(String),
}

/// Import, check, split and count training data
#[derive(Clone, Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Read a folder of pictures into a manifest
    Import(ImportArgs),
    /// Look for missing or broken files, leaks between splits and contradicting labels
    Check {
        /// The manifest
        manifest: PathBuf,
    },
    /// Deal the patients out to train, val and test anew
    Split {
        /// The manifest
        manifest: PathBuf,
        /// Where to write the result [default: the manifest itself]
        #[arg(long)]
        out: Option<PathBuf>,
        /// The same seed deals the same way
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Percent of the patients for train,val,test
        #[arg(long, default_value_t = Fractions::default())]
        fractions: Fractions,
        /// A round of a cross-validation instead, such as 2/5: that fold of the patients is test, the next one val
        #[arg(long, conflicts_with = "fractions", requires = "out", value_name = "I/K")]
        fold: Option<Fold>,
    },
    /// Count pictures and patients per modality, task, class, source and split
    Summary {
        /// The manifest
        manifest: PathBuf,
    },
}

/// Carries out one of the data commands.
///
/// # Errors
/// [`DataError`], or after `check` the number of problems that were found (each is printed to standard error).
pub fn run(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Import(args) => {
            let manifest = import(&args)?;
            manifest.save(&args.out)?;
            report(&manifest, &args.out);
        }
        DataCommand::Check { manifest: path } => {
            let manifest = Manifest::load(&path)?;
            let problems = check(&manifest);
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            if !problems.is_empty() {
                anyhow::bail!("{} has {} problem(s), listed above", path.display(), problems.len());
            }
            println!("{}: {} pictures, no problem found", path.display(), manifest.records.len());
        }
        DataCommand::Split { manifest: path, out, seed, fractions, fold } => {
            let mut manifest = Manifest::load(&path)?;
            match fold {
                Some(fold) => assign_fold(&mut manifest.records, seed, fold),
                None => assign_splits(&mut manifest.records, seed, fractions),
            }
            let out = out.unwrap_or(path);
            manifest.save(&out)?;
            report(&manifest, &out);
        }
        DataCommand::Summary { manifest: path } => {
            let manifest = Manifest::load(&path)?;
            report(&manifest, &path);
        }
    }
    Ok(())
}

fn report(manifest: &Manifest, path: &Path) {
    print!("{}", summary(manifest));
    println!("{}: {} rows, SHA-256 {}", path.display(), manifest.records.len(), manifest.sha256());
}

/// Applies `work` to all items on all cores, in order, behind a progress bar.
fn in_parallel<T: Sync, U: Send>(title: &'static str, items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}").unwrap_or(ProgressStyle::default_bar());
    let bar = ProgressBar::new(items.len() as u64).with_style(style).with_message(title);
    let results = items
        .par_iter()
        .map(|item| {
            let result = work(item);
            bar.inc(1);
            result
        })
        .collect();
    bar.finish_and_clear();
    results
}

#[cfg(test)]
mod tests;
