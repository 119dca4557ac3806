//! STOW-RS (DICOM PS3.18, 10.5): an object is a POST of one part, `multipart/related; type="application/dicom"`, which streams from
//! its file. The answer is asked for as DICOM JSON, and counts by what it says of the instance, whatever the HTTP status.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{RootCertStore, pki_types::CertificateDer};
use thorax_files::hexadecimal;
use thorax_shared::reason::Reason;
use ureq::{
    Agent, SendBody,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{
    answers::{Answers, MOST_ANSWER_BYTES},
    config::Web,
    dicom::class_words,
    error::DeliveryError,
    meaning::{Meaning, words},
    part::Part,
    way::{Answer, Attempt, Failure, Lost, Stop, Told, Way},
};

/// No secret is longer.
const MOST_SECRET_BYTES: u64 = 64 << 10;
/// No headers of an answer are longer.
const MOST_HEADER_BYTES: usize = 16 << 10;
/// A connection that was not used for longer is not used again: the archive may have closed it.
const IDLE: Duration = Duration::from_secs(3);

/// An archive on the web.
pub(crate) struct WebWay {
    agent: Agent,
    /// Where objects are posted to.
    url: String,
    to: Web,
    stop: Stop,
    /// Held during an attempt, so that there is one at a time.
    turn: Mutex<()>,
}

impl WebWay {
    pub(crate) fn new(to: Web) -> Result<Self, DeliveryError> {
        let roots = match &to.ca_file {
            None => RootCerts::WebPki,
            Some(path) => authority(path)?,
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            // Statuses and redirections are told as what they are.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent("thorax")
            .max_response_header_size(MOST_HEADER_BYTES)
            .max_idle_age(IDLE)
            .timeout_resolve(seconds(to.connect_seconds))
            .timeout_connect(seconds(to.connect_seconds))
            .timeout_send_request(seconds(to.message_seconds))
            .timeout_send_body(seconds(to.message_seconds))
            .timeout_recv_response(seconds(to.message_seconds))
            .timeout_recv_body(seconds(to.message_seconds));
        let url = format!("{}/studies", to.url.trim_end_matches('/'));
        Ok(Self { agent: config.build().new_agent(), url, to, stop: Stop::default(), turn: Mutex::new(()) })
    }

    /// Who we are.
    fn authorization(&self) -> Result<Option<String>, Failure> {
        let secret = |path: &Path| {
            let read = || -> io::Result<String> {
                let mut text = String::new();
                File::open(path)?.take(MOST_SECRET_BYTES).read_to_string(&mut text)?;
                let text = text.trim_end_matches(['\r', '\n']);
                match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.is_empty() {
                    true => Ok(text.to_owned()),
                    false => Err(io::Error::other("not one line of ASCII")),
                }
            };
            read().map_err(|reason| {
                Failure::Peer(Reason::new(
                    format!("no password or token in {} ({reason})", path.display()),
                    "put it there, readable for this program",
                ))
            })
        };
        Ok(match (&self.to.user, &self.to.password_file, &self.to.token_file) {
            (_, _, Some(token)) => Some(format!("Bearer {}", secret(token)?)),
            (Some(user), Some(password), _) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", secret(password)?))))
            }
            _ => None,
        })
    }

    fn post(&self, part: &Part, authorization: Option<&str>) -> Result<Answer, Failure> {
        let (mut body, boundary) = Body::of(part, &self.stop).map_err(|reason| {
            Failure::Broken(Reason::new(format!("an object cannot be read ({reason})"), "check the disk"))
        })?;
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", format!("multipart/related; type=\"application/dicom\"; boundary={boundary}"))
            .header("Content-Length", body.bytes.to_string())
            .header("Accept", "application/dicom+json");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let response = request.send(SendBody::from_reader(&mut body));
        let begun = body.begun;
        let mut response = response.map_err(|error| self.failed(&error, begun))?;
        let status = response.status().as_u16();
        let kind = response.headers().get("Content-Type").and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("no format").to_owned();
        let is_json = kind.contains("json");
        let bytes = response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_vec();
        // With 409, all have failed; with 202, some may have. Archives that say other things of an instance mean it as well.
        let said = match (status, bytes) {
            (200 | 202 | 409 | 400 | 500, Ok(bytes)) if is_json => {
                Answers::read(&bytes).map_err(|error| error.to_string())
            }
            (200 | 202 | 409, Err(error)) => return Err(self.failed(&error, true)),
            _ => Err(format!("in {kind}")),
        };
        let known = said.as_ref().ok().and_then(|answers| answers.status(&part.what.sop_instance_uid));
        match known {
            Some(status) => self.judged(part, status),
            None => self.by_status(part, status, said.err()),
        }
    }

    /// By what the archive says of the instance.
    fn judged(&self, part: &Part, status: u16) -> Result<Answer, Failure> {
        match Meaning::of(status) {
            Meaning::Has => Ok(Answer::Has),
            Meaning::Later => Err(Failure::Peer(Reason::new(
                format!("{} has no room ({})", self.to.url, words(status)),
                "make room in the archive; it is tried again",
            ))),
            Meaning::Refused => {
                let cause =
                    format!("the archive refuses {} ({})", class_words(&part.what.sop_class_uid), words(status));
                Ok(Answer::Refused(Reason::new(cause, "see the archive's log, then send again")))
            }
        }
    }

    /// By the HTTP status, where nothing is said of the instance.
    fn by_status(&self, part: &Part, status: u16, unread: Option<String>) -> Result<Answer, Failure> {
        let peer = |cause: &str, remedy: &'static str| {
            Err(Failure::Peer(Reason::new(format!("{} {cause} (HTTP status {status})", self.to.url), remedy)))
        };
        match status {
            400 | 406 | 409 | 410 | 411 | 413 | 415 | 422 => {
                let class = class_words(&part.what.sop_class_uid);
                let cause = format!("the archive refuses {class} (HTTP status {status})");
                Ok(Answer::Refused(Reason::new(cause, "see the archive's log, then send again")))
            }
            401 | 403 | 407 => peer("does not know us", "check user, password or token, and that they may store"),
            300..=399 => peer("is elsewhere", "enter the address that it redirects to in the board's profile"),
            404 | 405 | 501 => {
                peer("is no place to store", "check the address of the DICOMweb service in the board's profile")
            }
            408 | 425 | 429 | 500..=599 => peer("cannot take it now", "see the archive's log; it is tried again"),
            _ => {
                let why =
                    unread.map_or("the instance is not in its answer".to_owned(), |why| format!("its answer is {why}"));
                Err(Failure::Broken(Reason::new(
                    format!("{} does not say what it has stored (HTTP status {status}; {why})", self.to.url),
                    "check that a DICOMweb service is there, which answers in application/dicom+json",
                )))
            }
        }
    }

    /// The conversation failed. `begun`: whether the object was being sent, or had been.
    fn failed(&self, error: &ureq::Error, begun: bool) -> Failure {
        if self.stop.is_stopping() {
            return Failure::Stopping;
        }
        let url = &self.to.url;
        let untrusted = match error {
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => true,
            // Where the handshake failed in a read or a write.
            ureq::Error::Io(reason) => reason.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
            _ => false,
        };
        if untrusted {
            return Failure::Peer(Reason::new(
                format!("{url} cannot be trusted ({error})"),
                "check the authority's certificate in the board's profile, and this device's date",
            ));
        }
        if begun {
            return Failure::Broken(Reason::new(
                format!("{url} broke off ({error})"),
                "see the archive's log; what it has not answered is sent again, the same objects under the same UIDs",
            ));
        }
        Failure::Peer(Reason::new(
            format!("cannot reach {url} ({error})"),
            "check that the archive is running, the network, and its address in the board's profile",
        ))
    }
}

