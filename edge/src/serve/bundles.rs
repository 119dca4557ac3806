//! Which bundles the appliance runs: for each kind of picture the one that is installed, else what the profile names.
//!
//! Before it reads a patient's picture, each has to be signed, to be the file that was installed, and to give its golden answers. One that
//! does not is taken back, and the former is tried in its place; what the profile names has nothing behind it, and then the device
//! fails. While it runs, a [`Keeper`] counts what the bundle on trial has read, and tells the journal what happened to bundles
//! and thresholds, also what was done by somebody else's command meanwhile.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use thorax_bundles::{BundleHash, Bundles, BundlesError, FOLDER, InstallReport, SiteThresholds, Slot, TrialLength};
use thorax_engine::{
    error::DeviceError,
    golden::{self, Asked},
    model::Model,
    screening::Screener,
    trust,
};
use thorax_files::FolderLock;
use thorax_journal::{Clock, Hash, Journal, SystemClock, Thresholds};
use thorax_page::Offered;
use thorax_phantom::{GOLDEN_SIDE, Phantom};
use thorax_shared::{
    bundle::{Bundle, Limits, TrustedKeys},
    decision::DecisionRule,
    modality::Modality,
    reason::Reason,
};

use crate::{
    cli::BundleArgs,
    inspect::JOURNAL,
    profile::{Profile, Screening},
};

/// Hours are not counted by the second.
const BETWEEN_HOURS: Duration = Duration::from_secs(60);

/// Milliseconds since 1970-01-01 00:00 UTC, as the wall clock has it.
pub fn now() -> i64 {
    SystemClock::default().unix_milliseconds()
}

/// The keys that a profile trusts.
///
/// # Errors
/// When its file of keys cannot be read.
pub fn trusted(profile: &Profile) -> anyhow::Result<TrustedKeys> {
    Ok(trust::trusted_keys(profile.screening.trust.as_deref())?)
}

/// Runs the self-test of a bundle, and says how many answers it gave.
///
/// # Errors
/// A wrong answer, or a bundle that cannot be run.
fn self_test(model: &Model, asked: Asked) -> anyhow::Result<usize> {
    let draw = |seed, lesions| Phantom::generate(model.manifest.modality, seed, GOLDEN_SIDE, lesions).pixels();
    Ok(golden::check(model, asked, draw)?)
}

/// The bundles to run, ready.
pub struct Chosen {
    /// With the site's thresholds, where there are any.
    pub screener: Screener,
    /// Who looks after them.
    pub keeper: Keeper,
}

impl Chosen {
    /// Of these bundles alone, with nothing installed and nothing to look after; `data` is the folder of data.
    pub fn of(screener: Screener, data: &Path) -> Self {
        Self { screener, keeper: Keeper::new(data, TrialLength { studies: 1, hours: 1 }, None, BTreeSet::new()) }
    }

    /// As an appliance starts with this profile on this folder of data, which has to be there.
    ///
    /// # Errors
    /// When another appliance is at work there, the list of bundles cannot be read, or a bundle of the profile cannot be run.
    pub fn at_start(profile: &Profile, data: &Path) -> anyhow::Result<Self> {
        // An appliance that cannot start, since another is at work, is not one that went down.
        drop(FolderLock::take(&data.join(JOURNAL))?);
        Self::begin(profile, data)
    }

    /// As an appliance that is at work goes on with what was installed, taken back or set meanwhile.
    ///
    /// # Errors
    /// As [`Self::at_start`].
    pub(super) fn anew(former: &Keeper, profile: &Profile, data: &Path) -> anyhow::Result<Self> {
        former.stopped();
        Self::begin(profile, data)
    }

    fn begin(profile: &Profile, data: &Path) -> anyhow::Result<Self> {
        let trusted = trusted(profile)?;
        let mut bundles = Bundles::open(data)?;
        let rolled_back = |bundles: &Bundles| Modality::ALL.map(|m| bundles.state().slot(m).rolled_back.clone());
        let before = rolled_back(&bundles);
        bundles.start(now())?;
        let models = installed(&mut bundles, &trusted)?;
        for gone in rolled_back(&bundles).into_iter().zip(before).filter(|(now, before)| now != before) {
            if let Some(gone) = gone.0 {
                tracing::error!(bundle = gone.title, sha256 = %gone.sha256, cause = gone.cause, "bundle rolled back");
            }
        }
        let ready = Self::with_named(profile, data, &trusted, &mut bundles, models);
        if ready.is_err() {
            // What the profile names is to blame, and no bundle on trial.
            bundles.stopped()?;
        }
        ready
    }

