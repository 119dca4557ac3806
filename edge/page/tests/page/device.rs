//! A device with a journal and no models, its page on a port of its own, and a browser that does what it is told.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use thorax_journal::{Hash, Journal, Kind, Received, ReceivedObject, Settings, Source, Summary};
use thorax_page::{Appliance, Config, Installed, Offered, start, users};
use thorax_shared::{modality::Modality, reason::Reason};

/// What a hostile sender would call a patient.
pub(crate) const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;";
/// The smallest picture there is: eight bytes that a PNG begins with, and some more.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on";
pub(crate) const PASSWORD: &str = "correct horse";

#[derive(Debug, Default)]
pub(crate) struct Box7(Mutex<Option<Arc<Journal>>>, Mutex<bool>);

impl Appliance for Box7 {
    fn journal(&self) -> Option<Arc<Journal>> {
        self.0.lock().unwrap().clone()
    }

    fn trouble(&self) -> Option<String> {
        Some(format!("trouble {HOSTILE}"))
    }

    fn bundles(&self) -> Vec<String> {
        vec!["thorax-xray 0.1.0".into()]
    }

    fn installed(&self) -> Vec<Installed> {
        let taken_back = Some((format!("old {HOSTILE}"), format!("why {HOSTILE}")));
        let active = self.1.lock().unwrap().then(|| format!("thorax-xray 0.2.0 {HOSTILE}"));
        vec![Installed { modality: Modality::Xray, active, trial: Some((3, 50)), former: None, taken_back }]
    }

    fn offered(&self) -> Vec<Offered> {
        vec![Offered { sha256: [7; 32], title: format!("thorax-xray 0.2.0 {HOSTILE}"), modality: Modality::Xray }]
    }

    fn install(&self, sha256: &Hash, by: &str) -> Result<(), Reason> {
        if *sha256 != [7; 32] {
            return Err(Reason::new("the reading software is not there any more", "put the stick in again"));
        }
        assert_eq!(by, "tom");
        *self.1.lock().unwrap() = true;
        Ok(())
    }

    fn roll_back(&self, modality: Modality, why: &str, by: &str) -> Result<(), Reason> {
        assert_eq!((modality, why, by), (Modality::Xray, "too many referred", "tom"));
        *self.1.lock().unwrap() = false;
        Ok(())
    }
}

pub(crate) struct Device {
    pub(crate) folder: TempDir,
    pub(crate) appliance: Arc<Box7>,
    pub(crate) address: SocketAddr,
}

fn settings() -> Settings {
    Settings { quiet_seconds: 0, reserve_bytes: 0, ..Settings::default() }
}

impl Device {
    /// With a reader `ada` and a technician `tom`, on plain loopback.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.users");
        users::add(&file, "ada", users::Role::Reader, PASSWORD).unwrap();
        users::add(&file, "tom", users::Role::Technician, PASSWORD).unwrap();
        let journal = Journal::open(&folder.path().join("journal"), settings()).unwrap();
        let appliance = Arc::new(Box7(Mutex::new(Some(Arc::new(journal))), Mutex::default()));
        let mut config = Config { address: ([127, 0, 0, 1], 0).into(), users: file, ..Config::default() };
        change(&mut config);
        let address = start(&config, appliance.clone()).unwrap();
        Self { folder, appliance, address }
    }

    pub(crate) fn users(&self) -> PathBuf {
        self.folder.path().join("page.users")
    }

    pub(crate) fn journal(&self) -> Arc<Journal> {
        self.appliance.journal().unwrap()
    }

    /// Closes the journal, as before a restart.
    pub(crate) fn close_journal(&self) {
        let journal = self.appliance.0.lock().unwrap().take().unwrap();
        while Arc::strong_count(&journal) > 1 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn open_journal(&self) {
        let journal = Journal::open(&self.folder.path().join("journal"), settings()).unwrap();
        *self.appliance.0.lock().unwrap() = Some(Arc::new(journal));
    }

    fn receive(&self, kind: Kind, bytes: &[u8]) {
        let journal = self.journal();
        let mut writer = journal.begin_object().unwrap();
        writer.write(bytes).unwrap();
        let source = Source::Folder { folder: "usb".into(), file: format!("{HOSTILE}.png") };
        assert!(matches!(writer.commit(ReceivedObject { kind, source }).unwrap(), Received::Accepted { .. }));
    }

    /// A film that was read: its patient, its cause, all that a sender says is hostile. Gives its number.
    pub(crate) fn film(&self, number: u32, verdict: &str) -> u64 {
        let uid = format!("2.25.{number}");
        let kind = Kind::Dicom {
            sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
            sop_instance_uid: format!("{uid}.3"),
            study_instance_uid: uid.clone(),
            series_instance_uid: format!("{uid}.2"),
            transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
        };
        self.receive(kind, &dicom(&uid));
        self.finish(verdict)
    }

    /// A picture that was not read.
    pub(crate) fn picture(&self) -> u64 {
        self.receive(Kind::Picture, PNG);
        self.finish("rejected")
    }

    fn finish(&self, verdict: &str) -> u64 {
        let journal = self.journal();
        let number = journal.take().unwrap().unwrap().number;
        let cause = (verdict == "rejected").then(|| format!("too blurred; {HOSTILE}"));
        let summary = Summary {
            modality: Some("xray".into()),
            verdict: verdict.into(),
            cause: cause.clone(),
            remedy: Some("take or scan the image again".into()),
            probability: Some(0.873),
            bundle: Some("thorax-xray 0.1.0".into()),
            bundle_sha256: Some([7; 32]),
            ..Summary::default()
        };
        let labels = ["panel.png", "picture.png", "heat.png", "lungs.png", "infection.png", "sr.dcm"];
        let outcome = serde_json::json!({ "readings": [{
            "verdict": verdict, "modality": "xray", "cause": cause, "remedy": summary.remedy, "probability": 0.873,
            "entropy_bits": 0.25, "involvement_left_percent": 12.5, "quality": 0.75, "bundle": "thorax-xray 0.1.0",
            "notes": [HOSTILE], "results": labels, "unknown": {},
        }] });
        let outcome = outcome.to_string().into_bytes();
        let mut files: Vec<(&str, &[u8])> = vec![("outcome.json", &outcome)];
        files.extend(labels.map(|label| (label, if label.ends_with("png") { PNG } else { &b"DICM"[..] })));
        journal.finish(number, summary, &files, &["pacs"]).unwrap();
        number
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser { address: self.address, cookies: BTreeMap::new(), extra: vec![] }
    }

    /// A browser in which somebody is logged in.
    pub(crate) fn logged_in(&self, name: &str) -> Browser {
        let mut browser = self.browser();
        let answer = browser.log_in(name, PASSWORD);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.text());
        browser
    }
}

