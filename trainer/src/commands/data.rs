//! `thorax-train data`: import, check, split and count training data.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use thorax_files::write_atomically;

use crate::{
    data::{
        Findings, Fold, Fractions, ImportArgs, Imported, Joined, Manifest, assign_fold, assign_splits, import, join,
        summary,
    },
    spoilers,
};

/// Import, join, check, split and count training data
#[derive(Clone, Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Read a folder of pictures into a manifest
    Import(ImportArgs),
    /// Put the manifests of several collections together
    Join {
        /// The manifests
        #[arg(required = true, num_args = 2.., value_name = "MANIFEST")]
        manifests: Vec<PathBuf>,
        /// The manifest to write
        #[arg(long)]
        out: PathBuf,
    },
    /// Look for missing or broken files, leaks between splits, contradicting labels, and for what may spoil a study: near-duplicates,
    /// and sources, sizes, formats, text and blur that tell the classes
    Check {
        /// The manifest
        manifest: PathBuf,
        /// Also write what was found, with thumbnails, as one HTML file
        #[arg(long, value_name = "FILE")]
        page: Option<PathBuf>,
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
/// [`DataError`](crate::data::DataError), or after `check` the number of problems that were found (each is printed to standard error).
pub fn run(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Import(args) => {
            let Imported { manifest, layout, told, open, left_out } = import(&args)?;
            eprintln!("layout {layout}");
            told.iter().for_each(|what| eprintln!("{what}"));
            left_out.iter().for_each(|(file, reason)| eprintln!("left out: {file}: {reason}"));
            match &args.out {
                Some(out) if !args.dry_run => {
                    manifest.save(out)?;
                    report(&manifest, out);
                }
                _ => {
                    print!("{}", summary(&manifest));
                    open.iter().for_each(|question| println!("open: {question}"));
                    println!("{}: nothing written", args.dir.display());
                }
            }
            if !left_out.is_empty() {
                println!("{} files left out, listed above", left_out.len());
            }
        }
        DataCommand::Join { manifests, out } => {
            let Joined { manifest, told } = join(&manifests)?;
            told.iter().for_each(|what| eprintln!("{what}"));
            manifest.save(&out)?;
            report(&manifest, &out);
        }
        DataCommand::Check { manifest: path, page } => {
            let manifest = Manifest::load(&path)?;
            let (Findings { problems, told }, spoilers) = spoilers::look(&manifest);
            let suspects = spoilers.told();
            told.iter().for_each(|what| eprintln!("to know: {what}"));
            suspects.iter().for_each(|what| eprintln!("suspected: {what}"));
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            if let Some(page) = page {
                let html = spoilers.page(&manifest, &path.display().to_string());
                write_atomically(&page, |out| out.write_all(html.as_bytes()))?;
                println!(
                    "{}: what is suspected, with pictures of patients: keep it where the data are",
                    page.display()
                );
            }
            if !problems.is_empty() {
                anyhow::bail!("{} has {} problem(s), listed above", path.display(), problems.len());
            }
            let suspected = match suspects.len() {
                0 => String::new(),
                count => format!("; {count} finding(s) that may spoil a study, listed above"),
            };
            let pictures: BTreeSet<&str> = manifest.records.iter().map(|record| record.path.as_str()).collect();
            let (pictures, rows) = (pictures.len(), manifest.records.len());
            println!("{}: {pictures} pictures in {rows} rows, no problem found{suspected}", path.display());
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