impl Way for WebWay {
    fn attempt(&self, attempt: &Attempt<'_>, told: Told<'_>) -> Result<Vec<Lost>, Failure> {
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let authorization = self.authorization()?;
        for part in attempt.missing {
            if self.stop.is_stopping() {
                return Err(Failure::Stopping);
            }
            told(part, self.post(part, authorization.as_deref())?)?;
        }
        Ok(vec![])
    }

    fn stop(&self, at_once: bool) {
        self.stop.stop(at_once);
    }
}

/// The certificates of a site's own authority.
fn authority(path: &Path) -> Result<RootCerts, DeliveryError> {
    let wrong = |cause: String| DeliveryError::Authority { path: path.to_owned(), cause };
    let pem = fs::read(path).map_err(|reason| wrong(reason.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = vec![];
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            // Whether it can be an authority's is looked at now, and not when the first result is to be sent.
            let der = CertificateDer::from_slice(certificate.der());
            RootCertStore::empty().add(der).map_err(|error| wrong(error.to_string()))?;
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(wrong("none in it".into())) } else { Ok(RootCerts::new_with_certs(&certificates)) }
}

/// The body of a request: the head of its one part, the file, the end.
struct Body<'s> {
    head: io::Cursor<Vec<u8>>,
    file: io::Take<File>,
    end: io::Cursor<Vec<u8>>,
    bytes: u64,
    /// Whether anything of it was taken.
    begun: bool,
    stop: &'s Stop,
}

impl<'s> Body<'s> {
    fn of(part: &Part, stop: &'s Stop) -> io::Result<(Self, String)> {
        // No file holds its own hash.
        let boundary = format!("thorax-{}", &hexadecimal(&part.sha256)[..56]);
        let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n").into_bytes();
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        let bytes = head.len() as u64 + part.bytes + end.len() as u64;
        let file = part.file()?.take(part.bytes);
        let (head, end) = (io::Cursor::new(head), io::Cursor::new(end));
        Ok((Self { head, file, end, bytes, begun: false, stop }, boundary))
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_at_once() {
            return Err(io::Error::other("the device stops"));
        }
        self.begun = true;
        for part in [&mut self.head as &mut dyn Read, &mut self.file, &mut self.end] {
            match part.read(out)? {
                0 => {}
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}
