//! The port behind TLS: who listens to the network between the cart and the device sees nothing of a patient, and, where the site
//! has its own authority, only who has a certificate of it may call.
//!
//! This is the *non-downgrading BCP 195 TLS secure transport connection profile* of DICOM (PS3.15, B.10): TLS 1.3 or 1.2, nothing older,
//! and only cipher suites with forward secrecy and authenticated encryption, which are all that rustls has. A handshake has one
//! deadline for all of it, however its bytes come. A port speaks TLS or it does not: who calls without is refused.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};
use thorax_dimse::talk::Wire;

use crate::error::IntakeError;

/// What a device shows, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Its certificate in PEM, and behind it those that lead to the authority's.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Certificates in PEM of the authorities whose devices may call; without it, any may that the AE titles let in.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// What is ready for handshakes.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor(Arc<ServerConfig>);

fn wrong(setting: &'static str, path: &Path, cause: impl std::fmt::Display) -> IntakeError {
    IntakeError::Setting { setting, cause: format!("{}: {cause}", path.display()) }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IntakeError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(none) if none.is_empty() => Err(wrong(setting, path, "no certificate in it (PEM)")),
        read => read.map_err(|cause| wrong(setting, path, cause)),
    }
}

impl Acceptor {
    /// Reads certificates and key.
    pub(crate) fn new(tls: &Tls) -> Result<Self, IntakeError> {
        let chain = certificates("tls.certificate", &tls.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|cause| wrong("tls.key", &tls.key, cause))?;
        if fs::metadata(&tls.key).is_ok_and(|key| key.permissions().mode() & 0o077 != 0) {
            tracing::warn!(key = %tls.key.display(), "the private key can be read by others: chmod 600");
        }
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|cause| wrong("tls.certificate", &tls.certificate, cause))?;
        let config = match &tls.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let failed = |cause: &dyn std::fmt::Display| wrong("tls.client_ca", path, cause);
                let mut authorities = RootCertStore::empty();
                for certificate in certificates("tls.client_ca", path)? {
                    authorities.add(certificate).map_err(|cause| failed(&cause))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
                config.with_client_cert_verifier(verifier.build().map_err(|cause| failed(&cause))?)
            }
        };
        // Whether the key is the certificate's is seen here.
        let config = config.with_single_cert(chain, key).map_err(|cause| wrong("tls.key", &tls.key, cause))?;
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands on a connection, which has to be over within `time`.
    pub(crate) fn accept(&self, mut connection: TcpStream, time: Duration) -> io::Result<Secured> {
        let until = Instant::now() + time;
        let mut tls = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            if tls.wants_write() {
                tls.write_tls(&mut connection)?;
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake is too slow"));
            }
            connection.set_read_timeout(Some(left))?;
            // One read, so that the deadline is looked at between any two.
            match tls.read_tls(&mut connection) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake is too slow"));
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                // What is wrong is told as an alert.
                let _ = tls.write_tls(&mut connection);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        let mut secured = Secured(StreamOwned::new(tls, connection));
        // The last words of a handshake may still be here.
        secured.flush()?;
        Ok(secured)
    }
}

/// A connection behind TLS.
#[derive(Debug)]
pub(crate) struct Secured(StreamOwned<ServerConnection, TcpStream>);

impl Secured {
    /// Says that nothing more will come, as far as it can be said.
    pub(crate) fn end(mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
    }
}

impl Read for Secured {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            // DCMTK and others leave without a word.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Wire for Secured {
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_read_timeout(Some(timeout))
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_write_timeout(Some(timeout))
    }
}
