//! An archive that is sent results: bytes of its answers on a connection that is made up, and its DICOM JSON.
//!
//! The first byte says what is answered: an association that we ask for, with every byte the archive's, or accepted, so that the
//! fuzzer gets behind it to the responses and reports; one that the archive asks for to report on; an answer in JSON.
#![no_main]

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, UserVariableItem, write_pdu,
};
use thorax_delivery::{Answers, Inbox, receive_reports};
use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    command::{self, Request, Response},
    commitment::Commitment,
    talk::Deadline,
    uids,
};
use thorax_fuzz::Connection;

const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
const TRANSACTION: &str = "2.25.7";

fn accepted(most_bytes: u32) -> Pdu {
    let result = |id, syntax: &str| PresentationContextResult {
        id,
        reason: PresentationContextResultReason::Acceptance,
        transfer_syntax: syntax.into(),
    };
    Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        called_ae_title: "ARCHIVE".into(),
        calling_ae_title: "THORAX_OUT".into(),
        application_context_name: uids::APPLICATION_CONTEXT.into(),
        presentation_contexts: vec![result(1, uids::EXPLICIT_LITTLE_ENDIAN), result(3, uids::IMPLICIT_LITTLE_ENDIAN)],
        user_variables: vec![UserVariableItem::MaxLength(most_bytes)],
    })
}

fn asked() -> Pdu {
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "ARCHIVE".into(),
        called_ae_title: "THORAX_OUT".into(),
        application_context_name: uids::APPLICATION_CONTEXT.into(),
        presentation_contexts: vec![
            PresentationContextProposed {
                id: 1,
                abstract_syntax: uids::STORAGE_COMMITMENT.into(),
                transfer_syntaxes: vec![uids::EXPLICIT_LITTLE_ENDIAN.into()],
            },
            PresentationContextProposed {
                id: 3,
                abstract_syntax: uids::STORAGE_COMMITMENT.into(),
                transfer_syntaxes: vec![uids::IMPLICIT_LITTLE_ENDIAN.into()],
            },
        ],
        user_variables: vec![],
    })
}

/// What an archive sends of which this is a recipe: a byte of flags, a length, bytes.
fn messages(first: &Pdu, mut recipe: &[u8]) -> Vec<u8> {
    let mut sent = vec![];
    write_pdu(&mut sent, first).unwrap();
    while let [flags, length, rest @ ..] = recipe {
        let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = rest;
        let context = if flags & 4 == 0 { 1 } else { 3 };
        let store = Request::read(&command::store(SEGMENTATION, "1.23", 1)).unwrap();
        let status = u16::from_le_bytes([part.first().copied().unwrap_or(0), part.get(1).copied().unwrap_or(0)]);
        let (value_type, data) = match (flags & 1 == 0, flags >> 5) {
            (true, 0) => (PDataValueType::Command, store.response(status, "said")),
            (true, 1) => {
                let event = command::event_report(uids::STORAGE_COMMITMENT, uids::STORAGE_COMMITMENT_INSTANCE, 1);
                (PDataValueType::Command, event)
            }
            (true, _) => (PDataValueType::Command, part.to_vec()),
            (false, _) => (PDataValueType::Data, part.to_vec()),
        };
        let value = PDataValue { presentation_context_id: context, value_type, is_last: flags & 2 != 0, data };
        write_pdu(&mut sent, &Pdu::PData { data: vec![value] }).unwrap();
    }
    sent
}

fn send(answers: &[u8]) {
    let proposals = [
        Proposal::of(SEGMENTATION, uids::EXPLICIT_LITTLE_ENDIAN),
        Proposal::of(uids::STORAGE_COMMITMENT, uids::IMPLICIT_LITTLE_ENDIAN),
    ];
    let ask = Ask { calling_ae_title: "THORAX_OUT", called_ae_title: "ARCHIVE", proposals: &proposals };
    let Ok(mut association) = Requestor::ask(Connection::new(answers), &ask, Limits::default()) else { return };
    if let Some(context) = association.context(&proposals[0]) {
        let id = association.message_id();
        let told = association.request(context, &command::store(SEGMENTATION, "1.23", id), &mut &[7; 3000][..]);
        match told {
            Ok(response) => assert_eq!(response.message_id, id),
            Err(end) => return association.abort(&end),
        }
    }
    while let Ok(message) = association.messages().message(Deadline::within(5, "a report")) {
        assert!(message.command.len() + message.data_set.len() <= answers.len());
        let _ = Commitment::read(&message.data_set, uids::IMPLICIT_LITTLE_ENDIAN);
    }
    association.release();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::contain_libraries();
    let Some((form, data)) = data.split_first() else { return };
    let inbox = Inbox::default();
    inbox.expect(TRANSACTION);
    let report = |sent: &[u8]| receive_reports(Connection::new(sent), "THORAX_OUT", &["ARCHIVE".to_owned()], &inbox);
    match form % 6 {
        0 => send(data),
        1 => send(&messages(&accepted(16384), data)),
        2 => drop(report(data)),
        3 => drop(report(&messages(&asked(), data))),
        4 => {
            let _ = Response::read(data);
            for syntax in [uids::IMPLICIT_LITTLE_ENDIAN, uids::EXPLICIT_LITTLE_ENDIAN] {
                // What was read is written so that it is read the same.
                if let Ok(read) = Commitment::read(data, syntax) {
                    assert_eq!(Commitment::read(&read.data_set(), uids::IMPLICIT_LITTLE_ENDIAN).unwrap(), read);
                }
            }
        }
        _ => {
            if let Ok(answers) = Answers::read(data) {
                assert_eq!(answers.status("1.23").is_some(), answers.meaning("1.23").is_some());
            }
        }
    }
});
