//! Connections: TLS where there is a certificate, few at a time from anybody, and slow only at their own cost.
//!
//! Whoever does not send the head of a request, or the body of one, within some seconds is cut off, and every connection ends after
//! some minutes. One address has no more than its share of the places, so that a client that opens many and says nothing keeps
//! nobody else out.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Appliance, PageError,
    answer::{Page, Peer, answer},
    config::Config,
};

/// As many may be connected at once,
const MOST_CONNECTIONS: usize = 64;
/// and as many of these from one address.
const MOST_OF_AN_ADDRESS: usize = 12;
/// TLS has to be agreed on within this time,
const TLS_TIME: Duration = Duration::from_secs(10);
/// and the head of a request, or of the next one, be there within this;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// a connection ends after this.
const CONNECTION_TIME: Duration = Duration::from_secs(180);
/// A head is no longer.
const MOST_HEAD_BYTES: usize = 16 << 10;
/// Threads that ask the journal and check passwords.
const MOST_THREADS: usize = 8;

/// Starts threads that serve the page, and gives the address that it got. They end with the process.
///
/// # Errors
/// [`PageError`].
pub fn start(config: &Config, appliance: Arc<dyn Appliance>) -> Result<SocketAddr, PageError> {
    config.check()?;
    let acceptor = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
        _ => None,
    };
    let page = Arc::new(Page::new(config, acceptor.is_some(), appliance)?);
    let refused = |reason| PageError::Listen { address: config.address, reason };
    let listener = std::net::TcpListener::bind(config.address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MOST_THREADS)
        .build()
        .map_err(PageError::Start)?;
    let serve = move || runtime.block_on(listen(listener, acceptor, page));
    thread::Builder::new().name("page".into()).spawn(serve).map_err(PageError::Start)?;
    Ok(address)
}

/// What agrees on TLS with browsers: 1.2 or 1.3, with the suites of rustls.
fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, PageError> {
    let read = |file: &Path| fs::read(file).map_err(|reason| PageError::Read { file: file.to_owned(), reason });
    let wrong = |file: &Path, evidence: String| PageError::Tls { file: file.to_owned(), evidence };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "no certificate in it".into()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| wrong(key, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Places that are taken, by address.
type Places = Mutex<HashMap<IpAddr, usize>>;

/// A place at the table; given back when dropped.
struct Place(Arc<Places>, IpAddr);

impl Place {
    fn take(places: &Arc<Places>, address: IpAddr) -> Option<Self> {
        let mut taken = places.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= MOST_CONNECTIONS {
            return None;
        }
        let of_address = taken.entry(address).or_default();
        if *of_address >= MOST_OF_AN_ADDRESS {
            return None;
        }
        *of_address += 1;
        Some(Self(places.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = taken.get_mut(&self.1) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.remove(&self.1);
            }
        }
    }
}

async fn listen(listener: std::net::TcpListener, acceptor: Option<TlsAcceptor>, page: Arc<Page>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(reason) => return tracing::error!(%reason, "no page"),
    };
    let pages = Router::new().fallback(answer).with_state(page);
    let places = Arc::new(Places::default());
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // As when the process has no file handles left.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let address = peer.ip().to_canonical();
        // Whoever finds no place is cut off, and asks again.
        let Some(place) = Place::take(&places, address) else { continue };
        let pages = pages.clone().layer(Extension(Peer(address)));
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION_TIME, converse(stream, acceptor, pages)).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, pages: Router) {
    let Some(acceptor) = acceptor else { return speak_http(stream, pages).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_TIME, acceptor.accept(stream)).await {
        speak_http(stream, pages).await;
    }
}

async fn speak_http(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, pages: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MOST_HEAD_BYTES);
    let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages)).await;
}