    /// The installed bundles that can be run, and what the profile names beside them, with the site's thresholds.
    fn with_named(
        profile: &Profile,
        data: &Path,
        trusted: &TrustedKeys,
        bundles: &mut Bundles,
        mut models: Vec<Model>,
    ) -> anyhow::Result<Self> {
        let named = of_profile(profile, trusted, &models)?;
        for model in &named {
            match self_test(model, Asked::One)? {
                0 => tracing::warn!(
                    bundle = model.title(),
                    "brings no answers to test itself by; bundles of format 2 do"
                ),
                answers => tracing::info!(bundle = model.title(), answers, "self-test passed"),
            }
        }
        models.extend(named);
        let mut of_site = BTreeSet::new();
        let mut rules = vec![];
        for model in &mut models {
            tracing::info!(bundle = model.title(), path = %model.path.display(), "bundle trusted");
            let own = model.manifest.decision;
            if apply_thresholds(bundles, model)? {
                of_site.insert(model.identity.sha256);
            }
            let (modality, bundle) = (model.manifest.modality, BundleHash(model.identity.sha256));
            rules.push(Rules { modality, bundle, own, now: model.manifest.decision });
        }
        let Screening { trial_studies: studies, trial_hours: hours, .. } = &profile.screening;
        let (length, runs) = (TrialLength { studies: *studies, hours: *hours }, Runs::of(bundles.state()));
        let keeper = Keeper { rules, ..Keeper::new(data, length, Some(runs), of_site) };
        Ok(Self { screener: Screener::new(models), keeper })
    }
}

/// The installed bundles that can be run; those that cannot are taken back.
fn installed(bundles: &mut Bundles, trusted: &TrustedKeys) -> anyhow::Result<Vec<Model>> {
    let mut models = vec![];
    for modality in Modality::ALL {
        while let Some(active) = bundles.active().into_iter().find(|active| active.modality == modality) {
            match open_installed(&active.path, active.sha256, trusted) {
                Ok((model, answers)) => {
                    let on_trial = active.on_trial;
                    tracing::info!(bundle = model.title(), answers, on_trial, "self-test passed");
                    models.push(model);
                    break;
                }
                Err(error) => {
                    bundles.roll_back(modality, &format!("it failed at a start: {error:#}"), None, now())?;
                }
            }
        }
    }
    Ok(models)
}

fn open_installed(path: &Path, sha256: BundleHash, trusted: &TrustedKeys) -> anyhow::Result<(Model, usize)> {
    let model = Model::open(path, trusted)?;
    if model.identity.sha256 != sha256.0 {
        return Err(BundlesError::Damaged(sha256).into());
    }
    let answers = self_test(&model, Asked::One)?;
    Ok((model, answers))
}

/// The bundles of the profile for what none of `models` reads.
fn of_profile(profile: &Profile, trusted: &TrustedKeys, models: &[Model]) -> anyhow::Result<Vec<Model>> {
    let named = BundleArgs { bundles: profile.screening.bundles.clone(), trust: None };
    let paths = match named.paths() {
        Err(_) if !models.is_empty() => vec![],
        paths => paths?,
    };
    let mut opened = vec![];
    for path in paths {
        let model = Model::open(&path, trusted)?;
        let is_read = |other: &Model| other.manifest.modality == model.manifest.modality;
        if models.iter().any(is_read) {
            tracing::info!(bundle = model.title(), path = %path.display(), "not run: another is installed in its place");
        } else {
            opened.push(model);
        }
    }
    Ok(opened)
}

/// The bundle that is run, or would be at the next start, for one kind of picture, as its signer made it; it is opened, not tested.
///
/// # Errors
/// When there is none.
pub fn current(profile: &Profile, data: &Path, modality: Modality) -> anyhow::Result<Model> {
    let trusted = trusted(profile)?;
    let state = Bundles::look(data)?;
    if let Some(active) = &state.slot(modality).active {
        return Ok(Model::open(&data.join(FOLDER).join(active.sha256.to_string()), &trusted)?);
    }
    let mut named = of_profile(profile, &trusted, &[])?;
    let place = named.iter().position(|model| model.manifest.modality == modality);
    let place =
        place.ok_or_else(|| anyhow::anyhow!("no bundle for {modality}: install one, or name it in the profile"))?;
    Ok(named.swap_remove(place))
}

