//! The threads that empty the outbox, one for each destination, so that none waits for another's archive.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use thorax_journal::{Hash, Journal, TakenDelivery};
use thorax_shared::reason::Reason;

use crate::{
    config::{Config, To},
    dicom::DicomWay,
    error::DeliveryError,
    part::Part,
    pause::Pauses,
    reports::{Inbox, ReportPort},
    status::Status,
    way::{Answer, Attempt, Failure, Lost, Way},
    web::WebWay,
};

/// How long nothing is looked at where nothing is to be expected.
const LONG: Duration = Duration::from_secs(3600);
/// How long is waited when the journal fails.
const JOURNAL_PAUSE: Duration = Duration::from_secs(10);
/// At the end, how long is waited for an attempt that was cut off.
const CUT: Duration = Duration::from_secs(3);

/// The deliveries at work. Dropped, they stop.
pub struct Deliveries {
    lanes: Vec<(Arc<Lane>, Option<thread::JoinHandle<()>>)>,
    journal: Arc<Journal>,
    reports: Option<ReportPort>,
    stop_seconds: u64,
}

impl std::fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.lanes.iter().map(|(lane, _)| &*lane.name).collect();
        f.debug_struct("Deliveries").field("destinations", &names).finish_non_exhaustive()
    }
}

/// One destination.
struct Lane {
    name: String,
    way: Box<dyn Way>,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

struct State {
    pauses: Pauses,
    /// The peer is left alone until then.
    rests_until: Option<Instant>,
    stopping: bool,
    status: Status,
    /// Of deliveries that are not over, the objects that the archive refused, so that these are not sent again.
    refusals: HashMap<u64, Vec<(Hash, Reason)>>,
}

impl Deliveries {
    /// Begins to empty the journal's outbox.
    ///
    /// # Errors
    /// [`DeliveryError`]. That no archive can be reached is none: see [`Self::status`].
    pub fn start(config: Config, journal: Arc<Journal>) -> Result<Self, DeliveryError> {
        config.check()?;
        let inbox = Arc::new(Inbox::default());
        let archives = config.destinations.iter().filter_map(|destination| match &destination.to {
            To::Dicom(dicom) => Some(dicom.ae_title.clone()),
            To::Web(_) => None,
        });
        let port = |address| {
            ReportPort::start(address, &config.ae_title, archives.collect(), inbox.clone(), config.report_tls.as_ref())
        };
        let reports = config.report_address.map(port).transpose()?;
        let mut ways: Vec<(String, Box<dyn Way>)> = vec![];
        for destination in &config.destinations {
            let way: Box<dyn Way> = match destination.to.clone() {
                To::Dicom(dicom) => Box::new(DicomWay::new(&config.ae_title, dicom, inbox.clone())?),
                To::Web(web) => Box::new(WebWay::new(web)?),
            };
            ways.push((destination.name.clone(), way));
        }
        let mut deliveries =
            Self { lanes: vec![], journal: journal.clone(), reports, stop_seconds: config.stop_seconds };
        for (name, way) in ways {
            let state = State {
                pauses: Pauses::new(&config, &name),
                rests_until: None,
                stopping: false,
                status: Status { name: name.clone(), ..Status::default() },
                refusals: HashMap::new(),
            };
            let lane = Arc::new(Lane { name, way, journal: journal.clone(), state: Mutex::new(state) });
            let runs = lane.clone();
            let thread = thread::Builder::new()
                .name(format!("delivery to {}", lane.name))
                .spawn(move || runs.run())
                .map_err(DeliveryError::Thread)?;
            deliveries.lanes.push((lane, Some(thread)));
        }
        Ok(deliveries)
    }

    /// Where archives report what they commit to.
    pub fn report_address(&self) -> Option<SocketAddr> {
        self.reports.as_ref().map(ReportPort::address)
    }

    /// How it stands with each destination, in the order of the profile. Behind them, those that have deliveries and are not in
    /// the profile any more.
    ///
    /// # Errors
    /// What the journal says.
    pub fn status(&self) -> thorax_journal::Result<Vec<Status>> {
        let mut waiting = self.journal.waiting_deliveries()?;
        let mut all = vec![];
        for (lane, _) in &self.lanes {
            let state = lane.state();
            let rests = state.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
            let mut status = state.status.clone();
            status.waiting = waiting.remove(&lane.name).unwrap_or(0);
            status.pause = rests.filter(|pause| !pause.is_zero());
            all.push(status);
        }
        let unknown = Reason::new(
            "there is no such destination in the board's profile",
            "enter it again, or give these deliveries up",
        );
        all.extend(waiting.into_iter().map(|(name, waiting)| Status {
            name,
            waiting,
            last_error: Some(unknown.clone()),
            ..Status::default()
        }));
        Ok(all)
    }

