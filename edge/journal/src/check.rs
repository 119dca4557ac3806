//! Whether the journal is what it says it is: every record is readable, every file has its hash, nothing is without its
//! counterpart.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
};

use redb::ReadableTable;
use sha2::{Digest, Sha256};
use thorax_shared::reason::Reason;

use crate::{
    entries::{Audit, Delivery, Feedback, Hash, Kind, Object, Study, StudyResult},
    error::Result,
    events::Event,
    journal::Journal,
    store::{FileStore, is_temporary, kept_hash, kept_name},
    tables::{IDENTITIES, Kept, LATEST, STUDY_DELIVERIES, STUDY_FEEDBACK, STUDY_OBJECTS, Snapshot},
};

/// What [`Journal::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Records of every kind that were read.
    pub records: u64,
    /// Files whose hash was taken.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong; nothing, where all is well.
    pub problems: Vec<Reason>,
}

impl Journal {
    /// Reads every record and every file. The journal may be at work meanwhile.
    ///
    /// # Errors
    /// Only when it cannot be looked at at all; what is wrong with it is in [`Verification::problems`].
    pub fn verify(&self) -> Result<Verification> {
        let _removal = self.removal.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (names, snapshot) = self.names_and_files()?;
        let mut check = Check { found: Verification::default(), snapshot };
        let uses = check.records()?;
        check.files(self.store(), &names, uses)?;
        Ok(check.found)
    }
}

/// SHA-256 and length of what a reader gives.
pub(crate) fn hash_of(reader: &mut dyn Read, mut and: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(Hash, u64)> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hash.finalize().into(), bytes)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        bytes += read as u64;
        and(&buffer[..read])?;
    }
}

struct Check {
    found: Verification,
    snapshot: Snapshot,
}

impl Check {
    fn wrong(&mut self, cause: String) {
        self.found.problems.push(Reason::new(cause, "restore the last backup; what is still readable can be exported"));
    }

    /// All records of one kind that can be read.
    fn all<R: Kept>(&mut self) -> Result<BTreeMap<u64, R>> {
        let mut records = BTreeMap::new();
        for (number, record) in self.snapshot.all::<R>()? {
            match record {
                Ok(record) => drop(records.insert(number, record)),
                Err(error) => self.wrong(format!("{} {number}: {}", R::WHAT, error.reason().cause)),
            }
        }
        self.found.records += records.len() as u64;
        Ok(records)
    }

    /// Records among each other; gives how often each file is used.
    fn records(&mut self) -> Result<HashMap<Hash, u64>> {
        let objects = self.all::<Object>()?;
        let studies = self.all::<Study>()?;
        let results = self.all::<StudyResult>()?;
        let deliveries = self.all::<Delivery>()?;
        self.all::<Event>()?;
        let feedback = self.all::<Feedback>()?;
        self.all::<Audit>()?;

        let mut uses: HashMap<Hash, u64> = HashMap::new();
        objects.values().for_each(|object| *uses.entry(object.sha256).or_default() += 1);
        results.values().flat_map(|r| &r.files).for_each(|file| *uses.entry(file.sha256).or_default() += 1);

        let pairs: HashSet<(u64, u64)> = self.pairs(STUDY_OBJECTS)?;
        let expected: HashSet<(u64, u64)> = objects.iter().map(|(number, object)| (object.study, *number)).collect();
        if pairs != expected {
            self.wrong("the list of the studies' objects is not that of the objects".into());
        }
        let pairs = self.pairs(STUDY_DELIVERIES)?;
        let expected: HashSet<(u64, u64)> = deliveries.iter().map(|(number, d)| (d.study, *number)).collect();
        if pairs != expected {
            self.wrong("the list of the studies' deliveries is not that of the deliveries".into());
        }
        let pairs: HashSet<(u64, u64)> = self.pairs(STUDY_FEEDBACK)?;
        // What was said of a study that is not kept any more is in no list.
        let of_kept = feedback.iter().filter(|(_, said)| studies.contains_key(&said.study));
        if pairs != of_kept.map(|(number, said)| (said.study, *number)).collect() {
            self.wrong("the list of what readers said of the studies is not that of what they said".into());
        }
        let waiting: Vec<u64> = studies.iter().filter(|(_, study)| !study.state.is_over()).map(|(n, _)| *n).collect();
        if self.snapshot.queue()? != waiting {
            self.wrong("the queue is not the list of the studies that wait".into());
        }
        let waiting: Vec<u64> = deliveries.iter().filter(|(_, d)| !d.state.is_over()).map(|(n, _)| *n).collect();
        if self.snapshot.outbox()? != waiting {
            self.wrong("the outbox is not the list of the deliveries that wait".into());
        }
        for (number, study) in &studies {
            let count = objects.values().filter(|object| object.study == *number).count() as u64;
            if count != study.objects {
                self.wrong(format!("study {number} has {count} objects, and says {}", study.objects));
            }
            let finished = matches!(study.state, crate::entries::StudyState::Finished { .. });
            if finished != results.contains_key(number) {
                self.wrong(format!("study {number} is {}, which its result contradicts", study.state.name()));
            }
        }
        let orphan = |study: &u64| !studies.contains_key(study);
        for (number, object) in objects.iter().filter(|(_, object)| orphan(&object.study)) {
            self.wrong(format!("object {number} is of study {}, which is not there", object.study));
        }
        for (number, delivery) in deliveries.iter().filter(|(_, delivery)| orphan(&delivery.study)) {
            self.wrong(format!("delivery {number} is of study {}, which is not there", delivery.study));
        }
        for number in results.keys().filter(|number| orphan(number)) {
            self.wrong(format!("there is a result of study {number}, which is not there"));
        }
        self.names(&objects, &studies)?;
        Ok(uses)
    }

