//! Folders that are watched: somebody copies a file there, or puts a stick in, and it goes the way of what the network brings.
//!
//! A folder is looked at every second. A file is complete when its size and its time of change have stayed the same for a
//! while; one that was renamed into the folder is complete at once, and waits the same while. What was taken is durable in the
//! journal before anything is done about the file. Folders within are looked into, links are not followed.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use thorax_dimse::{
    command::status,
    part10::{self, MOST_META_BYTES},
};
use thorax_files::{sync_folder, write_atomically};
use thorax_journal::{Journal, Kind, Received, ReceivedObject, Source};

use crate::{
    config::{Config, Folder},
    error::IntakeError,
    object::{ArrivingObject, Refusal, told},
    tally::Tally,
};

/// How often a folder is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// Where files go that were taken.
const TAKEN: &str = "taken";
/// Where files go that were not, each with its reason.
const REFUSED: &str = "refused";
/// Folders within folders.
const MOST_DEPTH: usize = 16;
/// Files that are remembered; a folder that has more is read, and its files wait for their turn.
const MOST_FILES: usize = 100_000;

/// A folder that is being watched. Dropped, it stops.
#[derive(Debug)]
pub struct FolderWatch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FolderWatch {
    /// Watches a folder, which must be there. `config` says which SOP classes and transfer syntaxes are taken.
    ///
    /// # Errors
    /// [`IntakeError::Folder`].
    pub fn start(
        folder: Folder,
        config: Config,
        journal: Arc<Journal>,
        tally: Arc<Tally>,
    ) -> Result<Self, IntakeError> {
        config.check()?;
        fs::read_dir(&folder.path).map_err(|reason| IntakeError::Folder { path: folder.path.clone(), reason })?;
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name(format!("folder {}", folder.name))
            .spawn(move || {
                let mut watch = Watch { folder, config, journal, tally, seen: HashMap::new() };
                loop {
                    watch.look(&|| *stopped.0.lock().unwrap_or_else(PoisonError::into_inner));
                    let end = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
                    let wait = stopped.1.wait_timeout_while(end, BETWEEN_LOOKS, |end| !*end);
                    if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                }
            })
            .map_err(IntakeError::Thread)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Finishes the file that is being taken, and returns.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.end();
    }
}

/// By what a change of a file is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    bytes: u64,
    changed: Option<SystemTime>,
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), changed: metadata.modified().ok() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    look: Look,
    since: Instant,
    /// Whether it was taken or refused as it is.
    done: bool,
}

struct Watch {
    folder: Folder,
    config: Config,
    journal: Arc<Journal>,
    tally: Arc<Tally>,
    seen: HashMap<PathBuf, Seen>,
}

impl Watch {
    /// Looks at all files, and takes those that are complete.
    fn look(&mut self, stopped: &dyn Fn() -> bool) {
        let mut files = vec![];
        if let Err(reason) = self.list(&self.folder.path, 0, &mut files) {
            // A stick that was pulled out comes back some day.
            tracing::debug!(folder = self.folder.name, %reason, "a watched folder cannot be read");
            return;
        }
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let now = Instant::now();
        let settle = Duration::from_secs(self.folder.settle_seconds);
        let before = std::mem::take(&mut self.seen);
        for (path, look) in files {
            let mut seen = match before.get(&path) {
                Some(seen) if seen.look == look => *seen,
                _ => Seen { look, since: now, done: false },
            };
            if !seen.done && now.duration_since(seen.since) >= settle && !stopped() {
                seen.done = self.take(&path, look);
            }
            self.seen.insert(path, seen);
        }
    }

