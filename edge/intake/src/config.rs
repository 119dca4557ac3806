//! Who may send what, and how much of everything.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use thorax_dimse::{association::is_ae_title, tls};

use crate::{error::IntakeError, uids};

/// The DICOM port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes any that is free.
    pub address: SocketAddr,
    /// The AE title that we are called by.
    pub ae_title: String,
    /// Whether the port speaks TLS, and with which certificate. Then nobody may call without.
    pub tls: Option<tls::Server>,
    /// Who may call.
    pub peers: Vec<Peer>,
    /// Whether anybody may call, on a network that is nobody else's.
    pub accept_any_peer: bool,
    /// SOP classes that are taken, by UID.
    pub sop_classes: Vec<String>,
    /// Transfer syntaxes that are taken, by UID.
    pub transfer_syntaxes: Vec<String>,
    /// No PDU may have more bytes.
    pub most_pdu_bytes: u32,
    /// As many associations may be open at once.
    pub most_associations: usize,
    /// Within as many seconds of the connection the association has to be asked for.
    pub association_seconds: u64,
    /// An association on which nothing comes for as many seconds is ended.
    pub idle_seconds: u64,
    /// A message has to be complete within as many seconds.
    pub message_seconds: u64,
    /// A write of ours that the peer does not take within as many seconds ends the association.
    pub write_seconds: u64,
    /// At the end of the program an object that is arriving has as many seconds left.
    pub stop_seconds: u64,
    /// Whether the studies of an association are complete when it is released. Else they are after a quiet time.
    pub close_at_release: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 11112)),
            ae_title: "THORAX".into(),
            tls: None,
            peers: vec![],
            accept_any_peer: false,
            sop_classes: uids::IMAGES.map(str::to_owned).into(),
            transfer_syntaxes: uids::CODINGS.map(str::to_owned).into(),
            most_pdu_bytes: 128 << 10,
            most_associations: 24,
            association_seconds: 10,
            idle_seconds: 60,
            message_seconds: 300,
            write_seconds: 20,
            stop_seconds: 10,
            close_at_release: false,
        }
    }
}

/// Somebody who may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its AE title.
    pub ae_title: String,
    /// The addresses it may call from; any, if there is none.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Where it listens for answers about storage commitment; without it, it cannot ask.
    #[serde(default)]
    pub commitment_address: Option<SocketAddr>,
    /// Whether it is answered there behind TLS, and whose certificate it has to have.
    #[serde(default)]
    pub commitment_tls: Option<tls::Client>,
}

/// A folder that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// What the journal calls it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether its files are only read, as on somebody's USB stick. Else those that were taken are moved to its folder `taken`,
    /// and others to `refused`.
    #[serde(default)]
    pub read_only: bool,
    /// A file is complete when size and time have not changed for as many seconds.
    #[serde(default = "two")]
    pub settle_seconds: u64,
}

fn two() -> u64 {
    2
}

/// The smallest bound on a PDU that every device can live with.
const LEAST_PDU_BYTES: u32 = 4096;
/// More than any device sends; memory for one PDU is taken for each association.
const MOST_PDU_BYTES: u32 = 4 << 20;

