//! What came in since the start, in figures.

use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that many threads count up.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),*) => {
        /// Counts what came in. It is shared by all ways in.
        #[derive(Debug, Default)]
        pub struct Tally { $(pub(crate) $name: Count),* }

        /// What a [`Tally`] stood at.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TallyFigures { $($(#[$doc])* pub $name: u64),* }

        impl Tally {
            /// What it stands at.
            pub fn figures(&self) -> TallyFigures {
                TallyFigures { $($name: self.$name.get()),* }
            }
        }
    };
}

tally!(
    /// Connections.
    connections,
    /// Associations that were accepted.
    associations,
    /// Associations that were rejected: a stranger, or too many.
    rejected,
    /// Associations that we ended before they were released: too slow, or no DICOM.
    aborted,
    /// C-ECHO.
    echoes,
    /// Objects that are new.
    accepted,
    /// Objects that were there already.
    duplicates,
    /// Objects that were there already, with other bytes.
    other_content,
    /// Objects for which there was no room.
    no_room,
    /// Objects that were refused for what they are.
    refused
);
