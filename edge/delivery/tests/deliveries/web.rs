//! What an archive on the web answers, and what comes of it.

use std::{fs, time::Duration};

use thorax_delivery::{Config, Deliveries, DeliveryError, Web};
use thorax_journal::DeliveryState;

use crate::{
    archive::{Request, WebArchive, answer, failed, json, stored},
    device::{Device, config, status, to_web, until, web},
};

/// The object in a request, by its SOP Instance UID in the file's head.
fn instance(request: &Request) -> String {
    let text = String::from_utf8_lossy(&request.body);
    let at = text.find("2.25.").unwrap();
    text[at..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

#[test]
fn an_object_is_a_part_of_a_request_of_its_own() {
    let archive = WebArchive::start(|_, request| stored(&instance(request)));
    let device = Device::with(1, &["web"]);
    let token = device.folder.path().join("token");
    fs::write(&token, "abc.def\n").unwrap();
    let to = Web { token_file: Some(token), ..web(archive.port) };
    let deliveries = device.start(config(vec![to_web("web", to)]));
    until("it arrives", 20, || device.arrived("web") == 1);
    let requests = archive.requests.lock().unwrap();
    assert_eq!(requests.len(), 3);
    for (request, sent) in requests.iter().zip(&device.sent[0]) {
        let head = request.head.to_ascii_lowercase();
        assert!(head.starts_with("post /dicom-web/studies http/1.1"), "{head}");
        assert!(head.contains("accept: application/dicom+json"), "{head}");
        assert!(request.head.contains("Bearer abc.def"), "{head}");
        assert!(!head.contains("chunked"), "{head}");
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        let boundary = kind.strip_prefix("multipart/related; type=\"application/dicom\"; boundary=").unwrap();
        let expected = [
            format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes(),
            &sent.file,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        assert!(request.body == expected, "the file as it is, between its boundaries");
    }
    let told = status(&deliveries, "web");
    assert_eq!((told.delivered, told.objects, told.waiting), (1, 3, 0));
}

#[test]
fn a_refusal_is_told_and_not_tried_again() {
    type Reply = fn(&str) -> Vec<u8>;
    let all: [(Reply, &str); 8] = [
        (|uid| failed("409 Conflict", uid, 0xa900), "the data set does not match its class"),
        (|uid| failed("202 Accepted", uid, 0xc000), "it cannot understand the object"),
        (|uid| failed("400 Bad Request", uid, 0x0122), "does not take objects of this class"),
        (|uid| failed("200 OK", uid, 0x0272), "does not take this transfer syntax"),
        (|_| answer("400 Bad Request", "text/html", "<p>no</p>"), "HTTP status 400"),
        (|_| answer("413 Content Too Large", "text/plain", ""), "HTTP status 413"),
        (|_| answer("415 Unsupported Media Type", "text/plain", ""), "HTTP status 415"),
        (|_| json("409 Conflict", "{}"), "HTTP status 409"),
    ];
    for (reply, cause) in all {
        let archive = WebArchive::start(move |number, request| match number {
            1 => reply(&instance(request)),
            _ => stored(&instance(request)),
        });
        let device = Device::with(1, &["web"]);
        let deliveries = device.start(config(vec![to_web("web", web(archive.port))]));
        until("it is given up", 10, || device.delivery(0, "web").1.state.is_over());
        let (_, delivery) = device.delivery(0, "web");
        let DeliveryState::GivenUp { cause: told, .. } = delivery.state else { panic!("{cause}: {delivery:?}") };
        assert!(told.contains(cause) && told.contains("Comprehensive 3D SR"), "{told}");
        assert_eq!((delivery.arrived.len(), archive.requests.lock().unwrap().len()), (2, 3));
        deliveries.stop();
    }
}

#[test]
fn whatever_may_pass_is_tried_again_and_nothing_twice() {
    type Reply = fn(&str) -> Vec<u8>;
    let deep = || json("200 OK", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let all: [(Reply, &str, &str); 17] = [
        (|uid| failed("202 Accepted", uid, 0xa700), "no room", "make room"),
        (|_| answer("503 Service Unavailable", "text/plain", ""), "cannot take it now", "tried again"),
        (|_| answer("429 Too Many Requests", "text/plain", ""), "cannot take it now", "tried again"),
        (|_| answer("500 Internal Server Error", "text/plain", ""), "cannot take it now", "log"),
        (|_| answer("401 Unauthorized", "text/plain", ""), "does not know us", "password or token"),
        (|_| answer("403 Forbidden", "text/plain", ""), "does not know us", "may store"),
        (|_| answer("404 Not Found", "text/plain", ""), "is no place to store", "address"),
        (
            |_| b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "elsewhere",
            "redirects",
        ),
        (
            |_| answer("200 OK", "text/html", "<p>hello</p>"),
            "does not say what it has stored",
            "application/dicom+json",
        ),
        (|_| json("200 OK", "{}"), "the instance is not in its answer", "application/dicom+json"),
        (|_| stored("1.2.3"), "the instance is not in its answer", "application/dicom+json"),
        (|_| json("200 OK", "{\"00081199\":"), "no JSON", "application/dicom+json"),
        (|_| json("200 OK", "{\"00081199\":{\"Value\":7}}"), "not DICOM's", "application/dicom+json"),
        (|_| vec![], "broke off", "same UIDs"),
        (|_| b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), "broke off", "same UIDs"),
        (
            |_| {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 4000000000\r\n\r\n{"
                    .to_vec()
            },
            "broke off",
            "same UIDs",
        ),
        (|_| answer("204 No Content", "text/plain", ""), "does not say what it has stored", "DICOMweb"),
    ];
    let mut archives = vec![WebArchive::start(move |number, request| match number {
        0 => deep(),
        _ => stored(&instance(request)),
    })];
    archives.extend(all.iter().map(|&(reply, ..)| {
        WebArchive::start(move |number, request| match number {
            1 => reply(&instance(request)),
            _ => stored(&instance(request)),
        })
    }));
    let names: Vec<String> = (0..archives.len()).map(|number| format!("web {number}")).collect();
    let device = Device::with(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let destinations = names.iter().zip(&archives).map(|(name, archive)| to_web(name, web(archive.port)));
    let deliveries = device.start(config(destinations.collect()));
    for (at, (name, archive)) in names.iter().zip(&archives).enumerate() {
        until(name, 30, || device.arrived(name) == 1);
        let (_, cause, remedy) = at.checked_sub(1).map_or((all[0].0, "no JSON", "dicom+json"), |at| all[at]);
        let told = status(&deliveries, name).last_error.unwrap();
        assert!(told.cause.contains(cause) && told.remedy.as_ref().unwrap().contains(remedy), "{cause}: {told}");
        let instances: Vec<String> = archive.requests.lock().unwrap().iter().map(instance).collect();
        assert_eq!(instances.len(), 4, "{cause}");
        let sent = &device.sent[0];
        let again = usize::from(at > 0);
        assert_eq!(
            (&instances[again], &instances[again + 1]),
            (&sent[again].instance, &sent[again].instance),
            "{cause}"
        );
        let (_, delivery) = device.delivery(0, name);
        assert_eq!((delivery.attempts, delivery.arrived.len()), (2, 3), "{cause}");
    }
    deliveries.stop();
}

#[test]
fn a_slow_archive_is_left_and_holds_nobody_up() {
    let slow = WebArchive::start(|number, request| {
        if number == 0 {
            std::thread::sleep(Duration::from_secs(20));
        }
        stored(&instance(request))
    });
    let well = WebArchive::start(|_, request| stored(&instance(request)));
    let device = Device::with(2, &["slow", "well"]);
    let hasty = Web { message_seconds: 1, ..web(slow.port) };
    let deliveries = device.start(config(vec![to_web("slow", hasty), to_web("well", web(well.port))]));
    until("the well one has all", 10, || device.arrived("well") == 2);
    until("the slow one has all", 15, || device.arrived("slow") == 2);
    let told = status(&deliveries, "slow").last_error.unwrap();
    assert!(told.cause.contains("broke off") && told.cause.contains("timeout"), "{told}");
}

#[test]
fn a_profile_without_a_key_to_the_archive_is_told() {
    let archive = WebArchive::start(|_, request| stored(&instance(request)));
    let device = Device::with(1, &["web"]);
    let password = device.folder.path().join("password");
    let to = Web { user: Some("box".into()), password_file: Some(password.clone()), ..web(archive.port) };
    let deliveries = device.start(config(vec![to_web("web", to)]));
    until("it is told", 10, || status(&deliveries, "web").last_error.is_some());
    let told = status(&deliveries, "web").last_error.unwrap();
    assert!(told.cause.contains("no password or token in"), "{told}");
    assert_eq!(archive.requests.lock().unwrap().len(), 0, "nothing is sent without it");
    fs::write(&password, "open sesame").unwrap();
    until("it arrives", 10, || device.arrived("web") == 1);
    // `box:open sesame` in base64.
    assert!(archive.requests.lock().unwrap()[0].head.contains("Basic Ym94Om9wZW4gc2VzYW1l"));
    let authority = device.folder.path().join("authority.pem");
    let start = |text: Option<&str>| {
        if let Some(text) = text {
            fs::write(&authority, text).unwrap();
        }
        let to = Web { ca_file: Some(authority.clone()), ..web(1) };
        Deliveries::start(Config { destinations: vec![to_web("w", to)], ..Config::default() }, device.journal.clone())
    };
    for text in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")] {
        let told = start(text).unwrap_err();
        assert!(matches!(told, DeliveryError::Authority { .. }), "{text:?}: {told}");
    }
}
