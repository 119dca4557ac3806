//! Archives that are not ours: DCMTK's storescp, and Orthanc.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    process::{Child, Command},
    sync::Arc,
    time::Instant,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use thorax_delivery::{Dicom, Web};
use thorax_dimse::tls;
use thorax_intake::{Config as IntakeConfig, Intake, Peer, Tally};

use crate::{
    archive::{Archive, Script},
    device::{Device, config, dicom, status, to_dicom, to_web, until, web},
    orthanc::{Orthanc, PASSWORD, USER, free_port, tls_in_front},
};

/// The SOP Instance UIDs of all that was made, sorted.
fn made(device: &Device) -> Vec<String> {
    let mut instances: Vec<String> = device.sent.iter().flatten().map(|sent| sent.instance.clone()).collect();
    instances.sort();
    instances
}

/// The data set of a file, without elements that an archive may add.
fn data_set(bytes: &[u8]) -> Vec<u8> {
    let mut written = vec![];
    let object = dicom_object::from_reader(bytes).unwrap();
    object.write_dataset(&mut written).unwrap();
    written
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dcmtk_takes_what_is_sent() {
    let Some(program) = thorax_wanted::dcmtk("storescp") else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["--aetitle", "ARCHIVE", "--output-directory"]).arg(folder.path()).arg(port.to_string());
    let _archive = Killed(command.spawn().unwrap());
    until("storescp listens", 20, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let device = Device::with(3, &["pacs"]);
    let _deliveries = device.start(config(vec![to_dicom("pacs", dicom(port))]));
    until("all arrive", 30, || device.arrived("pacs") == 3);
    let mut found: Vec<(String, Vec<u8>)> = vec![];
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let object = dicom_object::from_reader(&bytes[..]).unwrap();
        let uid = object.meta().media_storage_sop_instance_uid().trim_end_matches('\0').to_owned();
        found.push((uid, data_set(&bytes)));
    }
    found.sort();
    let mut sent: Vec<_> = device.sent.iter().flatten().map(|s| (s.instance.clone(), data_set(&s.file))).collect();
    sent.sort();
    assert!(found == sent, "{} of {}", found.len(), sent.len());
}

#[test]
fn orthanc_takes_all_objects_both_ways_and_each_once() {
    let Some(orthanc) = Orthanc::start(&[]) else { return };
    let device = Device::with(2, &["dicom"]);
    let password = device.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let by_web = Web { user: Some(USER.into()), password_file: Some(password), ..web(orthanc.http) };
    let deliveries = device.start(config(vec![to_dicom("dicom", dicom(orthanc.dicom)), to_web("web", by_web.clone())]));
    until("all arrive", 30, || device.arrived("dicom") == 2);
    assert_eq!(orthanc.instances(), made(&device));
    let kinds = orthanc.get("/series?expand");
    let kinds: BTreeSet<&str> =
        kinds.as_array().unwrap().iter().map(|s| s["MainDicomTags"]["Modality"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["SEG", "SR", "OT"]));
    for sent in device.sent.iter().flatten() {
        assert!(data_set(&orthanc.file(&sent.instance)) == data_set(&sent.file), "{}", sent.class);
    }
    // The other way, two more studies, and one that it has already.
    let mut device = device;
    let (old, _) = device.journal.studies().unwrap()[0].clone();
    device.journal.deliver(old, "web").unwrap();
    device.finish_another(&["web"]);
    device.finish_another(&["web"]);
    until("all arrive", 30, || device.arrived("web") == 3);
    assert_eq!(orthanc.instances(), made(&device), "each once, also what came twice");
    assert_eq!(status(&deliveries, "web").refused, 0);
    for sent in device.sent[2..].iter().flatten() {
        assert!(data_set(&orthanc.file(&sent.instance)) == data_set(&sent.file), "{}", sent.class);
    }
    // And again by C-STORE what came by the web.
    let (new, _) = device.journal.studies().unwrap()[3].clone();
    device.journal.deliver(new, "dicom").unwrap();
    until("it arrives", 30, || device.arrived("dicom") == 3);
    assert_eq!(orthanc.count(), 12);
    deliveries.stop();
    // With a wrong password nothing arrives, and it is told.
    let wrong = device.folder.path().join("wrong");
    fs::write(&wrong, "guessed").unwrap();
    device.finish_another(&["web"]);
    let by_web = Web { password_file: Some(wrong), ..by_web };
    let deliveries = device.start(config(vec![to_web("web", by_web)]));
    until("it is told", 10, || status(&deliveries, "web").last_error.is_some());
    assert!(status(&deliveries, "web").last_error.unwrap().cause.contains("does not know us"));
}

