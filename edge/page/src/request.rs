//! What a request asks for: the only reader of addresses, cookies and forms. Whatever is not of these few forms is nothing.
//!
//! Numbers are digits and words are from a list, so that nothing of an address is ever a path, a header or markup. Percent signs
//! are in no address of ours and are not decoded. It is fuzzed (`fuzz/fuzz_targets/page.rs`).

use thorax_files::sha256_of;
use thorax_journal::Opinion;
use thorax_shared::{modality::Modality, words::Language};

/// No form is longer.
pub const MOST_FORM_BYTES: usize = 16 << 10;
/// Nor has more fields.
const MOST_FIELDS: usize = 8;
/// Characters that a note may have.
pub const MOST_NOTE_CHARACTERS: usize = 2000;

/// Characters that a reason for taking a bundle back may have.
pub const MOST_WHY_CHARACTERS: usize = 200;

/// The verdicts that a list can be of.
pub const VERDICTS: [&str; 4] = ["positive", "refer", "negative", "rejected"];

/// What an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The style sheet.
    Style,
    /// The form to log in.
    Login,
    /// The end of a session.
    Logout,
    /// The studies with numbers below `before`.
    List {
        /// All, where there is none.
        before: Option<u64>,
        /// Of one verdict, one of [`VERDICTS`].
        verdict: Option<&'static str>,
    },
    /// A study.
    Study {
        /// Its number.
        study: u64,
        /// Whether the reader's word was just saved.
        saved: bool,
    },
    /// What a reader says of a study.
    Feedback(u64),
    /// A study on paper.
    Print(u64),
    /// A study as JSON.
    Record(u64),
    /// A file of a study's result.
    File {
        /// The study.
        study: u64,
        /// The file's place in the list of the result.
        place: usize,
        /// Whether it is to be kept, and not to be looked at.
        download: bool,
    },
    /// How often readers agree.
    Agreement,
    /// What waits, what fails.
    Status,
    /// What is installed, and what could be; after something was done, what.
    Bundles(Option<Done>),
    /// A bundle is to be installed.
    Install,
    /// A bundle is to be taken back.
    RollBack,
    /// Another language.
    Language(Language),
}

/// What was just done with a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was installed.
    Installed,
    /// It was taken back.
    TakenBack,
}

impl Route {
    /// Reads an address: its path and what stands behind `?`.
    pub fn parse(path: &str, query: Option<&str>) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let route = match parts[..] {
            [""] => return list(query),
            ["study", number] => {
                let saved = match query {
                    None => false,
                    Some("saved") => true,
                    Some(_) => return None,
                };
                return Some(Self::Study { study: number_of(number)?, saved });
            }
            ["bundles"] => {
                let done = match query {
                    None => None,
                    Some("installed") => Some(Done::Installed),
                    Some("taken-back") => Some(Done::TakenBack),
                    Some(_) => return None,
                };
                return Some(Self::Bundles(done));
            }
            ["bundles", "install"] => Self::Install,
            ["bundles", "rollback"] => Self::RollBack,
            ["style.css"] => Self::Style,
            ["login"] => Self::Login,
            ["logout"] => Self::Logout,
            ["agreement"] => Self::Agreement,
            ["status"] => Self::Status,
            ["language"] => return Some(Self::Language(Language::of_code(query?.strip_prefix("to=")?)?)),
            ["study", number, "feedback"] => Self::Feedback(number_of(number)?),
            ["study", number, "print"] => Self::Print(number_of(number)?),
            ["study", number, "record.json"] => Self::Record(number_of(number)?),
            ["study", number, what @ ("picture" | "file"), place] => Self::File {
                study: number_of(number)?,
                place: usize::try_from(number_of(place)?).ok()?,
                download: what == "file",
            },
            _ => return None,
        };
        query.is_none().then_some(route)
    }
}

