//! How it stands with a destination, for screen, page and metrics.

use std::time::Duration;

use serde::Serialize;
use thorax_journal::Moment;
use thorax_shared::reason::Reason;

/// How it stands with a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name in the profile.
    pub name: String,
    /// Deliveries that wait for it or are being sent to it.
    pub waiting: u64,
    /// Whether one is being sent now.
    pub sending: bool,
    /// Objects that it said it has, since the program began.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Deliveries that arrived, since the program began.
    pub delivered: u64,
    /// Deliveries that it refused for good, since the program began.
    pub refused: u64,
    /// Attempts that failed in a row.
    pub failures: u32,
    /// What the last attempt failed of, and what to do about it; of an attempt before the last success it is still told.
    pub last_error: Option<Reason>,
    /// When that was.
    pub last_error_at: Option<Moment>,
    /// When a delivery last arrived.
    pub last_success_at: Option<Moment>,
    /// How long it is left alone yet.
    pub pause: Option<Duration>,
}

impl Status {
    /// Whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}
