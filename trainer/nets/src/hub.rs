//! Weights from the Hugging Face Hub, through `hf-hub`, in the cache folder that Python's `huggingface_hub` uses too.
//!
//! hf-hub 0.5 with ureq is blocking and small (1.0 brings tokio, aws-lc and the xet client). It asks the Hub for a file's
//! commit, size and checksum, continues a partial file where it ended, and lays the cache out. Added here is what it lacks:
//! `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE`; the cache when there is no network; new attempts after a broken connection;
//! a partial file that was complete; and the comparison of the SHA-256 with the one that the Hub states, on every use, without
//! which a file is not downloaded.

#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{
    Cache, CacheRepo, Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo, Metadata},
};
use thorax_files::{ReadError, file_sha256, hexadecimal};

/// The file that repositories of weights have.
const FILE: &str = "model.safetensors";

/// How often a download is begun or continued before it is given up.
const ATTEMPTS: u32 = 5;

/// Weights that could not be had from the Hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no network, or it must not be used, and nothing in the cache.
    #[error(
        "{FILE} of {repository} at revision {revision} is not in the cache {cache}, and {reason}; fetch {url} on a machine that \
         can, copy it here, and give its path as --weights FILE",
        cache = cache.display()
    )]
    NotAtHand {
        /// The repository.
        repository: String,
        /// Its branch, tag or commit.
        revision: String,
        /// The folder that was searched.
        cache: PathBuf,
        /// Why it was not fetched.
        reason: String,
        /// Where it can be fetched.
        url: String,
    },
    /// The Hub has no such file, or does not give it.
    #[error("{url}: the Hub answers {status}; {remedy}")]
    Refused {
        /// What was asked for.
        url: String,
        /// HTTP's status.
        status: u16,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The Hub names no SHA-256, or no commit.
    #[error(
        "{url}: the Hub states no SHA-256 and commit for this file ({stated}), so it is not taken; give a file's path instead"
    )]
    NoChecksum {
        /// What was asked for.
        url: String,
        /// What it states.
        stated: String,
    },
    /// The file is not what the Hub states.
    #[error("{path}: SHA-256 is {got}, but the Hub states {expected}; the file was removed, run the command again", path = path.display())]
    Checksum {
        /// The file in the cache.
        path: PathBuf,
        /// Of the bytes that came.
        got: String,
        /// Of the bytes that should have come.
        expected: String,
    },
    /// The connection broke too often.
    #[error(
        "{url}: the download broke off {ATTEMPTS} times, the last time with: {reason}; run the command again, it goes on where it ended"
    )]
    Interrupted {
        /// What was asked for.
        url: String,
        /// The last reason.
        reason: String,
    },
    /// The cache cannot be written.
    #[error("{path}: {reason}; check the folder, or set HF_HUB_CACHE to another", path = path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The home folder is not known.
    #[error("there is no home folder to keep files of the Hub in; set HF_HOME to a folder")]
    NoHome,
    /// The cached file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A file from the Hub, checked.
#[derive(Debug)]
pub(super) struct Fetched {
    /// In the cache.
    pub(super) path: PathBuf,
    /// The commit that it belongs to.
    pub(super) commit: String,
    /// Hexadecimal.
    pub(super) sha256: String,
}

/// The Hub and its cache.
pub(super) struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
    /// Before the second attempt; the next ones wait as often again.
    pause: Duration,
}

impl Hub {
    /// As the environment says.
    pub(super) fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As `huggingface_hub` understands these variables.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let home = match (folder("HF_HOME"), folder("XDG_CACHE_HOME"), folder("HOME").or_else(std::env::home_dir)) {
            (Some(home), ..) => Some(home),
            (None, Some(caches), _) => Some(caches.join("huggingface")),
            (None, None, home) => home.map(|home| home.join(".cache/huggingface")),
        };
        let cache =
            folder("HF_HUB_CACHE").or_else(|| home.as_ref().map(|home| home.join("hub"))).ok_or(HubError::NoHome)?;
        let token_file = folder("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
        let truth = |text: String| ["1", "on", "yes", "true"].contains(&text.to_lowercase().as_str());
        Ok(Self {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or("https://huggingface.co".into())
                .trim_end_matches('/')
                .to_owned(),
            // hf-hub wants an absolute path to link from.
            cache: std::path::absolute(&cache).map_err(|reason| HubError::Cache { path: cache, reason })?,
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(truth),
            pause: Duration::from_secs(1),
        })
    }

