//! The tables of the database, and the two ways to them: a [`Snapshot`] to read, a [`Change`] to write.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use crate::{
    clock::Moment,
    entries::{Audit, Counters, Delivery, Feedback, Hash, Object, Study, StudyResult},
    error::{JournalError, Result},
    events::Event,
    record::Record,
};

type Records = TableDefinition<'static, u64, &'static [u8]>;

/// Counters and versions.
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// The length of each kept file, and how many objects and results it is a file of.
pub(crate) const FILES: TableDefinition<&Hash, (u64, u64)> = TableDefinition::new("files");
/// What an image is known by (SOP Instance UID, or `picture:` and its SHA-256), and the object it is.
pub(crate) const IDENTITIES: TableDefinition<&str, u64> = TableDefinition::new("identities");
/// The latest round of a study, by its key.
pub(crate) const LATEST: TableDefinition<&str, u64> = TableDefinition::new("latest");
/// Studies and their objects.
pub(crate) const STUDY_OBJECTS: TableDefinition<(u64, u64), ()> = TableDefinition::new("study_objects");
/// Studies and their deliveries.
pub(crate) const STUDY_DELIVERIES: TableDefinition<(u64, u64), ()> = TableDefinition::new("study_deliveries");
/// Studies and what readers said of them.
pub(crate) const STUDY_FEEDBACK: TableDefinition<(u64, u64), ()> = TableDefinition::new("study_feedback");
/// Studies that are not over.
pub(crate) const QUEUE: TableDefinition<u64, ()> = TableDefinition::new("queue");
/// Deliveries that are not over.
pub(crate) const OUTBOX: TableDefinition<u64, ()> = TableDefinition::new("outbox");

const COUNTERS: &str = "counters";
const VERSIONS: &str = "versions";

/// A record that has a table of its own.
pub(crate) trait Kept: Record {
    const TABLE: Records;
    /// What it is called when there is none of that number.
    const WHAT: &'static str;
}

macro_rules! kept {
    ($($record:ty: $table:literal, $what:literal);*) => { $(
        impl Kept for $record {
            const TABLE: Records = TableDefinition::new($table);
            const WHAT: &'static str = $what;
        }
    )* };
}

kept!(
    Object: "objects", "object";
    Study: "studies", "study";
    StudyResult: "results", "result of study";
    Delivery: "deliveries", "delivery";
    Feedback: "feedback", "reader's word";
    Audit: "audit", "line of the audit"
);

impl Kept for Event {
    const TABLE: Records = TableDefinition::new("events");
    const WHAT: &'static str = "event";
}