/// Has a bundle decide by the site's thresholds, where there are any for it.
fn apply_thresholds(bundles: &mut Bundles, model: &mut Model) -> anyhow::Result<bool> {
    let (modality, sha256) = (model.manifest.modality, BundleHash(model.identity.sha256));
    let Some(set) = bundles.thresholds_of(modality, sha256, now())? else { return Ok(false) };
    match set.apply(&model.manifest.decision) {
        Ok(rule) => {
            tracing::info!(
                bundle = model.title(),
                negative_at = rule.negative_at,
                positive_at = rule.positive_at,
                by = set.by,
                "thresholds of the site"
            );
            model.manifest.decision = rule;
            Ok(true)
        }
        Err(error) => {
            tracing::error!(bundle = model.title(), %error, "the site's thresholds are not used");
            Ok(false)
        }
    }
}

/// What of the list decides which bundles are run, and how: for each kind of picture.
#[derive(Clone, Debug, PartialEq)]
struct Runs(Vec<(Option<BundleHash>, Option<SiteThresholds>)>);

impl Runs {
    fn of(state: &thorax_bundles::State) -> Self {
        let of = |modality| {
            let slot: &Slot = state.slot(modality);
            (slot.active.as_ref().map(|active| active.sha256), slot.thresholds.clone())
        };
        Self(Modality::ALL.into_iter().map(of).collect())
    }
}

/// By what a bundle decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) modality: Modality,
    pub(super) bundle: BundleHash,
    /// As its signer made it.
    pub(super) own: DecisionRule,
    /// With the site's thresholds, where there are any.
    pub(super) now: DecisionRule,
}

/// Looks after bundles while they are run.
pub struct Keeper {
    data: PathBuf,
    length: TrialLength,
    /// What the list said when they were chosen; `None` where nobody asked it.
    runs: Option<Runs>,
    /// Bundles that decide by thresholds of the site.
    of_site: BTreeSet<Hash>,
    rules: Vec<Rules>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When the list of bundles had been changed that was looked at last.
    changed: Option<SystemTime>,
    on_trial: bool,
    hours: Option<Instant>,
}

impl Keeper {
    fn new(data: &Path, length: TrialLength, runs: Option<Runs>, of_site: BTreeSet<Hash>) -> Self {
        Self { data: data.to_owned(), length, runs, of_site, rules: vec![], seen: Mutex::default() }
    }

    /// By what each bundle decides.
    pub(super) fn rules(&self) -> &[Rules] {
        &self.rules
    }

    /// The thresholds by which `model` decides.
    pub(super) fn thresholds(&self, model: &Model) -> Thresholds {
        let rule = &model.manifest.decision;
        Thresholds {
            negative_at: rule.negative_at.into(),
            positive_at: rule.positive_at.into(),
            of_site: self.of_site.contains(&model.identity.sha256),
        }
    }

    /// Looks whether somebody changed something, and has the journal told of it; counts the hours of a trial. Tells whether there
    /// is anything new.
    pub(super) fn look(&self, journal: &Journal) -> bool {
        // By anybody, also by us.
        let changed = Bundles::changed(&self.data);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = changed != seen.changed;
        let hour = seen.on_trial && seen.hours.is_none_or(|last| last.elapsed() >= BETWEEN_HOURS);
        if !is_new && !hour {
            return false;
        }
        (seen.hours, seen.changed) = (Some(Instant::now()), changed);
        drop(seen);
        self.work(journal, None);
        true
    }

    /// Whether others are to be run by now, or by other thresholds.
    pub(super) fn is_outdated(&self) -> bool {
        let runs = self.runs.as_ref();
        runs.is_some_and(|runs| Bundles::look(&self.data).is_ok_and(|state| Runs::of(&state) != *runs))
    }

    /// A study was read by the bundle `sha256`.
    pub(super) fn study_read(&self, journal: &Journal, sha256: Option<Hash>) {
        let on_trial = self.seen.lock().unwrap_or_else(PoisonError::into_inner).on_trial;
        if let Some(sha256) = sha256.filter(|_| on_trial) {
            self.work(journal, Some((BundleHash(sha256), 1)));
        }
    }

