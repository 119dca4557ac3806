//! Import and check over folders of generated phantoms, whole and spoilt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};
use thorax_shared::modality::Modality;

use super::*;

const SIZE: u16 = 64;

/// Phantom films with their masks, `count` of them.
fn phantoms(count: usize, modality: ModalityChoice, formats: &[Format]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let args = PhantomArgs {
        out: folder.path().into(),
        count,
        seed: 1,
        modality,
        size: Some(SIZE),
        formats: formats.to_vec(),
    };
    generate_files(&args).unwrap();
    folder
}

fn import_args(dir: &Path, layout: Layout) -> ImportArgs {
    ImportArgs {
        dir: dir.to_owned(),
        out: dir.join("thorax.csv"),
        layout,
        modality: Some(Modality::Xray),
        seed: 0,
        fractions: Fractions::default(),
        patients: None,
        positive: Vec::new(),
        negative: Vec::new(),
        source: Some("phantoms".into()),
        licence: "none".into(),
        equalised: Vec::new(),
    }
}

fn copy(from: &Path, to: PathBuf) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

/// `covid/` and `normal/` with `patients` each of two films (the second a re-exposure: other bytes, same patient).
fn class_folders(patients: usize) -> TempDir {
    let source = phantoms(4 * patients, ModalityChoice::Xray, &[Format::Png]);
    let folder = tempfile::tempdir().unwrap();
    for index in 0..4 * patients {
        let (class, word) = if index % 2 == 0 { ("covid", "positive") } else { ("normal", "negative") };
        let film = source.path().join(format!("phantom_xray_{index:04}_{word}.png"));
        copy(&film, folder.path().join(class).join(format!("{class}{}__{index}.png", index / 4)));
    }
    folder
}

/// `images/`, `masks/`, `left_lung/`, `right_lung/`.
fn pairs(count: usize) -> TempDir {
    let source = phantoms(count, ModalityChoice::Xray, &[Format::Png]);
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        let stem = format!("phantom_xray_{index:04}_{}", if index % 2 == 0 { "positive" } else { "negative" });
        let name = format!("p{index}__0.png");
        copy(&source.path().join(format!("{stem}.png")), folder.path().join("images").join(&name));
        for (what, to) in [("infection", "masks"), ("left_lung", "left_lung"), ("right_lung", "right_lung")] {
            copy(&source.path().join(format!("masks/{stem}_{what}.png")), folder.path().join(to).join(&name));
        }
    }
    folder
}