    /// Ends the pause of a destination, and of what waits for it, as when somebody has put its archive right.
    ///
    /// # Errors
    /// What the journal says.
    pub fn try_now(&self, destination: &str) -> thorax_journal::Result<()> {
        for (lane, _) in self.lanes.iter().filter(|(lane, _)| lane.name == destination) {
            lane.state().rests_until = None;
        }
        for (number, delivery) in self.journal.outbox()? {
            if delivery.destination == destination && delivery.not_before_milliseconds > 0 {
                // One that is being sent meanwhile needs nobody's help.
                match self.journal.retry_delivery(number) {
                    Err(thorax_journal::JournalError::WrongState { .. }) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.journal.wake_outbox();
        Ok(())
    }

    /// Begins no further object, lets those that are being sent be finished within [`Config::stop_seconds`], puts back what is not
    /// done, and returns.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for (lane, _) in &self.lanes {
            lane.state().stopping = true;
            lane.way.stop(false);
        }
        self.journal.wake_outbox();
        self.wait(Duration::from_secs(self.stop_seconds));
        for (lane, thread) in &self.lanes {
            if thread.is_some() {
                lane.way.stop(true);
            }
        }
        self.wait(CUT);
        for (lane, thread) in &self.lanes {
            if thread.is_some() {
                // It is in the journal as being sent, which is put back when that is opened next.
                tracing::warn!(
                    destination = lane.name,
                    "what is being sent cannot be cut off; it ends with the process"
                );
            }
        }
        self.reports = None;
    }

    /// Until all have ended, or for so long.
    fn wait(&mut self, most: Duration) {
        let until = Instant::now() + most;
        loop {
            for (_, thread) in &mut self.lanes {
                if thread.as_ref().is_some_and(thread::JoinHandle::is_finished)
                    && let Some(thread) = thread.take()
                {
                    let _ = thread.join();
                }
            }
            if Instant::now() >= until || self.lanes.iter().all(|(_, thread)| thread.is_none()) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        if self.lanes.iter().any(|(_, thread)| thread.is_some()) {
            self.end();
        }
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            // What changes from here on wakes it.
            let seen = self.journal.wait_for_outbox(u64::MAX, Duration::ZERO);
            let rests = {
                let state = self.state();
                if state.stopping {
                    return;
                }
                state.rests_until.map(|until| until.saturating_duration_since(Instant::now()))
            };
            if let Some(pause) = rests.filter(|pause| !pause.is_zero()) {
                self.journal.wait_for_outbox(seen, pause);
                continue;
            }
            let worked = self.journal.take_delivery_to(&self.name).and_then(|taken| match taken {
                Some(taken) => self.deliver(&taken).map(|()| Duration::ZERO),
                None => self.journal.next_delivery_to(&self.name).map(|due| due.unwrap_or(LONG)),
            });
            let pause = worked.unwrap_or_else(|error| {
                tracing::error!(destination = self.name, %error, "the journal fails");
                self.note(error.reason());
                JOURNAL_PAUSE
            });
            if !pause.is_zero() {
                self.journal.wait_for_outbox(seen, pause);
            }
        }
    }

    fn note(&self, reason: Reason) {
        let now = self.journal.now();
        let status = &mut self.state().status;
        (status.last_error, status.last_error_at) = (Some(reason), Some(now));
    }

    /// Makes an attempt at a delivery, and records what became of it.
    fn deliver(&self, taken: &TakenDelivery) -> thorax_journal::Result<()> {
        let number = taken.number;
        if taken.delivery.interrupted {
            let destination = &self.name;
            tracing::info!(
                number,
                destination,
                "it was cut off: what was not answered is sent again, under the same UIDs"
            );
        }
        self.state().status.sending = true;
        let mut refused: Vec<Reason> = vec![];
        let tried = self.attempt(taken, &mut refused);
        self.state().status.sending = false;
        match tried {
            Ok(lost) if lost.is_empty() && refused.is_empty() => {
                self.journal.delivered(number)?;
                tracing::info!(number, destination = self.name, "delivered");
                let now = self.journal.now();
                let mut state = self.state();
                state.refusals.remove(&number);
                state.status.delivered += 1;
                state.status.last_success_at = Some(now);
                state.answered();
                Ok(())
            }
            Ok(lost) if lost.is_empty() => {
                let causes: Vec<&str> = refused.iter().map(|reason| &*reason.cause).collect();
                let remedy = refused.iter().find_map(|reason| reason.remedy.clone());
                let reason = Reason { cause: causes.join("; ").into(), remedy };
                tracing::warn!(number, destination = self.name, %reason, "refused");
                self.journal.delivery_refused(number, &reason.to_string())?;
                let mut state = self.state();
                state.refusals.remove(&number);
                state.status.refused += 1;
                state.answered();
                drop(state);
                self.note(reason);
                Ok(())
            }
            Ok(lost) => {
                let reason = Reason::new(
                    format!("the archive does not keep {} objects that it had taken ({})", lost.len(), lost[0].why),
                    "see the archive's log and its disk; they are sent again",
                );
                let hashes: Vec<Hash> = lost.into_iter().map(|lost| lost.sha256).collect();
                self.postpone(taken, reason, false, true, &hashes)
            }
            Err(Failure::Wait(reason)) => self.postpone(taken, reason, false, true, &[]),
            // The peer's pause is enough for a delivery that was not to blame.
            Err(Failure::Peer(reason)) => self.postpone(taken, reason, true, false, &[]),
            Err(Failure::Broken(reason)) => self.postpone(taken, reason, true, true, &[]),
            Err(Failure::Stopping) => self.journal.hand_back_delivery(number),
            Err(Failure::Journal(error)) => Err(error),
        }
    }

    /// It is tried again, after a pause of the peer, of the delivery, or both.
    fn postpone(
        &self,
        taken: &TakenDelivery,
        reason: Reason,
        peer_rests: bool,
        delivery_rests: bool,
        lost: &[Hash],
    ) -> thorax_journal::Result<()> {
        tracing::warn!(number = taken.number, destination = self.name, %reason, "not delivered; it is tried again");
        let now = self.journal.now();
        let pause = {
            let mut state = self.state();
            if peer_rests {
                state.status.failures = state.status.failures.saturating_add(1);
                let failures = state.status.failures;
                state.rests_until = Some(Instant::now() + state.pauses.after(failures));
            } else {
                state.answered();
            }
            (state.status.last_error, state.status.last_error_at) = (Some(reason.clone()), Some(now));
            if delivery_rests { state.pauses.after(taken.delivery.attempts) } else { Duration::ZERO }
        };
        self.journal.postpone_delivery(taken.number, &reason.to_string(), pause, lost)
    }

    fn attempt(&self, taken: &TakenDelivery, refused: &mut Vec<Reason>) -> Result<Vec<Lost>, Failure> {
        let result = self.journal.result(taken.delivery.study)?;
        let files = result.map(|result| result.files).unwrap_or_default();
        let known = self.state().refusals.get(&taken.number).cloned().unwrap_or_default();
        let (mut missing, mut arrived) = (vec![], vec![]);
        for file in files.iter().filter(|file| Part::is_sent(file)) {
            match Part::open(&self.journal, file) {
                Ok(part) if taken.delivery.arrived.contains(&part.sha256) => arrived.push(part),
                Ok(part) => match known.iter().find(|(sha256, _)| *sha256 == part.sha256) {
                    Some((_, reason)) => refused.push(reason.clone()),
                    None => missing.push(part),
                },
                Err(cause) => refused.push(Reason::new(cause, "restore the last backup, or read the study again")),
            }
        }
        if missing.is_empty() && arrived.is_empty() && refused.is_empty() {
            refused.push(Reason::without_remedy("the result has no DICOM object to send"));
        }
        if missing.is_empty() && arrived.is_empty() {
            return Ok(vec![]);
        }
        let attempt = Attempt {
            delivery: taken.number,
            missing: &missing,
            arrived: &arrived,
            device_milliseconds: self.journal.now().device_milliseconds,
        };
        self.way.attempt(&attempt, &mut |part, answer| {
            match answer {
                Answer::Has => {
                    self.journal.delivery_arrived(taken.number, &part.sha256)?;
                    let status = &mut self.state().status;
                    status.objects += 1;
                    status.bytes += part.bytes;
                }
                Answer::Refused(reason) => {
                    self.state().refusals.entry(taken.number).or_default().push((part.sha256, reason.clone()));
                    refused.push(reason);
                }
            }
            Ok(())
        })
    }
}

impl State {
    /// The peer has answered: it is well.
    fn answered(&mut self) {
        self.status.failures = 0;
        self.rests_until = None;
    }
}
