//! What the targets share.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use thorax_decode::{Limits, Study, decode_bytes};
use thorax_dimse::talk::Wire;
use thorax_journal::{FileStore, StoreFile};

/// Has a panic in our own code be a finding, and not one in a library that our code contains: of those each place is told once.
/// libFuzzer's hook aborts on any.
pub fn contain_libraries() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let abort = std::panic::take_hook();
        let seen = std::sync::Mutex::new(std::collections::HashSet::new());
        std::panic::set_hook(Box::new(move |info| {
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            if !location.contains(".cargo/registry") && !location.contains("/rustc/") {
                abort(info);
            } else if seen.lock().is_ok_and(|mut seen| seen.insert(location.clone())) {
                eprintln!("CONTAINED panic in a library at {location}");
            }
        }));
    });
}

/// Decodes `data` if it begins like the format of the target; every slice of a volume is cut.
pub fn decode(data: &[u8], is_of_target: impl Fn(&[u8]) -> bool) {
    contain_libraries();
    if !is_of_target(data) {
        return;
    }
    // Small, so that the fuzzer finds more than slow inputs.
    let limits = Limits { max_file_bytes: 1 << 20, max_pixels: 1 << 20, max_decoded_bytes: 16 << 20 };
    match decode_bytes(data, &limits) {
        Ok(Study::Volume(volume)) => {
            for index in 0..volume.slices() {
                assert!(volume.slice(index).is_some());
            }
        }
        Ok(Study::Image(frame)) => assert!((0.0..=1.0).contains(&frame.colour_share)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A journal's files, in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

#[derive(Debug)]
struct Open(Arc<Mutex<BTreeMap<String, Vec<u8>>>>, String);

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().get_mut(&self.1).unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for Open {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl FileStore for Memory {
    fn create(&self, name: &str) -> io::Result<Box<dyn StoreFile>> {
        assert!(self.0.lock().unwrap().insert(name.into(), vec![]).is_none());
        Ok(Box::new(Open(self.0.clone(), name.into())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).unwrap();
        files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name).unwrap();
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.lock().unwrap()[name].clone())))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

/// A connection on which a peer says these bytes, whatever it is told.
pub struct Connection<'a>(&'a [u8]);

impl<'a> Connection<'a> {
    pub fn new(says: &'a [u8]) -> Self {
        Self(says)
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Connection<'_> {
    fn set_read_timeout(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}
