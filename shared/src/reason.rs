//! Why something was not done, and what a person can do about it: two fields, never one sentence to be taken apart again.
//!
//! A panel sets the cause in large letters and the remedy below it in another colour, a row of JSON has a field for each, a line
//! of a table has both. Whoever has only the sentence would have to guess where the one ends and the other begins, and what a
//! parser says of a damaged file is full of colons. So everything that is refused gives a [`Reason`], and its `Display` is the
//! only place where the two become a sentence.

use alloc::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What is the matter, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// What is the matter: no capital in front, no full stop behind.
    pub cause: Cow<'static, str>,
    /// What to do about it; `None` where there is nothing to be done about the file.
    pub remedy: Option<Cow<'static, str>>,
}

impl Reason {
    /// A cause with its remedy.
    pub fn new(cause: impl Into<Cow<'static, str>>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { cause: cause.into(), remedy: Some(remedy.into()) }
    }

    /// A cause that leaves nothing to do.
    pub fn without_remedy(cause: impl Into<Cow<'static, str>>) -> Self {
        Self { cause: cause.into(), remedy: None }
    }
}

/// `cause: remedy`, or the cause alone.
impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "{}: {remedy}", self.cause),
            None => f.write_str(&self.cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_sentence_is_made_of_both() {
        assert_eq!(Reason::new("damaged ((0028,0010): no rows)", "send it again").to_string(), {
            "damaged ((0028,0010): no rows): send it again"
        });
        assert_eq!(Reason::without_remedy("too uncertain").to_string(), "too uncertain");
    }
}
