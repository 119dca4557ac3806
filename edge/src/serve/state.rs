//! What the parts of the service share: the journal as long as it is open, and figures of what was done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use thorax_intake::Tally;
use thorax_journal::{Counts, Journal};
use thorax_page::Appliance;

/// The journal is not counted through more often.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    journal: RwLock<Option<Arc<Journal>>>,
    pub(super) tally: Arc<Tally>,
    pub(super) started: Instant,
    screened: Mutex<Screened>,
    /// How often the journal was opened again after a failure.
    reopened: AtomicU64,
    /// What stands in the way at the moment.
    trouble: Mutex<Option<String>>,
    counted: Mutex<Option<(Instant, Counts)>>,
    /// Which bundles are run.
    bundles: Mutex<serde_json::Value>,
    /// The bundles that read, by name and version.
    titles: Vec<String>,
}

/// Studies that were read since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Screened {
    /// By verdict.
    pub(super) verdicts: BTreeMap<String, u64>,
    /// Time spent on them.
    pub(super) time: Duration,
}

impl State {
    pub(super) fn new(titles: Vec<String>) -> Self {
        Self {
            journal: RwLock::default(),
            tally: Arc::default(),
            started: Instant::now(),
            screened: Mutex::default(),
            reopened: AtomicU64::new(0),
            trouble: Mutex::default(),
            counted: Mutex::default(),
            bundles: Mutex::default(),
            titles,
        }
    }

    /// The journal, unless it is being opened.
    pub(super) fn journal(&self) -> Option<Arc<Journal>> {
        self.journal.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_journal(&self, journal: Option<Arc<Journal>>) {
        *self.journal.write().unwrap_or_else(PoisonError::into_inner) = journal;
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn screened(&self) -> Screened {
        self.screened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A study was read.
    pub(super) fn count(&self, verdict: &str, time: Duration) {
        let mut screened = self.screened.lock().unwrap_or_else(PoisonError::into_inner);
        *screened.verdicts.entry(verdict.to_owned()).or_default() += 1;
        screened.time += time;
    }

    /// Which bundles are run, for people.
    pub(super) fn bundles(&self) -> serde_json::Value {
        self.bundles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_bundles(&self, bundles: serde_json::Value) {
        *self.bundles.lock().unwrap_or_else(PoisonError::into_inner) = bundles;
    }

    pub(super) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    pub(super) fn count_reopened(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells what stands in the way; `None` once nothing does.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// How many there are of what in the journal, no older than a second; `None` while it is closed or cannot be read.
    pub(super) fn counts(&self) -> Option<Counts> {
        let journal = self.journal()?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match *counted {
            Some((when, counts)) if when.elapsed() < BETWEEN_COUNTS => Some(counts),
            _ => {
                let counts = journal.counts().ok()?;
                *counted = Some((Instant::now(), counts));
                Some(counts)
            }
        }
    }
}

impl Appliance for State {
    fn journal(&self) -> Option<Arc<Journal>> {
        self.journal()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble()
    }

    fn bundles(&self) -> Vec<String> {
        self.titles.clone()
    }
}
