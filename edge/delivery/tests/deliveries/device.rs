//! A device with results to deliver: a journal whose studies are finished, each with the three objects that are made of a film.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use dicom_dictionary_std::tags;
use tempfile::TempDir;
use thorax_delivery::{Config, Deliveries, Destination, Dicom, Status, To, Web};
use thorax_journal::{Delivery, DeliveryState, Journal, Kind, Received, ReceivedObject, Settings, Source, Summary};
use thorax_objects::{Panel, SegmentationBuilder, capture, report};

use crate::made;

pub(crate) const SEG: &str = "1.2.840.10008.5.1.4.1.1.66.4";
pub(crate) const SR: &str = "1.2.840.10008.5.1.4.1.1.88.34";
pub(crate) const SC: &str = "1.2.840.10008.5.1.4.1.1.7";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// An object as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) class: String,
    pub(crate) instance: String,
    pub(crate) file: Vec<u8>,
}

/// The objects made of film `number`: SEG, SR, SC.
pub(crate) fn objects(number: usize) -> [Sent; 3] {
    let mut set = made::film(48, 40);
    made::put(&mut set, tags::SOP_INSTANCE_UID, format!("1.2.826.0.1.3.{number}"));
    made::put(&mut set, tags::STUDY_INSTANCE_UID, format!("1.2.826.0.1.1.{number}"));
    let source = made::source(set);
    let masks = made::drawn(48, 40, number);
    let mut builder = SegmentationBuilder::default();
    builder.add(&source, 1, made::sided(&masks)).unwrap();
    let segmentation = builder.finish(&made::provenance()).unwrap();
    let report = report(&[&source], &made::reading(), Some(&segmentation), &made::provenance()).unwrap();
    let panel = Panel::new(32, 24, vec![9; 32 * 24 * 3]).unwrap();
    let capture = capture(&[&source], vec![panel], false, &made::provenance()).unwrap();
    [&segmentation.object, &report, &capture].map(|object| Sent {
        class: object.sop_class_uid().to_owned(),
        instance: object.sop_instance_uid().to_owned(),
        file: object.to_bytes().unwrap(),
    })
}

pub(crate) struct Device {
    pub(crate) journal: Arc<Journal>,
    pub(crate) sent: Vec<[Sent; 3]>,
    pub(crate) folder: TempDir,
}

/// A journal without pauses of its own.
fn open(folder: &Path) -> Arc<Journal> {
    let settings = Settings { reserve_bytes: 0, quiet_seconds: 0, ..Settings::default() };
    Arc::new(Journal::open(&folder.join("journal"), settings).unwrap())
}

impl Device {
    /// With so many finished studies that are wanted at these destinations.
    pub(crate) fn with(studies: usize, destinations: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut device = Self { journal: open(folder.path()), sent: vec![], folder };
        for _ in 0..studies {
            device.finish_another(destinations);
        }
        device
    }

    /// One more; gives its study's number.
    pub(crate) fn finish_another(&mut self, destinations: &[&str]) -> u64 {
        let number = self.sent.len();
        let sent = objects(number);
        let files =
            [("segmentation.dcm", &*sent[0].file), ("report.dcm", &*sent[1].file), ("capture.dcm", &*sent[2].file)];
        let study = self.finish(number, &files, destinations);
        self.sent.push(sent);
        study
    }

    /// A finished study of one image, with these files as its result.
    pub(crate) fn finish(&self, number: usize, files: &[(&str, &[u8])], destinations: &[&str]) -> u64 {
        let mut set = made::film(24, 20);
        made::put(&mut set, tags::SOP_INSTANCE_UID, format!("1.2.826.0.1.3.{number}"));
        made::put(&mut set, tags::STUDY_INSTANCE_UID, format!("1.2.826.0.1.1.{number}"));
        let what = ReceivedObject {
            kind: Kind::Dicom {
                sop_class_uid: "1.2.840.10008.5.1.4.1.1.1".into(),
                sop_instance_uid: format!("1.2.826.0.1.3.{number}"),
                study_instance_uid: format!("1.2.826.0.1.1.{number}"),
                series_instance_uid: "1.2.826.0.1.2".into(),
                transfer_syntax_uid: EXPLICIT.into(),
            },
            source: Source::Folder { folder: "test".into(), file: format!("{number}.dcm") },
        };
        let mut writer = self.journal.begin_object().unwrap();
        writer.write(&made::file(set, EXPLICIT)).unwrap();
        let Received::Accepted { study, .. } = writer.commit(what).unwrap() else { panic!("not new") };
        self.journal.close_studies(&[study]).unwrap();
        let taken = self.journal.take().unwrap().unwrap();
        let summary = Summary { verdict: "refer".into(), ..Summary::default() };
        self.journal.finish(taken.number, summary, files, destinations).unwrap();
        study
    }

    /// Gone and back, as after a power cut.
    pub(crate) fn again(self) -> Self {
        let Self { journal, sent, folder } = self;
        Arc::try_unwrap(journal).expect("nobody has the journal");
        Self { journal: open(folder.path()), sent, folder }
    }

    pub(crate) fn start(&self, config: Config) -> Deliveries {
        Deliveries::start(config, self.journal.clone()).unwrap()
    }

    /// The only delivery of a study to this destination.
    pub(crate) fn delivery(&self, study: usize, destination: &str) -> (u64, Delivery) {
        let (number, _) = self.journal.studies().unwrap()[study];
        let deliveries = self.journal.deliveries_of(number).unwrap();
        deliveries.into_iter().find(|(_, delivery)| delivery.destination == destination).unwrap()
    }

    pub(crate) fn arrived(&self, destination: &str) -> usize {
        let arrived = |delivery: &Delivery| {
            delivery.destination == destination && matches!(delivery.state, DeliveryState::Delivered { .. })
        };
        let studies = self.journal.studies().unwrap();
        let all = studies.iter().flat_map(|(study, _)| self.journal.deliveries_of(*study).unwrap());
        all.filter(|(_, delivery)| arrived(delivery)).count()
    }
}

pub(crate) fn dicom(port: u16) -> Dicom {
    Dicom {
        address: format!("127.0.0.1:{port}"),
        ae_title: "ARCHIVE".into(),
        tls: None,
        commitment: false,
        connect_seconds: 2,
        associate_seconds: 20,
        message_seconds: 20,
        commitment_seconds: 20,
    }
}

pub(crate) fn web(port: u16) -> Web {
    Web {
        url: format!("http://127.0.0.1:{port}/dicom-web"),
        user: None,
        password_file: None,
        token_file: None,
        plain_credentials: true,
        ca_file: None,
        connect_seconds: 2,
        message_seconds: 20,
    }
}

pub(crate) fn to_dicom(name: &str, dicom: Dicom) -> Destination {
    Destination { name: name.into(), to: To::Dicom(dicom) }
}

pub(crate) fn to_web(name: &str, web: Web) -> Destination {
    Destination { name: name.into(), to: To::Web(web) }
}

/// With pauses of half a second to one.
pub(crate) fn config(destinations: Vec<Destination>) -> Config {
    Config { destinations, first_pause_seconds: 1, longest_pause_seconds: 1, stop_seconds: 5, ..Config::default() }
}

pub(crate) fn status(deliveries: &Deliveries, name: &str) -> Status {
    deliveries.status().unwrap().into_iter().find(|status| status.name == name).unwrap()
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, seconds: u64, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
