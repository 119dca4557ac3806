//! The port behind TLS, called by DCMTK with certificates that are made here.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use thorax_intake::{Config, tls};

use crate::{
    Device,
    dcmtk::{dcmtk, films},
    peer::{CR, Peer},
    succeeded,
};

/// An authority, and what it has signed: `NAME.pem` and `NAME.key`; `ca.pem` is its own.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        // Whoever has the name of its issuer is taken for its own.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        authority.sign("device");
        authority.sign("cart");
        authority
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn tls(&self, client_ca: Option<PathBuf>) -> tls::Server {
        tls::Server { certificate: self.path("device.pem"), key: self.path("device.key"), client_ca }
    }
}

fn device(tls: tls::Server) -> Device {
    Device::start(|config, _| {
        config.tls = Some(tls);
        config.association_seconds = 1;
    })
}

fn call(program: &str, port: u16, options: &[&str], files: &[PathBuf]) -> Output {
    dcmtk(program)
        .unwrap()
        .args(["-v", "-aet", "CART", "-aec", "THORAX"])
        .args(options)
        .args(["127.0.0.1", &port.to_string()])
        .args(files)
        .output()
        .unwrap()
}

fn refused(output: &Output, device: &Device) {
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(device.objects(), 0);
}

#[test]
fn films_come_through_tls_and_nobody_gets_in_without() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let authority = Authority::new();
    let device = device(authority.tls(None));
    let port = device.port();
    let folder = tempfile::tempdir().unwrap();
    let films = films(folder.path(), 3, 5);
    let ca = authority.text("ca.pem");

    // Without TLS, and with it where the client does not trust the device.
    refused(&call("storescu", port, &[], &films[..1]), &device);
    refused(&call("storescu", port, &["+tla", "+cf", &Authority::new().text("ca.pem")], &films[..1]), &device);
    // Whoever offers nothing better than what is broken.
    refused(&call("storescu", port, &["+tla", "+cf", &ca, "+pa"], &films[..1]), &device);

    succeeded(&call("echoscu", port, &["+tla", "+cf", &ca], &[]));
    for (profile, film) in ["+py", "+px", "+pz"].iter().zip(&films) {
        succeeded(&call("storescu", port, &["+tla", "+cf", &ca, profile], std::slice::from_ref(film)));
    }
    succeeded(&call("storescu", port, &["+tla", "+cf", &ca], &films));
    assert_eq!(device.objects(), films.len());
    // A stranger's AE title is refused here as well.
    let mut stranger = dcmtk("echoscu").unwrap();
    stranger.args(["-aet", "STRANGER", "-aec", "THORAX", "+tla", "+cf", &ca, "127.0.0.1", &port.to_string()]);
    assert!(!stranger.output().unwrap().status.success());
    device.intake.stop();
}

#[test]
fn a_site_s_authority_lets_in_its_own_alone() {
    if dcmtk("storescu").is_none() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let device = device(authority.tls(Some(authority.path("ca.pem"))));
    let port = device.port();
    let folder = tempfile::tempdir().unwrap();
    let films = films(folder.path(), 1, 6);
    let ca = authority.text("ca.pem");
    refused(&call("storescu", port, &["+tla", "+cf", &ca], &films), &device);
    let strange = ["+tls", &other.text("cart.key"), &other.text("cart.pem"), "+cf", &ca];
    refused(&call("storescu", port, &strange, &films), &device);
    let ours = ["+tls", &authority.text("cart.key"), &authority.text("cart.pem"), "+cf", &ca];
    succeeded(&call("storescu", port, &ours, &films));
    assert_eq!(device.objects(), films.len());
}

#[test]
fn a_slow_handshake_is_cut_off_and_plain_words_are_refused() {
    let authority = Authority::new();
    let device = device(authority.tls(None));
    // A plain peer gets no association: an alert, or an end.
    let port = device.port();
    let plain = std::panic::catch_unwind(|| Peer::try_ask(port, "CART", "THORAX", &[(CR, "1.2.840.10008.1.2")]));
    assert!(!matches!(plain, Ok(Some(_))), "an alert is no PDU");
    // Begins like a handshake, and goes on byte by byte for ever.
    let mut slow = TcpStream::connect(("127.0.0.1", device.port())).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let began = Instant::now();
    let head = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut bytes = head.iter().copied().chain(std::iter::repeat(0));
    let ended = loop {
        let sent = slow.write_all(&[bytes.next().unwrap()]);
        std::thread::sleep(Duration::from_millis(100));
        if sent.is_err() || began.elapsed() > Duration::from_secs(15) {
            break began.elapsed();
        }
    };
    assert!(ended < Duration::from_secs(5), "cut off after {ended:?}");
    // And one that says nothing at all.
    let mut silent = TcpStream::connect(("127.0.0.1", device.port())).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let began = Instant::now();
    let _ = silent.read(&mut [0; 64]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Whoever shakes hands as one should is served meanwhile.
    if dcmtk("echoscu").is_some() {
        let waiting: Vec<TcpStream> =
            (0..5).map(|_| TcpStream::connect(("127.0.0.1", device.port())).unwrap()).collect();
        succeeded(&call("echoscu", device.port(), &["+tla", "+cf", &authority.text("ca.pem")], &[]));
        drop(waiting);
    }
}

#[test]
fn what_is_no_certificate_or_another_s_key_is_refused_at_the_start_by_name() {
    let authority = Authority::new();
    let check = |change: &dyn Fn(&mut tls::Server, &Path), words: &[&str]| {
        let mut tls = authority.tls(Some(authority.path("ca.pem")));
        change(&mut tls, authority.folder.path());
        let folder = tempfile::tempdir().unwrap();
        let journal = thorax_journal::Journal::open(folder.path(), thorax_journal::Settings::default()).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let config = Config { address, tls: Some(tls), accept_any_peer: true, ..Config::default() };
        let told = thorax_intake::Intake::start(config, journal.into(), Default::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    check(&|tls, _| tls.certificate = "/nowhere.pem".into(), &["tls.certificate", "/nowhere.pem"]);
    check(&|tls, at| tls.certificate = at.join("device.key"), &["tls.certificate", "no certificate"]);
    check(&|tls, at| tls.key = at.join("device.pem"), &["tls.key"]);
    check(&|tls, at| tls.key = at.join("cart.key"), &["tls.key"]);
    check(&|tls, at| tls.client_ca = Some(at.join("cart.key")), &["tls.client_ca", "no certificate"]);
}
