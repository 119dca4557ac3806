//! A connection that speaks PDUs (DICOM PS3.8, 9.3), each with a deadline.
//!
//! `dicom-ul` reads and writes PDUs. Its own associations wait as long as a peer sends a byte now and then; here a deadline is
//! one moment, however the bytes come, and a PDU that is longer than was agreed is refused by its header.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use dicom_ul::pdu::{
    AbortRQServiceProviderReason, AbortRQSource, PDataValue, PDataValueType, Pdu, UserVariableItem, read_pdu, write_pdu,
};

/// A connection.
pub trait Wire: Read + Write {
    /// How long a read waits at most.
    ///
    /// # Errors
    /// The system's.
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()>;

    /// How long a write waits at most. What cannot block has nothing to do here.
    ///
    /// # Errors
    /// The system's.
    fn set_write_timeout(&self, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Wire> Wire for &mut W {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        W::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        W::set_write_timeout(self, timeout)
    }
}

impl Wire for Box<dyn Wire> {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        (**self).set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        (**self).set_write_timeout(timeout)
    }
}

impl Wire for TcpStream {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        TcpStream::set_read_timeout(self, Some(timeout))
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        TcpStream::set_write_timeout(self, Some(timeout))
    }
}

impl Wire for &TcpStream {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        TcpStream::set_read_timeout(self, Some(timeout))
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        TcpStream::set_write_timeout(self, Some(timeout))
    }
}

/// How a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Without a word.
    #[error("the peer closed the connection")]
    Closed,
    /// By an A-ABORT.
    #[error("the peer aborted")]
    Aborted,
    /// Past its deadline.
    #[error("too slow: {0}")]
    Slow(&'static str),
    /// What came is not what can come.
    #[error("{0}")]
    Wrong(String),
    /// For our own reasons.
    #[error("the device stops")]
    Stopping,
    /// The system's reason.
    #[error("the connection failed ({0})")]
    Failed(#[from] io::Error),
}

impl End {
    /// What came is not what can come.
    pub fn wrong(what: impl ToString) -> Self {
        Self::Wrong(what.to_string())
    }

    /// What the peer is told, where it can be told anything (PS3.8, table 9-26).
    pub fn abort(&self) -> Option<AbortRQSource> {
        match self {
            Self::Closed | Self::Aborted | Self::Failed(_) => None,
            Self::Slow(_) | Self::Stopping => Some(AbortRQSource::ServiceUser),
            Self::Wrong(_) => Some(AbortRQSource::ServiceProvider(AbortRQServiceProviderReason::UnexpectedPdu)),
        }
    }
}

/// The deadline of a message, and what is told of who misses it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant, &'static str);

impl Deadline {
    /// In so many seconds.
    pub fn within(seconds: u64, what: &'static str) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds), what)
    }

    /// In so long a time.
    pub fn after(time: Duration, what: &'static str) -> Self {
        Self(Instant::now() + time, what)
    }

    /// What is left of it; a time-out of zero would be none.
    fn left(self) -> Result<Duration, End> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(End::Slow(self.1)) } else { Ok(left.max(LEAST_TIMEOUT)) }
    }

    /// What an error of a read or a write that had what was left means.
    fn missed(self, error: io::Error) -> Result<(), End> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(End::Slow(self.1)),
            _ => Err(error.into()),
        }
    }
}

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);
/// The part of a P-Data PDU that is no value: length, context, header (PS3.8, 9.3.5.1).
const PDV_HEADER: u32 = 6;
/// Of a value, where the peer sets no limit.
const VALUE_BYTES: usize = 16 << 10;

/// A connection that speaks PDUs.
#[derive(Debug)]
pub struct Talk<W> {
    wire: W,
    /// What was read and is not yet a PDU.
    buffer: Vec<u8>,
    chunk: Vec<u8>,
    most_pdu_bytes: u32,
}

