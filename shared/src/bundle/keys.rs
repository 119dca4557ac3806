//! Who signs, and whose signature counts.
//!
//! Keys are text: `ed25519:` and 64 hexadecimal digits for the public half, `ed25519-secret:` and 64 digits (the
//! seed of RFC 8032) for the secret one. A device's trusted keys are a file with a public key a line, a comment
//! after it, and lines that are empty or begin with `#`.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

const PUBLIC_PREFIX: &str = "ed25519:";
const SECRET_PREFIX: &str = "ed25519-secret:";

/// Why a text is no key. Never quotes the text, which might be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the form of a public key.
    #[error("not a public key: expected `ed25519:` and 64 hexadecimal digits")]
    PublicForm,
    /// A secret key where a public one belongs.
    #[error("this is a secret key: put its public half here, and keep the secret off this machine")]
    SecretGiven,
    /// Not the form of a secret key.
    #[error("not a secret key: expected `ed25519-secret:` and 64 hexadecimal digits")]
    SecretForm,
    /// The digits are no usable Ed25519 key (not on the curve, or of small order: anyone could sign for it).
    #[error("not a usable Ed25519 public key: copy it again from its owner")]
    Unusable,
    /// A line of the trusted keys is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: Box<KeyError>,
    },
    /// The trusted keys are empty.
    #[error("no key in the trusted keys: add one line `ed25519:...` for each signer, or every bundle is refused")]
    NoKeys,
}

/// The first 8 bytes of the SHA-256 of a public key, shown as 16 hexadecimal digits: for people to compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    pub(super) fn of(key: &[u8; 32]) -> Self {
        let digest = Sha256::digest(key);
        Self(core::array::from_fn(|i| digest[i]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The public half of a signer's key. `Display` and `FromStr` are `ed25519:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when they are not on the curve or of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        match VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            _ => Err(KeyError::Unusable),
        }
    }

    /// The 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// For people to compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.as_bytes())
    }

    /// Whether the signature is this key's for the message, by the strict rules: no second form of a signature
    /// passes.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.starts_with(SECRET_PREFIX) {
            return Err(KeyError::SecretGiven);
        }
        let digits = text.strip_prefix(PUBLIC_PREFIX).ok_or(KeyError::PublicForm)?;
        Self::from_bytes(&parse_hex(digits).ok_or(KeyError::PublicForm)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PUBLIC_PREFIX)?;
        write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The secret half. It is overwritten when dropped (by `ed25519-dalek`); `Debug` shows the fingerprint only.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 bytes of the operating system's random source. Overwrites `seed`, as well as that can be done
    /// without `unsafe`.
    pub fn from_seed(seed: &mut [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        seed.fill(0);
        core::hint::black_box(seed);
        Self(key)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The secret as text, `ed25519-secret:<64 hexadecimal digits>`, for writing into a file that only its owner
    /// can read.
    pub fn reveal(&self) -> impl fmt::Display + '_ {
        Revealed(self)
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().strip_prefix(SECRET_PREFIX).ok_or(KeyError::SecretForm)?;
        let mut seed = parse_hex(digits).ok_or(KeyError::SecretForm)?;
        Ok(Self::from_seed(&mut seed))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public_key().fingerprint())
    }
}

struct Revealed<'a>(&'a SecretKey);

impl fmt::Display for Revealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET_PREFIX)?;
        write_hex(f, self.0.0.as_bytes())
    }
}

/// The keys whose bundles a device runs.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(Vec<(PublicKey, String)>);

impl TrustedKeys {
    /// One key alone.
    pub fn only(key: PublicKey) -> Self {
        Self(alloc::vec![(key, String::new())])
    }