    /// Goes on with trials, and tells the journal. What does not succeed does so the next time.
    fn work(&self, journal: &Journal, read: Option<(BundleHash, u64)>) {
        let work = || -> anyhow::Result<bool> {
            let mut bundles = Bundles::open(&self.data)?;
            let moment = journal.now();
            for title in bundles.at_work(read, moment.device_milliseconds, self.length, moment.unix_milliseconds)? {
                tracing::info!(bundle = title, "trial passed");
            }
            bundles.tell(|event| journal.note(event).map(drop).map_err(anyhow::Error::from))?;
            Ok(bundles.state().on_trial())
        };
        match work() {
            Ok(on_trial) => self.seen.lock().unwrap_or_else(PoisonError::into_inner).on_trial = on_trial,
            Err(error) => {
                tracing::warn!(%error, "the list of bundles cannot be kept; tried again");
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).changed = None;
            }
        }
    }

    /// The appliance ends as it should: that it starts again says nothing against a bundle.
    pub fn stopped(&self) {
        if let Err(error) = Bundles::open(&self.data).and_then(|mut bundles| bundles.stopped()) {
            tracing::warn!(%error, "a bundle on trial will be counted one start too many");
        }
    }

    /// What is run, for the page of the status.
    pub(super) fn told(&self, screener: &Screener) -> Value {
        let state = Bundles::look(&self.data).unwrap_or_default();
        let told = |model: &Model| {
            let slot: &Slot = state.slot(model.manifest.modality);
            let sha256 = BundleHash(model.identity.sha256);
            let installed = slot.active.as_ref().is_some_and(|active| active.sha256 == sha256);
            let next = slot.active.as_ref().filter(|_| !installed).map(|active| active.title.clone());
            let thresholds = self.thresholds(model);
            json!({
                "modality": model.manifest.modality,
                "bundle": model.title(),
                "sha256": sha256,
                "installed": installed,
                "trial": slot.trial.filter(|_| installed).map(|trial| json!({
                    "studies": trial.studies,
                    "of_studies": self.length.studies,
                    "of_hours": self.length.hours,
                    "went_down": trial.went_down,
                })),
                "next": next,
                "rolled_back": slot.rolled_back.as_ref().map(|gone| json!({ "bundle": gone.title, "cause": gone.cause })),
                "negative_at": thresholds.negative_at,
                "positive_at": thresholds.positive_at,
                "thresholds_of": if thresholds.of_site { "site" } else { "bundle" },
            })
        };
        screener.models().iter().map(told).collect()
    }
}

/// Installs the bundle in `file`, by the name of whoever asks.
///
/// # Errors
/// What is wrong with it; nothing was changed then.
pub fn install(profile: &Profile, data: &Path, file: &Path, by: Option<&str>) -> anyhow::Result<InstallReport> {
    let trusted = trusted(profile)?;
    let bytes = Bundles::read_file(file)?;
    let tested = |path: &Path| {
        let model = Model::open(path, &trusted).map_err(anyhow::Error::from);
        let tested = model.and_then(|model| self_test(&model, Asked::All));
        tested.map_err(|error| format!("{error:#}"))
    };
    Ok(Bundles::open(data)?.install(&bytes, &trusted, by, now(), tested)?)
}

/// No more bundles of a stick are looked at.
const MOST_OFFERED: usize = 16;

/// The bundles that lie in a watched folder, where sticks appear, and that somebody trusted has signed, with their files.
pub(super) fn offered(profile: &Profile) -> Vec<(Offered, PathBuf)> {
    let Ok(trusted) = trusted(profile) else { return vec![] };
    let files = profile.folders.iter().filter_map(|folder| std::fs::read_dir(&folder.path).ok()).flatten().flatten();
    let is_bundle = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "thorax") && path.is_file();
    let mut found: Vec<(Offered, PathBuf)> = files
        .map(|entry| entry.path())
        .filter(is_bundle)
        .take(MOST_OFFERED)
        .filter_map(|path| {
            let bytes = Bundles::read_file(&path).ok()?;
            let manifest = Bundle::read(&bytes, &trusted, &Limits::default()).ok()?.manifest().clone();
            let title = format!("{} {}", manifest.name, manifest.version);
            let offered = Offered { sha256: BundleHash::of(&bytes).0, title, modality: manifest.modality };
            Some((offered, path))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| a.title.cmp(&b.title));
    found.dedup_by(|(a, _), (b, _)| a.sha256 == b.sha256);
    found
}

/// Tells the journal of `data` what it is yet to be told, where no appliance is at work that will do so. What it cannot be told is
/// kept for it.
pub fn tell_journal(bundles: &mut Bundles, profile: &Profile, data: &Path) {
    let folder = data.join(JOURNAL);
    if !Journal::is_at(&folder) {
        return;
    }
    if let Ok(journal) = Journal::open(&folder, profile.journal.clone()) {
        let told = bundles.tell(|event| journal.note(event).map(drop).map_err(anyhow::Error::from));
        if let Err(error) = told {
            eprintln!("thorax-edge: the journal is told at the next start: {error:#}");
        }
    }
}

/// What went wrong with a bundle, with its remedy where it is known.
pub(super) fn reason(error: anyhow::Error) -> Reason {
    match error.downcast_ref::<BundlesError>() {
        Some(error) => error.reason(),
        None => Reason::new(format!("{error:#}"), "ask whoever made the bundle"),
    }
}

/// Whether an error says that the device failed, and a bundle may be to blame.
pub(crate) fn is_device_failure(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<DeviceError>())
}
