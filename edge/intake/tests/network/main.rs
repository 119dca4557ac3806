//! The port, asked by DCMTK's programs and by peers that misbehave.
//!
//! Tests that start DCMTK's programs ask `thorax-wanted` for them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod dcmtk;
mod peer;
mod secured;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use dcmtk::{dcmtk, films};
use peer::{COMMITMENT, CR, Peer, VERIFICATION, data_set};
use tempfile::TempDir;
use thorax_intake::{Config, Intake, Tally, TallyFigures};
use thorax_journal::{Journal, Kind, Settings};

struct Device {
    intake: Intake,
    journal: Arc<Journal>,
    tally: Arc<Tally>,
    folder: TempDir,
}

impl Device {
    fn start(change: impl FnOnce(&mut Config, &mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            address: "127.0.0.1:0".parse().unwrap(),
            peers: vec![thorax_intake::Peer {
                ae_title: "CART".into(),
                addresses: vec!["127.0.0.1".parse().unwrap()],
                commitment_address: None,
                commitment_tls: None,
            }],
            ..Config::default()
        };
        let mut settings = Settings { reserve_bytes: 0, ..Settings::default() };
        change(&mut config, &mut settings);
        let journal = Arc::new(Journal::open(&folder.path().join("journal"), settings).unwrap());
        let tally = Arc::new(Tally::default());
        let intake = Intake::start(config, journal.clone(), tally.clone()).unwrap();
        Self { intake, journal, tally, folder }
    }

    fn port(&self) -> u16 {
        self.intake.address().port()
    }

    fn peer(&self) -> Peer {
        Peer::ask(self.port(), "CART", "THORAX", &[(CR, "1.2.840.10008.1.2.1"), (VERIFICATION, "1.2.840.10008.1.2")])
    }

    fn figures(&self) -> TallyFigures {
        self.tally.figures()
    }

    /// Names of all that the journal keeps.
    fn kept(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("journal/files")).unwrap();
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn objects(&self) -> usize {
        let studies = self.journal.studies().unwrap();
        studies.iter().map(|(number, _)| self.journal.objects_of(*number).unwrap().len()).sum()
    }

    /// Somebody else can go on.
    fn others_are_served(&self) {
        let mut peer = self.peer();
        assert_eq!(peer.echo(), 0);
        peer.release();
    }
}

fn storescu(port: u16, options: &[&str], files: &[PathBuf]) -> std::process::Output {
    dcmtk("storescu")
        .unwrap()
        .args(["-v", "-aet", "CART", "-aec", "THORAX"])
        .args(options)
        .args(["127.0.0.1", &port.to_string()])
        .args(files)
        .output()
        .unwrap()
}

fn succeeded(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("F: ") && !text.contains("E: "), "{text}");
}

#[test]
fn another_program_s_echo_is_answered_and_a_stranger_is_refused() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|_, _| {});
    let echo = |calling: &str, called: &str| {
        dcmtk("echoscu")
            .unwrap()
            .args(["-aet", calling, "-aec", called, "127.0.0.1", &device.port().to_string()])
            .output()
            .unwrap()
    };
    succeeded(&echo("CART", "THORAX"));
    for (calling, called, told) in
        [("STRANGER", "THORAX", "Calling AE Title Not Recognized"), ("CART", "OTHER", "Called AE Title Not Recognized")]
    {
        let refused = echo(calling, called);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
        assert!(!refused.status.success() && text.contains(told), "{text}");
    }
    let figures = device.figures();
    assert_eq!((figures.echoes, figures.rejected, figures.associations), (1, 2, 1));
}

