//! The way on foot: studies without names in a folder, as of a stick.
//!
//! Each study's images and the pictures among its result go to `<new Study Instance UID>/<new SOP Instance UID>.dcm`, de-identified
//! by the Basic Profile ([`thorax_objects::deidentify`]). Who is named in the pixels stays named: what a person has to look at
//! before it is given away stands in `warnings.csv` beside the images, and so does what could not be taken along.
//!
//! A file is there whole or not at all, and nothing that lies there is written over. So an export that was cut off is made again:
//! the same key makes the same bytes, and what is there already is left as it is.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use rand::{TryRngCore, rngs::OsRng};
use thorax_files::{WriteError, write_atomically, write_new, write_secret};
use thorax_journal::{Journal, JournalError, Kind};
use thorax_objects::deidentify::{Key, deidentify_file};
use thorax_shared::reason::Reason;

/// The name of the list.
const WARNINGS: &str = "warnings.csv";
/// Its first line, by which it is known for ours.
const HEAD: &str = "file,warning";
/// No list that is read is longer.
const MOST_LIST_BYTES: u64 = 16 << 20;

/// Why an export stopped. What was written until then is whole, and the next export goes on behind it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum ExportError {
    /// The journal's reason.
    Journal(#[from] JournalError),
    /// A file cannot be written.
    Write(#[from] WriteError),
    /// What lies there cannot be read, or the key's file.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The key's file has no key in it.
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    NoRandom(String),
}

impl ExportError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Journal(error) => error.reason(),
            Self::Write(error) => Reason::new(
                format!("cannot write {} ({})", error.path.display(), error.reason),
                "put in a stick that can be written and has room; what is on it already stays",
            ),
            Self::Read { path, reason } => {
                Reason::new(format!("cannot read {} ({reason})", path.display()), "check the stick")
            }
            Self::NoKey { path } => Reason::new(
                format!("no key of 32 bytes in {}", path.display()),
                "put the right key back; with another one, known patients get other pseudonyms",
            ),
            Self::NoRandom(reason) => {
                Reason::new(format!("the system has no random numbers ({reason})"), "restart the device")
            }
        }
    }
}

/// Something that a person has to know of an export.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Noted {
    /// The file in the folder; the number of an image in the journal, if it is not there.
    pub what: String,
    /// What has to be known of it.
    pub warning: String,
}

/// What an export has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files that were written.
    pub written: u64,
    /// Files that were there already, the same.
    pub there: u64,
    /// Images and results that are not in the folder, each with its reason in [`Self::noted`].
    pub left_out: u64,
    /// What a person has to look at.
    pub noted: Vec<Noted>,
}

/// Reads the secret behind pseudonyms from a file, and makes it where there is none. It must not leave the device, nor change.
///
/// # Errors
/// [`ExportError`].
pub fn key_of(path: &Path) -> Result<Key, ExportError> {
    let mut key = [0; 32];
    if !path.exists() {
        OsRng.try_fill_bytes(&mut key).map_err(|error| ExportError::NoRandom(error.to_string()))?;
        write_secret(path, |out| out.write_all(&key))?;
    }
    let read = |reason| ExportError::Read { path: path.to_owned(), reason };
    let mut bytes = vec![];
    File::open(path).map_err(read)?.take(33).read_to_end(&mut bytes).map_err(read)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| ExportError::NoKey { path: path.to_owned() })?;
    Ok(Key::new(bytes))
}

/// Copies studies without names to `folder`, which is made where missing. Result files that are not DICOM, and images that are not
/// (names in those cannot be told apart), stay behind. `go_on` is asked before each file, and may end it.
///
/// # Errors
/// [`ExportError`].
pub fn export(
    journal: &Journal,
    studies: &[u64],
    folder: &Path,
    key: &Key,
    go_on: &mut dyn FnMut(&Exported) -> bool,
) -> Result<Exported, ExportError> {
    let mut done = Exported::default();
    for &study in studies {
        let uid = journal.study(study)?.key;
        let mut kept = vec![];
        for (number, object) in journal.objects_of(study)? {
            match object.what.kind {
                Kind::Dicom { .. } => kept.push((format!("image {number}"), object.sha256)),
                Kind::Picture => done.leave(format!("image {number}"), "no DICOM object: what is in it cannot be told"),
            }
        }
        let result = journal.result(study)?.map(|result| result.files).unwrap_or_default();
        let objects = result.into_iter().filter(|file| file.label.ends_with(".dcm"));
        kept.extend(objects.map(|file| (format!("{} of study {study}", file.label), file.sha256)));
        // That of a picture is none, but nothing of it goes there.
        let place = folder.join(key.uid(&uid));
        let mut noted = BTreeSet::new();
        for (what, sha256) in kept {
            if !go_on(&done) {
                list(&place, &noted)?;
                return Ok(done);
            }
            noted.extend(copy(journal, &sha256, &what, &place, key, &mut done)?);
        }
        list(&place, &noted)?;
    }
    Ok(done)
}

