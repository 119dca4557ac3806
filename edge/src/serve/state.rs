//! What the parts of the service share: the journal as long as it is open, and figures of what was done.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use thorax_bundles::Bundles;
use thorax_intake::Tally;
use thorax_journal::{Counts, Hash, Journal};
use thorax_page::{Appliance, Installed, Offered};
use thorax_shared::{modality::Modality, reason::Reason};

use super::bundles;
use crate::profile::Profile;

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
    profile: Profile,
    /// The folder of data.
    data: PathBuf,
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
    pub(super) fn new(profile: Profile, data: PathBuf) -> Self {
        Self {
            journal: RwLock::default(),
            tally: Arc::default(),
            started: Instant::now(),
            screened: Mutex::default(),
            reopened: AtomicU64::new(0),
            trouble: Mutex::default(),
            counted: Mutex::default(),
            bundles: Mutex::default(),
            profile,
            data,
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
        let told = self.bundles();
        let titles = told.as_array().into_iter().flatten().filter_map(|bundle| bundle["bundle"].as_str());
        titles.map(str::to_owned).collect()
    }

    fn installed(&self) -> Vec<Installed> {
        let state = Bundles::look(&self.data).unwrap_or_default();
        let of = |modality| {
            let slot = state.slot(modality);
            Installed {
                modality,
                active: slot.active.as_ref().map(|active| active.title.clone()),
                trial: slot.trial.map(|trial| (trial.studies, self.profile.screening.trial_studies)),
                former: slot.former.as_ref().map(|former| former.title.clone()),
                taken_back: slot.rolled_back.as_ref().map(|gone| (gone.title.clone(), gone.cause.clone())),
            }
        };
        Modality::ALL.map(of).into()
    }

    fn offered(&self) -> Vec<Offered> {
        bundles::offered(&self.profile).into_iter().map(|(offered, _)| offered).collect()
    }

    fn install(&self, sha256: &Hash, by: &str) -> Result<(), Reason> {
        let gone = || Reason::new("the bundle is not there any more", "put the stick in again");
        let found = bundles::offered(&self.profile).into_iter().find(|(offered, _)| offered.sha256 == *sha256);
        let (_, file) = found.ok_or_else(gone)?;
        bundles::install(&self.profile, &self.data, &file, Some(by)).map(drop).map_err(bundles::reason)
    }

    fn roll_back(&self, modality: Modality, why: &str, by: &str) -> Result<(), Reason> {
        let taken_back =
            Bundles::open(&self.data).and_then(|mut b| b.roll_back(modality, why, Some(by), bundles::now()));
        taken_back.map(drop).map_err(|error| error.reason())
    }
}
