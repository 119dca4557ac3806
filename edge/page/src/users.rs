//! Who may log in, as what, and with which password.
//!
//! Users are lines of a text file, `name role hash`, which only the device's user can read; `thorax-edge page user` writes it. The hash
//! is Argon2id in the PHC string format, with a salt of its own. The file is read anew for each request, so that a user who
//! was removed, or whose password or role was changed, is out at once.
//!
//! A *technician* sees studies (a picture that was rejected has to be taken again), downloads and the status. A *reader* sees all
//! that as well, says whether a verdict was right, and sees how often readers agree.

use std::{fs, io, path::Path};

use argon2::{
    Argon2, PasswordHash,
    password_hash::{PasswordHasher, PasswordVerifier, SaltString},
};
use thorax_files::replace_secret;

use crate::{error::PageError, secret};

/// A file of users has some lines.
const MOST_BYTES: u64 = 256 << 10;
/// Bytes that a password may have.
pub(crate) const MOST_PASSWORD_BYTES: usize = 256;
/// Characters that it has to have at least (NIST SP 800-63B asks for 8, or 15 where nothing else is asked for; there is a limit of
/// attempts here).
const LEAST_PASSWORD_CHARACTERS: usize = 10;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sees everything, and says whether a verdict was right.
    Reader,
    /// Sees studies and the status.
    Technician,
}

impl Role {
    /// `reader` or `technician`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Technician => "technician",
        }
    }

    /// The role of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Reader, Self::Technician].into_iter().find(|role| role.as_str() == word)
    }
}

/// Somebody who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Lower-case letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The password's hash.
    hash: String,
}

impl User {
    /// Whether this is the password.
    pub(crate) fn has_password(&self, password: &str) -> bool {
        PasswordHash::new(&self.hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// By which it is seen that password or role have changed.
    pub(crate) fn mark(&self) -> [u8; 32] {
        secret::mark(&format!("{} {}", self.role.as_str(), self.hash))
    }
}

/// Whether a name is one that a user may have: 1 to 32 lower-case letters, digits, `.`, `_` and `-`.
pub fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

/// The users of a file.
///
/// # Errors
/// [`PageError::Read`] or [`PageError::Users`].
pub fn read(file: &Path) -> Result<Vec<User>, PageError> {
    let unreadable = |reason| PageError::Read { file: file.to_owned(), reason };
    if fs::metadata(file).map_err(unreadable)?.len() > MOST_BYTES {
        return Err(unreadable(io::Error::other("too long for a file of users")));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    let mut users: Vec<User> = vec![];
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let wrong = |cause| PageError::Users { file: file.to_owned(), line: index + 1, cause };
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(role), Some(hash), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong("not a name, a role and a hash"));
        };
        let role = Role::of(role).ok_or_else(|| wrong("the role is neither reader nor technician"))?;
        if !is_name(name) || users.iter().any(|user| user.name == name) {
            return Err(wrong("no name, or the name of another"));
        }
        PasswordHash::new(hash).map_err(|_| wrong("no hash of Argon2 in PHC form"))?;
        users.push(User { name: name.into(), role, hash: hash.into() });
    }
    Ok(users)
}

/// Adds a user to a file, which is made where missing, or gives a user another role and password.
///
/// # Errors
/// [`PageError`]; the file is as it was then.
pub fn add(file: &Path, name: &str, role: Role, password: &str) -> Result<(), PageError> {
    let wrong = |cause| PageError::User { name: name.into(), cause };
    if !is_name(name) {
        return Err(wrong("a name has 1 to 32 lower-case letters, digits, '.', '_' and '-'"));
    }
    if password.chars().count() < LEAST_PASSWORD_CHARACTERS || password.len() > MOST_PASSWORD_BYTES {
        return Err(wrong("a password has 10 characters at least, and 256 bytes at most"));
    }
    if password.to_lowercase().contains(name) && name.len() > 2 {
        return Err(wrong("the password contains the name"));
    }
    let user = User { name: name.into(), role, hash: hash(password)? };
    change(file, |users| {
        users.retain(|known| known.name != name);
        users.push(user);
        Ok(())
    })
}

