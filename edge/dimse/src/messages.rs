//! Messages (DICOM PS3.7, 6.3): a command set and, if it says so, a data set, each in parts that fit into the peer's PDUs.
//!
//! Who takes images streams their data sets to the disk and does this otherwise; here a message of the peer is an answer, or a
//! report of a few images, and is kept in memory up to a bound.

use std::{
    collections::VecDeque,
    io::{self, Read},
};

use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};

use crate::{
    command::{self, MOST_COMMAND_BYTES, Request},
    commitment::MOST_COMMITMENT_BYTES,
    talk::{Deadline, End, Talk, Wire, value},
};

/// A message of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The number of its presentation context.
    pub context: u8,
    /// Its command set.
    pub command: Vec<u8>,
    /// Its data set, if it has one.
    pub data_set: Vec<u8>,
}

/// An association that is agreed upon, as messages there and back.
#[derive(Debug)]
pub struct Messages<W> {
    pub(crate) talk: Talk<W>,
    /// In which a message has to be taken.
    message_seconds: u64,
    most_value_bytes: usize,
    /// What came and is not looked at.
    parts: VecDeque<PDataValue>,
    /// What has begun to come, and whether its data set has.
    arriving: Option<(Message, bool)>,
}

impl<W: Wire> Messages<W> {
    /// On a connection whose association is agreed upon. `message_seconds`: in which a message has to be taken.
    /// `most_value_bytes`: that the peer takes in one PDU.
    pub fn new(talk: Talk<W>, message_seconds: u64, most_value_bytes: usize) -> Self {
        Self { talk, message_seconds, most_value_bytes, parts: VecDeque::new(), arriving: None }
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// [`End`].
    pub fn answer(&mut self, context: u8, request: &Request, status: u16, comment: &str) -> Result<(), End> {
        self.send(context, &request.response(status, comment), None)
    }

    /// Sends a message with its data set, if it has one.
    ///
    /// # Errors
    /// [`End`].
    pub fn send(&mut self, context: u8, command: &[u8], data_set: Option<&mut dyn Read>) -> Result<(), End> {
        let deadline = Deadline::within(self.message_seconds, "a message is not taken");
        self.send_parts(context, PDataValueType::Command, &mut &command[..], deadline)?;
        data_set.map_or(Ok(()), |data_set| self.send_parts(context, PDataValueType::Data, data_set, deadline))
    }

    /// In parts that the peer takes; the last one is known by the end of `set`.
    fn send_parts(
        &mut self,
        context: u8,
        value_type: PDataValueType,
        set: &mut dyn Read,
        deadline: Deadline,
    ) -> Result<(), End> {
        let part = |set: &mut dyn Read| -> io::Result<Vec<u8>> {
            let mut part = Vec::with_capacity(self.most_value_bytes);
            set.take(self.most_value_bytes as u64).read_to_end(&mut part)?;
            Ok(part)
        };
        let mut next = part(set)?;
        loop {
            let following = part(set)?;
            let is_last = following.is_empty();
            self.talk.send_by(&value(context, value_type.clone(), is_last, next), deadline)?;
            if is_last {
                return Ok(());
            }
            next = following;
        }
    }

    /// Waits for a message of the peer. Past the deadline nothing of it is lost: it can be waited for again.
    ///
    /// # Errors
    /// [`End`]; [`End::Closed`] as well when the peer releases the association, which is answered.
    pub fn message(&mut self, deadline: Deadline) -> Result<Message, End> {
        loop {
            while let Some(part) = self.parts.pop_front() {
                if let Some(message) = self.part(part)? {
                    return Ok(message);
                }
            }
            match self.talk.receive(deadline)? {
                Pdu::PData { data } => self.parts.extend(data),
                Pdu::ReleaseRQ => {
                    let _ = self.talk.send_by(&Pdu::ReleaseRP, deadline);
                    return Err(End::Closed);
                }
                Pdu::AbortRQ { .. } => return Err(End::Aborted),
                other => return Err(End::wrong(format!("{} in an association", other.short_description()))),
            }
        }
    }

    /// A part of a message; gives the message if it is its last.
    fn part(&mut self, part: PDataValue) -> Result<Option<Message>, End> {
        let PDataValue { presentation_context_id: context, value_type, is_last, data } = part;
        let (mut message, in_data) =
            self.arriving.take().unwrap_or_else(|| (Message { context, command: vec![], data_set: vec![] }, false));
        if message.context != context || (value_type == PDataValueType::Data) != in_data {
            return Err(End::wrong("parts of messages that do not fit together"));
        }
        let (set, most) = match in_data {
            false => (&mut message.command, MOST_COMMAND_BYTES),
            true => (&mut message.data_set, MOST_COMMITMENT_BYTES),
        };
        if set.len() + data.len() > most {
            return Err(End::wrong("a message that is too long"));
        }
        set.extend_from_slice(&data);
        let in_data = match (is_last, in_data) {
            (true, true) => return Ok(Some(message)),
            (true, false) if !command::has_data_set(&message.command).map_err(End::wrong)? => {
                return Ok(Some(message));
            }
            (true, false) => true,
            (false, in_data) => in_data,
        };
        self.arriving = Some((message, in_data));
        Ok(None)
    }

    /// Ends the association at once, for this reason.
    pub fn abort(&mut self, end: &End) {
        if let Some(source) = end.abort() {
            // The peer may be gone, or may not read: it is not waited for.
            let _ = self.talk.send_by(&Pdu::AbortRQ { source }, Deadline::within(1, "an abort"));
        }
    }
}
