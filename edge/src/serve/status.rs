//! Two pages for those who watch over the device, on loopback: `/health` says whether it works, `/metrics` how much, in the text format
//! of Prometheus. Neither has anything of a patient's.
//!
//! Connections are few, short and slow at their own cost: whoever has not sent its request after some seconds is cut off.

use std::{
    fmt::Write as _,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::State as From,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::json;
use thorax_journal::{Counts, JournalError};
use tokio::sync::Semaphore;

use super::state::State;
use crate::report::peak_memory_mib;

/// As many may be connected at once.
const MOST_CONNECTIONS: usize = 32;
/// A request's head has to be there within this time,
const HEAD_TIME: Duration = Duration::from_secs(5);
/// and all be over within this.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// A head is no longer.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// Starts a thread that has the pages at `address`, and gives the address that it got. It ends with the process.
pub(super) fn start(address: SocketAddr, state: Arc<State>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    thread::Builder::new().name("status".into()).spawn(move || runtime.block_on(listen(listener, state)))?;
    Ok(address)
}

async fn listen(listener: TcpListener, state: Arc<State>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(reason) => return tracing::error!(%reason, "no status pages"),
    };
    let pages = Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(state);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // As when the process has no file handles left.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Whoever finds no place is cut off, and asks again.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let pages = TowerToHyperService::new(pages.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(MOST_HEAD_BYTES)
                .keep_alive(false);
            let conversation = http.serve_connection(TokioIo::new(stream), pages);
            let _ = tokio::time::timeout(CONNECTION_TIME, conversation).await;
            drop(place);
        });
    }
}

/// What needs the disk is asked on a thread of its own.
async fn asked(ask: impl FnOnce() -> Response + Send + 'static) -> Response {
    let answer = tokio::task::spawn_blocking(ask).await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn health(From(state): From<Arc<State>>) -> Response {
    asked(move || {
        let (code, text) = health_of(&state);
        (code, [(header::CONTENT_TYPE, "application/json")], text).into_response()
    })
    .await
}

async fn metrics(From(state): From<Arc<State>>) -> Response {
    let of_prometheus = "text/plain; version=0.0.4; charset=utf-8";
    asked(move || ([(header::CONTENT_TYPE, of_prometheus)], metrics_of(&state)).into_response()).await
}

/// `ok`, `degraded` (images are still taken, but somebody should look) or `down` (503).
fn health_of(state: &State) -> (StatusCode, String) {
    let counts = state.counts();
    let free = state.journal().and_then(|journal| journal.free_bytes().ok());
    let reserve = state.journal().map_or(0, |journal| journal.settings().reserve_bytes);
    let full = || free.filter(|free| *free < reserve).map(|free| JournalError::NoSpace { free, reserve }.to_string());
    let trouble = state.trouble().or_else(full);
    let (code, status) = match (&counts, &trouble) {
        (None, _) => (StatusCode::SERVICE_UNAVAILABLE, "down"),
        (Some(_), Some(_)) => (StatusCode::OK, "degraded"),
        (Some(_), None) => (StatusCode::OK, "ok"),
    };
    let health = json!({
        "status": status,
        "trouble": trouble,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": state.started.elapsed().as_secs(),
        "images_waiting": counts.map(|counts| counts.objects_waiting),
        "studies_waiting": counts.map(|counts| counts.studies_waiting + counts.studies_taken),
        "studies_finished": counts.map(|counts| counts.studies_finished),
        "studies_failed": counts.map(|counts| counts.studies_failed),
        "deliveries_waiting": counts.map(|counts| counts.deliveries_waiting),
        "disk_free_bytes": free,
        "heat": state.heat().map(|reading| json!({
            "state": reading.heat.as_str(),
            "zone": reading.hottest.as_ref().map(|(zone, _)| zone),
            "celsius": reading.hottest.as_ref().map(|(_, celsius)| celsius),
            "missing": reading.missing,
        })),
        "bundles": state.bundles(),
        "research_use_only": true,
    });
    (code, format!("{health}\n"))
}

/// Metrics in the text format of Prometheus, version 0.0.4.
fn metrics_of(state: &State) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
        let _ = writeln!(text, "# HELP thorax_{name} {help}\n# TYPE thorax_{name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "thorax_{name}{labels} {value}");
        }
    };
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    metric("info", "gauge", "The program.", &[(&version, 1.0)]);
    metric("uptime_seconds", "gauge", "Since the start.", &[("", state.started.elapsed().as_secs_f64())]);

    let came = state.tally.figures();
    for (name, help, value) in [
        ("connections_total", "Connections to the DICOM port.", came.connections),
        ("associations_total", "Associations that were accepted.", came.associations),
        ("associations_rejected_total", "Associations that were rejected: a stranger, or too many.", came.rejected),
        ("associations_aborted_total", "Associations that were ended before their release.", came.aborted),
        ("echoes_total", "C-ECHO.", came.echoes),
        ("images_accepted_total", "Images that are new.", came.accepted),
        ("images_duplicate_total", "Images that were there already.", came.duplicates),
        ("images_other_content_total", "Images whose UID another image has.", came.other_content),
        ("images_no_room_total", "Images for which there was no room.", came.no_room),
        ("images_refused_total", "Images that were refused for what they are.", came.refused),
        ("journal_reopened_total", "How often the journal was opened again after a failure.", state.reopened()),
    ] {
        metric(name, "counter", help, &[("", value as f64)]);
    }

    let screened = state.screened();
    let verdicts: Vec<(String, f64)> =
        screened.verdicts.iter().map(|(verdict, n)| (format!("{{verdict=\"{verdict}\"}}"), *n as f64)).collect();
    let verdicts: Vec<(&str, f64)> = verdicts.iter().map(|(label, n)| (label.as_str(), *n)).collect();
    metric("studies_read_total", "counter", "Studies that were read since the start.", &verdicts);
    metric("reading_seconds_total", "counter", "Time spent on them.", &[("", screened.time.as_secs_f64())]);

    metric(
        "journal_open",
        "gauge",
        "Whether the journal is open.",
        &[("", f64::from(u8::from(state.journal().is_some())))],
    );
    if let Some(counts) = state.counts() {
        let Counts {
            studies_waiting,
            objects_waiting,
            studies_taken,
            studies_finished,
            studies_failed,
            deliveries_waiting,
            deliveries_done,
            deliveries_given_up,
        } = counts;
        metric(
            "studies",
            "gauge",
            "Studies in the journal.",
            &[
                ("{state=\"waiting\"}", studies_waiting as f64),
                ("{state=\"taken\"}", studies_taken as f64),
                ("{state=\"finished\"}", studies_finished as f64),
                ("{state=\"failed\"}", studies_failed as f64),
            ],
        );
        metric("images_waiting", "gauge", "Images that wait to be read.", &[("", objects_waiting as f64)]);
        metric(
            "deliveries",
            "gauge",
            "Deliveries in the journal.",
            &[
                ("{state=\"waiting\"}", deliveries_waiting as f64),
                ("{state=\"delivered\"}", deliveries_done as f64),
                ("{state=\"given_up\"}", deliveries_given_up as f64),
            ],
        );
    }
    if let Some(free) = state.journal().and_then(|journal| journal.free_bytes().ok()) {
        metric("disk_free_bytes", "gauge", "Room on the disk of the data.", &[("", free as f64)]);
    }
    if let Some(mib) = peak_memory_mib() {
        let bytes = f64::from(mib) * f64::from(1 << 20);
        metric("peak_memory_bytes", "gauge", "Most memory so far.", &[("", bytes)]);
    }
    text
}
