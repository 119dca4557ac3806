//! A process that keeps a journal in a real folder is killed at random moments: what it acknowledged on its standard output is
//! there, once.
//!
//! A killed process leaves what it wrote in the system's hands, synced or not; what a power cut leaves is tested in
//! `power_cut`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use thorax_journal::{Journal, Kind, Received, ReceivedObject, Settings, Source, StudyState, Summary};

/// Names the folder to the child.
const FOLDER: &str = "THORAX_KILLED_JOURNAL";

fn settings() -> Settings {
    Settings { quiet_seconds: 0, most_attempts: u32::MAX, ..Settings::default() }
}

fn bytes(instance: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(instance);
    (0..random.random_range(100..20_000)).map(|_| random.random()).collect()
}

fn dicom(instance: u64) -> ReceivedObject {
    ReceivedObject {
        kind: Kind::Dicom {
            sop_class_uid: "1.2".into(),
            sop_instance_uid: format!("2.25.{instance}"),
            study_instance_uid: format!("2.25.{}.1", instance / 3),
            series_instance_uid: "2.25".into(),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        },
        source: Source::Folder { folder: "test".into(), file: String::new() },
    }
}

/// What the killed process does until it is killed: three senders, one that reads, one that delivers. It tells what is done in
/// lines. Without the variable this is no test of its own.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let journal = Journal::open(Path::new(&folder), settings()).unwrap();
    let journal = &journal;
    let tell = |line: String| {
        // One write, so that no line is mixed with another's.
        std::io::stdout().lock().write_all(format!("\n!{line}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    };
    tell("opened".into());
    let from = journal.studies().unwrap().len() as u64 * 3 + u64::from(std::process::id()) * 1000;
    std::thread::scope(|scope| {
        for sender in 0..3 {
            scope.spawn(move || {
                for instance in (from + sender..).step_by(3) {
                    let mut writer = journal.begin_object().unwrap();
                    bytes(instance).chunks(4000).for_each(|part| writer.write(part).unwrap());
                    match writer.commit(dicom(instance)).unwrap() {
                        Received::Accepted { .. } => tell(format!("received {instance}")),
                        other => tell(format!("known {instance} {other:?}")),
                    }
                }
            });
        }
        scope.spawn(move || {
            loop {
                if let Some(taken) = journal.take().unwrap() {
                    tell(format!("taken {}", taken.number));
                    let outcome = format!("{}", taken.number).repeat(300);
                    let files = [("outcome", outcome.as_bytes())];
                    journal.finish(taken.number, Summary::default(), &files, &["pacs"]).unwrap();
                    tell(format!("finished {}", taken.number));
                }
            }
        });
        scope.spawn(move || {
            loop {
                if let Some(taken) = journal.take_delivery().unwrap() {
                    journal.delivered(taken.number).unwrap();
                    tell(format!("delivered {}", taken.number));
                }
            }
        });
    });
}

#[derive(Default)]
struct Acknowledged {
    received: BTreeSet<u64>,
    finished: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    kills_before_opened: u64,
}

/// One life of the child.
fn live_and_die(folder: &Path, life: Duration, told: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        lines.read_to_string(&mut text).unwrap();
        text
    });
    std::thread::sleep(life);
    let ended = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let text = reader.join().unwrap();
    if let Some(status) = ended {
        let mut why = String::new();
        child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        panic!("the child ended by itself: {status}\n{text}\n{why}");
    }
    let mut opened = false;
    // The last line may be cut off, so only whole ones count.
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let Some((word, number)) = line.strip_prefix('!').map(|line| line.split_once(' ').unwrap_or((line, ""))) else {
            continue;
        };
        let number = number.parse();
        let fresh = match word {
            "opened" => {
                opened = true;
                true
            }
            "received" => told.received.insert(number.unwrap()),
            "finished" => told.finished.insert(number.unwrap()),
            "delivered" => told.delivered.insert(number.unwrap()),
            "taken" => !told.finished.contains(&number.unwrap()),
            _ => panic!("{line}"),
        };
        assert!(fresh, "{line}: done twice");
    }
    told.kills_before_opened += u64::from(!opened);
}

/// Holds the journal against what was acknowledged.
fn check(folder: &Path, told: &Acknowledged) {
    let journal = Journal::open(folder, settings()).unwrap();
    assert_eq!(journal.verify().unwrap().problems, []);
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, study) in journal.studies().unwrap() {
        for (_, object) in journal.objects_of(number).unwrap() {
            let Kind::Dicom { sop_instance_uid, .. } = &object.what.kind else { panic!("{object:?}") };
            let instance = sop_instance_uid.rsplit_once('.').unwrap().1.parse().unwrap();
            *found.entry(instance).or_default() += 1;
        }
        assert!(!told.finished.contains(&number) || matches!(study.state, StudyState::Finished { .. }), "{number}");
        for (delivery, record) in journal.deliveries_of(number).unwrap() {
            assert!(!told.delivered.contains(&delivery) || record.state.is_over(), "delivery {delivery}");
        }
    }
    assert!(found.values().all(|count| *count == 1), "an image is there twice");
    let lost: Vec<&u64> = told.received.iter().filter(|instance| !found.contains_key(instance)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

fn kill(times: u64, longest: u64, check_every: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(times);
    let mut told = Acknowledged::default();
    for life in 1..=times {
        live_and_die(folder.path(), Duration::from_millis(random.random_range(5..longest)), &mut told);
        if life % check_every == 0 || life == times {
            check(folder.path(), &told);
        }
    }
    println!(
        "{times} kills ({} before the journal was open): {} images, {} results and {} deliveries were acknowledged, and are there",
        told.kills_before_opened,
        told.received.len(),
        told.finished.len(),
        told.delivered.len()
    );
    assert!(told.received.len() as u64 > times && !told.finished.is_empty() && !told.delivered.is_empty());
}

#[test]
fn fifty_kills_lose_nothing_and_repeat_nothing() {
    kill(50, 200, 1);
}

/// `cargo test --release -p thorax-journal --test kills -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn a_thousand_kills_lose_nothing_and_repeat_nothing() {
    kill(1000, 300, 20);
}
