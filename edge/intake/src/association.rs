//! One association, from its request to its release (DICOM PS3.8, 9.2; PS3.7, annex D).
//!
//! The associations of `dicom-ul` choose a transfer syntax without a look at the class, so the conversation is ours, on PDUs
//! with deadlines ([`Talk`]).

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ,
    PDataValue, PDataValueType, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, UserVariableItem,
};
use thorax_dimse::{
    association::is_ae_title,
    command::{C_CANCEL, C_ECHO, C_STORE, MOST_COMMAND_BYTES, N_ACTION, Request, status},
    commitment::{Commitment, MOST_COMMITMENT_BYTES},
    part10::Announced,
    talk::{Deadline, End, Talk, Wire, most_data_bytes},
};
use thorax_journal::{Journal, Received, Source};

use crate::{
    commitment::{Report, answer},
    config::Config,
    object::{ArrivingObject, Refusal, told},
    tally::Tally,
    uids::{self, trimmed},
};

/// What an association is doing, for those who may have to end it.
#[derive(Debug)]
pub struct Activity {
    /// Since when nothing has been in hand; `None` in the middle of a message.
    idle_since: Mutex<Option<Instant>>,
    stopping: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self { idle_since: Mutex::new(Some(Instant::now())), stopping: AtomicBool::new(false) }
    }
}

impl Activity {
    /// For how long nothing has been in hand; `None` in the middle of a message.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    /// Ends the association at the end of its message.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn set_idle(&self, idle: bool) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = idle.then(Instant::now);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// A presentation context that was agreed upon.
#[derive(Clone, Debug)]
struct Context {
    id: u8,
    abstract_syntax: String,
    transfer_syntax: String,
}

/// What was agreed upon.
struct Agreed {
    calling_ae_title: String,
    called_ae_title: String,
    contexts: Vec<Context>,
    /// No P-Data of ours may be longer.
    most_peer_bytes: usize,
}

/// Talks with a peer until the association is over, however it ends. What is to be reported back to the peer on another
/// association is given to `reports`. The connection is left to be closed by the caller.
pub fn converse(
    wire: impl Wire,
    address: IpAddr,
    config: &Config,
    journal: &Journal,
    tally: &Tally,
    activity: &Activity,
    reports: &dyn Fn(Report),
) {
    let mut conversation = Conversation {
        talk: Talk::new(wire, config.most_pdu_bytes),
        address,
        config,
        journal,
        tally,
        activity,
        reports,
        studies: vec![],
    };
    let end = conversation.run();
    if let Err(end) = &end {
        if let Some(source) = end.abort() {
            tally.aborted.up();
            // The peer may be gone.
            let _ = conversation.talk.send(&Pdu::AbortRQ { source });
        }
        tracing::info!(%address, %end, "association ended");
    }
    if config.close_at_release
        && let Err(error) = journal.close_studies(&conversation.studies)
    {
        tracing::error!(%error, "studies cannot be closed; they are after the quiet time");
    }
}

/// Reads what a peer asks for and rejects it, since there are too many.
pub(crate) fn turn_away(wire: impl Wire, config: &Config) {
    const SECONDS: u64 = 2;
    let mut talk = Talk::new(wire, config.most_pdu_bytes);
    if talk.receive(Deadline::within(SECONDS, "the request of an association")).is_ok() {
        let source = AssociationRJSource::ServiceProviderPresentation(
            AssociationRJServiceProviderPresentationReason::LocalLimitExceeded,
        );
        let _ = talk.send(&Pdu::AssociationRJ(AssociationRJ { result: AssociationRJResult::Transient, source }));
    }
}

struct Conversation<'a, W> {
    talk: Talk<W>,
    address: IpAddr,
    config: &'a Config,
    journal: &'a Journal,
    tally: &'a Tally,
    activity: &'a Activity,
    reports: &'a dyn Fn(Report),
    /// Studies that got an object.
    studies: Vec<u64>,
}

/// A message that is arriving.
enum Message<'j> {
    /// Its command, so far.
    Command { context: u8, bytes: Vec<u8> },
    /// The data set of a C-STORE.
    Object { context: u8, request: Request, object: Box<ArrivingObject<'j>> },
    /// The data set of an N-ACTION of storage commitment.
    Question { context: u8, request: Request, bytes: Vec<u8> },
    /// The data set of what we do not do.
    Passed { context: u8, request: Request, bytes: u64 },
}

