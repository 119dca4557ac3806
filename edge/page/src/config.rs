//! The table `[page]` of a board's profile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;
use thorax_shared::words::Language;

use crate::error::PageError;

/// How the page is served. Whoever has this table has a page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where it listens. Beyond this machine only with [`Self::certificate`] and [`Self::key`]. Port 0 takes any that is free.
    pub address: SocketAddr,
    /// A PEM file with the certificate, and behind it those that it is signed by.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// The file of users ([`users`](crate::users)).
    pub users: PathBuf,
    /// Somebody who did nothing for as many minutes has to log in again.
    pub session_minutes: u64,
    /// And everybody after as many hours.
    pub session_hours: u64,
    /// The language of those who have not chosen another.
    pub language: Language,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 11181)),
            certificate: None,
            key: None,
            users: PathBuf::new(),
            session_minutes: 15,
            session_hours: 12,
            language: Language::default(),
        }
    }
}

impl Config {
    /// The paths in it, for whoever has to put a folder before them.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let users = (!self.users.as_os_str().is_empty()).then_some(&mut self.users);
        self.certificate.iter_mut().chain(&mut self.key).chain(users)
    }

    /// Whether it can work. Files are not looked at.
    ///
    /// # Errors
    /// [`PageError::Setting`].
    pub fn check(&self) -> Result<(), PageError> {
        let wrong = |setting, cause: String| Err(PageError::Setting { setting, cause });
        match (&self.certificate, &self.key) {
            (None, None) if !self.address.ip().is_loopback() => {
                let cause = format!("{} is no loopback address, so there has to be one, and a key", self.address.ip());
                return wrong("certificate", cause);
            }
            (Some(_), None) => return wrong("key", "there is none to the certificate".into()),
            (None, Some(_)) => return wrong("certificate", "there is none to the key".into()),
            _ => {}
        }
        if self.users.as_os_str().is_empty() {
            return wrong("users", "no file of users is told: nobody could log in".into());
        }
        for (setting, value, most) in
            [("session_minutes", self.session_minutes, 24 * 60), ("session_hours", self.session_hours, 24 * 7)]
        {
            if !(1..=most).contains(&value) {
                return wrong(setting, format!("{value} is not from 1 to {most}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_there_is_tls() {
        let users = PathBuf::from("users");
        let config = Config { users: users.clone(), ..Config::default() };
        config.check().unwrap();
        let open = Config { address: ([0, 0, 0, 0], 443).into(), ..config.clone() };
        assert!(open.check().unwrap_err().to_string().contains("page.certificate"));
        let half = Config { certificate: Some("a".into()), ..open.clone() };
        assert!(half.check().unwrap_err().to_string().contains("page.key"));
        Config { key: Some("b".into()), ..half }.check().unwrap();
        assert!(Config::default().check().unwrap_err().to_string().contains("page.users"));
        let none = Config { session_minutes: 0, ..config };
        assert!(none.check().unwrap_err().to_string().contains("0 is not from 1 to 1440"));
    }
}