#[test]
fn films_of_eight_senders_at_once_are_each_kept_once() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|_, _| {});
    let place = tempfile::tempdir().unwrap();
    let all: Vec<Vec<PathBuf>> = (0..8).map(|seed| films(&place.path().join(seed.to_string()), 5, seed)).collect();
    let films: usize = all.iter().map(Vec::len).sum();
    let began = Instant::now();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for files in &all {
                scope.spawn(|| succeeded(&storescu(device.port(), &[], files)));
            }
        });
    }
    println!("{films} films twice over 8 associations: {:.1} s", began.elapsed().as_secs_f64());
    let figures = device.figures();
    assert_eq!((figures.accepted, figures.duplicates), (films as u64, films as u64), "{figures:?}");
    assert_eq!((figures.associations, figures.refused + figures.no_room + figures.other_content), (16, 0));
    assert_eq!(device.journal.verify().unwrap().problems, []);
    assert_eq!((device.objects(), device.kept().len()), (films, films));

    // What was kept is what was sent.
    let mut found = BTreeSet::new();
    for (number, _) in device.journal.studies().unwrap() {
        for (_, object) in device.journal.objects_of(number).unwrap() {
            let Kind::Dicom { sop_instance_uid, .. } = object.what.kind else { panic!("no DICOM") };
            found.insert((sop_instance_uid, pixels(&device.journal.path_of(&object.sha256))));
        }
    }
    let sent: BTreeSet<(String, Vec<u8>)> = all.iter().flatten().map(|path| (instance(path), pixels(path))).collect();
    assert!(sent.len() == films && found == sent);
    let dump = dcmtk("dcmftest").unwrap().arg(device.journal.path_of(&first_object(&device.journal))).output().unwrap();
    assert!(String::from_utf8_lossy(&dump.stdout).starts_with("yes:"), "{dump:?}");
}

/// `cargo test --release -p thorax-intake --test network -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn two_thousand_films_of_eight_senders_at_once_are_each_kept_once() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|_, _| {});
    let place = tempfile::tempdir().unwrap();
    let all: Vec<Vec<PathBuf>> = (0..8).map(|seed| films(&place.path().join(seed.to_string()), 125, seed)).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for files in &all {
            scope.spawn(|| succeeded(&storescu(device.port(), &[], files)));
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("2000 films over 8 associations: {seconds:.1} s, {:.0} a minute", 2000.0 / seconds * 60.0);
    assert_eq!(device.figures().accepted, 2000);
    assert_eq!((device.objects(), device.kept().len()), (2000, 2000));
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

fn first_object(journal: &Journal) -> [u8; 32] {
    journal.objects_of(journal.studies().unwrap()[0].0).unwrap()[0].1.sha256
}

fn instance(path: &Path) -> String {
    dicom_object::open_file(path).unwrap().meta().media_storage_sop_instance_uid().trim_end_matches('\0').to_owned()
}

fn pixels(path: &Path) -> Vec<u8> {
    dicom_object::open_file(path).unwrap().element_by_name("PixelData").unwrap().to_bytes().unwrap().into_owned()
}

#[test]
fn every_kind_of_coding_is_understood() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|_, _| {});
    let place = tempfile::tempdir().unwrap();
    let codings: [(&str, &[&str], &str, &str); 6] = [
        ("dcmconv", &["+ti"], "-xi", "1.2.840.10008.1.2"),
        ("dcmconv", &["+te"], "-xe", "1.2.840.10008.1.2.1"),
        ("dcmconv", &["+tb"], "-xb", "1.2.840.10008.1.2.2"),
        ("dcmconv", &["+td"], "-xd", "1.2.840.10008.1.2.1.99"),
        ("dcmcrle", &[], "-xr", "1.2.840.10008.1.2.5"),
        ("dcmcjpeg", &["+e1"], "-xs", "1.2.840.10008.1.2.4.70"),
    ];
    for (seed, (program, options, proposed, uid)) in codings.into_iter().enumerate() {
        let film = films(&place.path().join(uid), 1, 100 + seed as u64).remove(0);
        let coded = film.with_extension("coded");
        let done = dcmtk(program).unwrap().args(options).arg(&film).arg(&coded).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        succeeded(&storescu(device.port(), &["-R", proposed], &[coded]));
        let (_, object) = device.journal.find_instance(&instance(&film)).unwrap().unwrap();
        let Kind::Dicom { transfer_syntax_uid, sop_class_uid, .. } = object.what.kind else { panic!("no DICOM") };
        // Another JPEG process may have been chosen than was named here.
        assert!(transfer_syntax_uid == uid || program == "dcmcjpeg", "{transfer_syntax_uid}");
        assert_eq!(sop_class_uid, CR);
    }
    assert_eq!(device.journal.verify().unwrap().problems, []);
    assert_eq!(device.figures().accepted, 6);
}

#[test]
fn classes_and_syntaxes_that_are_not_read_are_not_agreed_upon() {
    let device = Device::start(|_, _| {});
    let proposed = [
        ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"),
        (CR, "1.2.840.10008.1.2.4.102"),
        (CR, "1.2.840.10008.1.2.1"),
        (VERIFICATION, "1.2.840.10008.1.2.4.50"),
    ];
    let peer = Peer::ask(device.port(), "CART", "THORAX", &proposed);
    assert_eq!(peer.contexts, [3, 4, 0, 4], "abstract syntax, transfer syntax, accepted, transfer syntax");
}

