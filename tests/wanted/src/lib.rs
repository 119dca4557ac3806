//! What tests want that is not in the repository: real pictures and weights, XGBoost, Keras's files, ONNX Runtime, dciodvfy, DCMTK, Orthanc, a GPU.
//!
//! A test asks here for its material, and returns early on `None`:
//!
//! ```text
//! let Some(films) = thorax_wanted::shared("data/xray") else { return };
//! ```
//!
//! A test that returns early passes, so that what was left out must be told apart from what was tested:
//!
//! - Where `THORAX_REQUIRE_MATERIAL` names the [`Kind`] (`shared,xgboost`), a missing piece fails the test. `.ci/run` names
//!   all that a machine of its own can have.
//! - Elsewhere the test says `SKIPPED` on the process's standard error, past the test harness, which keeps back what a
//!   passing test prints, and leaves a note in the folder `left-out` of the profile (`target/release/left-out`). The last
//!   test binary of `cargo test --workspace` is this package's `left_out`, which counts the notes and removes them.
#![allow(clippy::panic)] // a missing piece that is required fails the test

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The environment variable that names what must be there, with commas between.
pub const REQUIRE: &str = "THORAX_REQUIRE_MATERIAL";

/// What a test may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Real pictures and weights: the folder `THORAX_SHARED_MATERIAL`, else `../shared` beside the repository.
    Shared,
    /// `libxgboost.so`, named by `THORAX_XGBOOST`.
    Xgboost,
    /// Files of `trainer/references/keras_weights.py`, in the folder `THORAX_KERAS_FILES`.
    Keras,
    /// A Python that has `onnxruntime` and `numpy`, named by `THORAX_ONNXRUNTIME`.
    OnnxRuntime,
    /// `dciodvfy`, which checks DICOM objects, on the path.
    Dicom3tools,
    /// DCMTK's programs, which send images, on the path.
    Dcmtk,
    /// Orthanc and its DICOMweb plugin, as Debian installs them.
    Orthanc,
    /// An NVIDIA GPU and its libraries.
    Gpu,
    /// Linux's `/proc`.
    Proc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Shared,
        Self::Xgboost,
        Self::Keras,
        Self::OnnxRuntime,
        Self::Dicom3tools,
        Self::Dcmtk,
        Self::Orthanc,
        Self::Gpu,
        Self::Proc,
    ];

    /// Its word in `THORAX_REQUIRE_MATERIAL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Xgboost => "xgboost",
            Self::Keras => "keras",
            Self::OnnxRuntime => "onnxruntime",
            Self::Dicom3tools => "dicom3tools",
            Self::Dcmtk => "dcmtk",
            Self::Orthanc => "orthanc",
            Self::Gpu => "gpu",
            Self::Proc => "proc",
        }
    }

    /// How to get it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Shared => "set THORAX_SHARED_MATERIAL to the folder that has data/ and weights/",
            Self::Xgboost => {
                "pip install --no-deps --target target/xgboost xgboost-cpu==3.2.0, and set THORAX_XGBOOST to \
                 xgboost/lib/libxgboost.so in that folder"
            }
            Self::Keras => "run trainer/references/keras_weights.py, and set THORAX_KERAS_FILES to the folder it wrote",
            Self::OnnxRuntime => "pip install onnxruntime numpy, and set THORAX_ONNXRUNTIME to that Python",
            Self::Dicom3tools => "apt-get install dicom3tools, which has dciodvfy",
            Self::Dcmtk => "apt-get install dcmtk",
            Self::Orthanc => "apt-get install orthanc orthanc-dicomweb",
            Self::Gpu => "run it on a machine with an NVIDIA GPU, as CONTRIBUTING.md says",
            Self::Proc => "mount /proc",
        }
    }
}

/// A part of the shared material, such as `data/dicom`.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn shared(part: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = named("THORAX_SHARED_MATERIAL").unwrap_or_else(beside).join(part);
    let there = path.exists();
    found(Kind::Shared, if there { Ok(path) } else { Err(format!("no {part} in the shared material")) })
}

/// The path of `libxgboost.so`.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn xgboost() -> Option<PathBuf> {
    named_file(Kind::Xgboost, "THORAX_XGBOOST")
}

/// The folder of converted Keras files.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn keras() -> Option<PathBuf> {
    named_file(Kind::Keras, "THORAX_KERAS_FILES")
}

/// A Python that has ONNX Runtime.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn onnxruntime() -> Option<PathBuf> {
    named_file(Kind::OnnxRuntime, "THORAX_ONNXRUNTIME")
}

/// The program `dciodvfy`.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn dciodvfy() -> Option<PathBuf> {
    found(Kind::Dicom3tools, on_path("dciodvfy"))
}

/// One of DCMTK's programs, such as `storescu`.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn dcmtk(program: &str) -> Option<PathBuf> {
    found(Kind::Dcmtk, on_path(program))
}

/// The script that becomes an Orthanc, `tests/orthanc.sh`, where Orthanc and its DICOMweb plugin are installed.
///
/// # Panics
/// When they are missing and required.
#[track_caller]
pub fn orthanc() -> Option<PathBuf> {
    let parts = ["/usr/sbin/Orthanc", "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"];
    let missing = parts.into_iter().find(|part| !Path::new(part).is_file());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orthanc.sh");
    found(Kind::Orthanc, missing.map_or(Ok(script), |part| Err(format!("no {part}"))))
}

fn on_path(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    there.ok_or_else(|| format!("no {program} on the path"))
}

