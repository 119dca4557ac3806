//! Why the intake does not start.

use std::{io, net::SocketAddr, path::PathBuf};

use thorax_dimse::tls::TlsError;
use thorax_shared::reason::Reason;

/// Every way in which the intake refuses to start. What goes wrong with a peer or a file later is told in the log, and to the
/// peer.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum IntakeError {
    /// A setting that cannot work.
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The port cannot be listened on.
    Port {
        /// The address and port.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
    /// A watched folder cannot be read.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The system gives no thread.
    Thread(io::Error),
}

impl From<TlsError> for IntakeError {
    fn from(TlsError { setting, cause }: TlsError) -> Self {
        Self::Setting { setting, cause }
    }
}

impl IntakeError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Setting { setting, cause } => Reason::new(
                format!("the setting {setting} of the intake: {cause}"),
                "correct it in the board's profile",
            ),
            Self::Port { address, reason } => Reason::new(
                format!("cannot listen on {address} ({reason})"),
                "choose another port, or end the program that has it",
            ),
            Self::Folder { path, reason } => {
                Reason::new(format!("cannot read {} ({reason})", path.display()), "check that it is there and readable")
            }
            Self::Thread(reason) => Reason::new(format!("no thread ({reason})"), "restart the device"),
        }
    }
}
