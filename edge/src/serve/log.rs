//! Where the log goes: to systemd's journal with its fields where the service runs under systemd, else to standard error.
//!
//! Only our own crates are heard. What the libraries log of a file may have a patient's name in it, and what we log has none: studies
//! and images are named by the journal's numbers and by UIDs.

use std::{io::IsTerminal, os::unix::fs::MetadataExt};

use tracing::Level;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, registry};

/// Logs what is at least as grave as `level`. Called a second time it does nothing.
pub fn log_to_here(level: Level) {
    let ours = Targets::new().with_target("thorax", level);
    let journald = under_systemd().then(tracing_journald::layer).and_then(Result::ok);
    // What goes to systemd need not be told twice.
    let plain = journald.is_none().then(|| {
        let terminal = std::io::stderr().is_terminal();
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal)
    });
    let _ = tracing::subscriber::set_global_default(registry().with(ours).with(journald).with(plain));
}

/// Whether standard error is systemd's journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
fn under_systemd() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|own| named == format!("{}:{}", own.dev(), own.ino()))
}
