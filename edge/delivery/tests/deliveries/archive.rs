//! An archive that does as it is told, on both ways: it keeps what it was sent, and fails as a script says.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceUserReason, AssociationRJSource, PDataValue,
    PDataValueType, Pdu, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem, read_pdu, write_pdu,
};

pub(crate) const COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// Where in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Connected,
    Asked,
    Agreed,
    Command,
    Object,
    Answered,
}

pub(crate) const STEPS: [Step; 6] =
    [Step::Connected, Step::Asked, Step::Agreed, Step::Command, Step::Object, Step::Answered];

/// What goes wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Close,
    /// Nothing more comes.
    Silence,
    /// A byte comes now and then.
    Trickle,
    /// Bytes that are no PDU.
    Garbage,
    /// The head of a PDU of four gigabytes.
    Long,
    /// A P-Data whose inner length lies.
    Lie,
    Abort,
}

pub(crate) const FAULTS: [Fault; 7] =
    [Fault::Close, Fault::Silence, Fault::Trickle, Fault::Garbage, Fault::Long, Fault::Lie, Fault::Abort];

/// How an association goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) fault: Option<(Step, Fault)>,
    /// The statuses of its answers; behind them 0000.
    pub(crate) statuses: Vec<u16>,
    /// Classes that are not accepted.
    pub(crate) refused: Vec<&'static str>,
    /// The request is rejected.
    pub(crate) rejects: bool,
    /// Added to the message number of each answer.
    pub(crate) other_message: u16,
    /// What is said of each image in the report on the same association; no report, if `None`.
    pub(crate) report: Option<fn(&str) -> bool>,
    /// Seconds before each answer.
    pub(crate) slow_seconds: u64,
}

/// What came.
#[derive(Default)]
pub(crate) struct Log {
    /// Classes and syntaxes that were proposed on each association.
    pub(crate) proposed: Vec<Vec<(String, Vec<String>)>>,
    /// Instances with their data sets, in order, as often as they came whole.
    pub(crate) objects: Vec<(String, Vec<u8>)>,
    /// Transactions that were asked for.
    pub(crate) transactions: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) port: u16,
    pub(crate) log: Arc<Mutex<Log>>,
}

impl Archive {
    /// Association `n`, from 0, goes as `script(n)` says.
    pub(crate) fn start(script: impl Fn(usize) -> Script + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let archive = Self { port: listener.local_addr().unwrap().port(), log: Arc::default() };
        let log = archive.log.clone();
        thread::spawn(move || {
            for (number, wire) in listener.incoming().enumerate() {
                let (wire, script, log) = (wire.unwrap(), script(number), log.clone());
                thread::spawn(move || Talk { wire, buffer: vec![], script, log, answers: 0 }.run());
            }
        });
        archive
    }

    pub(crate) fn instances(&self) -> Vec<String> {
        self.log.lock().unwrap().objects.iter().map(|(instance, _)| instance.clone()).collect()
    }

    pub(crate) fn associations(&self) -> usize {
        self.log.lock().unwrap().proposed.len()
    }
}

struct Talk {
    wire: TcpStream,
    buffer: Vec<u8>,
    script: Script,
    log: Arc<Mutex<Log>>,
    answers: usize,
}

impl Talk {
    fn send(&mut self, pdu: &Pdu) -> Option<()> {
        let mut bytes = vec![];
        write_pdu(&mut bytes, pdu).unwrap();
        self.wire.write_all(&bytes).ok()
    }

    fn receive(&mut self) -> Option<Pdu> {
        loop {
            let mut rest = &self.buffer[..];
            if let Some(pdu) = read_pdu(&mut rest, 1 << 20, true).unwrap() {
                let read = self.buffer.len() - rest.len();
                self.buffer.drain(..read);
                return Some(pdu);
            }
            let mut chunk = [0; 1 << 14];
            match self.wire.read(&mut chunk) {
                Ok(read) if read > 0 => self.buffer.extend_from_slice(&chunk[..read]),
                _ => return None,
            }
        }
    }