/// Removes a user.
///
/// # Errors
/// [`PageError::User`] where there is none of that name; else as [`add`].
pub fn remove(file: &Path, name: &str) -> Result<(), PageError> {
    change(file, |users| {
        let before = users.len();
        users.retain(|known| known.name != name);
        let removed = users.len() < before;
        removed.then_some(()).ok_or_else(|| PageError::User { name: name.into(), cause: "there is none of that name" })
    })
}

/// The hash of a password.
pub(crate) fn hash(password: &str) -> Result<String, PageError> {
    let failed = |error: argon2::password_hash::Error| PageError::Secret(format!("no hash of a password ({error})"));
    let salt = SaltString::encode_b64(&secret::random::<16>()?).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// A user who is nobody: the password of an unknown name is held against theirs, so that the answer takes as long.
pub(crate) fn nobody() -> Result<User, PageError> {
    Ok(User { name: String::new(), role: Role::Technician, hash: hash(&secret::token()?)? })
}

fn change(file: &Path, work: impl FnOnce(&mut Vec<User>) -> Result<(), PageError>) -> Result<(), PageError> {
    let mut users = match read(file) {
        Err(PageError::Read { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => vec![],
        read => read?,
    };
    work(&mut users)?;
    users.sort_by(|a, b| a.name.cmp(&b.name));
    replace_secret(file, |out| {
        writeln!(
            out,
            "# Users of Thorax's page: name, role, hash of the password. Written by `thorax-edge page user`."
        )?;
        users.iter().try_for_each(|user| writeln!(out, "{} {} {}", user.name, user.role.as_str(), user.hash))
    })?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn users_come_and_go_and_their_passwords_are_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.users");
        add(&file, "bea", Role::Technician, "correct horse").unwrap();
        add(&file, "ada", Role::Reader, "battery staple").unwrap();
        let users = read(&file).unwrap();
        assert_eq!(
            users.iter().map(|u| (&*u.name, u.role)).collect::<Vec<_>>(),
            [("ada", Role::Reader), ("bea", Role::Technician)]
        );
        assert!(users[0].has_password("battery staple") && !users[0].has_password("correct horse"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("battery") && text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // Another password is another mark.
        let mark = users[0].mark();
        add(&file, "ada", Role::Reader, "battery staple").unwrap();
        assert!(read(&file).unwrap()[0].mark() != mark);
        remove(&file, "ada").unwrap();
        assert_eq!(read(&file).unwrap().len(), 1);
        assert!(remove(&file, "ada").unwrap_err().to_string().contains("there is none of that name"));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.users");
        for (name, password) in [
            ("", "correct horse"),
            ("Ada", "correct horse"),
            ("a b", "correct horse"),
            ("a\nb", "correct horse"),
            ("../x", "correct horse"),
            ("ada", "short"),
            ("ada", "my name is Ada"),
            ("ada", &"x".repeat(257)),
        ] {
            add(&file, name, Role::Reader, password).unwrap_err();
        }
        assert!(!file.exists());
        let good = format!("ada reader {}\n", hash("correct horse").unwrap());
        for (text, words) in [
            (good.replace("reader", "root"), "line 1: the role"),
            (good.repeat(2), "line 2: no name, or the name of another"),
            (format!("# x\n\n{}", good.replace("$argon2id", "argon2id")), "line 3: no hash"),
            ("ada reader".into(), "line 1: not a name"),
        ] {
            fs::write(&file, &text).unwrap();
            let told = read(&file).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains("page.users"), "{told}");
        }
    }

    #[test]
    fn nobody_has_a_password() {
        let nobody = nobody().unwrap();
        assert!(!nobody.has_password("") && !nobody.has_password("correct horse") && !is_name(&nobody.name));
    }
}
