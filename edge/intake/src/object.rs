//! A DICOM object on its way to the journal, from the network as from a folder.

use std::time::Duration;

use thorax_dimse::{
    command::status,
    part10::{self, Announced},
};
use thorax_journal::{Journal, JournalError, Kind, ObjectWriter, Received, ReceivedObject, Source};

use crate::{
    config::Config,
    head::{HeadError, HeadReader},
    tally::Tally,
    uids::is_uid,
};

/// Why an object was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Status of the response.
    pub(crate) status: u16,
    /// The same in words.
    pub(crate) comment: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, comment: impl Into<String>) -> Self {
        Self { status, comment: comment.into() }
    }

    /// Only for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.status == status::OUT_OF_RESOURCES
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        let status = match &error {
            error if error.is_full() => status::OUT_OF_RESOURCES,
            JournalError::TooLarge { .. } | JournalError::Empty => status::CANNOT_UNDERSTAND,
            error => {
                tracing::error!(%error, "the journal fails");
                status::PROCESSING_FAILURE
            }
        };
        Self::new(status, error.reason().cause)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::new(status::CANNOT_UNDERSTAND, error.to_string())
    }
}

/// An object that is arriving. Once it is refused, what comes is counted and dropped.
pub(crate) struct ArrivingObject<'j> {
    announced: Announced,
    head: HeadReader,
    way: Result<ObjectWriter<'j>, Refusal>,
    /// Bytes of the data set so far.
    bytes: u64,
    /// More than this is not waited for when it is refused anyway.
    patience: u64,
}

impl<'j> ArrivingObject<'j> {
    pub(crate) fn begin(journal: &'j Journal, config: &Config, announced: Announced) -> Self {
        let head = HeadReader::new(&announced.transfer_syntax_uid);
        let way = begin(journal, config, &announced);
        let patience = journal.settings().most_object_bytes.saturating_mul(2);
        Self { announced, head, way, bytes: 0, patience }
    }

    /// The next bytes of the data set.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.head.read(bytes);
        if let Ok(writer) = &mut self.way
            && let Err(error) = writer.write(bytes)
        {
            self.way = Err(error.into());
        }
    }

    /// Whether it is refused already.
    pub(crate) fn is_refused(&self) -> bool {
        self.way.is_err()
    }

    /// Whether it is refused, and longer than anything that would not be.
    pub(crate) fn is_endless(&self) -> bool {
        self.way.is_err() && self.bytes > self.patience
    }

    /// All of it is there: holds the data set against what was announced, and commits it.
    pub(crate) fn finish(self, source: Source) -> Result<Received, Refusal> {
        let writer = self.way?;
        if self.bytes == 0 {
            return Err(Refusal::new(status::CANNOT_UNDERSTAND, "an empty data set"));
        }
        let head = self.head.finish()?;
        let differs =
            |what| Err(Refusal::new(status::DATA_SET_DOES_NOT_MATCH, format!("another {what} than announced")));
        if head.sop_class_uid != self.announced.sop_class_uid {
            return differs("SOP Class UID");
        }
        if head.sop_instance_uid != self.announced.sop_instance_uid {
            return differs("SOP Instance UID");
        }
        let kind = Kind::Dicom {
            sop_class_uid: head.sop_class_uid,
            sop_instance_uid: head.sop_instance_uid,
            study_instance_uid: head.study_instance_uid,
            series_instance_uid: head.series_instance_uid,
            transfer_syntax_uid: self.announced.transfer_syntax_uid,
        };
        Ok(writer.commit(ReceivedObject { kind, source })?)
    }
}

fn begin<'j>(journal: &'j Journal, config: &Config, announced: &Announced) -> Result<ObjectWriter<'j>, Refusal> {
    if !is_uid(&announced.sop_instance_uid) {
        return Err(Refusal::new(status::CANNOT_UNDERSTAND, "the SOP Instance UID is no UID"));
    }
    if !config.sop_classes.contains(&announced.sop_class_uid) {
        return Err(Refusal::new(status::SOP_CLASS_NOT_SUPPORTED, "a SOP class that is not read"));
    }
    if !config.transfer_syntaxes.contains(&announced.transfer_syntax_uid) {
        return Err(Refusal::new(status::CANNOT_UNDERSTAND, "a transfer syntax that is not read"));
    }
    let mut writer = journal.begin_object()?;
    let meta = part10::write(announced).map_err(|error| Refusal::new(status::PROCESSING_FAILURE, error.to_string()))?;
    writer.write(&meta)?;
    Ok(writer)
}

/// Counts what became of an object and puts it in the log, with the time that it `took` from its last byte to its record. `what` is
/// in the log too, so it names no patient. What another image has the UID of is not taken: the answer must not
/// be success, since its sender may delete what it thinks is kept.
pub(crate) fn told(
    result: Result<Received, Refusal>,
    tally: &Tally,
    what: &str,
    took: Duration,
) -> Result<(), Refusal> {
    match result {
        Ok(Received::Accepted { object, study }) => {
            tally.accepted.up();
            tracing::info!(what, object, study, milliseconds = took.as_secs_f64() * 1e3, "received");
            Ok(())
        }
        Ok(Received::Duplicate { object }) => {
            tally.duplicates.up();
            tracing::info!(what, object, "received again");
            Ok(())
        }
        Ok(Received::DuplicateOtherContent { object }) => {
            tally.other_content.up();
            tracing::warn!(what, object, "another image has this SOP Instance UID");
            Err(Refusal::new(status::CANNOT_UNDERSTAND, "another image with this SOP Instance UID is kept"))
        }
        Err(refusal) => {
            if refusal.is_full() {
                tally.no_room.up()
            } else {
                tally.refused.up()
            }
            tracing::warn!(what, status = format!("{:04x}", refusal.status), refusal.comment, "refused");
            Err(refusal)
        }
    }
}
