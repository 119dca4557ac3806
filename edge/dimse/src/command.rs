//! Command sets, the half of every message that says what it is about (DICOM PS3.7, annex E).
//!
//! They are always Implicit VR Little Endian, all of group 0000, short and flat. What is longer, nested or out of order is no
//! command, and is refused before anything is done.

use crate::uids::trimmed;

/// Elements of a command set, by element number in group 0000 (PS3.7, table E.1-1).
mod element {
    pub(super) const GROUP_LENGTH: u16 = 0x0000;
    pub(super) const AFFECTED_SOP_CLASS_UID: u16 = 0x0002;
    pub(super) const REQUESTED_SOP_CLASS_UID: u16 = 0x0003;
    pub(super) const COMMAND_FIELD: u16 = 0x0100;
    pub(super) const MESSAGE_ID: u16 = 0x0110;
    pub(super) const MESSAGE_ID_BEING_RESPONDED_TO: u16 = 0x0120;
    pub(super) const PRIORITY: u16 = 0x0700;
    pub(super) const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
    pub(super) const STATUS: u16 = 0x0900;
    pub(super) const ERROR_COMMENT: u16 = 0x0902;
    pub(super) const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    pub(super) const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
    pub(super) const EVENT_TYPE_ID: u16 = 0x1002;
    pub(super) const ACTION_TYPE_ID: u16 = 0x1008;
}

/// No command set is longer.
pub const MOST_COMMAND_BYTES: usize = 16 << 10;
/// Command Data Set Type of a message without a data set.
const NO_DATA_SET: u16 = 0x0101;
/// An error comment has no more characters (VR LO).
const MOST_COMMENT: usize = 64;

/// C-STORE-RQ.
pub const C_STORE: u16 = 0x0001;
/// C-FIND-RQ.
pub const C_FIND: u16 = 0x0020;
/// C-ECHO-RQ.
pub const C_ECHO: u16 = 0x0030;
/// N-EVENT-REPORT-RQ.
pub const N_EVENT_REPORT: u16 = 0x0100;
/// N-ACTION-RQ.
pub const N_ACTION: u16 = 0x0130;
/// C-CANCEL-RQ.
pub const C_CANCEL: u16 = 0x0fff;
/// This bit tells a response from its request.
pub const RESPONSE: u16 = 0x8000;

/// Statuses of responses.
pub mod status {
    /// PS3.7, C.1.1.
    pub const SUCCESS: u16 = 0x0000;
    /// Processing failure (PS3.7, C.5.12).
    pub const PROCESSING_FAILURE: u16 = 0x0110;
    /// No such object instance (PS3.7, C.5.8).
    pub const NO_SUCH_OBJECT_INSTANCE: u16 = 0x0112;
    /// No such action (PS3.7, C.5.24).
    pub const NO_SUCH_ACTION: u16 = 0x0123;
    /// SOP class not supported (PS3.7, C.5.23).
    pub const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
    /// Unrecognized operation (PS3.7, C.5.26).
    pub const UNRECOGNIZED_OPERATION: u16 = 0x0211;
    /// Pending: an answer, and more may come (PS3.4, table K.4-1).
    pub const PENDING: u16 = 0xff00;
    /// Pending, and some optional keys were not looked at (the same table).
    pub const PENDING_WITHOUT_OPTIONAL: u16 = 0xff01;
    /// Ended by a C-CANCEL (the same table).
    pub const CANCELLED: u16 = 0xfe00;
    /// Refused: out of resources (PS3.4, table B.2-1).
    pub const OUT_OF_RESOURCES: u16 = 0xa700;
    /// Error: data set does not match SOP class (the same table).
    pub const DATA_SET_DOES_NOT_MATCH: u16 = 0xa900;
    /// Error: cannot understand (the same table).
    pub const CANNOT_UNDERSTAND: u16 = 0xc000;
}

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Command Field.
    pub field: u16,
    /// Message ID.
    pub message_id: u16,
    /// Affected or Requested SOP Class UID.
    pub sop_class_uid: Option<String>,
    /// Affected or Requested SOP Instance UID.
    pub sop_instance_uid: Option<String>,
    /// Action Type ID.
    pub action_type: Option<u16>,
    /// Event Type ID.
    pub event_type: Option<u16>,
    /// Whether a data set follows.
    pub has_data_set: bool,
}