    /// `None`, where the conversation ends here.
    fn at(&mut self, step: Step) -> Option<()> {
        let Some((when, fault)) = self.script.fault else { return Some(()) };
        if when != step {
            return Some(());
        }
        match fault {
            Fault::Close => {}
            Fault::Silence => thread::sleep(Duration::from_secs(30)),
            Fault::Trickle => {
                let mut head = vec![4, 0, 0, 0, 0, 200, 0, 0, 0, 196, 1, 3];
                head.resize(206, 0);
                for byte in head {
                    if self.wire.write_all(&[byte]).is_err() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(200));
                }
            }
            Fault::Garbage => drop(self.wire.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: garbage\r\n\r\n")),
            Fault::Long => drop(self.wire.write_all(&[4, 0, 0xff, 0xff, 0xff, 0xf0, 1, 2, 3, 4])),
            Fault::Lie => drop(self.wire.write_all(&[4, 0, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 1, 3, 0, 0])),
            Fault::Abort => drop(self.wire.write_all(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 1])),
        }
        // Without what would be a reset before the last bytes were read.
        let _ = self.wire.shutdown(std::net::Shutdown::Write);
        let _ = self.wire.set_read_timeout(Some(Duration::from_secs(5)));
        while self.wire.read(&mut [0; 1 << 14]).is_ok_and(|read| read > 0) {}
        None
    }

    fn run(&mut self) -> Option<()> {
        self.at(Step::Connected)?;
        let Some(Pdu::AssociationRQ(asked)) = self.receive() else { return None };
        let of = |context: &PresentationContextProposed| {
            (context.abstract_syntax.clone(), context.transfer_syntaxes.clone())
        };
        self.log.lock().unwrap().proposed.push(asked.presentation_contexts.iter().map(of).collect());
        self.at(Step::Asked)?;
        if self.script.rejects {
            let source = AssociationRJSource::ServiceUser(AssociationRJServiceUserReason::CallingAETitleNotRecognized);
            return self.send(&Pdu::AssociationRJ(AssociationRJ { result: AssociationRJResult::Permanent, source }));
        }
        let results = asked.presentation_contexts.iter().map(|context| PresentationContextResult {
            id: context.id,
            reason: match self.script.refused.contains(&context.abstract_syntax.as_str()) {
                true => PresentationContextResultReason::AbstractSyntaxNotSupported,
                false => PresentationContextResultReason::Acceptance,
            },
            transfer_syntax: context.transfer_syntaxes[0].clone(),
        });
        let answer = AssociationAC {
            protocol_version: 1,
            called_ae_title: asked.called_ae_title.clone(),
            calling_ae_title: asked.calling_ae_title.clone(),
            application_context_name: asked.application_context_name.clone(),
            presentation_contexts: results.collect(),
            user_variables: vec![UserVariableItem::MaxLength(2000)],
        };
        self.send(&Pdu::AssociationAC(answer))?;
        self.at(Step::Agreed)?;
        let (mut command, mut data_set) = (vec![], vec![]);
        loop {
            match self.receive()? {
                Pdu::PData { data } => {
                    for PDataValue { value_type, is_last, data, presentation_context_id: context } in data {
                        match value_type {
                            PDataValueType::Command => {
                                command.extend(data);
                                if is_last {
                                    self.at(Step::Command)?;
                                }
                            }
                            PDataValueType::Data => {
                                data_set.extend(data);
                                if is_last {
                                    let (command, data_set) =
                                        (std::mem::take(&mut command), std::mem::take(&mut data_set));
                                    self.message(context, &command, data_set)?;
                                }
                            }
                        }
                    }
                }
                Pdu::ReleaseRQ => return self.send(&Pdu::ReleaseRP),
                _ => return None,
            }
        }
    }

    fn message(&mut self, context: u8, command: &[u8], data_set: Vec<u8>) -> Option<()> {
        self.at(Step::Object)?;
        let value = |number: u16| value(command, number);
        let text =
            |number| String::from_utf8(value(number).unwrap_or_default()).unwrap().trim_end_matches('\0').to_owned();
        let field = value(0x0100).unwrap();
        let message = u16::from_le_bytes(value(0x0110).unwrap().try_into().unwrap()) + self.script.other_message;
        thread::sleep(Duration::from_secs(self.script.slow_seconds));
        let mut status = 0;
        if field == [1, 0] {
            self.log.lock().unwrap().objects.push((text(0x1000), data_set.clone()));
            status = self.script.statuses.get(self.answers).copied().unwrap_or(0);
            self.answers += 1;
        }
        let rest = [
            element(0x0100, &[field[0], field[1] | 0x80]),
            element(0x0120, &message.to_le_bytes()),
            element(0x0800, &[1, 1]),
            element(0x0900, &status.to_le_bytes()),
        ]
        .concat();
        self.part(context, PDataValueType::Command, &[element(0, &(rest.len() as u32).to_le_bytes()), rest].concat())?;
        if field == [0x30, 1] {
            let uids = uids(&data_set);
            self.log.lock().unwrap().transactions.push(uids[0].clone());
            if let Some(keeps) = self.script.report {
                self.report(context, &uids, keeps)?;
            }
        }
        self.at(Step::Answered)
    }

    fn part(&mut self, context: u8, value_type: PDataValueType, data: &[u8]) -> Option<()> {
        let value = PDataValue { presentation_context_id: context, value_type, is_last: true, data: data.to_vec() };
        self.send(&Pdu::PData { data: vec![value] })
    }

    /// An N-EVENT-REPORT about a question's UIDs: transaction, then class and instance of each image.
    fn report(&mut self, context: u8, uids: &[String], keeps: fn(&str) -> bool) -> Option<()> {
        let (kept, failed): (Vec<_>, Vec<_>) = uids[1..].chunks(2).partition(|image| keeps(&image[1]));
        let item = |image: &[String], more: &[u8]| {
            let fields = [tagged([8, 0, 0x50, 0x11], &even(&image[0])), tagged([8, 0, 0x55, 0x11], &even(&image[1]))];
            tagged([0xfe, 0xff, 0, 0xe0], &[&fields.concat(), more].concat())
        };
        let reason = tagged([8, 0, 0x97, 0x11], &0x0112_u16.to_le_bytes());
        let mut set = tagged([8, 0, 0x95, 0x11], &even(&uids[0]));
        if !failed.is_empty() {
            let items: Vec<u8> = failed.iter().flat_map(|image| item(image, &reason)).collect();
            set.extend(tagged([8, 0, 0x98, 0x11], &items));
        }
        if !kept.is_empty() {
            let items: Vec<u8> = kept.iter().flat_map(|image| item(image, &[])).collect();
            set.extend(tagged([8, 0, 0x99, 0x11], &items));
        }
        let rest = [
            element(0x0002, &even(COMMITMENT)),
            element(0x0100, &[0, 1]),
            element(0x0110, &[9, 0]),
            element(0x0800, &[0, 0]),
            element(0x1000, &even("1.2.840.10008.1.20.1.1")),
            element(0x1002, &[if failed.is_empty() { 1 } else { 2 }, 0]),
        ]
        .concat();
        let command = [element(0, &(rest.len() as u32).to_le_bytes()), rest].concat();
        self.part(context, PDataValueType::Command, &command)?;
        self.part(context, PDataValueType::Data, &set)?;
        let Some(Pdu::PData { data }) = self.receive() else { return None };
        assert_eq!(value(&data[0].data, 0x0900).unwrap(), [0, 0], "the report is taken");
        Some(())
    }
}

