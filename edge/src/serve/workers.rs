//! Threads that take studies and finish them.
//!
//! What a worker took it finishes, or hands back: nothing stays in its hands but in those of a process that died, and that is put
//! back when the journal is opened. What goes wrong is one of four things. The study: it gets a result that says so. The disk, which
//! may have room again: the study waits. The journal: whoever watches over the workers opens it again. The device: the program ends.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread,
    time::{Duration, Instant},
};

use thorax_journal::{Journal, JournalError, TakenStudy};

use super::{
    Event,
    reading::{Finding, ReadError, Reader},
    state::{Shown, State},
};

/// How often it is asked whether a study is due.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How long is waited when there is no room, or a file cannot be read.
const PAUSE: Duration = Duration::from_secs(5);

/// Workers at work.
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Shared {
    journal: Arc<Journal>,
    reader: Arc<Reader>,
    state: Arc<State>,
    destinations: Vec<String>,
    events: Sender<Event>,
    stopping: AtomicBool,
    /// Studies in hand.
    hands: Mutex<BTreeSet<u64>>,
    /// Somebody has to look up: it is over, or a study has left the hands.
    changed: Condvar,
}

impl Workers {
    /// Starts `count` of them.
    pub(super) fn start(
        count: usize,
        journal: &Arc<Journal>,
        reader: &Arc<Reader>,
        state: &Arc<State>,
        destinations: Vec<String>,
        events: &Sender<Event>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            journal: journal.clone(),
            reader: reader.clone(),
            state: state.clone(),
            destinations,
            events: events.clone(),
            stopping: AtomicBool::new(false),
            hands: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut workers = Self { shared, threads: vec![] };
        for number in 1..=count {
            let shared = workers.shared.clone();
            let started = thread::Builder::new().name(format!("screening {number}")).spawn(move || shared.work());
            match started {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.tell_to_stop();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Nothing more is taken.
    pub(super) fn tell_to_stop(&self) {
        let _hands = self.shared.hands();
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    /// Waits until all is finished that is in hand, at most for `patience`; what is not by then waits again.
    pub(super) fn stop(self, patience: Duration) {
        self.tell_to_stop();
        let until = Instant::now() + patience;
        let mut hands = self.shared.hands();
        while !hands.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for study in std::mem::take(&mut *hands) {
                    match self.shared.journal.hand_back(study) {
                        Ok(()) => tracing::info!(study, "put back"),
                        // Finished at the last moment, or put back when the journal is opened next.
                        Err(error) => tracing::debug!(study, %error, "not put back"),
                    }
                }
                return;
            }
            hands = self.shared.changed.wait_timeout(hands, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(hands);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn hands(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn work(&self) {
        while !self.is_stopping() {
            let Some(pause) = self.state.pause() else {
                // Too hot; what waits, waits.
                self.rest(PAUSE);
                continue;
            };
            match self.take() {
                Ok(Some(study)) => {
                    self.handle(&study);
                    self.rest(pause);
                }
                Ok(None) => {
                    // Nothing waits, so nothing stands in the way.
                    self.state.set_trouble(None);
                    self.rest(BETWEEN_LOOKS);
                }
                Err(error) => self.journal_said(&error),
            }
        }
    }

    /// Takes the next study into the hands.
    fn take(&self) -> Result<Option<TakenStudy>, JournalError> {
        // The hands are held meanwhile, so that whoever stops the workers sees all that was taken.
        let mut hands = self.hands();
        if self.is_stopping() {
            return Ok(None);
        }
        let taken = self.journal.take()?;
        hands.extend(taken.as_ref().map(|study| study.number));
        Ok(taken)
    }

    fn handle(&self, study: &TakenStudy) {
        let number = study.number;
        let began = Instant::now();
        // Nothing of ours is left half-changed: a reader changes nothing, and the study's folder goes with its value.
        let tell = |progress| self.state.set_progress(number, Some(progress));
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| self.reader.read(study, self.journal.now(), &tell)));
        self.state.set_progress(number, None);
        let mut finding = match read {
            Ok(Ok(finding)) => finding,
            Ok(Err(ReadError::Device(error))) => {
                tracing::error!(study = number, %error, "the device failed");
                self.hand_back(number);
                let _ = self.events.send(Event::DeviceFailed(error));
                self.rest(PAUSE);
                return;
            }
            Ok(Err(error @ ReadError::Io(_))) => {
                tracing::error!(study = number, %error, "not read; it waits");
                self.state.set_trouble(Some(error.to_string()));
                self.hand_back(number);
                self.rest(PAUSE);
                return;
            }
            Err(_) => {
                tracing::error!(study = number, "the program failed at this study; it is told so");
                Finding::failed(study)
            }
        };
        let files: Vec<(&str, &[u8])> = finding.files.iter().map(|(label, bytes)| (&**label, &**bytes)).collect();
        let destinations: Vec<&str> = match finding.has_objects() {
            true => self.destinations.iter().map(String::as_str).collect(),
            false => vec![],
        };
        let verdict = finding.summary.verdict.clone();
        match self.journal.finish(number, finding.summary.clone(), &files, &destinations) {
            Ok(()) => {
                let took = began.elapsed();
                self.state.count(&verdict, took);
                if let Some(outcome) = finding.shown.take() {
                    // Of `2026-11-29T08:31:07Z`.
                    let received = study.study.opened.utc().get(11..16).unwrap_or_default().to_owned();
                    self.state.show(Shown {
                        study: number,
                        outcome,
                        patient_id: finding.patient_id.clone(),
                        received,
                        thresholds: finding.summary.thresholds,
                    });
                }
                self.reader.keeper.study_read(&self.journal, finding.summary.bundle_sha256);
                self.state.set_trouble(None);
                let (images, seconds) = (study.objects.len(), took.as_secs_f64());
                tracing::info!(study = number, verdict, images, seconds, "read");
                self.let_go(number);
            }
            Err(JournalError::WrongState { .. }) => {
                tracing::info!(study = number, "read, but it had been put back");
                self.let_go(number);
            }
            Err(error) => {
                tracing::error!(study = number, %error, "the result cannot be kept; the study waits");
                self.hand_back(number);
                self.journal_said(&error);
            }
        }
    }

    fn let_go(&self, study: u64) {
        self.hands().remove(&study);
        self.changed.notify_all();
    }

    /// Lets a study wait again that is not to blame.
    fn hand_back(&self, study: u64) {
        if let Err(error) = self.journal.hand_back(study) {
            tracing::warn!(study, %error, "it is put back when the journal is opened again");
        }
        self.let_go(study);
    }

    /// The journal refuses: for want of room, which may come again, or for good.
    fn journal_said(&self, error: &JournalError) {
        self.state.set_trouble(Some(error.to_string()));
        if error.is_full() {
            tracing::warn!(%error, "no room for results");
        } else {
            let _ = self.events.send(Event::JournalFailed(error.to_string()));
        }
        self.rest(PAUSE);
    }

    /// Waits, unless it is over.
    fn rest(&self, time: Duration) {
        let hands = self.hands();
        let wait = self.changed.wait_timeout_while(hands, time, |_| !self.is_stopping());
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}