/// Why it is no command set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is")]
pub enum CommandError {
    #[error("a command set that ends within an element")]
    Truncated,
    #[error("an element of a command set outside of group 0000")]
    Group,
    #[error("elements of a command set out of order")]
    Order,
    #[error("a command set whose group length is not its length")]
    Length,
    #[error("a value of a command set that is no text or number of its kind")]
    Value,
    #[error("a command set without what every request has")]
    Missing,
    #[error("a response to what nobody asked")]
    Response,
    #[error("a request in place of a response")]
    Request,
}

/// Element number and value, one after the other.
fn elements(mut bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, CommandError> {
    let mut elements: Vec<(u16, &[u8])> = vec![];
    while !bytes.is_empty() {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Err(CommandError::Truncated) };
        let [group_low, group_high, low, high, length @ ..] = *head;
        if (group_low, group_high) != (0, 0) {
            return Err(CommandError::Group);
        }
        let number = u16::from_le_bytes([low, high]);
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| CommandError::Truncated)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(CommandError::Truncated)?;
        if elements.last().is_some_and(|(last, _)| *last >= number) {
            return Err(CommandError::Order);
        }
        elements.push((number, value));
        bytes = rest;
    }
    Ok(elements)
}

/// A command set that was read.
struct Elements<'b>(Vec<(u16, &'b [u8])>);

impl<'b> Elements<'b> {
    /// All elements, if the group's length is right. It has 12 bytes itself, and comes first.
    fn read(bytes: &'b [u8]) -> Result<Self, CommandError> {
        let elements = Self(elements(bytes)?);
        let length = elements.value(element::GROUP_LENGTH).ok_or(CommandError::Missing)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| CommandError::Value)?);
        if usize::try_from(length).ok() != bytes.len().checked_sub(12) {
            return Err(CommandError::Length);
        }
        Ok(elements)
    }

    fn value(&self, number: u16) -> Option<&'b [u8]> {
        self.0.iter().find(|(found, _)| *found == number).map(|(_, value)| *value)
    }

    fn short(&self, number: u16) -> Result<Option<u16>, CommandError> {
        let value = self.value(number).map(|value| value.try_into().map(u16::from_le_bytes));
        value.transpose().map_err(|_| CommandError::Value)
    }

    fn needed(&self, number: u16) -> Result<u16, CommandError> {
        self.short(number)?.ok_or(CommandError::Missing)
    }

    fn uid(&self, number: u16) -> Result<Option<String>, CommandError> {
        let text = self.value(number).map(std::str::from_utf8).transpose().map_err(|_| CommandError::Value)?;
        Ok(text.map(|text| trimmed(text).to_owned()))
    }

    fn has_data_set(&self) -> Result<bool, CommandError> {
        Ok(self.needed(element::COMMAND_DATA_SET_TYPE)? != NO_DATA_SET)
    }
}

/// Whether a response, or a request.
///
/// # Errors
/// [`CommandError`].
pub fn is_response(bytes: &[u8]) -> Result<bool, CommandError> {
    Ok(Elements::read(bytes)?.needed(element::COMMAND_FIELD)? & RESPONSE != 0)
}

/// Whether a data set follows.
///
/// # Errors
/// [`CommandError`].
pub fn has_data_set(bytes: &[u8]) -> Result<bool, CommandError> {
    Elements::read(bytes)?.has_data_set()
}

/// What a peer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Command Field.
    pub field: u16,
    /// Message ID Being Responded To.
    pub message_id: u16,
    /// Status.
    pub status: u16,
    /// Error Comment, as far as it is letters of ASCII.
    pub comment: String,
    /// Affected SOP Instance UID.
    pub sop_instance_uid: Option<String>,
}

