//! A peer that does as it likes.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PDataValue, PDataValueType, Pdu, PresentationContextProposed,
    PresentationContextResult, PresentationContextResultReason, RequestorRoles, UserVariableItem, read_pdu, write_pdu,
};

pub(crate) const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub(crate) const COMMITMENT: &str = "1.2.840.10008.1.20.1";
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";

pub(crate) struct Peer {
    wire: TcpStream,
    buffer: Vec<u8>,
    proposed: Vec<String>,
    /// What each context was answered with; 0: accepted.
    pub(crate) contexts: Vec<u8>,
}

impl Peer {
    /// Asks for an association, and gets it.
    #[track_caller]
    pub(crate) fn ask(port: u16, calling: &str, called: &str, contexts: &[(&str, &str)]) -> Self {
        Self::try_ask(port, calling, called, contexts).unwrap()
    }

    /// Asks for an association with a context for each class and syntax.
    pub(crate) fn try_ask(port: u16, calling: &str, called: &str, contexts: &[(&str, &str)]) -> Option<Self> {
        let wire = TcpStream::connect(("127.0.0.1", port)).unwrap();
        wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let proposed = contexts.iter().map(|(class, _)| (*class).to_owned()).collect();
        let mut peer = Self { wire, buffer: vec![], proposed, contexts: vec![] };
        let presentation_contexts = (0..).zip(contexts).map(|(n, (class, syntax))| PresentationContextProposed {
            id: 2 * n + 1,
            abstract_syntax: (*class).into(),
            transfer_syntaxes: vec![(*syntax).into()],
        });
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: calling.into(),
            called_ae_title: called.into(),
            application_context_name: "1.2.840.10008.3.1.1.1".into(),
            presentation_contexts: presentation_contexts.collect(),
            user_variables: vec![UserVariableItem::MaxLength(16384)],
        };
        peer.try_send(&Pdu::AssociationRQ(request)).then_some(())?;
        match peer.receive() {
            Some(Pdu::AssociationAC(answer)) => {
                let reason = |reason| match reason {
                    PresentationContextResultReason::Acceptance => 0,
                    PresentationContextResultReason::AbstractSyntaxNotSupported => 3,
                    PresentationContextResultReason::TransferSyntaxesNotSupported => 4,
                    other => panic!("{other:?}"),
                };
                peer.contexts = answer.presentation_contexts.into_iter().map(|result| reason(result.reason)).collect();
                Some(peer)
            }
            _ => None,
        }
    }

    pub(crate) fn wire(&mut self) -> &mut TcpStream {
        &mut self.wire
    }

    pub(crate) fn into_wire(self) -> TcpStream {
        self.wire
    }

    fn id(&self, class: &str) -> u8 {
        2 * self.proposed.iter().position(|proposed| proposed == class).unwrap() as u8 + 1
    }

    fn try_send(&mut self, pdu: &Pdu) -> bool {
        let mut bytes = vec![];
        write_pdu(&mut bytes, pdu).unwrap();
        self.wire.write_all(&bytes).is_ok()
    }

    fn receive(&mut self) -> Option<Pdu> {
        loop {
            let mut rest = &self.buffer[..];
            if let Some(pdu) = read_pdu(&mut rest, 1 << 20, true).unwrap() {
                let read = self.buffer.len() - rest.len();
                self.buffer.drain(..read);
                return Some(pdu);
            }
            let mut chunk = [0; 4096];
            match self.wire.read(&mut chunk) {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
                _ => return None,
            }
        }
    }

    fn part(&mut self, class: &str, value_type: PDataValueType, is_last: bool, data: &[u8]) -> bool {
        let value = PDataValue { presentation_context_id: self.id(class), value_type, is_last, data: data.to_vec() };
        self.try_send(&Pdu::PData { data: vec![value] })
    }

    /// The status of the response.
    #[track_caller]
    fn status(&mut self) -> u16 {
        let Some(Pdu::PData { data }) = self.receive() else { panic!("no response") };
        let response = &data[0].data;
        let at = response.windows(8).position(|head| head == [0, 0, 0, 9, 2, 0, 0, 0]).unwrap() + 8;
        u16::from_le_bytes([response[at], response[at + 1]])
    }

    #[track_caller]
    pub(crate) fn echo(&mut self) -> u16 {
        let command = command(0x0030, VERIFICATION, None);
        assert!(self.part(VERIFICATION, PDataValueType::Command, true, &command));
        self.status()
    }

    /// Sends an object, all of it.
    #[track_caller]
    pub(crate) fn store(&mut self, class: &str, instance: &str, data_set: &[u8]) -> u16 {
        self.begin_store(class, instance, b"");
        self.finish_store(class, data_set)
    }

    /// Sends the command, and this of the data set.
    #[track_caller]
    pub(crate) fn begin_store(&mut self, class: &str, instance: &str, data_set: &[u8]) {
        assert!(self.part(class, PDataValueType::Command, true, &command(0x0001, class, Some(instance))));
        for part in data_set.chunks(10_000) {
            assert!(self.part(class, PDataValueType::Data, false, part));
        }
    }

    /// Sends the rest of the data set.
    #[track_caller]
    pub(crate) fn finish_store(&mut self, class: &str, data_set: &[u8]) -> u16 {
        for part in data_set.chunks(10_000) {
            assert!(self.part(class, PDataValueType::Data, false, part));
        }
        assert!(self.part(class, PDataValueType::Data, true, b""));
        self.status()
    }

    /// Sends a part of a data set that is not the last; `false` when it can no longer be sent.
    pub(crate) fn try_part(&mut self, class: &str, data: &[u8]) -> bool {
        self.part(class, PDataValueType::Data, false, data)
    }

    pub(crate) fn endless_command(&mut self) {
        for _ in 0..10 {
            if !self.part(CR, PDataValueType::Command, false, &[0; 5000]) {
                return;
            }
        }
    }

    pub(crate) fn send_release(&mut self) {
        assert!(self.try_send(&Pdu::ReleaseRQ));
    }

    /// Asks which of these are kept.
    #[track_caller]
    pub(crate) fn ask_commitment(&mut self, transaction: &str, action: u8, images: &[(&str, &str)]) -> u16 {
        let class = even(COMMITMENT);
        let rest = [
            element(0x0003, &class),
            element(0x0100, &[0x30, 1]),
            element(0x0110, &[5, 0]),
            element(0x0800, &[0, 0]),
            element(0x1001, &even("1.2.840.10008.1.20.1.1")),
            element(0x1008, &[action, 0]),
        ]
        .concat();
        let command = [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat();
        let item = |(class, instance): &(&str, &str)| {
            let fields = [uid([8, 0, 0x50, 0x11], class), uid([8, 0, 0x55, 0x11], instance)].concat();
            [&[0xfe, 0xff, 0, 0xe0][..], &(fields.len() as u32).to_le_bytes(), &fields].concat()
        };
        let items: Vec<u8> = images.iter().flat_map(item).collect();
        let sequence =
            [&[8, 0, 0x99, 0x11, b'S', b'Q', 0, 0][..], &(items.len() as u32).to_le_bytes(), &items].concat();
        assert!(self.part(COMMITMENT, PDataValueType::Command, true, &command));
        let data_set = [uid([8, 0, 0x95, 0x11], transaction), sequence].concat();
        assert!(self.part(COMMITMENT, PDataValueType::Data, true, &data_set));
        self.status()
    }

    #[track_caller]
    pub(crate) fn release(mut self) {
        self.send_release();
        assert!(matches!(self.receive(), Some(Pdu::ReleaseRP)));
    }

    /// Waits for the end that the other side makes.
    #[track_caller]
    pub(crate) fn is_aborted(&mut self) {
        match self.receive() {
            None | Some(Pdu::AbortRQ { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A report that the device made on an association of its own.
pub(crate) struct Report {
    pub(crate) calling: String,
    pub(crate) called: String,
    pub(crate) event_type: u8,
    pub(crate) data_set: Vec<u8>,
}

impl Report {
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.data_set.windows(uid.len()).any(|part| part == uid.as_bytes())
    }
}

/// Waits for a report, and answers it.
pub(crate) fn take_report(listener: &TcpListener) -> Report {
    let (wire, _) = listener.accept().unwrap();
    wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut peer = Peer { wire, buffer: vec![], proposed: vec![COMMITMENT.into()], contexts: vec![] };
    let Some(Pdu::AssociationRQ(asked)) = peer.receive() else { panic!("no association") };
    let role =
        UserVariableItem::ScuScpRoleSelectionSubItem(COMMITMENT.into(), RequestorRoles { scu: false, scp: true });
    assert!(asked.user_variables.contains(&role), "{asked:?}");
    assert_eq!(asked.presentation_contexts[0].abstract_syntax, COMMITMENT);
    assert_eq!(asked.presentation_contexts[0].id, 1);
    let answer = AssociationAC {
        protocol_version: 1,
        called_ae_title: asked.called_ae_title.clone(),
        calling_ae_title: asked.calling_ae_title.clone(),
        application_context_name: asked.application_context_name,
        presentation_contexts: vec![PresentationContextResult {
            id: 1,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: "1.2.840.10008.1.2".into(),
        }],
        user_variables: vec![UserVariableItem::MaxLength(16384), role],
    };
    assert!(peer.try_send(&Pdu::AssociationAC(answer)));
    let (mut command, mut data_set) = (vec![], vec![]);
    let mut is_whole = false;
    while !is_whole {
        let Some(Pdu::PData { data }) = peer.receive() else { panic!("no report") };
        for value in data {
            match value.value_type {
                PDataValueType::Command => command.extend(value.data),
                PDataValueType::Data => {
                    data_set.extend(value.data);
                    is_whole = value.is_last;
                }
            }
        }
    }
    let at = command.windows(8).position(|head| head == [0, 0, 2, 0x10, 2, 0, 0, 0]).unwrap() + 8;
    let event_type = command[at];
    let rest =
        [element(0x0100, &[0, 0x81]), element(0x0120, &[1, 0]), element(0x0800, &[1, 1]), element(0x0900, &[0, 0])]
            .concat();
    let response = [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat();
    assert!(peer.part(COMMITMENT, PDataValueType::Command, true, &response));
    assert!(matches!(peer.receive(), Some(Pdu::ReleaseRQ)));
    assert!(peer.try_send(&Pdu::ReleaseRP));
    Report { calling: asked.calling_ae_title, called: asked.called_ae_title, event_type, data_set }
}

/// An element of a command set.
fn element(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(number.to_le_bytes());
    bytes.extend((value.len() as u32).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// A UID in Explicit VR Little Endian.
fn uid(tag: [u8; 4], text: &str) -> Vec<u8> {
    let value = even(text);
    [&tag[..], b"UI", &(value.len() as u16).to_le_bytes(), &value].concat()
}

/// A request with message number 3.
fn command(field: u16, class: &str, instance: Option<&str>) -> Vec<u8> {
    let mut bytes = element(0x0002, &even(class));
    bytes.extend(element(0x0100, &field.to_le_bytes()));
    bytes.extend(element(0x0110, &[3, 0]));
    bytes.extend(element(0x0800, &if instance.is_some() { [0, 0] } else { [1, 1] }));
    bytes.extend(instance.map(|instance| element(0x1000, &even(instance))).unwrap_or_default());
    let length = (bytes.len() as u32).to_le_bytes();
    [element(0x0000, &length), bytes].concat()
}

fn even(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// A data set in Explicit VR Little Endian with as many bytes of pixels.
pub(crate) fn data_set(class: &str, instance: &str, study: &str, series: &str, pixels: u32) -> Vec<u8> {
    let mut bytes = uid([8, 0, 0x16, 0], class);
    bytes.extend(uid([8, 0, 0x18, 0], instance));
    bytes.extend(uid([0x20, 0, 0x0d, 0], study));
    bytes.extend(uid([0x20, 0, 0x0e, 0], series));
    bytes.extend([0xe0, 0x7f, 0x10, 0, b'O', b'W', 0, 0]);
    bytes.extend(pixels.to_le_bytes());
    bytes.resize(bytes.len() + pixels as usize, 7);
    bytes
}
