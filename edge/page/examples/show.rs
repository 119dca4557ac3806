//! Shows the page without the rest of the device, to look at it in a browser:
//! `cargo run --release -p thorax-page --example show -- FOLDER PASSWORD [PORT]`.
//!
//! `FOLDER` has a folder for each study: `film.dcm`, what was received, and beside it the files of its result, of which `outcome.json`
//! has the readings (as `thorax-edge screen --json` tells them, with the labels of their files in `results`). A reader `ada` and a
//! technician `tom` may log in with the password.
#![allow(clippy::unwrap_used, reason = "an example")]

use std::{env, fs, path::Path, sync::Arc};

use serde_json::Value;
use thorax_journal::{Hash, Journal, Kind, ReceivedObject, Settings, Source, Summary};
use thorax_page::{Appliance, Config, Installed, Offered, start, users};
use thorax_shared::{modality::Modality, reason::Reason};

#[derive(Debug)]
struct Shown(Arc<Journal>);

impl Appliance for Shown {
    fn journal(&self) -> Option<Arc<Journal>> {
        Some(self.0.clone())
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn bundles(&self) -> Vec<String> {
        vec!["thorax-xray 0.1.0".into()]
    }

    fn installed(&self) -> Vec<Installed> {
        let of = |modality| Installed {
            modality,
            active: (modality == Modality::Xray).then(|| "thorax-xray 0.2.0".into()),
            trial: (modality == Modality::Xray).then_some((12, 50)),
            former: None,
            taken_back: None,
        };
        Modality::ALL.map(of).into()
    }

    fn offered(&self) -> Vec<Offered> {
        vec![Offered { sha256: [7; 32], title: "thorax-ct 0.2.0".into(), modality: Modality::Ct }]
    }

    fn install(&self, _: &Hash, _: &str) -> Result<(), Reason> {
        Err(Reason::new("nothing is installed here", "look at it on a device"))
    }

    fn roll_back(&self, _: Modality, _: &str, _: &str) -> Result<(), Reason> {
        Err(Reason::new("nothing is installed here", "look at it on a device"))
    }
}

fn add(journal: &Journal, folder: &Path, number: usize) {
    let mut writer = journal.begin_object().unwrap();
    writer.write(&fs::read(folder.join("film.dcm")).unwrap()).unwrap();
    let uid = format!("2.25.{number}");
    let kind = Kind::Dicom {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
        sop_instance_uid: format!("{uid}.3"),
        study_instance_uid: uid.clone(),
        series_instance_uid: format!("{uid}.2"),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".into(),
    };
    let source = Source::Folder { folder: "show".into(), file: "film.dcm".into() };
    writer.commit(ReceivedObject { kind, source }).unwrap();
    let study = journal.take().unwrap().unwrap().number;
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .filter(|(name, _)| name != "film.dcm")
        .collect();
    files.sort();
    let outcome: Value = serde_json::from_slice(&fs::read(folder.join("outcome.json")).unwrap()).unwrap();
    let reading = &outcome["readings"][0];
    let text = |name: &str| reading[name].as_str().map(str::to_owned);
    let summary = Summary {
        modality: text("modality"),
        verdict: text("verdict").unwrap_or_default(),
        cause: text("cause"),
        remedy: text("remedy"),
        probability: reading["probability"].as_f64(),
        bundle: text("bundle"),
        bundle_sha256: Some([0xab; 32]),
        ..Summary::default()
    };
    let files: Vec<(&str, &[u8])> = files.iter().map(|(label, bytes)| (&**label, &**bytes)).collect();
    journal.finish(study, summary, &files, if number.is_multiple_of(2) { &["pacs"] } else { &[] }).unwrap();
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (folder, password) = (Path::new(&arguments[0]), &arguments[1]);
    let place = tempfile::tempdir().unwrap();
    let settings = Settings { quiet_seconds: 0, reserve_bytes: 0, ..Settings::default() };
    let journal = Arc::new(Journal::open(&place.path().join("journal"), settings).unwrap());
    let mut studies: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    studies.sort();
    studies.iter().enumerate().for_each(|(number, study)| add(&journal, study, number + 1));
    let file = place.path().join("page.users");
    users::add(&file, "ada", users::Role::Reader, password).unwrap();
    users::add(&file, "tom", users::Role::Technician, password).unwrap();
    let port = arguments.get(2).map_or(0, |port| port.parse().unwrap());
    let config = Config { address: ([127, 0, 0, 1], port).into(), users: file, ..Config::default() };
    println!("http://{}", start(&config, Arc::new(Shown(journal))).unwrap());
    loop {
        std::thread::park();
    }
}
