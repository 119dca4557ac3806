//! A disk that loses power: it remembers each write, sync, rename and removal, and can say what may be left of them.
//!
//! `powercut` of crates.io keeps whole syncs of real files at chosen moments; here the cut has to fall between any two calls
//! and in the middle of a write, so the disk is made up.
//!
//! What is taken for possible: what was synced is there; of what was written since, each sector of 512 bytes has any of the
//! states that it went through, on its own (lost, torn, reordered); a file's length is any that it had; names come and go
//! in order or not.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use redb::StorageBackend;
use thorax_journal::{FileStore, StoreFile};

const SECTOR: usize = 512;
/// The database among the files.
const DATABASE: usize = 0;

/// Something that was asked of the disk.
#[derive(Clone, Debug)]
enum Call {
    Write { file: usize, at: usize, bytes: Vec<u8> },
    SetLength { file: usize, length: usize },
    Sync { file: usize },
    Create { file: usize, name: String },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncNames,
}

/// The names of files, and which file each is.
type Names = BTreeMap<String, usize>;

/// What is on a disk.
#[derive(Clone, Debug)]
struct Contents {
    files: Vec<Vec<u8>>,
    names: Names,
}

impl Contents {
    fn file(&mut self, file: usize) -> &mut Vec<u8> {
        if self.files.len() <= file {
            self.files.resize_with(file + 1, Vec::new);
        }
        &mut self.files[file]
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Write { file, at, bytes } => overwrite(self.file(*file), *at, bytes),
            Call::SetLength { file, length } => self.file(*file).resize(*length, 0),
            Call::Create { .. } | Call::Rename { .. } | Call::Remove { .. } => rename(&mut self.names, call),
            Call::Sync { .. } | Call::SyncNames => {}
        }
    }
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn rename(names: &mut Names, call: &Call) {
    match call {
        Call::Create { file, name } => drop(names.insert(name.clone(), *file)),
        Call::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Call::Remove { name } => drop(names.remove(name)),
        _ => {}
    }
}

#[derive(Debug)]
struct State {
    contents: Contents,
    calls: Vec<Call>,
}

/// A disk at work. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(Contents { files: vec![vec![]], names: Names::new() })
    }

    fn with(contents: Contents) -> Self {
        Self(Arc::new(Mutex::new(State { contents, calls: vec![] })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many calls there were that a cut can fall on.
    pub(crate) fn calls(&self) -> usize {
        self.state().calls.len()
    }

    fn call(&self, call: Call) {
        let mut state = self.state();
        state.contents.apply(&call);
        state.calls.push(call);
    }

    /// Goes through all cuts of what happened on this disk, which began as `began`.
    pub(crate) fn cuts(&self, began: &Disk) -> Cuts {
        let durable = began.state().contents.clone();
        Cuts { durable, unsynced: vec![], calls: self.state().calls.clone(), next: 0 }
    }

    /// The same contents, all of them synced.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.state().contents.clone())
    }

    pub(crate) fn store(&self) -> Arc<dyn FileStore> {
        Arc::new(self.clone())
    }

    /// Changes one byte of a file that is neither temporary nor the database.
    pub(crate) fn damage(&self) {
        let mut state = self.state();
        let file = *state.contents.names.values().next().unwrap();
        state.contents.files[file][0] ^= 1;
    }

    /// Puts the first word of the database wrong.
    pub(crate) fn spoil_database(&self, bytes: &[u8]) {
        overwrite(&mut self.state().contents.files[DATABASE], 0, bytes);
    }
}

/// What is left after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Only what was synced.
    Synced,
    /// All that was written.
    Everything,
    /// Any part of what was not synced, by this seed.
    Parts(u64),
}

/// The cuts of a run, one after the other.
pub(crate) struct Cuts {
    /// What no cut can take away.
    durable: Contents,
    /// Calls since then whose effect is open.
    unsynced: Vec<Call>,
    calls: Vec<Call>,
    /// The cut falls before this call is finished.
    next: usize,
}

impl Cuts {
    /// On which call the cut falls; `None` behind the last.
    pub(crate) fn at(&self) -> Option<usize> {
        (self.next < self.calls.len()).then_some(self.next)
    }

