//! Associations behind TLS: who listens to the network between two devices sees nothing of a patient, and, where the site has its own
//! authority, only who has a certificate of it may call, and only who has one is called.
//!
//! This is the *non-downgrading BCP 195 TLS secure transport connection profile* of DICOM (PS3.15, B.10): TLS 1.3 or 1.2, nothing older,
//! and only cipher suites with forward secrecy and authenticated encryption, which are all that rustls has. A handshake has one
//! deadline for all of it, however its bytes come. A port speaks TLS or it does not: who calls without is refused, and where we call with it,
//! nothing is said without.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    ops::DerefMut,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};

use crate::talk::Wire;

/// What a port shows, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its certificate in PEM, and behind it those that lead to the authority's.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// Certificates in PEM of the authorities whose devices may call; without it, any may that the AE titles let in.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl Server {
    /// The files that it names.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.certificate, &mut self.key].into_iter().chain(&mut self.client_ca)
    }
}

/// Whom a caller believes, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Certificates in PEM of the authorities that the peer's certificate has to be of.
    pub ca: PathBuf,
    /// The name in the peer's certificate, where it is not the host that is called.
    #[serde(default)]
    pub name: Option<String>,
    /// Our certificate in PEM, where the peer asks for one, and behind it those that lead to the authority's.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl Client {
    /// The files that it names.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        std::iter::once(&mut self.ca).chain(&mut self.certificate).chain(&mut self.key)
    }
}

/// Why there can be no handshake: a setting, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {cause}")]
pub struct TlsError {
    /// Its name, such as `tls.key`.
    pub setting: &'static str,
    /// With the file's name.
    pub cause: String,
}

fn wrong(setting: &'static str, path: &Path, cause: impl std::fmt::Display) -> TlsError {
    TlsError { setting, cause: format!("{}: {cause}", path.display()) }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(none) if none.is_empty() => Err(wrong(setting, path, "no certificate in it (PEM)")),
        read => read.map_err(|cause| wrong(setting, path, cause)),
    }
}

fn authorities(setting: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(setting, path)? {
        authorities.add(certificate).map_err(|cause| wrong(setting, path, cause))?;
    }
    Ok(authorities)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_file(path).map_err(|cause| wrong("tls.key", path, cause))?;
    if fs::metadata(path).is_ok_and(|key| key.permissions().mode() & 0o077 != 0) {
        tracing::warn!(key = %path.display(), "the private key can be read by others: chmod 600");
    }
    Ok(key)
}

/// Nothing older (PS3.15, B.10).
static VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// What is ready to be called.
#[derive(Clone, Debug)]
pub struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(tls: &Server) -> Result<Self, TlsError> {
        let chain = certificates("tls.certificate", &tls.certificate)?;
        let key = private_key(&tls.key)?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&VERSIONS)
            .map_err(|cause| wrong("tls.certificate", &tls.certificate, cause))?;
        let config = match &tls.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let known = Arc::new(authorities("tls.client_ca", path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(known, provider).build();
                config.with_client_cert_verifier(verifier.map_err(|cause| wrong("tls.client_ca", path, cause))?)
            }
        };
        // Whether the key is the certificate's is seen here.
        let config = config.with_single_cert(chain, key).map_err(|cause| wrong("tls.key", &tls.key, cause))?;
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands on a connection, which has to be over within `time`.
    ///
    /// # Errors
    /// How it ended.
    pub fn accept(&self, connection: TcpStream, time: Duration) -> io::Result<Secured<ServerConnection>> {
        let tls = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        shake_hands(tls, connection, time)
    }
}

/// What is ready to call.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

impl Connector {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(tls: &Client) -> Result<Self, TlsError> {
        let known = authorities("tls.ca", &tls.ca)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&VERSIONS)
            .map_err(|cause| wrong("tls.ca", &tls.ca, cause))?
            .with_root_certificates(known);
        let config = match (&tls.certificate, &tls.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls.certificate", certificate)?;
                config.with_client_auth_cert(chain, private_key(key)?).map_err(|cause| wrong("tls.key", key, cause))?
            }
            (Some(one), None) | (None, Some(one)) => {
                return Err(wrong("tls.certificate", one, "a certificate and its key go together"));
            }
        };
        if let Some(name) = &tls.name
            && ServerName::try_from(name.clone()).is_err()
        {
            return Err(TlsError { setting: "tls.name", cause: format!("{name:?} is no name of a host") });
        }
        Ok(Self { config: Arc::new(config), name: tls.name.clone() })
    }

    /// Shakes hands with `host`, which has to be over within `time`.
    ///
    /// # Errors
    /// How it ended.
    pub fn connect(&self, host: &str, connection: TcpStream, time: Duration) -> io::Result<Secured<ClientConnection>> {
        let name = self.name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
        let tls = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        shake_hands(tls, connection, time)
    }
}

fn shake_hands<C, S>(mut tls: C, mut connection: TcpStream, time: Duration) -> io::Result<Secured<C>>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    let until = Instant::now() + time;
    let writes = connection.write_timeout()?;
    let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "the handshake is too slow");
    while tls.is_handshaking() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(too_slow());
        }
        if tls.wants_write() {
            connection.set_write_timeout(Some(left))?;
            tls.write_tls(&mut connection)?;
            continue;
        }
        connection.set_read_timeout(Some(left))?;
        // One read, so that the deadline is looked at between any two.
        match tls.read_tls(&mut connection) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(too_slow()),
            Err(error) => return Err(error),
        }
        if let Err(error) = tls.process_new_packets() {
            // What is wrong is told as an alert.
            let _ = tls.write_tls(&mut connection);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    connection.set_write_timeout(writes)?;
    let mut secured = Secured(StreamOwned::new(tls, connection));
    // The last words of a handshake may still be here.
    secured.flush()?;
    Ok(secured)
}

/// A connection behind TLS.
#[derive(Debug)]
pub struct Secured<C>(StreamOwned<C, TcpStream>);

impl<C, S> Secured<C>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    /// Says that nothing more will come, as far as it can be said.
    pub fn end(mut self) {
        self.0.conn.send_close_notify();
        let _ = self.0.flush();
    }
}

impl<C, S> Read for Secured<C>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            // DCMTK and others leave without a word.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl<C, S> Write for Secured<C>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<C, S> Wire for Secured<C>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_read_timeout(Some(timeout))
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_write_timeout(Some(timeout))
    }
}
