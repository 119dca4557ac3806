//! What happened to the device itself is noted once, and stays.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use thorax_journal::{Journal, NewEvent, Settings, restore};

fn event(key: &str, text: &str) -> NewEvent {
    NewEvent { key: key.into(), kind: "bundle installed".into(), text: text.into(), ..NewEvent::default() }
}

fn texts(journal: &Journal) -> Vec<String> {
    journal.latest_events(10).unwrap().into_iter().map(|(_, event)| event.what.text).collect()
}

#[test]
fn an_event_is_noted_once_and_outlasts_opening_and_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let settings = Settings { reserve_bytes: 0, ..Settings::default() };
    let journal = Journal::open(&at("journal"), settings.clone()).unwrap();
    assert!(journal.note(event("bundles/1", "first")).unwrap());
    assert!(journal.note(event("bundles/2", "second")).unwrap());
    assert!(!journal.note(event("bundles/1", "told again, as after a power cut")).unwrap());
    assert_eq!(texts(&journal), ["second", "first"]);
    drop(journal);

    let journal = Journal::open(&at("journal"), settings.clone()).unwrap();
    assert!(!journal.note(event("bundles/2", "told again")).unwrap());
    let verified = journal.verify().unwrap();
    assert_eq!((verified.records, verified.problems), (2, vec![]));
    assert_eq!(journal.latest_events(1).unwrap().len(), 1);
    journal.backup(&at("backup")).unwrap();
    restore(&at("backup"), &at("elsewhere")).unwrap();
    assert_eq!(texts(&Journal::open(&at("elsewhere"), settings).unwrap()), texts(&journal));
}
