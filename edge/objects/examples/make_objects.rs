//! Makes all objects of pictures, with masks that are drawn, not found: `make_objects [--unsided] [--empty] OUT PICTURE...`.
//!
//! A picture is a DICOM file, or a folder of files that are the slices of one series. For each there is a folder `OUT/NAME` with
//! `seg.dcm`, `sr.dcm`, `sc.dcm`, `page.html`, a `deidentified-*.dcm` of each file, and the masks as they were given
//! (`SEGMENT-UID-FRAME.pgm`). `references/check_objects.py` compares them with what pydicom and highdicom read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for those who develop this crate"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use thorax_objects::{
    Bundle, Device, Lungs, Masks, Moment, Page, Panel, Picture, Provenance, RESEARCH_USE, Reading, Section,
    SegmentationBuilder, Source, capture, deidentify, report,
};
use thorax_shared::{
    bundle::{Disease, Name},
    lungs::Involvement,
    plane::Plane,
    verdict::{ReferReason, Verdict},
};

/// The smallest PNG: one white pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc\xf8\x0f\0\x01\x01\x01\0\
    \x1b\xb6\xeeV\0\0\0\0IEND\xaeB`\x82";

fn ellipse(width: usize, height: usize, centre: (f64, f64), radii: (f64, f64)) -> Plane<u8> {
    Plane::from_fn(width, height, |x, y| {
        let x = ((x as f64 + 0.5) / width as f64 - centre.0) / radii.0;
        let y = ((y as f64 + 0.5) / height as f64 - centre.1) / radii.1;
        if x * x + y * y < 1.0 { 255 } else { 0 }
    })
}

fn write_mask(path: &Path, mask: &Plane<u8>) {
    let mut bytes = format!("P5 {} {} 255\n", mask.width(), mask.height()).into_bytes();
    bytes.extend_from_slice(mask.data());
    fs::write(path, bytes).unwrap();
}

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != name);
        arguments.len() < before
    };
    let (unsided, empty) = (option("--unsided"), option("--empty"));
    let (out, pictures) = arguments.split_first().expect("OUT PICTURE...");
    for picture in pictures {
        let picture = Path::new(picture);
        let folder = Path::new(out).join(picture.file_name().expect("a name"));
        fs::create_dir_all(&folder).unwrap();
        if let Err(error) = make(picture, &folder, unsided, empty) {
            println!("{}: {error}", picture.display());
        }
    }
}

fn make(picture: &Path, folder: &Path, unsided: bool, empty: bool) -> Result<(), thorax_objects::ObjectError> {
    let provenance = Provenance {
        device: Device { serial_number: "BOX-0001".into(), software_version: "0.1.0".into() },
        bundle: Bundle { name: "covid-xray".into(), version: "3".into(), sha256: std::array::from_fn(|i| i as u8) },
        moment: Moment::new((2026, 11, 28), (11, 30, 5))?,
    };
    let files: Vec<PathBuf> = if picture.is_dir() {
        fs::read_dir(picture).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![picture.to_owned()]
    };
    let sources = files.iter().map(|file| Source::open(file)).collect::<Result<Vec<_>, _>>()?;
    let mut builder = SegmentationBuilder::default();
    let mut seed = 0usize;
    for source in &sources {
        let (width, height) = source.size();
        for frame in 1..=source.frames() {
            // Every third frame has no infection, so that there are frames to be left out.
            let shift = (seed % 5) as f64 * 0.02;
            let mut drawn = [
                ellipse(width, height, (0.3, 0.6 + shift), (if seed % 3 == 2 { 0.0 } else { 0.07 }, 0.1)),
                ellipse(width, height, (0.72, 0.5), (0.15, 0.3 + shift)),
                ellipse(width, height, (0.3, 0.5), (0.15, 0.3 - shift)),
            ];
            if empty {
                drawn = drawn.map(|mask| mask.map(|_| 0));
            }
            seed += 1;
            let uid = source.sop_instance_uid();
            let [infection, left, right] = &drawn;
            let both = Plane::from_fn(width, height, |x, y| left.get(x, y) | right.get(x, y));
            let named: &[(&str, &Plane<u8>)] = if unsided {
                &[("Infection", infection), ("Lungs", &both)]
            } else {
                &[("Infection", infection), ("Left lung", left), ("Right lung", right)]
            };
            named.iter().for_each(|(name, mask)| write_mask(&folder.join(format!("{name}-{uid}-{frame}.pgm")), mask));
            let lungs = if unsided { Lungs::Unsided(&both) } else { Lungs::Sided { left, right } };
            builder.add(source, frame, Masks { infection, lungs })?;
        }
    }
    let segmentation = builder.finish(&provenance)?;
    let involvement = Involvement { percent: 12.5, left_percent: Some(0.0), right_percent: Some(25.25) };
    let name = |text| Name::try_from(text).unwrap();
    let disease =
        Disease { words: name("COVID-19"), scheme: name("SCT"), code: name("840539006"), meaning: name("COVID-19") };
    let reading = Reading {
        disease: &disease,
        verdict: Verdict::Refer(ReferReason::AbstainZone),
        probability: Some(0.625),
        epistemic_entropy_bits: Some(0.954_434),
        involvement: Some(if unsided { involvement.without_sides() } else { involvement }),
        quality_score: 0.875,
    };
    let sources: Vec<&Source> = sources.iter().collect();
    let sr = report(&sources, &reading, Some(&segmentation), &provenance)?;
    let panel = |grey: usize| {
        let rgb = (0..61 * 43 * 3).map(|i| ((i * 7 + grey) % 256) as u8).collect();
        Panel::new(61, 43, rgb)
    };
    let panels = if sources.len() == 1 { vec![panel(0)?] } else { vec![panel(0)?, panel(50)?, panel(100)?] };
    let sc = capture(&sources, panels, false, &provenance)?;
    for (name, object) in [("seg", &segmentation.object), ("sr", &sr), ("sc", &sc)] {
        object.write(fs::File::create(folder.join(format!("{name}.dcm"))).unwrap())?;
    }
    for file in &files {
        let made = deidentify::deidentify_file(fs::File::open(file)?, &deidentify::Key::new([7; 32]))?;
        made.warnings.iter().for_each(|warning| println!("{}: {warning}", file.display()));
        let name = format!("deidentified-{}", file.file_name().unwrap().to_string_lossy());
        made.object.write_to_file(folder.join(name)).map_err(Box::new)?;
    }
    let page = Page {
        language: "en",
        right_to_left: false,
        title: "Chest X-ray",
        verdict: "REFER",
        reason: "probability between the two thresholds",
        sections: vec![
            Section {
                heading: "Picture",
                rows: vec![("File", picture.display().to_string()), ("Patient", "Doe <Jane>".into())],
            },
            Section { heading: "Reading", rows: vec![("Probability", "0.63".into()), ("Entropy", "0.95 bits".into())] },
        ],
        pictures: vec![Picture { png: PNG, caption: "With overlay", alternative: "Film with overlay" }],
        notice: RESEARCH_USE,
        footer: "thorax-edge 0.1.0, covid-xray 3",
    };
    fs::write(folder.join("page.html"), page.html()?).unwrap();
    Ok(())
}
