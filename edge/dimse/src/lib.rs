//! What both ends of a DICOM association speak (PS3.7, PS3.8): the intake, which is called, and the delivery, which calls.
//!
//! `dicom-ul` reads and writes PDUs; here is what is trusted of a peer on top of them, which is little: every PDU has a deadline
//! ([`talk`]), command sets are short and flat ([`command`]), and of storage commitment each side reads what the other writes
//! ([`commitment`]); of a [`worklist`] we ask. Who calls does so by [`association`]; either may do it behind [`tls`]. The heads of files ([`part10`]) are here since what is sent and
//! what is received is the same data set behind another head; a port that is to be closed is woken by [`wake`].

pub mod association;
pub mod command;
pub mod commitment;
mod elements;
pub mod messages;
pub mod part10;
pub mod talk;
pub mod tls;
pub mod uids;
pub mod wake;
pub mod worklist;
