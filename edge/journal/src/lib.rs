//! What the device received, found and delivered, kept so that a power cut loses nothing.
//!
//! A sender deletes its image when it has been told "success". So [`ObjectWriter::commit`] returns only when the image is
//! durable: its bytes in a file that was synced, the file under its own name in a folder that was synced, and a record of it
//! in a database whose transaction was synced in two phases. Whatever is cut off before that was never acknowledged, and is
//! cleaned away when the journal is opened; whatever is cut off after it is there.
//!
//! What is in the folder of a journal:
//!
//! | name | is |
//! |---|---|
//! | `journal.redb` | the database: studies, objects, results, deliveries, the queue, readers' words, the audit |
//! | `files/<SHA-256>` | an image, or a file of a result; the name is ours, never a sender's |
//! | `files/<number>.part` | a file that is being written |
//! | `.lock` | keeps other processes out |
//!
//! An object goes this way: received, part of a study that is *open*; *closed* after a quiet time or at the release of the
//! association; *taken* by the program; *finished* with a result, whose deliveries wait in the outbox until each has arrived or
//! was refused for good. What was taken or being sent when the device went down is put back when the journal is opened.
//!
//! Nothing is ordered or waited for by the wall clock, see [`Clock`].

mod backup;
mod check;
mod clock;
mod entries;
mod error;
mod events;
mod export;
mod journal;
mod record;
mod store;
mod tables;

pub use backup::restore;
pub use check::Verification;
pub use clock::{Clock, Moment, SystemClock};
pub use entries::{
    Audit, AuditEvent, Delivery, DeliveryState, Feedback, Hash, Kind, Object, Opinion, ReceivedObject, ResultFile,
    Source, Study, StudyResult, StudyState, Summary, Thresholds,
};
pub use error::{JournalError, Result};
pub use events::{Event, NewEvent};
pub use journal::{
    Agreement, Counts, Journal, ObjectWriter, Received, Recovery, Removed, Settings, TakenDelivery, TakenObject,
    TakenStudy,
};
pub use store::{FileStore, FolderStore, StoreFile};
