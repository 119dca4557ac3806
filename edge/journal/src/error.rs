//! Why the journal did not do something, and what to do about it.

use std::{io, path::PathBuf};

use thorax_files::LockError;
use thorax_shared::reason::Reason;

/// The journal's `Result`.
pub type Result<T> = std::result::Result<T, JournalError>;

/// Every way in which the journal refuses.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has the folder.
    Busy(#[from] LockError),
    /// The database refuses. After an error of the disk it refuses everything until it is opened again.
    Database(Box<redb::Error>),
    /// The system refuses something about a file.
    Io {
        /// What was to be done with which file.
        what: String,
        /// The system's reason.
        reason: io::Error,
    },
    /// Less room on the disk than [`Settings::reserve_bytes`](crate::Settings::reserve_bytes).
    NoSpace {
        /// Bytes that are free; 0 where the system itself said that the disk is full.
        free: u64,
        /// Bytes that are kept free.
        reserve: u64,
    },
    /// As many objects wait to be screened as [`Settings::most_waiting_objects`](crate::Settings::most_waiting_objects) allows.
    QueueFull {
        /// The limit.
        limit: u64,
    },
    /// An object has more bytes than [`Settings::most_object_bytes`](crate::Settings::most_object_bytes).
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// An object of no bytes.
    Empty,
    /// Written by a newer version of this program.
    Newer {
        /// What kind of record.
        what: &'static str,
        /// Its version.
        found: u8,
        /// The newest version that is understood.
        known: u8,
    },
    /// A record contradicts its form, or a file its name.
    Damaged {
        /// Which.
        what: String,
        /// How.
        evidence: String,
    },
    /// There are kept files, but the database that tells what they are is new or was never finished.
    DatabaseMissing {
        /// How many files.
        files: usize,
    },
    /// There is no such study, object or delivery.
    Unknown {
        /// `study`, `object`, `delivery`.
        what: &'static str,
        /// Its number.
        number: u64,
    },
    /// A study or a delivery is not in the state in which that can be done to it.
    WrongState {
        /// `study` or `delivery`.
        what: &'static str,
        /// Its number.
        number: u64,
        /// The state it is in.
        state: &'static str,
    },
    /// A backup is written to a new folder only.
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
}

impl JournalError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Busy(error) => Reason::without_remedy(error.to_string()),
            Self::Database(error) => Reason::new(
                format!("the journal's database fails ({error})"),
                "restart the device; if it says so again, restore the last backup on another disk",
            ),
            Self::Io { what, reason } => {
                Reason::new(format!("cannot {what} ({reason})"), "check the disk and its permissions")
            }
            Self::NoSpace { free, reserve } => Reason::new(
                format!("the disk has {free} bytes left, and {reserve} are kept free"),
                "delete what is not needed, or let fewer studies be kept",
            ),
            Self::QueueFull { limit } => Reason::new(
                format!("{limit} images already wait to be read"),
                "send again when some of them have been read",
            ),
            Self::TooLarge { limit } => {
                Reason::new(format!("the image has more than {limit} bytes"), "send one image or slice an object")
            }
            Self::Empty => Reason::new("an image of no bytes", "send it again"),
            Self::Newer { what, found, known } => Reason::new(
                format!("a {what} of version {found} in the journal, and this program knows {known}"),
                "install the newer program again; this one changed nothing",
            ),
            Self::Damaged { what, evidence } => {
                Reason::new(format!("{what} is damaged ({evidence})"), "restore the last backup")
            }
            Self::DatabaseMissing { files } => Reason::new(
                format!("{files} kept files, but no database that tells what they are"),
                "put journal.redb back from a backup, or move the folder `files` away",
            ),
            Self::Unknown { what, number } => {
                Reason::new(format!("there is no {what} {number}"), "see the list of the journal")
            }
            Self::WrongState { what, number, state } => Reason::without_remedy(format!("{what} {number} is {state}")),
            Self::NotEmpty { folder } => Reason::new(format!("{} is not empty", folder.display()), "name a new folder"),
        }
    }

    /// Whether it was only for want of room, so that the sender should try again later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::QueueFull { .. })
    }

    /// An error of the system, told apart when the disk is full.
    pub(crate) fn io(what: impl Into<String>, reason: io::Error) -> Self {
        if full(&reason) { Self::NoSpace { free: 0, reserve: 0 } } else { Self::Io { what: what.into(), reason } }
    }
}

fn full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The errors of redb's calls are of many types that all become one.
macro_rules! from_redb {
    ($($error:ty),*) => { $(
        impl From<$error> for JournalError {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(reason) if full(&reason) => Self::NoSpace { free: 0, reserve: 0 },
                    error => Self::Database(Box::new(error)),
                }
            }
        }
    )* };
}

from_redb!(redb::DatabaseError, redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);
