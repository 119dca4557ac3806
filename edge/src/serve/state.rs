//! What the parts of the service share: the journal as long as it is open, and figures of what was done.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use thorax_board::thermal::{Heat, Reading};
use thorax_bundles::Bundles;
use thorax_intake::Tally;
use thorax_journal::{Counts, Hash, Journal};
use thorax_page::{Appliance, Installed, Offered};
use thorax_shared::{modality::Modality, reason::Reason};

use super::bundles;
use crate::{outcome::Outcome, profile::Profile};

/// The journal is not counted through more often.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

/// Results that can be looked at again.
const MOST_RESULTS: usize = 20;

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
    /// The last results, the newest first.
    results: Mutex<VecDeque<Arc<Shown>>>,
    /// How hot the board is, where the profile has it watched.
    heat: Mutex<Option<Reading>>,
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

/// A result, as the panel shows it.
#[derive(Debug)]
pub(super) struct Shown {
    /// The study's number.
    pub(super) study: u64,
    /// Of its most urgent image.
    pub(super) outcome: Outcome,
}

/// What the device says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    /// What stands in the way; nothing while all is as it should be.
    pub(super) trouble: Option<String>,
    /// Studies that are being read, and images that wait.
    pub(super) reading: u64,
    pub(super) waiting: u64,
    /// Studies that were read since the start.
    pub(super) read: u64,
    /// The bundles that read.
    pub(super) bundles: Vec<String>,
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
            results: Mutex::default(),
            heat: Mutex::default(),
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

    /// A result, for the panel.
    pub(super) fn show(&self, shown: Shown) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push_front(Arc::new(shown));
        results.truncate(MOST_RESULTS);
    }

    /// The last results, the newest first.
    pub(super) fn results(&self) -> VecDeque<Arc<Shown>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the panel says of the device.
    pub(super) fn told(&self) -> Told {
        let counts = self.counts();
        let hot = self.heat().filter(|reading| reading.heat == Heat::Hot).map(|reading| match reading.hottest {
            Some((zone, celsius)) => {
                format!("the board is too hot ({zone} {celsius:.0} C): it reads nothing until it has cooled")
            }
            None => "the board is too hot: it reads nothing until it has cooled".into(),
        });
        let closed = counts.is_none().then(|| "the journal is being opened".into());
        Told {
            trouble: self.trouble().or(hot).or(closed),
            reading: counts.map_or(0, |counts| counts.studies_taken),
            waiting: counts.map_or(0, |counts| counts.objects_waiting),
            read: self.screened().verdicts.values().sum(),
            bundles: Appliance::bundles(self),
        }
    }

    pub(super) fn set_heat(&self, reading: Reading) {
        *self.heat.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    /// How hot the board is; `None` where nobody looks.
    pub(super) fn heat(&self) -> Option<Reading> {
        self.heat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long a worker rests after a study, for the board to cool; `None` while it is too hot to read anything.
    pub(super) fn pause(&self) -> Option<Duration> {
        match (&self.profile.thermal, self.heat()) {
            (Some(config), Some(reading)) => reading.pause(config),
            _ => Some(Duration::ZERO),
        }
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