impl Exported {
    fn leave(&mut self, what: String, warning: &str) {
        self.left_out += 1;
        self.noted.push(Noted { what, warning: warning.to_owned() });
    }
}

/// One object; gives what the study's list has to say of it.
fn copy(
    journal: &Journal,
    sha256: &[u8; 32],
    what: &str,
    place: &Path,
    key: &Key,
    done: &mut Exported,
) -> Result<Vec<Noted>, ExportError> {
    let path = journal.path_of(sha256);
    let made = File::open(&path).map_err(|reason| reason.to_string()).and_then(|file| {
        let made = deidentify_file(BufReader::new(file), key).map_err(|error| error.to_string())?;
        let mut bytes = vec![];
        made.object.write_all(&mut bytes).map_err(|error| error.to_string())?;
        let instance = made.object.meta().media_storage_sop_instance_uid().trim_end_matches('\0').to_owned();
        Ok((bytes, instance, made.warnings))
    });
    let (bytes, instance, warnings) = match made {
        Ok(made) => made,
        Err(why) => {
            done.leave(what.to_owned(), &format!("left out: {why}"));
            return Ok(done.noted.last().cloned().into_iter().collect());
        }
    };
    let name = format!("{instance}.dcm");
    let to = place.join(&name);
    if !put(&to, &bytes, done)? {
        done.leave(what.to_owned(), &format!("left out: another file is called {name}"));
        return Ok(done.noted.last().cloned().into_iter().collect());
    }
    let noted: Vec<Noted> =
        warnings.iter().map(|warning| Noted { what: name.clone(), warning: warning.to_string() }).collect();
    done.noted.extend(noted.clone());
    Ok(noted)
}

/// Writes a file that is not there; tells whether it is there now.
fn put(to: &Path, bytes: &[u8], done: &mut Exported) -> Result<bool, ExportError> {
    match write_new(to, |out| out.write_all(bytes)) {
        Ok(()) => {
            done.written += 1;
            return Ok(true);
        }
        Err(error) if error.reason.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    let read = |reason| ExportError::Read { path: to.to_owned(), reason };
    let there = fs::symlink_metadata(to).map_err(read)?;
    let same = there.is_file() && there.len() == bytes.len() as u64 && fs::read(to).map_err(read)? == bytes;
    done.there += u64::from(same);
    Ok(same)
}

/// Adds to the list of a study. A file of that name that is not ours is left, and the list gets another.
fn list(place: &Path, noted: &BTreeSet<Noted>) -> Result<(), ExportError> {
    if noted.is_empty() {
        return Ok(());
    }
    let mut path = place.join(WARNINGS);
    let mut lines: BTreeSet<String> =
        noted.iter().map(|noted| format!("{},{}", cell(&noted.what), cell(&noted.warning))).collect();
    for other in 2.. {
        let read = |reason| ExportError::Read { path: path.clone(), reason };
        let there = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            there => there.map_err(read)?,
        };
        let mut text = vec![];
        there.take(MOST_LIST_BYTES).read_to_end(&mut text).map_err(read)?;
        let text = String::from_utf8_lossy(&text);
        let mut kept = text.lines();
        if kept.next() == Some(HEAD) {
            lines.extend(kept.map(str::to_owned));
            break;
        }
        path = place.join(format!("warnings-{other}.csv"));
    }
    write_atomically(&path, |out| {
        writeln!(out, "{HEAD}")?;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    })?;
    Ok(())
}

/// A cell of the list; no spreadsheet takes it for a formula.
fn cell(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    format!("\"{}\"", text.replace('"', "\"\""))
}
