//! The way of an image through the journal, in a real folder.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use redb::backends::InMemoryBackend;
use thorax_journal::{
    Agreement, AuditEvent, Clock, DeliveryState, FileStore, FolderStore, Journal, JournalError, Kind, Opinion,
    Received, ReceivedObject, Settings, Source, StoreFile, StudyState, Summary, restore,
};

#[derive(Debug, Default)]
struct Hands {
    elapsed_milliseconds: AtomicU64,
    unix_milliseconds: AtomicI64,
}

impl Hands {
    fn wait(&self, seconds: u64) {
        self.elapsed_milliseconds.fetch_add(1000 * seconds, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn unix_milliseconds(&self) -> i64 {
        self.unix_milliseconds.load(Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_milliseconds.load(Ordering::Relaxed))
    }
}

/// A journal whose clock is moved by hand, its files in `folder` and its database in memory.
fn with_hands(folder: &Path, settings: Settings) -> (Journal, Arc<Hands>) {
    let hands = Arc::new(Hands::default());
    let store = Arc::new(FolderStore::new(folder).unwrap());
    (Journal::open_on(InMemoryBackend::new(), store, hands.clone(), settings).unwrap(), hands)
}

fn dicom(study: &str, instance: &str) -> ReceivedObject {
    ReceivedObject {
        kind: Kind::Dicom {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: instance.into(),
            study_instance_uid: study.into(),
            series_instance_uid: "1.2.3".into(),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        },
        source: Source::Association {
            calling_ae_title: "=CART".into(),
            called_ae_title: "THORAX".into(),
            address: "192.0.2.1".into(),
        },
    }
}

fn picture() -> ReceivedObject {
    let source = Source::Folder { folder: "usb".into(), file: "../../etc/passwd".into() };
    ReceivedObject { kind: Kind::Picture, source }
}

fn send(journal: &Journal, what: ReceivedObject, bytes: &[u8]) -> Result<Received, JournalError> {
    let mut writer = journal.begin_object()?;
    writer.write(bytes)?;
    writer.commit(what)
}

fn accepted(received: Received) -> (u64, u64) {
    match received {
        Received::Accepted { object, study } => (object, study),
        other => panic!("{other:?}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Takes the next study and finishes it.
fn finish_next(journal: &Journal, destinations: &[&str]) -> u64 {
    let number = journal.take().unwrap().unwrap().number;
    let summary = Summary { verdict: "negative".into(), probability: Some(0.125), ..Summary::default() };
    let outcome = format!("outcome of {number}");
    journal.finish(number, summary, &[("outcome.json", outcome.as_bytes())], destinations).unwrap();
    number
}

#[test]
fn an_image_is_received_read_and_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings::default()).unwrap();
    let (first, study) = accepted(send(&journal, dicom("1.1", "1.1.1"), b"one").unwrap());
    let (second, same) = accepted(send(&journal, dicom("1.1", "1.1.2"), b"two").unwrap());
    assert!(study == same && first < second);
    assert_eq!(journal.take().unwrap(), None, "more may come");
    journal.close_studies(&[study]).unwrap();
    assert_eq!(journal.next_study_due().unwrap(), Some(study));
    let taken = journal.take().unwrap().unwrap();
    assert_eq!(taken.objects.iter().map(|object| object.number).collect::<Vec<_>>(), [first, second]);
    assert_eq!(fs::read(&taken.objects[1].path).unwrap(), b"two");
    assert_eq!(journal.take().unwrap(), None, "taken is taken");

    // What comes now is another round of the same study.
    let (_, later) = accepted(send(&journal, dicom("1.1", "1.1.3"), b"three").unwrap());
    let record = journal.study(later).unwrap();
    assert_eq!((record.round, record.earlier), (2, Some(study)));

    let summary = Summary { verdict: "refer".into(), ..Summary::default() };
    journal.finish(study, summary.clone(), &[("mask.png", b"mask")], &["pacs", "pacs", "fleet"]).unwrap();
    let result = journal.result(study).unwrap().unwrap();
    assert_eq!((&result.summary, result.files[0].label.as_str()), (&summary, "mask.png"));
    assert_eq!(journal.read_file(&result.files[0].sha256).unwrap(), b"mask");
    let told = journal.finish(study, summary, &[], &[]).unwrap_err();
    assert!(matches!(told, JournalError::WrongState { state: "finished", .. }), "{told}");
    assert!(matches!(journal.put_back(study, "").unwrap_err(), JournalError::WrongState { .. }));

    let to: Vec<String> = journal.deliveries_of(study).unwrap().into_iter().map(|(_, d)| d.destination).collect();
    assert_eq!(to, ["pacs", "fleet"], "nothing is sent twice to one place");
    let one = journal.take_delivery().unwrap().unwrap();
    journal.delivered(one.number).unwrap();
    assert!(matches!(journal.delivered(one.number).unwrap_err(), JournalError::WrongState { .. }));
    assert_eq!(journal.take_delivery().unwrap().unwrap().delivery.destination, "fleet");
    assert_eq!(journal.verify().unwrap().problems, []);
    let counts = journal.counts().unwrap();
    assert_eq!((counts.studies_waiting, counts.objects_waiting, counts.studies_finished), (1, 1, 1));
    assert_eq!((counts.deliveries_done, counts.deliveries_waiting), (1, 1));
    assert_eq!(journal.latest_studies(1).unwrap()[0].0, later);
    assert_eq!(names(folder.path()), [".lock", "files", "journal.redb"]);
    assert_eq!(names(&folder.path().join("files")).len(), 4);
}

#[test]
fn the_same_image_is_one_object_and_other_bytes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings::default()).unwrap();
    let (object, _) = accepted(send(&journal, dicom("1.1", "1.1.1"), b"one").unwrap());
    assert_eq!(send(&journal, dicom("1.1", "1.1.1"), b"one").unwrap(), Received::Duplicate { object });
    assert_eq!(send(&journal, dicom("1.1", "1.1.1"), b"two").unwrap(), Received::DuplicateOtherContent { object });
    assert_eq!(journal.find_instance("1.1.1").unwrap().unwrap().0, object);
    assert_eq!(journal.find_instance("1.1").unwrap(), None);
    let (picture_object, _) = accepted(send(&journal, picture(), b"png").unwrap());
    assert_eq!(send(&journal, picture(), b"png").unwrap(), Received::Duplicate { object: picture_object });
    accepted(send(&journal, picture(), b"another png").unwrap());
    // The same bytes under two UIDs are two objects of one file.
    accepted(send(&journal, dicom("1.2", "1.1.9"), b"one").unwrap());
    assert_eq!(names(&folder.path().join("files")).len(), 3);
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn one_of_many_senders_of_one_image_is_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings::default()).unwrap();
    let journal = &journal;
    let received: Vec<Received> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..5).map(|i| send(journal, dicom("1", &format!("1.{i}")), &[i]).unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(received.iter().filter(|r| matches!(r, Received::Accepted { .. })).count(), 5);
    assert_eq!(received.iter().filter(|r| matches!(r, Received::Duplicate { .. })).count(), 35);
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { most_object_bytes: 10, most_waiting_objects: 2, ..Settings::default() };
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    let told = send(&journal, dicom("1", "1.1"), &[0; 11]).unwrap_err();
    assert!(matches!(told, JournalError::TooLarge { limit: 10 }) && !told.is_full(), "{told}");
    assert!(matches!(send(&journal, dicom("1", "1.1"), b"").unwrap_err(), JournalError::Empty));
    let mut spoilt = journal.begin_object().unwrap();
    spoilt.write(&[0; 9]).unwrap();
    spoilt.write(&[0; 9]).unwrap_err();
    spoilt.write(&[0; 1]).unwrap_err();
    spoilt.commit(dicom("1", "1.1")).unwrap_err();
    // Both begin when there is room for one.
    send(&journal, dicom("1", "1.1"), b"a").unwrap();
    let (mut one, mut other) = (journal.begin_object().unwrap(), journal.begin_object().unwrap());
    one.write(b"b").unwrap();
    other.write(b"c").unwrap();
    accepted(one.commit(dicom("1", "1.2")).unwrap());
    let told = other.commit(dicom("1", "1.3")).unwrap_err();
    assert!(matches!(told, JournalError::QueueFull { limit: 2 }) && told.is_full(), "{told}");
    assert!(matches!(journal.begin_object().unwrap_err(), JournalError::QueueFull { .. }));
    drop(journal);
    // The bound still holds when it is opened again, and is lifted by reading.
    let journal = Journal::open(folder.path(), settings).unwrap();
    assert!(journal.begin_object().is_err());
    let open: Vec<u64> = journal.studies().unwrap().iter().map(|(number, _)| *number).collect();
    journal.close_studies(&open).unwrap();
    finish_next(&journal, &[]);
    accepted(send(&journal, dicom("1", "1.3"), b"c").unwrap());
    drop(journal);
    let settings = Settings { reserve_bytes: u64::MAX, ..Settings::default() };
    let told = Journal::open(folder.path(), settings).unwrap().begin_object().unwrap_err();
    assert!(matches!(told, JournalError::NoSpace { reserve: u64::MAX, .. }) && told.is_full(), "{told}");
    assert!(names(&folder.path().join("files")).iter().all(|name| name.len() == 64), "no temporary file stays");
}

