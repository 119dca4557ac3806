//! The appliance: images arrive, are read in their turn, and their results are kept until somebody has them.
//!
//! ```text
//! DICOM port, watched folders -> journal -> workers (read, make objects) -> journal -> deliveries
//! ```
//!
//! Everything that must not be lost is in the journal before anybody is told of it, so every part may stop at any moment; what this
//! module does is to start the parts, and to see what ends them:
//!
//! - SIGTERM or SIGINT: nothing more is taken, what is in hand is finished or put back, exit code 0.
//! - The journal fails (an error of the disk makes its database refuse everything): all parts stop, the journal is opened again,
//!   which puts right what was left, and the parts start anew. It is tried until it works or somebody ends it.
//! - Somebody installs a bundle, takes one back, or sets thresholds: what is in hand is finished, and from there on it is read by those.
//! - The device fails (a graph cannot run): what is in hand is put back, exit code 3.
//!
//! Other programs find what is at work in `running.json` in the folder of data, and ask it through a socket beside it
//! ([`crate::inspect`]).

mod before;
pub mod bundles;
pub mod demo;
pub mod display;
mod log;
mod reading;
mod state;
mod status;
mod workers;

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use thorax_board::{notify, thermal::Thermometer};
use thorax_delivery::Deliveries;
use thorax_engine::error::DeviceError;
use thorax_files::write_atomically;
use thorax_intake::{FolderWatch, Intake};
use thorax_journal::{Journal, Recovery};

use self::{bundles::Chosen, reading::Reader, state::State, workers::Workers};
use crate::{
    cli::ALL_SCREENED,
    inspect::{self, JOURNAL, SOCKET},
    profile::Profile,
};

pub use log::log_to_here;

/// Where the addresses of a running service are, in the folder of data.
pub const RUNNING: &str = "running.json";
/// Folders of studies that are being read.
const WORK: &str = "work";

/// How often it is looked whether the journal still works.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// The first pause before the journal is opened again; the next are twice as long each,
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// but no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A failed journal is let go by all who use it within this time.
const LETTING_GO: Duration = Duration::from_secs(60);
/// What systemd is asked for when it all ends.
const STOP_TIME: Duration = Duration::from_secs(80);
/// So many may ask at a time.
const MOST_QUESTIONS: usize = 8;

/// What ends the work, at least for a while.
#[derive(Debug)]
enum Event {
    /// Somebody wants it to.
    Stop,
    /// Nothing can be changed in the journal any more.
    JournalFailed(String),
    /// Nothing can be read any more.
    DeviceFailed(DeviceError),
}

/// Where the pages are, which stay while the journal is opened again.
#[derive(Clone, Copy)]
struct Addresses {
    status: SocketAddr,
    page: Option<SocketAddr>,
}

/// The appliance.
pub struct Service {
    profile: Profile,
    data: PathBuf,
    /// What reads; another after somebody has installed a bundle, say.
    reader: RwLock<Arc<Reader>>,
    state: Arc<State>,
    open: Box<dyn Fn() -> thorax_journal::Result<Journal> + Send + Sync>,
}