    fn list(&self, folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Look)>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // What a copying program hides until it is done, and what is not for us: a bundle on a stick waits for the technician.
            let hidden = name.starts_with('.')
                || [".part", ".tmp", ".crdownload", ".thorax"].iter().any(|end| name.ends_with(end));
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MOST_DEPTH && !hidden {
                let ours = depth == 0 && !self.folder.read_only && (name == TAKEN || name == REFUSED);
                if !ours {
                    // A folder that cannot be read does not keep the others from being read.
                    let _ = self.list(&entry.path(), depth + 1, files);
                }
            } else if kind.is_file() && !hidden && files.len() < MOST_FILES {
                files.push((entry.path(), Look::of(&entry.metadata()?)));
            }
        }
        Ok(())
    }

    /// Takes a file; tells whether it is done with.
    fn take(&self, path: &Path, look: Look) -> bool {
        let within = path.strip_prefix(&self.folder.path).unwrap_or(path);
        let source = Source::Folder { folder: self.folder.name.clone(), file: within.to_string_lossy().into_owned() };
        // A file's name is often a patient's, so it goes into the journal and not into the log.
        let folder = self.folder.name.clone();
        let began = Instant::now();
        let read = || {
            let mut file = File::open(path)?;
            let result = self.read(&mut file, source)?;
            // Whoever went on writing it has the last word.
            Ok((Look::of(&file.metadata()?) == look).then_some(result))
        };
        let result = match read() {
            Ok(Some(result)) => result,
            Ok(None) => return false,
            Err(reason) => {
                let reason: io::Error = reason;
                tracing::warn!(folder, %reason, "a file cannot be read; it is tried again");
                return false;
            }
        };
        match told(result, &self.tally, &format!("a file of {folder}"), began.elapsed()) {
            Ok(()) => self.put(path, within, TAKEN, None),
            // There will be room again.
            Err(refusal) if refusal.is_full() || refusal.status == status::PROCESSING_FAILURE => false,
            Err(refusal) => self.put(path, within, REFUSED, Some(&refusal.comment)),
        }
    }

    /// Brings a file into the journal.
    fn read(&self, file: &mut File, source: Source) -> io::Result<Result<Received, Refusal>> {
        let mut begins = vec![];
        Read::by_ref(file).take(MOST_META_BYTES as u64).read_to_end(&mut begins)?;
        if part10::is_dicom(&begins) {
            return self.read_dicom(file, &begins, source);
        }
        file.rewind()?;
        if !is_picture(&begins) {
            return Ok(Err(Refusal::new(status::CANNOT_UNDERSTAND, "neither DICOM nor NIfTI, PNG, JPEG or TIFF")));
        }
        let mut writer = match self.journal.begin_object() {
            Ok(writer) => writer,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(match in_parts(file, |part| writer.write(part))? {
            Ok(()) => writer.commit(ReceivedObject { kind: Kind::Picture, source }).map_err(Refusal::from),
            Err(error) => Err(error.into()),
        })
    }

    fn read_dicom(&self, file: &mut File, begins: &[u8], source: Source) -> io::Result<Result<Received, Refusal>> {
        let (announced, data_set) = match part10::read(begins) {
            Ok(read) => read,
            Err(why) => return Ok(Err(Refusal::new(status::CANNOT_UNDERSTAND, why))),
        };
        file.seek(SeekFrom::Start(data_set as u64))?;
        let mut object = ArrivingObject::begin(&self.journal, &self.config, announced);
        let written: Result<(), ()> = in_parts(file, |part| {
            object.write(part);
            if object.is_refused() { Err(()) } else { Ok(()) }
        })?;
        // What stopped it is told by the object.
        let _ = written;
        Ok(object.finish(source))
    }

    /// Moves a file out of the way, and its folder's path with it. Tells whether it is done with.
    fn put(&self, path: &Path, within: &Path, place: &str, comment: Option<&str>) -> bool {
        if self.folder.read_only {
            return true;
        }
        let to = free_name(&self.folder.path.join(place).join(within));
        let parent = to.parent().unwrap_or(&self.folder.path);
        let moved = fs::create_dir_all(parent).and_then(|()| fs::rename(path, &to)).and_then(|()| sync_folder(parent));
        if let Err(reason) = moved {
            tracing::warn!(folder = self.folder.name, %reason, "a file cannot be moved; it stays where it is");
            return true;
        }
        if let Some(comment) = comment {
            let mut name = to.into_os_string();
            name.push(".txt");
            if let Err(error) = write_atomically(Path::new(&name), |out| writeln!(out, "{comment}")) {
                tracing::warn!(folder = self.folder.name, reason = %error.reason, "the reason cannot be written");
            }
        }
        true
    }
}

/// A name that nothing has yet.
fn free_name(path: &Path) -> PathBuf {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if !path.exists() {
        return path.to_owned();
    }
    (2..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}

/// Reads to the end, part by part, until `each` has enough.
fn in_parts<E>(reader: &mut impl Read, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> io::Result<Result<(), E>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => {
                if let Err(error) = each(&buffer[..read]) {
                    return Ok(Err(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file begins like one of the other formats that are decoded, or like DICOM without its preamble.
fn is_picture(begins: &[u8]) -> bool {
    const MARKS: [&[u8]; 9] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"MM\0+",
        b"\x1f\x8b",
        b"\x08\0\x05\0",
        b"\x02\0\0\0",
    ];
    MARKS.iter().any(|mark| begins.starts_with(mark)) || matches!(begins.get(344..348), Some(b"n+1\0" | b"n+2\0"))
}
