//! An association that we ask for (DICOM PS3.7, annex D; PS3.8, 9.2), in the role of user or of provider.
//!
//! What is proposed is what will be sent, one transfer syntax a context, so that the peer chooses nothing for us. Every step has
//! a deadline: connection, answer, each message there and back. What the peer says of lengths is bounded before it is believed.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use dicom_ul::pdu::{
    AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ, Pdu,
    PresentationContextProposed, PresentationContextResultReason, RequestorRoles, UserVariableItem,
};

use crate::{
    command::{RESPONSE, Request, Response},
    messages::Messages,
    talk::{Deadline, End, Talk, Wire, most_data_bytes},
    tls::Connector,
    uids,
};

/// How long each step may take, and how much may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds until the connection is there.
    pub connect_seconds: u64,
    /// Seconds until the peer answers the request of an association, and that of its end.
    pub associate_seconds: u64,
    /// Seconds in which a message has to be taken, and as many again until it is answered.
    pub message_seconds: u64,
    /// No PDU of the peer may have more bytes.
    pub most_pdu_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect_seconds: 10, associate_seconds: 10, message_seconds: 30, most_pdu_bytes: 128 << 10 }
    }
}

impl Limits {
    /// A connection.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let wire = TcpStream::connect_timeout(&address, Duration::from_secs(self.connect_seconds))?;
        wire.set_nodelay(true)?;
        Ok(wire)
    }

    /// A connection to `address`: host, colon, port. A host may have several addresses, of which not all are reached.
    ///
    /// # Errors
    /// The system's, of the last one.
    pub fn reach(&self, address: &str) -> io::Result<TcpStream> {
        let mut last = io::Error::other("the name has no address");
        for address in address.to_socket_addrs()? {
            match self.connect(address) {
                Ok(wire) => return Ok(wire),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }

    /// What is spoken on a connection to `address`: TLS, where there is a connector, whose handshake has the time of a connection.
    ///
    /// # Errors
    /// How the handshake ended.
    pub fn secure(&self, wire: TcpStream, address: &str, tls: Option<&Connector>) -> io::Result<Box<dyn Wire>> {
        let time = Duration::from_secs(self.connect_seconds);
        Ok(match tls {
            None => Box::new(wire),
            Some(tls) => Box::new(tls.connect(host_of(address), wire, time)?),
        })
    }
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']'])
}

/// A presentation context: what will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Abstract syntax, which is the SOP class.
    pub class: String,
    /// The one transfer syntax.
    pub syntax: String,
    /// Whether we are the class's provider, which a requestor is not unless it is agreed upon (PS3.7, D.3.3.4).
    pub provides: bool,
}

impl Proposal {
    /// As a user of the class.
    pub fn of(class: impl Into<String>, syntax: impl Into<String>) -> Self {
        Self { class: class.into(), syntax: syntax.into(), provides: false }
    }

    /// As its provider.
    #[must_use]
    pub fn as_provider(self) -> Self {
        Self { provides: true, ..self }
    }
}

/// Contexts of one association: their numbers are odd and have one byte (PS3.8, 9.3.2.2).
pub const MOST_PROPOSALS: usize = 128;
/// No data set has more bytes in one PDU than this, whatever the peer takes.
const MOST_VALUE_BYTES: usize = 64 << 10;
/// What was done is done; for the end of the association nobody waits long.
const RELEASE_SECONDS: u64 = 2;
/// A peer that takes less at once would be sent to for hours.
const LEAST_VALUE_BYTES: usize = 512;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Ours.
    pub calling_ae_title: &'a str,
    /// The peer's.
    pub called_ae_title: &'a str,
    /// Each once, and no more than [`MOST_PROPOSALS`].
    pub proposals: &'a [Proposal],
}

/// Why there is no association.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The peer knows a title of ours or of its own not.
    #[error("{}", rejected(.0))]
    Rejected(AssociationRJ),
    /// The conversation ended before.
    #[error(transparent)]
    End(#[from] End),
}

/// In words (PS3.8, table 9-21).
fn rejected(rejection: &AssociationRJ) -> String {
    use AssociationRJServiceUserReason as User;
    let why = match &rejection.source {
        AssociationRJSource::ServiceUser(User::CallingAETitleNotRecognized) => "it does not know our AE title",
        AssociationRJSource::ServiceUser(User::CalledAETitleNotRecognized) => "it has another AE title",
        AssociationRJSource::ServiceProviderPresentation(_) => "it has too many associations",
        _ => "it says no reason",
    };
    let how = match rejection.result {
        AssociationRJResult::Permanent => "",
        AssociationRJResult::Transient => " for now",
    };
    format!("the peer rejects the association{how}: {why}")
}

/// An association that we asked for. Dropped, the connection is left as it is.
#[derive(Debug)]
pub struct Requestor<W> {
    messages: Messages<W>,
    limits: Limits,
    accepted: Vec<(Proposal, u8)>,
    next_message: u16,
}

impl<W: Wire> Requestor<W> {
    /// Asks for an association on a connection.
    ///
    /// # Errors
    /// [`AskError`]; the peer was told, where it had to be.
    pub fn ask(wire: W, ask: &Ask<'_>, limits: Limits) -> Result<Self, AskError> {
        let mut talk = Talk::new(wire, limits.most_pdu_bytes);
        match Self::agree(&mut talk, ask, limits) {
            Ok((accepted, most_value_bytes)) => {
                let messages = Messages::new(talk, limits.message_seconds, most_value_bytes);
                Ok(Self { messages, limits, accepted, next_message: 1 })
            }
            Err(error) => {
                if let AskError::End(end) = &error
                    && let Some(source) = end.abort()
                {
                    let _ = talk.send_by(&Pdu::AbortRQ { source }, Deadline::within(1, "an abort"));
                }
                Err(error)
            }
        }
    }