impl Service {
    /// Of a profile, with its data in the folder `data`, which is made where missing, for this user alone.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(profile: Profile, data: PathBuf, chosen: Chosen) -> anyhow::Result<Self> {
        let (folder, settings) = (data.join(JOURNAL), profile.journal.clone());
        Self::with_journal(profile, data, chosen, Box::new(move || Journal::open(&folder, settings.clone())))
    }

    fn with_journal(
        profile: Profile,
        data: PathBuf,
        chosen: Chosen,
        open: Box<dyn Fn() -> thorax_journal::Result<Journal> + Send + Sync>,
    ) -> anyhow::Result<Self> {
        let work = data.join(WORK);
        own_folder(&work)?;
        let reader = RwLock::new(Arc::new(Self::reader_of(&profile, work, chosen)));
        let state = Arc::new(State::new(profile.clone(), data.clone()));
        Ok(Self { profile, data, reader, state, open })
    }

    fn reader_of(profile: &Profile, work: PathBuf, Chosen { screener, keeper }: Chosen) -> Reader {
        Reader {
            screener,
            keeper,
            slices: profile.screening.slices,
            site: profile.site.clone(),
            pictures: profile.page.is_some(),
            work,
        }
    }

    fn reader(&self) -> Arc<Reader> {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has whatever is to be run by now read from here on. Nobody may be reading.
    fn choose_anew(&self) -> anyhow::Result<()> {
        let chosen = Chosen::anew(&self.reader().keeper, &self.profile, &self.data)?;
        let reader = Self::reader_of(&self.profile, self.data.join(WORK), chosen);
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reader);
        Ok(())
    }

    /// Works until it is told to stop, and gives the exit code.
    ///
    /// # Errors
    /// When it cannot start, or the device fails.
    pub fn run(&self) -> anyhow::Result<u8> {
        let (events, happened) = mpsc::channel();
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).context("no signals")?;
        let stop = events.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                let _ = stop.send(Event::Stop);
            }
        })?;
        let ended = self.run_until(&events, &happened);
        // Where the device failed, a bundle on trial may be to blame.
        if !ended.as_ref().is_err_and(bundles::is_device_failure) {
            self.reader().keeper.stopped();
        }
        ended
    }

    fn run_until(&self, events: &Sender<Event>, happened: &Receiver<Event>) -> anyhow::Result<u8> {
        // Whoever has the journal has the folder: from here on nobody else is at work in it.
        let mut journal = (self.open)()?;
        clear(&self.data.join(WORK)).context("the folder of unfinished work cannot be cleared")?;
        let address = self.profile.status.address;
        let status = status::start(address, self.state.clone())
            .with_context(|| format!("cannot listen on {address}: choose another status.address in the profile"))?;
        let page = self.profile.page.as_ref().map(|page| thorax_page::start(page, self.state.clone())).transpose()?;
        if let Some(address) = page {
            tracing::info!(%address, "the page is there");
        }
        let addresses = Addresses { status, page };
        if let Err(error) = self.answer_questions() {
            tracing::warn!(%error, "no questions can be asked while this runs: choose a folder of data with a shorter path");
        }
        loop {
            tell(journal.recovery());
            let shared = Arc::new(journal);
            self.state.set_journal(Some(shared.clone()));
            let end = self.work(&shared, addresses, events, happened);
            self.state.set_journal(None);
            match end? {
                Event::Stop => {
                    tracing::info!("stopped");
                    return Ok(ALL_SCREENED);
                }
                Event::DeviceFailed(error) => return Err(error.into()),
                Event::JournalFailed(error) => {
                    tracing::error!(error, "the journal failed; it is opened again");
                    self.state.set_trouble(Some(error));
                }
            }
            let_go(shared)?;
            match self.reopen(happened)? {
                Some(reopened) => journal = reopened,
                None => return Ok(ALL_SCREENED),
            }
        }
    }

    /// Opens the journal again, as often as it takes; `None` when somebody wants an end.
    fn reopen(&self, happened: &Receiver<Event>) -> anyhow::Result<Option<Journal>> {
        let mut pause = FIRST_PAUSE;
        let mut watchdog = notify::Watchdog::of_unit();
        loop {
            // What the parts said before they were stopped is answered by this.
            let until = Instant::now() + pause;
            while Instant::now() < until {
                // The device lives while its journal is tried again.
                watchdog.feed();
                match happened.recv_timeout(BETWEEN_CHECKS) {
                    Ok(Event::Stop) => return Ok(None),
                    Ok(Event::DeviceFailed(error)) => return Err(error.into()),
                    Ok(Event::JournalFailed(_)) | Err(_) => {}
                }
            }
            match (self.open)() {
                Ok(journal) => {
                    self.state.count_reopened();
                    self.state.set_trouble(None);
                    return Ok(Some(journal));
                }
                Err(error) => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tracing::error!(%error, seconds = pause.as_secs(), "the journal cannot be opened; tried again");
                    self.state.set_trouble(Some(error.to_string()));
                }
            }
        }
    }

    /// Has all parts at work on an open journal until something happens, and stops them.
    fn work(
        &self,
        journal: &Arc<Journal>,
        Addresses { status, page }: Addresses,
        events: &Sender<Event>,
        happened: &Receiver<Event>,
    ) -> anyhow::Result<Event> {
        let Profile { intake, folders, screening, delivery, data, .. } = &self.profile;
        let tally = &self.state.tally;
        let port = Intake::start(intake.clone(), journal.clone(), tally.clone())?;
        let watches: Vec<FolderWatch> = folders
            .iter()
            .map(|folder| FolderWatch::start(folder.clone(), intake.clone(), journal.clone(), tally.clone()))
            .collect::<Result<_, _>>()?;
        let retention = Retention::start(journal.clone(), Duration::from_secs(data.retention_every_seconds))?;
        let deliveries = Deliveries::start(delivery.clone(), journal.clone())?;
        let addresses = serde_json::json!({
            "process": std::process::id(),
            "dicom": port.address(),
            "status": status,
            "page": page,
            "reports": deliveries.report_address(),
        });
        let running = self.data.join(RUNNING);
        // On a full disk images are still refused with a reason, and results delivered.
        if let Err(error) = write_atomically(&running, |out| writeln!(out, "{addresses}")) {
            tracing::warn!(%error, "other programs will not find the addresses");
        }
        tracing::info!(site = self.profile.site.name, dicom = %port.address(), %status, "at work");

        let destinations: Vec<String> = delivery.destinations.iter().map(|to| to.name.clone()).collect();
        let patience = Duration::from_secs(screening.stop_seconds);
        let mut watchdog = notify::Watchdog::of_unit();
        let mut thermometer = self.profile.thermal.as_ref().map(Thermometer::new);
        notify::ready("at work");
        let (end, workers) = loop {
            let reader = self.reader();
            let workers =
                Workers::start(screening.workers, journal, &reader, &self.state, destinations.clone(), events)?;
            self.state.set_rules(reader.keeper.rules());
            let mut told = false;
            let happened = wait(journal, happened, || {
                // Fed by the loop that also asks whether the journal can be written.
                watchdog.feed();
                if let Some(thermometer) = &mut thermometer {
                    self.state.set_heat(thermometer.read());
                }
                let changed = reader.keeper.look(journal);
                if changed || !told {
                    self.state.set_bundles(reader.keeper.told(&reader.screener));
                    told = true;
                }
                changed && reader.keeper.is_outdated()
            });
            if let Some(end) = happened {
                break (end, workers);
            }
            tracing::info!("other bundles or thresholds: what is in hand is finished, then they read");
            workers.stop(patience);
            drop(reader);
            self.choose_anew()?;
        };
        if matches!(end, Event::Stop) {
            tracing::info!("told to stop: nothing more is taken, what is in hand is finished");
            self.state.set_stopping();
            // A journal that failed is opened again, and a device that failed has ended.
            notify::stopping(STOP_TIME);
        }
        // So that nobody is sent to a port that is closed.
        let _ = fs::remove_file(&running);
        workers.tell_to_stop();
        retention.tell_to_stop();
        watches.into_iter().for_each(FolderWatch::stop);
        port.stop();
        workers.stop(patience);
        deliveries.stop();
        Ok(end)
    }

    /// Answers those who ask at the socket, as long as the process lives.
    fn answer_questions(&self) -> io::Result<()> {
        let socket = self.data.join(SOCKET);
        // Nobody else is at work in this folder, so it was left by one who was killed.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let state = self.state.clone();
        let asking = Arc::new(());
        let data: Arc<Path> = self.data.clone().into();
        thread::Builder::new().name("questions".into()).spawn(move || {
            for connection in listener.incoming() {
                let (Ok(connection), Some(journal)) = (connection, state.journal()) else {
                    thread::sleep(Duration::from_millis(50));
                    continue;
                };
                if Arc::strong_count(&asking) > MOST_QUESTIONS {
                    continue;
                }
                let (place, data) = (asking.clone(), data.clone());
                let answered = thread::Builder::new().name("question".into()).spawn(move || {
                    if let Err(reason) = inspect::serve(&journal, &data, &connection) {
                        tracing::debug!(%reason, "a question was not answered");
                    }
                    drop(place);
                });
                if let Err(reason) = answered {
                    tracing::warn!(%reason, "a question was not answered");
                }
            }
        })?;
        Ok(())
    }
}