    /// Goes on to the cut on the next call.
    pub(crate) fn step(&mut self) {
        let call = self.calls[self.next].clone();
        self.next += 1;
        let of_names = |call: &Call| matches!(call, Call::Create { .. } | Call::Rename { .. } | Call::Remove { .. });
        let settled: Vec<Call> = match &call {
            Call::Sync { file: synced } => self
                .unsynced
                .extract_if(
                    ..,
                    |call| matches!(call, Call::Write { file, .. } | Call::SetLength { file, .. } if file == synced),
                )
                .collect(),
            Call::SyncNames => self.unsynced.extract_if(.., |call| of_names(call)).collect(),
            _ => {
                self.unsynced.push(call);
                return;
            }
        };
        settled.iter().for_each(|call| self.durable.apply(call));
    }

    /// The disk after the cut.
    pub(crate) fn disk(&self, left: Left) -> Disk {
        let mut contents = self.durable.clone();
        match left {
            Left::Synced => {}
            Left::Everything => self.unsynced.iter().for_each(|call| contents.apply(call)),
            Left::Parts(seed) => self.parts(&mut contents, &mut StdRng::seed_from_u64(seed)),
        }
        Disk::with(contents)
    }

    fn parts(&self, contents: &mut Contents, random: &mut StdRng) {
        // The call that the cut falls on is begun.
        let begun: Vec<&Call> = self.unsynced.iter().chain(self.calls.get(self.next)).collect();
        let mut of_files: BTreeMap<usize, Vec<&Call>> = BTreeMap::new();
        let in_order: Option<usize> = random.random_bool(0.5).then(|| random.random_range(0..=begun.len()));
        for (number, call) in begun.into_iter().enumerate() {
            match call {
                Call::Write { file, .. } | Call::SetLength { file, .. } => {
                    of_files.entry(*file).or_default().push(call)
                }
                Call::Create { .. } | Call::Rename { .. } | Call::Remove { .. } => {
                    if in_order.map_or_else(|| random.random(), |first| number < first) {
                        rename(&mut contents.names, call);
                    }
                }
                Call::Sync { .. } | Call::SyncNames => {}
            }
        }
        for (file, calls) in of_files {
            torn(contents.file(file), &calls, random);
        }
    }
}

/// What may be left of writes to a file: each sector as it was behind any of them, the length as behind any.
fn torn(file: &mut Vec<u8>, calls: &[&Call], random: &mut StdRng) {
    let after = |count: usize, mut length: usize| {
        for call in &calls[..count] {
            length = match call {
                Call::Write { at, bytes, .. } => length.max(at + bytes.len()),
                Call::SetLength { length, .. } => *length,
                _ => length,
            };
        }
        length
    };
    let length = after(random.random_range(0..=calls.len()), file.len());
    // Sectors that are written to, and behind how many calls each is left.
    let mut behind: BTreeMap<usize, usize> = BTreeMap::new();
    for call in calls {
        if let Call::Write { at, bytes, .. } = call {
            for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
                behind.entry(sector).or_insert_with(|| random.random_range(0..=calls.len()));
            }
        }
    }
    for (number, call) in calls.iter().enumerate() {
        let Call::Write { at, bytes, .. } = call else { continue };
        for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
            if number < behind[&sector] {
                let part: Range<usize> = (sector * SECTOR).max(*at)..((sector + 1) * SECTOR).min(at + bytes.len());
                overwrite(file, part.start, &bytes[part.start - at..part.end - at]);
            }
        }
    }
    file.resize(length, 0);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().contents.files[DATABASE].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        let state = self.state();
        let bytes = state.contents.files[DATABASE].get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.call(Call::SetLength { file: DATABASE, length: length as usize });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call(Call::Sync { file: DATABASE });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.call(Call::Write { file: DATABASE, at: offset as usize, bytes: data.to_vec() });
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    file: usize,
    length: usize,
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.call(Call::Write { file: self.file, at: self.length, bytes: bytes.to_vec() });
        self.length += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for Open {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.call(Call::Sync { file: self.file });
        Ok(())
    }
}

impl FileStore for Disk {
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        let file = {
            let mut state = self.state();
            if state.contents.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.contents.files.push(vec![]);
            state.contents.files.len() - 1
        };
        self.call(Call::Create { file, name: name.into() });
        Ok(Box::new(Open { disk: self.clone(), file, length: 0 }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(Call::Rename { from: from.into(), to: to.into() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.state().contents.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.call(Call::Remove { name: name.into() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.call(Call::SyncNames);
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let file = state.contents.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(state.contents.files[*file].clone())))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().contents.names.keys().cloned().collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }
}
