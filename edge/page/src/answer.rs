//! The one way that every request goes: what does it ask for, who asks, may they, and was the form made for them; then a line of
//! the audit, then the view.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use maud::Markup;
use thorax_files::sha256_of;
use thorax_journal::{AuditEvent, Journal, JournalError};
use thorax_shared::{
    reason::Reason,
    words::{Language, Word},
};
use tokio::sync::Semaphore;

use crate::{
    Appliance, PageError,
    config::Config,
    facts::{Facts, Who},
    limits::Attempts,
    printed,
    request::{self, Done, Form, MOST_FORM_BYTES, Route},
    secret,
    sessions::{Session, Sessions},
    users::{self, Role, User},
    views::{self, Listed, Shell},
};

/// A form has to be there within this time.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Passwords that are checked at a time, 19 MiB of memory each, and how long others wait for their turn.
const PASSWORDS_AT_A_TIME: usize = 2;
const PASSWORD_TIME: Duration = Duration::from_secs(10);
/// Studies on a page of the list, and studies that are looked at for it.
const STUDIES_OF_A_PAGE: usize = 25;
const MOST_LOOKED_AT: usize = 5000;
/// What readers may say of one study.
const MOST_FEEDBACK: usize = 100;

/// Nothing is loaded but our own pictures and style, nothing runs, and forms go nowhere else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// A printable page brings all that it needs.
const PRINTED_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// All that answers need.
#[derive(Debug)]
pub(crate) struct Page {
    users: PathBuf,
    language: Language,
    /// Whether connections are TLS.
    secure: bool,
    sessions: Sessions,
    attempts: Attempts,
    passwords: Semaphore,
    nobody: User,
    appliance: Arc<dyn Appliance>,
}

/// Why a request is not answered as it wishes.
enum Refusal {
    NotFound,
    Method,
    NotAllowed,
    BadRequest,
    TooLarge,
    TooManyAttempts,
    /// Somebody has to log in first.
    LogIn,
    TryLater(String),
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Unknown { .. } => Self::NotFound,
            JournalError::WrongState { .. } => Self::BadRequest,
            error => Self::TryLater(error.to_string()),
        }
    }
}

impl From<PageError> for Refusal {
    fn from(error: PageError) -> Self {
        Self::TryLater(error.to_string())
    }
}

type Answer = Result<Response, Refusal>;

/// Answers a request.
pub(crate) async fn answer(
    State(page): State<Arc<Page>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let language = page.language_of(&parts.headers);
    let read = async {
        let body = if parts.method == Method::POST { read_form(&parts.headers, body).await? } else { Bytes::new() };
        let is_login = parts.method == Method::POST && parts.uri.path() == "/login";
        let turn = match is_login {
            false => None,
            true => match tokio::time::timeout(PASSWORD_TIME, page.passwords.acquire()).await {
                Ok(Ok(turn)) => Some(turn),
                _ => return Err(Refusal::TooManyAttempts),
            },
        };
        let asked = page.clone();
        // What needs the disk or a password is asked on a thread of its own.
        let answered = tokio::task::spawn_blocking(move || {
            let asking = Asking { page: &asked, peer, language, parts: &parts, body: &body };
            asking.answer().unwrap_or_else(|refusal| asking.refuse(refusal))
        });
        let answered = answered.await.map_err(|error| Refusal::TryLater(error.to_string()));
        drop(turn);
        answered
    };
    let response = read.await.unwrap_or_else(|refusal| refused(&Shell::outside(language), refusal));
    sealed(response)
}

async fn read_form(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|bytes| bytes > MOST_FORM_BYTES as u64) {
        return Err(Refusal::TooLarge);
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(body, MOST_FORM_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::BadRequest),
    }
}

/// Headers that every answer has.
fn sealed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn html(status: StatusCode, markup: Markup) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

fn to(place: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, place.to_owned())]).into_response()
}

fn refused(shell: &Shell<'_>, refusal: Refusal) -> Response {
    let (status, word) = match refusal {
        Refusal::LogIn => return to("/login"),
        Refusal::NotFound => (StatusCode::NOT_FOUND, Word::NotFound),
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, Word::BadRequest),
        Refusal::NotAllowed => (StatusCode::FORBIDDEN, Word::NotAllowed),
        Refusal::BadRequest => (StatusCode::BAD_REQUEST, Word::BadRequest),
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Word::BadRequest),
        Refusal::TooManyAttempts => (StatusCode::TOO_MANY_REQUESTS, Word::TooManyAttempts),
        Refusal::TryLater(why) => {
            tracing::warn!(why, "a page could not be shown");
            (StatusCode::SERVICE_UNAVAILABLE, Word::TryLater)
        }
    };
    let mut response = html(status, views::message(shell, word));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

