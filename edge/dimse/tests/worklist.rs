//! A real worklist, DCMTK's `wlmscpfs`, and ones that misbehave.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use dicom_ul::pdu::{
    AssociationAC, PDataValue, PDataValueType, Pdu, PresentationContextResult, PresentationContextResultReason,
    UserVariableItem, read_pdu, write_pdu,
};
use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    command::{Request, status},
    talk::Deadline,
    uids,
    worklist::{Answers, FindError, Query, find},
};

fn ask(address: SocketAddr, called: &str, query: &Query, most: usize, seconds: u64) -> Result<Answers, FindError> {
    let limits = Limits::default();
    let wire = limits.connect(address).unwrap();
    let proposals = [Proposal::of(uids::MODALITY_WORKLIST, uids::IMPLICIT_LITTLE_ENDIAN)];
    let ask = Ask { calling_ae_title: "THORAX", called_ae_title: called, proposals: &proposals };
    let mut association = Requestor::ask(&wire, &ask, limits).unwrap();
    let context = association.context(&proposals[0]).unwrap();
    let answers = find(&mut association, context, query, most, Deadline::within(seconds, "the worklist"))?;
    association.release();
    Ok(answers)
}

/// `wlmscpfs` with these patients.
struct Worklist {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Worklist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Patient {
    name: &'static str,
    id: String,
    modality: &'static str,
    station: &'static str,
    date: &'static str,
    time: &'static str,
}

/// As `dump2dcm` reads it; it is in UTF-8.
fn dump(patient: &Patient) -> String {
    let Patient { name, id, modality, station, date, time } = patient;
    format!(
        "(0008,0005) CS [ISO_IR 192]\n(0008,0050) SH [A{id}]\n(0010,0010) PN [{name}]\n(0010,0020) LO [{id}]\n\
         (0010,0030) DA [19800102]\n(0010,0040) CS [F]\n(0020,000d) UI [2.25.{id}]\n(0032,1032) PN [REF^ERRER]\n\
         (0032,1060) LO [Chest PA]\n(0040,0100) SQ\n(fffe,e000) na\n(0008,0060) CS [{modality}]\n\
         (0040,0001) AE [{station}]\n(0040,0002) DA [{date}]\n(0040,0003) TM [{time}]\n(0040,0006) PN [TECH]\n\
         (0040,0007) LO [Chest film]\n(0040,0009) SH [S{id}]\n(fffe,e00d) na\n(fffe,e0dd) na\n(0040,1001) SH [P{id}]\n"
    )
}

impl Worklist {
    /// `None` where DCMTK is not installed.
    fn start(patients: &[Patient]) -> Option<Self> {
        let (server, dump2dcm) = (thorax_wanted::dcmtk("wlmscpfs")?, thorax_wanted::dcmtk("dump2dcm")?);
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("CLINIC");
        fs::create_dir(&list).unwrap();
        File::create(list.join("lockfile")).unwrap();
        for (number, patient) in patients.iter().enumerate() {
            let text = folder.path().join("dump.txt");
            fs::write(&text, dump(patient)).unwrap();
            let written = Command::new(&dump2dcm).arg(&text).arg(list.join(format!("{number}.wl"))).output().unwrap();
            assert!(written.status.success(), "{written:?}");
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(server)
            .args(["-s", "-csk", "-dfp"])
            .args([folder.path(), Path::new(&port.to_string())])
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "wlmscpfs does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self { child, address, _folder: folder })
    }
}

fn patient(name: &'static str, id: u32, modality: &'static str, date: &'static str, time: &'static str) -> Patient {
    Patient { name, id: id.to_string(), modality, station: "CART1", date, time }
}

#[test]
fn a_real_worklist_says_who_is_next() {
    let other = Patient { station: "CART2", ..patient("OTHER^CART", 4, "DX", "20261128", "0800") };
    let Some(worklist) = Worklist::start(&[
        patient("DOE^JANE", 1, "DX", "20261128", "1030"),
        patient("N\u{e9}e^Ad\u{e8}le", 2, "DX", "20261128", "0915"),
        patient("SCAN^CT", 3, "CT", "20261128", "0700"),
        other,
        patient("LATE^MO", 5, "DX", "20261130", "0700"),
    ]) else {
        return;
    };
    let names = |query: &Query, most: usize| {
        let answers = ask(worklist.address, "CLINIC", query, most, 30).unwrap();
        assert_eq!(answers.damaged, 0);
        (answers.entries.into_iter().map(|entry| entry.patient_name).collect::<Vec<_>>(), answers.is_cut)
    };
    let text = |text: &str| Some(text.to_owned());
    let at_cart = Query { station_ae_title: text("CART1"), modality: text("DX"), date: text("20261128") };
    assert_eq!(names(&at_cart, 10), (vec!["N\u{e9}e^Ad\u{e8}le".into(), "DOE^JANE".into()], false));
    let days = Query { date: text("20261128-20261130"), ..at_cart.clone() };
    assert_eq!(names(&days, 10).0.len(), 3);
    assert_eq!(names(&Query { modality: None, ..at_cart.clone() }, 10).0[0], "SCAN^CT");
    assert_eq!(names(&Query::default(), 10).0.len(), 5);
    let nobody = Query { station_ae_title: text("CART9"), ..Query::default() };
    assert_eq!(names(&nobody, 10), (vec![], false));
    // No more than were wanted, and the worklist is told to stop.
    let (few, is_cut) = names(&Query::default(), 2);
    assert_eq!((few.len(), is_cut), (2, true));
    // Exactly as many as there are is all.
    assert!(!names(&at_cart, 2).1);

    let entry = ask(worklist.address, "CLINIC", &at_cart, 10, 30).unwrap().entries.remove(0);
    assert_eq!(
        [&*entry.patient_id, &entry.patient_birth_date, &entry.patient_sex, &entry.accession_number, &entry.step_id],
        ["2", "19800102", "F", "A2", "S2"]
    );
    assert_eq!(
        [&*entry.study_instance_uid, &entry.requested_procedure_description, &entry.start_date, &entry.start_time],
        ["2.25.2", "Chest PA", "20261128", "0915"]
    );
}

/// A worklist that answers each question with `responses`, again and again if `endless`; gives how many it could send.
fn answering(
    responses: Vec<(u16, Option<Vec<u8>>)>,
    endless: bool,
    pause: Duration,
) -> (SocketAddr, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut wire, _) = listener.accept().unwrap();
        let mut buffer = vec![];
        let send = |wire: &mut TcpStream, pdu: &Pdu| {
            let mut bytes = vec![];
            write_pdu(&mut bytes, pdu).unwrap();
            wire.write_all(&bytes).is_ok()
        };
        let Pdu::AssociationRQ(asked) = receive(&mut wire, &mut buffer) else { panic!("no request") };
        let accepted = PresentationContextResult {
            id: 1,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: uids::IMPLICIT_LITTLE_ENDIAN.into(),
        };
        let answer = AssociationAC {
            protocol_version: 1,
            called_ae_title: asked.called_ae_title,
            calling_ae_title: asked.calling_ae_title,
            application_context_name: asked.application_context_name,
            presentation_contexts: vec![accepted],
            user_variables: vec![UserVariableItem::MaxLength(16384)],
        };
        assert!(send(&mut wire, &Pdu::AssociationAC(answer)));
        let Pdu::PData { data } = receive(&mut wire, &mut buffer) else { panic!("no question") };
        let request = Request::read(&data[0].data).unwrap();
        let mut sent = 0;
        loop {
            for (status, data_set) in &responses {
                thread::sleep(pause);
                let mut command = request.response(*status, "as I like");
                if data_set.is_some() {
                    // Command Data Set Type: one follows.
                    let at = command.windows(4).position(|tag| tag == [0, 0, 0, 8]).unwrap() + 8;
                    command[at..at + 2].copy_from_slice(&[0, 0]);
                }
                let value =
                    |value_type, data| PDataValue { presentation_context_id: 1, value_type, is_last: true, data };
                let mut parts = vec![value(PDataValueType::Command, command)];
                parts.extend(data_set.clone().map(|data| value(PDataValueType::Data, data)));
                if !send(&mut wire, &Pdu::PData { data: parts }) {
                    return sent;
                }
                sent += 1;
            }
            if !endless {
                // What was asked is read to its end: a connection that is closed over unread bytes is reset, and its answers may be lost.
                let _ = wire.shutdown(Shutdown::Write);
                while wire.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
                return sent;
            }
        }
    });
    (address, serving)
}

