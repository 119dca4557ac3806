//! Where results go, and how long what may take.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use thorax_dimse::{association::is_ae_title, tls};

use crate::error::DeliveryError;

/// All destinations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The AE title by which we call. Archives know a title by one port: where commitment is asked for, and the DICOM port has
    /// a title as well, this one is another, which the archive enters with [`Self::report_address`].
    pub ae_title: String,
    /// Where results go.
    pub destinations: Vec<Destination>,
    /// Where archives report that they have committed to objects; without it they can do so only on our own association.
    pub report_address: Option<SocketAddr>,
    /// Whether that port speaks TLS, and with which certificate. Then nobody may report without.
    pub report_tls: Option<tls::Server>,
    /// Seconds until a peer that failed is tried for the second time; each further pause is twice as long.
    pub first_pause_seconds: u64,
    /// No pause is longer.
    pub longest_pause_seconds: u64,
    /// At the end of the program, an object that is being sent has as many seconds left.
    pub stop_seconds: u64,
    /// Of the pauses, which are drawn between half and whole, so that boxes that lost one archive do not come back in one moment.
    /// It should differ from box to box.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ae_title: "THORAX_OUT".into(),
            destinations: vec![],
            report_address: None,
            report_tls: None,
            first_pause_seconds: 5,
            longest_pause_seconds: 3600,
            stop_seconds: 10,
            seed: 0,
        }
    }
}

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// By which the journal's deliveries mean it.
    pub name: String,
    /// The way there.
    pub to: To,
}

/// The way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// DICOM C-STORE.
    Dicom(Dicom),
    /// DICOMweb STOW-RS.
    Web(Web),
}

/// An archive on the DICOM network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dicom {
    /// Host or address, and port: `archive.district.example:4242`.
    pub address: String,
    /// Its AE title.
    pub ae_title: String,
    /// Whether it is called behind TLS, and whose certificate it has to have.
    #[serde(default)]
    pub tls: Option<tls::Client>,
    /// Whether it has to commit to what it was sent.
    #[serde(default)]
    pub commitment: bool,
    /// Seconds until the connection is there.
    #[serde(default = "ten")]
    pub connect_seconds: u64,
    /// Seconds until it answers the request of an association.
    #[serde(default = "ten")]
    pub associate_seconds: u64,
    /// Seconds in which it has to take an object, and as many again until it answers. A megabyte takes minutes on a slow line.
    #[serde(default = "five_minutes")]
    pub message_seconds: u64,
    /// Seconds until it commits. Past them others get their turn, and it is asked again later; a report that comes meanwhile counts.
    #[serde(default = "minute")]
    pub commitment_seconds: u64,
}

/// An archive on the web.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// The root of its DICOMweb service: `https://archive.district.example/dicom-web`.
    pub url: String,
    /// Who we are (HTTP basic authentication), with [`Self::password_file`].
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file with a bearer token, in place of user and password.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Whether password or token may be sent without TLS, on a network that is nobody else's.
    #[serde(default)]
    pub plain_credentials: bool,
    /// The site's own authority as PEM, which is trusted in place of the web's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Seconds until the connection is there.
    #[serde(default = "ten")]
    pub connect_seconds: u64,
    /// Seconds in which it has to take an object, and as many again until it answers. A megabyte takes minutes on a slow line.
    #[serde(default = "five_minutes")]
    pub message_seconds: u64,
}

fn ten() -> u64 {
    10
}

fn minute() -> u64 {
    60
}

fn five_minutes() -> u64 {
    300
}