/// A disk that is full after some bytes.
#[derive(Debug)]
struct Filling {
    folder: FolderStore,
    room: Arc<AtomicI64>,
}

#[derive(Debug)]
struct FillingFile(Box<dyn StoreFile>, Arc<AtomicI64>);

impl Write for FillingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.fetch_sub(bytes.len() as i64, Ordering::Relaxed) < bytes.len() as i64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl StoreFile for FillingFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

impl FileStore for Filling {
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(FillingFile(self.folder.create(name)?, self.room.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_names()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.folder.open(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }
}

#[test]
fn a_disk_that_fills_up_is_told_apart_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let room = Arc::new(AtomicI64::new(10));
    let store = Filling { folder: FolderStore::new(folder.path()).unwrap(), room: room.clone() };
    let journal =
        Journal::open_on(InMemoryBackend::new(), Arc::new(store), Arc::new(Hands::default()), Settings::default())
            .unwrap();
    let told = send(&journal, dicom("1", "1.1"), &[1; 11]).unwrap_err();
    assert!(matches!(told, JournalError::NoSpace { .. }) && told.is_full(), "{told}");
    assert_eq!(names(folder.path()), [""; 0]);
    room.store(11, Ordering::Relaxed);
    let (_, study) = accepted(send(&journal, dicom("1", "1.1"), &[1; 11]).unwrap());
    // A result for which there is no room leaves its study in hand.
    journal.close_studies(&[study]).unwrap();
    journal.take().unwrap().unwrap();
    let told = journal.finish(study, Summary::default(), &[("a", b"a")], &[]).unwrap_err();
    assert!(told.is_full(), "{told}");
    assert_eq!(journal.study(study).unwrap().state, StudyState::Taken);
    room.store(11, Ordering::Relaxed);
    journal.finish(study, Summary::default(), &[("a", b"a")], &[]).unwrap();
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn a_study_is_complete_after_a_quiet_time_whatever_the_wall_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, hands) = with_hands(folder.path(), Settings { quiet_seconds: 30, ..Settings::default() });
    hands.unix_milliseconds.store(1_800_000_000_000, Ordering::Relaxed);
    let (_, first) = accepted(send(&journal, dicom("1", "1.1"), b"1").unwrap());
    // The clock is put back by thirty years, and another study comes.
    hands.unix_milliseconds.store(800_000_000_000, Ordering::Relaxed);
    hands.wait(10);
    let (_, second) = accepted(send(&journal, dicom("2", "2.1"), b"2").unwrap());
    hands.wait(15);
    assert_eq!(journal.next_study_due().unwrap(), None);
    // Another slice, and the quiet time begins anew.
    accepted(send(&journal, dicom("1", "1.2"), b"3").unwrap());
    hands.wait(16);
    assert_eq!(journal.next_study_due().unwrap(), Some(second));
    hands.unix_milliseconds.store(i64::MAX, Ordering::Relaxed);
    hands.wait(15);
    assert_eq!(journal.take().unwrap().unwrap().number, first, "in the order in which they were opened");
    assert_eq!(journal.take().unwrap().unwrap().number, second);
    assert_eq!(journal.study(first).unwrap().opened.utc(), "2027-01-15T08:00:00Z");
}

