//! The words of the command line, and what they mean.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use thorax_phantom::PhantomArgs;
use thorax_shared::{modality::Modality, words::Language};

/// Exit code when every file was screened.
pub const ALL_SCREENED: u8 = 0;
/// Exit code when at least one file was refused (the others were screened).
pub const SOME_REFUSED: u8 = 1;
/// Exit code of wrong usage (clap's own).
pub const BAD_USAGE: u8 = 2;
/// Exit code when the device itself fails: no trusted bundle, a model that cannot run, a result that cannot be written.
pub const DEVICE_FAILED: u8 = 3;

/// Screens chest X-rays and CT slices for COVID-19, without a network. Research use only, not a medical device.
#[derive(Debug, Parser)]
#[command(
    name = "thorax-edge",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 all files screened, or as it should be; 1 some files refused, or a damaged journal; 2 wrong usage; \
                  3 the device failed (no trusted bundle, a model that cannot run, a result that cannot be written)."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Screen images, volumes and folders of them: PNG, JPEG, TIFF, DICOM, NIfTI
    Screen(ScreenArgs),
    /// Measure each stage, the cold start and the memory
    Bench(BenchArgs),
    /// Be the appliance: take images from the network and from folders, read them, keep the results
    Serve(ServeArgs),
    /// Look at what the appliance keeps, whether it is running or not
    Journal(JournalArgs),
    /// Install bundles, see how their trials go, and take them back
    Bundle(BundleCommandArgs),
    /// Set the site's own thresholds, and see from its own patients what a threshold does
    Threshold(ThresholdArgs),
    /// Ask the hospital's worklist who is next at the cart
    Worklist(WorklistArgs),
    /// See what of a board's profile the machine at hand has
    Board(BoardArgs),
    /// Accounts of the page for the tablet
    Page(PageArgs),
    /// Write synthetic chest films and CT slices with their lesion and lung masks
    Phantom(PhantomArgs),
    /// Write the man pages and the completions of the shells, for the package
    #[command(hide = true)]
    Manual(ManualArgs),
}

/// Options of `board`.
#[derive(Debug, Args)]
pub struct BoardArgs {
    /// What is asked.
    #[command(subcommand)]
    pub question: BoardCommand,
}

/// What is asked of a board.
#[derive(Debug, Subcommand)]
pub enum BoardCommand {
    /// A line for each thing that the profile names: whether it is there, and what to do where it is not. Exit code 1 when something
    /// is not
    Check {
        /// Folder of the board, or its profile
        #[arg(long)]
        board: PathBuf,
    },
}

/// Options of `manual`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// Where they are written
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// Which bundles, and whose.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// Bundle to use, may be given more than once [default: every *.thorax in $THORAX_MODELS; if that
    /// is not set in ./models, the models folder beside the program, or /usr/share/thorax/models, the first that has any]
    #[arg(long = "bundle", value_name = "FILE")]
    pub bundles: Vec<PathBuf>,
    /// File of further public keys to trust, one `ed25519:HEX` a line
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
}

/// What is to be read, and with what.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Images and volumes; for `screen` folders as well, in which the slices of a CT series are one volume
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Kind of image, xray or ct, overruling what the file says [default: what the file says, else found from the image]
    #[arg(long)]
    pub modality: Option<Modality>,
    /// Bundles and keys.
    #[command(flatten)]
    pub bundles: BundleArgs,
}

/// Options of `screen`.
#[derive(Debug, Args)]
pub struct ScreenArgs {
    /// Files, modality and bundles.
    #[command(flatten)]
    pub input: InputArgs,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write the masks here as 8-bit PNG of the input's own size: NAME.png (infection), NAME_left_lung.png and
    /// NAME_right_lung.png (the patient's left and right), or NAME_lungs.png where the file does not say which side is which
    #[arg(long, value_name = "DIR")]
    pub masks: Option<PathBuf>,
    /// Write what was read here, as 8-bit PNG: NAME.png is the picture upright, positive and windowed, as all that follows sees it
    #[arg(long, value_name = "DIR")]
    pub prepared: Option<PathBuf>,
    /// Write what the 320x240 panel shows: a PNG, or a folder when there are several files
    #[arg(long, value_name = "PNG")]
    pub display: Option<PathBuf>,
    /// Evenly spaced slices to read of a volume, 0 for all
    #[arg(long, default_value_t = 16)]
    pub slices: usize,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Files, modality and bundles.
    #[command(flatten)]
    pub input: InputArgs,
    /// Runs of each file
    #[arg(long, default_value_t = 9)]
    pub runs: usize,
}