impl Config {
    /// Checks what a profile says.
    ///
    /// # Errors
    /// [`DeliveryError::Setting`], naming what is wrong.
    pub fn check(&self) -> Result<(), DeliveryError> {
        let wrong = |setting: &'static str, cause: String| Err(DeliveryError::Setting { setting, cause });
        if !is_ae_title(&self.ae_title) {
            return wrong("ae_title", format!("{:?} is no AE title", self.ae_title));
        }
        let pauses = [
            ("first_pause_seconds", self.first_pause_seconds),
            ("longest_pause_seconds", self.longest_pause_seconds),
            ("stop_seconds", self.stop_seconds),
        ];
        let mut times: Vec<(&'static str, u64)> = pauses.into();
        for (at, Destination { name, to }) in self.destinations.iter().enumerate() {
            if name.is_empty() || self.destinations[..at].iter().any(|other| other.name == *name) {
                return wrong("destinations", format!("{name:?} is no name, or that of two"));
            }
            match to {
                To::Dicom(dicom) => {
                    if !is_ae_title(&dicom.ae_title) {
                        return wrong("destinations.ae_title", format!("{:?} is no AE title", dicom.ae_title));
                    }
                    if !dicom
                        .address
                        .rsplit_once(':')
                        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
                    {
                        let cause = format!("{:?} is not a host, a colon and a port", dicom.address);
                        return wrong("destinations.address", cause);
                    }
                    times.extend([
                        ("connect_seconds", dicom.connect_seconds),
                        ("associate_seconds", dicom.associate_seconds),
                        ("message_seconds", dicom.message_seconds),
                        ("commitment_seconds", dicom.commitment_seconds),
                    ]);
                }
                To::Web(web) => {
                    web.check()?;
                    times.extend([("connect_seconds", web.connect_seconds), ("message_seconds", web.message_seconds)]);
                }
            }
        }
        match times.iter().find(|(_, seconds)| !(1..=86_400).contains(seconds)) {
            Some((setting, _)) => wrong(setting, "not from a second to a day".into()),
            None => Ok(()),
        }
    }
}

impl Web {
    fn check(&self) -> Result<(), DeliveryError> {
        let wrong = |setting: &'static str, cause: &str| {
            Err(DeliveryError::Setting { setting, cause: format!("{cause}, of {}", self.url) })
        };
        if !["https://", "http://"].iter().any(|scheme| self.url.len() > scheme.len() && self.url.starts_with(scheme)) {
            return wrong("destinations.url", "neither https:// nor http://");
        }
        if self.url.contains(['?', '#', '@', ' ']) {
            return wrong("destinations.url", "more than host, port and path; who we are has its own settings");
        }
        if self.user.is_some() != self.password_file.is_some() {
            return wrong("destinations.user", "user and password_file go together");
        }
        if self
            .user
            .as_deref()
            .is_some_and(|user| user.contains(':') || !user.chars().all(|c| (' '..='~').contains(&c)))
        {
            return wrong("destinations.user", "a colon, or what is no letter of ASCII, in it");
        }
        if self.user.is_some() && self.token_file.is_some() {
            return wrong("destinations.token_file", "a user and a token");
        }
        let secret = self.user.is_some() || self.token_file.is_some();
        if secret && !self.plain_credentials && !self.url.starts_with("https://") {
            return wrong("destinations.plain_credentials", "anybody on the way could read password or token");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dicom() -> Dicom {
        Dicom {
            address: "127.0.0.1:104".into(),
            ae_title: "ARCHIVE".into(),
            tls: None,
            commitment: false,
            connect_seconds: 10,
            associate_seconds: 10,
            message_seconds: 60,
            commitment_seconds: 60,
        }
    }

    fn web() -> Web {
        Web {
            url: "https://archive.example/dicom-web".into(),
            user: None,
            password_file: None,
            token_file: None,
            plain_credentials: false,
            ca_file: None,
            connect_seconds: 10,
            message_seconds: 60,
        }
    }

    #[test]
    fn a_profile_that_cannot_work_is_refused_by_name() {
        let destination = |name: &str, to| Destination { name: name.into(), to };
        let good = Config {
            destinations: vec![destination("a", To::Dicom(dicom())), destination("b", To::Web(web()))],
            ..Config::default()
        };
        assert!(good.check().is_ok());
        let refused = |setting: &str, change: &dyn Fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            let told = config.check().map_err(|error| error.to_string());
            assert!(told.as_ref().is_err_and(|told| told.contains(setting)), "{setting}: {told:?}");
        };
        refused("ae_title", &|config| config.ae_title = "A TITLE THAT IS TOO LONG".into());
        refused("longest_pause_seconds", &|config| config.longest_pause_seconds = 0);
        refused("destinations", &|config| config.destinations[1].name = "a".into());
        let to_dicom = |config: &mut Config, change: fn(&mut Dicom)| {
            let mut to = dicom();
            change(&mut to);
            config.destinations[0].to = To::Dicom(to);
        };
        refused("ae_title", &|config| to_dicom(config, |to| to.ae_title = "A\\B".into()));
        for address in ["archive", ":104", "archive:0", "archive:port", ""] {
            refused("address", &|config| {
                to_dicom(config, |_| {});
                config.destinations[0].to = To::Dicom(Dicom { address: address.into(), ..dicom() });
            });
        }
        refused("message_seconds", &|config| to_dicom(config, |to| to.message_seconds = 0));
        let to_web = |setting: &str, to: Web| {
            refused(setting, &|config| config.destinations[1].to = To::Web(to.clone()));
        };
        to_web("url", Web { url: "ftp://archive".into(), ..web() });
        to_web("url", Web { url: "https://me:secret@archive".into(), ..web() });
        to_web("user", Web { user: Some("me".into()), ..web() });
        to_web("user", Web { user: Some("m:e".into()), password_file: Some("p".into()), ..web() });
        let both = Web { user: Some("me".into()), password_file: Some("p".into()), ..web() };
        to_web("token_file", Web { token_file: Some("t".into()), ..both });
        to_web("plain_credentials", Web { url: "http://archive".into(), token_file: Some("t".into()), ..web() });
        to_web("connect_seconds", Web { connect_seconds: 0, ..web() });
    }
}
