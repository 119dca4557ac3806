//! A modality worklist that is asked who is next: bytes of its answers on a connection that is made up.
//!
//! Of inputs whose first byte is even, every byte is the worklist's. The others begin with an association that is accepted, and their
//! bytes are parts of messages, so that the fuzzer gets behind the PDUs to the entries.
#![no_main]

use dicom_ul::pdu::{
    AssociationAC, PDataValue, PDataValueType, Pdu, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem, write_pdu,
};
use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    talk::Deadline,
    uids,
    worklist::{Entry, Query, find},
};
use thorax_fuzz::Connection;

/// No more answers are asked for.
const MOST: usize = 5;

fn accepted() -> Pdu {
    Pdu::AssociationAC(AssociationAC {
        protocol_version: 1,
        called_ae_title: "RIS".into(),
        calling_ae_title: "THORAX".into(),
        application_context_name: uids::APPLICATION_CONTEXT.into(),
        presentation_contexts: vec![PresentationContextResult {
            id: 1,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: uids::IMPLICIT_LITTLE_ENDIAN.into(),
        }],
        user_variables: vec![UserVariableItem::MaxLength(16384)],
    })
}

/// A response to our C-FIND.
fn response(status: [u8; 2], with_data: bool) -> Vec<u8> {
    let element = |number: u16, value: &[u8]| {
        [&[0, 0][..], &number.to_le_bytes(), &(value.len() as u32).to_le_bytes(), value].concat()
    };
    let class = [uids::MODALITY_WORKLIST.as_bytes(), &[0][..uids::MODALITY_WORKLIST.len() % 2]].concat();
    let rest = [
        element(0x0002, &class),
        element(0x0100, &0x8020_u16.to_le_bytes()),
        element(0x0120, &1_u16.to_le_bytes()),
        element(0x0800, &(if with_data { 1_u16 } else { 0x0101 }).to_le_bytes()),
        element(0x0900, &status),
    ]
    .concat();
    [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat()
}

/// What a worklist sends of which this is a recipe: a byte of flags, a length, bytes.
fn messages(mut recipe: &[u8]) -> Vec<u8> {
    let mut sent = vec![];
    write_pdu(&mut sent, &accepted()).unwrap();
    while let [flags, length, rest @ ..] = recipe {
        let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = rest;
        let (value_type, data) = match (flags & 1 == 0, flags >> 5) {
            (true, 0..3) => (PDataValueType::Command, response([0x00, 0xff], true)),
            (true, 3) => (PDataValueType::Command, response([0, 0], false)),
            (true, _) => (PDataValueType::Command, part.to_vec()),
            (false, _) => (PDataValueType::Data, part.to_vec()),
        };
        let value = PDataValue { presentation_context_id: 1, value_type, is_last: flags & 2 != 0, data };
        write_pdu(&mut sent, &Pdu::PData { data: vec![value] }).unwrap();
    }
    sent
}

fn ask(answers: &[u8]) {
    let proposals = [Proposal::of(uids::MODALITY_WORKLIST, uids::IMPLICIT_LITTLE_ENDIAN)];
    let ask = Ask { calling_ae_title: "THORAX", called_ae_title: "RIS", proposals: &proposals };
    let Ok(mut association) = Requestor::ask(Connection::new(answers), &ask, Limits::default()) else { return };
    let Some(context) = association.context(&proposals[0]) else { return };
    let deadline = Deadline::within(5, "answers");
    if let Ok(answers) = find(&mut association, context, &Query::default(), MOST, deadline) {
        assert!(answers.entries.len() + answers.damaged <= MOST);
        answers.entries.iter().for_each(harmless);
    }
}

/// Whatever a worklist says is shown on a terminal.
fn harmless(entry: &Entry) {
    for text in [&entry.patient_name, &entry.patient_id, &entry.accession_number, &entry.step_description] {
        assert!(!text.chars().any(char::is_control));
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::contain_libraries();
    let Some((form, data)) = data.split_first() else { return };
    match form % 3 {
        0 => ask(data),
        1 => ask(&messages(data)),
        _ => {
            let _ = Entry::read(data).map(|entry| harmless(&entry));
        }
    }
});