#[test]
fn orthanc_is_trusted_by_the_authority_of_the_site_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let path = folder.path().join(name);
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        (path, Issuer::new(params, key))
    };
    let (site, issuer) = authority("site.pem");
    let (stranger, _) = authority("stranger.pem");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let Some(orthanc) = Orthanc::start(&[]) else { return };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let port = tls_in_front(orthanc.http, certificate.der().clone(), key.into());
    let device = Device::with(1, &["site", "stranger", "web"]);
    let token = folder.path().join("password");
    fs::write(&token, PASSWORD).unwrap();
    let to = |ca_file| Web {
        url: format!("https://127.0.0.1:{port}/dicom-web/"),
        user: Some(USER.into()),
        password_file: Some(token.clone()),
        plain_credentials: false,
        ca_file,
        ..web(0)
    };
    let destinations = [("site", to(Some(site))), ("stranger", to(Some(stranger))), ("web", to(None))]
        .map(|(name, to)| to_web(name, to));
    let deliveries = device.start(config(destinations.into()));
    until("it arrives", 20, || device.arrived("site") == 1);
    for name in ["stranger", "web"] {
        until("it is told", 20, || status(&deliveries, name).last_error.is_some());
        let told = status(&deliveries, name).last_error.unwrap();
        assert!(told.cause.contains("cannot be trusted"), "{told}");
        assert!(told.remedy.as_ref().unwrap().contains("this device's date"), "{told}");
    }
    assert_eq!(device.arrived("stranger") + device.arrived("web"), 0);
}

#[test]
fn orthanc_goes_away_in_the_middle_and_comes_back() {
    let Some(mut orthanc) = Orthanc::start(&[]) else { return };
    const STUDIES: usize = 60;
    let device = Device::with(STUDIES, &["dicom", "web"]);
    let password = device.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let by_web = Web { user: Some(USER.into()), password_file: Some(password), ..web(orthanc.http) };
    let destinations = vec![to_dicom("dicom", dicom(orthanc.dicom)), to_web("web", by_web)];
    let deliveries = device.start(config(destinations.clone()));
    for part in 1..=3 {
        let some = STUDIES * part / 5;
        until("some arrive", 60, || device.arrived("dicom") >= some);
        orthanc.kill();
        let before = device.arrived("dicom") + device.arrived("web");
        assert!(before < 2 * STUDIES, "it was killed in the middle");
        for name in ["dicom", "web"] {
            let is_missed = || status(&deliveries, name).is_failing() || device.arrived(name) == STUDIES;
            until("it is missed", 30, is_missed);
        }
        orthanc.begin();
    }
    // And the device itself, once.
    deliveries.stop();
    let device = device.again();
    let deliveries = device.start(config(destinations));
    until("all arrive", 120, || device.arrived("dicom") == STUDIES && device.arrived("web") == STUDIES);
    assert_eq!(orthanc.instances(), made(&device), "everything, and each once");
    assert_eq!(orthanc.count(), 3 * STUDIES as u64);
    assert_eq!(status(&deliveries, "dicom").refused + status(&deliveries, "web").refused, 0);
    assert_eq!(device.journal.verify().unwrap().problems, []);
}