#[test]
fn a_study_that_cannot_be_read_fails_at_last() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { most_attempts: 2, quiet_seconds: 0, ..Settings::default() };
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    let (_, study) = accepted(send(&journal, dicom("1", "1.1"), b"1").unwrap());
    for _ in 0..5 {
        journal.hand_back(journal.take().unwrap().unwrap().number).unwrap();
    }
    journal.take().unwrap().unwrap();
    // The device goes down while it is read, and once more.
    drop(journal);
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    assert_eq!((journal.recovery().studies_put_back, journal.recovery().studies_failed), (1, 0));
    assert_eq!(journal.take().unwrap().unwrap().study.note.unwrap(), "the device went down while it was read");
    drop(journal);
    let journal = Journal::open(folder.path(), settings).unwrap();
    assert_eq!((journal.recovery().studies_put_back, journal.recovery().studies_failed), (0, 1));
    let StudyState::Failed { cause, .. } = journal.study(study).unwrap().state else { panic!("not failed") };
    assert_eq!(cause, "the device went down while it was read, at attempt 2 of 2");
    assert_eq!((journal.take().unwrap(), journal.counts().unwrap().objects_waiting), (None, 0));
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn deliveries_are_tried_again_with_longer_pauses_one_at_a_time_for_each_peer() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        Settings { quiet_seconds: 0, first_pause_seconds: 10, longest_pause_seconds: 35, ..Settings::default() };
    let (journal, hands) = with_hands(folder.path(), settings);
    for study in ["1", "2"] {
        accepted(send(&journal, dicom(study, &format!("{study}.1")), study.as_bytes()).unwrap());
        finish_next(&journal, &["pacs", "fleet"]);
    }
    let take = || journal.take_delivery().unwrap().map(|taken| (taken.number, taken.delivery.destination));
    let (first, _) = take().unwrap();
    let (to_fleet, destination) = take().unwrap();
    assert_eq!((destination.as_str(), take()), ("fleet", None), "both peers are busy");
    journal.delivery_refused(to_fleet, "no such SOP class").unwrap();
    journal.delivery_failed(first, "no route").unwrap();
    // The next of the same peer is not held up by the one that pauses.
    let (second, _) = take().unwrap();
    assert_ne!(second, first);
    journal.delivered(second).unwrap();
    let (other_to_fleet, _) = take().unwrap();
    journal.delivered(other_to_fleet).unwrap();
    for pause in [10, 20, 35, 35] {
        hands.wait(pause - 1);
        assert_eq!(take(), None, "a pause of {pause} s");
        hands.wait(1);
        assert_eq!(take().unwrap().0, first);
        journal.delivery_failed(first, "no route").unwrap();
    }
    journal.retry_delivery(first).unwrap();
    assert_eq!(take().unwrap().0, first);
    journal.delivered(first).unwrap();
    assert!(matches!(journal.retry_delivery(first).unwrap_err(), JournalError::WrongState { .. }));
    journal.retry_delivery(to_fleet).unwrap();
    assert_eq!(take().unwrap().0, to_fleet);
    journal.delivered(to_fleet).unwrap();
    assert_eq!(take(), None);
    let study = journal.studies().unwrap()[0].0;
    let another = journal.deliver(study, "usb").unwrap();
    assert_eq!(journal.deliver(study, "usb").unwrap(), another);
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn a_destination_is_sent_what_was_tried_least_and_never_again_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, hands) = with_hands(folder.path(), Settings { quiet_seconds: 0, ..Settings::default() });
    for study in ["1", "2"] {
        accepted(send(&journal, dicom(study, &format!("{study}.1")), study.as_bytes()).unwrap());
        finish_next(&journal, &["pacs", "fleet"]);
    }
    assert_eq!(journal.waiting_deliveries().unwrap(), [("fleet".to_owned(), 2), ("pacs".to_owned(), 2)].into());
    let take = |to: &str| journal.take_delivery_to(to).unwrap();
    let first = take("pacs").unwrap();
    assert_eq!((first.delivery.destination.as_str(), take("pacs")), ("pacs", None), "one at a time");
    let other = take("fleet").unwrap();
    journal.hand_back_delivery(other.number).unwrap();
    let again = take("fleet").unwrap();
    assert_eq!((again.number, again.delivery.attempts, again.delivery.interrupted), (other.number, 1, true));
    assert_eq!(take("nowhere"), None);

    let (one, two) = ([1; 32], [2; 32]);
    for sha256 in [one, two, two] {
        journal.delivery_arrived(first.number, &sha256).unwrap();
    }
    journal.postpone_delivery(first.number, "out of resources", Duration::ZERO, &[one]).unwrap();
    assert!(journal.delivery_arrived(first.number, &one).is_err(), "it is not being sent");
    let second = take("pacs").unwrap();
    assert_ne!(second.number, first.number, "what was tried before comes behind what was not");
    journal.postpone_delivery(second.number, "no route", Duration::from_millis(2500), &[]).unwrap();
    let again = take("pacs").unwrap().delivery;
    assert_eq!(
        (&again.arrived, again.attempts, again.last_error.as_deref()),
        (&vec![two], 2, Some("out of resources"))
    );
    journal.delivery_refused(first.number, "no such SOP class").unwrap();
    journal.retry_delivery(first.number).unwrap();
    let again = take("pacs").unwrap();
    assert_eq!(
        (again.number, &again.delivery.arrived),
        (first.number, &vec![two]),
        "asked for again, the rest is sent"
    );
    journal.delivered(first.number).unwrap();
    assert_eq!(journal.next_delivery_to("pacs").unwrap(), Some(Duration::from_millis(2500)));
    assert_eq!((take("pacs"), journal.next_delivery_to("nowhere").unwrap()), (None, None));
    hands.wait(3);
    assert_eq!(journal.next_delivery_to("pacs").unwrap(), Some(Duration::ZERO));
    assert_eq!(take("pacs").unwrap().number, second.number);
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn who_waits_for_the_outbox_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(folder.path(), Settings { quiet_seconds: 0, ..Settings::default() }).unwrap());
    assert_eq!(journal.wait_for_outbox(0, Duration::ZERO), 0, "nothing is there");
    accepted(send(&journal, dicom("1", "1.1"), b"1").unwrap());
    let waiting = journal.clone();
    let waiter = std::thread::spawn(move || waiting.wait_for_outbox(0, Duration::from_secs(60)));
    finish_next(&journal, &["pacs"]);
    let seen = waiter.join().unwrap();
    assert_ne!(seen, 0);
    assert_eq!(journal.wait_for_outbox(0, Duration::from_secs(60)), seen, "what came before is not waited for");
    let waiting = journal.clone();
    let waiter = std::thread::spawn(move || waiting.wait_for_outbox(seen, Duration::from_secs(60)));
    journal.wake_outbox();
    assert_ne!(waiter.join().unwrap(), seen);
}

