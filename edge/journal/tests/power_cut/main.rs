//! A power cut on every write and every sync of a run: nothing acknowledged is lost, nothing is done twice, and it goes on.
#![allow(clippy::unwrap_used, clippy::panic)]

mod disk;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use disk::{Cuts, Disk, Left};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use thorax_journal::{
    AuditEvent, Clock, Journal, JournalError, Kind, Opinion, Received, ReceivedObject, Settings, Source, StudyState,
    Summary,
};

/// A device's clock that tests move, and a wall clock that jumps as it likes.
#[derive(Debug, Default)]
struct Hands {
    elapsed_milliseconds: AtomicU64,
    unix_milliseconds: AtomicI64,
}

impl Clock for Hands {
    fn unix_milliseconds(&self) -> i64 {
        self.unix_milliseconds.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_milliseconds.load(Ordering::Relaxed))
    }
}

fn settings() -> Settings {
    Settings { quiet_seconds: 5, most_attempts: 1000, keep_studies: 30, ..Settings::default() }
}

fn open(disk: &Disk, clock: &Arc<Hands>) -> Result<Journal, JournalError> {
    Journal::open_on(disk.clone(), disk.store(), clock.clone(), settings())
}

fn dicom(study: u64, instance: u64) -> ReceivedObject {
    ReceivedObject {
        kind: Kind::Dicom {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: format!("2.25.{instance}"),
            study_instance_uid: format!("2.25.{study}.1"),
            series_instance_uid: format!("2.25.{study}.2"),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        },
        source: Source::Association {
            calling_ae_title: "CART".into(),
            called_ae_title: "THORAX".into(),
            address: "192.0.2.1".into(),
        },
    }
}

/// Sends an object in several writes, as an association does.
fn send(journal: &Journal, study: u64, instance: u64, content: u64) -> Received {
    let mut writer = journal.begin_object().unwrap();
    let mut bytes = StdRng::seed_from_u64(content);
    for _ in 0..3 {
        let part: Vec<u8> = (0..bytes.random_range(1..1500)).map(|_| bytes.random()).collect();
        writer.write(&part).unwrap();
    }
    writer.commit(dicom(study, instance)).unwrap()
}

/// All that the journal says of itself.
fn told(journal: &Journal) -> Value {
    let mut json = vec![];
    journal.export_json(&mut json).unwrap();
    let mut told: Value = serde_json::from_slice(&json).unwrap();
    // A line of its own, so that what is said of the studies stays an array of them.
    let audit: Vec<String> = journal.latest_audit(999).unwrap().iter().map(|line| format!("{line:?}")).collect();
    told.as_array_mut().unwrap().push(json!({ "audit": audit, "deliveries": [] }));
    told
}

/// What a journal is to say when it was opened again in this state.
fn opened_again(mut state: Value) -> Value {
    for study in state.as_array_mut().unwrap() {
        if study["state"] == "taken" {
            study["state"] = json!("closed");
            study["note"] = json!("the device went down while it was read");
        }
        for delivery in study["deliveries"].as_array_mut().unwrap() {
            if delivery["state"] == "sending" {
                delivery["state"] = json!("waiting");
                delivery["interrupted"] = json!(true);
            }
        }
    }
    state
}

/// The state behind each step of a run, and how many calls of the disk there had been by then.
struct Run {
    disk: Disk,
    states: Vec<(usize, Value)>,
    received: u64,
    finished: u64,
    delivered: u64,
    said: u64,
}