/// A Part 10 file (PS3.10, 7.1) of a film without pixels, in explicit little endian.
fn dicom(uid: &str) -> Vec<u8> {
    let element = |tag: (u16, u16), vr: &str, value: &[u8]| {
        let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
        bytes.extend_from_slice(vr.as_bytes());
        let length = value.len() + value.len() % 2;
        bytes.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(8 + length, if vr == "UI" { 0 } else { b' ' });
        bytes
    };
    let class = b"1.2.840.10008.5.1.4.1.1.1";
    let instance = format!("{uid}.3").into_bytes();
    let meta = [
        element((2, 2), "UI", class),
        element((2, 3), "UI", &instance),
        element((2, 0x10), "UI", b"1.2.840.10008.1.2.1"),
        element((2, 0x12), "UI", b"2.25.1"),
    ]
    .concat();
    let length = element((2, 0), "UL", &u32::try_from(meta.len()).unwrap().to_le_bytes());
    let set = [
        element((8, 0x16), "UI", class),
        element((8, 0x18), "UI", &instance),
        element((0x10, 0x10), "PN", format!("Doe^{HOSTILE}").as_bytes()),
        element((0x10, 0x20), "LO", b"PID-<b>4711</b>"),
        element((0x20, 0xd), "UI", uid.as_bytes()),
        element((0x20, 0xe), "UI", format!("{uid}.2").as_bytes()),
        element((0x28, 0x10), "US", &16_u16.to_le_bytes()),
        element((0x28, 0x11), "US", &16_u16.to_le_bytes()),
    ]
    .concat();
    [&[0; 128][..], b"DICM", &length, &meta, &set].concat()
}

/// An answer of the server; of status 0 when it just hung up.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Self { status: 0, headers: vec![], body: bytes.to_vec() };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        self.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The token of the form that goes to `action`.
    pub(crate) fn token(&self, action: &str) -> String {
        let text = self.text();
        let form = text.split_once(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form: {text}")).1;
        form.split_once("name=\"token\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    }
}

/// Sends bytes as they are, and reads until the server hangs up.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // A server that has seen enough hangs up before all is written.
    let _ = stream.write_all(request);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&answer)
}

#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// Further headers, a line each.
    pub(crate) extra: Vec<String>,
}

impl Browser {
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if !cookies.is_empty() {
            head += &format!("Cookie: {}\r\n", cookies.join("; "));
        }
        if method == "POST" {
            head += &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
        }
        self.extra.iter().for_each(|line| head += &format!("{line}\r\n"));
        let answer = raw(self.address, format!("{head}\r\n{body}").as_bytes());
        for cookie in answer.cookies() {
            let (name, rest) = cookie.split_once('=').unwrap();
            match rest.split_once(';').unwrap() {
                (_, flags) if flags.contains("Max-Age=0") => drop(self.cookies.remove(name)),
                (value, _) => drop(self.cookies.insert(name.into(), value.into())),
            }
        }
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| {
            let encoded = text.bytes().map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            });
            encoded.collect::<String>()
        };
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        self.ask("POST", path, &body.join("&"))
    }

    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> Answer {
        let token = self.get("/login").token("/login");
        self.post("/login", &[("token", &token), ("name", name), ("password", password)])
    }

    /// Says something of a study, by the form on its page.
    pub(crate) fn say(&mut self, study: u64, opinion: &str, note: &str) -> Answer {
        let action = format!("/study/{study}/feedback");
        let token = self.get(&format!("/study/{study}")).token(&action);
        self.post(&action, &[("token", &token), ("opinion", opinion), ("note", note)])
    }
}

/// All bytes below a folder, for what must not be in them.
pub(crate) fn all_bytes(folder: &std::path::Path) -> Vec<u8> {
    let mut bytes = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { fs::read(path).unwrap() });
    }
    bytes
}
