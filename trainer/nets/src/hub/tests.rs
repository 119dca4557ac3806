//! Against a server of our own that speaks the Hub's protocol as far as hf-hub uses it, since the real one cannot be part of a
//! test: `resolve` answers with a redirect that states commit, size and SHA-256, and the file lies on another path.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::SeqCst},
    },
};

use sha2::{Digest, Sha256};

use super::*;

const REPOSITORY: &str = "owner/net";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LATER_COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// What the server does, and what it was asked.
struct State {
    content: Vec<u8>,
    /// The SHA-256 that it states.
    stated: String,
    commit: Mutex<&'static str>,
    /// Bytes that a connection carries before it breaks.
    carries: AtomicUsize,
    /// Answered instead of the redirect, if not 0.
    status: AtomicU16,
    /// Path, range and authorization of each request.
    requests: Mutex<Vec<(String, String, Option<String>)>>,
    closed: AtomicBool,
}

struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    fn start(content: Vec<u8>) -> Self {
        let stated = hexadecimal(&Sha256::digest(&content));
        Self::stating(content, stated)
    }

    fn stating(content: Vec<u8>, stated: String) -> Self {
        let state = Arc::new(State {
            content,
            stated,
            commit: Mutex::new(COMMIT),
            carries: AtomicUsize::new(usize::MAX),
            status: AtomicU16::new(0),
            requests: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closed.load(SeqCst) {
                    break;
                }
                let state = shared.clone();
                std::thread::spawn(move || answer(&state, stream.unwrap(), address));
            }
        });
        Self { address, state }
    }

    /// Nothing listens any more.
    fn close(&self) {
        self.state.closed.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub {
            endpoint: format!("http://{}", self.address),
            cache: cache.to_owned(),
            token: None,
            offline: false,
            pause: Duration::from_millis(1),
        }
    }

    /// From which byte the file was asked for, each time it was downloaded.
    fn starts(&self) -> Vec<usize> {
        let requests = self.state.requests.lock().unwrap();
        let downloads = requests.iter().filter(|(path, range, _)| path.starts_with("/file") && range.ends_with('-'));
        downloads.map(|(_, range, _)| range.trim_end_matches('-').parse().unwrap()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// One request, one connection.
fn answer(state: &State, mut stream: TcpStream, address: SocketAddr) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let (mut range, mut authorization) = (String::new(), None);
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_lowercase().as_str() {
            "range" => range = value.trim_start_matches("bytes=").to_owned(),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    state.requests.lock().unwrap().push((path.clone(), range.clone(), authorization));
    let size = state.content.len();
    let status = state.status.load(SeqCst);
    let send = |stream: &mut TcpStream, head: String, body: &[u8]| {
        let head = format!("HTTP/1.1 {head}Connection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    if path != "/file" {
        let head = if status != 0 {
            format!("{status} No\r\nContent-Length: 0\r\n")
        } else if path.starts_with("/owner/net/resolve/") && path.ends_with("/model.safetensors") {
            format!(
                "302 Found\r\nLocation: http://{address}/file\r\nETag: \"of the redirect\"\r\nX-Linked-ETag: \"{}\"\r\n\
                 X-Linked-Size: {size}\r\nX-Repo-Commit: {}\r\nContent-Length: 0\r\n",
                state.stated,
                state.commit.lock().unwrap()
            )
        } else {
            "404 Not Found\r\nContent-Length: 0\r\n".into()
        };
        return send(&mut stream, head, &[]);
    }
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = if last.is_empty() { size - 1 } else { last.parse().unwrap() };
    if first >= size {
        return send(&mut stream, "416 Range Not Satisfiable\r\nContent-Length: 0\r\n".into(), &[]);
    }
    let body = &state.content[first..=last];
    let head = format!(
        "206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}\r\nContent-Length: {}\r\n",
        body.len()
    );
    send(&mut stream, head, &body[..body.len().min(state.carries.load(SeqCst))]);
}

/// Bytes that differ from place to place.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 2654435761) >> 7) as u8).collect()
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn parts(cache: &Path) -> Vec<PathBuf> {
    let blobs = cache.join("models--owner--net/blobs");
    let files = std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "part")).collect()
}

#[test]
fn a_file_is_fetched_once_checked_and_known_by_its_commit() {
    let (server, cache) = (Server::start(content(100_000)), cache());
    let hub = Hub { token: Some("hf_secret".into()), ..server.hub(cache.path()) };
    let fetched = hub.fetch(REPOSITORY, "main").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), server.state.content);
    assert_eq!((fetched.commit.as_str(), &fetched.sha256), (COMMIT, &server.state.stated));
    let expected = format!("models--owner--net/snapshots/{COMMIT}/model.safetensors");
    assert_eq!(fetched.path, cache.path().join(expected), "where Python's huggingface_hub looks as well");
    assert_eq!(server.starts(), [0]);
    let requests = server.state.requests.lock().unwrap().clone();
    assert!(requests.iter().any(|(path, _, token)| {
        path == "/owner/net/resolve/main/model.safetensors" && token.as_deref() == Some("Bearer hf_secret")
    }));
    // Of a branch the Hub is asked, and nothing is downloaded again; nor when another commit has the same file.
    hub.fetch(REPOSITORY, "main").unwrap();
    *server.state.commit.lock().unwrap() = LATER_COMMIT;
    let later = hub.fetch(REPOSITORY, "main").unwrap();
    assert_eq!((later.commit.as_str(), &later.sha256), (LATER_COMMIT, &fetched.sha256));
    assert_eq!(server.starts(), [0]);
    // A commit in the cache is not asked for.
    let asked = server.state.requests.lock().unwrap().len();
    assert_eq!(hub.fetch(REPOSITORY, COMMIT).unwrap().path, fetched.path);
    assert_eq!(server.state.requests.lock().unwrap().len(), asked);
}