/// Where the appliance's profile and data are.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Folder of the board, with its profile.toml, or a profile itself
    #[arg(long, value_name = "DIR", global = true)]
    pub board: Option<PathBuf>,
    /// Folder of data [default: data.folder of the profile, $STATE_DIRECTORY, $XDG_STATE_HOME/thorax, ~/.local/state/thorax]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Profile and data.
    #[command(flatten)]
    pub place: DataArgs,
    /// A dress rehearsal: phantom films arrive by themselves, and are kept in a folder `demo` of their own in that of the data
    #[arg(long)]
    pub demo: bool,
    /// How much is told
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log: LogLevel,
}

/// How much the log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What somebody has to do something about
    Error,
    /// And what is out of the ordinary
    Warn,
    /// And what is done
    Info,
    /// And what may help to find a fault
    Debug,
}

/// Options of `journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Profile and data.
    #[command(flatten)]
    pub place: DataArgs,
    /// What is asked.
    #[command(subcommand)]
    pub question: JournalCommand,
}

/// What the journal is asked.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// The last studies, the newest first
    List {
        /// How many
        #[arg(long, default_value_t = 50)]
        last: usize,
        /// One JSON object a line in place of the table
        #[arg(long)]
        json: bool,
    },
    /// One study with its images, result and deliveries
    Show {
        /// Its number, as in the list
        study: u64,
        /// JSON in place of lines
        #[arg(long)]
        json: bool,
    },
    /// Read every record and every file; exit code 1 when something is damaged
    Verify {
        /// JSON in place of lines
        #[arg(long)]
        json: bool,
    },
    /// All studies on standard output
    Export {
        /// As what
        #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
        format: ExportFormat,
    },
    /// What happened to the device itself: bundles and thresholds, the newest first
    Events {
        /// How many
        #[arg(long, default_value_t = 50)]
        last: usize,
        /// One JSON object a line in place of the table
        #[arg(long)]
        json: bool,
    },
    /// Copy studies without names to a folder, such as that of a stick (PS3.15, Basic Profile): the images and the pictures among the
    /// results. Reports are left out. Exit code 1 when anything was
    Deidentify {
        /// The folder, made where missing
        folder: PathBuf,
        /// Numbers of studies, as in the list
        #[arg(long = "study", value_name = "NUMBER", required = true)]
        studies: Vec<u64>,
    },
    /// One study as a page of HTML that a browser prints on A4, on standard output
    Print {
        /// Its number, as in the list
        study: u64,
        /// Of its words: en, fr, es, pt, sw or hi
        #[arg(long, default_value = "en", value_parser = language)]
        language: Language,
    },
    /// Copy all of it, also while the appliance is at work
    Backup {
        /// A new folder
        folder: PathBuf,
    },
    /// Make the data of a backup anew, where there are none
    Restore {
        /// The folder of the backup
        backup: PathBuf,
    },
}

/// The language of a code.
fn language(code: &str) -> Result<Language, String> {
    Language::of_code(code).ok_or_else(|| "one of en, fr, es, pt, sw, hi".into())
}

/// Options of `bundle`.
#[derive(Debug, Args)]
pub struct BundleCommandArgs {
    /// Profile and data.
    #[command(flatten)]
    pub place: DataArgs,
    /// What is to be done.
    #[command(subcommand)]
    pub action: BundleCommand,
}

