//! A real Orthanc, by `tests/orthanc.sh`.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::archive::request;

/// Who asks its REST interface.
pub(crate) const USER: &str = "thorax";
pub(crate) const PASSWORD: &str = "phantom";

pub(crate) struct Orthanc {
    script: PathBuf,
    child: Option<Child>,
    pub(crate) folder: TempDir,
    pub(crate) dicom: u16,
    pub(crate) http: u16,
    modalities: Vec<String>,
    /// Certificates, where its DICOM port speaks TLS.
    tls: Option<PathBuf>,
}

/// A server that speaks TLS in front of an Orthanc that does not, as nginx would: its port. One request a connection.
pub(crate) fn tls_in_front(http: u16, certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pass = move |wire: TcpStream| -> Option<()> {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).ok()?, wire);
        let asked = request(&mut tls)?;
        let mut behind = TcpStream::connect(("127.0.0.1", http)).ok()?;
        behind.write_all(format!("{}\r\nConnection: close\r\n\r\n", asked.head).as_bytes()).ok()?;
        behind.write_all(&asked.body).ok()?;
        let mut answer = vec![];
        behind.read_to_end(&mut answer).ok()?;
        tls.write_all(&answer).ok()?;
        tls.conn.send_close_notify();
        tls.flush().ok()
    };
    std::thread::spawn(move || listener.incoming().for_each(|wire| pass(wire.unwrap()).unwrap_or_default()));
    port
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Orthanc {
    /// Started, with the AE title `ARCHIVE`; `None` where Orthanc is not installed. `modalities`: as the script takes them.
    #[track_caller]
    pub(crate) fn start(modalities: &[String]) -> Option<Self> {
        Self::start_with(modalities, None)
    }

    /// The same, with DICOM behind TLS by the certificates of a folder.
    #[track_caller]
    pub(crate) fn start_with(modalities: &[String], tls: Option<PathBuf>) -> Option<Self> {
        let script = thorax_wanted::orthanc()?;
        let mut orthanc = Self {
            script,
            child: None,
            folder: tempfile::tempdir().unwrap(),
            dicom: free_port(),
            http: free_port(),
            modalities: modalities.to_vec(),
            tls,
        };
        orthanc.begin();
        Some(orthanc)
    }

    /// Started, again if it was ended.
    pub(crate) fn begin(&mut self) {
        let mut command = Command::new("bash");
        command.arg(&self.script).arg(self.folder.path()).arg("ARCHIVE");
        command.arg(self.dicom.to_string()).arg(self.http.to_string()).args(&self.modalities);
        if let Some(folder) = &self.tls {
            command.env("THORAX_DICOM_TLS", folder);
        }
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(60);
        // Its DICOM port is open before its web server is.
        while TcpStream::connect(("127.0.0.1", self.http)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() || Instant::now() > end {
                panic!("Orthanc does not start: {ended:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Killed, as when somebody pulls the plug.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("orthanc.log")).unwrap_or_default();
        log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn authorization() -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let request = ureq::get(self.url(path)).header("Authorization", Self::authorization());
        let bytes = request.call().ok()?.body_mut().read_to_vec().ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap_or_else(|| panic!("no answer to {path}\n{}", self.log()))
    }

    /// Orthanc's own name of an instance.
    pub(crate) fn lookup(&self, uid: &str) -> String {
        self.send("/tools/lookup", uid)[0]["ID"].as_str().unwrap().to_owned()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.send(path, &body.to_string())
    }

    fn send(&self, path: &str, body: &str) -> Value {
        let request = ureq::post(self.url(path)).header("Authorization", Self::authorization());
        let mut response = request.send(body).unwrap();
        serde_json::from_slice(&response.body_mut().read_to_vec().unwrap()).unwrap()
    }

    pub(crate) fn delete(&self, path: &str) {
        ureq::delete(self.url(path)).header("Authorization", Self::authorization()).call().unwrap();
    }

    /// The SOP Instance UIDs of all that it has, sorted.
    pub(crate) fn instances(&self) -> Vec<String> {
        let all = self.get("/instances?expand&limit=100000&since=0");
        let uid = |instance: &Value| instance["MainDicomTags"]["SOPInstanceUID"].as_str().unwrap().to_owned();
        let mut uids: Vec<String> = all.as_array().unwrap().iter().map(uid).collect();
        uids.sort();
        uids
    }

    /// How many instances it has.
    pub(crate) fn count(&self) -> u64 {
        self.get("/statistics")["CountInstances"].as_u64().unwrap()
    }

    /// The file of an instance.
    pub(crate) fn file(&self, uid: &str) -> Vec<u8> {
        let url = self.url(&format!("/instances/{}/file", self.lookup(uid)));
        let mut response = ureq::get(url).header("Authorization", Self::authorization()).call().unwrap();
        response.body_mut().read_to_vec().unwrap()
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        self.kill();
    }
}
