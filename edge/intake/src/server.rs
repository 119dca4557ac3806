//! The port: a thread for each association, no more of them than was said, and a clean end.
//!
//! Whoever is idle gives way: when all places are taken, the association on which nothing has come for longest is ended for
//! the next. So a hundred connections that say nothing keep nobody out.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use thorax_dimse::tls::{Acceptor, Connector};
use thorax_journal::Journal;

use crate::{
    association::{Activity, converse, turn_away},
    commitment::Report,
    config::Config,
    error::IntakeError,
    tally::Tally,
};

/// Who has been idle for less than this keeps his place.
const LEAST_IDLE: Duration = Duration::from_millis(500);
/// So many are turned away with a reason at a time; others are just closed.
const MOST_TURNED_AWAY: usize = 8;
/// Answers about storage commitment that wait.
const MOST_REPORTS: usize = 1000;
/// How often each is tried, and the first pause; the next are twice as long each.
const MOST_REPORT_ATTEMPTS: u32 = 7;
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// The DICOM port at work. Dropped, it stops.
#[derive(Debug)]
pub struct Intake {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<thread::JoinHandle<()>>,
    reporter: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// Where the port speaks TLS.
    tls: Option<Acceptor>,
    journal: Arc<Journal>,
    tally: Arc<Tally>,
    stopping: AtomicBool,
    places: Mutex<Places>,
    /// Somebody has left.
    left: Condvar,
    turned_away: AtomicUsize,
    /// Answers about storage commitment on their way.
    reports: Mutex<VecDeque<WaitingReport>>,
    /// There is one more of them, or an end to them.
    reported: Condvar,
}

#[derive(Debug)]
struct WaitingReport {
    report: Report,
    attempts: u32,
    not_before: Instant,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    activity: Arc<Activity>,
    /// The same connection, to be shut down.
    connection: TcpStream,
    /// Whether its place is another's already.
    gives_way: bool,
}