impl Response {
    /// Reads a command set, all of it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn read(bytes: &[u8]) -> Result<Self, CommandError> {
        let elements = Elements::read(bytes)?;
        let field = elements.needed(element::COMMAND_FIELD)?;
        if field & RESPONSE == 0 {
            return Err(CommandError::Request);
        }
        let comment = elements.value(element::ERROR_COMMENT).unwrap_or_default();
        let comment: String = comment.iter().take(MOST_COMMENT).map(|byte| plain(char::from(*byte))).collect();
        Ok(Self {
            field,
            message_id: elements.needed(element::MESSAGE_ID_BEING_RESPONDED_TO)?,
            status: elements.needed(element::STATUS)?,
            comment: comment.trim().to_owned(),
            sop_instance_uid: elements.uid(element::AFFECTED_SOP_INSTANCE_UID)?,
        })
    }
}

/// A letter of ASCII, which every character set has, or a space.
fn plain(c: char) -> char {
    if c.is_ascii_graphic() && c != '\\' { c } else { ' ' }
}

impl Request {
    /// Reads a command set, all of it.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn read(bytes: &[u8]) -> Result<Self, CommandError> {
        let elements = Elements::read(bytes)?;
        let field = elements.needed(element::COMMAND_FIELD)?;
        if field & RESPONSE != 0 {
            return Err(CommandError::Response);
        }
        // A C-CANCEL has the number of what it cancels in place of one of its own.
        let message_id = match field {
            C_CANCEL => element::MESSAGE_ID_BEING_RESPONDED_TO,
            _ => element::MESSAGE_ID,
        };
        let uid = |affected, requested| Ok(elements.uid(affected)?.or(elements.uid(requested)?));
        Ok(Self {
            field,
            message_id: elements.needed(message_id)?,
            sop_class_uid: uid(element::AFFECTED_SOP_CLASS_UID, element::REQUESTED_SOP_CLASS_UID)?,
            sop_instance_uid: uid(element::AFFECTED_SOP_INSTANCE_UID, element::REQUESTED_SOP_INSTANCE_UID)?,
            action_type: elements.short(element::ACTION_TYPE_ID)?,
            event_type: elements.short(element::EVENT_TYPE_ID)?,
            has_data_set: elements.has_data_set()?,
        })
    }

    /// The command set that answers it, with what it was about (PS3.7, 9.3.1.2 and 9.3.5.2).
    pub fn response(&self, status: u16, comment: &str) -> Vec<u8> {
        let mut set = CommandSet::default();
        set.uid(element::AFFECTED_SOP_CLASS_UID, self.sop_class_uid.as_deref());
        set.short(element::COMMAND_FIELD, self.field | RESPONSE);
        set.short(element::MESSAGE_ID_BEING_RESPONDED_TO, self.message_id);
        set.short(element::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        set.short(element::STATUS, status);
        if !comment.is_empty() {
            // No character set can be told here.
            let comment: String = comment.chars().take(MOST_COMMENT).map(plain).collect();
            set.text(element::ERROR_COMMENT, &comment, b' ');
        }
        set.uid(element::AFFECTED_SOP_INSTANCE_UID, self.sop_instance_uid.as_deref());
        for (number, value) in [(element::EVENT_TYPE_ID, self.event_type), (element::ACTION_TYPE_ID, self.action_type)]
        {
            if let Some(value) = value {
                set.short(number, value);
            }
        }
        set.finish()
    }
}

/// An N-EVENT-REPORT-RQ (PS3.7, table 10.3-1).
pub fn event_report(sop_class_uid: &str, sop_instance_uid: &str, event_type: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.uid(element::AFFECTED_SOP_CLASS_UID, Some(sop_class_uid));
    set.short(element::COMMAND_FIELD, N_EVENT_REPORT);
    set.short(element::MESSAGE_ID, 1);
    set.short(element::COMMAND_DATA_SET_TYPE, 0);
    set.uid(element::AFFECTED_SOP_INSTANCE_UID, Some(sop_instance_uid));
    set.short(element::EVENT_TYPE_ID, event_type);
    set.finish()
}