#[test]
fn a_delivery_that_was_cut_off_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { quiet_seconds: 0, ..Settings::default() };
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    accepted(send(&journal, dicom("1", "1.1"), b"1").unwrap());
    finish_next(&journal, &["pacs"]);
    let number = journal.take_delivery().unwrap().unwrap().number;
    drop(journal);
    let journal = Journal::open(folder.path(), settings).unwrap();
    assert_eq!(journal.recovery().deliveries_put_back, 1);
    let again = journal.take_delivery().unwrap().unwrap();
    assert!(again.number == number && again.delivery.interrupted && again.delivery.attempts == 2);
    journal.delivery_failed(number, "no route").unwrap();
    let study = again.delivery.study;
    assert!(!journal.deliveries_of(study).unwrap()[0].1.interrupted, "this attempt ended as it should");
}

#[test]
fn the_oldest_studies_go_but_none_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { quiet_seconds: 0, keep_studies: 2, ..Settings::default() };
    let (journal, _) = with_hands(folder.path(), settings);
    let mut numbers = vec![];
    for study in 0..5 {
        accepted(send(&journal, dicom(&format!("1.{study}"), &format!("1.{study}.1")), &[study]).unwrap());
        // The first is never delivered.
        numbers.push(finish_next(&journal, if study == 0 { &["pacs"] } else { &[] }));
    }
    accepted(send(&journal, dicom("1.9", "1.9.1"), b"waits").unwrap());
    let removed = journal.retain().unwrap();
    assert_eq!((removed.studies, removed.files), (4, 8), "{removed:?}");
    let left: Vec<u64> = journal.studies().unwrap().into_iter().map(|(number, _)| number).collect();
    assert!(left.len() == 2 && left[0] == numbers[0]);
    assert_eq!(names(folder.path()).len(), 3);
    assert_eq!(journal.verify().unwrap().problems, []);
    // What was removed is new when it comes again.
    accepted(send(&journal, dicom("1.3", "1.3.1"), &[3]).unwrap());
    assert_eq!(journal.retain().unwrap().studies, 0);
}