fn messages(manifest: &Manifest) -> String {
    check(manifest).iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn class_folders_become_patients_with_labels_and_nothing_is_wrong_with_them() {
    let folder = class_folders(4);
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap();
    assert_eq!(manifest.records.len(), 16);
    assert_eq!(messages(&manifest), "");
    for record in &manifest.records {
        assert_eq!(record.task, Task::Classify);
        assert_eq!(record.label == Label::Positive, record.path.starts_with("covid/"));
        assert!(record.path.contains(&format!("{}__", record.patient_id)), "{record:?}");
        assert_eq!(record.sha256.len(), 64);
    }
    let selected = manifest.select(Modality::Xray, Task::Classify, Some(Split::Test)).count();
    assert!(selected >= 4, "{selected}");
    assert_eq!(manifest.select(Modality::Ct, Task::Classify, None).count(), 0);
}

#[test]
fn pairs_find_their_masks() {
    let folder = pairs(6);
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap();
    assert_eq!(manifest.records.len(), 6);
    assert_eq!(messages(&manifest), "");
    let record = &manifest.records[0];
    assert_eq!((record.path.as_str(), record.mask.as_str()), ("images/p0__0.png", "masks/p0__0.png"));
    assert_eq!(record.lung_masks().collect::<Vec<_>>(), ["left_lung/p0__0.png", "right_lung/p0__0.png"]);
    assert_eq!((record.task, record.patient_id.as_str()), (Task::Segment, "p0"));
}

#[test]
fn pictures_that_were_equalised_are_told_by_how_their_path_begins() {
    let folder = pairs(3);
    let told =
        |beginning: &str| ImportArgs { equalised: vec![beginning.into()], ..import_args(folder.path(), Layout::Auto) };
    let manifest = import(&told("images/p1")).unwrap();
    let equalised = |manifest: &Manifest| manifest.records.iter().map(|record| record.equalised).collect::<Vec<_>>();
    assert_eq!(equalised(&manifest), [false, true, false]);
    let path = folder.path().join("thorax.csv");
    manifest.save(&path).unwrap();
    assert_eq!(equalised(&Manifest::load(&path).unwrap()), [false, true, false]);
    let text = fs::read_to_string(&path).unwrap();
    let older: Vec<&str> = text.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    fs::write(&path, older.join("\n")).unwrap();
    assert_eq!(equalised(&Manifest::load(&path).unwrap()), [false; 3], "a manifest from before the column");
    let error = import(&told("films/")).unwrap_err().to_string();
    assert!(error.contains("films/") && error.contains("--equalised"), "{error}");
}

#[test]
fn phantoms_are_imported_as_they_are_written_and_their_other_formats_kept_aside() {
    let folder = phantoms(8, ModalityChoice::Both, &[Format::Png, Format::Png16, Format::Dicom, Format::Nifti]);
    let manifest = import(&ImportArgs { modality: None, ..import_args(folder.path(), Layout::Auto) }).unwrap();
    assert_eq!(messages(&manifest), "");
    for modality in [Modality::Xray, Modality::Ct] {
        assert_eq!(manifest.select(modality, Task::Classify, None).count(), 8);
        assert_eq!(manifest.select(modality, Task::Segment, None).count(), 8);
        assert_eq!(manifest.select(modality, Task::None, None).count(), 24);
    }
}

#[test]
fn a_manifest_keeps_its_own_splits_and_groups() {
    let folder = phantoms(6, ModalityChoice::Xray, &[Format::Png, Format::Dicom]);
    let mut table =
        String::from("path,modality,class,patient_id,source,licence,split,mask,lung_mask,group,label_source\n");
    for (index, split) in ["train", "val", "test"].into_iter().flat_map(|s| [s, s]).enumerate() {
        let (class, word) = if index % 2 == 0 { ("covid", "positive") } else { ("normal", "negative") };
        table += &format!("phantom_xray_{index:04}_{word}.png,xray,{class},p{index},s,,{split},,,g{index},me\n");
    }
    table += "phantom_xray_0001_negative.dcm,xray,normal,p1,s,,train,,,g1,me\n";
    table += "phantom_xray_0003_negative_monochrome1.dcm,xray,unlabelled,unknown,s,,train,,,unknown,me\n";
    fs::write(folder.path().join("manifest.csv"), table).unwrap();
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap();
    assert_eq!(messages(&manifest), "");
    let splits: Vec<Split> = manifest.select(Modality::Xray, Task::Classify, None).map(|r| r.split).collect();
    assert_eq!(splits, [Split::Train, Split::Train, Split::Val, Split::Val, Split::Test, Split::Test]);
    let aside: Vec<_> =
        manifest.select(Modality::Xray, Task::None, None).map(|r| (r.label, r.group.as_str())).collect();
    assert_eq!(
        aside,
        [(Label::Negative, "g1"), (Label::Unlabelled, "unknown/phantom_xray_0003_negative_monochrome1.dcm")]
    );
}

#[test]
fn a_saved_manifest_loads_as_it_was_with_the_same_hash_from_anywhere() {
    let folder = class_folders(3);
    let manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    for path in [folder.path().join("thorax.csv"), elsewhere.path().join("deep/thorax.csv")] {
        manifest.save(&path).unwrap();
        let loaded = Manifest::load(&path).unwrap();
        assert_eq!(loaded.records, manifest.records);
        assert_eq!(loaded.sha256(), manifest.sha256());
        assert_eq!(messages(&loaded), "", "{}", path.display());
    }
    let inside = fs::read_to_string(folder.path().join("thorax.csv")).unwrap();
    let mut odd = manifest.clone();
    odd.records[0].path = "#1, \"odd\"\nname.png".into();
    odd.save(&folder.path().join("odd.csv")).unwrap();
    let odd = Manifest::new(odd.root, odd.records);
    assert_eq!(Manifest::load(&folder.path().join("odd.csv")).unwrap().records, odd.records, "no row is lost");
    assert!(inside.starts_with("path,modality,"), "paths beside the manifest need no root: {inside}");
    let again = import(&import_args(folder.path(), Layout::Folders)).unwrap();
    assert_eq!(again.sha256(), manifest.sha256(), "the same folder and seed give the same manifest");
}

#[test]
fn a_patient_table_overrules_names_and_must_be_complete() {
    let folder = class_folders(3);
    let table = folder.path().join("patients.csv");
    let files: Vec<String> = ["covid", "normal"]
        .into_iter()
        .flat_map(|class| fs::read_dir(folder.path().join(class)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let lines: Vec<String> = files.iter().map(|file| format!("{file},{}", &file[..1])).collect();
    fs::write(&table, format!("file,patient\n{}\n", lines.join("\n"))).unwrap();
    let args = ImportArgs { patients: Some(table.clone()), ..import_args(folder.path(), Layout::Folders) };
    let manifest = import(&args).unwrap();
    assert!(manifest.records.iter().all(|r| r.patient_id == r.class[..1]));

    fs::write(&table, format!("file,patient\n{}\n", lines[1..].join("\n"))).unwrap();
    let error = import(&args).unwrap_err().to_string();
    assert!(error.contains(&files[0]) && error.contains("patients.csv") && error.contains("add a line"), "{error}");

    fs::write(&table, format!("file,patient\n{}\n", lines.join("\n").replace(",c", ",unknown"))).unwrap();
    let manifest = import(&args).unwrap();
    assert!(manifest.records.iter().filter(|r| r.class == "covid").all(|r| r.split == Split::Train));
}

#[test]
fn folders_that_do_not_fit_are_refused_with_a_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let error = import(&import_args(empty.path(), Layout::Auto)).unwrap_err().to_string();
    assert!(error.contains("no known layout"), "{error}");

    let folder = class_folders(3);
    let error =
        import(&ImportArgs { modality: None, ..import_args(folder.path(), Layout::Auto) }).unwrap_err().to_string();
    assert!(error.contains("--modality"), "{error}");

    copy(&folder.path().join("covid/covid0__0.png"), folder.path().join("martians/m.png"));
    let error = import(&import_args(folder.path(), Layout::Auto)).unwrap_err().to_string();
    assert!(error.contains("martians") && error.contains("--positive martians"), "{error}");
    let args = ImportArgs { negative: vec!["martians".into()], ..import_args(folder.path(), Layout::Auto) };
    assert!(import(&args).is_ok());

    fs::create_dir(folder.path().join("healthy")).unwrap();
    let error = import(&args).unwrap_err().to_string();
    assert!(error.contains("healthy") && error.contains("no pictures"), "{error}");

    let folder = pairs(3);
    fs::remove_file(folder.path().join("masks/p1__0.png")).unwrap();
    let error = import(&import_args(folder.path(), Layout::Auto)).unwrap_err().to_string();
    assert!(error.contains("images/p1__0.png") && error.contains("no mask"), "{error}");
}

#[test]
fn bad_lines_are_named_by_number() {
    let folder = class_folders(3);
    let path = folder.path().join("thorax.csv");
    import(&import_args(folder.path(), Layout::Folders)).unwrap().save(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, reason) in [
        ("covid/covid0__2.png", "../covid0__2.png", "does not lie under the root"),
        ("covid/covid0__2.png", "/etc/passwd", "does not lie under the root"),
        ("covid/covid0__2.png,xray,classify", "covid/covid0__2.png,mri,classify", "mri"),
        ("covid/covid0__2.png,xray,classify", "covid/covid0__2.png,xray,segment", "names no mask"),
        ("covid/covid0__2.png,xray,classify,positive", "covid/covid0__2.png,xray,classify,unlabelled", "unlabelled"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Manifest::load(&path).unwrap_err().to_string();
        assert!(error.contains("thorax.csv, line 3") && error.contains(reason), "{to}: {error}");
    }
    fs::write(&path, format!("# root: elsewhere\n{}", good.replacen(",xray,", ",mri,", 1))).unwrap();
    let error = Manifest::load(&path).unwrap_err().to_string();
    assert!(error.contains("line 3"), "the root's line is counted: {error}");
    let error = Manifest::load(&folder.path().join("absent.csv")).unwrap_err().to_string();
    assert!(error.contains("absent.csv"), "{error}");
}

#[test]
fn check_names_every_spoilt_file() {
    let folder = pairs(6);
    let manifest = import(&import_args(folder.path(), Layout::Pairs)).unwrap();
    let at = |name: &str| folder.path().join(name);
    image::GrayImage::new(32, 48).save(at("masks/p0__0.png")).unwrap();
    fs::write(at("images/p1__0.png"), b"no picture at all").unwrap();
    fs::remove_file(at("right_lung/p2__0.png")).unwrap();
    fs::write(at("images/p3__0.png"), b"").unwrap();
    fs::copy(at("images/p5__0.png"), at("images/p4__0.png")).unwrap();
    let found = messages(&manifest);
    assert!(found.contains("masks/p0__0.png: mask of 32 x 48 for images/p0__0.png of 64 x 64"), "{found}");
    assert!(found.contains("images/p1__0.png: not readable as a picture"), "{found}");
    assert!(found.contains("right_lung/p2__0.png: No such file"), "{found}");
    assert!(found.contains("images/p3__0.png: the file is empty"), "{found}");
    assert!(found.contains("images/p4__0.png: not the file that was imported"), "{found}");
    assert_eq!(found.lines().count(), 5, "{found}");
}

#[test]
fn check_finds_leaks_contradictions_and_missing_classes() {
    let folder = class_folders(4);
    let good = import(&import_args(folder.path(), Layout::Folders)).unwrap();
    let spoilt = |spoil: &dyn Fn(&mut Vec<Record>)| {
        let mut manifest = good.clone();
        spoil(&mut manifest.records);
        messages(&manifest)
    };
    let other = |split| if split == Split::Train { Split::Test } else { Split::Train };

    let found = spoilt(&|records| records[0].split = other(records[0].split));
    assert!(found.contains("patient `covid0` of phantoms is in more than one split"), "{found}");
    assert!(found.contains("group `phantoms/covid0` is in more than one split"), "{found}");

    let found = spoilt(&|records| records.retain(|r| r.class != "covid" || r.split != Split::Test));
    assert!(found.contains("no picture of xray for classification, class `covid` in test"), "{found}");
    let found = spoilt(&|records| records.retain(|r| r.class != "covid"));
    assert!(found.contains("no picture of xray for classification that is positive in train"), "{found}");

    let found = spoilt(&|records| {
        let test = records.iter_mut().find(|r| r.split == Split::Test).unwrap();
        test.patient_id = UNKNOWN_PATIENT.into();
    });
    assert!(found.contains("in test though its patient is unknown"), "{found}");
    assert!(spoilt(&|records| records.clear()).contains("no rows"));

    // The same file as another patient's, of the other class.
    copy(&folder.path().join("covid/covid0__0.png"), folder.path().join("normal/copy__0.png"));
    let mut manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap();
    let found = messages(&manifest);
    assert!(found.contains("positive as covid/covid0__0.png and negative as normal/copy__0.png"), "{found}");
    assert!(!found.contains("more than one split"), "equal pictures are dealt together: {found}");
    let copied = manifest.records.iter_mut().find(|r| r.path == "normal/copy__0.png").unwrap();
    copied.split = other(copied.split);
    let found = messages(&manifest);
    assert!(found.contains("picture ") && found.contains("normal/copy__0.png in"), "{found}");
}

#[test]
fn the_summary_counts_pictures_and_groups() {
    let folder = class_folders(10);
    let manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap();
    let table = summary(&manifest);
    let line = table.lines().find(|line| line.contains("covid")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["xray", "classify", "covid", "14", "(7)", "2", "(1)", "4", "(2)", "phantoms"]
    );
}

/// The real collection, where it is at hand: its splits survive the import and nothing is wrong with it.
#[test]
fn the_shared_collection_is_sound() {
    let Some(dir) = thorax_wanted::shared("data") else { return };
    let manifest = import(&ImportArgs { modality: None, ..import_args(&dir, Layout::Auto) }).unwrap();
    let count = |modality, task| Split::ALL.map(|split| manifest.select(modality, task, Some(split)).count());
    assert_eq!(count(Modality::Xray, Task::Classify), [2299, 294, 709]);
    assert_eq!(count(Modality::Ct, Task::Classify), [1075, 101, 208]);
    assert_eq!(count(Modality::Ct, Task::Segment), [518, 96, 120]);
    assert_eq!(count(Modality::Xray, Task::Segment), [55, 10, 14]);
    assert_eq!(messages(&manifest), "");
}