/// A C-STORE-RQ (PS3.7, table 9.3-1).
pub fn store(sop_class_uid: &str, sop_instance_uid: &str, message_id: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.uid(element::AFFECTED_SOP_CLASS_UID, Some(sop_class_uid));
    set.short(element::COMMAND_FIELD, C_STORE);
    set.short(element::MESSAGE_ID, message_id);
    // Medium: nobody waits for it, and it is no bulk.
    set.short(element::PRIORITY, 0);
    set.short(element::COMMAND_DATA_SET_TYPE, 0);
    set.uid(element::AFFECTED_SOP_INSTANCE_UID, Some(sop_instance_uid));
    set.finish()
}

/// A C-FIND-RQ (PS3.7, table 9.3-3).
pub fn find(sop_class_uid: &str, message_id: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.uid(element::AFFECTED_SOP_CLASS_UID, Some(sop_class_uid));
    set.short(element::COMMAND_FIELD, C_FIND);
    set.short(element::MESSAGE_ID, message_id);
    set.short(element::PRIORITY, 0);
    set.short(element::COMMAND_DATA_SET_TYPE, 0);
    set.finish()
}

/// A C-CANCEL-RQ of the message `message_id` (PS3.7, table 9.3-5).
pub fn cancel(message_id: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.short(element::COMMAND_FIELD, C_CANCEL);
    set.short(element::MESSAGE_ID_BEING_RESPONDED_TO, message_id);
    set.short(element::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
    set.finish()
}

/// An N-ACTION-RQ (PS3.7, table 10.3-7).
pub fn action(sop_class_uid: &str, sop_instance_uid: &str, action_type: u16, message_id: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.uid(element::REQUESTED_SOP_CLASS_UID, Some(sop_class_uid));
    set.short(element::COMMAND_FIELD, N_ACTION);
    set.short(element::MESSAGE_ID, message_id);
    set.short(element::COMMAND_DATA_SET_TYPE, 0);
    set.uid(element::REQUESTED_SOP_INSTANCE_UID, Some(sop_instance_uid));
    set.short(element::ACTION_TYPE_ID, action_type);
    set.finish()
}

/// A command set that is being written.
#[derive(Default)]
struct CommandSet(Vec<u8>);

impl CommandSet {
    fn element(&mut self, number: u16, value: &[u8]) {
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&number.to_le_bytes());
        // Nothing of ours comes near four gigabytes.
        self.0.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn short(&mut self, number: u16, value: u16) {
        self.element(number, &value.to_le_bytes());
    }

    fn text(&mut self, number: u16, text: &str, padding: u8) {
        let mut value = text.as_bytes().to_vec();
        if !value.len().is_multiple_of(2) {
            value.push(padding);
        }
        self.element(number, &value);
    }

    /// What a peer sent is sent back only if it can be a UID at all.
    fn uid(&mut self, number: u16, uid: Option<&str>) {
        if let Some(uid) = uid.filter(|uid| crate::uids::is_uid(uid)) {
            self.text(number, uid, 0);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut whole = Self::default();
        whole.element(element::GROUP_LENGTH, &u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes());
        whole.0.extend_from_slice(&self.0);
        whole.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request as a peer writes it.
    fn written(request: &Request) -> Vec<u8> {
        let mut set = CommandSet::default();
        let text = |set: &mut CommandSet, number, text: Option<&String>| {
            if let Some(text) = text {
                set.text(number, text, 0);
            }
        };
        text(&mut set, element::AFFECTED_SOP_CLASS_UID, request.sop_class_uid.as_ref());
        set.short(element::COMMAND_FIELD, request.field);
        set.short(element::MESSAGE_ID, request.message_id);
        set.short(element::COMMAND_DATA_SET_TYPE, if request.has_data_set { 1 } else { NO_DATA_SET });
        text(&mut set, element::AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid.as_ref());
        set.finish()
    }

    fn store() -> Request {
        Request {
            field: C_STORE,
            message_id: 7,
            sop_class_uid: Some("1.2.840.10008.5.1.4.1.1.1".into()),
            sop_instance_uid: Some("1.2.3".into()),
            action_type: None,
            event_type: None,
            has_data_set: true,
        }
    }

    /// Written by DCMTK's echoscu.
    #[test]
    fn the_echo_of_another_program_is_read_and_answered() {
        let echo = b"\0\0\0\0\x04\0\0\0\x38\0\0\0\
            \0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0\
            \0\0\0\x01\x02\0\0\0\x30\0\
            \0\0\x10\x01\x02\0\0\0\x01\0\
            \0\0\0\x08\x02\0\0\0\x01\x01";
        let request = Request::read(echo).unwrap();
        assert_eq!((request.field, request.message_id, request.has_data_set), (C_ECHO, 1, false));
        assert_eq!(request.sop_class_uid.as_deref(), Some("1.2.840.10008.1.1"));
        let answer = b"\0\0\0\0\x04\0\0\0\x42\0\0\0\
            \0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0\
            \0\0\0\x01\x02\0\0\0\x30\x80\
            \0\0\x20\x01\x02\0\0\0\x01\0\
            \0\0\0\x08\x02\0\0\0\x01\x01\
            \0\0\0\x09\x02\0\0\0\0\0";
        assert_eq!(request.response(status::SUCCESS, ""), answer);
        let response = Response::read(&request.response(status::OUT_OF_RESOURCES, "it is full")).unwrap();
        assert_eq!((response.status, response.message_id, &*response.comment), (0xa700, 1, "it is full"));
        assert_eq!(Response::read(echo).unwrap_err(), CommandError::Request);
    }

    #[test]
    fn what_is_no_command_set_is_told_apart() {
        let good = written(&store());
        assert_eq!(Request::read(&good).unwrap(), store());
        let refused = |bytes: &[u8], why| assert_eq!(Request::read(bytes).unwrap_err(), why, "{bytes:?}");
        refused(&good[..good.len() - 1], CommandError::Truncated);
        refused(&good[12..], CommandError::Missing);
        refused(&[], CommandError::Missing);
        let mut longer = good.clone();
        longer.extend_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        refused(&longer, CommandError::Length);
        let mut other_group = good.clone();
        other_group[12] = 8;
        refused(&other_group, CommandError::Group);
        let mut twice = good.clone();
        twice.extend_from_slice(&good[12..]);
        refused(&twice, CommandError::Order);
        // A length of four gigabytes.
        refused(b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0", CommandError::Truncated);
        let response = Request { field: C_STORE | RESPONSE, ..store() };
        refused(&written(&response), CommandError::Response);
    }

    #[test]
    fn nothing_but_a_uid_is_sent_back() {
        let request = Request { sop_instance_uid: Some("../../etc".into()), ..store() };
        let response = request.response(status::CANNOT_UNDERSTAND, "no\\\u{e9}\nUID");
        assert!(!response.windows(3).any(|part| part == b"etc"));
        assert!(response.windows(8).any(|part| part == b"no   UID"));
    }

    #[test]
    fn what_is_asked_is_read_as_it_was_meant() {
        let read = Request::read(&super::store("1.2.840.10008.5.1.4.1.1.1", "1.2.3", 7)).unwrap();
        assert_eq!(read, store());
        let read = Request::read(&action("1.2", "1.3", 1, 9)).unwrap();
        assert_eq!((read.field, read.message_id, read.action_type), (N_ACTION, 9, Some(1)));
        assert_eq!((read.sop_class_uid.as_deref(), read.sop_instance_uid.as_deref()), (Some("1.2"), Some("1.3")));
        let read = Request::read(&event_report("1.2", "1.3", 2)).unwrap();
        assert_eq!((read.field, read.event_type, read.has_data_set), (N_EVENT_REPORT, Some(2), true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_not(bytes: Vec<u8>) {
            let _ = Request::read(&bytes);
            let _ = Response::read(&bytes);
            let _ = has_data_set(&bytes);
        }

        #[test]
        fn a_request_is_read_as_it_was_written(message_id: u16, uid in "[0-9]{1,5}(\\.[0-9]{1,5}){0,5}", data: bool) {
            let request = Request { message_id, sop_instance_uid: Some(uid), has_data_set: data, ..store() };
            prop_assert_eq!(Request::read(&written(&request)).unwrap(), request);
        }
    }
}
