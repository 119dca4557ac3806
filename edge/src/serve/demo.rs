//! A dress rehearsal: phantom films arrive by themselves, so that anybody sees the whole box at work on a PC.
//!
//! They go the way of any other image: a thread writes one from time to time into a watched folder. What the models say of a phantom
//! means nothing, since they learnt from patients; every name in it says that it is none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;
use thorax_intake::Folder;
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};

use crate::profile::Profile;

/// From one film to the next.
const PAUSE: Duration = Duration::from_secs(15);
/// Where the watch puts what it took.
const TAKEN: &str = "taken";

/// Films arrive as long as it lives.
pub struct Demo {
    _folder: TempDir,
    stop: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Demo {
    /// Has `profile` watch a folder of its own, in which a film arrives at once, and then another every fifteen seconds.
    ///
    /// # Errors
    /// When the folder cannot be made, or the system gives no thread.
    pub fn start(profile: &mut Profile) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("thorax-demo-").tempdir().context("no folder for the demo")?;
        let path = folder.path().join("cart");
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        profile.folders.push(Folder { name: "demo".into(), path: path.clone(), read_only: false, settle_seconds: 1 });
        profile.journal.quiet_seconds = profile.journal.quiet_seconds.min(1);
        let (stop, stopped) = mpsc::channel();
        let making = folder.path().join("making");
        let thread = thread::Builder::new().name("demo".into()).spawn(move || {
            for seed in 0.. {
                if let Err(error) = send(seed, &making, &path) {
                    tracing::warn!(error = format!("{error:#}"), "no film for the demo");
                }
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        tracing::info!(seconds = PAUSE.as_secs(), "phantom films arrive by themselves; they are of nobody");
        Ok(Self { _folder: folder, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Makes a phantom, and puts it where it is watched for: films and slices, with lesions and without, in turn.
fn send(seed: u64, making: &Path, to: &Path) -> anyhow::Result<()> {
    // What was taken is kept by the journal.
    remove(&to.join(TAKEN))?;
    let modality = if seed % 3 == 2 { ModalityChoice::Ct } else { ModalityChoice::Xray };
    let out = PathBuf::from(making);
    generate_files(&PhantomArgs { out, count: 2, seed, modality, size: None, formats: vec![Format::Dicom] })?;
    let wanted = if seed.is_multiple_of(2) { "positive.dcm" } else { "negative.dcm" };
    for entry in fs::read_dir(making)? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(wanted) {
            fs::rename(&file, to.join(format!("{seed:06}_{name}")))?;
        }
    }
    Ok(remove(making)?)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn films_come_one_at_a_time_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (making, cart) = (folder.path().join("making"), folder.path().join("cart"));
        fs::create_dir(&cart).unwrap();
        for seed in 0..3 {
            send(seed, &making, &cart).unwrap();
            assert!(!making.exists());
        }
        let mut names: Vec<String> =
            fs::read_dir(&cart).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let kinds = [
            "000000_phantom_xray_0000_positive.dcm",
            "000001_phantom_xray_0001_negative.dcm",
            "000002_phantom_ct_0000_positive.dcm",
        ];
        assert_eq!(names, kinds);
    }
}
