//! C-STORE (DICOM PS3.4, annexes B and GG), and storage commitment (annex J) in the role of its user.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dicom_ul::pdu::{AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource};
use sha2::{Digest, Sha256};
use thorax_dimse::{
    association::{Ask, AskError, Limits, MOST_PROPOSALS, Proposal, Requestor},
    command,
    commitment::{Commitment, Reference},
    talk::{Deadline, End, Wire},
    tls::{Connector, TlsError},
    uids,
};
use thorax_shared::reason::Reason;

use crate::{
    config::Dicom,
    meaning::{Meaning, words},
    part::Part,
    reports::{Inbox, take_report},
    way::{Answer, Attempt, Failure, Lost, Stop, Told, Way},
};

/// How often it is looked whether a report came another way, or the device stops.
const LOOK: Duration = Duration::from_millis(100);
/// Questions about one delivery whose answers are still waited for.
const MOST_QUESTIONS: usize = 8;
/// Request, the only action of storage commitment (PS3.4, J.3.2).
const REQUEST_COMMITMENT: u16 = 1;
/// No PDU of an archive is longer.
const MOST_PDU_BYTES: u32 = 128 << 10;

/// An archive on the DICOM network.
pub(crate) struct DicomWay {
    ae_title: String,
    to: Dicom,
    tls: Option<Connector>,
    inbox: Arc<Inbox>,
    stop: Stop,
    /// The connection, to be shut down.
    connection: Mutex<Option<TcpStream>>,
    /// The transactions of each delivery that was asked about.
    asked: Mutex<HashMap<u64, Vec<String>>>,
}

/// How a conversation ended before its time.
enum Early {
    /// The peer ended it, or has to be told that it is over.
    End(End),
    /// We end it in good order.
    Ours(Failure),
}

impl From<End> for Early {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DicomWay {
    /// # Errors
    /// Certificates that cannot be read.
    pub(crate) fn new(ae_title: &str, to: Dicom, inbox: Arc<Inbox>) -> Result<Self, TlsError> {
        let ae_title = ae_title.to_owned();
        let tls = to.tls.as_ref().map(Connector::new).transpose()?;
        Ok(Self {
            ae_title,
            to,
            tls,
            inbox,
            stop: Stop::default(),
            connection: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            connect_seconds: self.to.connect_seconds,
            associate_seconds: self.to.associate_seconds,
            message_seconds: self.to.message_seconds,
            most_pdu_bytes: MOST_PDU_BYTES,
        }
    }

    fn connect(&self) -> Result<Box<dyn Wire>, Failure> {
        let unreachable = |reason: io::Error| {
            Failure::Peer(Reason::new(
                format!("cannot reach {} ({reason})", self.to.address),
                "check that the archive is running, the network, and its address and port in the board's profile",
            ))
        };
        let wire = self.limits().reach(&self.to.address).map_err(unreachable)?;
        *locked(&self.connection) = wire.try_clone().ok();
        if self.stop.is_at_once() {
            return Err(Failure::Stopping);
        }
        self.limits().secure(wire, &self.to.address, self.tls.as_ref()).map_err(|reason| {
            Failure::Peer(Reason::new(
                format!("no TLS with {} ({reason})", self.to.address),
                "check that the archive speaks TLS, both certificates, and their authorities",
            ))
        })
    }

    fn not_agreed(&self, error: &AskError) -> Failure {
        let remedy = match error {
            AskError::Rejected(rejection) => match &rejection.source {
                AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CallingAETitleNotRecognized) => {
                    format!("enter {} and this device's address in the archive", self.ae_title)
                }
                AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CalledAETitleNotRecognized) => {
                    format!("correct the archive's AE title {} in the board's profile", self.to.ae_title)
                }
                _ if rejection.result == AssociationRJResult::Transient => "nothing; it is tried again".to_owned(),
                _ => format!("enter {} in the archive; its log says why", self.ae_title),
            },
            AskError::End(_) => "check that a DICOM archive listens there, and not another program".to_owned(),
        };
        Failure::Peer(Reason::new(format!("no association with {} ({error})", self.to.address), remedy))
    }

