//! Writing a store so that it can be killed at any point, and goes on.
//!
//! The store grows under the name `NAME.partial` and gets its own when it is whole. The order of the writes is what makes it
//! safe: a unit's rows are on the disk before their checksums and states say so, and the header's length, without which
//! there is no header, comes after everything that it describes. A row counts if its state is set *and* its bytes have its
//! checksum; all others are written anew, and since nothing but the features depends on the run, the file ends up the same.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use thorax_files::sync_folder;

use super::{
    format::{Contents, FeatureError, Header, State},
    store::FeatureStore,
};

/// What there is under a store's name.
pub enum Opened {
    /// A whole store of the wanted features.
    Finished(FeatureStore),
    /// A new store, or one that a killed run left.
    Unfinished(StoreWriter),
}

/// A store that is being written. Units may be written from several threads.
pub struct StoreWriter {
    path: PathBuf,
    partial: PathBuf,
    /// Locked against other processes for as long as it is open.
    file: File,
    /// Held from a seek to the read or write behind it.
    position: Mutex<()>,
    header: Header,
    pending: Vec<usize>,
}

/// A row that is ready to be written.
pub struct WrittenRow<'a> {
    /// [`State::Extracted`] or [`State::Refused`].
    pub state: State,
    /// Its numbers, little-endian.
    pub bytes: &'a [u8],
}

