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
    pub(super) const COMMAND_DATA_SET_TYPE: u16 = 0x0800;
    pub(super) const STATUS: u16 = 0x0900;
    pub(super) const ERROR_COMMENT: u16 = 0x0902;
    pub(super) const AFFECTED_SOP_INSTANCE_UID: u16 = 0x1000;
    pub(super) const REQUESTED_SOP_INSTANCE_UID: u16 = 0x1001;
    pub(super) const EVENT_TYPE_ID: u16 = 0x1002;
    pub(super) const ACTION_TYPE_ID: u16 = 0x1008;
}

/// No command set is longer.
pub(crate) const MOST_COMMAND_BYTES: usize = 16 << 10;
/// Command Data Set Type of a message without a data set.
const NO_DATA_SET: u16 = 0x0101;
/// An error comment has no more characters (VR LO).
const MOST_COMMENT: usize = 64;

/// C-STORE-RQ.
pub(crate) const C_STORE: u16 = 0x0001;
/// C-ECHO-RQ.
pub(crate) const C_ECHO: u16 = 0x0030;
/// N-EVENT-REPORT-RQ.
const N_EVENT_REPORT: u16 = 0x0100;
/// N-ACTION-RQ.
pub(crate) const N_ACTION: u16 = 0x0130;
/// C-CANCEL-RQ.
pub(crate) const C_CANCEL: u16 = 0x0fff;
/// This bit tells a response from its request.
const RESPONSE: u16 = 0x8000;

/// Statuses of our responses.
pub(crate) mod status {
    /// PS3.7, C.1.1.
    pub(crate) const SUCCESS: u16 = 0x0000;
    /// Processing failure (PS3.7, C.5.12).
    pub(crate) const PROCESSING_FAILURE: u16 = 0x0110;
    /// No such object instance (PS3.7, C.5.8).
    pub(crate) const NO_SUCH_OBJECT_INSTANCE: u16 = 0x0112;
    /// No such action (PS3.7, C.5.24).
    pub(crate) const NO_SUCH_ACTION: u16 = 0x0123;
    /// SOP class not supported (PS3.7, C.5.23).
    pub(crate) const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
    /// Unrecognized operation (PS3.7, C.5.26).
    pub(crate) const UNRECOGNIZED_OPERATION: u16 = 0x0211;
    /// Refused: out of resources (PS3.4, table B.2-1).
    pub(crate) const OUT_OF_RESOURCES: u16 = 0xa700;
    /// Error: data set does not match SOP class (the same table).
    pub(crate) const DATA_SET_DOES_NOT_MATCH: u16 = 0xa900;
    /// Error: cannot understand (the same table).
    pub(crate) const CANNOT_UNDERSTAND: u16 = 0xc000;
}

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Command Field.
    pub(crate) field: u16,
    /// Message ID.
    pub(crate) message_id: u16,
    /// Affected or Requested SOP Class UID.
    pub(crate) sop_class_uid: Option<String>,
    /// Affected or Requested SOP Instance UID.
    pub(crate) sop_instance_uid: Option<String>,
    /// Action Type ID.
    pub(crate) action_type: Option<u16>,
    /// Whether a data set follows.
    pub(crate) has_data_set: bool,
}

/// Why it is no command set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
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

