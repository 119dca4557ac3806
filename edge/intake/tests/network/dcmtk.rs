//! DCMTK's programs, and films for them to send.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};

/// One of DCMTK's programs. The tests are about what other programs see, so there is nothing in its place.
#[track_caller]
pub(crate) fn dcmtk(program: &str) -> Command {
    let there =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|f| f.join(program).is_file()));
    assert!(there, "{program} is not there: apt-get install dcmtk");
    let mut command = Command::new(program);
    // Debian's dictionary is found by itself; whoever named another has it.
    command.env("TMPDIR", std::env::temp_dir());
    command
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
