//! What systemd is told (`sd_notify(3)`): that the service is ready, what it does, that it lives, and that it ends.
//!
//! A unit with `Type=notify` counts as started when it says so, and `WatchdogSec=` has a service killed and started again that has not
//! said for as long that it lives. Whoever calls [`Watchdog::feed`] has to be the one whose standstill would matter, and not a thread
//! of its own that would go on feeding it. Without systemd nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Says that the service is ready, and what it does. It is an error neither when there is no systemd nor when it does not listen.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

/// What the service does, for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(&line(text))]);
}

/// Says that the service ends, and may need as long for it.
pub fn stopping(longest: Duration) {
    let microseconds = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(microseconds)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// A status is one line.
fn line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Tells systemd that the service lives, as often as it wants to hear that.
#[derive(Debug)]
pub struct Watchdog {
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Watchdog {
    /// As the unit has it (`WatchdogSec=`).
    pub fn of_unit() -> Self {
        Self::every(sd_notify::watchdog_enabled())
    }

    /// Of a unit that waits for as long. It is fed in half the time, as `sd_watchdog_enabled(3)` advises.
    fn every(longest: Option<Duration>) -> Self {
        Self { every: longest.map(|longest| longest / 2), last: None }
    }

    /// How often [`Self::feed`] has to be called at least; `None` where nobody waits for it.
    pub fn interval(&self) -> Option<Duration> {
        self.every
    }

    /// Says that the service lives, unless it said so a moment ago. Whether it was said.
    pub fn feed(&mut self) -> bool {
        self.feed_at(Instant::now())
    }

    fn feed_at(&mut self, now: Instant) -> bool {
        let Some(every) = self.every else { return false };
        // Called in a loop that goes round much more often, it should not tell each time.
        if self.last.is_some_and(|last| now.duration_since(last) < every / 2) {
            return false;
        }
        self.last = Some(now);
        tell(&[NotifyState::Watchdog]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_often_enough_and_no_more() {
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(40)));
        assert_eq!(watchdog.interval(), Some(Duration::from_secs(20)));
        let began = Instant::now();
        let mut fed = vec![];
        for second in 0..60 {
            if watchdog.feed_at(began + Duration::from_secs(second)) {
                fed.push(second);
            }
        }
        assert_eq!(fed, [0, 10, 20, 30, 40, 50]);
        let mut none = Watchdog::every(None);
        assert!(none.interval().is_none() && !none.feed());
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(line("3 studies\nREADY=0\0"), "3 studies READY=0 ");
    }
}
