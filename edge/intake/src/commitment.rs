//! Storage commitment (DICOM PS3.4, annex J): a peer names images, and is told which of them are kept, so that it may delete
//! its own.
//!
//! The question is an N-ACTION, the answer an N-EVENT-REPORT on an association of its own, which we ask for in the role of the
//! provider. It is tried a few times; a peer that never got it asks again, since the transaction is its own.

use std::net::SocketAddr;

use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    command::{self, status},
    commitment::Commitment,
    tls,
};
use thorax_journal::{Journal, Kind};

use crate::uids;

/// Failure reasons (PS3.3, C.14.1.1).
mod reason {
    pub(super) const NO_SUCH_OBJECT_INSTANCE: u16 = 0x0112;
    pub(super) const CLASS_INSTANCE_CONFLICT: u16 = 0x0119;
}

/// What is answered, and to whom.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) calling_ae_title: String,
    pub(crate) called_ae_title: String,
    pub(crate) address: SocketAddr,
    /// Whether it is told behind TLS.
    tls: Option<tls::Client>,
    answer: Commitment,
}

/// Looks the images up. What is in the journal is durable.
pub(crate) fn answer(
    question: Commitment,
    journal: &Journal,
    calling_ae_title: &str,
    called_ae_title: &str,
    address: SocketAddr,
    tls: Option<tls::Client>,
) -> thorax_journal::Result<Report> {
    let mut answer = Commitment { transaction: question.transaction, images: vec![], failed: vec![] };
    for reference in question.images {
        match journal.find_instance(&reference.instance)?.map(|(_, object)| object) {
            None => answer.failed.push((reference, reason::NO_SUCH_OBJECT_INSTANCE)),
            Some(object) => match object.what.kind {
                Kind::Dicom { sop_class_uid, .. } if sop_class_uid == reference.class => answer.images.push(reference),
                _ => answer.failed.push((reference, reason::CLASS_INSTANCE_CONFLICT)),
            },
        }
    }
    let (calling_ae_title, called_ae_title) = (calling_ae_title.to_owned(), called_ae_title.to_owned());
    Ok(Report { calling_ae_title, called_ae_title, address, tls, answer })
}

impl Report {
    /// Tells the peer, on an association of its own.
    pub(crate) fn send(&self) -> Result<(), String> {
        let limits = Limits::default();
        let tls = self.tls.as_ref().map(tls::Connector::new).transpose().map_err(|error| error.to_string())?;
        let wire = limits
            .connect(self.address)
            .and_then(|wire| limits.secure(wire, &self.address.to_string(), tls.as_ref()))
            .map_err(|error| error.to_string())?;
        let ask = Ask {
            // We are the one who was called, and call back.
            calling_ae_title: &self.called_ae_title,
            called_ae_title: &self.calling_ae_title,
            proposals: &[Proposal::of(uids::STORAGE_COMMITMENT, uids::IMPLICIT_LITTLE_ENDIAN).as_provider()],
        };
        let mut association = Requestor::ask(wire, &ask, limits).map_err(|error| error.to_string())?;
        let context = association.context(&ask.proposals[0]).ok_or("storage commitment is not accepted")?;
        let command = command::event_report(
            uids::STORAGE_COMMITMENT,
            uids::STORAGE_COMMITMENT_INSTANCE,
            self.answer.event_type(),
        );
        let told = association.request(context, &command, &mut &self.answer.data_set()[..]);
        let response = told.map_err(|error| error.to_string())?;
        // That it cannot be released any more changes nothing.
        association.release();
        match response.status {
            status::SUCCESS => Ok(()),
            status => Err(format!("answered with status {status:04x}")),
        }
    }
}