#[test]
fn bytes_and_running_days_bound_what_is_kept_and_the_wall_clock_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { quiet_seconds: 0, keep_days: 10, keep_bytes: 2000, ..Settings::default() };
    let (journal, hands) = with_hands(folder.path(), settings);
    accepted(send(&journal, dicom("1", "1.1"), &[1; 500]).unwrap());
    finish_next(&journal, &[]);
    hands.unix_milliseconds.store(i64::MAX / 2, Ordering::Relaxed);
    assert_eq!(journal.retain().unwrap().studies, 0);
    hands.wait(11 * 24 * 3600);
    accepted(send(&journal, dicom("2", "2.1"), &[2; 1400]).unwrap());
    finish_next(&journal, &[]);
    assert_eq!(journal.retain().unwrap().studies, 1);
    accepted(send(&journal, dicom("3", "3.1"), &[3; 1400]).unwrap());
    finish_next(&journal, &[]);
    assert_eq!(journal.retain().unwrap().studies, 1);
    assert_eq!(journal.studies().unwrap()[0].1.key, "3");
    assert_eq!(journal.verify().unwrap().problems, []);
}

#[test]
fn damage_is_found_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings::default()).unwrap();
    for i in 0..3 {
        accepted(send(&journal, dicom("1", &format!("1.{i}")), &[i; 100]).unwrap());
    }
    let files = folder.path().join("files");
    let names = names(&files);
    fs::remove_file(files.join(&names[0])).unwrap();
    fs::write(files.join(&names[1]), [9; 100]).unwrap();
    fs::write(files.join("stray.txt"), "x").unwrap();
    fs::write(files.join("7.part"), "being written").unwrap();
    let found = journal.verify().unwrap();
    let causes: Vec<String> = found.problems.iter().map(|reason| reason.cause.to_string()).collect();
    let expected = [
        format!("the file {} is missing", names[0]),
        format!("the bytes of the file {} have changed", names[1]),
        "the file stray.txt belongs to nothing".into(),
    ];
    assert_eq!(causes, expected);
    assert_eq!((found.files, found.records), (1, 4));
    // No backup is made of what is damaged, and none is left half-made.
    let to = tempfile::tempdir().unwrap();
    journal.backup(&to.path().join("copy")).unwrap_err();
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let _journal = Journal::open(folder.path(), Settings::default()).unwrap();
    let told = Journal::open(folder.path(), Settings::default()).unwrap_err();
    assert!(matches!(told, JournalError::Busy(_)), "{told}");
}