impl<W: Wire> Talk<W> {
    /// On a connection; no PDU of the peer may have more bytes.
    pub fn new(wire: W, most_pdu_bytes: u32) -> Self {
        Self { wire, buffer: vec![], chunk: vec![0; CHUNK], most_pdu_bytes }
    }

    /// Waits for a PDU. Past the deadline nothing of it is lost: it can be waited for again.
    ///
    /// # Errors
    /// See [`End`].
    pub fn receive(&mut self, deadline: Deadline) -> Result<Pdu, End> {
        loop {
            let mut rest = &self.buffer[..];
            // Strict: a length beyond what was agreed is refused before anything is waited for.
            if let Some(pdu) = read_contained(&mut rest, self.most_pdu_bytes)? {
                let read = self.buffer.len() - rest.len();
                self.buffer.drain(..read);
                return Ok(pdu);
            }
            self.wire.set_read_timeout(deadline.left()?)?;
            match self.wire.read(&mut self.chunk) {
                Ok(0) => return Err(End::Closed),
                Ok(read) => self.buffer.extend_from_slice(&self.chunk[..read]),
                Err(error) => deadline.missed(error)?,
            }
        }
    }

    /// Sends a PDU, and waits as long as the connection lets a write wait.
    ///
    /// # Errors
    /// See [`End`].
    pub fn send(&mut self, pdu: &Pdu) -> Result<(), End> {
        let mut bytes = vec![];
        write_pdu(&mut bytes, pdu).map_err(End::wrong)?;
        self.wire.write_all(&bytes)?;
        Ok(self.wire.flush()?)
    }

    /// Sends a PDU that the peer has to take before the deadline.
    ///
    /// # Errors
    /// See [`End`].
    pub fn send_by(&mut self, pdu: &Pdu, deadline: Deadline) -> Result<(), End> {
        let mut bytes = vec![];
        write_pdu(&mut bytes, pdu).map_err(End::wrong)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.wire.set_write_timeout(deadline.left()?)?;
            match self.wire.write(rest) {
                Ok(0) => return Err(End::Closed),
                Ok(written) => rest = &rest[written..],
                Err(error) => deadline.missed(error)?,
            }
        }
        Ok(self.wire.flush()?)
    }

    /// Sends a command set or a data set that is in memory, as [`Self::send`] does, in values of at most `most_bytes`.
    ///
    /// # Errors
    /// See [`End`].
    pub fn send_set(
        &mut self,
        context: u8,
        value_type: PDataValueType,
        set: &[u8],
        most_bytes: usize,
    ) -> Result<(), End> {
        let mut parts = set.chunks(most_bytes).peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            self.send(&value(context, value_type.clone(), is_last, part.to_vec()))?;
        }
        Ok(())
    }
}

/// A P-Data PDU of one value.
pub(crate) fn value(context: u8, value_type: PDataValueType, is_last: bool, data: Vec<u8>) -> Pdu {
    Pdu::PData { data: vec![PDataValue { presentation_context_id: context, value_type, is_last, data }] }
}

/// Bytes of one value that a peer with these user variables takes in a PDU (PS3.8, D.1.1).
pub fn most_data_bytes(variables: &[UserVariableItem]) -> usize {
    let most = variables.iter().find_map(|variable| match variable {
        // 0 is without limit.
        UserVariableItem::MaxLength(bytes) if *bytes > PDV_HEADER => usize::try_from(*bytes - PDV_HEADER).ok(),
        _ => None,
    });
    most.unwrap_or(VALUE_BYTES)
}

/// Reads a PDU, if there is a whole one. The library takes some lengths within a PDU on trust, and panics where they lie; that
/// is contained here, and ends the association like any other PDU that is none.
fn read_contained(rest: &mut &[u8], most_bytes: u32) -> Result<Option<Pdu>, End> {
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_pdu(rest, most_bytes, true)));
    read.map_err(|_| End::wrong("a PDU whose lengths lie"))?.map_err(End::wrong)
}
