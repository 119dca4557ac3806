//! Reports of archives about what they commit to (DICOM PS3.4, J.3.3), which come on the association on which they were asked, or
//! on one that the archive asks for, when it has the time.
//!
//! The port takes such reports and C-ECHO, nothing else, from the archives of the profile. A report counts when its transaction is
//! one of ours.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource,
    AssociationRQ, Pdu, PresentationContextResult, PresentationContextResultReason, RequestorRoles, UserVariableItem,
};
use thorax_dimse::{
    command::{C_ECHO, N_EVENT_REPORT, Request, status},
    commitment::Commitment,
    messages::{Message, Messages},
    talk::{Deadline, End, Talk, Wire, most_data_bytes},
    tls::{Acceptor, Server},
    uids::{self, trimmed},
};

use crate::error::DeliveryError;

/// Archives that report at one time; others try again.
const MOST_CONNECTIONS: usize = 8;
/// Seconds until an association is asked for, and between its messages.
const SECONDS: u64 = 10;
/// Reports on one association.
const MOST_MESSAGES: usize = 1000;
/// No PDU is longer.
const MOST_PDU_BYTES: u32 = 128 << 10;

/// Reports that are waited for, by transaction, and those that came.
#[derive(Debug, Default)]
pub struct Inbox {
    reports: Mutex<HashMap<String, Option<Commitment>>>,
    came: Condvar,
}

impl Inbox {
    fn reports(&self) -> MutexGuard<'_, HashMap<String, Option<Commitment>>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report with this transaction may come.
    pub fn expect(&self, transaction: &str) {
        self.reports().insert(transaction.to_owned(), None);
    }

    /// Keeps a report; `false` if nobody waits for it. The first of a transaction counts.
    pub fn put(&self, report: Commitment) -> bool {
        match self.reports().get_mut(&report.transaction) {
            None => return false,
            Some(Some(_)) => {}
            Some(kept) => *kept = Some(report),
        }
        self.came.notify_all();
        true
    }

    /// Gives the report with one of these transactions, if it has come.
    pub(crate) fn take(&self, transactions: &[String]) -> Option<Commitment> {
        let mut reports = self.reports();
        transactions.iter().find_map(|transaction| reports.get_mut(transaction)?.take())
    }

    /// Reports with these transactions are not waited for.
    pub(crate) fn forget(&self, transactions: &[String]) {
        let mut reports = self.reports();
        transactions.iter().for_each(|transaction| drop(reports.remove(transaction)));
    }

    /// Waits until something comes, or for so long.
    pub(crate) fn wait(&self, most: Duration) {
        drop(self.came.wait_timeout(self.reports(), most));
    }
}

/// Answers a message that is an N-EVENT-REPORT, or refuses it.
pub(crate) fn take_report<W: Wire>(
    messages: &mut Messages<W>,
    message: &Message,
    transfer_syntax_uid: &str,
    inbox: &Inbox,
) -> Result<(), End> {
    let request = Request::read(&message.command).map_err(End::wrong)?;
    if request.field != N_EVENT_REPORT || request.sop_class_uid.as_deref() != Some(uids::STORAGE_COMMITMENT) {
        return messages.answer(message.context, &request, status::UNRECOGNIZED_OPERATION, "not done here");
    }
    let (status, comment) =
        match Commitment::read(&message.data_set, transfer_syntax_uid).map(|report| inbox.put(report)) {
            Ok(true) => (status::SUCCESS, ""),
            Ok(false) => (status::PROCESSING_FAILURE, "no transaction of ours"),
            Err(why) => (status::PROCESSING_FAILURE, why),
        };
    messages.answer(message.context, &request, status, comment)
}

