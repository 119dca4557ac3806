//! A DICOM association: bytes of a peer on a connection that is made up, into a journal in memory.
//!
//! Of half of the inputs every byte is the peer's. The others begin with a request that is accepted, and their bytes are parts of
//! messages, so that the fuzzer gets behind the PDUs to command sets and data sets.
#![no_main]

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use dicom_ul::pdu::{
    AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed, UserVariableItem, write_pdu,
};
use thorax_fuzz::{Connection, Memory};
use thorax_intake::{Activity, Config, Peer, Tally, converse};
use thorax_journal::{Journal, Settings, SystemClock};

const CLASSES: [(&str, &str); 5] = [
    ("1.2.840.10008.1.1", "1.2.840.10008.1.2"),
    ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2"),
    ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1"),
    ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1.99"),
    ("1.2.840.10008.1.20.1", "1.2.840.10008.1.2.1"),
];

fn request() -> Pdu {
    let contexts = (0..).zip(CLASSES).map(|(number, (class, syntax))| PresentationContextProposed {
        id: 2 * number + 1,
        abstract_syntax: class.into(),
        transfer_syntaxes: vec![syntax.into()],
    });
    Pdu::AssociationRQ(AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "PEER".into(),
        called_ae_title: "THORAX".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: contexts.collect(),
        user_variables: vec![UserVariableItem::MaxLength(16384)],
    })
}

/// Command sets that a peer might send, so that not all of them have to be guessed.
fn command(field: u8, context: u8) -> Vec<u8> {
    let class = CLASSES[usize::from(context)].0.as_bytes();
    let class = [class, &[0][..class.len() % 2]].concat();
    let element = |number: u16, value: &[u8]| {
        [&[0, 0][..], &number.to_le_bytes(), &(value.len() as u32).to_le_bytes(), value].concat()
    };
    let rest = [
        element(0x0002, &class),
        element(0x0100, &[field, 0]),
        element(0x0110, &[1, 0]),
        element(0x0800, if field == 1 { &[0, 0] } else { &[1, 1] }),
        element(0x1000, b"1.23"),
    ]
    .concat();
    [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat()
}

/// An N-ACTION about storage commitment.
fn question() -> Vec<u8> {
    let element = |number: u16, value: &[u8]| {
        [&[0, 0][..], &number.to_le_bytes(), &(value.len() as u32).to_le_bytes(), value].concat()
    };
    let rest = [
        element(0x0003, b"1.2.840.10008.1.20.1"),
        element(0x0100, &[0x30, 1]),
        element(0x0110, &[1, 0]),
        element(0x0800, &[0, 0]),
        element(0x1001, b"1.2.840.10008.1.20.1.1"),
        element(0x1008, &[1, 0]),
    ]
    .concat();
    [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat()
}

/// What a peer sends of which this is a recipe: a byte of flags, a length, bytes.
fn messages(mut recipe: &[u8]) -> Vec<u8> {
    let mut sent = vec![];
    write_pdu(&mut sent, &request()).unwrap();
    while let [flags, length, rest @ ..] = recipe {
        let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        recipe = rest;
        let context = (flags >> 2 & 7) % CLASSES.len() as u8;
        let value_type = if flags & 1 == 0 { PDataValueType::Command } else { PDataValueType::Data };
        let data = match flags >> 5 {
            0 if flags & 1 == 0 => command(1, context),
            1 if flags & 1 == 0 => command(0x30, context),
            2 if flags & 1 == 0 => question(),
            _ => part.to_vec(),
        };
        let is_last = flags & 2 != 0;
        let value = PDataValue { presentation_context_id: 2 * context + 1, value_type, is_last, data };
        write_pdu(&mut sent, &Pdu::PData { data: vec![value] }).unwrap();
    }
    write_pdu(&mut sent, &Pdu::ReleaseRQ).unwrap();
    sent
}

fn journal() -> Journal {
    let settings = Settings { most_object_bytes: 4096, ..Settings::default() };
    let backend = redb::backends::InMemoryBackend::new();
    Journal::open_on(backend, Arc::new(Memory::default()), Arc::new(SystemClock::default()), settings).unwrap()
}

thread_local! {
    static JOURNAL: RefCell<Option<Journal>> = const { RefCell::new(None) };
    static RUNS: Cell<u64> = const { Cell::new(0) };
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::contain_libraries();
    let Some((form, data)) = data.split_first() else { return };
    let sent = if form % 2 == 0 { data.to_vec() } else { messages(data) };
    let asking =
        Peer { ae_title: "PEER".into(), addresses: vec![], commitment_address: Some(([127, 0, 0, 1], 1).into()), commitment_tls: None };
    let config = Config { peers: vec![asking], close_at_release: true, ..Config::default() };
    let (tally, activity) = (Tally::default(), Activity::default());
    JOURNAL.with_borrow_mut(|kept| {
        let journal = kept.get_or_insert_with(journal);
        let mut connection = Connection::new(&sent);
        let address = [127, 0, 0, 1].into();
        converse(&mut connection, address, &config, journal, &tally, &activity, &|_| {});
        // As many objects as were answered with success are there, and nothing that was not.
        let runs = RUNS.get() + 1;
        RUNS.set(runs);
        if tally.figures().accepted > 0 || runs % 1000 == 0 {
            assert_eq!(journal.verify().unwrap().problems, []);
        }
        if journal.counts().unwrap().objects_waiting > 50 {
            *kept = None;
        }
    });
});