#[test]
fn what_does_not_fit_is_told_and_the_association_goes_on() {
    let device = Device::start(|_, settings| settings.most_object_bytes = 100_000);
    let mut peer = device.peer();
    let good = data_set(CR, "1.2.3", "1.2", "1.2.9", 500);
    assert_eq!(peer.store(CR, "1.2.3", &good), 0x0000);
    assert_eq!(peer.store(CR, "1.2.3", &good), 0x0000, "once more");
    let other = data_set(CR, "1.2.3", "1.2", "1.2.9", 700);
    assert_eq!(peer.store(CR, "1.2.3", &other), 0xc000, "other bytes are not kept, so the sender must not delete them");
    assert_eq!(peer.store(CR, "1.2.4", &good), 0xa900, "another instance than announced");
    let ct = data_set("1.2.840.10008.5.1.4.1.1.2", "1.2.5", "1.2", "1.2.9", 10);
    assert_eq!(peer.store(CR, "1.2.5", &ct), 0xa900, "another class than announced");
    for name in ["../../../escaped", "/etc/passwd", "1.2.3/../../x", "", "1..2"] {
        assert_eq!(peer.store(CR, name, &data_set(CR, name, "1.2", "1.2.9", 10)), 0xc000, "{name}");
    }
    assert_eq!(peer.store(CR, "1.2.6", &data_set(CR, "1.2.6", "", "1.2.9", 10)), 0xc000, "no study");
    assert_eq!(peer.store(CR, "1.2.7", b"no data set at all"), 0xc000);
    assert_eq!(peer.store(CR, "1.2.8", b""), 0xc000);
    assert_eq!(peer.store(CR, "1.2.9", &data_set(CR, "1.2.9", "1.2", "1.2.9", 120_000)), 0xc000, "over the limit");
    assert_eq!(peer.echo(), 0);
    peer.release();
    let figures = device.figures();
    assert_eq!((figures.accepted, figures.duplicates, figures.other_content, figures.aborted), (1, 1, 1, 0));
    assert_eq!(device.kept().len(), 1, "{:?}", device.kept());
    assert_eq!(device.kept()[0].len(), 64);
    let mut names: Vec<_> = fs::read_dir(device.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["journal"], "nothing was written elsewhere");
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

#[test]
fn want_of_room_is_a700_and_passes() {
    let device = Device::start(|_, settings| {
        settings.most_waiting_objects = 1;
        settings.quiet_seconds = 0;
    });
    let mut peer = device.peer();
    let set = |n: u32| data_set(CR, &format!("1.2.{n}"), "1.2", "1.2.9", 10);
    assert_eq!(peer.store(CR, "1.2.1", &set(1)), 0);
    assert_eq!(peer.store(CR, "1.2.2", &set(2)), 0xa700);
    let taken = device.journal.take().unwrap().unwrap();
    device.journal.finish(taken.number, Default::default(), &[], &[]).unwrap();
    assert_eq!(peer.store(CR, "1.2.2", &set(2)), 0);
    let full = Device::start(|_, settings| settings.reserve_bytes = u64::MAX);
    assert_eq!(full.peer().store(CR, "1.2.1", &set(1)), 0xa700);
    assert_eq!((full.figures().no_room, full.kept().len()), (1, 0));
}

#[test]
fn an_object_that_is_broken_off_leaves_nothing() {
    let device = Device::start(|_, _| {});
    let mut peer = device.peer();
    peer.begin_store(CR, "1.2.3", &data_set(CR, "1.2.3", "1.2", "1.2.9", 5000)[..3000]);
    wait_until(|| device.kept().len() == 1);
    drop(peer);
    wait_until(|| device.kept().is_empty());
    assert_eq!(device.objects(), 0);
    let mut peer = device.peer();
    peer.begin_store(CR, "1.2.3", &[0; 100]);
    peer.send_release();
    peer.is_aborted();
    wait_until(|| device.kept().is_empty());
    device.others_are_served();
}

fn wait_until(is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < until, "it never was");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a byte now and then until the connection is closed.
fn dribble(connection: &mut TcpStream, byte: u8) -> Duration {
    let began = Instant::now();
    connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 64];
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "served for ever");
        if connection.write_all(&[byte]).is_err() {
            return began.elapsed();
        }
        match connection.read(&mut answer) {
            Ok(0) => return began.elapsed(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return began.elapsed(),
            _ => {}
        }
    }
}