impl Config {
    /// Checks what a profile says.
    ///
    /// # Errors
    /// [`IntakeError::Setting`], naming what is wrong.
    pub fn check(&self) -> Result<(), IntakeError> {
        let wrong = |setting: &'static str, cause: String| Err(IntakeError::Setting { setting, cause });
        if !is_ae_title(&self.ae_title) {
            return wrong("ae_title", format!("{:?} is no AE title", self.ae_title));
        }
        if let Some(peer) = self.peers.iter().find(|peer| !is_ae_title(&peer.ae_title)) {
            return wrong("peers", format!("{:?} is no AE title", peer.ae_title));
        }
        if let Some(peer) =
            self.peers.iter().find(|peer| peer.commitment_tls.is_some() && peer.commitment_address.is_none())
        {
            return wrong("peers.commitment_tls", format!("{} has no commitment_address", peer.ae_title));
        }
        for (setting, list) in [("sop_classes", &self.sop_classes), ("transfer_syntaxes", &self.transfer_syntaxes)] {
            if let Some(text) = list.iter().find(|text| !uids::is_uid(text)) {
                return wrong(setting, format!("{text:?} is no UID"));
            }
            if list.is_empty() {
                return wrong(setting, "there is none".into());
            }
        }
        if !(LEAST_PDU_BYTES..=MOST_PDU_BYTES).contains(&self.most_pdu_bytes) {
            return wrong("most_pdu_bytes", format!("not from {LEAST_PDU_BYTES} to {MOST_PDU_BYTES}"));
        }
        if self.most_associations == 0 {
            return wrong("most_associations", "nobody could send anything".into());
        }
        let times = [
            ("association_seconds", self.association_seconds),
            ("idle_seconds", self.idle_seconds),
            ("message_seconds", self.message_seconds),
            ("write_seconds", self.write_seconds),
        ];
        match times.iter().find(|(_, seconds)| !(1..=86_400).contains(seconds)) {
            Some((setting, _)) => wrong(setting, "not from a second to a day".into()),
            None => Ok(()),
        }
    }

    /// Whether somebody at this address may call by this title.
    pub(crate) fn knows(&self, ae_title: &str, address: IpAddr) -> bool {
        self.accept_any_peer || self.peer(ae_title, address).is_some()
    }

    /// The peer that this is.
    pub(crate) fn peer(&self, ae_title: &str, address: IpAddr) -> Option<&Peer> {
        let address = address.to_canonical();
        self.peers.iter().find(|peer| {
            peer.ae_title == ae_title
                && (peer.addresses.is_empty() || peer.addresses.iter().any(|known| known.to_canonical() == address))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_cannot_work_is_refused_by_name() {
        Config::default().check().unwrap();
        let refused = |change: fn(&mut Config), setting: &str| {
            let mut config = Config::default();
            change(&mut config);
            let told = config.check().unwrap_err().to_string();
            assert!(told.contains(setting), "{told}");
        };
        refused(|config| config.ae_title = "A TITLE THAT IS TOO LONG".into(), "ae_title");
        refused(|config| config.ae_title = " THORAX".into(), "ae_title");
        refused(
            |config| {
                config.peers = vec![Peer {
                    ae_title: "A\\B".into(),
                    addresses: vec![],
                    commitment_address: None,
                    commitment_tls: None,
                }]
            },
            "peers",
        );
        refused(|config| config.sop_classes = vec!["../x".into()], "sop_classes");
        refused(|config| config.transfer_syntaxes.clear(), "transfer_syntaxes");
        refused(|config| config.most_pdu_bytes = 100, "most_pdu_bytes");
        refused(|config| config.most_associations = 0, "most_associations");
        refused(|config| config.idle_seconds = 0, "idle_seconds");
    }

    #[test]
    fn a_peer_is_known_by_title_and_address() {
        let cart = Peer {
            ae_title: "CART".into(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            commitment_address: None,
            commitment_tls: None,
        };
        let any = Peer { ae_title: "PACS".into(), addresses: vec![], commitment_address: None, commitment_tls: None };
        let mut config = Config { peers: vec![cart, any], ..Config::default() };
        let from = |text: &str| text.parse().unwrap();
        assert!(config.knows("CART", from("192.0.2.1")) && config.knows("CART", from("::ffff:192.0.2.1")));
        assert!(!config.knows("CART", from("192.0.2.2")) && !config.knows("cart", from("192.0.2.1")));
        assert!(config.knows("PACS", from("2001:db8::1")) && !config.knows("STRANGER", from("192.0.2.1")));
        config.accept_any_peer = true;
        assert!(config.knows("STRANGER", from("192.0.2.9")));
    }
}