    /// One association.
    fn converse(
        &self,
        attempt: &Attempt<'_>,
        parts: &[Part],
        commit: bool,
        has: &mut Vec<Part>,
        told: Told<'_>,
    ) -> Result<Vec<Lost>, Failure> {
        let mut proposals: Vec<Proposal> = vec![];
        for part in parts {
            let proposal = proposal(part);
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
        let commitment = Proposal::of(uids::STORAGE_COMMITMENT, uids::IMPLICIT_LITTLE_ENDIAN);
        if commit {
            proposals.push(commitment.clone());
        }
        let wire = self.connect()?;
        let ask = Ask { calling_ae_title: &self.ae_title, called_ae_title: &self.to.ae_title, proposals: &proposals };
        let mut association =
            Requestor::ask(wire, &ask, self.limits()).map_err(|error| match self.stop.is_at_once() {
                true => Failure::Stopping,
                false => self.not_agreed(&error),
            })?;
        let mut talk = || -> Result<Vec<Lost>, Early> {
            for part in parts {
                if self.store(&mut association, part, told)? {
                    has.push(part.clone());
                }
            }
            if commit && !has.is_empty() {
                self.commit(&mut association, &commitment, attempt, has)
            } else {
                Ok(vec![])
            }
        };
        match talk() {
            Ok(lost) => {
                association.release();
                Ok(lost)
            }
            Err(Early::Ours(failure)) => {
                association.release();
                Err(failure)
            }
            Err(Early::End(end)) => {
                association.abort(&end);
                if self.stop.is_stopping() {
                    return Err(Failure::Stopping);
                }
                Err(Failure::Broken(Reason::new(
                    format!("{} broke off ({end})", self.to.address),
                    "see the archive's log; what it has not answered is sent again, the same objects under the same UIDs",
                )))
            }
        }
    }

    /// Sends one object; tells whether the archive has it.
    fn store(&self, association: &mut Requestor<Box<dyn Wire>>, part: &Part, told: Told<'_>) -> Result<bool, Early> {
        if self.stop.is_stopping() {
            return Err(Failure::Stopping.into());
        }
        let Some(context) = association.context(&proposal(part)) else {
            let (class, syntax) = (&part.what.sop_class_uid, &part.what.transfer_syntax_uid);
            let cause = format!("the archive does not take {} in transfer syntax {syntax}", class_words(class));
            told(part, Answer::Refused(Reason::new(cause, "have the archive take it, then send again")))?;
            return Ok(false);
        };
        let command = command::store(&part.what.sop_class_uid, &part.what.sop_instance_uid, association.message_id());
        let mut data_set = part.data_set().map_err(|reason| {
            Failure::Broken(Reason::new(format!("an object cannot be read ({reason})"), "check the disk"))
        })?;
        let response = association.request(context, &command, &mut data_set)?;
        let said = || match &*response.comment {
            "" => words(response.status),
            comment => format!("{}: {comment}", words(response.status)),
        };
        match Meaning::of(response.status) {
            Meaning::Has => {
                told(part, Answer::Has)?;
                Ok(true)
            }
            Meaning::Later => Err(Failure::Peer(Reason::new(
                format!("the archive has no room ({})", said()),
                "make room in the archive; it is tried again",
            ))
            .into()),
            Meaning::Refused => {
                let cause = format!("the archive refuses {} ({})", class_words(&part.what.sop_class_uid), said());
                told(part, Answer::Refused(Reason::new(cause, "see the archive's log, then send again")))?;
                Ok(false)
            }
        }
    }

    /// Asks the archive to commit to `parts`, and waits until it says so on this association or on another.
    fn commit(
        &self,
        association: &mut Requestor<Box<dyn Wire>>,
        proposal: &Proposal,
        attempt: &Attempt<'_>,
        parts: &[Part],
    ) -> Result<Vec<Lost>, Early> {
        let no_commitment = |why: String| {
            Failure::Wait(Reason::new(
                format!("the archive has the objects and does not commit to them ({why})"),
                "have the archive offer storage commitment to us, or do not ask for it in the board's profile",
            ))
        };
        let Some(context) = association.context(proposal) else {
            return Err(no_commitment("it does not take the class".into()).into());
        };
        let transaction = transaction(attempt, parts);
        self.inbox.expect(&transaction);
        let dropped = {
            let mut asked = locked(&self.asked);
            let of = asked.entry(attempt.delivery).or_default();
            of.push(transaction.clone());
            let older = of.len().saturating_sub(MOST_QUESTIONS);
            of.drain(..older).collect::<Vec<_>>()
        };
        self.inbox.forget(&dropped);
        let images = parts.iter().map(reference).collect();
        let question = Commitment { transaction, images, failed: vec![] }.data_set();
        let instance = uids::STORAGE_COMMITMENT_INSTANCE;
        let command = command::action(uids::STORAGE_COMMITMENT, instance, REQUEST_COMMITMENT, association.message_id());
        let response = association.request(context, &command, &mut &question[..])?;
        if response.status != command::status::SUCCESS {
            return Err(no_commitment(words(response.status)).into());
        }
        let until = Instant::now() + Duration::from_secs(self.to.commitment_seconds);
        let mut is_open = true;
        loop {
            if let Some(lost) = self.reported(attempt.delivery, parts) {
                return Ok(lost);
            }
            if self.stop.is_stopping() {
                return Err(Failure::Stopping.into());
            }
            if Instant::now() >= until {
                let seconds = self.to.commitment_seconds;
                return Err(Failure::Wait(Reason::new(
                    format!("the archive has the objects, and has not committed to them within {seconds} s"),
                    format!(
                        "check that the archive knows {} by the port for reports; it is asked again",
                        self.ae_title
                    ),
                ))
                .into());
            }
            if !is_open {
                self.inbox.wait(LOOK);
                continue;
            }
            match association.messages().message(Deadline::after(LOOK, "a report")) {
                Ok(message) => {
                    take_report(association.messages(), &message, uids::IMPLICIT_LITTLE_ENDIAN, &self.inbox)?
                }
                Err(End::Slow(_)) => {}
                // It may well report on another association.
                Err(End::Closed | End::Aborted | End::Failed(_)) => is_open = false,
                Err(end) => return Err(end.into()),
            }
        }
    }

    /// What of `parts` the archive does not keep, if it has reported on this delivery.
    fn reported(&self, delivery: u64, parts: &[Part]) -> Option<Vec<Lost>> {
        let transactions = locked(&self.asked).get(&delivery).cloned()?;
        let report = self.inbox.take(&transactions)?;
        locked(&self.asked).remove(&delivery);
        self.inbox.forget(&transactions);
        let lost = parts.iter().filter(|part| !report.images.contains(&reference(part))).map(|part| {
            let failed = report.failed.iter().find(|(failed, _)| failed.instance == part.what.sop_instance_uid);
            let why = failed.map_or("it says nothing of it".to_owned(), |(_, status)| words(*status));
            Lost { sha256: part.sha256, why }
        });
        Some(lost.collect())
    }
}

impl Way for DicomWay {
    fn attempt(&self, attempt: &Attempt<'_>, told: Told<'_>) -> Result<Vec<Lost>, Failure> {
        let mut has = attempt.arrived.to_vec();
        // What came since it was last asked.
        if attempt.missing.is_empty()
            && let Some(lost) = self.reported(attempt.delivery, &has)
        {
            return Ok(lost);
        }
        // One number of a context is for commitment.
        let mut groups: Vec<&[Part]> = attempt.missing.chunks(MOST_PROPOSALS - 1).collect();
        if groups.is_empty() && self.to.commitment {
            groups.push(&[]);
        }
        let mut lost = vec![];
        let last = groups.len().saturating_sub(1);
        for (at, parts) in groups.into_iter().enumerate() {
            let commit = self.to.commitment && at == last;
            let result = self.converse(attempt, parts, commit, &mut has, told);
            *locked(&self.connection) = None;
            lost = result?;
        }
        Ok(lost)
    }