#[test]
fn a_broken_connection_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::start(content(100_000)), cache());
    server.state.carries.store(30_000, SeqCst);
    let fetched = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), server.state.content);
    assert_eq!(server.starts(), [0, 30_000, 60_000, 90_000]);
}

#[test]
fn a_killed_download_goes_on_in_the_next_run() {
    let (server, cache) = (Server::start(content(100_000)), cache());
    server.state.carries.store(10_000, SeqCst);
    let error = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap_err();
    assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("5 times") && text.contains("goes on where it ended"), "{text}");
    server.state.carries.store(usize::MAX, SeqCst);
    let fetched = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), server.state.content);
    assert_eq!(*server.starts().last().unwrap(), 50_000);
    assert!(parts(cache.path()).is_empty());
}

#[test]
fn a_partial_file_that_is_complete_or_too_long_does_no_harm() {
    for (extra, starts) in [(0, vec![]), (1, vec![0])] {
        let (server, cache) = (Server::start(content(5_000)), cache());
        let blobs = cache.path().join("models--owner--net/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let mut bytes = server.state.content.clone();
        bytes.resize(bytes.len() + extra, 0);
        std::fs::write(blobs.join(format!("{}.part", server.state.stated)), bytes).unwrap();
        let fetched = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap();
        assert_eq!(std::fs::read(&fetched.path).unwrap(), server.state.content);
        assert_eq!(server.starts(), starts);
    }
}

#[test]
fn what_is_not_as_stated_is_refused_and_removed() {
    let cache = cache();
    let server = Server::stating(content(5_000), "0".repeat(64));
    let error = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap_err();
    let HubError::Checksum { path, got, .. } = &error else { unreachable!("{error}") };
    assert_eq!(*got, hexadecimal(&Sha256::digest(&server.state.content)));
    assert!(!path.exists() && error.to_string().contains("removed"), "{error}");
    let offline = Hub { offline: true, ..server.hub(cache.path()) };
    assert!(matches!(offline.fetch(REPOSITORY, "main"), Err(HubError::NotAtHand { .. })));
    // A file that was damaged in the cache, without the Hub.
    let server = Server::start(content(5_000));
    let hub = server.hub(cache.path());
    let path = hub.fetch(REPOSITORY, "main").unwrap().path;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(path.canonicalize().unwrap(), bytes).unwrap();
    let offline = Hub { offline: true, ..server.hub(cache.path()) };
    assert!(matches!(offline.fetch(REPOSITORY, "main"), Err(HubError::Checksum { .. })));
    assert!(hub.fetch(REPOSITORY, "main").is_ok(), "it is fetched again");
    // A cache that was copied without its links has no name that states anything, but the Hub does.
    let path = hub.fetch(REPOSITORY, "main").unwrap().path;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, content(4_999)).unwrap();
    assert!(matches!(hub.fetch(REPOSITORY, "main"), Err(HubError::Checksum { .. })));
    assert!(hub.fetch(REPOSITORY, "main").is_ok(), "it is referred to again");
    // No SHA-256 at all, as for a file that git keeps itself.
    let server = Server::stating(content(5_000), "0123456789abcdef0123456789abcdef01234567".into());
    let error = server.hub(super::tests::cache().path()).fetch(REPOSITORY, "main").unwrap_err();
    assert!(matches!(error, HubError::NoChecksum { .. }), "{error}");
}

