//! Who is logged in. A session is known by a random token, which its holder's browser has and nobody else: here is only its hash, in
//! memory, so that a restart ends all of them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::PageError,
    secret,
    users::{Role, User},
};

/// As many of one user at a time; the one that was used least recently goes for the next.
const MOST_OF_A_USER: usize = 8;

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Of the user when they logged in.
    mark: [u8; 32],
    began: Instant,
    used: Instant,
    /// The study that was shown last.
    study: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sessions {
    idle: Duration,
    longest: Duration,
    all: Mutex<HashMap<[u8; 32], Session>>,
}

impl Sessions {
    /// Which end when nothing was done for `idle`, and at last after `longest`.
    pub(crate) fn new(idle: Duration, longest: Duration) -> Self {
        Self { idle, longest, all: Mutex::default() }
    }

    /// Begins one, and gives its token.
    pub(crate) fn begin(&self, user: &User, now: Instant) -> Result<String, PageError> {
        let token = secret::token()?;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, session| self.lasts(session, now));
        let of_user = all.iter().filter(|(_, session)| session.name == user.name);
        if of_user.clone().count() >= MOST_OF_A_USER
            && let Some(oldest) = of_user.min_by_key(|(_, session)| session.used).map(|(mark, _)| *mark)
        {
            all.remove(&oldest);
        }
        let (name, role, mark) = (user.name.clone(), user.role, user.mark());
        all.insert(secret::mark(&token), Session { name, role, mark, began: now, used: now, study: None });
        Ok(token)
    }

    /// The session of a token, if it lasts and its user is still among `users` as they were.
    pub(crate) fn find(&self, token: &str, users: &[User], now: Instant) -> Option<Session> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = secret::mark(token);
        let session = all.get_mut(&key)?;
        let same = users.iter().any(|user| user.name == session.name && user.mark() == session.mark);
        if !same || !self.lasts(session, now) {
            all.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Ends one.
    pub(crate) fn end(&self, token: &str) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&secret::mark(token));
    }

    /// Notes that a study is shown; tells whether it is another than the last.
    pub(crate) fn turns_to(&self, token: &str, study: u64) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&secret::mark(token)).is_some_and(|session| session.study.replace(study) != Some(study))
    }

    fn lasts(&self, session: &Session, now: Instant) -> bool {
        now.saturating_duration_since(session.used) < self.idle
            && now.saturating_duration_since(session.began) < self.longest
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::users;

    const MINUTE: Duration = Duration::from_secs(60);

    fn someone() -> (tempfile::TempDir, Vec<User>) {
        let folder = tempfile::tempdir().unwrap();
        users::add(&folder.path().join("users"), "ada", Role::Reader, "correct horse").unwrap();
        let users = users::read(&folder.path().join("users")).unwrap();
        (folder, users)
    }

    #[test]
    fn a_session_ends_when_idle_when_old_when_left_and_with_its_user() {
        let (folder, users) = someone();
        let sessions = Sessions::new(15 * MINUTE, 60 * MINUTE);
        let start = Instant::now();
        let begin = || sessions.begin(&users[0], start).unwrap();
        let token = begin();
        assert_eq!(sessions.find(&token, &users, start).unwrap().name, "ada");
        assert!(sessions.find("", &users, start).is_none() && sessions.find(&token[1..], &users, start).is_none());
        for minutes in [14, 28, 42, 56] {
            assert!(sessions.find(&token, &users, start + minutes * MINUTE).is_some(), "{minutes}");
        }
        assert!(sessions.find(&token, &users, start + 60 * MINUTE).is_none(), "old, though not idle");
        assert!(sessions.find(&token, &users, start).is_none(), "ended is ended");
        let token = begin();
        assert!(sessions.find(&token, &users, start + 15 * MINUTE).is_none(), "idle");
        let token = begin();
        sessions.end(&token);
        assert!(sessions.find(&token, &users, start).is_none());
        let token = begin();
        users::add(&folder.path().join("users"), "ada", Role::Technician, "correct horse").unwrap();
        let changed = users::read(&folder.path().join("users")).unwrap();
        assert!(sessions.find(&token, &changed, start).is_none(), "another password and role");
        assert!(sessions.find(&begin(), &[], start).is_none(), "removed");
    }

    #[test]
    fn a_user_has_some_sessions_and_the_memory_has_no_token() {
        let (_folder, users) = someone();
        let sessions = Sessions::new(15 * MINUTE, 60 * MINUTE);
        let start = Instant::now();
        let tokens: Vec<String> =
            (0..9).map(|i| sessions.begin(&users[0], start + Duration::from_secs(i)).unwrap()).collect();
        let later = start + MINUTE;
        assert!(sessions.find(&tokens[0], &users, later).is_none());
        assert!(tokens[1..].iter().all(|token| sessions.find(token, &users, later).is_some()));
        assert!(!format!("{sessions:?}").contains(&tokens[5]));
        assert!(
            sessions.turns_to(&tokens[5], 7) && !sessions.turns_to(&tokens[5], 7) && sessions.turns_to(&tokens[5], 8)
        );
        assert!(!sessions.turns_to("nobody", 7));
    }
}