#[test]
fn whoever_sends_a_byte_now_and_then_is_not_waited_for() {
    let device = Device::start(|config, _| {
        config.association_seconds = 1;
        config.message_seconds = 1;
        config.idle_seconds = 1;
    });
    std::thread::scope(|scope| {
        // Before the association, the head of a PDU that never comes.
        scope.spawn(|| {
            let mut connection = TcpStream::connect(("127.0.0.1", device.port())).unwrap();
            connection.write_all(&[1, 0, 0, 0, 200, 0]).unwrap();
            let lasted = dribble(&mut connection, 0);
            assert!(lasted < Duration::from_secs(3), "{lasted:?}");
        });
        // In the middle of an object.
        scope.spawn(|| {
            let mut peer = device.peer();
            peer.begin_store(CR, "1.2.3", &data_set(CR, "1.2.3", "1.2", "1.2.9", 100)[..50]);
            peer.wire().write_all(&[4, 0, 0, 0, 100, 0]).unwrap();
            let lasted = dribble(peer.wire(), 0);
            assert!(lasted < Duration::from_secs(3), "{lasted:?}");
        });
        // With whole PDUs that never end a message.
        scope.spawn(|| {
            let mut peer = device.peer();
            peer.begin_store(CR, "1.2.4", b"");
            let began = Instant::now();
            while peer.try_part(CR, &[0; 10]) {
                assert!(began.elapsed() < Duration::from_secs(4), "served for ever");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        // With nothing at all, in an association.
        scope.spawn(|| {
            let mut peer = device.peer();
            let began = Instant::now();
            peer.is_aborted();
            assert!(began.elapsed() < Duration::from_secs(3));
        });
        for _ in 0..10 {
            device.others_are_served();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(device.kept().len(), 0);
}

#[test]
fn lengths_that_lie_end_the_association_at_once() {
    let device = Device::start(|_, _| {});
    let ends = |bytes: &[u8], established: bool| {
        let began = Instant::now();
        let mut connection = if established { device.peer().into_wire() } else { device.connect() };
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        connection.write_all(bytes).unwrap();
        let mut answer = vec![];
        let _ = connection.read_to_end(&mut answer);
        assert!(began.elapsed() < Duration::from_secs(2), "{bytes:?}");
        assert_eq!(answer.first(), Some(&7), "A-ABORT: {answer:?}");
    };
    for established in [false, true] {
        // P-Data and a request of four gigabytes.
        ends(&[4, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], established);
        ends(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], established);
        // A value longer than its PDU; values shorter than their head; no value at all.
        ends(&[4, 0, 0, 0, 0, 6, 0, 0, 0xff, 0xff, 1, 3], established);
        ends(&[4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 1, 3], established);
        ends(&[4, 0, 0, 0, 0, 3, 0, 0, 0], established);
        // No PDU that there is.
        ends(b"GET / HTTP/1.1\r\n\r\n", established);
    }
    // A command that goes on for ever.
    let mut peer = device.peer();
    peer.endless_command();
    peer.is_aborted();
    device.others_are_served();
    assert_eq!(device.figures().aborted, 13);
}

impl Device {
    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port())).unwrap()
    }
}

#[test]
fn idle_connections_keep_nobody_out() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|config, _| config.most_associations = 8);
    let silent: Vec<TcpStream> = (0..60).map(|_| device.connect()).collect();
    let idle: Vec<Peer> = (0..40)
        .filter_map(|_| Peer::try_ask(device.port(), "CART", "THORAX", &[(CR, "1.2.840.10008.1.2.1")]))
        .collect();
    std::thread::sleep(Duration::from_millis(600));
    let place = tempfile::tempdir().unwrap();
    let films = films(place.path(), 2, 1);
    succeeded(&storescu(device.port(), &[], &films));
    assert_eq!(device.figures().accepted, films.len() as u64);
    drop((silent, idle));
}