impl Page {
    pub(crate) fn new(config: &Config, secure: bool, appliance: Arc<dyn Appliance>) -> Result<Self, PageError> {
        if users::read(&config.users)?.is_empty() {
            tracing::warn!(file = %config.users.display(), "the page has no users: add one with `thorax-edge page user add`");
        }
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Ok(Self {
            users: config.users.clone(),
            language: config.language,
            secure,
            sessions: Sessions::new(minutes(config.session_minutes), minutes(60 * config.session_hours)),
            attempts: Attempts::default(),
            passwords: Semaphore::new(PASSWORDS_AT_A_TIME),
            nobody: users::nobody()?,
            appliance,
        })
    }

    /// A cookie's name: a browser takes `__Host-` from this host alone, over TLS alone, for all of it.
    fn cookie_name(&self, name: &str) -> String {
        format!("{}thorax-{name}", if self.secure { "__Host-" } else { "" })
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        request::cookie(texts, &self.cookie_name(name))
    }

    /// Gives the browser a cookie, or takes it away; `value` is ours, never a visitor's.
    fn set_cookie(&self, response: &mut Response, name: &str, value: Option<&str>) {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = if value.is_none() { "; Max-Age=0" } else { "" };
        let (name, value) = (self.cookie_name(name), value.unwrap_or_default());
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }

    fn language_of(&self, headers: &HeaderMap) -> Language {
        self.cookie(headers, "language").and_then(Language::of_code).unwrap_or(self.language)
    }
}

/// A request that is being answered.
struct Asking<'a> {
    page: &'a Page,
    peer: IpAddr,
    language: Language,
    parts: &'a Parts,
    body: &'a [u8],
}

/// Somebody who is logged in.
struct Visitor {
    token: String,
    session: Session,
}

