//! What the end-to-end tests stand on: the built programs, phantoms made by one of them, the shipped bundles.
//!
//! The tests see the programs as a user does: arguments in; files, standard output and an exit code out. Nothing of the
//! product is linked here.
#![allow(clippy::panic)] // a helper that cannot help fails the test

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::OnceLock,
};

use image::{GrayImage, ImageReader};
use serde_json::Value;
use tempfile::TempDir;

/// Fields of a JSON row that tell of the run and not of the image.
const OF_THE_RUN: [&str; 2] = ["milliseconds", "peak_memory_mib"];

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder of the profile these tests were built with, such as `target/release`.
///
/// # Panics
/// When the test was not started from a Cargo target folder.
pub fn profile_folder() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    match exe.parent().and_then(Path::parent) {
        Some(folder) => folder.to_owned(),
        None => panic!("{}: not in a Cargo target folder; run the tests with cargo test", exe.display()),
    }
}

/// `thorax-edge`, in the workspace, so that it finds the shipped bundles as a user's does.
pub fn edge() -> Command {
    program("thorax-edge")
}

/// `thorax-train`.
pub fn train() -> Command {
    program("thorax-train")
}

/// Cargo does not build the programs of other packages for a test, so the first call does: in the same profile and target
/// folder, of the whole workspace, so that crates have the features that they have in its tests; that costs nothing when they are fresh. `THORAX_PROGRAMS` names a folder of programs to test instead.
fn program(name: &str) -> Command {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = match BUILT.get_or_init(build) {
        Ok(folder) => folder,
        Err(reason) => panic!("{reason}"),
    };
    let mut command = Command::new(folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    command.current_dir(workspace()).env_remove("THORAX_MODELS").env_remove("RUST_BACKTRACE");
    command
}

fn build() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("THORAX_PROGRAMS") {
        return Ok(folder.into());
    }
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    // What cargo told this test about its own package. The build script of `ring` runs anew when these change, and with it
    // would all be built that stands on it, the trainer last, here and again at the next call outside of a test.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["build", "--quiet", "--profile", profile, "--workspace", "--bins", "--target-dir"])
        .arg(folder.parent().unwrap_or(&folder))
        .current_dir(workspace())
        .output()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if output.status.success() {
        Ok(folder)
    } else {
        Err(format!("the programs cannot be built:\n{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end.
///
/// # Panics
/// When it cannot be started, or was killed.
pub fn run(command: &mut Command) -> Finished {
    match command.output() {
        Ok(Output { status, stdout, stderr }) => Finished {
            code: status.code().unwrap_or_else(|| panic!("{command:?} was killed: {status}")),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        },
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Runs `command`, which must succeed.
///
/// # Panics
/// When it fails.
pub fn succeed(command: &mut Command) -> Finished {
    let run = run(command);
    assert_eq!(run.code, 0, "{command:?}\n{}\n{}", run.stdout, run.stderr);
    run
}

/// Runs `command`, which must fail and say these words.
///
/// # Panics
/// When it succeeds, or leaves out one of them.
#[track_caller]
pub fn refused(command: &mut Command, words: &[&str]) {
    let run = run(command);
    assert_ne!(run.code, 0, "{command:?}: {}", run.stdout);
    words.iter().for_each(|word| assert!(run.stderr.contains(word), "`{word}` not said: {}", run.stderr));
}

/// Sends a signal, such as `libc::SIGSTOP`, to a child that was not waited for yet.
///
/// # Panics
/// When the system refuses it.
#[cfg(unix)]
pub fn signal(child: &Child, signal: i32) {
    send(child.id().cast_signed(), signal);
}

/// As [`signal`], to all of the group that the child leads.
///
/// # Panics
/// When the system refuses it.
#[cfg(unix)]
pub fn signal_group(leader: &Child, signal: i32) {
    send(-leader.id().cast_signed(), signal);
}

#[cfg(unix)]
fn send(process: i32, signal: i32) {
    #[allow(unsafe_code)]
    // SAFETY: takes two numbers and touches no memory. The process is a child that has not been waited for, so that its
    // number cannot be another's yet.
    let code = unsafe { libc::kill(process, signal) };
    assert_eq!(code, 0, "signal {signal} to {process}: {}", std::io::Error::last_os_error());
}

impl Finished {
    /// The JSON object of each line of standard output.
    ///
    /// # Panics
    /// When a line is no JSON object.
    pub fn rows(&self) -> Vec<Value> {
        let object = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(row) if row.is_object() => row,
            _ => panic!("not a JSON object: {line}\nstandard error: {}", self.stderr),
        };
        self.stdout.lines().map(object).collect()
    }
}

/// A row without what differs from run to run.
pub fn of_the_image(row: &Value) -> BTreeMap<String, Value> {
    let fields = row.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !OF_THE_RUN.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// A field as text; empty when it is none.
pub fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// A field as a number; NaN, which fails every comparison, when it is none.
pub fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or(f64::NAN)
}

/// Screens `files` with the shipped bundles, `--json` and `options`.
pub fn screen(options: &[&str], files: &[PathBuf]) -> Finished {
    run(edge().arg("screen").arg("--json").args(options).args(files))
}

/// Phantoms in every format, made once a run: two of each modality, films of 512 pixels, slices of 384.
///
/// # Panics
/// When they cannot be made.
pub fn phantoms() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        // A static is never dropped, so a temporary folder would stay behind after each run; this one is reused.
        let folder = profile_folder().join("thorax-phantoms");
        for (modality, size, formats) in [("xray", "512", "png,png16,dicom"), ("ct", "384", "png,png16,dicom,nifti")] {
            let out = folder.join(modality);
            succeed(train().arg("phantom").arg(out).args([
                "--count",
                "2",
                "--seed",
                "7",
                "--modality",
                modality,
                "--size",
                size,
                "--formats",
                formats,
            ]));
        }
        folder
    })
}

/// A phantom film, such as `film(".png")`, `film("_16bit.png")`, `film(".dcm")` or `film("_monochrome1.dcm")`.
pub fn film(ending: &str) -> PathBuf {
    phantoms().join(format!("xray/phantom_xray_0000_positive{ending}"))
}

/// A phantom CT slice, such as `slice(".png")`, `slice("_16bit.png")`, `slice(".dcm")`; `slice(".nii.gz")` is the volume
/// whose fifth slice it is.
pub fn slice(ending: &str) -> PathBuf {
    phantoms().join(format!("ct/phantom_ct_0000_positive{ending}"))
}

/// A true mask of [`film`] or [`slice()`]: `infection`, `left_lung` or `right_lung`.
pub fn true_mask(picture: &Path, what: &str) -> GrayImage {
    let name = picture.file_stem().unwrap_or_default().to_string_lossy();
    grey(&picture.with_file_name("masks").join(format!("{name}_{what}.png")))
}

/// Both true lungs.
pub fn true_lungs(picture: &Path) -> GrayImage {
    both(&true_mask(picture, "left_lung"), &true_mask(picture, "right_lung"))
}

/// What is marked in the one or the other mask of one size.
pub fn both(a: &GrayImage, b: &GrayImage) -> GrayImage {
    let mut union = a.clone();
    union.pixels_mut().zip(b.pixels()).for_each(|(a, b)| a.0[0] |= b.0[0]);
    union
}

/// A picture as 8-bit grey.
///
/// # Panics
/// When it cannot be read.
pub fn grey(path: &Path) -> GrayImage {
    let image = ImageReader::open(path).map_err(image::ImageError::IoError).and_then(ImageReader::decode);
    image.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_luma8()
}

/// Dice coefficient of two masks of one size; two empty ones agree.
///
/// # Panics
/// When the sizes differ.
pub fn dice(a: &GrayImage, b: &GrayImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions(), "masks of two sizes");
    let count = |mask: &GrayImage| mask.pixels().filter(|p| p.0[0] > 127).count();
    let both = a.pixels().zip(b.pixels()).filter(|(a, b)| a.0[0] > 127 && b.0[0] > 127).count();
    match count(a) + count(b) {
        0 => 1.0,
        sum => 2.0 * both as f64 / sum as f64,
    }
}

/// A new empty folder.
///
/// # Panics
/// When the system gives none.
pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A shipped bundle: `xray` or `ct`.
pub fn shipped(modality: &str) -> PathBuf {
    workspace().join(format!("models/{modality}/thorax-{modality}.thorax"))
}

/// The bundle of real numbers that a shipped one was made of.
pub fn teacher(modality: &str) -> PathBuf {
    workspace().join(format!("models/teachers/{modality}/thorax-{modality}.thorax"))
}

/// The files of a folder, sorted by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    names(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}