/// Does this and that with a journal, as the program would.
fn run(steps: usize, seed: u64) -> Run {
    let disk = Disk::new();
    let clock = Arc::new(Hands::default());
    let mut journal = open(&disk, &clock).unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let mut run = Run { disk: disk.clone(), states: vec![], received: 0, finished: 0, delivered: 0, said: 0 };
    // Before the journal is made there is nothing; after it, an empty one.
    run.states.push((0, told(&journal)));
    let (mut taken, mut sending, mut instances) = (vec![], vec![], 0);
    for _ in 0..steps {
        clock.elapsed_milliseconds.fetch_add(random.random_range(0..3000), Ordering::Relaxed);
        clock.unix_milliseconds.store(random.random_range(-(1 << 40)..1 << 41), Ordering::Relaxed);
        match random.random_range(0..100) {
            0..35 => {
                instances += 1;
                let got = send(&journal, random.random_range(instances / 3..=instances / 3 + 1), instances, instances);
                assert!(matches!(got, Received::Accepted { .. }));
                run.received += 1;
            }
            35..42 if instances > 0 => {
                // Sent again, with other bytes now and then.
                let instance = random.random_range(1..=instances);
                let other = u64::from(random.random_bool(0.5));
                send(&journal, instance / 3, instance, instance + other * 1_000_000);
            }
            42..47 => {
                // Broken off.
                let mut writer = journal.begin_object().unwrap();
                writer.write(&[7; 700]).unwrap();
            }
            47..55 => {
                let open: Vec<u64> = journal.studies().unwrap().into_iter().map(|(number, _)| number).collect();
                journal.close_studies(&open[open.len().saturating_sub(2)..]).unwrap();
            }
            55..68 => taken.extend(journal.take().unwrap().map(|taken| taken.number)),
            68..80 => {
                if let Some(number) = taken.pop() {
                    let summary = Summary { verdict: "refer".into(), probability: Some(0.25), ..Summary::default() };
                    let mask: Vec<u8> = (0..900).map(|_| random.random()).collect();
                    let outcome = format!("{{\"study\":{number}}}");
                    let files = [("outcome.json", outcome.as_bytes()), ("mask.png", &mask[..])];
                    journal.finish(number, summary, &files, &["pacs", "fleet"]).unwrap();
                    run.finished += 1;
                }
            }
            80..84 => {
                if let Some(number) = taken.pop() {
                    match random.random_range(0..3) {
                        0 => journal.put_back(number, "no memory").unwrap(),
                        1 => journal.hand_back(number).unwrap(),
                        _ => journal.give_up(number, "no image").unwrap(),
                    }
                }
            }
            84..88 => sending.extend(journal.take_delivery().unwrap().map(|taken| taken.number)),
            88..94 => {
                if let Some(number) = sending.pop() {
                    match random.random_range(0..4) {
                        0 => journal.delivery_failed(number, "no route").unwrap(),
                        1 => journal.delivery_refused(number, "no such class").unwrap(),
                        _ => {
                            journal.delivered(number).unwrap();
                            run.delivered += 1;
                        }
                    }
                }
            }
            94..96 => drop(journal.retain().unwrap()),
            96 => {
                drop(journal);
                journal = open(&disk, &clock).unwrap();
                taken.clear();
                sending.clear();
            }
            _ => {
                let studies = journal.latest_studies(20).unwrap();
                let finished = studies.iter().find(|(_, study)| matches!(study.state, StudyState::Finished { .. }));
                if let Some((study, _)) = finished {
                    journal.add_feedback(*study, "ada", Opinion::Disagree, "a note").unwrap();
                    run.states.push((disk.calls(), told(&journal)));
                    journal.write_audit(Some("ada"), "::1", AuditEvent::Feedback, Some(*study)).unwrap();
                    run.said += 1;
                }
            }
        }
        run.states.push((disk.calls(), told(&journal)));
    }
    assert_eq!(journal.verify().unwrap().problems, []);
    // Closing it is a part of the run.
    drop(journal);
    run
}

/// Opens what a cut left, and holds it against the states before and behind the step that was cut off.
fn check(disk: &Disk, allowed: &[Value], at: &str) -> Journal {
    let journal = open(disk, &Arc::default()).unwrap_or_else(|error| panic!("{at}: {error}"));
    let found = told(&journal);
    if !allowed.contains(&found) {
        panic!("{at}: found\n{found:#}\nafter\n{:#}", allowed[0]);
    }
    let verified = journal.verify().unwrap();
    assert_eq!(verified.problems, [], "{at}");
    journal
}

/// The device goes on: what waits is taken, each once, and new images come in.
fn goes_on(journal: &Journal, at: &str) {
    let before = journal.counts().unwrap();
    let new = send(journal, 900_000, 900_000, 900_000);
    assert!(matches!(new, Received::Accepted { .. }), "{at}: {new:?}");
    assert_eq!(
        send(journal, 900_000, 900_000, 900_000),
        match new {
            Received::Accepted { object, .. } => Received::Duplicate { object },
            other => other,
        }
    );
    let open: Vec<u64> = journal.studies().unwrap().into_iter().map(|(number, _)| number).collect();
    journal.close_studies(&open).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(taken) = journal.take().unwrap() {
        assert!(seen.insert(taken.number), "{at}: study {} was taken twice", taken.number);
        for object in &taken.objects {
            journal.read_file(&object.object.sha256).unwrap_or_else(|error| panic!("{at}: {error}"));
        }
        journal.finish(taken.number, Summary::default(), &[], &[]).unwrap();
    }
    let after = journal.counts().unwrap();
    assert_eq!(seen.len() as u64, before.studies_waiting + 1, "{at}");
    assert_eq!((after.studies_waiting, after.objects_waiting), (0, 0), "{at}");
}