/// `before=17&verdict=refer`, each at most once; an empty verdict is any, as an empty choice of a form is sent.
fn list(query: Option<&str>) -> Option<Route> {
    let (mut before, mut verdict) = (None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("before", number) if before.is_none() => before = Some(number_of(number)?),
            ("verdict", "") => {}
            ("verdict", word) if verdict.is_none() => verdict = Some(*VERDICTS.iter().find(|known| **known == word)?),
            _ => return None,
        }
    }
    Some(Route::List { before, verdict })
}

/// A number in digits, as we write them.
pub fn number_of(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The value of a cookie in the `Cookie` headers. Of two of the same name one was put there by somebody else, so neither counts.
pub fn cookie<'a>(headers: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let pairs = headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether a text is a token of ours: 64 hexadecimal digits.
pub fn is_token(text: &str) -> bool {
    sha256_of(text).is_some()
}

/// The fields of a form that was sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() > MOST_FORM_BYTES {
            return None;
        }
        let mut fields: Vec<(String, String)> = vec![];
        for (name, value) in form_urlencoded::parse(body) {
            if fields.len() == MOST_FIELDS || fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Some(Self(fields))
    }

    /// A field; empty where it was not sent.
    pub fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// What a reader says: `opinion` and `note`. A note alone has to say something.
pub fn feedback(form: &Form) -> Option<(Opinion, String)> {
    // A browser sends a break of line as two characters, which it counts as one.
    let text = form.field("note").replace("\r\n", "\n");
    let note = text.replace(|c: char| c.is_control() && c != '\n', " ").trim().to_owned();
    if note.chars().count() > MOST_NOTE_CHARACTERS {
        return None;
    }
    let opinion = match form.field("opinion") {
        "agree" => Opinion::Agree,
        "disagree" => Opinion::Disagree,
        "note" if !note.is_empty() => Opinion::Note,
        _ => return None,
    };
    Some((opinion, note))
}

/// Which kind of picture's bundle is to be taken back, and why: `modality` and `why`.
pub fn roll_back(form: &Form) -> Option<(Modality, String)> {
    let why = form.field("why").replace(char::is_control, " ").trim().to_owned();
    let fits = (1..=MOST_WHY_CHARACTERS).contains(&why.chars().count());
    Some((form.field("modality").parse().ok()?, why)).filter(|_| fits)
}