/// Talks with an archive that asked for an association, until it is over, however it ends. `ae_title` is ours, `archives` are the
/// titles of those who may report.
///
/// # Errors
/// How it ended, if not in good order; the archive was told, where it had to be.
pub fn receive_reports(wire: impl Wire, ae_title: &str, archives: &[String], inbox: &Inbox) -> Result<(), End> {
    let mut talk = Talk::new(wire, MOST_PDU_BYTES);
    let asked = match talk.receive(Deadline::within(SECONDS, "the request of an association")) {
        Ok(Pdu::AssociationRQ(asked)) => asked,
        Ok(other) => return Err(End::wrong(format!("{} before an association", other.short_description()))),
        Err(end) => return Err(end),
    };
    let (answer, contexts) = match agree(&asked, ae_title, archives) {
        Ok(agreed) => agreed,
        Err(reason) => {
            let source = AssociationRJSource::ServiceUser(reason);
            let rejection = AssociationRJ { result: AssociationRJResult::Permanent, source };
            return talk.send_by(&Pdu::AssociationRJ(rejection), Deadline::within(SECONDS, "a rejection"));
        }
    };
    talk.send_by(&Pdu::AssociationAC(answer), Deadline::within(SECONDS, "an association"))?;
    let mut messages = Messages::new(talk, SECONDS, most_data_bytes(&asked.user_variables));
    let ended = answer_all(&mut messages, &contexts, inbox);
    if let Err(end) = &ended {
        messages.abort(end);
    }
    ended
}

/// Number, class and syntax.
type Context = (u8, String, String);

fn answer_all<W: Wire>(messages: &mut Messages<W>, contexts: &[Context], inbox: &Inbox) -> Result<(), End> {
    for _ in 0..MOST_MESSAGES {
        let message = match messages.message(Deadline::within(SECONDS, "nothing came")) {
            // Released, most of the time.
            Err(End::Closed) => return Ok(()),
            message => message?,
        };
        let context = contexts.iter().find(|(id, ..)| *id == message.context);
        let (_, class, syntax) =
            context.ok_or_else(|| End::wrong("a presentation context that was not agreed upon"))?;
        if class == uids::STORAGE_COMMITMENT {
            take_report(messages, &message, syntax, inbox)?;
            continue;
        }
        let request = Request::read(&message.command).map_err(End::wrong)?;
        let (status, comment) = match request.field {
            C_ECHO => (status::SUCCESS, ""),
            _ => (status::UNRECOGNIZED_OPERATION, "not done here"),
        };
        messages.answer(message.context, &request, status, comment)?;
    }
    Err(End::wrong("reports without end"))
}

/// What is agreed upon, or why nothing is.
fn agree(
    asked: &AssociationRQ,
    ae_title: &str,
    archives: &[String],
) -> Result<(AssociationAC, Vec<Context>), AssociationRJServiceUserReason> {
    use AssociationRJServiceUserReason as Reason;
    if trimmed(&asked.application_context_name) != uids::APPLICATION_CONTEXT {
        return Err(Reason::ApplicationContextNameNotSupported);
    }
    if asked.called_ae_title != ae_title {
        return Err(Reason::CalledAETitleNotRecognized);
    }
    if !archives.contains(&asked.calling_ae_title) {
        return Err(Reason::CallingAETitleNotRecognized);
    }
    let (mut results, mut contexts) = (vec![], vec![]);
    for proposed in &asked.presentation_contexts {
        let class = trimmed(&proposed.abstract_syntax);
        let syntax = proposed.transfer_syntaxes.iter().map(|syntax| trimmed(syntax));
        let mut syntax =
            syntax.filter(|syntax| [uids::IMPLICIT_LITTLE_ENDIAN, uids::EXPLICIT_LITTLE_ENDIAN].contains(syntax));
        let (reason, syntax) = if ![uids::STORAGE_COMMITMENT, uids::VERIFICATION].contains(&class) {
            (PresentationContextResultReason::AbstractSyntaxNotSupported, uids::IMPLICIT_LITTLE_ENDIAN)
        } else if let Some(syntax) = syntax.next() {
            contexts.push((proposed.id, class.to_owned(), syntax.to_owned()));
            (PresentationContextResultReason::Acceptance, syntax)
        } else {
            (PresentationContextResultReason::TransferSyntaxesNotSupported, uids::IMPLICIT_LITTLE_ENDIAN)
        };
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax: syntax.to_owned() });
    }
    let mut user_variables = vec![
        UserVariableItem::MaxLength(MOST_PDU_BYTES),
        UserVariableItem::ImplementationClassUID(uids::IMPLEMENTATION_CLASS.to_owned()),
        UserVariableItem::ImplementationVersionName(uids::IMPLEMENTATION_VERSION.to_owned()),
    ];
    for variable in &asked.user_variables {
        // The archive is the provider, and we do not ask it here (PS3.7, D.3.3.4). Archives that do not say so mean it.
        if let UserVariableItem::ScuScpRoleSelectionSubItem(class, roles) = variable
            && trimmed(class) == uids::STORAGE_COMMITMENT
        {
            let roles = RequestorRoles { scu: false, scp: roles.scp };
            user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(uids::STORAGE_COMMITMENT.into(), roles));
        }
    }
    let answer = AssociationAC {
        protocol_version: 1,
        called_ae_title: asked.called_ae_title.clone(),
        calling_ae_title: asked.calling_ae_title.clone(),
        application_context_name: uids::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts: results,
        user_variables,
    };
    Ok((answer, contexts))
}