impl Request {
    /// Reads a command set, all of it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CommandError> {
        let elements = elements(bytes)?;
        let value = |number| elements.iter().find(|(found, _)| *found == number).map(|(_, value)| *value);
        let short = |number| match value(number) {
            None => Ok(None),
            Some(value) => {
                value.try_into().map(|value| Some(u16::from_le_bytes(value))).map_err(|_| CommandError::Value)
            }
        };
        let uid = |number| match value(number) {
            None => Ok(None),
            Some(value) => {
                std::str::from_utf8(value).map(|text| Some(trimmed(text).to_owned())).map_err(|_| CommandError::Value)
            }
        };
        // The group length has 12 bytes itself, and comes first.
        let length = value(element::GROUP_LENGTH).ok_or(CommandError::Missing)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| CommandError::Value)?);
        if usize::try_from(length).ok() != bytes.len().checked_sub(12) {
            return Err(CommandError::Length);
        }
        let field = short(element::COMMAND_FIELD)?.ok_or(CommandError::Missing)?;
        if field & RESPONSE != 0 {
            return Err(CommandError::Response);
        }
        // A C-CANCEL has the number of what it cancels in place of one of its own.
        let message_id = match field {
            C_CANCEL => short(element::MESSAGE_ID_BEING_RESPONDED_TO)?,
            _ => short(element::MESSAGE_ID)?,
        };
        let data_set = short(element::COMMAND_DATA_SET_TYPE)?.ok_or(CommandError::Missing)?;
        let affected = uid(element::AFFECTED_SOP_CLASS_UID)?;
        Ok(Self {
            field,
            message_id: message_id.ok_or(CommandError::Missing)?,
            sop_class_uid: affected.or(uid(element::REQUESTED_SOP_CLASS_UID)?),
            sop_instance_uid: uid(element::AFFECTED_SOP_INSTANCE_UID)?.or(uid(element::REQUESTED_SOP_INSTANCE_UID)?),
            action_type: short(element::ACTION_TYPE_ID)?,
            has_data_set: data_set != NO_DATA_SET,
        })
    }

    /// The command set that answers it, with what it was about (PS3.7, 9.3.1.2 and 9.3.5.2).
    pub(crate) fn response(&self, status: u16, comment: &str) -> Vec<u8> {
        let mut set = CommandSet::default();
        set.uid(element::AFFECTED_SOP_CLASS_UID, self.sop_class_uid.as_deref());
        set.short(element::COMMAND_FIELD, self.field | RESPONSE);
        set.short(element::MESSAGE_ID_BEING_RESPONDED_TO, self.message_id);
        set.short(element::COMMAND_DATA_SET_TYPE, NO_DATA_SET);
        set.short(element::STATUS, status);
        if !comment.is_empty() {
            // Letters of ASCII, since no character set can be told here.
            let plain = |c: char| if c.is_ascii_graphic() && c != '\\' { c } else { ' ' };
            let comment: String = comment.chars().take(MOST_COMMENT).map(plain).collect();
            set.text(element::ERROR_COMMENT, &comment, b' ');
        }
        set.uid(element::AFFECTED_SOP_INSTANCE_UID, self.sop_instance_uid.as_deref());
        if let Some(action_type) = self.action_type {
            set.short(element::ACTION_TYPE_ID, action_type);
        }
        set.finish()
    }
}

/// An N-EVENT-REPORT-RQ (PS3.7, table 10.3-1).
pub(crate) fn event_report(sop_class_uid: &str, sop_instance_uid: &str, event_type: u16) -> Vec<u8> {
    let mut set = CommandSet::default();
    set.uid(element::AFFECTED_SOP_CLASS_UID, Some(sop_class_uid));
    set.short(element::COMMAND_FIELD, N_EVENT_REPORT);
    set.short(element::MESSAGE_ID, 1);
    set.short(element::COMMAND_DATA_SET_TYPE, 0);
    set.uid(element::AFFECTED_SOP_INSTANCE_UID, Some(sop_instance_uid));
    set.short(element::EVENT_TYPE_ID, event_type);
    set.finish()
}

/// The status of a response.
pub(crate) fn status_of(response: &[u8]) -> Result<u16, CommandError> {
    let elements = elements(response)?;
    let status = elements.iter().find(|(number, _)| *number == element::STATUS).ok_or(CommandError::Missing)?;
    status.1.try_into().map(u16::from_le_bytes).map_err(|_| CommandError::Value)
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A request as a peer writes it.
    pub(crate) fn written(request: &Request) -> Vec<u8> {
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
        assert_eq!(status_of(&request.response(status::OUT_OF_RESOURCES, "full")).unwrap(), 0xa700);
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

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_not(bytes: Vec<u8>) {
            let _ = Request::read(&bytes);
        }

        #[test]
        fn a_request_is_read_as_it_was_written(message_id: u16, uid in "[0-9]{1,5}(\\.[0-9]{1,5}){0,5}", data: bool) {
            let request = Request { message_id, sop_instance_uid: Some(uid), has_data_set: data, ..store() };
            prop_assert_eq!(Request::read(&written(&request)).unwrap(), request);
        }
    }
}
