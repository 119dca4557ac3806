//! DCMTK's programs, and films for them to send.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};

/// One of DCMTK's programs; `None` where DCMTK is not installed. The tests are about what other programs see, so there is nothing in
/// its place.
///
/// # Panics
/// When it is missing and required.
#[track_caller]
pub(crate) fn dcmtk(program: &str) -> Option<Command> {
    let mut command = Command::new(thorax_wanted::dcmtk(program)?);
    // Debian's dictionary is found by itself; whoever named another has it.
    command.env("TMPDIR", std::env::temp_dir());
    Some(command)
}

/// Phantom films as DICOM files, two for each of `count`.
pub(crate) fn films(folder: &Path, count: usize, seed: u64) -> Vec<PathBuf> {
    let args = PhantomArgs {
        out: folder.to_owned(),
        count,
        seed,
        modality: ModalityChoice::Xray,
        size: Some(96),
        formats: vec![Format::Dicom],
    };
    generate_files(&args).unwrap().into_iter().map(|truth| folder.join(truth.file)).collect()
}
