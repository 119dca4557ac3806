//! Volumes that were read last. A line of the manifest is one slice, and its neighbours come next, so a volume is decoded once and
//! kept while its slices are asked for. As many are kept as the threads at work need, however many the manifest names: the memory
//! does not grow with the number of volumes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use anyhow::Context;
use thorax_decode::{Frame, Limits, Study, Volume};
use thorax_files::{file_sha256, hexadecimal};
use thorax_shared::preprocess::Pixels;

/// A picture and its masks: infection, left and right lung.
const FILES_A_THREAD: usize = 4;

/// A volume, decoded.
pub(super) struct Read {
    volume: Volume,
    values: OnceLock<BTreeSet<u16>>,
}

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What was read of a file; whoever asks while another reads it waits for that.
#[derive(Default)]
struct Kept {
    volume: OnceLock<Result<Arc<Read>, String>>,
    sha256: OnceLock<Result<String, String>>,
}

/// The files, that which was asked for last at the end.
static READ: Mutex<Vec<(Seen, Arc<Kept>)>> = Mutex::new(Vec::new());

fn kept(path: &Path) -> anyhow::Result<Arc<Kept>> {
    let metadata = path.metadata().with_context(|| path.display().to_string())?;
    let seen = Seen { path: path.to_owned(), bytes: metadata.len(), modified: metadata.modified().ok() };
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = match read.iter().position(|(file, _)| *file == seen) {
        Some(place) => read.remove(place),
        None => (seen, Arc::default()),
    };
    let kept = entry.1.clone();
    read.push(entry);
    let most = FILES_A_THREAD * rayon::current_num_threads().max(1);
    let surplus = read.len().saturating_sub(most);
    read.drain(..surplus);
    Ok(kept)
}

/// The volume at `path`.
///
/// # Errors
/// A file that cannot be read, or is a single picture.
pub(super) fn volume(path: &Path) -> anyhow::Result<Arc<Read>> {
    let kept = kept(path)?;
    let read = kept.volume.get_or_init(|| match thorax_decode::decode(path, &Limits::default()) {
        Ok(Study::Volume(volume)) => Ok(Arc::new(Read { volume, values: OnceLock::new() })),
        Ok(Study::Image(_)) => Err("a single picture, of which there are no slices".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    read.clone().map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))
}

/// SHA-256 of the file of a slice, hexadecimal: of a volume it is asked for once for each of its slices.
///
/// # Errors
/// A file that cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let kept = kept(path)?;
    let hash = || file_sha256(path).map(|sha256| hexadecimal(&sha256)).map_err(|error| error.to_string());
    kept.sha256.get_or_init(hash).clone().map_err(anyhow::Error::msg)
}

impl Read {
    /// The volume.
    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The slice that is stored at `place`, counted from 0; a pixel for each voxel where `on_grid`.
    ///
    /// # Errors
    /// No such slice.
    pub(super) fn slice(&self, place: usize, on_grid: bool) -> anyhow::Result<Frame> {
        let volume = &self.volume;
        // A place from one end is a place from the other, the other way round.
        let index = volume.stored_index(place);
        let frame = if place >= volume.slices() {
            None
        } else if on_grid {
            volume.slice_on_grid(index)
        } else {
            volume.slice(index)
        };
        frame.with_context(|| format!("no slice {place}; it has {}, counted from 0", volume.slices()))
    }

    /// All values of a mask, over all its slices.
    pub(super) fn values(&self) -> &BTreeSet<u16> {
        self.values.get_or_init(|| {
            let slices = (0..self.volume.slices()).filter_map(|index| self.volume.slice_on_grid(index));
            let mut seen = vec![false; 1 << 16];
            for slice in slices {
                match slice.pixels {
                    Pixels::Eight(plane) => plane.data().iter().for_each(|&value| seen[usize::from(value)] = true),
                    Pixels::Sixteen(plane) => plane.data().iter().for_each(|&value| seen[usize::from(value)] = true),
                    Pixels::Hounsfield(_) => {}
                }
            }
            (0..=u16::MAX).filter(|&value| seen[usize::from(value)]).collect()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_decoded_once_and_again_when_it_changed_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, seed: u64| {
            let slices = thorax_phantom::Phantom::generate_volume(seed, 64, true);
            let path = folder.path().join(name);
            thorax_phantom::write_volume(&path, &slices).unwrap();
            path
        };
        let first = write("first.nii.gz", 1);
        let (once, twice) = (volume(&first).unwrap(), volume(&first).unwrap());
        assert!(Arc::ptr_eq(&once, &twice));
        let hash = sha256(&first).unwrap();
        for place in 0..once.volume().slices() {
            assert_eq!(once.slice(place, true).unwrap().pixels.size(), (64, 64));
        }
        let error = once.slice(99, false).err().unwrap().to_string();
        assert!(error.contains("no slice 99; it has 9"), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(20));
        write("first.nii.gz", 2);
        assert!(!Arc::ptr_eq(&once, &volume(&first).unwrap()));
        assert_ne!(sha256(&first).unwrap(), hash);
        for seed in 0..20 {
            volume(&write(&format!("{seed}.nii.gz"), seed)).unwrap();
        }
        let kept = READ.lock().unwrap().len();
        assert!(kept <= FILES_A_THREAD * rayon::current_num_threads().max(1), "{kept}");
        assert_eq!(Arc::strong_count(&once), 2, "the first is kept by us alone");
    }
}
