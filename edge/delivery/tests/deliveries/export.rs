//! Studies without names in a folder.

use std::{fs, path::Path};

use dicom_dictionary_std::tags;
use thorax_delivery::{ExportError, export, key_of};
use thorax_journal::{Kind, Received, ReceivedObject, Source};
use thorax_objects::deidentify::Key;

use crate::device::Device;

/// All files below a folder, with their paths in it, sorted.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn studies(device: &Device) -> Vec<u64> {
    device.journal.studies().unwrap().into_iter().map(|(number, _)| number).collect()
}

fn key() -> Key {
    Key::new([7; 32])
}

#[test]
fn a_copy_has_no_names_and_a_list_of_what_to_look_at() {
    let device = Device::with(2, &[]);
    let stick = tempfile::tempdir().unwrap();
    let done = export(&device.journal, &studies(&device), stick.path(), &key(), &mut |_| true).unwrap();
    // Of each study its film, segmentation and capture; reports have no pixels, and their texts cannot be cleaned.
    assert_eq!((done.written, done.there, done.left_out), (6, 0, 2), "{done:?}");
    let found = files(stick.path());
    let pictures: Vec<_> = found.iter().filter(|(name, _)| name.ends_with(".dcm")).collect();
    assert_eq!((pictures.len(), found.len()), (6, 8));
    for (name, bytes) in &pictures {
        let object = dicom_object::from_reader(&bytes[..]).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned();
        assert_eq!(*name, format!("{}/{}.dcm", text(tags::STUDY_INSTANCE_UID), text(tags::SOP_INSTANCE_UID)));
        assert!(text(tags::PATIENT_ID).starts_with("ANON"));
        for secret in [&b"Doe"[..], b"P-1", b"ACC-99", b"House", b"1.2.826.0.1.1", b"19610203"] {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret), "{name}");
        }
    }
    for (name, text) in found.iter().filter(|(name, _)| name.ends_with(".csv")) {
        let text = String::from_utf8(text.clone()).unwrap();
        let folder = name.strip_suffix("/warnings.csv").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "file,warning");
        // A film does not say whether anything is burned in.
        let burned = lines.iter().find(|line| line.contains("look at the picture")).unwrap();
        let film = burned[1..].split('"').next().unwrap();
        assert!(found.iter().any(|(name, _)| *name == format!("{folder}/{film}")), "{burned}");
        assert!(lines.iter().any(|line| line.contains("report.dcm of study") && line.contains("left out")), "{text}");
    }
    assert!(done.noted.iter().any(|noted| noted.warning.contains("burned into the pixels")));
}

#[test]
fn an_export_that_was_cut_off_is_made_again_and_writes_over_nothing() {
    let device = Device::with(2, &[]);
    let (whole, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    export(&device.journal, &studies(&device), whole.path(), &key(), &mut |_| true).unwrap();
    // Ended by the person who pulls the stick out.
    let mut go_on = 4;
    let cut = export(&device.journal, &studies(&device), stick.path(), &key(), &mut |_| {
        go_on -= 1;
        go_on >= 0
    })
    .unwrap();
    assert_eq!(cut.written + cut.left_out, 4);
    assert!(files(stick.path()).len() < files(whole.path()).len());
    let done = export(&device.journal, &studies(&device), stick.path(), &key(), &mut |_| true).unwrap();
    assert_eq!((done.written + done.there, done.there), (6, cut.written), "{done:?}");
    assert!(files(stick.path()) == files(whole.path()), "the same as in one go");
    let again = export(&device.journal, &studies(&device), stick.path(), &key(), &mut |_| true).unwrap();
    assert_eq!((again.written, again.there), (0, 6));
    assert!(files(stick.path()) == files(whole.path()));

    // Somebody else's files under these names, and a list of theirs.
    let names: Vec<String> = files(whole.path()).into_iter().map(|(name, _)| name).collect();
    let theirs = tempfile::tempdir().unwrap();
    let mine = names.iter().find(|name| name.ends_with(".dcm")).unwrap();
    let list = names.iter().find(|name| name.ends_with(".csv")).unwrap();
    for name in [mine, list] {
        fs::create_dir_all(theirs.path().join(name).parent().unwrap()).unwrap();
        fs::write(theirs.path().join(name), "theirs").unwrap();
    }
    let done = export(&device.journal, &studies(&device), theirs.path(), &key(), &mut |_| true).unwrap();
    assert_eq!((done.written, done.left_out), (5, 3));
    let instance = mine.rsplit('/').next().unwrap();
    assert!(done.noted.iter().any(|n| n.warning.contains(&format!("another file is called {instance}"))), "{done:?}");
    for name in [mine, list] {
        assert_eq!(fs::read(theirs.path().join(name)).unwrap(), b"theirs");
    }
    let other = list.replace("warnings.csv", "warnings-2.csv");
    assert!(files(theirs.path()).iter().any(|(name, _)| *name == other));
    let before = files(theirs.path());
    export(&device.journal, &studies(&device), theirs.path(), &key(), &mut |_| true).unwrap();
    assert!(files(theirs.path()) == before, "the list of ours is known again");
}

#[test]
fn what_is_no_dicom_object_stays_behind() {
    let device = Device::with(0, &[]);
    let source = Source::Folder { folder: "usb".into(), file: "Jane Doe.png".into() };
    let mut writer = device.journal.begin_object().unwrap();
    writer.write(b"\x89PNG with a name in it").unwrap();
    let received = writer.commit(ReceivedObject { kind: Kind::Picture, source }).unwrap();
    let Received::Accepted { study, .. } = received else { panic!("{received:?}") };
    let stick = tempfile::tempdir().unwrap();
    let done = export(&device.journal, &[study], stick.path(), &key(), &mut |_| true).unwrap();
    assert_eq!((done.written, done.left_out), (0, 1));
    assert!(files(stick.path()).is_empty());
    assert!(matches!(
        export(&device.journal, &[77], stick.path(), &key(), &mut |_| true).unwrap_err(),
        ExportError::Journal(_)
    ));
    // A stick that cannot be written: a file where its folder should be.
    let full = stick.path().join("full");
    fs::write(&full, "").unwrap();
    let device = Device::with(1, &[]);
    let told = export(&device.journal, &studies(&device), &full, &key(), &mut |_| true).unwrap_err();
    assert!(told.reason().remedy.unwrap().contains("stick"), "{told:?}");
}

#[test]
fn the_key_is_made_once_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.key");
    let first = key_of(&path).unwrap().uid("1.2.3");
    assert_eq!(key_of(&path).unwrap().uid("1.2.3"), first);
    assert_ne!(key_of(&folder.path().join("other.key")).unwrap().uid("1.2.3"), first);
    fs::write(&path, [1; 31]).unwrap();
    assert!(matches!(key_of(&path).unwrap_err(), ExportError::NoKey { .. }));
    fs::write(&path, [1; 33]).unwrap();
    assert!(matches!(key_of(&path).unwrap_err(), ExportError::NoKey { .. }));
}
