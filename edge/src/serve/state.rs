//! What the parts of the service share: the journal as long as it is open, and figures of what was done.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use thorax_board::thermal::{Heat, Reading};
use thorax_bundles::{Bundles, SiteThresholds, allowed};
use thorax_intake::Tally;
use thorax_journal::{Counts, Hash, Journal, Thresholds as DecidedBy};
use thorax_page::{Appliance, Installed, Offered};
use thorax_screen::operator::{Facts, ResultLine, Slot, Thresholds, Trouble};
use thorax_shared::{modality::Modality, reason::Reason, verdict::Verdict};

use super::{
    before,
    bundles::{self, Rules},
};
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
    /// How far each study is that is being read, by its number.
    progress: Mutex<BTreeMap<u64, Progress>>,
    /// What stands in the way at the moment.
    trouble: Mutex<Option<String>>,
    counted: Mutex<Option<(Instant, Counts)>>,
    /// Which bundles are run.
    bundles: Mutex<serde_json::Value>,
    /// By what they decide.
    rules: Mutex<Vec<Rules>>,
    /// Whether it was told to stop.
    stopping: AtomicBool,
    /// The last results, the newest first.
    results: Mutex<VecDeque<Arc<Shown>>>,
    /// Those that the journal had when it was opened, the newest first.
    before: Mutex<Vec<ResultLine>>,
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

/// How far a study is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Images and slices that are read.
    pub(super) done: usize,
    /// All that are to be read.
    pub(super) all: usize,
}

/// A result, as the panel shows it.
#[derive(Debug)]
pub(super) struct Shown {
    /// The study's number.
    pub(super) study: u64,
    /// Of its most urgent image.
    pub(super) outcome: Outcome,
    /// As the file has it; empty where it does not tell.
    pub(super) patient_id: String,
    /// When its first image came, hour and minute, UTC.
    pub(super) received: String,
    /// By which it was decided.
    pub(super) thresholds: Option<DecidedBy>,
}

