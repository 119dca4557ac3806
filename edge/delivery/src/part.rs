//! An object that is to be sent: a file of the journal, and what its head says.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use sha2::{Digest, Sha256};
use thorax_dimse::{
    part10::{self, Announced, MOST_META_BYTES},
    uids::is_uid,
};
use thorax_journal::{Hash, Journal, ResultFile};

/// How the labels of files end that are sent.
const DICOM: &str = ".dcm";

/// An object that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) sha256: Hash,
    pub(crate) bytes: u64,
    pub(crate) what: Announced,
    path: PathBuf,
    /// Where its data set begins.
    data_set: u64,
}

impl Part {
    /// Whether a file of a result is sent.
    pub(crate) fn is_sent(file: &ResultFile) -> bool {
        file.label.ends_with(DICOM)
    }

    /// Looks at a file; one that is not what was kept is not sent.
    pub(crate) fn open(journal: &Journal, file: &ResultFile) -> Result<Self, String> {
        let path = journal.path_of(&file.sha256);
        let read = || -> io::Result<(Vec<u8>, Hash, u64)> {
            let mut from = File::open(&path)?;
            let mut begins = vec![];
            (&mut from).take(MOST_META_BYTES as u64).read_to_end(&mut begins)?;
            from.rewind()?;
            let mut hash = Sha256::new();
            let bytes = io::copy(&mut from, &mut hash)?;
            Ok((begins, hash.finalize().into(), bytes))
        };
        let (begins, sha256, bytes) = read().map_err(|reason| format!("{} cannot be read ({reason})", file.label))?;
        if sha256 != file.sha256 {
            return Err(format!("the bytes of {} have changed since they were kept", file.label));
        }
        let (what, data_set) =
            part10::read(&begins).map_err(|why| format!("{} is no DICOM file ({why})", file.label))?;
        if ![&what.sop_class_uid, &what.sop_instance_uid, &what.transfer_syntax_uid].iter().all(|uid| is_uid(uid)) {
            return Err(format!("{} has a UID that is none", file.label));
        }
        Ok(Self { sha256, bytes, what, path, data_set: data_set as u64 })
    }

    /// Its whole file.
    pub(crate) fn file(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Its data set alone.
    pub(crate) fn data_set(&self) -> io::Result<File> {
        let mut file = self.file()?;
        file.seek(SeekFrom::Start(self.data_set))?;
        Ok(file)
    }
}