/// Makes a folder for this user alone, where it is missing: patients' images are nobody else's business.
///
/// # Errors
/// When the system refuses.
pub fn own_folder(folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("{}: the folder of data cannot be made: check its permissions", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)
}

/// Waits for something to happen; a journal that refuses to be changed is such a thing. Meanwhile `look` looks around, and tells
/// whether other bundles are to be run: then it is `None`.
fn wait(journal: &Journal, happened: &Receiver<Event>, mut look: impl FnMut() -> bool) -> Option<Event> {
    while !look() {
        match happened.recv_timeout(BETWEEN_CHECKS) {
            Ok(event) => return Some(event),
            Err(RecvTimeoutError::Timeout) => match journal.check() {
                Ok(()) => {}
                Err(error) if error.is_full() => {}
                Err(error) => return Some(Event::JournalFailed(error.to_string())),
            },
            // Its sender is held by whoever called.
            Err(RecvTimeoutError::Disconnected) => return Some(Event::Stop),
        }
    }
    None
}

/// Says what was put right when the journal was opened.
fn tell(recovery: &Recovery) {
    if recovery.studies_put_back > 0 {
        tracing::warn!(
            studies = recovery.studies_put_back,
            "were being read when the device went down; they wait again"
        );
    }
    if recovery.studies_failed > 0 {
        let studies = recovery.studies_failed;
        tracing::error!(
            studies,
            "brought the device down again and again, and are set aside; see `thorax-edge journal list`"
        );
    }
}