#[test]
fn a_table_and_json_tell_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings { quiet_seconds: 0, ..Settings::default() }).unwrap();
    let mut json = vec![];
    journal.export_json(&mut json).unwrap();
    assert_eq!(json, b"[]\n");
    accepted(send(&journal, dicom("1.1", "1.1.1"), b"1").unwrap());
    let study = finish_next(&journal, &["pacs"]);
    accepted(send(&journal, picture(), b"png").unwrap());
    let mut table = vec![];
    journal.export_csv(&mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("study,key,round,state,opened_utc,"), "{table}");
    assert!(lines[1].starts_with(&format!("{study},1.1,1,finished,2")), "{table}");
    assert!(lines[1].contains(",negative,,0.125,") && lines[1].ends_with(",pacs: waiting"), "{table}");
    let mut json = vec![];
    journal.export_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json[0]["result"]["probability"], 0.125);
    assert_eq!(json[0]["objects"][0]["calling_ae_title"], "=CART");
    assert_eq!(json[1]["objects"][0]["file"], "../../etc/passwd");
    assert_eq!(json[1]["result"], serde_json::Value::Null);
}

#[test]
fn a_backup_is_taken_while_images_arrive_and_restored_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { quiet_seconds: 0, keep_studies: 5, ..Settings::default() };
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    for i in 0..20 {
        accepted(send(&journal, dicom(&format!("1.{i}"), &format!("1.{i}.1")), &[i; 3000]).unwrap());
        finish_next(&journal, if i % 3 == 0 { &["pacs"] } else { &[] });
    }
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("deep/copy");
    let end = std::sync::atomic::AtomicBool::new(false);
    let (files, sent) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u32;
            while !end.load(Ordering::Relaxed) {
                let bytes = sent.to_le_bytes().repeat(500);
                accepted(send(&journal, dicom("2", &format!("2.{sent}")), &bytes).unwrap());
                journal.retain().unwrap();
                sent += 1;
            }
            sent
        });
        let files = journal.backup(&copy);
        end.store(true, Ordering::Relaxed);
        (files.unwrap(), sender.join().unwrap())
    });
    assert!(files >= 14 && sent > 0, "{files} files, {sent} sent meanwhile");
    assert!(matches!(journal.backup(&copy).unwrap_err(), JournalError::NotEmpty { .. }));
    assert_eq!(names(&place.path().join("deep")), ["copy"]);

    // The backup may be on a medium that cannot be written.
    let elsewhere = place.path().join("other box");
    let before = fs::read(copy.join("journal.redb")).unwrap();
    assert_eq!(restore(&copy, &elsewhere).unwrap(), files);
    assert!(fs::read(copy.join("journal.redb")).unwrap() == before && !copy.join(".lock").exists());
    let other = Journal::open(&elsewhere, settings).unwrap();
    let verified = other.verify().unwrap();
    assert_eq!((verified.problems, verified.files), (vec![], files));
    let kept = other.studies().unwrap();
    let all = journal.studies().unwrap();
    let known = |number: u64| all.iter().find(|(known, _)| *known == number);
    for (number, study) in kept.iter().filter(|(_, study)| study.state.is_over()) {
        assert!(known(*number).is_none_or(|(_, known)| known == study), "study {number}");
    }
    assert_eq!(other.deliveries_of(kept[0].0).unwrap()[0].1.state, DeliveryState::Waiting);
    // It goes on there.
    accepted(send(&other, dicom("3", "3.1"), b"new").unwrap());
    assert!(matches!(restore(&copy, &elsewhere).unwrap_err(), JournalError::NotEmpty { .. }));
    assert!(matches!(restore(place.path(), &place.path().join("x")).unwrap_err(), JournalError::Database(_)));
}