    /// The weights of a repository at a branch, tag or commit. A commit that is in the cache is not asked for, since it cannot
    /// change; of a branch the Hub is asked whether it has moved, and if there is no answer, the cached state is taken.
    ///
    /// # Errors
    /// [`HubError`].
    pub(super) fn fetch(&self, repository: &str, revision: &str) -> Result<Fetched, HubError> {
        let repo = Repo::with_revision(repository.into(), RepoType::Model, revision.into());
        let cached = self.cached(&repo);
        let url = format!("{}/{repository}/resolve/{}/{FILE}", self.endpoint, repo.url_revision());
        let not_at_hand = |reason: String| HubError::NotAtHand {
            repository: repository.into(),
            revision: revision.into(),
            cache: self.cache.clone(),
            reason,
            url: url.clone(),
        };
        if let Some(cached) = cached.as_ref().filter(|_| self.offline || is_hexadecimal(revision, COMMIT_DIGITS)) {
            return cached.clone().checked(None);
        }
        if self.offline {
            return Err(not_at_hand("HF_HUB_OFFLINE is set".into()));
        }
        let builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_endpoint(self.endpoint.clone());
        let builder = builder.with_token(self.token.clone()).with_user_agent("thorax-train", env!("CARGO_PKG_VERSION"));
        let api = builder.build().map_err(|error| not_at_hand(error.to_string()))?;
        let metadata = match api.metadata(&url) {
            Ok(metadata) => metadata,
            Err(error) => {
                if let Some(refused) = refusal(&error, &url) {
                    return Err(refused);
                }
                let reason = format!("{} could not be reached: {error}", self.endpoint);
                let cached = cached.ok_or_else(|| not_at_hand(reason.clone()))?;
                eprintln!("{reason}; {repository} is taken from the cache");
                return cached.checked(None);
            }
        };
        let (etag, commit) = (metadata.etag(), metadata.commit_hash());
        if !is_hexadecimal(etag, SHA256_DIGITS) || !is_hexadecimal(commit, COMMIT_DIGITS) {
            return Err(HubError::NoChecksum { url, stated: format!("etag {etag:?}, commit {commit:?}") });
        }
        let folder = Cache::new(self.cache.clone()).repo(repo.clone());
        let blob = folder.blob_path(etag);
        self.download(&api.repo(repo), &metadata, &blob, &url)?;
        let path = folder.pointer_path(commit).join(FILE);
        refer(&path, &blob)
            .and_then(|()| folder.create_ref(commit))
            .map_err(|reason| HubError::Cache { path: path.clone(), reason })?;
        Cached { path, commit: commit.into() }.checked(Some(etag))
    }

    /// The file in the cache, if it is there.
    fn cached(&self, repo: &Repo) -> Option<Cached> {
        let revision = repo.revision();
        let commit = if is_hexadecimal(revision, COMMIT_DIGITS) {
            revision.to_owned()
        } else {
            let reference = self.cache.join(repo.folder_name()).join("refs").join(revision);
            std::fs::read_to_string(reference).ok()?.trim().to_owned()
        };
        let folder: CacheRepo = Cache::new(self.cache.clone()).repo(repo.clone());
        let path = folder.pointer_path(&commit).join(FILE);
        path.exists().then_some(Cached { path, commit })
    }

    /// Has the bytes in `blob`, from where an earlier download ended.
    fn download(&self, repo: &ApiRepo, metadata: &Metadata, blob: &Path, url: &str) -> Result<(), HubError> {
        let part = blob.with_extension("part");
        let in_cache = |reason| HubError::Cache { path: part.clone(), reason };
        let mut failures = 0;
        while !blob.exists() {
            // hf-hub would ask for the bytes after the last one, and be refused.
            let length = part.metadata().map_or(0, |part| part.len());
            match length.cmp(&(metadata.size() as u64)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => std::fs::rename(&part, blob).map_err(in_cache)?,
                std::cmp::Ordering::Greater => std::fs::remove_file(&part).map_err(in_cache)?,
            }
            if blob.exists() {
                break;
            }
            let Err(error) = repo.download(FILE) else { break };
            if let Some(refused) = refusal(&error, url) {
                return Err(refused);
            }
            failures += 1;
            if failures == ATTEMPTS {
                return Err(HubError::Interrupted { url: url.into(), reason: error.to_string() });
            }
            std::thread::sleep(self.pause * failures);
        }
        Ok(())
    }
}

/// Digits of a git commit.
const COMMIT_DIGITS: usize = 40;
/// Digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A file in the cache and its commit.
#[derive(Clone)]
struct Cached {
    path: PathBuf,
    commit: String,
}

impl Cached {
    /// The SHA-256 is the one that the Hub has `stated` now, or else the name that the cache gave to the file's bytes when
    /// they came; what is not so is removed. A cache that was copied without its links has no such names: its file is
    /// compared only when the Hub is asked.
    fn checked(self, stated: Option<&str>) -> Result<Fetched, HubError> {
        let Self { path, commit } = self;
        let sha256 = hexadecimal(&file_sha256(&path)?);
        let blob = path.canonicalize().map_err(|reason| HubError::Cache { path: path.clone(), reason })?;
        let name = blob.file_name().and_then(|name| name.to_str()).filter(|name| is_hexadecimal(name, SHA256_DIGITS));
        if let Some(expected) = stated.or(name).filter(|expected| *expected != sha256) {
            std::fs::remove_file(&path).map_err(|reason| HubError::Cache { path: path.clone(), reason })?;
            if blob.exists() {
                std::fs::remove_file(&blob).map_err(|reason| HubError::Cache { path: blob.clone(), reason })?;
            }
            return Err(HubError::Checksum { path: blob.clone(), got: sha256, expected: expected.to_owned() });
        }
        Ok(Fetched { path, commit, sha256 })
    }
}

/// Has `path`, `snapshots/COMMIT/FILE`, refer to the blob, as hf-hub does after a download.
fn refer(path: &Path, blob: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    // A link whose blob is gone.
    let _ = std::fs::remove_file(path);
    link(blob, path)
}

#[cfg(unix)]
fn link(blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(Path::new("../../blobs").join(blob.file_name().unwrap_or_default()), path)
}

#[cfg(not(unix))]
fn link(blob: &Path, path: &Path) -> io::Result<()> {
    std::fs::copy(blob, path).map(drop)
}

/// The error, if the Hub understood the question and will answer it the same way again.
fn refusal(error: &ApiError, url: &str) -> Option<HubError> {
    let ApiError::RequestError(error) = error else { return None };
    let ureq::Error::StatusCode(status) = **error else { return None };
    let remedy = match status {
        401 | 403 => {
            "check the name; if it is right, the repository is private or has terms to accept: accept them on its page, and set \
             HF_TOKEN"
        }
        404 | 410 => "there is no such repository, revision or file: check the name and the revision",
        408 | 429 | 500.. => return None,
        _ => "check HF_ENDPOINT, or give a file's path",
    };
    Some(HubError::Refused { url: url.into(), status, remedy })
}
