//! An archive that fails in every way at every step, beside one that is well: the well one gets everything, and nothing is lost of
//! what the other was sent, nor sent twice after an answer.

use std::time::Duration;

use thorax_delivery::Dicom;
use thorax_journal::DeliveryState;

use crate::{
    archive::{Archive, FAULTS, STEPS, Script},
    device::{Device, config, dicom, status, to_dicom, until},
};

#[test]
fn an_archive_that_fails_at_any_step_in_any_way_holds_nobody_up() {
    let well = Archive::start(|_| Script::default());
    // Each combination once, and then it is well.
    let all: Vec<_> = STEPS.iter().flat_map(|step| FAULTS.map(|fault| (*step, fault))).collect();
    // One archive for each, or the slow ones would wait for one another.
    let failing: Vec<(String, Archive)> = all
        .iter()
        .map(|&(step, fault)| {
            let script = move |number| Script { fault: (number == 0).then_some((step, fault)), ..Script::default() };
            (format!("{step:?} {fault:?}"), Archive::start(script))
        })
        .collect();
    let mut names: Vec<&str> = failing.iter().map(|(name, _)| name.as_str()).collect();
    names.push("well");
    let device = Device::with(2, &names);
    let hasty = |port| Dicom { associate_seconds: 1, message_seconds: 1, ..dicom(port) };
    let mut destinations: Vec<_> = failing.iter().map(|(name, archive)| to_dicom(name, hasty(archive.port))).collect();
    destinations.push(to_dicom("well", dicom(well.port)));
    let deliveries = device.start(config(destinations));
    until("the well one has all", 20, || device.arrived("well") == 2);
    assert_eq!(well.instances().len(), 6);
    for ((name, archive), (step, fault)) in failing.iter().zip(&all) {
        // The journal knows it a moment before the status does.
        until(name, 60, || device.arrived(name) == 2 && status(&deliveries, name).delivered == 2);
        let told = status(&deliveries, name);
        assert_eq!((told.waiting, told.delivered, told.failures), (0, 2, 0), "{name}");
        let reason = told.last_error.unwrap_or_else(|| panic!("{name}: no error was told"));
        assert!(!reason.cause.is_empty() && reason.remedy.is_some(), "{name}: {reason}");
        // What came whole: each object once, but for those whose answer we cannot have read.
        let mut instances = archive.instances();
        let came = instances.len();
        instances.sort();
        instances.dedup();
        assert_eq!(instances.len(), 6, "{name}");
        assert_eq!(came, 6, "{name}: at {step:?}, {fault:?}");
    }
    deliveries.stop();
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

#[test]
fn a_delivery_at_which_an_archive_breaks_off_each_time_keeps_no_other_back() {
    let device = Device::with(4, &["pacs"]);
    let poison = device.sent[0][0].instance.clone();
    // An archive that falls over one object.
    let archive = Archive::start(|_| Script::default());
    let (port, log) = (archive.port, archive.log.clone());
    let front = {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let poison = poison.clone().into_bytes();
        std::thread::spawn(move || {
            for wire in listener.incoming() {
                let (mut from, poison) = (wire.unwrap(), poison.clone());
                let mut to = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (mut back, mut out) = (to.try_clone().unwrap(), from.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut back, &mut out));
                std::thread::spawn(move || {
                    let mut chunk = [0; 1 << 14];
                    while let Ok(read) = from.read(&mut chunk) {
                        let part = &chunk[..read];
                        if read == 0 || part.windows(poison.len()).any(|part| part == poison) {
                            break;
                        }
                        to.write_all(part).unwrap();
                    }
                    let _ = from.shutdown(std::net::Shutdown::Both);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        own
    };
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(front))]));
    until("the others arrive", 30, || device.arrived("pacs") == 3);
    let (_, delivery) = device.delivery(0, "pacs");
    assert!(!matches!(delivery.state, DeliveryState::Delivered { .. }), "{delivery:?}");
    assert!(log.lock().unwrap().objects.iter().all(|(instance, _)| *instance != poison));
    deliveries.stop();
}

#[test]
fn pauses_grow_while_an_archive_is_away() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let device = Device::with(3, &["pacs"]);
    let mut config = config(vec![to_dicom("pacs", dicom(gone))]);
    config.longest_pause_seconds = 3600;
    let deliveries = device.start(config);
    until("three attempts", 30, || status(&deliveries, "pacs").failures >= 3);
    let told = status(&deliveries, "pacs");
    let reason = told.last_error.unwrap();
    assert!(reason.cause.contains("cannot reach 127.0.0.1") && reason.remedy.unwrap().contains("is running"));
    // Between two and four seconds after the third.
    assert!(told.failures > 3 || told.pause.unwrap() > Duration::from_millis(1500), "{:?}", told.pause);
    let attempts: u32 = (0..3).map(|study| device.delivery(study, "pacs").1.attempts).sum();
    assert_eq!(attempts, told.failures, "one attempt a pause, however many wait");
    deliveries.stop();
}
