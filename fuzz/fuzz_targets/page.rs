//! A browser, or whoever says it is one: an address, cookies and a form.
//!
//! The input is three texts with a zero byte between them: path and query, a `Cookie` header, the body of a form. What is read has to
//! be what we would write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thorax_page::{
    request::{self, Form, MOST_NOTE_CHARACTERS, Route, VERDICTS},
    users,
};

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (address, cookies) = (text(), text());
    let body = parts.next().unwrap_or_default();

    let (path, query) = address.split_once('?').map_or((&*address, None), |(path, query)| (path, Some(query)));
    match Route::parse(path, query) {
        Some(Route::Study { study, saved }) => {
            assert_eq!(address, format!("/study/{study}{}", if saved { "?saved" } else { "" }));
        }
        Some(Route::File { study, place, download }) => {
            let what = if download { "file" } else { "picture" };
            assert_eq!(address, format!("/study/{study}/{what}/{place}"));
        }
        Some(Route::Feedback(study)) => assert_eq!(address, format!("/study/{study}/feedback")),
        Some(Route::List { verdict, .. }) => {
            assert!(path == "/" && verdict.is_none_or(|verdict| VERDICTS.contains(&verdict)));
        }
        _ => {}
    }

    if let Some(value) = request::cookie(cookies.split('\n'), "thorax-session").filter(|value| request::is_token(value)) {
        assert_eq!(cookies.matches(value).count().min(1), 1);
        assert!(value.len() == 64 && !value.contains([';', ' ', '\r', '\n']));
    }

    if let Some(form) = Form::parse(body) {
        if let Some((_, note)) = request::feedback(&form) {
            assert!(note.chars().count() <= MOST_NOTE_CHARACTERS && note.chars().all(|c| !c.is_control() || c == '\n'));
        }
        let name = form.field("name");
        if users::is_name(name) {
            assert!(name.is_ascii() && name.len() <= 32);
        }
        let own = request::is_own_site(Some(form.field("origin")), None, Some(form.field("host")));
        assert!(!own || form.field("origin").len() > form.field("host").len());
    }
});