impl<'a, W: Wire> Conversation<'a, W> {
    fn run(&mut self) -> Result<(), End> {
        let seconds = self.config.association_seconds;
        let asked = match self.talk.receive(Deadline::within(seconds, "the request of an association"))? {
            Pdu::AssociationRQ(asked) => asked,
            Pdu::AbortRQ { .. } => return Err(End::Aborted),
            other => return Err(End::wrong(format!("{} before an association", other.short_description()))),
        };
        let agreed = match agree(asked, self.config, self.address) {
            Ok((agreed, answer)) => {
                self.talk.send(&Pdu::AssociationAC(answer))?;
                agreed
            }
            Err(rejection) => {
                self.tally.rejected.up();
                tracing::warn!(address = %self.address, ?rejection, "association rejected");
                return self.talk.send(&Pdu::AssociationRJ(rejection));
            }
        };
        self.tally.associations.up();
        tracing::info!(address = %self.address, calling = agreed.calling_ae_title, "association");
        let mut message = None;
        let mut deadline = self.idle();
        loop {
            match self.talk.receive(deadline)? {
                Pdu::PData { data } => {
                    for part in data {
                        if message.is_none() {
                            self.activity.set_idle(false);
                            deadline = Deadline::within(self.config.message_seconds, "a message");
                        }
                        message = self.part(&agreed, message.take(), part)?;
                    }
                    if message.is_none() {
                        if self.activity.is_stopping() {
                            return Err(End::Stopping);
                        }
                        deadline = self.idle();
                    }
                }
                Pdu::ReleaseRQ if message.is_none() => return self.talk.send(&Pdu::ReleaseRP),
                Pdu::AbortRQ { .. } => return Err(End::Aborted),
                other => return Err(End::wrong(format!("{} in an association", other.short_description()))),
            }
        }
    }

    fn idle(&self) -> Deadline {
        self.activity.set_idle(true);
        Deadline::within(self.config.idle_seconds, "nothing came")
    }