/// A finished study, and what two readers said of it.
fn with_readers(journal: &Journal) -> u64 {
    let (_, study) = accepted(send(journal, dicom("1", "1.1"), b"1").unwrap());
    let told = journal.add_feedback(study, "ada", Opinion::Agree, "").unwrap_err();
    assert!(matches!(told, JournalError::WrongState { state: "open", .. }), "{told}");
    journal.close_studies(&[study]).unwrap();
    finish_next(journal, &[]);
    journal.add_feedback(study, "ada", Opinion::Agree, "").unwrap();
    journal.add_feedback(study, "bea", Opinion::Disagree, "=left base").unwrap();
    journal.add_feedback(study, "ada", Opinion::Disagree, "looked again").unwrap();
    journal.add_feedback(study, "bea", Opinion::Note, "asked a colleague").unwrap();
    journal.write_audit(Some("ada"), "192.0.2.7", AuditEvent::StudySeen, Some(study)).unwrap();
    let event = AuditEvent::Download { label: "sr.dcm".into() };
    journal.write_audit(Some("ada"), "192.0.2.7", event, Some(study)).unwrap();
    journal.write_audit(None, "192.0.2.8", AuditEvent::LoginFailed, None).unwrap();
    study
}

#[test]
fn what_readers_say_and_who_saw_what_outlasts_a_restart_a_backup_and_the_study() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { keep_studies: 1, keep_audit_lines: 2, ..Settings::default() };
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    let study = with_readers(&journal);
    drop(journal);
    let journal = Journal::open(folder.path(), settings.clone()).unwrap();
    let said = journal.feedback_of(study).unwrap();
    let words: Vec<(&str, Opinion, &str)> =
        said.iter().map(|(_, said)| (&*said.reader, said.opinion, &*said.note)).collect();
    let expected = [
        ("ada", Opinion::Agree, ""),
        ("bea", Opinion::Disagree, "=left base"),
        ("ada", Opinion::Disagree, "looked again"),
        ("bea", Opinion::Note, "asked a colleague"),
    ];
    assert_eq!(words, expected);
    assert_eq!(said[0].1.verdict, "negative");
    let both = [Agreement { bundle: None, verdict: "negative".into(), agree: 0, disagree: 2 }];
    assert_eq!(journal.agreement().unwrap(), both, "the last word of each counts");
    let audit = journal.latest_audit(9).unwrap();
    assert_eq!(
        audit.iter().map(|(_, line)| line.event.name()).collect::<Vec<_>>(),
        ["login failed", "download", { "study seen" }]
    );
    assert_eq!((audit[0].1.account.clone(), audit[1].1.study), (None, Some(study)));
    assert_eq!(journal.verify().unwrap().records, 3 + 4 + 3);
    assert_eq!(journal.study_as_json(study).unwrap()["feedback"][1]["note"], "=left base");

    // All of it is in a backup.
    let elsewhere = tempfile::tempdir().unwrap();
    journal.backup(&elsewhere.path().join("copy")).unwrap();
    restore(&elsewhere.path().join("copy"), &elsewhere.path().join("box")).unwrap();
    let other = Journal::open(&elsewhere.path().join("box"), settings).unwrap();
    assert_eq!((other.feedback_of(study).unwrap(), other.latest_audit(9).unwrap()), (said, audit));
    assert_eq!(other.verify().unwrap().problems, []);

    // The study goes, and with it the notes; the count stays. Of the audit the last lines stay.
    accepted(send(&journal, dicom("2", "2.1"), b"2").unwrap());
    assert_eq!(journal.retain().unwrap().studies, 1);
    assert_eq!(journal.feedback_of(study).unwrap(), []);
    assert_eq!(journal.agreement().unwrap(), both);
    assert_eq!(journal.latest_audit(9).unwrap().len(), 2);
    assert_eq!(journal.verify().unwrap().problems, []);
    let (mut feedback, mut audit) = (vec![], vec![]);
    journal.export_feedback_csv(&mut feedback).unwrap();
    journal.export_audit_csv(&mut audit).unwrap();
    let (feedback, audit) = (String::from_utf8(feedback).unwrap(), String::from_utf8(audit).unwrap());
    assert!(feedback.lines().count() == 5 && !feedback.contains("left base"), "{feedback}");
    assert!(audit.lines().count() == 3 && audit.contains(",ada,192.0.2.7,download,") && audit.contains("sr.dcm"));
    let mut feedback = vec![];
    other.export_feedback_csv(&mut feedback).unwrap();
    assert!(String::from_utf8(feedback).unwrap().contains(",bea,disagree,negative,,,'=left base"), "no formula");
}

