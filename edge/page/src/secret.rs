//! Random numbers that nobody guesses, and what is made of them.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thorax_files::hexadecimal;

use crate::error::PageError;

/// A token of 256 random bits, as 64 hexadecimal digits.
pub(crate) fn token() -> Result<String, PageError> {
    Ok(hexadecimal(&random::<32>()?))
}

/// Bytes of the system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PageError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| PageError::Secret(format!("no random numbers ({error})")))?;
    Ok(bytes)
}

/// By which a token is kept: who reads the memory of it cannot use it.
pub(crate) fn mark(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// What a form carries that was made for the holder of a cookie: another site can neither read the cookie nor this. Nothing has
/// to be kept for it.
pub(crate) fn form_token(cookie: &str) -> String {
    hexadecimal(&mark(&format!("form of {cookie}")))
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 64 && one != other);
        assert!(form_token(&one) != form_token(&other) && !form_token(&one).contains(&one[..16]));
        assert!(same(&one, &one) && !same(&one, &other) && !same(&one, &one[..63]));
    }
}