    /// A part of a message; gives the message, if there has to be more of it.
    fn part(
        &mut self,
        agreed: &Agreed,
        message: Option<Message<'a>>,
        part: PDataValue,
    ) -> Result<Option<Message<'a>>, End> {
        use PDataValueType::{Command, Data};
        let PDataValue { presentation_context_id: id, value_type, is_last, data } = part;
        let mut message = message.unwrap_or(Message::Command { context: id, bytes: vec![] });
        match (&mut message, value_type) {
            (Message::Command { context, bytes }, Command) if *context == id => {
                if bytes.len() + data.len() > MOST_COMMAND_BYTES {
                    return Err(End::wrong("a command set that is too long"));
                }
                bytes.extend_from_slice(&data);
                if is_last { self.command(agreed, id, &std::mem::take(bytes)) } else { Ok(Some(message)) }
            }
            (Message::Object { context, object, .. }, Data) if *context == id => {
                object.write(&data);
                if object.is_endless() {
                    return Err(End::wrong("an object far over the limit"));
                }
                match message {
                    Message::Object { request, object, .. } if is_last => {
                        self.stored(agreed, id, &request, *object)?;
                        Ok(None)
                    }
                    message => Ok(Some(message)),
                }
            }
            (Message::Question { context, bytes, request }, Data) if *context == id => {
                if bytes.len() + data.len() > MOST_COMMITMENT_BYTES {
                    return Err(End::wrong("a question about too many images"));
                }
                bytes.extend_from_slice(&data);
                if is_last {
                    let (request, bytes) = (request.clone(), std::mem::take(bytes));
                    self.asked(agreed, id, &request, &bytes)?;
                    return Ok(None);
                }
                Ok(Some(message))
            }
            (Message::Passed { context, bytes, request }, Data) if *context == id => {
                *bytes += data.len() as u64;
                if *bytes > self.journal.settings().most_object_bytes {
                    return Err(End::wrong("a data set far over the limit"));
                }
                if is_last {
                    let request = request.clone();
                    self.answer(agreed, id, &request, status::UNRECOGNIZED_OPERATION, "not done here")?;
                    return Ok(None);
                }
                Ok(Some(message))
            }
            _ => Err(End::wrong("parts of messages that do not fit together")),
        }
    }

    /// A command that is complete.
    fn command(&mut self, agreed: &Agreed, id: u8, bytes: &[u8]) -> Result<Option<Message<'a>>, End> {
        let context = agreed.contexts.iter().find(|context| context.id == id);
        let context = context.ok_or_else(|| End::wrong("a presentation context that was not agreed upon"))?;
        let request = Request::read(bytes).map_err(End::wrong)?;
        match (request.field, request.has_data_set) {
            (C_ECHO, false) => {
                if request.sop_class_uid.as_deref() != Some(uids::VERIFICATION) {
                    return Err(End::wrong("a C-ECHO of another class than Verification"));
                }
                self.tally.echoes.up();
                self.answer(agreed, id, &request, status::SUCCESS, "")?;
                Ok(None)
            }
            (C_STORE, true) => {
                let announced = Announced {
                    sop_class_uid: request.sop_class_uid.clone().unwrap_or_default(),
                    sop_instance_uid: request.sop_instance_uid.clone().unwrap_or_default(),
                    transfer_syntax_uid: context.transfer_syntax.clone(),
                };
                // The class of the object is that of its presentation context (PS3.7, 9.1.1.1.2).
                if announced.sop_class_uid != context.abstract_syntax {
                    return Err(End::wrong("a C-STORE of another class than its presentation context"));
                }
                let object = Box::new(ArrivingObject::begin(self.journal, self.config, announced));
                Ok(Some(Message::Object { context: id, request, object }))
            }
            (N_ACTION, true) if context.abstract_syntax == uids::STORAGE_COMMITMENT => {
                Ok(Some(Message::Question { context: id, request, bytes: vec![] }))
            }
            (C_CANCEL, false) => Ok(None),
            (_, true) => Ok(Some(Message::Passed { context: id, request, bytes: 0 })),
            (_, false) => {
                self.answer(agreed, id, &request, status::UNRECOGNIZED_OPERATION, "not done here")?;
                Ok(None)
            }
        }
    }

    /// The data set of a C-STORE is complete.
    fn stored(&mut self, agreed: &Agreed, id: u8, request: &Request, object: ArrivingObject<'_>) -> Result<(), End> {
        let source = Source::Association {
            calling_ae_title: agreed.calling_ae_title.clone(),
            called_ae_title: agreed.called_ae_title.clone(),
            address: self.address.to_string(),
        };
        let began = Instant::now();
        let result = object.finish(source);
        let took = began.elapsed();
        if let Ok(Received::Accepted { study, .. }) = result
            && !self.studies.contains(&study)
        {
            self.studies.push(study);
        }
        let what = request.sop_instance_uid.as_deref().unwrap_or_default();
        match told(result, self.tally, &what.escape_debug().to_string(), took) {
            Ok(()) => self.answer(agreed, id, request, status::SUCCESS, ""),
            Err(Refusal { status, comment }) => self.answer(agreed, id, request, status, &comment),
        }
    }

    /// It was asked what is kept: the response says that the question was understood, the answer follows on its own association.
    fn asked(&mut self, agreed: &Agreed, id: u8, request: &Request, bytes: &[u8]) -> Result<(), End> {
        let context = agreed.contexts.iter().find(|context| context.id == id);
        let syntax = context.map_or(uids::IMPLICIT_LITTLE_ENDIAN, |context| &context.transfer_syntax);
        let peer = self.config.peer(&agreed.calling_ae_title, self.address);
        let tls = peer.and_then(|peer| peer.commitment_tls.clone());
        let address = peer.and_then(|peer| peer.commitment_address);
        if request.sop_class_uid.as_deref() != Some(uids::STORAGE_COMMITMENT)
            || request.sop_instance_uid.as_deref() != Some(uids::STORAGE_COMMITMENT_INSTANCE)
        {
            return self.answer(
                agreed,
                id,
                request,
                status::NO_SUCH_OBJECT_INSTANCE,
                "not storage commitment's instance",
            );
        }
        if request.action_type != Some(1) {
            return self.answer(agreed, id, request, status::NO_SUCH_ACTION, "an action that is not request (1)");
        }
        let (question, address) = match (Commitment::read(bytes, syntax), address) {
            (Ok(question), Some(address)) => (question, address),
            (Err(why), _) => return self.answer(agreed, id, request, status::PROCESSING_FAILURE, why),
            (_, None) => {
                return self.answer(agreed, id, request, status::PROCESSING_FAILURE, "no address to answer to");
            }
        };
        match answer(question, self.journal, &agreed.calling_ae_title, &agreed.called_ae_title, address, tls) {
            Ok(report) => {
                self.answer(agreed, id, request, status::SUCCESS, "")?;
                (self.reports)(report);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the journal fails");
                self.answer(agreed, id, request, status::PROCESSING_FAILURE, "the journal fails")
            }
        }
    }

    fn answer(&mut self, agreed: &Agreed, id: u8, request: &Request, status: u16, comment: &str) -> Result<(), End> {
        let response = request.response(status, comment);
        self.talk.send_set(id, PDataValueType::Command, &response, agreed.most_peer_bytes)
    }
}