/// The port at work. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct ReportPort {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ae_title: String,
    archives: Vec<String>,
    inbox: Arc<Inbox>,
    tls: Option<Acceptor>,
    open: AtomicUsize,
}

/// Gives a place back, also when its thread panics.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReportPort {
    pub(crate) fn start(
        address: SocketAddr,
        ae_title: &str,
        archives: Vec<String>,
        inbox: Arc<Inbox>,
        tls: Option<&Server>,
    ) -> Result<Self, DeliveryError> {
        let tls = tls.map(Acceptor::new).transpose()?;
        let failed = |reason| DeliveryError::Port { address, reason };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let ends = stopping.clone();
        let shared =
            Arc::new(Shared { ae_title: ae_title.to_owned(), archives, inbox, tls, open: AtomicUsize::new(0) });
        let accept = move || {
            for connection in listener.incoming() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(reason) = connection.and_then(|connection| serve(connection, &shared)) {
                    tracing::warn!(%reason, "a connection for a report failed before it began");
                    // As when the process has no file handles left.
                    thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let acceptor = thread::Builder::new().name("reports".into()).spawn(accept).map_err(DeliveryError::Thread)?;
        Ok(Self { address, stopping, acceptor: Some(acceptor) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ReportPort {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let Some(acceptor) = self.acceptor.take() else { return };
        match thorax_dimse::wake::wake(self.address) {
            Ok(()) => drop(acceptor.join()),
            Err(reason) => tracing::warn!(%reason, "the port for reports cannot be woken; it ends with the process"),
        }
    }
}

fn serve(connection: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let leaving = Leaving(shared.clone());
    if shared.open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
        return Ok(());
    }
    connection.set_nodelay(true)?;
    let address = connection.peer_addr()?;
    thread::Builder::new().name("report".into()).spawn(move || {
        let shared = &leaving.0;
        let ended = match &shared.tls {
            None => receive_reports(&connection, &shared.ae_title, &shared.archives, &shared.inbox),
            Some(tls) => connection
                .try_clone()
                .and_then(|connection| tls.accept(connection, Duration::from_secs(SECONDS)))
                .map_err(End::from)
                .and_then(|mut secured| {
                    let ended = receive_reports(&mut secured, &shared.ae_title, &shared.archives, &shared.inbox);
                    secured.end();
                    ended
                }),
        };
        if let Err(end) = ended {
            tracing::info!(%address, %end, "a report's association ended");
        }
        let _ = connection.shutdown(Shutdown::Both);
    })?;
    Ok(())
}
