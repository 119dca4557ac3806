//! The folder of bundles, and every change to it.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use thorax_files::{FolderLock, LockError, sync_folder};
use thorax_journal::{FileStore, FolderStore, NewEvent};
use thorax_shared::{
    bundle::{Bundle, BundleError, Limits, TrustedKeys},
    decision::DecisionRule,
    modality::Modality,
};

use crate::{
    error::BundlesError,
    hash::BundleHash,
    state::{Installed, Slot, State, Trial},
    thresholds::SiteThresholds,
};

/// The folder of bundles in the folder of data.
pub const FOLDER: &str = "bundles";
/// The record of what is installed.
const STATE: &str = "state.json";
/// How the name of a file ends that is being written.
const PART: &str = ".part";
/// The record has some pages.
const MOST_STATE_BYTES: u64 = 4 << 20;
/// Changes are short, but for the self-test of an installation.
const LOCK_TIME: Duration = Duration::from_secs(60);
/// A device that went down this often at work with a bundle on trial takes it back.
const MOST_WENT_DOWN: u32 = 2;
/// Words of a person.
const MOST_WORDS: usize = 200;

/// How long a trial is: until either is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialLength {
    /// Studies that the bundle has read.
    pub studies: u64,
    /// Hours of device time.
    pub hours: u64,
}

/// A bundle that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// What it reads.
    pub modality: Modality,
    /// SHA-256 of its file.
    pub sha256: BundleHash,
    /// Where its file is.
    pub path: PathBuf,
    /// Whether it is on trial.
    pub on_trial: bool,
}

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallReport {
    /// What it reads.
    pub modality: Modality,
    /// What is active now.
    pub installed: Installed,
    /// How many golden answers it gave.
    pub answers: usize,
    /// What it takes the place of, where that was installed.
    pub former: Option<Installed>,
    /// Why it was taken back the last time, where it was the last to be.
    pub taken_back_before: Option<String>,
}

/// The bundles of a device, and nobody else's at the moment.
#[derive(Debug)]
pub struct Bundles {
    store: Arc<dyn FileStore>,
    state: State,
    /// Last, so that it is given back at the end.
    _lock: Option<FolderLock>,
}

impl Bundles {
    /// Those of the folder of data `data`. Waits while another process is at them.
    ///
    /// # Errors
    /// When it takes that one more than a minute, the state cannot be read, or the system refuses.
    pub fn open(data: &Path) -> Result<Self, BundlesError> {
        let folder = data.join(FOLDER);
        let until = Instant::now() + LOCK_TIME;
        let lock = loop {
            match FolderLock::take(&folder) {
                Err(LockError::Busy { .. }) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                taken => break taken?,
            }
        };
        // A folder whose name is lost is lost.
        sync_folder(data).map_err(BundlesError::io(format!("sync {}", data.display())))?;
        let failed = BundlesError::io(format!("open {}", folder.display()));
        let store = FolderStore::new(&folder).map_err(failed)?;
        Ok(Self { _lock: Some(lock), ..Self::open_on(Arc::new(store))? })
    }

    /// What is installed in the folder of data `data`, without waiting for anybody: the record is written whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(data: &Path) -> Result<State, BundlesError> {
        match fs::File::open(data.join(FOLDER).join(STATE)) {
            Ok(file) => read_state(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(BundlesError::io("read the list of installed bundles")(error)),
        }
    }

    /// When what is installed in the folder of data `data` was last changed by anybody; `None` where nothing ever was.
    pub fn changed(data: &Path) -> Option<SystemTime> {
        fs::metadata(data.join(FOLDER).join(STATE)).and_then(|list| list.modified()).ok()
    }