    fn agree(talk: &mut Talk<W>, ask: &Ask<'_>, limits: Limits) -> Result<(Vec<(Proposal, u8)>, usize), AskError> {
        let deadline = Deadline::within(limits.associate_seconds, "the answer to the request of an association");
        let contexts: Vec<(Proposal, u8)> =
            ask.proposals.iter().take(MOST_PROPOSALS).cloned().zip((1..=u8::MAX).step_by(2)).collect();
        let proposed = contexts.iter().map(|(proposal, id)| PresentationContextProposed {
            id: *id,
            abstract_syntax: proposal.class.clone(),
            transfer_syntaxes: vec![proposal.syntax.clone()],
        });
        let mut user_variables = vec![
            UserVariableItem::MaxLength(limits.most_pdu_bytes),
            UserVariableItem::ImplementationClassUID(uids::IMPLEMENTATION_CLASS.to_owned()),
            UserVariableItem::ImplementationVersionName(uids::IMPLEMENTATION_VERSION.to_owned()),
        ];
        for (proposal, _) in contexts.iter().filter(|(proposal, _)| proposal.provides) {
            let roles = RequestorRoles { scu: false, scp: true };
            user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(proposal.class.clone(), roles));
        }
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: ask.calling_ae_title.to_owned(),
            called_ae_title: ask.called_ae_title.to_owned(),
            application_context_name: uids::APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: proposed.collect(),
            user_variables,
        };
        talk.send_by(&Pdu::AssociationRQ(request), deadline)?;
        let answer = match talk.receive(deadline)? {
            Pdu::AssociationAC(answer) => answer,
            Pdu::AssociationRJ(rejection) => return Err(AskError::Rejected(rejection)),
            Pdu::AbortRQ { .. } => return Err(End::Aborted.into()),
            other => return Err(End::wrong(format!("{} for an association", other.short_description())).into()),
        };
        let most_value_bytes = most_data_bytes(&answer.user_variables).min(MOST_VALUE_BYTES);
        if most_value_bytes < LEAST_VALUE_BYTES {
            return Err(End::wrong(format!("takes only {most_value_bytes} bytes at once")).into());
        }
        let taken = |(proposal, id): &(Proposal, u8)| {
            answer.presentation_contexts.iter().any(|result| {
                result.id == *id
                    && result.reason == PresentationContextResultReason::Acceptance
                    // A peer that chose what was not offered did not understand, and gets nothing.
                    && uids::trimmed(&result.transfer_syntax) == proposal.syntax
            })
        };
        Ok((contexts.into_iter().filter(taken).collect(), most_value_bytes))
    }

    /// The number of a context that the peer accepted.
    pub fn context(&self, proposal: &Proposal) -> Option<u8> {
        self.accepted.iter().find(|(accepted, _)| accepted == proposal).map(|(_, id)| *id)
    }

    /// The next Message ID.
    pub fn message_id(&mut self) -> u16 {
        let id = self.next_message;
        self.next_message = self.next_message.checked_add(1).unwrap_or(1);
        id
    }

    /// Sends a request with its data set, and waits for the response. A request of the peer meanwhile is an error.
    ///
    /// # Errors
    /// [`End`]; the association is to be aborted then.
    pub fn request(&mut self, context: u8, command: &[u8], data_set: &mut dyn Read) -> Result<Response, End> {
        self.messages.send(context, command, Some(data_set))?;
        let deadline = Deadline::within(self.limits.message_seconds, "the response to a message");
        let message = self.messages.message(deadline)?;
        let response = Response::read(&message.command).map_err(End::wrong)?;
        let request = Request::read(command).map_err(End::wrong)?;
        if message.context != context
            || response.field != request.field | RESPONSE
            || response.message_id != request.message_id
        {
            return Err(End::wrong("a response to another message"));
        }
        let other = |answered: &String| Some(answered) != request.sop_instance_uid.as_ref();
        if response.sop_instance_uid.as_ref().is_some_and(other) {
            return Err(End::wrong("a response about another object"));
        }
        Ok(response)
    }

    /// The messages of the association, for those who wait for what the peer asks.
    pub fn messages(&mut self) -> &mut Messages<W> {
        &mut self.messages
    }

    /// Ends the association in good order. A peer that does not answer is left.
    pub fn release(mut self) {
        let deadline = Deadline::within(RELEASE_SECONDS, "the end of an association");
        if self.messages.talk.send_by(&Pdu::ReleaseRQ, deadline).is_ok() {
            let _ = self.messages.talk.receive(deadline);
        }
    }

    /// Ends the association at once, for this reason.
    pub fn abort(mut self, end: &End) {
        self.messages.abort(end);
    }
}

/// PS3.5, 6.2, VR AE: no more than 16 characters, no backslash, no control character, not only spaces.
pub fn is_ae_title(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\')
        && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_a_certificate_names() {
        for (address, host) in [
            ("archive.example:4242", "archive.example"),
            ("192.0.2.1:104", "192.0.2.1"),
            ("[2001:db8::1]:104", "2001:db8::1"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