#[test]
fn who_comes_when_all_places_are_busy_is_told_so() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let device = Device::start(|config, _| config.most_associations = 2);
    let mut busy = [device.peer(), device.peer()];
    for (number, peer) in busy.iter_mut().enumerate() {
        peer.begin_store(CR, &format!("1.2.{number}"), &[0; 10]);
    }
    wait_until(|| device.kept().len() == 2);
    std::thread::sleep(Duration::from_millis(600));
    let echo = dcmtk("echoscu")
        .unwrap()
        .args(["-aet", "CART", "-aec", "THORAX", "127.0.0.1", &device.port().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&echo.stderr);
    assert!(!echo.status.success() && text.contains("Local Limit Exceeded"), "{text}");
    drop(busy);
    wait_until(|| device.kept().is_empty());
    device.others_are_served();
}

#[test]
fn a_study_is_complete_when_its_association_is_released() {
    let device = Device::start(|config, _| config.close_at_release = true);
    let mut peer = device.peer();
    assert_eq!(peer.store(CR, "1.2.1", &data_set(CR, "1.2.1", "1.2", "1.2.9", 10)), 0);
    assert_eq!(device.journal.next_study_due().unwrap(), None);
    peer.release();
    wait_until(|| device.journal.next_study_due().unwrap().is_some());
}

#[test]
fn a_peer_that_asks_what_is_kept_is_told_on_another_association() {
    let cart = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = cart.local_addr().unwrap();
    let device = Device::start(|config, _| config.peers[0].commitment_address = Some(address));
    let contexts = [(CR, "1.2.840.10008.1.2.1"), (COMMITMENT, "1.2.840.10008.1.2.1")];
    let mut peer = Peer::ask(device.port(), "CART", "THORAX", &contexts);
    assert_eq!(peer.contexts, [0, 0]);
    assert_eq!(peer.store(CR, "1.2.1", &data_set(CR, "1.2.1", "1.2", "1.2.9", 10)), 0);
    assert_eq!(peer.ask_commitment("2.25.77", 1, &[(CR, "1.2.1")]), 0);
    // The first call is not taken, and it calls again.
    drop(cart.accept().unwrap());
    let report = peer::take_report(&cart);
    assert_eq!((report.calling.as_str(), report.called.as_str(), report.event_type), ("THORAX", "CART", 1));
    assert!(report.has("2.25.77") && report.has("1.2.1"));
    // What is not kept, and what is of another class.
    let ct = "1.2.840.10008.5.1.4.1.1.2";
    assert_eq!(peer.ask_commitment("2.25.78", 1, &[(CR, "1.2.1"), (CR, "1.2.2"), (ct, "1.2.1")]), 0);
    let report = peer::take_report(&cart);
    assert_eq!(report.event_type, 2);
    assert!(
        report.has("1.2.2") && report.data_set.windows(10).any(|part| part == b"\x97\x11\x02\0\0\0\x12\x01\xfe\xff")
    );
    // What is no question.
    assert_eq!(peer.ask_commitment("2.25.79", 2, &[(CR, "1.2.1")]), 0x0123);
    assert_eq!(peer.ask_commitment("2.25.80", 1, &[]), 0x0110);
    assert_eq!(peer.ask_commitment("no transaction", 1, &[(CR, "1.2.1")]), 0x0110);
    peer.release();
    // Whoever has no address to be told at cannot ask.
    let device = Device::start(|_, _| {});
    assert_eq!(Peer::ask(device.port(), "CART", "THORAX", &contexts).contexts, [0, 3]);
}

#[test]
fn it_stops_when_what_arrives_is_there() {
    let device = Device::start(|config, _| config.stop_seconds = 5);
    let mut idle = device.peer();
    let mut busy = device.peer();
    let mut never = device.peer();
    let set = data_set(CR, "1.2.3", "1.2", "1.2.9", 5000);
    busy.begin_store(CR, "1.2.3", &set[..1000]);
    never.begin_store(CR, "1.2.4", &set[..1000]);
    wait_until(|| device.kept().len() == 2);
    let port = device.port();
    let began = Instant::now();
    let Device { intake, journal, folder, .. } = device;
    let stopping = std::thread::spawn(move || intake.stop());
    idle.is_aborted();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(busy.finish_store(CR, &set[1000..]), 0, "what arrives is answered");
    stopping.join().unwrap();
    let lasted = began.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&lasted), "{lasted:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(journal.find_instance("1.2.3").unwrap().is_some());
    // All threads leave the journal; one that has given its answer may have a last step to go.
    wait_until(|| Arc::strong_count(&journal) == 1);
    drop(folder);
}