    /// Parses one key a line: `ed25519:<64 hexadecimal digits> comment`. Empty lines and lines that begin with `#`
    /// are skipped.
    ///
    /// # Errors
    /// [`KeyError::Line`] for the first line that is no key, [`KeyError::NoKeys`] when there is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, comment) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let key = key.parse().map_err(|problem| KeyError::Line { line: index + 1, problem: Box::new(problem) })?;
            keys.push((key, comment.trim().to_string()));
        }
        if keys.is_empty() { Err(KeyError::NoKeys) } else { Ok(Self(keys)) }
    }

    /// All keys with their comments, in the order of the text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PublicKey, &str)> {
        self.0.iter().map(|(key, comment)| (key, comment.as_str()))
    }

    /// The comment of a key, if it is trusted.
    pub fn comment(&self, key: &PublicKey) -> Option<&str> {
        self.iter().find(|(trusted, _)| *trusted == key).map(|(_, comment)| comment)
    }

    pub(super) fn find(&self, bytes: &[u8; 32]) -> Option<PublicKey> {
        self.iter().map(|(key, _)| *key).find(|key| key.as_bytes() == bytes)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != bytes.len() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    // RFC 8032, section 7.1, test 1.
    const SECRET: &str = "ed25519-secret:9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn rfc_8032_test_1() {
        let secret: SecretKey = SECRET.parse().unwrap();
        assert_eq!(secret.public_key().to_string(), PUBLIC);
        assert_eq!(secret.reveal().to_string(), SECRET);
        let signature = secret.sign(b"");
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert!(secret.public_key().has_signed(b"", &signature));
        assert!(!secret.public_key().has_signed(b"x", &signature));
    }

    #[test]
    fn the_fingerprint_is_the_start_of_the_sha256() {
        // printf d75a...511a | xxd -r -p | sha256sum
        assert_eq!(PUBLIC.parse::<PublicKey>().unwrap().fingerprint().to_string(), "21fe31dfa154a261");
    }

    #[test]
    fn secrets_do_not_show() {
        let secret: SecretKey = SECRET.parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SecretKey(21fe31dfa154a261)");
        assert_eq!(SECRET.parse::<PublicKey>(), Err(KeyError::SecretGiven));
        let mut seed = [7; 32];
        SecretKey::from_seed(&mut seed);
        assert_eq!(seed, [0; 32]);
    }

    #[test]
    fn trusted_keys_are_read_line_by_line() {
        let text = format!("# signers\n\n  {PUBLIC}  the hospital's key \r\n{PUBLIC}\n");
        let keys = TrustedKeys::parse(&text).unwrap();
        assert_eq!(keys.iter().map(|(_, comment)| comment).collect::<Vec<_>>(), ["the hospital's key", ""]);
        assert_eq!(keys.comment(&PUBLIC.parse().unwrap()), Some("the hospital's key"));
        assert_eq!(TrustedKeys::parse("# nothing\n").unwrap_err(), KeyError::NoKeys);
        let error = TrustedKeys::parse(&format!("{PUBLIC}\n{SECRET}")).unwrap_err();
        assert_eq!(error, KeyError::Line { line: 2, problem: Box::new(KeyError::SecretGiven) });
        assert!(!error.to_string().contains("9d61"));
    }

    #[test]
    fn wrong_forms_are_refused() {
        let short = &PUBLIC[..PUBLIC.len() - 1];
        for text in ["", "ed25519:", "ed25519:zz", short, &format!("{PUBLIC}0"), &PUBLIC.replace('d', "g"), "rsa:00"] {
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError::PublicForm), "{text}");
        }
        assert_eq!(PUBLIC.parse::<SecretKey>().unwrap_err(), KeyError::SecretForm);
        // The neutral element: every message has a valid signature under it.
        let neutral = format!("ed25519:01{}", "00".repeat(31));
        assert_eq!(neutral.parse::<PublicKey>(), Err(KeyError::Unusable));
    }

    proptest! {
        #[test]
        fn keys_survive_their_text(seed in any::<[u8; 32]>()) {
            let secret = SecretKey::from_seed(&mut seed.clone());
            prop_assert_eq!(secret.reveal().to_string().parse::<SecretKey>().unwrap().public_key(), secret.public_key());
            prop_assert_eq!(secret.public_key().to_string().parse::<PublicKey>().unwrap(), secret.public_key());
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "(ed25519(-secret)?:)?[0-9a-zé]{0,70}") {
            let _ = text.parse::<PublicKey>();
            let _ = text.parse::<SecretKey>();
            let _ = TrustedKeys::parse(&text);
        }
    }
}
