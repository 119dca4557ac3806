//! Why the deliveries do not start.

use std::{io, net::SocketAddr, path::PathBuf};

use thorax_dimse::tls::TlsError;
use thorax_shared::reason::Reason;

/// Every way in which the deliveries refuse to start. What goes wrong with a peer later is in its [`Status`](crate::Status).
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum DeliveryError {
    /// A setting that cannot work.
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The site's authority cannot be read.
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The port for reports cannot be listened on.
    Port {
        /// The address and port.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
    /// The system gives no thread.
    Thread(io::Error),
}

impl From<TlsError> for DeliveryError {
    fn from(TlsError { setting, cause }: TlsError) -> Self {
        Self::Setting { setting, cause }
    }
}

impl DeliveryError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Setting { setting, cause } => Reason::new(
                format!("the setting {setting} of the deliveries: {cause}"),
                "correct it in the board's profile",
            ),
            Self::Authority { path, cause } => Reason::new(
                format!("no certificate of an authority in {} ({cause})", path.display()),
                "put the site's certificate there, as PEM",
            ),
            Self::Port { address, reason } => Reason::new(
                format!("cannot listen on {address} ({reason})"),
                "choose another port, or end the program that has it",
            ),
            Self::Thread(reason) => Reason::new(format!("no thread ({reason})"), "restart the device"),
        }
    }
}
