//! How images reach the device: over the DICOM network, and from folders that are watched.
//!
//! Both ways end in the same place, the journal, and are told of success only when the image is durable there. The network's
//! way is this:
//!
//! 1. A connection gets a thread and a deadline ([`Intake`]).
//! 2. It asks for an association; title and address must be known, and classes and syntaxes are taken from a list.
//! 3. C-ECHO is answered. The data set of a C-STORE streams to the journal behind a file meta header of our own, while its UIDs
//!    are read in passing; it is held against its command, committed, and only then answered with `0000`.
//!
//! 4. An N-ACTION that asks what is kept is answered by an N-EVENT-REPORT on an association back to the peer.
//!
//! Whatever a peer sends decides over no name of a file and no size of memory.

mod association;
mod commitment;
mod config;
mod error;
mod folder;
mod head;
mod object;
mod server;
mod tally;
mod uids;

pub use association::{Activity, converse};
pub use commitment::Report;
pub use config::{Config, Folder, Peer};
pub use error::IntakeError;
pub use folder::FolderWatch;
pub use server::Intake;
pub use tally::{Tally, TallyFigures};
pub use thorax_dimse::{talk::Wire, tls};
