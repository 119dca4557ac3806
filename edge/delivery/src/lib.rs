//! How results leave the device: to an archive over the network, tried until they are there, and to a stick without names.
//!
//! The journal has an outbox: which study's result is wanted where. [`Deliveries`] takes from it, one delivery at a time for each
//! destination and all destinations side by side, and sends the result's DICOM objects, which are its files whose label ends in
//! `.dcm`. There are two ways:
//!
//! - *C-STORE* (DICOM PS3.4, annexes B and GG): exactly the classes and syntaxes of the objects are proposed, all objects of a
//!   delivery go over one association, and if it is asked for, the peer has to commit to them (annex J) before they count as
//!   delivered.
//! - *STOW-RS* (PS3.18, 10.5): each object is a request of its own, which streams from its file.
//!
//! What becomes of a delivery:
//!
//! | the peer | then |
//! |---|---|
//! | says that it has an object, also that it had it before | that object is never sent again; the journal keeps that at once |
//! | refuses an object for good | the others are sent, and the delivery is given up, with the reason, until somebody asks for it |
//! | has no room, or cannot be reached | nothing is lost; the peer rests for a pause that doubles, from seconds to an hour |
//! | breaks off in the middle | the delivery waits by itself as well, so that it keeps no other back |
//!
//! An answer that was never received is no answer: the object is sent again, the same bytes under the same SOP Instance UID, so
//! that the archive sees that it has it. That is the only way in which an archive is sent anything twice.
//!
//! Pauses are reckoned in device time, since a box without a battery for its clock knows no other. The crate knows the journal and
//! the network; what the objects say is nothing to it. [`export`] is the way on foot.

mod answers;
mod config;
mod dicom;
mod error;
mod export;
mod meaning;
mod part;
mod pause;
mod reports;
mod status;
mod way;
mod web;
mod worker;

pub use answers::{Answers, AnswersError};
pub use config::{Config, Destination, Dicom, To, Web};
pub use error::DeliveryError;
pub use export::{ExportError, Exported, Noted, export, key_of};
pub use meaning::Meaning;
pub use reports::{Inbox, receive_reports};
pub use status::Status;
pub use worker::Deliveries;