/// What was found; `None`, said and noted, where there is only a reason why not.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub fn found<T>(kind: Kind, found: Result<T, impl Display>) -> Option<T> {
    ask(kind, found, &std::env::var(REQUIRE).unwrap_or_default())
}

#[track_caller]
fn ask<T>(kind: Kind, found: Result<T, impl Display>, required: &str) -> Option<T> {
    let test = test();
    let why = match found {
        Ok(found) => {
            note(&test, None);
            return Some(found);
        }
        Err(why) => why.to_string(),
    };
    assert!(!requires(required, kind), "{why}, and {REQUIRE}={required} asks for it: {}", kind.remedy());
    if note(&test, Some(&format!("{}\t{why}\n", kind.name()))) {
        // Not `eprintln`, which the harness keeps back from whoever's test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    }
    None
}

/// Whether `list` names `kind`.
fn requires(list: &str, kind: Kind) -> bool {
    let words: Vec<&str> = list.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    if let Some(word) = words.iter().find(|word| Kind::ALL.iter().all(|kind| kind.name() != **word)) {
        panic!("{REQUIRE}: `{word}` is none of {}", Kind::ALL.map(Kind::name).join(", "));
    }
    words.contains(&kind.name())
}

/// A path that a variable of the environment names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[track_caller]
fn named_file(kind: Kind, variable: &str) -> Option<PathBuf> {
    let path = match named(variable) {
        None => Err(format!("{variable} is not set")),
        // A name that leads nowhere is a mistake, and no reason to leave a test out.
        Some(path) => {
            assert!(path.exists(), "{variable}: {} is not there", path.display());
            Ok(path)
        }
    };
    found(kind, path)
}

/// Binary and name of the running test. The harness names a test's thread after it, unless there is one thread only; then
/// the place in the source has to do.
#[track_caller]
fn test() -> String {
    let exe = std::env::current_exe().unwrap_or_default();
    let stem = exe.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let binary = stem.rsplit_once('-').map_or(&*stem, |(name, _)| name);
    match std::thread::current().name() {
        None | Some("main") => format!("{binary} {}", std::panic::Location::caller()),
        Some(name) => format!("{binary} {name}"),
    }
}

/// The folder of notes; `None` when this is no program in a Cargo target folder.
pub fn notes() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.parent()?.join("left-out"))
}

/// Adds to the note of a test, and tells whether the line is new: a test may ask for one thing often. What an earlier run left
/// goes first, since the test may have its material now.
fn note(test: &str, line: Option<&str>) -> bool {
    static SEEN: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());
    let Some(folder) = notes() else { return true };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | ' ' | '.');
    let path = folder.join(test.replace(|c| !plain(c), "+"));
    // One at a time, since the threads of one test share its note.
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = seen.entry(test.to_owned()).or_insert_with(|| {
        let _ = fs::remove_file(&path);
        BTreeSet::new()
    });
    let Some(line) = line.filter(|line| lines.insert((*line).to_owned())) else { return false };
    let written = fs::create_dir_all(&folder)
        .and_then(|()| fs::OpenOptions::new().append(true).create(true).open(&path))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_is_required() {
        assert!(requires("shared,xgboost", Kind::Xgboost) && requires("shared xgboost", Kind::Shared));
        assert!(!requires("shared,xgboost", Kind::Keras) && !requires("", Kind::Gpu));
        assert!(std::panic::catch_unwind(|| requires("shard", Kind::Shared)).is_err(), "a slip is no list");
    }

    #[test]
    fn what_is_missing_leaves_a_note_that_goes_when_it_is_there() {
        let test = "thorax_wanted a test that is only pretended";
        let path = notes().unwrap().join(test);
        assert!(note(test, Some("keras\tno Keras\n")));
        assert!(!note(test, Some("keras\tno Keras\n")), "told already");
        assert_eq!(fs::read_to_string(&path).unwrap(), "keras\tno Keras\n");
        note(test, Some("shared\tno data\n"));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "both are told");
        fs::remove_file(&path).unwrap();
        // As an earlier process left it.
        let test = "thorax_wanted another";
        let path = notes().unwrap().join(test);
        fs::create_dir_all(notes().unwrap()).unwrap();
        fs::write(&path, "keras\told\n").unwrap();
        note(test, None);
        assert!(!path.exists());
    }

    #[test]
    fn a_missing_piece_fails_where_it_is_required_and_is_noted_elsewhere() {
        // In a thread whose name is the same however many threads the harness has.
        let thread = std::thread::Builder::new().name("pretended".into());
        let asked = thread.spawn(|| {
            let missing = || Err::<(), _>("no GPU");
            let told = std::panic::catch_unwind(|| ask(Kind::Gpu, missing(), "shared,gpu")).unwrap_err();
            let told = told.downcast_ref::<String>().unwrap();
            assert!(told.contains("no GPU") && told.contains(Kind::Gpu.remedy()), "{told}");
            assert_eq!(ask(Kind::Gpu, missing(), "shared"), None);
            let path = notes().unwrap().join("thorax_wanted pretended");
            assert_eq!(fs::read_to_string(&path).unwrap(), "gpu\tno GPU\n");
            fs::remove_file(&path).unwrap();
            assert_eq!(ask(Kind::Gpu, Ok::<_, String>(7), "gpu"), Some(7));
            assert!(!path.exists());
        });
        asked.unwrap().join().unwrap();
    }

    #[test]
    fn a_test_is_called_by_its_binary_and_name() {
        assert!(test().starts_with("thorax_wanted "), "{}", test());
    }
}
