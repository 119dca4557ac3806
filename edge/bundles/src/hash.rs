//! By what a bundle is known.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a bundle's file; as text 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BundleHash(pub [u8; 32]);

impl BundleHash {
    /// Of the file with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first digits, for people.
    pub fn short(&self) -> String {
        thorax_files::hexadecimal(&self.0[..6])
    }
}

impl fmt::Display for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&thorax_files::hexadecimal(&self.0))
    }
}

impl fmt::Debug for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no 64 hexadecimal digits in lower case")]
pub struct NoHash;

impl FromStr for BundleHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        thorax_files::sha256_of(text).map(Self).ok_or(NoHash)
    }
}

impl Serialize for BundleHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BundleHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_text_is_a_hash() {
        let hash = BundleHash(std::array::from_fn(|i| (i * 9) as u8));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for other in ["", "../../etc/passwd", &"A".repeat(64), &"é".repeat(32), &"0".repeat(63), "state.json"] {
            assert_eq!(other.parse::<BundleHash>(), Err(NoHash), "{other}");
        }
    }
}