    /// What objects and studies are known by.
    fn names(&mut self, objects: &BTreeMap<u64, Object>, studies: &BTreeMap<u64, Study>) -> Result<()> {
        let identity = |object: &Object| match &object.what.kind {
            Kind::Dicom { sop_instance_uid, .. } => sop_instance_uid.clone(),
            Kind::Picture => format!("picture:{}", kept_name(&object.sha256)),
        };
        let expected: HashMap<String, u64> = objects.iter().map(|(n, object)| (identity(object), *n)).collect();
        if expected.len() != objects.len() || self.named(IDENTITIES)? != expected {
            self.wrong("the list of what the objects are known by is not that of the objects".into());
        }
        // Rounds come one after the other, so the last of a key stays.
        let expected: HashMap<String, u64> = studies.iter().map(|(n, study)| (study.key.clone(), *n)).collect();
        if self.named(LATEST)? != expected {
            self.wrong("the list of the latest rounds is not that of the studies".into());
        }
        Ok(())
    }

    fn pairs(&self, table: redb::TableDefinition<'static, (u64, u64), ()>) -> Result<HashSet<(u64, u64)>> {
        self.snapshot.0.open_table(table)?.iter()?.map(|pair| Ok(pair?.0.value())).collect()
    }

    fn named(&self, table: redb::TableDefinition<'static, &str, u64>) -> Result<HashMap<String, u64>> {
        let table = self.snapshot.0.open_table(table)?;
        let named = |entry: std::result::Result<_, redb::StorageError>| -> Result<_> {
            let (name, number): (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, u64>) = entry?;
            Ok((name.value().to_owned(), number.value()))
        };
        table.iter()?.map(named).collect()
    }

    /// Files against their records.
    fn files(&mut self, store: &dyn FileStore, names: &[String], mut uses: HashMap<Hash, u64>) -> Result<()> {
        let there: HashSet<Hash> = names.iter().filter_map(|name| kept_hash(name)).collect();
        let recorded = self.snapshot.files()?;
        for (hash, bytes, count) in &recorded {
            let name = kept_name(hash);
            if uses.remove(hash) != Some(*count) {
                self.wrong(format!("the file {name} is not used as often as is said ({count})"));
            }
            if !there.contains(hash) {
                self.wrong(format!("the file {name} is missing"));
                continue;
            }
            match store.open(&name).and_then(|mut file| hash_of(&mut file, |_| Ok(()))) {
                Ok((found, length)) if found == *hash && length == *bytes => {
                    self.found.files += 1;
                    self.found.bytes += length;
                }
                Ok(_) => self.wrong(format!("the bytes of the file {name} have changed")),
                Err(error) => self.wrong(format!("the file {name} cannot be read ({error})")),
            }
        }
        for hash in uses.keys() {
            self.wrong(format!("the file {} has no record", kept_name(hash)));
        }
        let recorded: HashSet<Hash> = recorded.into_iter().map(|(hash, ..)| hash).collect();
        for name in names.iter().filter(|name| !is_temporary(name)) {
            if !kept_hash(name).is_some_and(|hash| recorded.contains(&hash)) {
                self.wrong(format!("the file {name} belongs to nothing"));
            }
        }
        Ok(())
    }
}