/// Waits until nobody uses a journal any more, so that it can be opened again.
fn let_go(journal: Arc<Journal>) -> anyhow::Result<()> {
    let until = Instant::now() + LETTING_GO;
    while Arc::strong_count(&journal) > 1 {
        anyhow::ensure!(Instant::now() < until, "the journal failed, and is still in use: start the program again");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Removes what unfinished work has left.
fn clear(work: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// Removes from time to time what is not to be kept.
struct Retention(Arc<(Mutex<bool>, Condvar)>);

impl Retention {
    fn start(journal: Arc<Journal>, every: Duration) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = stop.clone();
        // It is not waited for: it may itself be waiting for the end of a backup, and removes nothing by halves.
        thread::Builder::new().name("retention".into()).spawn(move || {
            loop {
                if let Err(error) = journal.retain() {
                    tracing::warn!(%error, "nothing could be removed");
                }
                let end = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
                let wait = stopped.1.wait_timeout_while(end, every, |end| !*end);
                if *wait.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
            }
        })?;
        Ok(Self(stop))
    }

    fn tell_to_stop(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use redb::{StorageBackend, backends::InMemoryBackend};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use thorax_engine::{screening::Screener, trust::trusted_keys};
    use thorax_journal::{FolderStore, Kind, ReceivedObject, Settings, Source, StudyState, SystemClock};

    /// A disk that can break.
    #[derive(Debug)]
    struct Disk {
        memory: InMemoryBackend,
        broken: Arc<AtomicBool>,
    }

    impl Disk {
        fn ask(&self) -> io::Result<&InMemoryBackend> {
            if self.broken.load(Ordering::Relaxed) { Err(io::Error::other("I/O error")) } else { Ok(&self.memory) }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.ask()?.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.ask()?.read(offset, out)
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.ask()?.set_len(length)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.ask()?.sync_data()
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.ask()?.write(offset, bytes)
        }
    }

    /// Nobody may call, both ports are free ones, and a study is complete at once.
    fn profile() -> Profile {
        let mut profile = Profile::default();
        profile.intake.address.set_port(0);
        profile.status.address.set_port(0);
        profile.journal = Settings { quiet_seconds: 0, reserve_bytes: 0, ..Settings::default() };
        profile
    }

    /// A device without bundles.
    fn chosen(data: &Path) -> Chosen {
        Chosen::of(Screener::open(&[], &trusted_keys(None).unwrap()).unwrap(), data)
    }

    fn send(journal: &Journal, bytes: &[u8]) -> thorax_journal::Result<thorax_journal::Received> {
        let mut writer = journal.begin_object()?;
        writer.write(bytes)?;
        let source = Source::Folder { folder: "in".into(), file: "x".into() };
        writer.commit(ReceivedObject { kind: Kind::Picture, source })
    }

    /// What `ask` gives as soon as it gives something.
    fn soon<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(given) = ask() {
                return given;
            }
            assert!(Instant::now() < until);
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_journal_that_failed_is_opened_again_and_the_work_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (broken, opened) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let (disk, files) = (broken.clone(), folder.path().to_owned());
        let open = move || {
            // The disk is broken when it is opened for the second time, and another the third time.
            let number = opened.fetch_add(1, Ordering::Relaxed);
            let broken = if number < 2 { disk.clone() } else { Arc::default() };
            let store = FolderStore::new(&files.join(number.to_string())).unwrap();
            let disk = Disk { memory: InMemoryBackend::new(), broken };
            Journal::open_on(disk, Arc::new(store), Arc::new(SystemClock::default()), profile().journal)
        };
        let service = Service::with_journal(profile(), data.clone(), chosen(&data), Box::new(open)).unwrap();
        let (events, happened) = mpsc::channel();
        let state = service.state.clone();
        thread::scope(|scope| {
            let (service, stop) = (&service, events.clone());
            let working = scope.spawn(move || service.run_until(&events, &happened).unwrap());
            let journal = soon(|| state.journal());
            broken.store(true, Ordering::Relaxed);
            assert!(send(&journal, b"lost").is_err());
            drop(journal);

            let journal = soon(|| state.journal().filter(|_| state.reopened() == 1));
            assert_eq!((state.trouble(), journal.counts().unwrap().studies_failed), (None, 0));
            send(&journal, b"no picture").unwrap();
            soon(|| (journal.counts().unwrap().studies_finished == 1).then_some(()));
            let (number, study) = journal.latest_studies(1).unwrap().remove(0);
            let summary = journal.result(number).unwrap().unwrap().summary;
            assert!(matches!(study.state, StudyState::Finished { .. }) && summary.verdict == "rejected");
            assert!(summary.cause.unwrap().contains("no image to be read"));
            stop.send(Event::Stop).unwrap();
            assert_eq!(working.join().unwrap(), ALL_SCREENED);
        });
    }

    #[test]
    fn a_device_that_fails_puts_back_what_it_had_in_hand() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let service = Service::new(profile(), data.clone(), chosen(&data)).unwrap();
        let (events, happened) = mpsc::channel();
        let state = service.state.clone();
        let film = {
            let out = folder.path().join("film");
            let (modality, formats) = (thorax_phantom::ModalityChoice::Xray, vec![thorax_phantom::Format::Png]);
            let args = thorax_phantom::PhantomArgs { out, count: 1, seed: 1, modality, size: Some(128), formats };
            let made = thorax_phantom::generate_files(&args).unwrap();
            fs::read(args.out.join(&made[0].file)).unwrap()
        };
        let error = thread::scope(|scope| {
            let service = &service;
            let working = scope.spawn(move || service.run_until(&events, &happened).unwrap_err());
            send(&soon(|| state.journal()), &film).unwrap();
            working.join().unwrap()
        });
        assert!(error.to_string().contains("the device has no bundle"), "{error}");
        drop(service);
        let journal = soon(|| Journal::open(&folder.path().join("data").join(JOURNAL), profile().journal).ok());
        let (_, study) = journal.latest_studies(1).unwrap().remove(0);
        assert_eq!((study.state, study.taken), (StudyState::Closed, 0), "it is not to blame");
    }

    #[test]
    fn the_data_are_for_their_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Service::new(profile(), data.clone(), chosen(&data)).unwrap();
        assert_eq!(fs::metadata(data).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
