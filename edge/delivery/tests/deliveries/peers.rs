//! What an archive on the DICOM network answers, and what comes of it.

use std::time::{Duration, Instant};

use thorax_delivery::{Config, Dicom};
use thorax_dimse::{
    association::{Ask, Limits, Proposal, Requestor},
    command,
    commitment::{Commitment, Reference},
    uids,
};
use thorax_journal::DeliveryState;

use crate::{
    archive::{Archive, COMMITMENT, Fault, Script, Step},
    device::{Device, EXPLICIT, SC, SEG, SR, config, dicom, status, to_dicom, until},
};

#[test]
fn the_objects_of_a_study_go_over_one_association_that_proposes_just_these() {
    let archive = Archive::start(|_| Script::default());
    let device = Device::with(2, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("all arrive", 20, || device.arrived("pacs") == 2);
    let log = archive.log.lock().unwrap();
    let context = |class: &str| (class.to_owned(), vec![EXPLICIT.to_owned()]);
    assert_eq!(log.proposed, [[SEG, SR, SC].map(context), [SEG, SR, SC].map(context)]);
    let sent: Vec<_> = device.sent.iter().flatten().collect();
    assert_eq!(log.objects.len(), sent.len());
    for ((instance, data_set), sent) in log.objects.iter().zip(&sent) {
        assert_eq!(*instance, sent.instance);
        assert!(
            sent.file.ends_with(data_set) && data_set.len() > sent.file.len() / 2,
            "the data set, and nothing else"
        );
    }
    let told = status(&deliveries, "pacs");
    assert_eq!((told.waiting, told.delivered, told.objects, told.failures), (0, 2, 6, 0));
    assert_eq!(told.bytes, sent.iter().map(|sent| sent.file.len() as u64).sum::<u64>());
    assert!(told.last_success_at.is_some() && told.last_error.is_none());
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

#[test]
fn what_comes_later_is_sent_at_once() {
    let archive = Archive::start(|_| Script::default());
    let mut device = Device::with(0, &[]);
    let _deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    device.finish_another(&["pacs"]);
    until("it arrives", 10, || device.arrived("pacs") == 1);
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waited for the end of a pause");
}

#[test]
fn no_object_is_sent_again_once_it_was_answered() {
    // Two objects are answered, the third is not; the next association is well.
    let archive = Archive::start(|number| Script {
        fault: (number < 2).then_some((if number == 0 { Step::Answered } else { Step::Object }, Fault::Close)),
        ..Script::default()
    });
    let device = Device::with(1, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it arrives", 20, || device.arrived("pacs") == 1);
    let [seg, sr, sc] = &device.sent[0];
    // Association 0 answers the segmentation and closes; 1 takes the report without an answer; 2 gets that again, and the rest.
    let expected = [seg, sr, sc].map(|sent| sent.instance.clone());
    assert_eq!(archive.instances(), expected, "association 1 ended before it had noted anything");
    assert_eq!(archive.associations(), 3);
    let proposed = archive.log.lock().unwrap().proposed.clone();
    assert!(proposed[1].iter().all(|(class, _)| class != SEG), "{proposed:?}");
    let (_, delivery) = device.delivery(0, "pacs");
    assert_eq!((delivery.attempts, delivery.arrived.len()), (3, 3));
    assert!(delivery.last_error.unwrap().contains("broke off"), "the last error is still told");
    let told = status(&deliveries, "pacs");
    assert!(told.last_error.unwrap().remedy.unwrap().contains("same UIDs") && told.failures == 0);
}

#[test]
fn an_object_whose_answer_was_lost_is_sent_again_as_the_same_object() {
    let archive = Archive::start(|number| Script {
        // It comes whole, and the connection is gone before the answer.
        other_message: if number == 0 { 7 } else { 0 },
        statuses: vec![if number == 0 { 0 } else { 0x0111 }],
        ..Script::default()
    });
    let device = Device::with(1, &["pacs"]);
    let _deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it arrives", 20, || device.arrived("pacs") == 1);
    let log = archive.log.lock().unwrap();
    let seg = &device.sent[0][0];
    assert_eq!((&log.objects[0], &log.objects[0].0), (&log.objects[1], &seg.instance), "the same bytes, the same UID");
    assert_eq!(log.objects.len(), 4);
}

#[test]
fn without_room_it_is_tried_again_and_nothing_else_is_sent_meanwhile() {
    let archive = Archive::start(|number| Script {
        statuses: vec![if number < 2 { 0xa700 } else { 0xb000 }],
        ..Script::default()
    });
    let device = Device::with(2, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it is told", 10, || status(&deliveries, "pacs").failures == 1);
    let told = status(&deliveries, "pacs").last_error.unwrap();
    assert!(told.cause.contains("no room") && told.cause.contains("a700"), "{told}");
    assert!(told.remedy.unwrap().contains("make room"));
    assert_eq!(status(&deliveries, "pacs").waiting, 2);
    until("all arrive", 20, || device.arrived("pacs") == 2);
    assert_eq!(archive.instances().len(), 2 + 6, "one object an attempt without room, and then all");
}

#[test]
fn what_is_refused_is_given_up_with_its_reason_and_the_rest_is_sent() {
    for (script, cause) in [
        (Script { statuses: vec![0, 0xa900], ..Script::default() }, "the data set does not match its class"),
        (Script { statuses: vec![0, 0xc123], ..Script::default() }, "status c123"),
        (Script { statuses: vec![0, 0x0122], ..Script::default() }, "does not take objects of this class"),
        (Script { refused: vec![SR], ..Script::default() }, "does not take Comprehensive 3D SR Storage"),
    ] {
        let archive = Archive::start(move |number| if number == 0 { script.clone() } else { Script::default() });
        let device = Device::with(1, &["pacs"]);
        let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
        until("it is given up", 10, || device.delivery(0, "pacs").1.state.is_over());
        let (number, delivery) = device.delivery(0, "pacs");
        let DeliveryState::GivenUp { cause: told, .. } = &delivery.state else { panic!("{delivery:?}") };
        assert!(told.contains(cause), "{told}");
        let [seg, sr, sc] = &device.sent[0];
        assert!(archive.instances().contains(&seg.instance) && archive.instances().contains(&sc.instance));
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(archive.associations(), 1, "not tried again by itself");
        let told = status(&deliveries, "pacs");
        assert_eq!((told.refused, told.waiting, told.failures), (1, 0, 0));
        assert!(told.last_error.unwrap().cause.contains(cause));
        // Somebody has put the archive right.
        device.journal.retry_delivery(number).unwrap();
        until("it arrives", 10, || device.arrived("pacs") == 1);
        let again: Vec<String> = archive.instances().split_off(archive.instances().len() - 1);
        assert_eq!(again, [sr.instance.as_str()], "only what was missing");
    }
}

#[test]
fn what_is_refused_is_not_sent_again_when_another_object_has_no_room() {
    let archive = Archive::start(|number| Script {
        statuses: if number == 0 { vec![0xc001, 0xa700] } else { vec![] },
        ..Script::default()
    });
    let device = Device::with(1, &["pacs"]);
    let _deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it is given up", 10, || device.delivery(0, "pacs").1.state.is_over());
    let DeliveryState::GivenUp { cause, .. } = device.delivery(0, "pacs").1.state else { panic!() };
    assert!(cause.contains("status c001"), "{cause}");
    let [seg, sr, sc] = device.sent[0].each_ref().map(|sent| sent.instance.clone());
    assert_eq!(archive.instances(), [seg, sr.clone(), sr, sc]);
}

#[test]
fn an_archive_that_does_not_know_us_is_asked_again_with_the_remedy_told() {
    let archive = Archive::start(|number| Script { rejects: number == 0, ..Script::default() });
    let device = Device::with(1, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it is told", 10, || status(&deliveries, "pacs").last_error.is_some());
    let told = status(&deliveries, "pacs").last_error.unwrap();
    assert!(told.cause.contains("it does not know our AE title"), "{told}");
    assert!(told.remedy.as_ref().unwrap().contains("enter THORAX_OUT"), "{told}");
    until("it arrives", 10, || device.arrived("pacs") == 1);
}

#[test]
fn nothing_to_send_and_nothing_that_can_be_sent_are_told() {
    let archive = Archive::start(|_| Script::default());
    let device = Device::with(0, &[]);
    device.finish(0, &[("outcome.json", b"{}")], &["pacs", "elsewhere"]);
    device.finish(1, &[("report.dcm", b"no DICOM at all")], &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("both are given up", 10, || (0..2).all(|study| device.delivery(study, "pacs").1.state.is_over()));
    for (study, cause) in [(0, "no DICOM object to send"), (1, "report.dcm is no DICOM file")] {
        let DeliveryState::GivenUp { cause: told, .. } = device.delivery(study, "pacs").1.state else { panic!() };
        assert!(told.contains(cause), "{told}");
    }
    let lost = status(&deliveries, "elsewhere");
    assert_eq!(lost.waiting, 1);
    assert!(lost.last_error.unwrap().cause.contains("no such destination"));
    assert_eq!(archive.associations(), 0);
}

#[test]
fn a_pause_ends_when_somebody_says_so() {
    let archive = Archive::start(|number| Script { rejects: number == 0, ..Script::default() });
    let device = Device::with(1, &["pacs"]);
    let long = Config { first_pause_seconds: 3000, longest_pause_seconds: 3600, ..config(vec![]) };
    let deliveries = device.start(Config { destinations: vec![to_dicom("pacs", dicom(archive.port))], ..long });
    until("it is told", 10, || status(&deliveries, "pacs").pause.is_some());
    let pause = status(&deliveries, "pacs").pause.unwrap();
    assert!((1400..=3000).contains(&pause.as_secs()), "{pause:?}");
    deliveries.try_now("pacs").unwrap();
    until("it arrives", 10, || device.arrived("pacs") == 1);
}

#[test]
fn at_the_end_an_object_is_finished_or_put_back() {
    // An archive that takes a second for an answer: the object in hand is finished, the others are put back.
    let archive = Archive::start(|_| Script { slow_seconds: 1, ..Script::default() });
    let device = Device::with(2, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("it is sent", 10, || archive.associations() == 1);
    std::thread::sleep(Duration::from_millis(200));
    deliveries.stop();
    let (_, delivery) = device.delivery(0, "pacs");
    assert_eq!((&delivery.state, delivery.arrived.len()), (&DeliveryState::Waiting, 1), "{delivery:?}");
    // One that never answers is cut off after its time.
    let silent = Archive::start(|_| Script { fault: Some((Step::Object, Fault::Silence)), ..Script::default() });
    let hurried = Config { stop_seconds: 1, ..config(vec![to_dicom("pacs", dicom(silent.port))]) };
    let deliveries = device.start(hurried);
    until("it is sent", 10, || silent.associations() == 1);
    let began = Instant::now();
    deliveries.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(device.journal.outbox().unwrap().iter().all(|(_, delivery)| delivery.state == DeliveryState::Waiting));
    // Another day, with what is left.
    let device = device.again();
    let deliveries = device.start(config(vec![to_dicom("pacs", dicom(archive.port))]));
    until("all arrive", 30, || device.arrived("pacs") == 2);
    deliveries.stop();
    let mut instances = archive.instances();
    assert_eq!(instances.len(), 6, "none twice");
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), 6);
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

fn committing(port: u16) -> Dicom {
    Dicom { commitment: true, commitment_seconds: 2, ..dicom(port) }
}

#[test]
fn a_delivery_is_over_when_the_archive_has_committed_to_it() {
    let archive = Archive::start(|_| Script { report: Some(|_| true), ..Script::default() });
    let device = Device::with(2, &["pacs"]);
    let _deliveries = device.start(config(vec![to_dicom("pacs", committing(archive.port))]));
    until("all arrive", 20, || device.arrived("pacs") == 2);
    let log = archive.log.lock().unwrap();
    assert_eq!(log.transactions.len(), 2);
    assert_ne!(log.transactions[0], log.transactions[1]);
    assert_eq!(log.proposed[0].last().unwrap().0, COMMITMENT);
    assert_eq!(log.objects.len(), 6);
}

#[test]
fn what_an_archive_does_not_commit_to_is_sent_again_and_nothing_else() {
    // The first report says that it has lost all but the segmentations.
    let archive = Archive::start(|number| Script {
        report: Some(if number == 0 { |instance| instance.ends_with(['0', '2', '4', '6', '8']) } else { |_| true }),
        ..Script::default()
    });
    let device = Device::with(1, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", committing(archive.port))]));
    until("it arrives", 20, || device.arrived("pacs") == 1);
    let instances: Vec<&String> = device.sent[0].iter().map(|sent| &sent.instance).collect();
    let odd: Vec<&String> = instances.iter().copied().filter(|uid| !uid.ends_with(['0', '2', '4', '6', '8'])).collect();
    let expected: Vec<&String> = instances.iter().chain(&odd).copied().collect();
    assert_eq!(archive.instances().iter().collect::<Vec<_>>(), expected);
    if !odd.is_empty() {
        let told = status(&deliveries, "pacs").last_error.unwrap();
        assert!(told.cause.contains("does not keep") && told.cause.contains("status 0112"), "{told}");
    }
}

#[test]
fn an_archive_that_does_not_commit_is_asked_again_and_sent_nothing_twice() {
    let archive = Archive::start(|number| Script {
        refused: if number == 0 { vec![COMMITMENT] } else { vec![] },
        report: (number > 1).then_some(|_| true),
        ..Script::default()
    });
    let device = Device::with(1, &["pacs"]);
    let deliveries = device.start(config(vec![to_dicom("pacs", committing(archive.port))]));
    until("it is told", 10, || status(&deliveries, "pacs").last_error.is_some());
    let told = status(&deliveries, "pacs").last_error.unwrap();
    assert!(told.cause.contains("does not take the class") && told.remedy.unwrap().contains("do not ask for it"));
    until("no report comes", 20, || {
        status(&deliveries, "pacs").last_error.unwrap().cause.contains("has not committed to them within 2 s")
    });
    until("it arrives", 20, || device.arrived("pacs") == 1);
    assert_eq!((archive.instances().len(), archive.associations()), (3, 3));
    assert_eq!(archive.log.lock().unwrap().transactions.len(), 2, "asked anew each time");
}

#[test]
fn the_port_for_reports_takes_them_from_the_archives_of_the_profile_alone() {
    // An archive that is asked, and says nothing on the association that it is asked on.
    let archive = Archive::start(|_| Script::default());
    let device = Device::with(1, &["pacs"]);
    let to = Dicom { commitment_seconds: 20, ..committing(archive.port) };
    let report_address = Some(([127, 0, 0, 1], 0).into());
    let deliveries = device.start(Config { report_address, ..config(vec![to_dicom("pacs", to)]) });
    let address = deliveries.report_address().unwrap();
    until("it is asked", 10, || archive.log.lock().unwrap().transactions.len() == 1);
    let report = |calling: &str, called: &str, report: &Commitment| {
        let limits = Limits::default();
        let wire = limits.connect(address).unwrap();
        let proposals = [
            Proposal::of(COMMITMENT, uids::IMPLICIT_LITTLE_ENDIAN).as_provider(),
            Proposal::of(uids::VERIFICATION, uids::IMPLICIT_LITTLE_ENDIAN),
            Proposal::of(SEG, EXPLICIT),
        ];
        let ask = Ask { calling_ae_title: calling, called_ae_title: called, proposals: &proposals };
        let mut association = Requestor::ask(&wire, &ask, limits).map_err(|error| error.to_string())?;
        assert!(association.context(&proposals[1]).is_some() && association.context(&proposals[2]).is_none());
        let context = association.context(&proposals[0]).unwrap();
        let command = command::event_report(COMMITMENT, uids::STORAGE_COMMITMENT_INSTANCE, report.event_type());
        let response = association.request(context, &command, &mut &report.data_set()[..]).unwrap();
        association.release();
        Ok::<_, String>(response.status)
    };
    let images = device.sent[0].iter().map(|s| Reference { class: s.class.clone(), instance: s.instance.clone() });
    let transaction = archive.log.lock().unwrap().transactions[0].clone();
    let kept = Commitment { transaction, images: images.collect(), failed: vec![] };
    assert!(report("STRANGER", "THORAX_OUT", &kept).unwrap_err().contains("does not know our AE title"));
    assert!(report("ARCHIVE", "THORAX", &kept).unwrap_err().contains("has another AE title"));
    let guessed = Commitment { transaction: "2.25.1".into(), ..kept.clone() };
    assert_eq!(report("ARCHIVE", "THORAX_OUT", &guessed).unwrap(), 0x0110);
    assert_eq!(device.arrived("pacs"), 0);
    assert_eq!(report("ARCHIVE", "THORAX_OUT", &kept).unwrap(), 0);
    until("it is known", 10, || device.arrived("pacs") == 1);
    assert_eq!(status(&deliveries, "pacs").last_error, None);
}

#[test]
fn a_report_that_comes_late_counts() {
    let archive = Archive::start(|_| Script::default());
    let device = Device::with(1, &["pacs"]);
    let to = Dicom { commitment_seconds: 1, ..committing(archive.port) };
    let report_address = Some(([127, 0, 0, 1], 0).into());
    let patient = Config { report_address, first_pause_seconds: 4, longest_pause_seconds: 4, ..config(vec![]) };
    let deliveries = device.start(Config { destinations: vec![to_dicom("pacs", to)], ..patient });
    until("nothing has come", 10, || status(&deliveries, "pacs").last_error.is_some());
    let transaction = archive.log.lock().unwrap().transactions[0].clone();
    let images = device.sent[0].iter().map(|s| Reference { class: s.class.clone(), instance: s.instance.clone() });
    let kept = Commitment { transaction, images: images.collect(), failed: vec![] };
    let proposals = [Proposal::of(COMMITMENT, uids::IMPLICIT_LITTLE_ENDIAN).as_provider()];
    let ask = Ask { calling_ae_title: "ARCHIVE", called_ae_title: "THORAX_OUT", proposals: &proposals };
    let wire = Limits::default().connect(deliveries.report_address().unwrap()).unwrap();
    let mut association = Requestor::ask(&wire, &ask, Limits::default()).unwrap();
    let context = association.context(&proposals[0]).unwrap();
    let command = command::event_report(COMMITMENT, uids::STORAGE_COMMITMENT_INSTANCE, 1);
    assert_eq!(association.request(context, &command, &mut &kept.data_set()[..]).unwrap().status, 0);
    association.release();
    until("it is known", 20, || device.arrived("pacs") == 1);
    assert_eq!((archive.associations(), archive.instances().len()), (1, 3), "nobody had to be asked again");
}