impl State {
    pub(super) fn new(profile: Profile, data: PathBuf) -> Self {
        Self {
            journal: RwLock::default(),
            tally: Arc::default(),
            started: Instant::now(),
            screened: Mutex::default(),
            reopened: AtomicU64::new(0),
            progress: Mutex::default(),
            trouble: Mutex::default(),
            counted: Mutex::default(),
            bundles: Mutex::default(),
            rules: Mutex::default(),
            stopping: AtomicBool::new(false),
            results: Mutex::default(),
            before: Mutex::default(),
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
        if let Some(journal) = &journal {
            let lines = before::lines(journal, MOST_RESULTS).unwrap_or_else(|error| {
                tracing::warn!(%error, "the panel does not list the results of before the start");
                vec![]
            });
            *self.before.lock().unwrap_or_else(PoisonError::into_inner) = lines;
        }
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

    /// How far a study is read; `None` when it is not being read any more.
    pub(super) fn set_progress(&self, study: u64, progress: Option<Progress>) {
        let mut of = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Some(progress) => of.insert(study, progress),
            None => of.remove(&study),
        };
    }

    /// Images and slices that are read of all studies in hand, and how many there are.
    fn images_read(&self) -> (u64, u64) {
        images_read(&self.progress.lock().unwrap_or_else(PoisonError::into_inner))
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

    /// What the panel says of the device; site, network and what belongs to the panel itself are left out, and what is installed is in
    /// [`Self::slots`].
    pub(super) fn facts(&self) -> Facts {
        let (journal, counts, heat) = (self.journal(), self.counts(), self.heat());
        let reserve = self.profile.journal.reserve_bytes;
        let free = journal.as_ref().and_then(|journal| journal.free_bytes().ok());
        let is_hot = heat.as_ref().is_some_and(|reading| reading.heat == Heat::Hot);
        let trouble = if is_hot {
            Some(Trouble::TooHot)
        } else if free.is_some_and(|free| free < reserve) {
            Some(Trouble::DiskFull)
        } else {
            let closed = counts.is_none().then(|| "the journal is being opened".into());
            self.trouble().or(closed).map(Trouble::Other)
        };
        let line = |shown: &Arc<Shown>| {
            let screening = match &shown.outcome {
                Outcome::Screened(screening) => Some(screening),
                Outcome::Refused(_) => None,
            };
            let told = screening.filter(|screening| !matches!(screening.verdict, Verdict::Rejected(_)));
            ResultLine {
                study: shown.study,
                verdict: screening.map(|screening| screening.verdict),
                modality: screening.map(|screening| screening.bundle.modality),
                patient_id: shown.patient_id.clone(),
                received: shown.received.clone(),
                has_heat: told.is_some_and(|screening| screening.shown.heat.is_some()),
                is_old: false,
            }
        };
        let mut results: Vec<ResultLine> = self.results().iter().map(line).collect();
        for old in &*self.before.lock().unwrap_or_else(PoisonError::into_inner) {
            if results.len() < MOST_RESULTS && results.iter().all(|result| result.study != old.study) {
                results.push(old.clone());
            }
        }
        let now = chrono::DateTime::from_timestamp_millis(bundles::now());
        Facts {
            trouble,
            waiting: counts.map_or(0, |counts| counts.objects_waiting),
            reading: counts.map_or(0, |counts| counts.studies_taken),
            images_read: self.images_read(),
            read: self.screened().verdicts.values().sum(),
            undelivered: counts.map_or(0, |counts| counts.deliveries_waiting),
            disk: free.map(|free| (free, reserve)),
            clock: now.map_or_else(String::new, |now| now.format("%Y-%m-%d %H:%M").to_string()),
            celsius: heat.and_then(|reading| Some((reading.hottest?.1, reading.heat != Heat::Cool))),
            bundles: Appliance::bundles(self),
            reads: self
                .rules
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .map(|rules| rules.modality)
                .collect(),
            results,
            ..Facts::default()
        }
    }

    /// What is installed, and by what it decides, for the panel.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |installed: Installed| {
            let modality = installed.modality;
            let decides = rules.iter().find(|rules| rules.modality == modality);
            let thresholds = decides.map(|Rules { own, now, .. }| {
                let [negative, positive] = allowed(own);
                Thresholds {
                    now: [now.negative_at, now.positive_at],
                    own: [own.negative_at, own.positive_at],
                    most: [*negative.start(), *positive.end()],
                }
            });
            let count = |studies: u64| u32::try_from(studies).unwrap_or(u32::MAX);
            Slot {
                modality,
                active: installed.active,
                trial: installed.trial.map(|(read, of)| (count(read), count(of))),
                former: installed.former,
                thresholds,
            }
        };
        self.installed().into_iter().map(of).collect()
    }

    pub(super) fn set_rules(&self, rules: &[Rules]) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules.to_vec();
    }

    /// Sets the site's thresholds of the bundle that runs, `[negative below, positive from]`; `None` goes back to its own.
    pub(super) fn set_thresholds(
        &self,
        modality: Modality,
        set: Option<[f32; 2]>,
        by: &str,
        why: &str,
    ) -> Result<(), Reason> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Rules { bundle, own, .. }) = rules.into_iter().find(|rules| rules.modality == modality) else {
            return Err(Reason::new("no bundle for it runs", "install one"));
        };
        let changed = Bundles::open(&self.data).and_then(|mut bundles| match set {
            None => bundles.clear_thresholds(modality, Some(by), why, bundles::now()).map(drop),
            Some([negative_at, positive_at]) => {
                let (by, why, unix_milliseconds) = (by.into(), why.into(), bundles::now());
                let set = SiteThresholds { bundle, negative_at, positive_at, by, why, unix_milliseconds };
                bundles.set_thresholds(modality, set, &own)
            }
        });
        changed.map_err(|error| error.reason())
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
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
        let gone = || Reason::new("the reading software is not there any more", "put the stick in again");
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

/// Images and slices that are read of all these studies, and how many there are.
fn images_read(studies: &BTreeMap<u64, Progress>) -> (u64, u64) {
    studies.values().fold((0, 0), |(done, all), of| (done + of.done as u64, all + of.all as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_counts_over_all_studies_in_hand() {
        let mut studies = BTreeMap::new();
        assert_eq!(images_read(&studies), (0, 0));
        studies.insert(7, Progress { done: 3, all: 16 });
        studies.insert(8, Progress { done: 0, all: 2 });
        assert_eq!(images_read(&studies), (3, 18));
        studies.remove(&7);
        assert_eq!(images_read(&studies), (0, 2));
    }
}
