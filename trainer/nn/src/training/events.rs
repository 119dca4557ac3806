//! Scalars for TensorBoard.
//!
//! Events are appended, unlike other files, since TensorBoard reads on where it stopped; a record that a killed run has not
//! written to its end is dropped when the run goes on.
//!
//! An event file is a row of TFRecords: length (u64, little endian), masked CRC-32C of the length, an `Event` message of
//! TensorFlow's `event.proto`, masked CRC-32C of the message. The first message says `brain.Event:2`. Of the messages only the
//! fields that scalars need are declared here. `trainer/references/read_events.py` reads such a file with TensorBoard's own
//! reader.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;
use thorax_files::{WriteError, write_atomically};

/// The name of the file; TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// An event file that grows.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens the file of `folder`, keeping the events of steps up to `last` (`None` for none of them), so that a run that
    /// goes on does not tell its later steps twice. What is broken at the end, as a killed run leaves it, is dropped.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn open(folder: &Path, last: Option<i64>) -> Result<Self, WriteError> {
        let path = folder.join(FILE);
        let before = std::fs::read(&path).unwrap_or_default();
        let mut kept =
            record(&Event { wall_time: now(), file_version: Some("brain.Event:2".into()), ..Event::default() });
        if let Some(last) = last {
            let old = records(&before);
            let events: Vec<&Event> = old.iter().filter(|event| event.step <= last).collect();
            if events.first().is_some_and(|event| event.file_version.is_some()) {
                kept.clear();
            }
            events.iter().for_each(|event| kept.extend(record(event)));
        }
        write_atomically(&path, |out| out.write_all(&kept))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|reason| failed(&path, reason))?;
        Ok(Self { path, file })
    }

    /// Adds the values of `step`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn add(&mut self, step: i64, values: &[(String, f64)]) -> Result<(), WriteError> {
        let value =
            values.iter().map(|(tag, value)| Scalar { tag: tag.clone(), simple_value: Some(*value as f32) }).collect();
        let event = Event { wall_time: now(), step, file_version: None, summary: Some(Summary { value }) };
        self.file
            .write_all(&record(&event))
            .and_then(|()| self.file.flush())
            .map_err(|reason| failed(&self.path, reason))
    }
}

fn failed(path: &Path, reason: io::Error) -> WriteError {
    WriteError { path: path.to_owned(), reason }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), &data, &masked_crc(&data).to_le_bytes()].concat()
}

/// The events of a file up to the first that is cut off or broken.
fn records(mut bytes: &[u8]) -> Vec<Event> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (data, rest) = bytes.split_at_checked(count)?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        *bytes = rest;
        (u32::from_le_bytes(*crc) == masked_crc(data)).then_some(data)
    }
    let mut events = vec![];
    let mut next = || {
        let length = u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?);
        Event::decode(take(&mut bytes, usize::try_from(length).ok()?)?).ok()
    };
    while let Some(event) = next() {
        events.push(event);
    }
    events
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), turned and shifted as TFRecord does it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    });
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros have 0x8A9136AA.
        assert_eq!(masked_crc(&[0; 32]), 0x8A91_36AAu32.rotate_right(15).wrapping_add(0xA282_EAD8));
        assert_eq!(masked_crc(b"123456789"), 0xE306_9283u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn a_resumed_run_tells_no_step_twice_and_drops_what_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let steps = || -> Vec<(i64, f32)> {
            let events = records(&std::fs::read(&path).unwrap());
            assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
            let scalar = |event: &Event| event.summary.as_ref().unwrap().value[0].simple_value.unwrap();
            events[1..].iter().map(|event| (event.step, scalar(event))).collect()
        };
        let value = |v: f64| [("loss".to_owned(), v)];
        let mut file = EventFile::open(folder.path(), None).unwrap();
        (1..=3).for_each(|step| file.add(step, &value(step as f64)).unwrap());
        assert_eq!(steps(), [(1, 1.0), (2, 2.0), (3, 3.0)]);

        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(steps(), [(1, 1.0), (2, 2.0)]);
        let mut file = EventFile::open(folder.path(), Some(1)).unwrap();
        file.add(2, &value(-2.0)).unwrap();
        assert_eq!(steps(), [(1, 1.0), (2, -2.0)]);
        EventFile::open(folder.path(), None).unwrap();
        assert_eq!(steps(), []);
    }
}
