//! The page as browsers and attackers see it: the real server, over a socket.
#![allow(clippy::unwrap_used, clippy::panic)]

mod device;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use device::{Answer, Browser, Device, HOSTILE, PASSWORD, PNG, all_bytes, raw};
use thorax_journal::{AuditEvent, Opinion};
use thorax_page::users;
use thorax_shared::words::{Language, Word};

const NOTICE: &str = "Research use only. Not a medical device.";

/// Every page that a reader can come to.
fn pages(study: u64, picture: u64) -> Vec<String> {
    let of_study = [format!("/study/{study}"), format!("/study/{study}?saved"), format!("/study/{picture}")];
    let others =
        ["/", "/?verdict=positive", "/?before=2&verdict=refer", "/agreement", "/status", "/nowhere", "/study/999"];
    others.map(String::from).into_iter().chain(of_study).collect()
}

#[test]
fn every_page_says_what_it_is_and_asks_nobody_for_anything() {
    let device = Device::start();
    let (study, picture) = (device.film(1, "positive"), device.picture());
    let mut reader = device.logged_in("ada");
    reader.say(study, "disagree", HOSTILE);
    let plain = device.browser().get("/login");
    for language in Language::ALL {
        assert_eq!(reader.get(&format!("/language?to={}", language.code())).status, 303);
        let answers = pages(study, picture).into_iter().map(|path| (path.clone(), reader.get(&path)));
        for (path, answer) in answers.chain([("/login".to_owned(), plain_in(&device, language))]) {
            let (text, told) = (answer.text(), format!("{path} in {language:?}"));
            assert_eq!(text.matches(language.word(Word::Notice)).count(), 2, "{told}: {text}");
            assert!(text.contains(&format!("<html lang=\"{}\">", language.code())), "{told}");
            assert_eq!(text.matches("<h1>").count(), 1, "{told}");
            for forbidden in
                ["http:", "https:", "\"//", "<script", "style=\"", "onerror=\"", "<img src=x", "javascript:"]
            {
                assert!(!text.contains(forbidden), "{told}: {forbidden}: {text}");
            }
            let policy = answer.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'"));
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("cache-control", "no-store"),
                ("referrer-policy", "same-origin"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{told}");
            }
            // Every field that is seen has a label, every picture has words.
            let fields = text.matches("<input").count() - text.matches("type=\"hidden\"").count()
                + text.matches("<select").count()
                + text.matches("<textarea").count();
            assert_eq!(text.matches("<label for=").count(), fields, "{told}");
            assert_eq!(text.matches("<img").count(), text.matches(" alt=\"").count(), "{told}");
        }
    }
    assert!(plain.text().contains(NOTICE));
    let style = device.browser().get("/style.css");
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
    assert!(!style.text().contains("url(") && !style.text().contains("@import"));
}

fn plain_in(device: &Device, language: Language) -> Answer {
    let mut browser = device.browser();
    browser.get(&format!("/language?to={}", language.code()));
    browser.get("/login")
}

