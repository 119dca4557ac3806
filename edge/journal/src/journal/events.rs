//! What happened to the device itself.

use super::Journal;
use crate::{
    error::Result,
    events::{Event, NewEvent},
};

/// As many are kept, the last ones: years of them.
const MOST_EVENTS: u64 = 10_000;

impl Journal {
    /// Notes an event, unless one of its key was noted. Tells whether it is new.
    ///
    /// # Errors
    /// What the database says.
    pub fn note(&self, what: NewEvent) -> Result<bool> {
        self.change(|change| {
            if change.has_event(&what.key)? {
                return Ok(false);
            }
            let number = change.number();
            let noted = change.now;
            change.put(number, &Event { noted, what })?;
            change.forget_events(MOST_EVENTS)?;
            Ok(true)
        })
    }

    /// The last events with their numbers, the newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn latest_events(&self, count: usize) -> Result<Vec<(u64, Event)>> {
        self.snapshot()?.latest(count)
    }
}