    /// Those of any store, which nobody else may change meanwhile. What a power cut left is put right.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(store: Arc<dyn FileStore>) -> Result<Self, BundlesError> {
        let failed = || BundlesError::io("read the list of installed bundles");
        let state = match store.names().map_err(failed())?.iter().any(|name| name == STATE) {
            true => read_state(store.open(STATE).map_err(failed())?)?,
            false => State::default(),
        };
        let bundles = Self { store, state, _lock: None };
        bundles.clean();
        Ok(bundles)
    }

    /// What is installed.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Reads a bundle's file, which may have as many bytes as a bundle may.
    ///
    /// # Errors
    /// When it has more, or the system refuses.
    pub fn read_file(path: &Path) -> Result<Vec<u8>, BundlesError> {
        let limit = Limits::default().file_bytes;
        let failed = || BundlesError::io(format!("read {}", path.display()));
        let mut bytes = vec![];
        let file = fs::File::open(path).map_err(failed())?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(failed())?;
        match bytes.len() as u64 {
            length if length > limit => Err(BundleError::TooLarge { bytes: length, limit }.into()),
            _ => Ok(bytes),
        }
    }

    /// Installs the bundle whose file has these bytes: one of `trusted` has signed it, and the device gives its golden answers, which
    /// `self_test` sees from the file that it is given, and says how many there were. From then on it is on trial. The bundle
    /// to go back to is the active one, or, where that is itself on trial, the one before it. A site's thresholds are
    /// forgotten.
    ///
    /// # Errors
    /// What is wrong with the bundle, or with the disk; nothing was changed then.
    pub fn install(
        &mut self,
        bytes: &[u8],
        trusted: &TrustedKeys,
        by: Option<&str>,
        now: i64,
        self_test: impl FnOnce(&Path) -> Result<usize, String>,
    ) -> Result<InstallReport, BundlesError> {
        by.map_or(Ok(()), |by| check_words("the name", by))?;
        let bundle = Bundle::read(bytes, trusted, &Limits::default())?;
        let manifest = bundle.manifest();
        let modality = manifest.modality;
        if manifest.extension.golden.is_empty() {
            return Err(BundlesError::NoGoldenAnswers);
        }
        let sha256 = BundleHash::of(bytes);
        let slot = self.state.slot(modality);
        if slot.active.as_ref().is_some_and(|active| active.sha256 == sha256) {
            return Err(BundlesError::AlreadyActive(sha256));
        }
        let name = sha256.to_string();
        let is_there = |installed: &Option<Installed>| installed.as_ref().is_some_and(|it| it.sha256 == sha256);
        // What the disk may have spoilt is written anew; it is renamed over the other.
        self.write(&name, bytes)?;
        let answers = self_test(&self.store.path(&name)).map_err(|cause| {
            if !is_there(&slot.former) {
                let _ = self.store.remove(&name);
            }
            BundlesError::SelfTest(cause)
        })?;
        let installed = Installed {
            sha256,
            title: format!("{} {}", manifest.name, manifest.version),
            by: by.map(str::to_owned),
            unix_milliseconds: now,
        };
        let taken_back = slot.rolled_back.as_ref().filter(|gone| gone.sha256 == sha256);
        let taken_back_before = taken_back.map(|gone| gone.cause.clone());
        let former = if slot.trial.is_some() { slot.former.clone() } else { slot.active.clone() };
        // What is installed anew is its own former one only by name.
        let former = former.filter(|former| former.sha256 != sha256);
        let mut state = self.state.clone();
        let forgotten = state.slot_mut(modality).thresholds.take();
        *state.slot_mut(modality) = Slot {
            active: Some(installed.clone()),
            former: former.clone(),
            trial: Some(Trial::default()),
            rolled_back: self.state.slot(modality).rolled_back.clone(),
            thresholds: None,
        };
        let text = format!("{}, {answers} golden answers given; on trial", installed.title);
        state.tell("bundle installed", text, by, now, (modality, sha256));
        if let Some(forgotten) = forgotten {
            let text = "another bundle was installed".to_owned();
            state.tell("site thresholds forgotten", text, by, now, (modality, forgotten.bundle));
        }
        self.save(state)?;
        Ok(InstallReport { modality, installed, answers, former, taken_back_before })
    }

    /// Goes back to the bundle before the active one, or, where there is none, to what the profile names. Gives what was taken back.
    ///
    /// # Errors
    /// [`BundlesError::NothingInstalled`], or the disk's.
    pub fn roll_back(
        &mut self,
        modality: Modality,
        cause: &str,
        by: Option<&str>,
        now: i64,
    ) -> Result<Installed, BundlesError> {
        by.map_or(Ok(()), |by| check_words("the name", by))?;
        let mut state = self.state.clone();
        let gone = state.roll_back(modality, cause, by, now)?;
        self.save(state)?;
        Ok(gone)
    }

    /// A device starts, before it runs any bundle: what brought it down twice on trial is taken back.
    ///
    /// # Errors
    /// The disk's.
    pub fn start(&mut self, now: i64) -> Result<(), BundlesError> {
        let mut state = self.state.clone();
        for modality in Modality::ALL {
            let Some(trial) = &mut state.slot_mut(modality).trial else { continue };
            trial.went_down += u32::from(trial.at_work);
            trial.at_work = true;
            let Trial { went_down, studies, .. } = *trial;
            if went_down >= MOST_WENT_DOWN {
                let cause = format!("the device went down {went_down} times in its trial, after {studies} studies");
                state.roll_back(modality, &cause, None, now)?;
            }
        }
        self.save(state)
    }

    /// A device was stopped as it should be: that it starts again says nothing against a bundle.
    ///
    /// # Errors
    /// The disk's.
    pub fn stopped(&mut self) -> Result<(), BundlesError> {
        let mut state = self.state.clone();
        for modality in Modality::ALL {
            if let Some(trial) = &mut state.slot_mut(modality).trial {
                trial.at_work = false;
            }
        }
        self.save(state)
    }

    /// The bundles to run; for a kind of picture without one it is what the profile names.
    pub fn active(&self) -> Vec<Active> {
        let active = |modality: Modality| {
            let slot = self.state.slot(modality);
            let sha256 = slot.active.as_ref()?.sha256;
            let path = self.store.path(&sha256.to_string());
            Some(Active { modality, sha256, path, on_trial: slot.trial.is_some() })
        };
        Modality::ALL.into_iter().filter_map(active).collect()
    }

    /// A device is at work, and has read `studies` more with the bundle `sha256`. Trials that are long enough are over; the titles of
    /// those bundles are given. Only what a trial is concerned in is written.
    ///
    /// # Errors
    /// The disk's.
    pub fn at_work(
        &mut self,
        studies: Option<(BundleHash, u64)>,
        device_milliseconds: u64,
        length: TrialLength,
        now: i64,
    ) -> Result<Vec<String>, BundlesError> {
        let mut state = self.state.clone();
        let mut over = vec![];
        for modality in Modality::ALL {
            let slot = state.slot_mut(modality);
            // A bundle that was installed while the device runs another is not at work yet.
            let (Some(active), Some(trial)) = (&slot.active, slot.trial.as_mut().filter(|trial| trial.at_work)) else {
                continue;
            };
            trial.studies += studies.filter(|(sha256, _)| *sha256 == active.sha256).map_or(0, |(_, studies)| studies);
            let began = *trial.began_milliseconds.get_or_insert(device_milliseconds);
            let hours = device_milliseconds.saturating_sub(began) / 3_600_000;
            if trial.studies < length.studies && hours < length.hours {
                continue;
            }
            let text = format!("{}, after {} studies and {hours} hours", active.title, trial.studies);
            let (title, sha256) = (active.title.clone(), active.sha256);
            slot.trial = None;
            state.tell("trial passed", text, None, now, (modality, sha256));
            over.push(title);
        }
        self.save(state)?;
        Ok(over)
    }

    /// Sets a site's thresholds for the bundle whose rule is `rule`, in place of any before.
    ///
    /// # Errors
    /// When they are out of bounds, nobody says who and why, or the disk refuses.
    pub fn set_thresholds(
        &mut self,
        modality: Modality,
        thresholds: SiteThresholds,
        rule: &DecisionRule,
    ) -> Result<(), BundlesError> {
        thresholds.apply(rule)?;
        check_words("who sets them", &thresholds.by)?;
        check_words("why they are set", &thresholds.why)?;
        let mut state = self.state.clone();
        let SiteThresholds { bundle, negative_at, positive_at, ref by, ref why, unix_milliseconds } = thresholds;
        let text = format!(
            "negative below {negative_at}, positive from {positive_at}; the bundle's own are {} and {}: {why}",
            rule.negative_at, rule.positive_at
        );
        state.tell("site thresholds set", text, Some(by), unix_milliseconds, (modality, bundle));
        state.slot_mut(modality).thresholds = Some(thresholds);
        self.save(state)
    }

    /// Goes back to the bundle's own thresholds. Tells whether there were others.
    ///
    /// # Errors
    /// As [`Self::set_thresholds`].
    pub fn clear_thresholds(
        &mut self,
        modality: Modality,
        by: Option<&str>,
        why: &str,
        now: i64,
    ) -> Result<bool, BundlesError> {
        by.map_or(Ok(()), |by| check_words("who clears them", by))?;
        check_words("why they are cleared", why)?;
        let mut state = self.state.clone();
        let Some(gone) = state.slot_mut(modality).thresholds.take() else { return Ok(false) };
        state.tell("site thresholds forgotten", why.to_owned(), by, now, (modality, gone.bundle));
        self.save(state)?;
        Ok(true)
    }

    /// The site's thresholds for the bundle `sha256`, which is about to be run; those of any other bundle are forgotten.
    ///
    /// # Errors
    /// The disk's.
    pub fn thresholds_of(
        &mut self,
        modality: Modality,
        sha256: BundleHash,
        now: i64,
    ) -> Result<Option<SiteThresholds>, BundlesError> {
        let set = self.state.slot(modality).thresholds.clone();
        if set.as_ref().is_some_and(|set| set.bundle != sha256) {
            self.clear_thresholds(modality, None, "another bundle is run", now)?;
            return Ok(None);
        }
        Ok(set)
    }

    /// Has the journal told of each event, by `note`, and forgets which it has.
    ///
    /// # Errors
    /// The first of `note`'s, or the disk's. What was not told is told the next time; the journal knows an event by its key.
    pub fn tell<E: From<BundlesError>>(&mut self, mut note: impl FnMut(NewEvent) -> Result<(), E>) -> Result<usize, E> {
        let events = self.state.untold.clone();
        for event in &events {
            note(event.clone())?;
        }
        let mut state = self.state.clone();
        state.untold.clear();
        self.save(state)?;
        Ok(events.len())
    }

    /// Writes the state, if it is another, and then removes what it does not need.
    fn save(&mut self, state: State) -> Result<(), BundlesError> {
        if state == self.state {
            return Ok(());
        }
        self.write(STATE, &state.encode()?)?;
        self.state = state;
        self.clean();
        Ok(())
    }

    /// Writes a file whole, so that its name is on the disk when this returns.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), BundlesError> {
        let part = format!("{name}{PART}");
        let write = || {
            // What an earlier try has left.
            match self.store.remove(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = self.store.create(&part)?;
            for piece in bytes.chunks(1 << 20) {
                file.write_all(piece)?;
            }
            file.flush()?;
            file.sync()?;
            drop(file);
            self.store.rename(&part, name)?;
            self.store.sync_names()
        };
        write().map_err(|reason| {
            let _ = self.store.remove(&part);
            BundlesError::io(format!("write {}", self.store.path(name).display()))(reason)
        })
    }

    /// Removes half-written files, and bundles that the state does not name. What stays behind goes the next time.
    fn clean(&self) {
        let unneeded = |name: &String| {
            let hash = name.parse::<BundleHash>();
            name.ends_with(PART) || hash.is_ok_and(|hash| !self.state.needed().any(|needed| needed.sha256 == hash))
        };
        let Ok(names) = self.store.names() else { return };
        for name in names.into_iter().filter(unneeded) {
            if let Err(reason) = self.store.remove(&name) {
                tracing::warn!(name, %reason, "a file that is not needed any more cannot be removed");
            }
        }
    }
}

fn read_state(file: impl Read) -> Result<State, BundlesError> {
    let mut bytes = vec![];
    let read = file.take(MOST_STATE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(BundlesError::io("read the list of installed bundles"))?;
    match bytes.len() as u64 {
        length if length > MOST_STATE_BYTES => Err(BundlesError::State(format!("more than {MOST_STATE_BYTES} bytes"))),
        _ => State::decode(&bytes),
    }
}

/// Words of a person, for a line.
fn check_words(which: &'static str, words: &str) -> Result<(), BundlesError> {
    let fine = !words.trim().is_empty() && words.len() <= MOST_WORDS && !words.chars().any(char::is_control);
    if fine { Ok(()) } else { Err(BundlesError::Words(which)) }
}