fn read<R: Record>(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<Option<R>> {
    table.get(number)?.map(|bytes| R::decode(bytes.value())).transpose()
}

fn unknown<R: Kept>(number: u64) -> JournalError {
    JournalError::Unknown { what: R::WHAT, number }
}

/// The second numbers of the pairs that begin with `first`.
fn seconds(table: &impl ReadableTable<(u64, u64), ()>, first: u64) -> Result<Vec<u64>> {
    table.range((first, 0)..=(first, u64::MAX))?.map(|pair| Ok(pair?.0.value().1)).collect()
}

fn numbers(table: &impl ReadableTable<u64, ()>) -> Result<Vec<u64>> {
    table.iter()?.map(|entry| Ok(entry?.0.value())).collect()
}

/// The journal as it stood at one moment.
pub(crate) struct Snapshot(pub(crate) ReadTransaction);

impl Snapshot {
    pub(crate) fn take(database: &impl ReadableDatabase) -> Result<Self> {
        Ok(Self(database.begin_read()?))
    }

    pub(crate) fn get<R: Kept>(&self, number: u64) -> Result<Option<R>> {
        read(&self.0.open_table(R::TABLE)?, number)
    }

    pub(crate) fn need<R: Kept>(&self, number: u64) -> Result<R> {
        self.get(number)?.ok_or_else(|| unknown::<R>(number))
    }

    /// All records with their numbers, in order. A damaged one is an error in its place.
    pub(crate) fn all<R: Kept>(&self) -> Result<impl Iterator<Item = (u64, Result<R>)> + use<R>> {
        let records = self.0.open_table(R::TABLE)?.range::<u64>(..)?;
        let mut failed = false;
        Ok(records.map_while(move |entry| match entry {
            _ if failed => None,
            Ok((number, bytes)) => Some((number.value(), R::decode(bytes.value()))),
            Err(error) => {
                failed = true;
                Some((0, Err(error.into())))
            }
        }))
    }

    /// How many there are.
    pub(crate) fn count<R: Kept>(&self) -> Result<u64> {
        Ok(self.0.open_table(R::TABLE)?.len()?)
    }

    /// The last records, the newest first.
    pub(crate) fn latest<R: Kept>(&self, count: usize) -> Result<Vec<(u64, R)>> {
        self.before(u64::MAX)?.take(count).collect()
    }

    pub(crate) fn objects_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.0.open_table(STUDY_OBJECTS)?, study)
    }

    pub(crate) fn deliveries_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.0.open_table(STUDY_DELIVERIES)?, study)
    }

    pub(crate) fn feedback_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.0.open_table(STUDY_FEEDBACK)?, study)
    }

    /// Records with numbers below `before`, the newest first. What is damaged is an error in its place.
    pub(crate) fn before<R: Kept>(&self, before: u64) -> Result<impl Iterator<Item = Result<(u64, R)>> + use<R>> {
        let records = self.0.open_table(R::TABLE)?.range::<u64>(..before)?.rev();
        Ok(records.map(|entry| {
            let (number, bytes) = entry?;
            Ok((number.value(), R::decode(bytes.value())?))
        }))
    }

    pub(crate) fn queue(&self) -> Result<Vec<u64>> {
        numbers(&self.0.open_table(QUEUE)?)
    }

    pub(crate) fn outbox(&self) -> Result<Vec<u64>> {
        numbers(&self.0.open_table(OUTBOX)?)
    }

    /// The object that is known by `identity`.
    pub(crate) fn object_by(&self, identity: &str) -> Result<Option<(u64, Object)>> {
        let number = self.0.open_table(IDENTITIES)?.get(identity)?.map(|number| number.value());
        number.map(|number| Ok((number, self.need(number)?))).transpose()
    }

    /// All kept files: hash, length, how often used.
    pub(crate) fn files(&self) -> Result<Vec<(Hash, u64, u64)>> {
        let files = self.0.open_table(FILES)?;
        let file = |entry: std::result::Result<_, redb::StorageError>| -> Result<_> {
            let (hash, figures): (redb::AccessGuard<'_, &Hash>, redb::AccessGuard<'_, (u64, u64)>) = entry?;
            let (bytes, uses) = figures.value();
            Ok((*hash.value(), bytes, uses))
        };
        files.iter()?.map(file).collect()
    }
}

/// A transaction that writes. Dropped without [`Self::commit`], it never was.
pub(crate) struct Change {
    txn: WriteTransaction,
    counters: Counters,
    pub(crate) now: Moment,
    /// Whether there is anything to commit.
    pub(crate) dirty: bool,
    /// Objects that wait to be screened.
    pub(crate) waiting_objects: u64,
    /// Names of files that nothing uses any more once this is committed.
    pub(crate) unneeded: Vec<Hash>,
    /// Whether there is something new to deliver.
    pub(crate) wake: bool,
}

impl Change {
    /// Begins one. Nobody else may be in one, see `Journal::change`.
    pub(crate) fn begin(database: &Database, now: Moment, waiting_objects: u64) -> Result<Self> {
        // Durability is immediate unless another is asked for.
        let mut txn = database.begin_write()?;
        txn.set_two_phase_commit(true);
        let counters = {
            let meta = txn.open_table(META)?;
            meta.get(COUNTERS)?.map(|bytes| Counters::decode(bytes.value())).transpose()?.unwrap_or_default()
        };
        Ok(Self { txn, counters, now, dirty: false, waiting_objects, unneeded: vec![], wake: false })
    }

    /// Makes the tables that are missing.
    pub(crate) fn make_tables(&mut self) -> Result<()> {
        let txn = &self.txn;
        txn.open_table(Object::TABLE)?;
        txn.open_table(Study::TABLE)?;
        txn.open_table(StudyResult::TABLE)?;
        txn.open_table(Delivery::TABLE)?;
        txn.open_table(Feedback::TABLE)?;
        txn.open_table(Audit::TABLE)?;
        txn.open_table(FILES)?;
        txn.open_table(IDENTITIES)?;
        txn.open_table(LATEST)?;
        txn.open_table(STUDY_OBJECTS)?;
        txn.open_table(STUDY_DELIVERIES)?;
        txn.open_table(STUDY_FEEDBACK)?;
        txn.open_table(QUEUE)?;
        txn.open_table(OUTBOX)?;
        txn.open_table(Event::TABLE)?;
        Ok(())
    }