impl Asking<'_> {
    fn answer(&self) -> Answer {
        let uri = &self.parts.uri;
        let route = Route::parse(uri.path(), uri.query()).ok_or(Refusal::NotFound)?;
        let is_post = match self.parts.method {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => return Err(Refusal::Method),
        };
        let posted = matches!(route, Route::Feedback(_) | Route::Logout | Route::Install | Route::RollBack);
        if is_post != posted && route != Route::Login {
            return Err(Refusal::Method);
        }
        match route {
            Route::Style => return Ok(style()),
            Route::Language(language) => {
                let mut response = to("/");
                self.page.set_cookie(&mut response, "language", Some(language.code()));
                return Ok(response);
            }
            Route::Login if is_post => return self.log_in(),
            Route::Login => return self.login_form(StatusCode::OK, None),
            _ => {}
        }
        let visitor = self.visitor()?.ok_or(Refusal::LogIn)?;
        let form = if is_post { self.form(&visitor.token)? } else { Form::default() };
        let journal = self.journal()?;
        self.answer_visitor(&visitor, route, &form, &journal)
    }

    /// Answers somebody who is logged in, and whose form, if it is one, was made for them.
    fn answer_visitor(&self, visitor: &Visitor, route: Route, form: &Form, journal: &Journal) -> Answer {
        let Visitor { token, session } = visitor;
        let is_reader = session.role == Role::Reader;
        let of_readers = matches!(route, Route::Feedback(_) | Route::Agreement);
        let of_technicians = matches!(route, Route::Bundles(_) | Route::Install | Route::RollBack);
        if of_readers && !is_reader || of_technicians && is_reader {
            return Err(Refusal::NotAllowed);
        }
        let audit = |event, study| -> Result<(), Refusal> {
            Ok(journal.write_audit(Some(&session.name), &self.peer.to_string(), event, study)?)
        };
        let shell = self.shell(Some(visitor));
        match route {
            Route::Style | Route::Language(_) | Route::Login => Err(Refusal::NotFound),
            Route::Logout => {
                self.page.sessions.end(token);
                let mut response = to("/login");
                self.page.set_cookie(&mut response, "session", None);
                audit(AuditEvent::Logout, None)?;
                Ok(response)
            }
            Route::List { before, verdict } => {
                let of = |result: Option<&str>| verdict.is_none_or(|verdict| result == Some(verdict));
                let (found, next) = journal.studies_before(
                    before.unwrap_or(u64::MAX),
                    STUDIES_OF_A_PAGE,
                    MOST_LOOKED_AT,
                    |_, result| of(result.map(|result| result.summary.verdict.as_str())),
                )?;
                let listed = found.into_iter().map(|(number, study, result)| {
                    let who = Who::of(journal, &journal.objects_of(number)?);
                    Ok(Listed { number, study, result, who })
                });
                let listed: Vec<Listed> = listed.collect::<thorax_journal::Result<_>>()?;
                audit(AuditEvent::ListSeen, None)?;
                Ok(html(StatusCode::OK, views::list(&shell, &listed, before, verdict, next)))
            }
            Route::Study { study, saved } => {
                let facts = Facts::gather(journal, study)?;
                self.page.sessions.turns_to(token, study);
                audit(AuditEvent::StudySeen, Some(study))?;
                Ok(html(StatusCode::OK, views::study(&shell, &facts, saved)))
            }
            Route::Feedback(study) => {
                let (opinion, note) = request::feedback(form).ok_or(Refusal::BadRequest)?;
                if journal.feedback_of(study)?.len() >= MOST_FEEDBACK {
                    return Err(Refusal::BadRequest);
                }
                journal.add_feedback(study, &session.name, opinion, &note)?;
                audit(AuditEvent::Feedback, Some(study))?;
                Ok(to(&format!("/study/{study}?saved")))
            }
            Route::Print(study) => {
                let facts = Facts::gather(journal, study)?;
                let label = "page.html".to_owned();
                let page = printed::page(&facts, journal, self.language).map_err(Refusal::TryLater)?;
                audit(AuditEvent::Download { label }, Some(study))?;
                let headers = [
                    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                    (header::CONTENT_SECURITY_POLICY, PRINTED_POLICY),
                ];
                Ok((headers, page).into_response())
            }
            Route::Record(study) => {
                let record = journal.study_as_json(study)?;
                audit(AuditEvent::Download { label: "record.json".into() }, Some(study))?;
                Ok(download(&format!("study-{study}.json"), "application/json", format!("{record:#}\n").into_bytes()))
            }
            Route::File { study, place, download: keep } => {
                let file = journal
                    .result(study)?
                    .and_then(|mut result| (place < result.files.len()).then(|| result.files.swap_remove(place)));
                let file = file.ok_or(Refusal::NotFound)?;
                let kind = match file.label.rsplit_once('.') {
                    Some((_, "png")) => "image/png",
                    Some((_, "dcm")) => "application/dicom",
                    Some((_, "json")) => "application/json",
                    _ => "application/octet-stream",
                };
                if !keep && kind != "image/png" {
                    return Err(Refusal::NotFound);
                }
                let bytes = journal.read_file(&file.sha256)?;
                if keep {
                    audit(AuditEvent::Download { label: file.label.clone() }, Some(study))?;
                    return Ok(download(&format!("study-{study}-{}", file.label), kind, bytes));
                }
                // The picture of a page that was just shown is in its line of the audit; one that is called up alone has its own.
                if self.page.sessions.turns_to(token, study) {
                    audit(AuditEvent::StudySeen, Some(study))?;
                }
                Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
            }
            Route::Agreement => Ok(html(StatusCode::OK, views::agreement(&shell, &journal.agreement()?))),
            Route::Status => {
                let status = views::Status {
                    counts: journal.counts()?,
                    outbox: journal.outbox()?,
                    disk_free_bytes: journal.free_bytes()?,
                    disk_reserve_bytes: journal.settings().reserve_bytes,
                    trouble: self.page.appliance.trouble(),
                    bundles: self.page.appliance.bundles(),
                };
                Ok(html(StatusCode::OK, views::status(&shell, &status)))
            }
            Route::Bundles(done) => Ok(self.bundles(&shell, StatusCode::OK, done, None)),
            // Who did it stands in the journal's events, which the device notes itself.
            Route::Install => {
                let sha256 = sha256_of(form.field("sha256")).ok_or(Refusal::BadRequest)?;
                match self.page.appliance.install(&sha256, &session.name) {
                    Ok(()) => Ok(to("/bundles?installed")),
                    Err(why) => Ok(self.bundles(&shell, StatusCode::CONFLICT, None, Some(&why))),
                }
            }
            Route::RollBack => {
                let (modality, why) = request::roll_back(form).ok_or(Refusal::BadRequest)?;
                match self.page.appliance.roll_back(modality, &why, &session.name) {
                    Ok(()) => Ok(to("/bundles?taken-back")),
                    Err(why) => Ok(self.bundles(&shell, StatusCode::CONFLICT, None, Some(&why))),
                }
            }
        }
    }

    fn bundles(&self, shell: &Shell<'_>, status: StatusCode, done: Option<Done>, why: Option<&Reason>) -> Response {
        let appliance = &self.page.appliance;
        html(status, views::bundles(shell, &appliance.installed(), &appliance.offered(), done, why))
    }

    fn shell(&self, visitor: Option<&Visitor>) -> Shell<'_> {
        let who = visitor
            .map(|visitor| (visitor.session.name.clone(), visitor.session.role, secret::form_token(&visitor.token)));
        Shell { language: self.language, path: self.parts.uri.path(), who }
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        let visitor = self.visitor().ok().flatten();
        refused(&self.shell(visitor.as_ref()), refusal)
    }

    fn journal(&self) -> Result<Arc<Journal>, Refusal> {
        self.page.appliance.journal().ok_or_else(|| Refusal::TryLater("the journal is being opened".into()))
    }

    fn visitor(&self) -> Result<Option<Visitor>, Refusal> {
        let token = self.page.cookie(&self.parts.headers, "session").filter(|token| request::is_token(token));
        let Some(token) = token else { return Ok(None) };
        let session = self.page.sessions.find(token, &users::read(&self.page.users)?, Instant::now());
        Ok(session.map(|session| Visitor { token: token.to_owned(), session }))
    }

    /// The form that was sent, if it is one that was made for the holder of `cookie`, on a page of ours.
    fn form(&self, cookie: &str) -> Result<Form, Refusal> {
        let text = |name: header::HeaderName| self.parts.headers.get(name).and_then(|value| value.to_str().ok());
        let fetch_site = text(header::HeaderName::from_static("sec-fetch-site"));
        let own = request::is_own_site(text(header::ORIGIN), fetch_site, text(header::HOST));
        let form = Form::parse(self.body).filter(|_| own).ok_or(Refusal::BadRequest)?;
        let made_for_them = secret::same(form.field("token"), &secret::form_token(cookie));
        made_for_them.then_some(form).ok_or(Refusal::BadRequest)
    }

    /// The form to log in. Its cookie is of no session, and of no use for one.
    fn login_form(&self, status: StatusCode, told: Option<Word>) -> Answer {
        if self.visitor()?.is_some() {
            return Ok(to("/"));
        }
        let known = self.page.cookie(&self.parts.headers, "login").filter(|token| request::is_token(token));
        let cookie = known.map_or_else(secret::token, |known| Ok(known.to_owned()))?;
        let form = views::login(&self.shell(None), &secret::form_token(&cookie), told);
        let mut response = html(status, form);
        self.page.set_cookie(&mut response, "login", Some(&cookie));
        Ok(response)
    }

    fn log_in(&self) -> Answer {
        let cookie = self.page.cookie(&self.parts.headers, "login").filter(|token| request::is_token(token));
        let form = self.form(cookie.ok_or(Refusal::BadRequest)?)?;
        let (name, password) = (form.field("name").trim().to_ascii_lowercase(), form.field("password"));
        // All that is no name has one name.
        let name = if users::is_name(&name) { name } else { String::new() };
        if !self.page.attempts.take(self.peer, &name, Instant::now()) {
            tracing::warn!(peer = %self.peer, "too many attempts to log in");
            let mut response = self.login_form(StatusCode::TOO_MANY_REQUESTS, Some(Word::TooManyAttempts))?;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
            return Ok(response);
        }
        let (users, journal) = (users::read(&self.page.users)?, self.journal()?);
        let known = users.iter().find(|user| user.name == name);
        // Whether there is such a user is not told by the answer, nor by how long it takes.
        let right = known.unwrap_or(&self.page.nobody).has_password(password);
        let account = known.map(|user| user.name.as_str());
        let peer = self.peer.to_string();
        let Some(user) = known.filter(|_| right && password.len() <= users::MOST_PASSWORD_BYTES) else {
            journal.write_audit(account, &peer, AuditEvent::LoginFailed, None)?;
            tracing::warn!(%peer, "login failed");
            return self.login_form(StatusCode::FORBIDDEN, Some(Word::LoginFailed));
        };
        self.page.attempts.put_back(self.peer, &name);
        journal.write_audit(account, &peer, AuditEvent::Login, None)?;
        // Whoever was logged in here before is so no more.
        if let Some(old) = self.page.cookie(&self.parts.headers, "session") {
            self.page.sessions.end(old);
        }
        let token = self.page.sessions.begin(user, Instant::now())?;
        let mut response = to("/");
        self.page.set_cookie(&mut response, "session", Some(&token));
        self.page.set_cookie(&mut response, "login", None);
        Ok(response)
    }
}

fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=3600")];
    (headers, include_str!("page.css")).into_response()
}

/// A file to be kept. Its name is made of a number and a label of ours; whatever else were in it is left out.
fn download(name: &str, kind: &'static str, bytes: Vec<u8>) -> Response {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], bytes).into_response()
}