/// Whether a form was sent from a page of ours, as far as the browser tells: `Origin` and `Sec-Fetch-Site` beside `Host`. A browser
/// that tells neither is held against the form's token alone.
pub fn is_own_site(origin: Option<&str>, fetch_site: Option<&str>, host: Option<&str>) -> bool {
    let same_origin = match (origin, host) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    };
    same_origin && fetch_site.is_none_or(|site| site == "same-origin")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_ours_are_read() {
        let study = |study| Some(Route::Study { study, saved: false });
        for (path, query, route) in [
            ("/", None, Some(Route::List { before: None, verdict: None })),
            ("/", Some("before=17&verdict=refer"), Some(Route::List { before: Some(17), verdict: Some("refer") })),
            ("/", Some("verdict="), Some(Route::List { before: None, verdict: None })),
            ("/study/17", None, study(17)),
            ("/study/18446744073709551615", None, study(u64::MAX)),
            ("/study/17", Some("saved"), Some(Route::Study { study: 17, saved: true })),
            ("/study/17/file/0", None, Some(Route::File { study: 17, place: 0, download: true })),
            ("/study/17/picture/3", None, Some(Route::File { study: 17, place: 3, download: false })),
            ("/language", Some("to=hi"), Some(Route::Language(Language::Hindi))),
            ("/status", None, Some(Route::Status)),
        ] {
            assert_eq!(Route::parse(path, query), route, "{path} {query:?}");
        }
    }

    #[test]
    fn nothing_else_is_an_address() {
        for path in [
            "",
            "study/1",
            "//",
            "/study",
            "/study/",
            "/study/+1",
            "/study/-1",
            "/study/01",
            "/study/1/",
            "/study/1e3",
            "/study/18446744073709551616",
            "/study/../etc/passwd",
            "/study/%31",
            "/study/1/file/..",
            "/study/1/file/",
            "/study/1/file/../../journal.redb",
            "/study/1/file/sr.dcm",
            "/style.css/..",
            "/../style.css",
            "/STATUS",
            "/study/\u{661}",
            "/study/1\0",
            "/language/../x",
            "/study/1/print/2",
        ] {
            assert_eq!(Route::parse(path, None), None, "{path}");
        }
        for query in ["before", "before=x", "before=1&before=2", "verdict=likely", "verdict=refer&verdict=refer", "x=1"]
        {
            assert_eq!(Route::parse("/", Some(query)), None, "{query}");
        }
        assert_eq!(Route::parse("/study/1", Some("saved=1")), None);
        assert_eq!(Route::parse("/status", Some("")), None);
        assert_eq!(Route::parse("/language", Some("to=../x")), None);
        assert_eq!(Route::parse("/language", None), None);
    }

    #[test]
    fn a_cookie_that_stands_twice_is_none() {
        let find = |headers: &[&'static str]| cookie(headers.iter().copied(), "a");
        assert_eq!(find(&["b=1; a=2"]), Some("2"));
        assert_eq!(find(&["b=1", "a=2;c"]), Some("2"));
        assert_eq!(find(&["a=1; a=2"]), None);
        assert_eq!(find(&["a=1", "a=1"]), None);
        assert_eq!(find(&["ba=1; xa=2", "a"]), None);
    }

    #[test]
    fn a_form_has_few_fields_and_each_once() {
        let form = Form::parse(b"opinion=disagree&note=left%20base%0D%0A%3Cb%3E%00+x&token=").unwrap();
        assert_eq!(feedback(&form), Some((Opinion::Disagree, "left base\n<b>  x".into())));
        assert_eq!(form.field("nothing"), "");
        assert!(Form::parse(b"a=1&a=2").is_none());
        assert!(Form::parse(b"a&b&c&d&e&f&g&h&i").is_none());
        assert!(Form::parse(&vec![b'x'; MOST_FORM_BYTES + 1]).is_none());
        for body in ["opinion=note&note=%20", "opinion=perhaps", "note=x", ""] {
            assert_eq!(feedback(&Form::parse(body.as_bytes()).unwrap()), None, "{body}");
        }
        let long =
            |n: usize| feedback(&Form::parse(format!("opinion=note&note={}", "x".repeat(n)).as_bytes()).unwrap());
        assert!(long(2000).is_some() && long(2001).is_none());
    }

    #[test]
    fn other_sites_are_told_apart() {
        let host = Some("192.0.2.1:11181");
        assert!(
            is_own_site(None, None, host) && is_own_site(Some("https://192.0.2.1:11181"), Some("same-origin"), host)
        );
        for (origin, site) in [
            (Some("https://192.0.2.1"), None),
            (Some("https://evil.example"), None),
            (Some("null"), None),
            (Some("ftp://192.0.2.1:11181"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (None, Some("none")),
        ] {
            assert!(!is_own_site(origin, site, host), "{origin:?} {site:?}");
        }
        assert!(!is_own_site(Some("https://192.0.2.1:11181"), None, None));
    }

    proptest! {
        #[test]
        fn any_address_is_read_or_refused(path in "(/|study|[0-9]{1,22}|file|\\.\\.|%2e|[ -~])*", query in proptest::option::of("[ -~]{0,40}")) {
            if let Some(Route::File { study, place, .. }) = Route::parse(&path, query.as_deref()) {
                let own = ["file", "picture"].map(|what| format!("/study/{study}/{what}/{place}"));
                prop_assert!(own.contains(&path), "{}", path);
            }
        }

        #[test]
        fn any_body_is_a_form_or_refused(body: Vec<u8>) {
            if let Some((_, note)) = Form::parse(&body).and_then(|form| feedback(&form)) {
                prop_assert!(note.chars().all(|c| !c.is_control() || c == '\n'));
            }
        }
    }
}