/// What is done with bundles.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Check a bundle, test this device by it, and run it on trial, at once where the appliance is at work
    Install {
        /// The bundle, or a folder (as of a USB stick) with one bundle in it
        file: PathBuf,
        /// Who installs it
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// The bundles that are kept
    List {
        /// JSON in place of the table
        #[arg(long)]
        json: bool,
    },
    /// What is run, how its trial goes, what was taken back and why
    Status {
        /// JSON in place of lines
        #[arg(long)]
        json: bool,
    },
    /// Go back to the bundle before
    Rollback {
        /// Of which kind of picture
        #[arg(long)]
        modality: Modality,
        /// Who goes back
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// And why
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

/// Options of `worklist`.
#[derive(Debug, Args)]
pub struct WorklistArgs {
    /// Folder of the board, with its profile.toml, or a profile itself
    #[arg(long, value_name = "DIR")]
    pub board: PathBuf,
    /// The day, as 20261128, or `any` [default: from yesterday to tomorrow, since a device may not know its time zone]
    #[arg(long, value_name = "DAY")]
    pub date: Option<String>,
    /// One JSON object a line in place of the table
    #[arg(long)]
    pub json: bool,
}

/// Options of `threshold`.
#[derive(Debug, Args)]
pub struct ThresholdArgs {
    /// Profile and data.
    #[command(flatten)]
    pub place: DataArgs,
    /// What is to be done.
    #[command(subcommand)]
    pub action: ThresholdCommand,
}

/// What is done with thresholds.
#[derive(Debug, Subcommand)]
pub enum ThresholdCommand {
    /// The bundle's thresholds, the site's, and the bounds of those
    Show {
        /// Of which kind of picture
        #[arg(long)]
        modality: Modality,
    },
    /// Set the site's thresholds, which the appliance uses at once; they can only make it refer more
    Set {
        /// Of which kind of picture
        #[arg(long)]
        modality: Modality,
        /// Negative below this probability [default: the bundle's own]
        #[arg(long, value_name = "PROBABILITY")]
        negative_at: Option<f32>,
        /// Positive from this probability on [default: the bundle's own]
        #[arg(long, value_name = "PROBABILITY")]
        positive_at: Option<f32>,
        /// Who sets them
        #[arg(long, value_name = "NAME")]
        by: String,
        /// And why
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
    /// What each threshold would do with the site's own patients, whose truth is known from a confirming test
    Table {
        /// Of which kind of picture
        #[arg(long)]
        modality: Modality,
        /// CSV with columns `record` (the study's number) or `sop_instance_uid`, and `truth` (positive or negative)
        #[arg(long, value_name = "CSV")]
        truth: PathBuf,
        /// What a confirming test costs
        #[arg(long, value_name = "MONEY", requires = "cost_screen")]
        cost_test: Option<f64>,
        /// What a film and its reading cost
        #[arg(long, value_name = "MONEY", requires = "cost_test")]
        cost_screen: Option<f64>,
        /// CSV in place of lines
        #[arg(long)]
        csv: bool,
    },
    /// Go back to the bundle's own thresholds
    Clear {
        /// Of which kind of picture
        #[arg(long)]
        modality: Modality,
        /// Who does
        #[arg(long, value_name = "NAME")]
        by: String,
        /// And why
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum ExportFormat {
    /// A line a study
    Csv,
    /// An array of studies, with images, deliveries and what readers said
    Json,
    /// CSV, a line for each time that a reader agreed, disagreed or wrote a note
    Feedback,
    /// CSV, a line for each thing that was done on the page
    Audit,
}

/// Options of `page`.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub what: PageCommand,
}

/// What can be done about the page.
#[derive(Debug, Subcommand)]
pub enum PageCommand {
    /// Who may log in
    User {
        /// Folder of the board, whose profile names the file of users, or a profile itself
        #[arg(long, value_name = "DIR", global = true)]
        board: Option<PathBuf>,
        /// The file of users, in place of the profile's
        #[arg(long, value_name = "FILE", global = true)]
        users: Option<PathBuf>,
        /// What is to be done.
        #[command(subcommand)]
        what: UserCommand,
    },
}

/// What can be done about users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add one, or give one another role and password. The password is asked for, or is the first line of standard input
    Add {
        /// 1 to 32 lower-case letters, digits, '.', '_' and '-'
        name: String,
        /// A reader says whether verdicts are right; a technician sees studies and the status
        #[arg(long, value_enum)]
        role: UserRole,
    },
    /// Remove one, who is logged out at once
    Remove {
        /// Who
        name: String,
    },
    /// Names and roles
    List,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UserRole {
    /// Sees everything, and says whether a verdict was right
    Reader,
    /// Sees studies and the status
    Technician,
}

impl BundleArgs {
    /// The bundles that were named, or those of the first folder that has any.
    ///
    /// # Errors
    /// When there are none.
    pub fn paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        if !self.bundles.is_empty() {
            return Ok(self.bundles.clone());
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("models")));
        let folders: Vec<PathBuf> = match std::env::var_os("THORAX_MODELS") {
            Some(folder) => vec![folder.into()],
            None => ["models".into()].into_iter().chain(beside).chain(["/usr/share/thorax/models".into()]).collect(),
        };
        folders.iter().map(|folder| bundles_in(folder)).find(|found| !found.is_empty()).ok_or_else(|| {
            let tried = folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
            anyhow::anyhow!("no bundle (*.thorax) in {tried}: give one with --bundle, or set THORAX_MODELS")
        })
    }
}

/// Bundles in a folder or in its folders, sorted.
fn bundles_in(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let mut found: Vec<PathBuf> = entries(folder)
        .into_iter()
        .flat_map(|path| if path.is_dir() { entries(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "thorax") && path.is_file())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Ids that no option has, two options of one name: clap tells, where its own assertions are built (Cargo.toml).
    #[test]
    fn options_fit_together() {
        Arguments::command().debug_assert();
    }
}