    fn stop(&self, at_once: bool) {
        self.stop.stop(at_once);
        if at_once && let Some(connection) = &*locked(&self.connection) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn proposal(part: &Part) -> Proposal {
    Proposal::of(&part.what.sop_class_uid, &part.what.transfer_syntax_uid)
}

fn reference(part: &Part) -> Reference {
    Reference { class: part.what.sop_class_uid.clone(), instance: part.what.sop_instance_uid.clone() }
}

/// The classes that are sent, in words (PS3.6, table A-1).
pub(crate) fn class_words(uid: &str) -> String {
    match uid {
        "1.2.840.10008.5.1.4.1.1.66.4" => "Segmentation Storage".into(),
        "1.2.840.10008.5.1.4.1.1.88.34" => "Comprehensive 3D SR Storage".into(),
        "1.2.840.10008.5.1.4.1.1.7" => "Secondary Capture Image Storage".into(),
        "1.2.840.10008.5.1.4.1.1.7.4" => "Multi-frame True Color Secondary Capture Image Storage".into(),
        uid => format!("SOP class {uid}"),
    }
}

/// The transaction of an attempt, which is never that of another: delivery and device time tell those of one device apart, the
/// objects those of two. As UUID of version 8 under the root 2.25 (RFC 9562, 5.8; PS3.5, B.2).
fn transaction(attempt: &Attempt<'_>, parts: &[Part]) -> String {
    let mut hash = Sha256::new().chain_update(b"thorax-delivery 1 commitment");
    hash.update(attempt.delivery.to_le_bytes());
    hash.update(attempt.device_milliseconds.to_le_bytes());
    for part in parts {
        hash.update(&part.what.sop_instance_uid);
        hash.update([0]);
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash.finalize()[..16]);
    bits[6] = bits[6] & 0x0f | 0x80;
    bits[8] = bits[8] & 0x3f | 0x80;
    format!("2.25.{}", u128::from_be_bytes(bits))
}
