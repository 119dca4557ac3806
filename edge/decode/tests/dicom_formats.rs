//! DICOM files of other projects, in every coding that is about: read as pydicom or dcmtk read them, or refused by name.
//!
//! The files are not in the repository; `references/dicom_formats.py` made `fixtures/dicom_formats.csv` of them. Of both this test
//! makes the table in `docs/dicom_formats.md`, which it compares, or writes where `THORAX_WRITE_FORMATS` is set.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::{fmt::Write as _, path::Path};

use thorax_decode::{DecodeError, Frame, Limits, Study, decode, decode_as};
use thorax_shared::{modality::Modality, preprocess::Pixels};

/// What a file is read as.
struct Read {
    kind: &'static str,
    frames: usize,
    /// Whether the pixels of the file are not square.
    squared: bool,
    minimum: f64,
    maximum: f64,
    mean: f64,
}

impl Read {
    fn of(study: &Study) -> Self {
        let frames: Vec<Frame> = match study {
            Study::Image(frame) => vec![frame.clone()],
            Study::Volume(volume) => (0..volume.slices()).map(|index| volume.slice_on_grid(index).unwrap()).collect(),
        };
        let mut values: Vec<f64> = Vec::new();
        let mut kind = "";
        for frame in &frames {
            match &frame.pixels {
                Pixels::Eight(plane) => {
                    kind = "eight";
                    values.extend(plane.data().iter().map(|&value| f64::from(value)));
                }
                Pixels::Sixteen(plane) => {
                    kind = "sixteen";
                    values.extend(plane.data().iter().map(|&value| f64::from(value)));
                }
                Pixels::Hounsfield(plane) => {
                    kind = "hounsfield";
                    values.extend(plane.data().iter().map(|&value| f64::from(value)));
                }
            }
        }
        Self {
            kind,
            frames: frames.len(),
            squared: frames.iter().any(|frame| {
                let (width, height) = frame.stored_size;
                width * height != values.len() / frames.len()
            }),
            minimum: values.iter().copied().fold(f64::INFINITY, f64::min),
            maximum: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: values.iter().sum::<f64>() / values.len() as f64,
        }
    }

    /// What differs from the reference: kind, minimum, maximum and mean.
    fn differs(&self, [kind, minimum, maximum, mean]: [&str; 4], lossy: bool) -> Option<String> {
        // By how much single values may differ after loss, and the mean.
        let (single, whole) = match (self.kind, lossy) {
            ("sixteen", true) => (656.0, 66.0),
            ("hounsfield", true) => (40.0, 1.0),
            // Pixels that were made square lie between those stored.
            _ if self.squared => (16.0, 0.1),
            ("eight", true) => (4.0, 0.5),
            ("eight", false) => (1.0, 0.1),
            _ => (1.0, 0.05),
        };
        let far = |found: f64, expected: &str, by: f64| (found - expected.parse::<f64>().unwrap()).abs() > by;
        let Self { minimum: least, maximum: most, mean: average, .. } = *self;
        let differs =
            self.kind != kind || far(least, minimum, single) || far(most, maximum, single) || far(average, mean, whole);
        differs.then(|| {
            format!(
                "{} {least} to {most}, mean {average:.4}, instead of {kind} {minimum} to {maximum}, mean {mean}",
                self.kind
            )
        })
    }
}

fn cause(error: &DecodeError) -> String {
    error.reason().cause.into_owned()
}

#[test]
fn every_file_of_others_is_read_as_they_read_it_or_refused_by_name() {
    let Some(folder) = thorax_wanted::shared("data/dicom_formats") else { return };
    let mut table = String::from(HEAD);
    let mut differences = Vec::new();
    let mut files = 0;
    for line in include_str!("fixtures/dicom_formats.csv").lines().skip(1) {
        let [
            file,
            modality,
            coding,
            reader,
            size,
            stored_minimum,
            stored_maximum,
            stored_mean,
            kind,
            minimum,
            maximum,
            mean,
            loss,
        ] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        files += 1;
        let path = folder.join(file);
        let told = decode(&path, &Limits::default());
        // A file of another modality is refused for that; what its pixels are is seen when somebody says that it is a film.
        let pixels = match &told {
            Err(DecodeError::Modality { .. }) => decode_as(&path, &Limits::default(), Some(Modality::Xray)),
            _ => decode(&path, &Limits::default()),
        };
        if let Ok(study) = &pixels
            && let Some(difference) = Read::of(study).differs([kind, minimum, maximum, mean], loss == "loss")
        {
            differences.push(format!("{file}: {difference}"));
        }
        let says = match (&told, &pixels) {
            (Ok(study), _) => match Read::of(study) {
                Read { kind: "hounsfield", frames: 1, .. } => "a slice".to_owned(),
                Read { kind: "hounsfield", frames, .. } => format!("a volume of {frames} slices"),
                _ => "a film".to_owned(),
            },
            (Err(error), Ok(_)) => format!("refused: {}; its pixels agree", cause(error)),
            (Err(error), Err(why)) if cause(error) != cause(why) => {
                format!("refused: {}; {}", cause(error), cause(why))
            }
            (Err(error), _) => format!("refused: {}", cause(error)),
        };
        let broken = |error: &DecodeError| {
            matches!(
                error,
                DecodeError::Damaged { .. } | DecodeError::Truncated { .. } | DecodeError::DecoderFailed { .. }
            )
        };
        if let Err(error) = &pixels
            && broken(error)
            && size != "-"
        {
            differences.push(format!("{file}: {}, which others read", cause(error)));
        }
        let stored =
            if size == "-" { "-".into() } else { format!("{stored_minimum} to {stored_maximum}, {stored_mean}") };
        writeln!(table, "| {file} | {modality} | {coding} | {reader} | {size} | {stored} | {says} |").unwrap();
    }
    assert_eq!(differences, [] as [&str; 0]);
    assert_eq!(files, std::fs::read_dir(&folder).unwrap().count(), "every file has its line");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dicom_formats.md");
    if std::env::var_os("THORAX_WRITE_FORMATS").is_some() {
        std::fs::write(&document, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&document).unwrap(), table, "THORAX_WRITE_FORMATS=1 writes it anew");
}

const HEAD: &str = "\
# DICOM files of other projects

What Thorax makes of 64 test files of other programs (dicom-rs, cornerstone, fo-dicom, dcm4che, pydicom and others), beside what
pydicom with pylibjpeg and pyjpegls, or dcmtk where these fail, reads of them. The files themselves are not in the repository.
Made by `edge/decode/references/dicom_formats.py` and `edge/decode/tests/dicom_formats.rs`, which also compares the values: those
compressed without loss are equal, those with loss near.

Size is frames x rows x columns; stored values are their minimum, maximum and mean, as the other program has them. \"Its pixels
agree\" is said of a file that is refused for its modality and read alike when it is told to be a film.

| file | modality | coding | read by | size | stored values | Thorax |
|---|---|---|---|---|---|---|
";
