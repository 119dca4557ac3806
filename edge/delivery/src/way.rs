//! What the two ways to an archive have in common.

use std::sync::atomic::{AtomicBool, Ordering};

use thorax_journal::{Hash, JournalError};
use thorax_shared::reason::Reason;

use crate::part::Part;

/// What an archive says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has it.
    Has,
    /// It will never take it.
    Refused(Reason),
}

/// Why an attempt ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was said about any object: the peer rests.
    Peer(Reason),
    /// It broke off in the middle: the peer rests, and this delivery too, which may be the cause.
    Broken(Reason),
    /// The delivery has to wait, and the peer need not.
    Wait(Reason),
    /// The journal fails.
    Journal(JournalError),
    /// The device stops.
    Stopping,
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// One attempt at a delivery.
pub(crate) struct Attempt<'a> {
    /// The delivery's number.
    pub(crate) delivery: u64,
    /// What is to be sent.
    pub(crate) missing: &'a [Part],
    /// What the archive said at an earlier attempt that it has.
    pub(crate) arrived: &'a [Part],
    /// Device time, in milliseconds, by which no two attempts are one.
    pub(crate) device_milliseconds: u64,
}

/// An object that an archive does not keep, though it had said that it has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) sha256: Hash,
    /// In words.
    pub(crate) why: String,
}

/// Told of each answer at once.
pub(crate) type Told<'a> = &'a mut dyn FnMut(&Part, Answer) -> Result<(), Failure>;

/// A way to an archive.
pub(crate) trait Way: Send + Sync {
    /// Sends what is missing. Gives what the archive turns out not to have, though it said so.
    fn attempt(&self, attempt: &Attempt<'_>, told: Told<'_>) -> Result<Vec<Lost>, Failure>;

    /// Ends the attempt that is being made: at the next object, or at once.
    fn stop(&self, at_once: bool);
}

/// Whether the device stops.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopping: AtomicBool,
    at_once: AtomicBool,
}

impl Stop {
    pub(crate) fn stop(&self, at_once: bool) {
        self.stopping.store(true, Ordering::Relaxed);
        self.at_once.fetch_or(at_once, Ordering::Relaxed);
    }

    /// No further object is begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Nor is one finished.
    pub(crate) fn is_at_once(&self) -> bool {
        self.at_once.load(Ordering::Relaxed)
    }
}