    /// Rewrites records of older versions, and refuses newer ones. The versions of all kinds stand in the database, so that
    /// nothing is read where nothing is old. Tells how many records were rewritten.
    pub(crate) fn migrate(&mut self) -> Result<u64> {
        // A journal that was made before there was a kind has a shorter list; a kind that is new goes behind the last.
        let known = [
            Object::VERSION,
            Study::VERSION,
            StudyResult::VERSION,
            Delivery::VERSION,
            Feedback::VERSION,
            Audit::VERSION,
            Event::VERSION,
        ];
        let found = self.txn.open_table(META)?.get(VERSIONS)?.map(|versions| versions.value().to_vec());
        if found.as_deref() == Some(&known[..]) {
            return Ok(0);
        }
        let names =
            [Object::NAME, Study::NAME, StudyResult::NAME, Delivery::NAME, Feedback::NAME, Audit::NAME, Event::NAME];
        if let Some(found) = found.as_ref().filter(|found| found.len() > known.len()) {
            let (found, known) = (found.last().copied().unwrap_or_default(), 0);
            return Err(JournalError::Newer { what: "record of a kind that is not known", found, known });
        }
        for ((&found, known), what) in found.iter().flatten().zip(known).zip(names) {
            if found > known {
                return Err(JournalError::Newer { what, found, known });
            }
        }
        let rewritten = rewrite::<Object>(&self.txn, Object::TABLE)?
            + rewrite::<Study>(&self.txn, Study::TABLE)?
            + rewrite::<StudyResult>(&self.txn, StudyResult::TABLE)?
            + rewrite::<Delivery>(&self.txn, Delivery::TABLE)?
            + rewrite::<Feedback>(&self.txn, Feedback::TABLE)?
            + rewrite::<Audit>(&self.txn, Audit::TABLE)?
            + rewrite::<Event>(&self.txn, Event::TABLE)?;
        self.txn.open_table(META)?.insert(VERSIONS, &known[..])?;
        self.dirty = true;
        Ok(rewritten)
    }