fn receive(wire: &mut TcpStream, buffer: &mut Vec<u8>) -> Pdu {
    loop {
        let mut rest = &buffer[..];
        if let Some(pdu) = read_pdu(&mut rest, 1 << 20, true).unwrap() {
            let read = buffer.len() - rest.len();
            buffer.drain(..read);
            return pdu;
        }
        let mut chunk = [0; 4096];
        let read = wire.read(&mut chunk).unwrap();
        assert!(read > 0, "nothing more comes");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

#[test]
fn a_worklist_that_never_ends_or_is_slow_or_refuses_is_left() {
    let name = || Some([&[0x10, 0, 0x10, 0, 2, 0, 0, 0][..], b"AB"].concat());
    let (address, _) = answering(vec![(status::PENDING, name())], true, Duration::ZERO);
    let told = ask(address, "X", &Query::default(), 100, 60).unwrap_err();
    assert!(told.to_string().contains("without an end"), "{told}");

    let began = Instant::now();
    let (address, _) = answering(vec![(status::PENDING, name())], true, Duration::from_millis(300));
    let told = ask(address, "X", &Query::default(), 1000, 2).unwrap_err();
    assert!(told.to_string().contains("too slow: the worklist") && began.elapsed() < Duration::from_secs(10), "{told}");

    let (address, _) = answering(vec![(0xa700, None)], false, Duration::ZERO);
    let told = ask(address, "X", &Query::default(), 10, 5).unwrap_err();
    assert!(told.to_string().contains("status a700 (as I like)"), "{told}");

    // One answer that is none is passed over, and told.
    let (address, _) =
        answering(vec![(status::PENDING, Some(vec![1, 2, 3])), (0xff01, name()), (0, None)], false, Duration::ZERO);
    let answers = ask(address, "X", &Query::default(), 10, 5).unwrap();
    assert_eq!((answers.entries.len(), answers.damaged, answers.is_cut), (1, 1, false));
    assert_eq!(answers.entries[0].patient_name, "AB");
}