/// What is agreed upon, or why nothing is.
fn agree(asked: AssociationRQ, config: &Config, address: IpAddr) -> Result<(Agreed, AssociationAC), AssociationRJ> {
    let permanent = |source| Err(AssociationRJ { result: AssociationRJResult::Permanent, source });
    let user = |reason| permanent(AssociationRJSource::ServiceUser(reason));
    // Bit 0 is version 1 (PS3.8, 9.3.2).
    if asked.protocol_version & 1 == 0 {
        let reason = AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported;
        return permanent(AssociationRJSource::ServiceProviderASCE(reason));
    }
    if trimmed(&asked.application_context_name) != uids::APPLICATION_CONTEXT {
        return user(AssociationRJServiceUserReason::ApplicationContextNameNotSupported);
    }
    if asked.called_ae_title != config.ae_title {
        return user(AssociationRJServiceUserReason::CalledAETitleNotRecognized);
    }
    if !is_ae_title(&asked.calling_ae_title) || !config.knows(&asked.calling_ae_title, address) {
        return user(AssociationRJServiceUserReason::CallingAETitleNotRecognized);
    }
    let peer = config.peer(&asked.calling_ae_title, address);
    let may_ask = peer.is_some_and(|peer| peer.commitment_address.is_some());
    let mut contexts: Vec<Context> = vec![];
    let mut presentation_contexts = vec![];
    for proposed in &asked.presentation_contexts {
        // Odd, and each once (PS3.8, 9.3.2.2).
        if proposed.id % 2 == 0 || presentation_contexts.iter().any(|r: &PresentationContextResult| r.id == proposed.id)
        {
            return user(AssociationRJServiceUserReason::NoReasonGiven);
        }
        let (reason, transfer_syntax) = match choose(proposed, config, may_ask) {
            Ok(transfer_syntax) => {
                let abstract_syntax = trimmed(&proposed.abstract_syntax).to_owned();
                let transfer_syntax = transfer_syntax.to_owned();
                contexts.push(Context { id: proposed.id, abstract_syntax, transfer_syntax: transfer_syntax.clone() });
                (PresentationContextResultReason::Acceptance, transfer_syntax)
            }
            // The syntax is of no meaning then (PS3.8, 9.3.3.2).
            Err(reason) => (reason, uids::IMPLICIT_LITTLE_ENDIAN.to_owned()),
        };
        presentation_contexts.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax });
    }
    let agreed = Agreed {
        calling_ae_title: asked.calling_ae_title.clone(),
        called_ae_title: asked.called_ae_title.clone(),
        contexts,
        most_peer_bytes: most_data_bytes(&asked.user_variables),
    };
    let answer = AssociationAC {
        protocol_version: 1,
        called_ae_title: asked.called_ae_title,
        calling_ae_title: asked.calling_ae_title,
        application_context_name: uids::APPLICATION_CONTEXT.to_owned(),
        presentation_contexts,
        user_variables: vec![
            UserVariableItem::MaxLength(config.most_pdu_bytes),
            UserVariableItem::ImplementationClassUID(uids::IMPLEMENTATION_CLASS.to_owned()),
            UserVariableItem::ImplementationVersionName(uids::IMPLEMENTATION_VERSION.to_owned()),
        ],
    };
    Ok((agreed, answer))
}

/// The first of the proposed transfer syntaxes that is read.
fn choose<'p>(
    proposed: &'p PresentationContextProposed,
    config: &Config,
    may_ask: bool,
) -> Result<&'p str, PresentationContextResultReason> {
    let class = trimmed(&proposed.abstract_syntax);
    let mut syntaxes = proposed.transfer_syntaxes.iter().map(|syntax| trimmed(syntax));
    let chosen = if class == uids::VERIFICATION || (class == uids::STORAGE_COMMITMENT && may_ask) {
        syntaxes.find(|syntax| [uids::IMPLICIT_LITTLE_ENDIAN, uids::EXPLICIT_LITTLE_ENDIAN].contains(syntax))
    } else if config.sop_classes.iter().any(|known| known == class) {
        syntaxes.find(|syntax| config.transfer_syntaxes.iter().any(|known| known == syntax))
    } else {
        return Err(PresentationContextResultReason::AbstractSyntaxNotSupported);
    };
    chosen.ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)
}