#[test]
fn refusals_name_the_file_and_what_to_do() {
    let (server, cache) = (Server::start(content(5_000)), cache());
    for (status, words) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "check the name and the revision")] {
        server.state.status.store(status, SeqCst);
        let error = server.hub(cache.path()).fetch(REPOSITORY, "v1").unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, HubError::Refused { status: got, .. } if got == status), "{text}");
        assert!(text.contains("/owner/net/resolve/v1/model.safetensors") && text.contains(words), "{text}");
    }
    // A revision with a slash is one part of the address.
    server.state.status.store(0, SeqCst);
    server.hub(cache.path()).fetch(REPOSITORY, "refs/pr/1").unwrap();
    let requests = server.state.requests.lock().unwrap();
    assert!(requests.iter().any(|(path, ..)| path == "/owner/net/resolve/refs%2Fpr%2F1/model.safetensors"));
}

#[test]
fn without_the_hub_the_cache_serves_and_what_is_not_there_is_told() {
    let (server, cache) = (Server::start(content(5_000)), cache());
    let offline = || Hub { offline: true, ..server.hub(cache.path()) };
    let told = |error: HubError, reason: &str| {
        let text = error.to_string();
        let cache = cache.path().display().to_string();
        for words in
            [REPOSITORY, "model.safetensors", "revision main", &cache, reason, "--weights FILE", "/resolve/main/"]
        {
            assert!(text.contains(words), "{words} is not in: {text}");
        }
    };
    told(offline().fetch(REPOSITORY, "main").unwrap_err(), "HF_HUB_OFFLINE is set");
    assert!(server.state.requests.lock().unwrap().is_empty(), "offline asks nobody");
    let fetched = server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap();
    let asked = server.state.requests.lock().unwrap().len();
    assert_eq!(offline().fetch(REPOSITORY, "main").unwrap().path, fetched.path);
    assert_eq!(server.state.requests.lock().unwrap().len(), asked);
    // The Hub is down, or not there.
    server.state.status.store(503, SeqCst);
    assert_eq!(server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap().path, fetched.path);
    server.close();
    // The last connection tells the server to close; then nobody listens.
    while TcpStream::connect(server.address).is_ok() {}
    assert_eq!(server.hub(cache.path()).fetch(REPOSITORY, "main").unwrap().path, fetched.path);
    let empty = super::tests::cache();
    let error = server.hub(empty.path()).fetch(REPOSITORY, "main").unwrap_err();
    assert!(error.to_string().contains("could not be reached"), "{error}");
}

#[test]
fn the_environment_is_understood_as_pythons_library_does() {
    let hub = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let variables: std::collections::BTreeMap<_, _> = variables.collect();
        Hub::from_variables(|name| variables.get(name).cloned()).unwrap()
    };
    let plain = hub(&[("HOME", "/home/a")]);
    assert_eq!(plain.cache, Path::new("/home/a/.cache/huggingface/hub"));
    assert_eq!((plain.endpoint.as_str(), plain.token, plain.offline), ("https://huggingface.co", None, false));
    assert_eq!(hub(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c")]).cache, Path::new("/c/huggingface/hub"));
    assert_eq!(hub(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).cache, Path::new("/h/hub"));
    assert_eq!(hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/x")]).cache, Path::new("/x"));
    for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("0", false), ("", false)] {
        assert_eq!(hub(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).offline, offline, "{value}");
    }
    assert_eq!(hub(&[("HOME", "/h"), ("HF_ENDPOINT", "https://mirror.example/")]).endpoint, "https://mirror.example");
    let home = cache();
    std::fs::write(home.path().join("token"), "from the file\n").unwrap();
    let home = home.path().to_str().unwrap();
    assert_eq!(hub(&[("HF_HOME", home)]).token.as_deref(), Some("from the file"));
    assert_eq!(
        hub(&[("HF_HOME", home), ("HF_TOKEN", "from the variable")]).token.as_deref(),
        Some("from the variable")
    );
}