#[test]
fn studies_are_leafed_through_from_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), Settings { quiet_seconds: 0, ..Settings::default() }).unwrap();
    let mut numbers = vec![];
    for i in 0..7 {
        numbers.push(accepted(send(&journal, dicom(&format!("{i}"), &format!("{i}.1")), &[i]).unwrap()).1);
        if i % 2 == 0 {
            finish_next(&journal, &[]);
        }
    }
    numbers.reverse();
    let page = |before, count, look_at| {
        let (page, next) = journal.studies_before(before, count, look_at, |_, _| true).unwrap();
        (page.into_iter().map(|(number, ..)| number).collect::<Vec<_>>(), next)
    };
    assert_eq!(page(u64::MAX, 3, 100), (numbers[..3].to_vec(), Some(numbers[2])));
    assert_eq!(page(numbers[2], 3, 100), (numbers[3..6].to_vec(), Some(numbers[5])));
    assert_eq!(page(numbers[5], 3, 100), (numbers[6..].to_vec(), None));
    assert_eq!(page(u64::MAX, 7, 100), (numbers.clone(), None), "nothing behind a full last page");
    // Who looks for few does not look for ever. The four oldest are finished.
    let finished = |before, look_at| {
        let (found, next) = journal.studies_before(before, 9, look_at, |_, result| result.is_some()).unwrap();
        (found.len(), next)
    };
    assert_eq!(finished(u64::MAX, 3), (0, Some(numbers[2])));
    assert_eq!(finished(numbers[2], 100), (4, None));
}

/// A disk that has gone bad ends no process: what cannot be opened is an error with a remedy.
#[test]
fn a_database_of_spoilt_pages_is_told_by_name_and_not_by_a_panic() {
    const PAGE: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    {
        let journal = Journal::open(folder.path(), Settings { reserve_bytes: 0, ..Settings::default() }).unwrap();
        for n in 0..5 {
            send(&journal, picture(), format!("picture {n}").as_bytes()).unwrap();
        }
    }
    let database = folder.path().join("journal.redb");
    let sound = fs::read(&database).unwrap();
    let mut told = 0;
    // All pages in turn where there are few, else some of them.
    for page in (0..sound.len() / PAGE).step_by((sound.len() / PAGE / 64).max(1)) {
        let mut spoilt = sound.clone();
        spoilt[page * PAGE + 16..(page + 1) * PAGE].fill(0xff);
        fs::write(&database, &spoilt).unwrap();
        if let Err(error) = Journal::open(folder.path(), Settings::default()) {
            assert!(!error.to_string().is_empty());
            told += 1;
        }
    }
    assert!(told > 0, "some page is needed to open it");
    fs::write(&database, &sound).unwrap();
    assert_eq!(Journal::open(folder.path(), Settings::default()).unwrap().counts().unwrap().objects_waiting, 5);
}