#[test]
fn orthanc_commits_to_what_it_was_sent() {
    let port = free_port();
    let Some(orthanc) = Orthanc::start(&[format!("box=THORAX_OUT:{port}")]) else { return };
    let device = Device::with(3, &["dicom"]);
    let to = Dicom { commitment: true, ..dicom(orthanc.dicom) };
    let mut config = config(vec![to_dicom("dicom", to)]);
    config.report_address = Some(([127, 0, 0, 1], port).into());
    let deliveries = device.start(config);
    until("all arrive", 60, || {
        assert!(!status(&deliveries, "dicom").is_failing(), "{:?}\n{}", status(&deliveries, "dicom"), orthanc.log());
        device.arrived("dicom") == 3
    });
    assert_eq!(orthanc.instances(), made(&device));
    let told = status(&deliveries, "dicom");
    assert_eq!(told.last_error, None, "the report came at the first attempt");
    // Orthanc's own echo finds the port for reports.
    let echo = orthanc.post("/modalities/box/echo", &json!({}));
    assert_eq!(echo, json!({}));
}

#[test]
fn orthanc_asks_the_device_for_commitment() {
    let port = free_port();
    let Some(orthanc) = Orthanc::start(&[format!("box=THORAX:{port}")]) else { return };
    let device = Device::with(1, &[]);
    let intake = IntakeConfig {
        address: ([127, 0, 0, 1], port).into(),
        peers: vec![Peer {
            ae_title: "ARCHIVE".into(),
            addresses: vec![],
            commitment_address: Some(([127, 0, 0, 1], orthanc.dicom).into()),
            commitment_tls: None,
        }],
        ..IntakeConfig::default()
    };
    let intake = Intake::start(intake, device.journal.clone(), Arc::new(Tally::default())).unwrap();
    let ask = |instance: &str| {
        let image = json!({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SOPInstanceUID": instance});
        let asked = orthanc.post("/modalities/box/storage-commitment", &json!({"DicomInstances": [image]}));
        let path = format!("/storage-commitment/{}", asked["ID"].as_str().unwrap());
        let mut report = json!(null);
        until("the report comes", 20, || {
            report = orthanc.get(&path);
            report["Status"] != "Pending"
        });
        report
    };
    // The image that the device has, and one that it has not.
    let report = ask("1.2.826.0.1.3.0");
    assert_eq!(report["Status"], "Success", "{report}");
    assert_eq!(report["Success"][0]["SOPInstanceUID"], "1.2.826.0.1.3.0");
    let report = ask("1.2.826.0.1.3.1");
    assert_eq!(
        (&report["Status"], &report["Failures"][0]["FailureReason"]),
        (&json!("Failure"), &json!(0x0112)),
        "{report}"
    );
    intake.stop();
}

/// The whole way behind TLS, both ways: results, commitment to them, and the archive's own question about an image.
#[test]
fn orthanc_behind_tls_is_sent_results_and_each_commits_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(at(name), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let (issuer, _) = (authority("ca.pem"), authority("stranger.pem"));
    for name in ["orthanc", "box"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(at(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        fs::write(at(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let client =
        |ca: &str| tls::Client { ca: at(ca), name: None, certificate: Some(at("box.pem")), key: Some(at("box.key")) };
    let server = tls::Server { certificate: at("box.pem"), key: at("box.key"), client_ca: Some(at("ca.pem")) };
    let (reports, port) = (free_port(), free_port());
    let modalities = [format!("out=THORAX_OUT:{reports}"), format!("box=THORAX:{port}")];
    let Some(orthanc) = Orthanc::start_with(&modalities, Some(folder.path().into())) else { return };
    let device = Device::with(2, &["dicom", "stranger", "plain"]);
    let to = |tls| Dicom { commitment: true, tls, ..dicom(orthanc.dicom) };
    let mut config = config(vec![
        to_dicom("dicom", to(Some(client("ca.pem")))),
        to_dicom("stranger", to(Some(client("stranger.pem")))),
        to_dicom("plain", to(None)),
    ]);
    config.report_address = Some(([127, 0, 0, 1], reports).into());
    config.report_tls = Some(server.clone());
    let deliveries = device.start(config);
    until("all arrive", 60, || {
        assert!(!status(&deliveries, "dicom").is_failing(), "{:?}\n{}", status(&deliveries, "dicom"), orthanc.log());
        device.arrived("dicom") == 2
    });
    assert_eq!(orthanc.instances(), made(&device));
    // Who does not trust it, or speaks without, sends nothing.
    for name in ["stranger", "plain"] {
        until("it is told", 20, || status(&deliveries, name).last_error.is_some());
        assert_eq!(device.arrived(name), 0);
    }
    assert!(status(&deliveries, "stranger").last_error.unwrap().cause.contains("no TLS with"));
    deliveries.stop();

    let intake = IntakeConfig {
        address: ([127, 0, 0, 1], port).into(),
        tls: Some(server),
        peers: vec![Peer {
            ae_title: "ARCHIVE".into(),
            addresses: vec![],
            commitment_address: Some(([127, 0, 0, 1], orthanc.dicom).into()),
            commitment_tls: Some(client("ca.pem")),
        }],
        ..IntakeConfig::default()
    };
    let intake = Intake::start(intake, device.journal.clone(), Arc::new(Tally::default())).unwrap();
    let image = json!({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1", "SOPInstanceUID": "1.2.826.0.1.3.0"});
    let asked = orthanc.post("/modalities/box/storage-commitment", &json!({"DicomInstances": [image]}));
    let path = format!("/storage-commitment/{}", asked["ID"].as_str().unwrap());
    until("the report comes", 20, || orthanc.get(&path)["Status"] == "Success");
    intake.stop();
}

/// Figures, not a test: `cargo test --release -p thorax-delivery --test deliveries -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn objects_a_second_to_orthanc() {
    let Some(orthanc) = Orthanc::start(&[]) else { return };
    let Some(storescu) = thorax_wanted::dcmtk("storescu") else { return };
    const STUDIES: usize = 100;
    let device = Device::with(STUDIES, &["nowhere", "dicom", "web"]);
    let folder = tempfile::tempdir().unwrap();
    for (number, sent) in device.sent.iter().flatten().enumerate() {
        fs::write(folder.path().join(format!("{number}.dcm")), &sent.file).unwrap();
    }
    let empty = || {
        for sent in device.sent.iter().flatten().filter(|_| orthanc.count() > 0) {
            orthanc.delete(&format!("/instances/{}", orthanc.lookup(&sent.instance)));
        }
    };
    let told = |name: &str, seconds: f64| {
        let objects = 3 * STUDIES;
        println!("{name}: {objects} objects in {seconds:.1} s: {:.0} objects a second", objects as f64 / seconds);
    };
    let password = device.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let by_web = Web { user: Some(USER.into()), password_file: Some(password), ..web(orthanc.http) };
    let keeps_nothing = Archive::start(|_| Script::default());
    for destination in
        [to_dicom("nowhere", dicom(keeps_nothing.port)), to_dicom("dicom", dicom(orthanc.dicom)), to_web("web", by_web)]
    {
        let name = destination.name.clone();
        empty();
        let deliveries = device.start(config(vec![destination]));
        let began = Instant::now();
        until("all arrive", 300, || device.arrived(&name) == STUDIES);
        told(&name, began.elapsed().as_secs_f64());
        deliveries.stop();
    }
    empty();
    let began = Instant::now();
    let mut command = Command::new(storescu);
    command.args(["--aetitle", "THORAX_OUT", "--call", "ARCHIVE", "--required", "+sd"]);
    command.args(["127.0.0.1", &orthanc.dicom.to_string()]).arg(folder.path());
    assert!(command.status().unwrap().success());
    told("DCMTK's storescu, all on one association, keeps no record", began.elapsed().as_secs_f64());
    assert_eq!(orthanc.count(), 3 * STUDIES as u64);
}