impl StoreWriter {
    /// Opens the store at `path` for `contents` with rows of `shape` `[C, H, W]`: begins one, or goes on with one.
    ///
    /// # Errors
    /// [`FeatureError::Other`] when there is a store of other features, [`FeatureError::Locked`] when another process writes
    /// it, and when the system refuses.
    pub fn open(path: &Path, contents: &Contents, shape: [usize; 3]) -> Result<Opened, FeatureError> {
        if path.exists() {
            let store = FeatureStore::open(path)?;
            // Whole, it does not matter how it came about.
            let ignored = ["weights", "program", "unit"];
            let differences = store.contents().differences(contents, &ignored);
            return if differences.is_empty() && store.shape() == shape {
                Ok(Opened::Finished(store))
            } else {
                let remedy = "give another name, or delete it";
                Err(FeatureError::Other { path: path.to_owned(), differences, remedy })
            };
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let failed = |reason| FeatureError::Io { path: partial.clone(), reason };
        if let Some(folder) = partial.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FeatureError::Locked { path: partial }),
            Err(TryLockError::Error(reason)) => return Err(failed(reason)),
        }
        // Between opening and locking, another process may have finished this file and given it its name.
        if path.exists() {
            return Err(FeatureError::Locked { path: path.to_owned() });
        }
        let (header, bytes) = Header::new(contents.clone(), shape)?;
        let mut writer = Self {
            path: path.to_owned(),
            partial: partial.clone(),
            file,
            position: Mutex::new(()),
            header,
            pending: vec![],
        };
        let length = writer.file.metadata().map_err(failed)?.len();
        let mut first = [0; 8];
        if length >= 8 {
            writer.read_at(0, &mut first).map_err(failed)?;
        }
        if first == [0; 8] {
            writer.begin(&bytes).map_err(failed)?;
        } else {
            let mut bytes = vec![0; Header::length(&partial, first, length)?];
            writer.read_at(0, &mut bytes).map_err(failed)?;
            let found = Header::parse(&partial, &bytes, length)?;
            let differences = found.contents.differences(contents, &["weights"]);
            if !differences.is_empty() || found.shape != shape {
                let remedy = "give another name, or delete it, and what was extracted with it";
                return Err(FeatureError::Other { path: partial, differences, remedy });
            }
            writer.header = found;
        }
        writer.find_pending().map_err(failed)?;
        Ok(Opened::Unfinished(writer))
    }

    /// Makes the file an empty store. Its first eight bytes, zero until now, come last.
    fn begin(&self, header: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(self.header.file_length())?;
        let (length, rest) = header.split_at(8);
        self.write_at(8, rest)?;
        self.file.sync_all()?;
        self.write_at(0, length)?;
        self.file.sync_data()?;
        sync_folder(folder_of(&self.path))
    }

    /// Compares every row that claims to be there with its checksum.
    fn find_pending(&mut self) -> io::Result<()> {
        let rows = self.header.rows();
        let numbers = |at: u64| -> io::Result<Vec<u32>> {
            let mut bytes = vec![0; 4 * rows];
            self.read_at(at, &mut bytes)?;
            Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        let (checksums, states) = (numbers(self.header.checksum_at)?, numbers(self.header.state_at)?);
        let mut bytes = vec![0; self.header.row_bytes];
        let mut pending = vec![];
        for unit in 0..rows.div_ceil(self.header.contents.unit) {
            for row in self.header.unit(unit) {
                let extracted = !matches!(State::from_code(states[row]), None | Some(State::Missing));
                if extracted {
                    self.read_at(self.header.row_at(row), &mut bytes)?;
                }
                if !extracted || crc32fast::hash(&bytes) != checksums[row] {
                    pending.push(unit);
                    break;
                }
            }
        }
        self.pending = pending;
        Ok(())
    }

    /// The file as it is called until it is whole.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// What it is going to hold.
    pub fn contents(&self) -> &Contents {
        &self.header.contents
    }

    /// The units that are still to be written.
    pub fn pending(&self) -> &[usize] {
        &self.pending
    }

    /// The rows of a unit.
    pub fn unit(&self, unit: usize) -> std::ops::Range<usize> {
        self.header.unit(unit)
    }

    /// Writes the rows of a unit, of which there must be as many as it has, and has the disk keep them.
    ///
    /// # Errors
    /// When the system refuses, or a row has another length; what was written before stays.
    pub fn write(&self, unit: usize, rows: &[WrittenRow]) -> Result<(), FeatureError> {
        let failed = |reason| FeatureError::Io { path: self.partial.clone(), reason };
        let range = self.header.unit(unit);
        let lengths_fit = rows.iter().all(|row| row.bytes.len() == self.header.row_bytes);
        if range.len() != rows.len() || range.is_empty() || !lengths_fit {
            return Err(failed(io::Error::other(format!("unit {unit} was given {} rows of other sizes", rows.len()))));
        }
        let write = || {
            let mut checksums = Vec::with_capacity(4 * rows.len());
            let mut states = Vec::with_capacity(4 * rows.len());
            for (number, row) in range.clone().zip(rows) {
                self.write_at(self.header.row_at(number), row.bytes)?;
                checksums.extend(crc32fast::hash(row.bytes).to_le_bytes());
                states.extend(row.state.code().to_le_bytes());
            }
            self.file.sync_data()?;
            self.write_at(self.header.checksum_at + 4 * range.start as u64, &checksums)?;
            self.write_at(self.header.state_at + 4 * range.start as u64, &states)
        };
        write().map_err(failed)
    }

    /// Gives the whole store its name, and opens it.
    ///
    /// # Errors
    /// [`FeatureError::Unfinished`] when rows are missing, and when the system refuses.
    pub fn finish(mut self) -> Result<FeatureStore, FeatureError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |reason| FeatureError::Io { path, reason }
        };
        self.find_pending().map_err(failed(&self.partial))?;
        if !self.pending.is_empty() {
            let missing = self.pending.iter().map(|&unit| self.header.unit(unit).len()).sum();
            return Err(FeatureError::Unfinished { path: self.partial, missing, rows: self.header.rows() });
        }
        self.file.sync_all().map_err(failed(&self.partial))?;
        std::fs::rename(&self.partial, &self.path).map_err(failed(&self.path))?;
        sync_folder(folder_of(&self.path)).map_err(failed(&self.path))?;
        FeatureStore::open(&self.path)
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let _held = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file).seek(SeekFrom::Start(at))?;
        (&self.file).read_exact(bytes)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let _held = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file).seek(SeekFrom::Start(at))?;
        (&self.file).write_all(bytes)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
