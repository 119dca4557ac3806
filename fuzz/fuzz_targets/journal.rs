//! A journal whose disk has gone bad: bytes of its database overwritten, or records that no program of ours wrote.
//!
//! The first byte says which. Whatever there is, the journal opens and tells all it has, or says what is the matter; a panic of the
//! database's library on pages that were overwritten is told on the way and is no finding (`thorax-edge` ends with it, and every
//! next start with it).
#![no_main]

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, Mutex},
};

use redb::{Database, StorageBackend, TableDefinition};
use thorax_fuzz::Memory;
use thorax_journal::{
    AuditEvent, Journal, Kind, NewEvent, Opinion, ReceivedObject, Settings, Source, Summary, SystemClock,
};

/// A database in memory that outlives whoever has it open.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(offset).map_err(|_| end())?;
        let read = start.checked_add(out.len()).and_then(|stop| disk.get(start..stop)).ok_or_else(end)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        // A database that was overwritten asks for more than there is.
        if length > 64 << 20 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let start = offset as usize;
        let stop = start + data.len();
        if stop > disk.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        disk[start..stop].copy_from_slice(data);
        Ok(())
    }
}

const TABLES: [&str; 8] =
    ["objects", "studies", "results", "deliveries", "feedback", "audit", "events", "meta"];

fn open(disk: &Disk, files: &Memory) -> thorax_journal::Result<Journal> {
    Journal::open_on(disk.clone(), Arc::new(files.clone()), Arc::new(SystemClock::default()), Settings::default())
}

/// A journal with something of each kind.
static SAMPLE: LazyLock<(Vec<u8>, Vec<(String, Vec<u8>)>)> = LazyLock::new(|| {
    let (disk, files) = (Disk::default(), Memory::default());
    {
        let journal = open(&disk, &files).unwrap();
        for number in 0..3 {
            let mut writer = journal.begin_object().unwrap();
            writer.write(format!("picture {number}").as_bytes()).unwrap();
            let source = Source::Folder { folder: "incoming".into(), file: format!("{number}.png") };
            writer.commit(ReceivedObject { kind: Kind::Picture, source }).unwrap();
        }
        let studies: Vec<u64> = journal.studies().unwrap().iter().map(|(number, _)| *number).collect();
        journal.close_studies(&studies).unwrap();
        let taken = journal.take().unwrap().unwrap();
        let summary = Summary { verdict: "positive".into(), probability: Some(0.9), ..Summary::default() };
        journal.finish(taken.number, summary, &[("outcome.json", b"{}")], &["pacs"]).unwrap();
        journal.add_feedback(taken.number, "reader", Opinion::Disagree, "a note").unwrap();
        journal.write_audit(Some("reader"), "127.0.0.1", AuditEvent::Login, Some(taken.number)).unwrap();
        let event = NewEvent { key: "1".into(), kind: "bundle installed".into(), ..NewEvent::default() };
        journal.note(event).unwrap();
        journal.take().unwrap();
    }
    let kept = files.0.lock().unwrap().iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    (disk.0.lock().unwrap().clone(), kept)
});

/// A record in place of another, or beside it.
fn put(disk: &Disk, table: u8, number: u64, record: &[u8]) {
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let change = database.begin_write().unwrap();
    let name = TABLES[usize::from(table) % TABLES.len()];
    if name == "meta" {
        let meta: TableDefinition<&str, &[u8]> = TableDefinition::new(name);
        let key = if number % 2 == 0 { "counters" } else { "versions" };
        change.open_table(meta).unwrap().insert(key, record).unwrap();
    } else {
        let records: TableDefinition<u64, &[u8]> = TableDefinition::new(name);
        change.open_table(records).unwrap().insert(number, record).unwrap();
    }
    change.commit().unwrap();
}

/// Asks for all that there is.
fn ask(journal: &Journal) {
    let mut out = vec![];
    let _ = journal.export_csv(&mut out);
    let _ = journal.export_json(&mut out);
    let _ = journal.export_feedback_csv(&mut out);
    let _ = journal.export_audit_csv(&mut out);
    let _ = journal.agreement();
    let _ = journal.latest_audit(10);
    let _ = journal.latest_events(10);
    let _ = journal.waiting_deliveries();
    let _ = journal.counts();
    let _ = journal.verify();
    while let Ok(Some(taken)) = journal.take() {
        if journal.hand_back(taken.number).is_err() || journal.give_up(taken.number, "fuzzed").is_err() {
            break;
        }
    }
    if let Ok(Some(delivery)) = journal.take_delivery() {
        let _ = journal.hand_back_delivery(delivery.number);
    }
    let _ = journal.retain();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thorax_fuzz::contain_libraries();
    let [form, rest @ ..] = data else { return };
    let (database, kept) = &*SAMPLE;
    let disk = Disk(Arc::new(Mutex::new(database.clone())));
    let files = Memory::default();
    files.0.lock().unwrap().extend(kept.iter().cloned());
    if form % 4 == 0 {
        let mut patches = rest;
        while let [a, b, c, length, behind @ ..] = patches {
            let (bytes, behind) = behind.split_at(usize::from(*length).min(behind.len()));
            patches = behind;
            let mut disk = disk.0.lock().unwrap();
            let at = u32::from_le_bytes([*a, *b, *c, 0]) as usize % disk.len();
            let stop = (at + bytes.len()).min(disk.len());
            disk[at..stop].copy_from_slice(&bytes[..stop - at]);
        }
    } else if let [table, number, record @ ..] = rest {
        put(&disk, *table, u64::from(*number), record);
    }
    let library = catch_unwind(AssertUnwindSafe(|| match open(&disk, &files) {
        Ok(journal) => ask(&journal),
        Err(error) => assert!(!error.to_string().is_empty()),
    }));
    // The database's library may not take what was overwritten; records are ours.
    assert!(library.is_ok() || form % 4 == 0, "a panic over a record");
});