/// An element of a command set.
fn element(number: u16, value: &[u8]) -> Vec<u8> {
    let [low, high] = number.to_le_bytes();
    tagged([0, 0, low, high], value)
}

fn tagged(tag: [u8; 4], value: &[u8]) -> Vec<u8> {
    [&tag[..], &(value.len() as u32).to_le_bytes(), value].concat()
}

fn even(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// The value of an element of a command set.
fn value(mut command: &[u8], number: u16) -> Option<Vec<u8>> {
    while let Some((head, rest)) = command.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if u16::from_le_bytes([head[2], head[3]]) == number {
            return Some(rest[..length].to_vec());
        }
        command = &rest[length..];
    }
    None
}

/// All UIDs in an Implicit VR data set whose sequences have lengths, in order.
fn uids(mut set: &[u8]) -> Vec<String> {
    let mut uids = vec![];
    while let Some((head, rest)) = set.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        set = match head[..4] {
            // Sequence and item are looked into.
            [8, 0, 0x99, 0x11] | [0xfe, 0xff, 0, 0xe0] => rest,
            _ => {
                let text = String::from_utf8(rest[..length].to_vec()).unwrap();
                uids.push(text.trim_end_matches('\0').to_owned());
                &rest[length..]
            }
        };
    }
    uids
}

/// A request as a web archive got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A web archive that answers request `n`, from 0, with the bytes of `answer(n, request)`.
#[derive(Clone)]
pub(crate) struct WebArchive {
    pub(crate) port: u16,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
}

impl WebArchive {
    pub(crate) fn start(answer: impl Fn(usize, &Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let archive = Self { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let (requests, answer) = (archive.requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for wire in listener.incoming() {
                let (mut wire, requests, answer) = (wire.unwrap(), requests.clone(), answer.clone());
                thread::spawn(move || {
                    let request = request(&mut wire)?;
                    let number = {
                        let mut requests = requests.lock().unwrap();
                        requests.push(request.clone());
                        requests.len() - 1
                    };
                    wire.write_all(&answer(number, &request)).ok()?;
                    wire.shutdown(std::net::Shutdown::Write).ok()
                });
            }
        });
        archive
    }
}

/// A whole request.
pub(crate) fn request(wire: &mut impl Read) -> Option<Request> {
    let mut bytes = vec![];
    let mut chunk = [0; 1 << 14];
    loop {
        let read = wire.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.expect("a length");
        while bytes.len() < end + 4 + length {
            let read = wire.read(&mut chunk).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&chunk[..read]);
        }
        return Some(Request { head, body: bytes[end + 4..].to_vec() });
    }
}

/// An answer in JSON.
pub(crate) fn json(status: &str, body: &str) -> Vec<u8> {
    answer(status, "application/dicom+json", body)
}

pub(crate) fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Says of the instance in this request that it is stored.
pub(crate) fn stored(instance: &str) -> Vec<u8> {
    let item = format!(r#"{{"00081155":{{"vr":"UI","Value":["{instance}"]}}}}"#);
    json("200 OK", &format!(r#"{{"00081199":{{"vr":"SQ","Value":[{item}]}}}}"#))
}

/// Says of this instance that it failed.
pub(crate) fn failed(status: &str, instance: &str, reason: u16) -> Vec<u8> {
    let reason = format!(r#""00081197":{{"vr":"US","Value":[{reason}]}}"#);
    let item = format!(r#"{{"00081155":{{"vr":"UI","Value":["{instance}"]}},{reason}}}"#);
    json(status, &format!(r#"{{"00081198":{{"vr":"SQ","Value":[{item}]}}}}"#))
}