    /// Makes it durable.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.counters.device_milliseconds = self.now.device_milliseconds.max(self.counters.device_milliseconds);
        let bytes = self.counters.encode()?;
        self.txn.open_table(META)?.insert(COUNTERS, bytes.as_slice())?;
        Ok(self.txn.commit()?)
    }

    pub(crate) fn device_milliseconds(&self) -> u64 {
        self.counters.device_milliseconds
    }

    /// A number that no study, object or delivery has.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.counters.next;
        self.counters.next += 1;
        number
    }

    pub(crate) fn get<R: Kept>(&self, number: u64) -> Result<Option<R>> {
        read(&self.txn.open_table(R::TABLE)?, number)
    }

    pub(crate) fn need<R: Kept>(&self, number: u64) -> Result<R> {
        self.get(number)?.ok_or_else(|| unknown::<R>(number))
    }

    pub(crate) fn put<R: Kept>(&mut self, number: u64, record: &R) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(R::TABLE)?.insert(number, record.encode()?.as_slice())?;
        Ok(())
    }

    pub(crate) fn drop<R: Kept>(&mut self, number: u64) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(R::TABLE)?.remove(number)?;
        Ok(())
    }

    pub(crate) fn objects_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.txn.open_table(STUDY_OBJECTS)?, study)
    }

    pub(crate) fn deliveries_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.txn.open_table(STUDY_DELIVERIES)?, study)
    }

    pub(crate) fn feedback_of(&self, study: u64) -> Result<Vec<u64>> {
        seconds(&self.txn.open_table(STUDY_FEEDBACK)?, study)
    }

    /// Removes the records with the lowest numbers until no more than `most` are left.
    pub(crate) fn keep_last<R: Kept>(&mut self, most: u64) -> Result<u64> {
        let mut table = self.txn.open_table(R::TABLE)?;
        let mut removed = 0;
        while table.len()? > most && table.pop_first()?.is_some() {
            removed += 1;
        }
        self.dirty |= removed > 0;
        Ok(removed)
    }

    pub(crate) fn pair(&mut self, table: TableDefinition<'_, (u64, u64), ()>, pair: (u64, u64)) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(table)?.insert(pair, ())?;
        Ok(())
    }

    pub(crate) fn unpair(&mut self, table: TableDefinition<'_, (u64, u64), ()>, pair: (u64, u64)) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(table)?.remove(pair)?;
        Ok(())
    }

    pub(crate) fn listed(&self, table: TableDefinition<'_, u64, ()>) -> Result<Vec<u64>> {
        numbers(&self.txn.open_table(table)?)
    }

    pub(crate) fn list(&mut self, table: TableDefinition<'_, u64, ()>, number: u64) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(table)?.insert(number, ())?;
        Ok(())
    }

    pub(crate) fn unlist(&mut self, table: TableDefinition<'_, u64, ()>, number: u64) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(table)?.remove(number)?;
        Ok(())
    }

    pub(crate) fn named(&self, table: TableDefinition<'_, &str, u64>, name: &str) -> Result<Option<u64>> {
        Ok(self.txn.open_table(table)?.get(name)?.map(|number| number.value()))
    }

    pub(crate) fn name(&mut self, table: TableDefinition<'_, &str, u64>, name: &str, number: u64) -> Result<()> {
        self.dirty = true;
        self.txn.open_table(table)?.insert(name, number)?;
        Ok(())
    }

    /// Takes a name away, if it still is this number's.
    pub(crate) fn unname(&mut self, table: TableDefinition<'_, &str, u64>, name: &str, number: u64) -> Result<()> {
        if self.named(table, name)? == Some(number) {
            self.dirty = true;
            self.txn.open_table(table)?.remove(name)?;
        }
        Ok(())
    }

    /// Whether there is an event of this key.
    pub(crate) fn has_event(&self, key: &str) -> Result<bool> {
        let events = self.txn.open_table(Event::TABLE)?;
        for entry in events.iter()?.rev() {
            if Event::decode(entry?.1.value())?.what.key == key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the oldest events until no more than `most` are left.
    pub(crate) fn forget_events(&mut self, most: u64) -> Result<()> {
        let mut events = self.txn.open_table(Event::TABLE)?;
        while events.len()? > most && events.pop_first()?.is_some() {
            self.dirty = true;
        }
        Ok(())
    }

    /// One more that uses this file.
    pub(crate) fn use_file(&mut self, hash: &Hash, bytes: u64) -> Result<()> {
        self.dirty = true;
        let mut files = self.txn.open_table(FILES)?;
        let uses = files.get(hash)?.map_or(0, |figures| figures.value().1);
        files.insert(hash, (bytes, uses + 1))?;
        Ok(())
    }

    /// One fewer; the last one leaves it [`Self::unneeded`]. Tells whether it was the last.
    pub(crate) fn leave_file(&mut self, hash: &Hash) -> Result<bool> {
        self.dirty = true;
        let mut files = self.txn.open_table(FILES)?;
        let Some((bytes, uses)) = files.get(hash)?.map(|figures| figures.value()) else { return Ok(false) };
        if uses > 1 {
            files.insert(hash, (bytes, uses - 1))?;
            return Ok(false);
        }
        files.remove(hash)?;
        self.unneeded.push(*hash);
        Ok(true)
    }
}

/// Copies all tables.
pub(crate) fn copy_all(from: &ReadTransaction, to: &WriteTransaction) -> Result<()> {
    copy(from, to, META)?;
    copy(from, to, Object::TABLE)?;
    copy(from, to, Study::TABLE)?;
    copy(from, to, StudyResult::TABLE)?;
    copy(from, to, Delivery::TABLE)?;
    copy(from, to, Feedback::TABLE)?;
    copy(from, to, Audit::TABLE)?;
    copy(from, to, FILES)?;
    copy(from, to, IDENTITIES)?;
    copy(from, to, LATEST)?;
    copy(from, to, STUDY_OBJECTS)?;
    copy(from, to, STUDY_DELIVERIES)?;
    copy(from, to, STUDY_FEEDBACK)?;
    copy(from, to, QUEUE)?;
    copy(from, to, OUTBOX)?;
    copy(from, to, Event::TABLE)
}

fn copy<K: redb::Key + 'static, V: redb::Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<()> {
    let mut copied = to.open_table(table)?;
    for entry in from.open_table(table)?.iter()? {
        let (key, value) = entry?;
        copied.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Rewrites the records of a table that are of an older version.
fn rewrite<R: Record>(txn: &WriteTransaction, table: Records) -> Result<u64> {
    let mut table = txn.open_table(table)?;
    let mut old = vec![];
    for entry in table.iter()? {
        let (number, bytes) = entry?;
        if bytes.value().first() != Some(&R::VERSION) {
            old.push((number.value(), R::decode(bytes.value())?));
        }
    }
    for (number, record) in &old {
        table.insert(number, record.encode()?.as_slice())?;
    }
    Ok(old.len() as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::record::tests::{Third, first_form};
    use redb::backends::InMemoryBackend;

    const PRETENDED: Records = TableDefinition::new("pretended");

    #[test]
    fn older_records_are_rewritten_once_and_newer_ones_stop_it() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let txn = database.begin_write().unwrap();
        let current = Third { name: "Bea".into(), age_days: 9 }.encode().unwrap();
        {
            let mut table = txn.open_table(PRETENDED).unwrap();
            table.insert(1, first_form("Ada").as_slice()).unwrap();
            table.insert(2, current.as_slice()).unwrap();
        }
        assert_eq!(rewrite::<Third>(&txn, PRETENDED).unwrap(), 1);
        assert_eq!(rewrite::<Third>(&txn, PRETENDED).unwrap(), 0);
        {
            let mut table = txn.open_table(PRETENDED).unwrap();
            let expected = Third { name: "Ada".into(), age_days: 0 }.encode().unwrap();
            assert_eq!(table.get(1).unwrap().unwrap().value(), expected);
            assert_eq!(table.get(2).unwrap().unwrap().value(), current);
            table.insert(3, [4, 0].as_slice()).unwrap();
        }
        assert!(matches!(rewrite::<Third>(&txn, PRETENDED), Err(JournalError::Newer { found: 4, .. })));
    }

    #[test]
    fn a_journal_of_before_there_were_readers_gets_their_tables_and_keeps_the_rest() {
        let now = Moment { unix_milliseconds: 0, device_milliseconds: 0 };
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let change = Change::begin(&database, now, 0).unwrap();
        // As the first programs made it: four kinds of records.
        let delivery = [0x02, 7, 1, b'p', 3, 0, 0, 0, 0, 0, 0, 0];
        change.txn.open_table(Delivery::TABLE).unwrap().insert(9, &delivery[..]).unwrap();
        change.txn.open_table(META).unwrap().insert(VERSIONS, &[1, 1, 1, 2][..]).unwrap();
        change.commit().unwrap();
        let mut change = Change::begin(&database, now, 0).unwrap();
        change.make_tables().unwrap();
        assert_eq!(change.migrate().unwrap(), 0);
        assert!(change.dirty);
        change.commit().unwrap();
        let snapshot = Snapshot::take(&database).unwrap();
        assert_eq!(snapshot.count::<Feedback>().unwrap() + snapshot.count::<Audit>().unwrap(), 0);
        assert_eq!(snapshot.need::<Delivery>(9).unwrap().study, 7);
        // And a program that knows one kind less than the last one leaves it alone.
        let mut change = Change::begin(&database, now, 0).unwrap();
        change.txn.open_table(META).unwrap().insert(VERSIONS, &[1, 1, 1, 2, 1, 1, 1, 1][..]).unwrap();
        let told = change.migrate().unwrap_err();
        assert!(matches!(told, JournalError::Newer { found: 1, known: 0, .. }), "{told}");
    }

    #[test]
    fn a_journal_with_records_of_a_newer_version_is_left_alone() {
        let now = Moment { unix_milliseconds: 0, device_milliseconds: 0 };
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let mut change = Change::begin(&database, now, 0).unwrap();
        change.make_tables().unwrap();
        assert_eq!(change.migrate().unwrap(), 0);
        change.commit().unwrap();
        let mut again = Change::begin(&database, now, 0).unwrap();
        again.migrate().unwrap();
        assert!(!again.dirty, "nothing to do the second time");
        again.txn.open_table(META).unwrap().insert(VERSIONS, &[1, 2, 1, 2][..]).unwrap();
        let told = again.migrate().unwrap_err();
        assert!(matches!(told, JournalError::Newer { what: "study", found: 2, known: 1 }), "{told}");
    }
}
