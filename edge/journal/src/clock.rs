//! Two clocks: the one on the wall, which is shown, and the device's own, which is reckoned with.
//!
//! A box without a battery for its clock starts in 1970, and is put right when a network or a technician comes by; a wrong
//! one may be put back by hours. So nothing is ordered or waited for by the wall clock. Order is a number that the journal
//! counts up. Waiting is done in *device time*: the milliseconds that the journal has been open since it was made, kept in
//! the database and never going back.

use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// When something happened, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 00:00 UTC, as the wall clock had it. For people only.
    pub unix_milliseconds: i64,
    /// Milliseconds that the journal had been open by then, in all runs together.
    pub device_milliseconds: u64,
}

impl Moment {
    /// The wall clock's time as `2026-11-28T10:23:26Z`; empty where it is out of all range.
    pub fn utc(&self) -> String {
        let time = chrono::DateTime::from_timestamp_millis(self.unix_milliseconds);
        time.map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
    }
}

/// Where the journal asks for the time.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock, in milliseconds since 1970-01-01 00:00 UTC. It may jump.
    fn unix_milliseconds(&self) -> i64;
    /// The time since some moment of this process. It never goes back.
    fn elapsed(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_milliseconds(&self) -> i64 {
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => milliseconds(after),
            Err(before) => -milliseconds(before.duration()),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc() {
        let moment = |unix_milliseconds| Moment { unix_milliseconds, device_milliseconds: 0 }.utc();
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1_795_861_406_999), "2026-11-28T10:23:26Z");
        assert_eq!(moment(i64::MAX), "");
    }
}