#[test]
fn what_a_sender_calls_a_patient_is_no_markup() {
    let device = Device::start();
    let (study, picture) = (device.film(1, "rejected"), device.picture());
    let mut reader = device.logged_in("ada");
    reader.say(study, "note", &format!("{HOSTILE}\nsecond line"));
    for path in pages(study, picture).into_iter().chain([format!("/study/{study}/print")]) {
        let text = reader.get(&path).text();
        assert!(!text.contains("<script") && !text.contains("<img src=x") && !text.contains("<b>"), "{path}: {text}");
    }
    let text = reader.get(&format!("/study/{study}")).text();
    // They are told as they are, and escaped.
    for told in [
        "Doe &quot;'&gt;&lt;script&gt;alert(1)",
        "PID-&lt;b&gt;4711&lt;/b&gt;",
        "second line",
        "too blurred; <bdi lang=\"en\">",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(reader.get(&format!("/study/{picture}")).text().contains("onerror=alert(2)&gt;&amp;amp;.png"));
    let printed = reader.get(&format!("/study/{study}/print"));
    assert!(
        printed.header("content-security-policy").unwrap().starts_with("default-src 'none'; style-src 'unsafe-inline'")
    );
    assert_eq!(printed.text().matches(NOTICE).count(), 2);
}

#[test]
fn whoever_is_not_logged_in_sees_nothing() {
    let device = Device::start();
    let study = device.film(1, "positive");
    for path in [
        "/".into(),
        format!("/study/{study}"),
        format!("/study/{study}/file/0"),
        format!("/study/{study}/picture/2"),
        format!("/study/{study}/print"),
        format!("/study/{study}/record.json"),
        "/agreement".into(),
        "/status".into(),
    ] {
        for cookie in ["", "x", &"0".repeat(64)] {
            let mut stranger = device.browser();
            stranger.cookies.insert("thorax-session".into(), cookie.into());
            let answer = stranger.get(&path);
            assert_eq!((answer.status, answer.header("location")), (303, Some("/login")), "{path}");
            assert!(answer.body.is_empty());
        }
    }
    assert_eq!(device.journal().latest_audit(9).unwrap().len(), 0);
}

#[test]
fn a_session_is_new_at_login_and_over_at_logout() {
    let device = Device::start();
    let mut reader = device.browser();
    // A cookie that somebody else has put there does not become a session.
    let fixed = "ab".repeat(32);
    reader.cookies.insert("thorax-session".into(), fixed.clone());
    let answer = reader.log_in("ada", PASSWORD);
    let cookies = answer.cookies();
    let session = cookies.iter().find(|cookie| cookie.starts_with("thorax-session=")).unwrap();
    assert!(session.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{session}");
    let first = reader.cookies["thorax-session"].clone();
    assert!(first != fixed && first.len() == 64);
    assert!(!reader.cookies.contains_key("thorax-login"), "the form's cookie is used up");
    let mut attacker = device.browser();
    attacker.cookies.insert("thorax-session".into(), fixed);
    assert_eq!(attacker.get("/").status, 303);
    // Nor does the form's cookie, nor the form's token.
    let token = reader.get("/").token("/logout");
    attacker.cookies.insert("thorax-session".into(), token.clone());
    assert_eq!(attacker.get("/").status, 303);

    // A second login in the same browser ends the first session.
    let login = reader.get("/login");
    assert_eq!((login.status, login.header("location")), (303, Some("/")), "who is in needs no form");
    let mut again = device.browser();
    let form = again.get("/login").token("/login");
    again.cookies.insert("thorax-session".into(), first.clone());
    again.post("/login", &[("token", &form), ("name", "ada"), ("password", PASSWORD)]);
    assert!(again.cookies["thorax-session"] != first && reader.get("/").status == 303);

    let token = again.get("/").token("/logout");
    let session = again.cookies.clone();
    assert_eq!(again.post("/logout", &[("token", &token)]).header("location"), Some("/login"));
    assert!(!again.cookies.contains_key("thorax-session"));
    again.cookies = session;
    assert_eq!(again.get("/").status, 303, "its cookie is worth nothing any more");
    assert!(!contains(&all_bytes(device.folder.path()), first.as_bytes()), "no token is on the disk");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn who_guesses_passwords_learns_nothing_and_is_slowed_down() {
    let device = Device::start();
    let guess = |name: &str, password: &str| {
        let mut browser = device.browser();
        // The token changes from form to form; all else has to be the same.
        let answer = browser.log_in(name, password);
        let given = answer.text().contains("name=\"token\"");
        let token = if given { answer.token("/login") } else { String::default() };
        (answer.status, answer.text().replace(&token, ""))
    };
    let wrong = guess("ada", "wrong password");
    assert_eq!(wrong.0, 403);
    assert!(wrong.1.contains("Name or password is wrong."));
    assert_eq!(guess("nobody", "wrong password"), wrong, "an unknown name is answered alike");
    assert_eq!(guess("<script>", PASSWORD), wrong);
    assert_eq!(guess("ada", ""), wrong);
    assert_eq!(guess("ada", &"x".repeat(9000)), wrong);
    assert_eq!(guess("my secret password", "ada"), wrong);
    // Two more are too many, for a name that there is as for one that there is not; even with the right password.
    let codes = |name: &str| (0..6).map(|_| guess(name, "wrong password").0).collect::<Vec<_>>();
    assert_eq!(codes("ada"), [403, 403, 429, 429, 429, 429]);
    assert_eq!(codes("nobody"), [403, 403, 403, 403, 429, 429]);
    let start = Instant::now();
    assert_eq!(guess("ada", PASSWORD).0, 429);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(guess("tom", PASSWORD).0, 303, "others are not kept out");

    let audit = device.journal().latest_audit(99).unwrap();
    assert_eq!(audit[0].1.event, AuditEvent::Login);
    let failed = audit.iter().filter(|(_, line)| line.event == AuditEvent::LoginFailed);
    let accounts: Vec<Option<&str>> = failed.map(|(_, line)| line.account.as_deref()).collect();
    assert_eq!(accounts.iter().filter(|account| **account == Some("ada")).count(), 5);
    assert_eq!(accounts.iter().filter(|account| account.is_none()).count(), 7, "{accounts:?}");
    let disk = all_bytes(device.folder.path());
    assert!(!contains(&disk, b"my secret") && !contains(&disk, PASSWORD.as_bytes()) && !contains(&disk, b"nobody"));
}

#[test]
fn an_address_that_tries_many_names_is_slowed_down() {
    let device = Device::start();
    let mut browser = device.browser();
    let codes: Vec<u16> = (0..24).map(|i| browser.log_in(&format!("name{i}"), "x").status).collect();
    // Some seconds go by, in which it gets a few attempts back.
    assert_eq!(codes[..20], [403; 20]);
    assert!(codes[20..].contains(&429), "{codes:?}");
}

#[test]
fn other_sites_cannot_post_in_a_reader_s_name() {
    let device = Device::start();
    let study = device.film(1, "positive");
    let action = format!("/study/{study}/feedback");
    let mut reader = device.logged_in("ada");
    let token = reader.get(&format!("/study/{study}")).token(&action);
    let mut other = device.logged_in("ada");
    let others_token = other.get(&format!("/study/{study}")).token(&action);
    let fields = [("token", token.as_str()), ("opinion", "agree"), ("note", "")];
    for wrong in ["", "x", &others_token, &reader.cookies["thorax-session"].clone()] {
        assert_eq!(reader.post(&action, &[("token", wrong), ("opinion", "agree")]).status, 400, "{wrong}");
    }
    for header in
        ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
    {
        reader.extra = vec![header.into()];
        assert_eq!(reader.post(&action, &fields).status, 400, "{header}");
        assert_eq!(reader.post("/logout", &fields[..1]).status, 400, "{header}");
    }
    reader.extra.clear();
    // What changes something is no address.
    assert_eq!(reader.get(&action).status, 405);
    assert_eq!(reader.get("/logout").status, 405);
    assert_eq!(reader.post("/", &fields).status, 405);
    // Nobody can be logged in by another site.
    let mut stranger = device.browser();
    let form = [("token", token.as_str()), ("name", "ada"), ("password", PASSWORD)];
    assert_eq!(stranger.post("/login", &form).status, 400);
    assert_eq!(device.journal().feedback_of(study).unwrap(), []);

    reader.extra = vec![format!("Origin: http://{}", device.address), "Sec-Fetch-Site: same-origin".into()];
    assert_eq!(reader.post(&action, &fields).header("location"), Some(&*format!("/study/{study}?saved")));
    assert_eq!(device.journal().feedback_of(study).unwrap().len(), 1);
}

#[test]
fn no_address_leads_out_of_the_journal_and_no_header_is_injected() {
    let device = Device::start();
    let study = device.film(1, "positive");
    let mut reader = device.logged_in("ada");
    for path in [
        "/../../etc/passwd",
        "/study/../../../etc/passwd",
        "/study/1/file/../../../page.users",
        "/study/1/file/..%2f..%2fpage.users",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/study/1%00",
        "/study/1;x",
        "/style.css/../../page.users",
        "/study/-1",
        "/study/1/file/99",
        "/study/1/picture/0",
        "/study/18446744073709551615/file/18446744073709551615",
        "/language?to=en%0d%0aSet-Cookie:%20a=b",
        "/?verdict=x%0d%0aSet-Cookie:%20a=b",
        "/?before=1%0aX:y",
    ] {
        let path = path.replace("/study/1/", &format!("/study/{study}/"));
        let answer = reader.get(&path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(answer.cookies().is_empty() && !answer.text().contains("root:") && !answer.text().contains("argon2"));
    }
    for method in ["PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "X"] {
        let answer =
            raw(device.address, format!("{method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(matches!(answer.status, 400 | 404 | 405), "{method}: {answer:?}");
    }
    // A name with a line in it is no name, and comes back nowhere.
    let answer = device.browser().log_in("ada\r\nSet-Cookie: a=b", "x");
    assert_eq!(answer.status, 403);
    assert!(answer.cookies().iter().all(|cookie| cookie.starts_with("thorax-login=")), "{answer:?}");
}

#[test]
fn what_is_too_large_or_no_request_is_refused() {
    let device = Device::start();
    let post = |headers: &str, body: &[u8]| {
        let head = format!("POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n\r\n");
        raw(device.address, &[head.as_bytes(), body].concat())
    };
    assert_eq!(post("Content-Length: 4000000000", b"").status, 413);
    assert_eq!(post("Content-Length: 20000", &[b'a'; 20000]).status, 413);
    let chunks = [&b"4000\r\n"[..], &[b'a'; 0x4000], b"\r\n4000\r\n", &[b'a'; 0x4000], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(post("Transfer-Encoding: chunked", &chunks).status, 413);
    assert!(matches!(post("Content-Length: 5\r\nContent-Length: 6", b"a=b").status, 0 | 400));
    assert!(matches!(post("Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n").status, 0 | 400));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    assert!(matches!(raw(device.address, long.as_bytes()).status, 0 | 431));
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n", &[0; 4000]]
    {
        let mut stream = TcpStream::connect(device.address).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(device.browser().get("/login").status, 200, "and it is still there");
}

/// A connection from another address of loopback.
fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((IpAddr::from(address), 0))).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

#[test]
fn a_client_that_says_little_keeps_nobody_else_out_and_is_cut_off() {
    let device = Device::start();
    let slow = |head: &str| {
        let mut stream = from([127, 0, 0, 2], device.address);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let post = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken=";
    let mut silent: Vec<TcpStream> = (0..10).map(|_| slow("GET / HT")).chain([slow(""), slow(post)]).collect();
    let start = Instant::now();
    assert_eq!(device.browser().get("/login").status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "others are answered at once");
    // It has no more than its share.
    let mut further = from([127, 0, 0, 2], device.address);
    let _ = further.write_all(b"GET /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = vec![];
    let _ = further.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = vec![];
        let read = stream.read_to_end(&mut answer);
        assert!(read.is_ok() || read.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset, "it was not cut off");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
    }
    assert!(start.elapsed() > Duration::from_secs(5), "it had its time");
}

#[test]
fn a_technician_sees_and_a_reader_says() {
    let device = Device::start();
    let study = device.film(1, "positive");
    let mut technician = device.logged_in("tom");
    let page = technician.get(&format!("/study/{study}"));
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("/feedback") && !page.text().contains("/agreement"));
    assert_eq!(technician.get("/agreement").status, 403);
    let token = technician.get("/").token("/logout");
    let answer = technician.post(&format!("/study/{study}/feedback"), &[("token", &token), ("opinion", "agree")]);
    assert_eq!(answer.status, 403);
    assert_eq!(device.journal().feedback_of(study).unwrap(), []);
    let status = technician.get("/status").text();
    assert!(status.contains("thorax-xray 0.1.0") && status.contains("pacs") && status.contains("works, but somebody"));

    // Who is made a reader has to log in again, and so has who is removed.
    users::add(&device.users(), "tom", users::Role::Reader, PASSWORD).unwrap();
    assert_eq!(technician.get("/").status, 303);
    let mut reader = device.logged_in("tom");
    assert_eq!(reader.say(study, "agree", "").status, 303);
    users::remove(&device.users(), "tom").unwrap();
    assert_eq!(reader.get("/").status, 303);
}

#[test]
fn what_a_reader_says_outlasts_the_device_going_down() {
    let device = Device::start();
    let (one, two) = (device.film(1, "positive"), device.film(2, "negative"));
    let mut reader = device.logged_in("ada");
    assert_eq!(reader.say(one, "disagree", "left base\nसामान्य").status, 303);
    assert_eq!(reader.say(two, "agree", "").status, 303);
    for (opinion, note) in [("perhaps", ""), ("note", "  "), ("agree", &"x".repeat(2001))] {
        assert_eq!(reader.say(one, opinion, note).status, 400, "{opinion}");
    }
    assert_eq!(
        reader
            .post("/study/999/feedback", &[("token", &reader.clone().get("/").token("/logout")), ("opinion", "agree")])
            .status,
        404
    );

    device.close_journal();
    assert_eq!(reader.get("/").status, 503, "without a journal there is nothing to show");
    device.open_journal();
    let said = device.journal().feedback_of(one).unwrap();
    assert_eq!(said.len(), 1);
    let said = &said[0].1;
    assert_eq!((&*said.reader, said.opinion, &*said.note), ("ada", Opinion::Disagree, "left base\nसामान्य"));
    assert_eq!((&*said.verdict, said.bundle.as_deref()), ("positive", Some("thorax-xray 0.1.0")));
    assert!(reader.get(&format!("/study/{one}")).text().contains("left base\nसामान्य"));
    let agreement = reader.get("/agreement").text();
    let cells = |verdict: &str, counts: &str| {
        let row = agreement.split("<tr>").find(|row| row.contains(&format!("verdict {verdict}"))).unwrap();
        assert!(
            row.ends_with(&format!("<td>{}</td></tr>", counts.replace(' ', "</td><td>").replace('_', " ")))
                || row.contains(&counts.replace(' ', "</td><td>").replace('_', " ")),
            "{row}"
        );
    };
    cells("positive", "0 1 0_%");
    cells("negative", "1 0 100_%");
    assert_eq!(device.journal().verify().unwrap().problems, []);
}

#[test]
fn what_is_seen_and_taken_is_in_the_audit_without_a_name() {
    let device = Device::start();
    let study = device.film(1, "positive");
    let mut reader = device.logged_in("ada");
    let page = reader.get(&format!("/study/{study}")).text();
    assert!(page.contains("class=\"show-infection\"") && page.contains("class=\"layer infection\""), "{page}");
    for (what, file, kind) in
        [("picture", 2, "image/png"), ("file", 6, "application/dicom"), ("file", 0, "application/json")]
    {
        let answer = reader.get(&format!("/study/{study}/{what}/{file}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{what} {file}");
        let disposition = answer.header("content-disposition");
        match file {
            2 => assert!(disposition.is_none() && answer.body == PNG),
            6 => assert_eq!(disposition, Some(&*format!("attachment; filename=\"study-{study}-sr.dcm\""))),
            _ => assert!(disposition.unwrap().contains("outcome.json")),
        }
    }
    assert_eq!(reader.get(&format!("/study/{study}/picture/6")).status, 404, "only pictures are looked at");
    let record = reader.get(&format!("/study/{study}/record.json"));
    let record: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
    assert_eq!(record["result"]["verdict"], "positive");
    reader.get(&format!("/study/{study}/print"));
    // A picture that is called up alone is a study that was seen.
    let mut alone = device.logged_in("tom");
    alone.get(&format!("/study/{study}/picture/2"));

    let audit: Vec<_> = device.journal().latest_audit(99).unwrap().into_iter().rev().map(|(_, line)| line).collect();
    let events: Vec<&AuditEvent> = audit.iter().map(|line| &line.event).collect();
    let download = |label: &str| AuditEvent::Download { label: label.into() };
    assert_eq!(
        events,
        [
            &AuditEvent::Login,
            &AuditEvent::StudySeen,
            &download("sr.dcm"),
            &download("outcome.json"),
            &download("record.json"),
            &download("page.html"),
            &AuditEvent::Login,
            &AuditEvent::StudySeen,
        ]
    );
    assert!(audit.iter().all(|line| line.address == "127.0.0.1"));
    let mut table = vec![];
    device.journal().export_audit_csv(&mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(
        !table.contains("Doe") && !table.contains("PID-") && table.contains(",ada,127.0.0.1,study seen,"),
        "{table}"
    );
}

#[test]
fn studies_are_listed_newest_first_by_verdict_and_page_by_page() {
    let device = Device::start();
    let numbers: Vec<u64> = (0..30).map(|i| device.film(i, if i == 3 { "refer" } else { "negative" })).collect();
    let mut reader = device.logged_in("ada");
    let listed = |text: &str| -> Vec<u64> {
        let links = text.split("<a href=\"/study/").skip(1);
        links.map(|link| link.split_once('"').unwrap().0.parse().unwrap()).collect()
    };
    let first = reader.get("/").text();
    assert_eq!(listed(&first), numbers[5..].iter().rev().copied().collect::<Vec<_>>());
    let next = format!("/?before={}", numbers[5]);
    assert!(first.contains(&format!("href=\"{next}\"")), "{first}");
    let second = reader.get(&next).text();
    assert_eq!(listed(&second), numbers[..5].iter().rev().copied().collect::<Vec<_>>());
    assert!(!second.contains("rel=\"next\"") && second.contains("87 %"));
    assert_eq!(listed(&reader.get("/?verdict=refer").text()), [numbers[3]]);
    assert!(listed(&reader.get("/?verdict=positive").text()).is_empty());
}

#[test]
fn over_tls_cookies_are_this_host_s_alone() {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("page.pem"), files.path().join("page.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let device = Device::with(|config| {
        config.certificate = Some(certificate.clone());
        config.key = Some(key.clone());
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(client, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(device.address).unwrap());
    stream.write_all(b"GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    let answer = Answer::parse(&answer);
    assert_eq!(answer.status, 200);
    let cookies = answer.cookies();
    assert!(
        cookies[0].starts_with("__Host-thorax-login=") && cookies[0].ends_with("; SameSite=Strict; Secure"),
        "{cookies:?}"
    );
    // Whoever speaks plainly gets no page.
    assert!(!raw(device.address, b"GET /login HTTP/1.1\r\nHost: x\r\n\r\n").text().contains("Thorax"));

    std::fs::write(&key, "no key").unwrap();
    let config = thorax_page::Config {
        address: ([127, 0, 0, 1], 0).into(),
        certificate: Some(certificate),
        key: Some(key),
        users: device.users(),
        ..thorax_page::Config::default()
    };
    let told = thorax_page::start(&config, device.appliance.clone()).unwrap_err().to_string();
    assert!(told.contains("page.key cannot be used for TLS"), "{told}");
}

#[test]
fn a_form_is_answered_by_who_asks() {
    // Two browsers of two people on one device do not mix.
    let device = Device::start();
    let (mut ada, mut tom): (Browser, Browser) = (device.logged_in("ada"), device.logged_in("tom"));
    assert!(ada.get("/").text().contains("<bdi>ada</bdi>") && tom.get("/").text().contains("<bdi>tom</bdi>"));
    ada.cookies.insert(
        "thorax-session".into(),
        format!("{}; thorax-session={}", ada.cookies["thorax-session"], tom.cookies["thorax-session"]),
    );
    assert_eq!(ada.get("/").status, 303, "two cookies of one name are none");
}

#[test]
fn a_technician_installs_a_bundle_from_a_stick_and_takes_it_back() {
    let device = Device::start();
    let mut technician = device.logged_in("tom");
    let page = technician.get("/bundles");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("what the profile names") && !page.text().contains("<script"), "{}", page.text());
    let token = page.token("/bundles/install");
    let stick = "07".repeat(32);
    let with = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        let token = ("token", token.clone());
        fields.iter().map(|(name, value)| (*name, (*value).to_owned())).chain([token]).collect()
    };
    let mut post = |path: &str, fields: &[(&'static str, &str)]| {
        let fields = with(fields);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        technician.post(path, &fields)
    };
    // Nothing that is no hash, and no hash of nothing; without the form's token neither.
    assert_eq!(post("/bundles/install", &[("sha256", "../../etc/passwd")]).status, 400);
    let gone = post("/bundles/install", &[("sha256", &"08".repeat(32))]);
    assert!(gone.status == 409 && gone.text().contains("put the stick in again"), "{}", gone.text());
    let installed = post("/bundles/install", &[("sha256", &stick)]);
    assert_eq!((installed.status, installed.header("location")), (303, Some("/bundles?installed")));
    for (modality, why, status) in
        [("mri", "x", 400), ("xray", "", 400), ("xray", &"x".repeat(201), 400), ("xray", "too many referred", 303)]
    {
        assert_eq!(post("/bundles/rollback", &[("modality", modality), ("why", why)]).status, status, "{modality}");
    }
    assert_eq!(technician.post("/bundles/install", &[("sha256", &stick)]).status, 400, "no token");
    assert_eq!(technician.get("/bundles/install").status, 405);
    // A reader has nothing to do there.
    assert_eq!(device.logged_in("ada").get("/bundles").status, 403);
}