impl Intake {
    /// Listens, and takes what comes into the journal.
    ///
    /// # Errors
    /// [`IntakeError::Setting`], [`IntakeError::Port`].
    pub fn start(config: Config, journal: Arc<Journal>, tally: Arc<Tally>) -> Result<Self, IntakeError> {
        config.check()?;
        let tls = config.tls.as_ref().map(Acceptor::new).transpose()?;
        // Certificates of peers are read anew for each report; what cannot work is told now.
        for tls in config.peers.iter().filter_map(|peer| peer.commitment_tls.as_ref()) {
            Connector::new(tls)?;
        }
        let failed = |reason| IntakeError::Port { address: config.address, reason };
        let listener = TcpListener::bind(config.address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, ae_title = config.ae_title, tls = tls.is_some(), "listening");
        let shared = Arc::new(Shared {
            config,
            tls,
            journal,
            tally,
            stopping: AtomicBool::new(false),
            places: Mutex::default(),
            left: Condvar::new(),
            turned_away: AtomicUsize::new(0),
            reports: Mutex::default(),
            reported: Condvar::new(),
        });
        let accepting = shared.clone();
        let acceptor = thread::Builder::new()
            .name("intake".into())
            .spawn(move || accept(&listener, &accepting))
            .map_err(IntakeError::Thread)?;
        let reporting = shared.clone();
        let reporter = thread::Builder::new()
            .name("storage commitment".into())
            .spawn(move || reporting.send_reports())
            .map_err(IntakeError::Thread)?;
        Ok(Self { shared, address, acceptor: Some(acceptor), reporter: Some(reporter) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more associations, lets the messages that are arriving be finished within
    /// [`Config::stop_seconds`], and returns when all is quiet.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::Relaxed);
        match thorax_dimse::wake::wake(self.address) {
            Ok(()) => drop(acceptor.join()),
            Err(reason) => tracing::warn!(%reason, "the port cannot be woken; it ends with the process"),
        }
        let until = Instant::now() + Duration::from_secs(self.shared.config.stop_seconds);
        let mut places = self.shared.places();
        while !places.taken.is_empty() {
            let late = Instant::now() >= until;
            for place in places.taken.values() {
                place.activity.stop();
                if late || place.activity.idle().is_some() {
                    let _ = place.connection.shutdown(Shutdown::Both);
                }
            }
            // Idle or not may change at any time, so it is looked at again and again.
            let wait = self.shared.left.wait_timeout(places, Duration::from_millis(50));
            places = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(places);
        self.shared.reported.notify_all();
        if let Some(reporter) = self.reporter.take() {
            let _ = reporter.join();
        }
        tracing::info!("the port is closed");
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn report(&self, report: Report) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= MOST_REPORTS {
            tracing::warn!("too many answers about storage commitment wait; the peer has to ask again");
            return;
        }
        reports.push_back(WaitingReport { report, attempts: 0, not_before: Instant::now() });
        self.reported.notify_all();
    }

    /// Sends answers about storage commitment, one at a time, until the device stops.
    fn send_reports(&self) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stopping.load(Ordering::Relaxed) {
            let now = Instant::now();
            let Some(due) = reports.iter().position(|waiting| waiting.not_before <= now) else {
                let pause = Duration::from_millis(200);
                reports = self.reported.wait_timeout(reports, pause).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let Some(mut waiting) = reports.remove(due) else { continue };
            drop(reports);
            let sent = waiting.report.send();
            reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            let (address, peer) = (waiting.report.address, &waiting.report.calling_ae_title);
            match sent {
                Ok(()) => tracing::info!(%address, peer, "told what is kept"),
                Err(cause) if waiting.attempts + 1 < MOST_REPORT_ATTEMPTS => {
                    tracing::warn!(%address, peer, cause, "cannot tell what is kept; tried again");
                    waiting.not_before = Instant::now() + REPORT_PAUSE * 2_u32.pow(waiting.attempts);
                    waiting.attempts += 1;
                    reports.push_back(waiting);
                }
                Err(cause) => {
                    tracing::warn!(%address, peer, cause, "cannot tell what is kept; the peer has to ask again")
                }
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection; that of the longest idle, if there is no other.
    fn place(&self, connection: &TcpStream) -> io::Result<Option<(u64, Arc<Activity>)>> {
        let connection = connection.try_clone()?;
        let mut places = self.places();
        let staying = || places.taken.values().filter(|place| !place.gives_way);
        if staying().count() >= self.config.most_associations {
            let longest = staying().filter_map(|place| place.activity.idle()).max();
            let Some(longest) = longest.filter(|longest| *longest >= LEAST_IDLE) else { return Ok(None) };
            let idle =
                |place: &&mut Place| !place.gives_way && place.activity.idle().is_some_and(|idle| idle >= longest);
            let Some(place) = places.taken.values_mut().find(idle) else { return Ok(None) };
            tracing::info!("an idle association gives way");
            place.gives_way = true;
            let _ = place.connection.shutdown(Shutdown::Both);
        }
        let activity = Arc::new(Activity::default());
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, Place { activity: activity.clone(), connection, gives_way: false });
        Ok(Some((number, activity)))
    }
}

/// Gives a place back, also when its thread panics.
struct Leaving(Arc<Shared>, u64);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.places().taken.remove(&self.1);
        self.0.left.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        if let Err(reason) = connection.and_then(|connection| serve(connection, shared)) {
            tracing::warn!(%reason, "a connection failed before it began");
            // As when the process has no file handles left.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn serve(connection: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    shared.tally.connections.up();
    let address = connection.peer_addr()?.ip();
    connection.set_nodelay(true)?;
    connection.set_write_timeout(Some(Duration::from_secs(shared.config.write_seconds)))?;
    let Some((number, activity)) = shared.place(&connection)? else {
        shared.tally.rejected.up();
        return too_many(connection, shared);
    };
    let leaving = Leaving(shared.clone(), number);
    let name = format!("association {number}");
    thread::Builder::new().name(name).spawn(move || {
        let shared = &leaving.0;
        let reports = |report| shared.report(report);
        let Shared { config, journal, tally, .. } = &**shared;
        match &shared.tls {
            None => converse(&connection, address, config, journal, tally, &activity, &reports),
            Some(tls) => {
                let time = Duration::from_secs(config.association_seconds);
                match connection.try_clone().and_then(|connection| tls.accept(connection, time)) {
                    Ok(mut secured) => {
                        converse(&mut secured, address, config, journal, tally, &activity, &reports);
                        secured.end();
                    }
                    Err(reason) => {
                        tally.rejected.up();
                        tracing::info!(%address, %reason, "no TLS: the connection is ended");
                    }
                }
            }
        }
        let _ = connection.shutdown(Shutdown::Both);
    })?;
    Ok(())
}

fn too_many(connection: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    // A reason would have to wait for a handshake.
    if shared.tls.is_some() {
        return Ok(());
    }
    if shared.turned_away.fetch_add(1, Ordering::Relaxed) >= MOST_TURNED_AWAY {
        shared.turned_away.fetch_sub(1, Ordering::Relaxed);
        return Ok(());
    }
    struct Gone(Arc<Shared>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.turned_away.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let gone = Gone(shared.clone());
    thread::Builder::new().name("turned away".into()).spawn(move || turn_away(&connection, &gone.0.config))?;
    Ok(())
}
