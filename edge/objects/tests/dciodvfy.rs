//! Every kind of object, of every kind of source, as a program that is not ours judges it: dciodvfy, of dicom3tools.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod made;

use std::{io::Cursor, path::Path, process::Command};

use dicom_dictionary_std::uids;
use made::{Set, disease, drawn, enhanced, film, provenance, reading, sided, slice};
use thorax_objects::{
    Lungs, Masks, Panel, Reading, SegmentationBuilder, Source, capture,
    deidentify::{Key, deidentify_file},
    report,
};
use thorax_shared::plane::Plane;

/// What dciodvfy finds wrong with the file of these bytes. Its exit code and its lines have to agree.
fn errors(program: &Path, bytes: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.dcm");
    std::fs::write(&path, bytes).unwrap();
    let told = Command::new(program).arg("-new").arg(&path).output().unwrap();
    let text = [String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr)].concat();
    let errors: Vec<String> =
        text.lines().filter(|line| line.starts_with("Error") || line.starts_with("Abort")).map(str::to_owned).collect();
    assert_eq!(told.status.success(), errors.is_empty(), "{text}");
    errors
}

fn check(program: &Path, name: &str, sets: &[Set]) {
    let files: Vec<Vec<u8>> = sets.iter().map(|set| made::file(set.clone(), uids::EXPLICIT_VR_LITTLE_ENDIAN)).collect();
    let sources: Vec<Source> = files.iter().map(|file| Source::read(Cursor::new(file)).unwrap()).collect();
    let all: Vec<&Source> = sources.iter().collect();
    for kind in ["sided", "unsided", "empty"] {
        let mut builder = SegmentationBuilder::default();
        for source in &sources {
            let (width, height) = source.size();
            for frame in 1..=source.frames() {
                let mut masks = drawn(width, height, frame as usize);
                if kind == "empty" {
                    masks = masks.map(|_| Plane::filled(width, height, 0));
                }
                let unsided = Masks { infection: &masks[0], lungs: Lungs::Unsided(&masks[1]) };
                builder.add(source, frame, if kind == "unsided" { unsided } else { sided(&masks) }).unwrap();
            }
        }
        let made = builder.finish(&provenance()).unwrap();
        let report = report(&all, &reading(), Some(&made), &provenance()).unwrap();
        for (object, bytes) in [("SEG", made.object.to_bytes()), ("SR", report.to_bytes())] {
            assert_eq!(errors(program, &bytes.unwrap()), [""; 0], "{name}, {kind}: {object}");
        }
    }
    for count in [1, 3] {
        let panels = (0..count).map(|_| Panel::new(5, 7, vec![9; 105]).unwrap()).collect();
        let bytes = capture(&all, panels, false, &provenance()).unwrap().to_bytes().unwrap();
        assert_eq!(errors(program, &bytes), [""; 0], "{name}: SC of {count}");
    }
    for file in files {
        let before = errors(program, &file);
        let mut after = vec![];
        deidentify_file(Cursor::new(file), &Key::new([7; 32])).unwrap().object.write_all(&mut after).unwrap();
        let new: Vec<String> = errors(program, &after).into_iter().filter(|error| !before.contains(error)).collect();
        assert_eq!(new, [""; 0], "{name}: de-identified");
    }
}

#[test]
fn objects_of_a_film_are_without_error() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    check(&program, "film", &[film(203, 101)]);
}

#[test]
fn objects_of_an_oblique_slice_are_without_error() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    check(&program, "slice", &[slice(3, 77, 61)]);
}

#[test]
fn objects_of_a_series_are_without_error() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    check(&program, "series", &[2, 0, 1, 3].map(|number| slice(number, 13, 9)));
}

#[test]
fn objects_of_an_enhanced_ct_are_without_error() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    check(&program, "enhanced", &[enhanced(3, 13, 9)]);
}

#[test]
fn a_report_with_a_long_code_is_without_error() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    let source = made::source(film(203, 101));
    let disease = disease("COVID-19 pneumonia", "882784691000119100", "Pneumonia caused by SARS-CoV-2");
    let report = report(&[&source], &Reading { disease: &disease, ..reading() }, None, &provenance()).unwrap();
    assert_eq!(errors(&program, &report.to_bytes().unwrap()), [""; 0]);
}

/// That dciodvfy tells when something is wrong, or the tests above would show nothing.
#[test]
fn an_object_without_what_it_must_have_is_found() {
    let Some(program) = thorax_wanted::dciodvfy() else { return };
    let mut set = film(8, 8);
    set.remove_element(dicom_dictionary_std::tags::PATIENT_NAME);
    let told = errors(&program, &made::file(set, uids::EXPLICIT_VR_LITTLE_ENDIAN));
    assert!(told.iter().any(|error| error.contains("PatientName")), "{told:?}");
}