/// The states that a cut on this call may leave.
fn allowed(states: &[(usize, Value)], call: usize) -> Vec<Value> {
    let done = states.iter().rposition(|(calls, _)| *calls <= call).unwrap();
    states[done..].iter().take(2).map(|(_, state)| opened_again(state.clone())).collect()
}

struct Tried {
    cuts: usize,
    disks: usize,
    nested: usize,
}

/// Cuts a run everywhere, and what was left everywhere again while it is opened, at every `nested_every`-th cut.
fn try_all(run: &Run, seeds: u64, nested_every: usize, going_every: usize) -> Tried {
    let mut cuts: Cuts = run.disk.cuts(&Disk::new());
    let mut tried = Tried { cuts: 0, disks: 0, nested: 0 };
    while let Some(call) = cuts.at() {
        tried.cuts += 1;
        let allowed = allowed(&run.states, call);
        let parts = (0..seeds).map(|seed| Left::Parts(seed ^ (call as u64) << 8));
        for left in [Left::Synced, Left::Everything].into_iter().chain(parts) {
            tried.disks += 1;
            let disk = cuts.disk(left);
            let began = disk.copy();
            let at = format!("cut on call {call}, {left:?}");
            let journal = check(&disk, &allowed, &at);
            if call % nested_every == 0 && left != Left::Everything {
                let mut again = disk.cuts(&began);
                while let Some(inner) = again.at() {
                    tried.nested += 1;
                    let at = format!("{at}, and again on call {inner} of opening it");
                    drop(check(&again.disk(Left::Parts(inner as u64)), &allowed, &at));
                    again.step();
                }
            }
            if call % going_every == 0 {
                goes_on(&journal, &at);
            }
        }
        cuts.step();
    }
    tried
}

#[test]
fn a_cut_on_every_write_and_every_sync_loses_nothing_and_repeats_nothing() {
    let run = run(300, 1);
    assert!(
        run.received > 60 && run.finished > 10 && run.delivered > 3 && run.said > 3,
        "{} received, {} finished, {} delivered, {} said: a run of little content",
        run.received,
        run.finished,
        run.delivered,
        run.said
    );
    let tried = try_all(&run, 1, 97, 7);
    println!(
        "{} steps, {} received, {} finished, {} delivered: {} cut points, {} disks left by them, {} cuts while opening",
        run.states.len() - 1,
        run.received,
        run.finished,
        run.delivered,
        tried.cuts,
        tried.disks,
        tried.nested
    );
    assert!(tried.cuts > 1000);
}

/// `cargo test --release -p thorax-journal --test power_cut -- --ignored --nocapture`
#[test]
#[ignore = "takes many minutes: more runs, more of what a cut may leave"]
fn many_runs_are_cut_everywhere() {
    for seed in 2..6 {
        let tried = try_all(&run(600, seed), 4, 31, 3);
        println!("seed {seed}: {} cut points, {} disks, {} cuts while opening", tried.cuts, tried.disks, tried.nested);
    }
}

#[test]
fn the_disk_forgets_what_was_not_synced_and_the_checks_see_it() {
    // A journal whose files are never synced loses what it acknowledged: the checks above would say so.
    let disk = Disk::new();
    let journal = open(&disk, &Arc::default()).unwrap();
    send(&journal, 1, 1, 1);
    drop(journal);
    let damaged = disk.copy();
    damaged.damage();
    let journal = open(&damaged, &Arc::default()).unwrap();
    let problems = journal.verify().unwrap().problems;
    assert!(problems.len() == 1 && problems[0].cause.contains("have changed"), "{problems:?}");
    let mut cuts = disk.cuts(&Disk::new());
    let (mut empty, mut there) = (0, 0);
    while cuts.at().is_some() {
        match told(&open(&cuts.disk(Left::Synced), &Arc::default()).unwrap()).as_array().unwrap().len() {
            1 => empty += 1,
            _ => there += 1,
        }
        cuts.step();
    }
    assert!(empty > 10 && there > 0, "{empty} cuts before it was there, {there} behind");
}

#[test]
fn files_without_their_database_are_not_taken_for_rubbish() {
    let disk = Disk::new();
    let journal = open(&disk, &Arc::default()).unwrap();
    send(&journal, 1, 1, 1);
    drop(journal);
    disk.spoil_database(&[0; 9]);
    let told = open(&disk, &Arc::default()).unwrap_err();
    assert!(matches!(told, JournalError::DatabaseMissing { files: 1 }), "{told}");
    disk.spoil_database(b"something else");
    let told = open(&disk, &Arc::default()).unwrap_err();
    assert!(matches!(told, JournalError::Database(_)), "{told}");
}
