//! Why there is no page, and what to do about it.

use std::{io, net::SocketAddr, path::PathBuf};

use thorax_files::WriteError;
use thorax_shared::reason::Reason;

/// Every way in which the page refuses to start, or a user to be written.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum PageError {
    /// A setting that cannot work.
    Setting {
        /// Its key in the table `[page]`.
        setting: &'static str,
        /// Why.
        cause: String,
    },
    /// The port cannot be had.
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: io::Error,
    },
    /// A file cannot be read.
    Read {
        /// Which.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A certificate or a key is none.
    Tls {
        /// Which file.
        file: PathBuf,
        /// How.
        evidence: String,
    },
    /// The file of users is not in its form.
    Users {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A user cannot be added or removed.
    User {
        /// The name.
        name: String,
        /// Why.
        cause: &'static str,
    },
    /// A file cannot be written.
    Write(#[from] WriteError),
    /// The system gives no random numbers, or the password cannot be hashed.
    Secret(String),
    /// A thread or a runtime cannot be had.
    Start(io::Error),
}

impl PageError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Setting { setting, cause } => {
                Reason::new(format!("page.{setting}: {cause}"), "correct it; boards/README.md has every key")
            }
            Self::Listen { address, reason } => Reason::new(
                format!("the page cannot listen on {address} ({reason})"),
                "choose another page.address in the profile",
            ),
            Self::Read { file, reason } => Reason::new(
                format!("{} cannot be read ({reason})", file.display()),
                "check the path and its permissions; users are added with `thorax-edge page user add`",
            ),
            Self::Tls { file, evidence } => Reason::new(
                format!("{} cannot be used for TLS ({evidence})", file.display()),
                "give a certificate (with its chain) and its private key, both PEM",
            ),
            Self::Users { file, line, cause } => Reason::new(
                format!("{}, line {line}: {cause}", file.display()),
                "remove the line, and add the user again with `thorax-edge page user add`",
            ),
            Self::User { name, cause } => {
                Reason::new(format!("the user {name:?}: {cause}"), "see `thorax-edge page user --help`")
            }
            Self::Write(error) => Reason::without_remedy(error.to_string()),
            Self::Secret(cause) => Reason::new(cause.clone(), "try again; if it stays so, restart the device"),
            Self::Start(reason) => Reason::new(format!("the page cannot be started ({reason})"), "restart the device"),
        }
    }
}
