//! Import and check over folders of generated phantoms, whole and spoilt.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};
use thorax_shared::modality::Modality;

use super::{mocks::bare, *};

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
    ImportArgs { layout, modality: Some(Modality::Xray), source: Some("phantoms".into()), ..bare(dir) }
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
    let source = phantoms(2 * count, ModalityChoice::Xray, &[Format::Png]);
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        let stem = format!("phantom_xray_{:04}_positive", 2 * index);
        let name = format!("p{index}__0.png");
        copy(&source.path().join(format!("{stem}.png")), folder.path().join("images").join(&name));
        for (what, to) in [("infection", "masks"), ("left_lung", "left_lung"), ("right_lung", "right_lung")] {
            copy(&source.path().join(format!("masks/{stem}_{what}.png")), folder.path().join(to).join(&name));
        }
    }
    folder
}

fn messages(manifest: &Manifest) -> String {
    check(manifest).problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn class_folders_become_patients_with_labels_and_nothing_is_wrong_with_them() {
    let folder = class_folders(4);
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap().manifest;
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
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap().manifest;
    assert_eq!(manifest.records.len(), 6);
    assert_eq!(messages(&manifest), "");
    let record = &manifest.records[0];
    assert_eq!((record.path.as_str(), record.mask.as_str()), ("images/p0__0.png", "masks/p0__0.png"));
    assert_eq!(record.lung_masks().collect::<Vec<_>>(), ["left_lung/p0__0.png", "right_lung/p0__0.png"]);
    assert_eq!((record.task, record.patient_id.as_str()), (Task::Segment, "p0"));
    let lungs = ImportArgs { masks: Some(Marks::Lungs), ..import_args(folder.path(), Layout::Auto) };
    let lungs = import(&lungs).unwrap().manifest;
    assert!(lungs.records.iter().all(|record| record.mask.is_empty() && record.lung_mask.starts_with("masks/")));
}

#[test]
fn pictures_that_were_equalised_are_told_by_how_their_path_begins() {
    let folder = pairs(3);
    let told =
        |beginning: &str| ImportArgs { equalised: vec![beginning.into()], ..import_args(folder.path(), Layout::Auto) };
    let manifest = import(&told("images/p1")).unwrap().manifest;
    let equalised = |manifest: &Manifest| manifest.records.iter().map(|record| record.equalised).collect::<Vec<_>>();
    assert_eq!(equalised(&manifest), [false, true, false]);
    let path = folder.path().join("thorax.csv");
    manifest.save(&path).unwrap();
    assert_eq!(equalised(&Manifest::load(&path).unwrap()), [false, true, false]);
    let text = fs::read_to_string(&path).unwrap();
    let older: Vec<&str> = text.lines().map(|line| line.rsplitn(3, ',').last().unwrap()).collect();
    fs::write(&path, older.join("\n")).unwrap();
    assert_eq!(equalised(&Manifest::load(&path).unwrap()), [false; 3], "a manifest from before the column");
    let error = import(&told("films/")).unwrap_err().to_string();
    assert!(error.contains("films/") && error.contains("--equalised"), "{error}");
}

#[test]
fn phantoms_are_imported_as_they_are_written_and_their_other_formats_kept_aside() {
    let folder = phantoms(8, ModalityChoice::Both, &[Format::Png, Format::Png16, Format::Dicom, Format::Nifti]);
    let manifest = import(&ImportArgs { modality: None, ..import_args(folder.path(), Layout::Auto) }).unwrap().manifest;
    assert_eq!(messages(&manifest), "");
    for modality in Modality::ALL {
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
    let manifest = import(&import_args(folder.path(), Layout::Auto)).unwrap().manifest;
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
    let manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest;
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
    let again = import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest;
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
    let manifest = import(&args).unwrap().manifest;
    assert!(manifest.records.iter().all(|r| r.patient_id == r.class[..1]));

    fs::write(&table, format!("file,patient\n{}\n", lines[1..].join("\n"))).unwrap();
    let error = import(&args).unwrap_err().to_string();
    assert!(error.contains(&files[0]) && error.contains("patients.csv") && error.contains("add a line"), "{error}");

    fs::write(&table, format!("file,patient\n{}\n", lines.join("\n").replace(",c", ",unknown"))).unwrap();
    let manifest = import(&args).unwrap().manifest;
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

    copy(&folder.path().join("covid/covid0__0.png"), folder.path().join("martians/m0__0.png"));
    let error = import(&import_args(folder.path(), Layout::Auto)).unwrap_err().to_string();
    assert!(error.contains("not? martians: say --positive, --negative"), "{error}");
    let args = ImportArgs { negative: vec!["martians".into()], ..import_args(folder.path(), Layout::Auto) };
    assert!(import(&args).is_ok());

    fs::create_dir(folder.path().join("healthy")).unwrap();
    let error = import(&args).unwrap_err().to_string();
    assert!(error.contains("healthy") && error.contains("no pictures"), "{error}");

    let folder = pairs(3);
    fs::remove_file(folder.path().join("masks/p1__0.png")).unwrap();
    let imported = import(&import_args(folder.path(), Layout::Auto)).unwrap();
    let (file, reason) = &imported.left_out[0];
    assert!(file == "images/p1__0.png" && reason.contains("no mask"), "{file}: {reason}");
    assert_eq!((imported.left_out.len(), imported.manifest.records.len()), (1, 2));
}

#[test]
fn bad_lines_are_named_by_number() {
    let folder = class_folders(3);
    let path = folder.path().join("thorax.csv");
    import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest.save(&path).unwrap();
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
    let manifest = import(&import_args(folder.path(), Layout::Pairs)).unwrap().manifest;
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
    let good = import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest;
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
    let mut manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest;
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
    let manifest = import(&import_args(folder.path(), Layout::Folders)).unwrap().manifest;
    let table = summary(&manifest);
    let line = table.lines().find(|line| line.contains("covid")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["xray", "classify", "positive", "covid", "14", "(7)", "2", "(1)", "4", "(2)", "phantoms"]
    );
}

/// Writes a manifest of phantom films as people write them, and imports it.
fn written(folder: &Path, lines: &str) -> Result<Imported, DataError> {
    fs::write(folder.join("manifest.csv"), lines).unwrap();
    import(&ImportArgs { modality: None, ..import_args(folder, Layout::Auto) })
}

#[test]
fn words_with_one_plain_meaning_are_read_and_told() {
    let folder = phantoms(4, ModalityChoice::Xray, &[Format::Png]);
    let absolute = folder.path().canonicalize().unwrap().join("phantom_xray_0001_negative.png");
    let mask = "masks/phantom_xray_0002_positive_infection.png";
    let lines = format!(
        "Path;Modality;Class;Patient ID;Source;Split;Mask\n\
         phantom_xray_0000_positive.png;CXR;COVID-19;a;s;Training;\n\
         {};X-Ray;Normal;b;s;validation;\n\n\
         .\\phantom_xray_0002_positive.png;xray;Covid;c;s;TESTING;{}\n\
         phantom_xray_0003_negative.png;DX;Unlabelled;Unknown;s;train;\n;;;;;;\n",
        absolute.display(),
        mask.replace('/', "\\")
    );
    let imported = written(folder.path(), &lines).unwrap();
    let lines: Vec<_> = imported
        .manifest
        .records
        .iter()
        .map(|r| (&r.path[13..17], r.task, r.label, r.class.as_str(), r.split, r.patient_id.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("0000", Task::Classify, Label::Positive, "covid-19", Split::Train, "a"),
            ("0001", Task::Classify, Label::Negative, "normal", Split::Val, "b"),
            ("0002", Task::Segment, Label::Positive, "covid", Split::Test, "c"),
            ("0003", Task::None, Label::Unlabelled, "unlabelled", Split::Train, UNKNOWN_PATIENT),
        ]
    );
    assert_eq!(imported.manifest.records[2].mask, mask);
    assert_eq!(imported.manifest.records[2].masks_sha256.len(), 64);
    let told = imported.told.join("\n");
    for words in [
        "';'",
        "`Patient ID` as patient_id",
        "modality `CXR` read as `xray`",
        "split `TESTING` read as `test`",
        "class `Normal`",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let undealt = "path,modality,class,patient_id\nphantom_xray_0000_positive.png,xray,covid,a\n\
                   phantom_xray_0001_negative.png,xray,normal,b\nphantom_xray_0002_positive.png,xray,covid,c\n";
    let imported = written(folder.path(), undealt).unwrap();
    assert!(imported.told.join("\n").contains("dealt out"), "{:?}", imported.told);
}

#[test]
fn words_with_no_plain_meaning_are_refused_with_their_line() {
    let folder = phantoms(2, ModalityChoice::Xray, &[Format::Png]);
    let good = "phantom_xray_0000_positive.png,xray,covid,a,s,train,";
    for (line, words) in [
        ("phantom_xray_0001_negative.png,mri,normal,b,s,test,", "modality `mri`"),
        ("phantom_xray_0001_negative.png,xray,martian,b,s,test,", "--positive martian"),
        ("phantom_xray_0001_negative.png,xray,normal,b,s,holdout,", "split `holdout`"),
        ("phantom_xray_0001_negative.png,xray,normal,b,s,,", "split ``"),
        ("phantom_xray_0001_negative.png,xray,normal,,s,test,", "no patient"),
        ("../phantom_xray_0001_negative.png,xray,normal,b,s,test,", "does not lie under"),
        ("/etc/hostname,xray,normal,b,s,test,", "does not lie under"),
        (",xray,normal,b,s,test,", "does not lie under"),
        ("phantom_xray_0001_negative.png,xray,normal,b,s,test", "6 fields, the header has 7"),
    ] {
        let table = format!("path,modality,class,patient_id,source,split,mask\n{good}\n{line}\n");
        let error = written(folder.path(), &table).unwrap_err().to_string();
        assert!(error.contains("manifest.csv, line 3") && error.contains(words), "{line}: {error}");
    }
    for table in ["", "path,modality,class,patient_id\n"] {
        let error = written(folder.path(), table).unwrap_err().to_string();
        assert!(error.contains("manifest.csv"), "{error}");
    }
    // A bad file does not stop the others.
    fs::write(folder.path().join("empty.png"), "").unwrap();
    let table = format!(
        "path,modality,class,patient_id,source,split,mask\n{good}\nempty.png,xray,normal,b,s,test,\ngone.png,xray,normal,c,s,test,\n"
    );
    let imported = written(folder.path(), &table).unwrap();
    let left_out: Vec<&str> = imported.left_out.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!((left_out, imported.manifest.records.len()), (vec!["empty.png", "gone.png"], 1));
}

/// Class folders of films whose names tell no patient.
fn nameless(count: usize) -> TempDir {
    let source = phantoms(count, ModalityChoice::Xray, &[Format::Png]);
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        let (class, word) = if index % 2 == 0 { ("COVID", "positive") } else { ("Normal", "negative") };
        let film = source.path().join(format!("phantom_xray_{index:04}_{word}.png"));
        copy(&film, folder.path().join(class).join(format!("p{}_{index}.png", index / 4)));
    }
    folder
}

#[test]
fn a_folder_that_tells_no_patients_asks_for_them() {
    let folder = nameless(12);
    let args = import_args(folder.path(), Layout::Auto);
    let error = import(&args).unwrap_err().to_string();
    for words in
        ["12 of the pictures", "COVID/p0_0.png", "--patients", "--patient-pattern", "--each-picture-is-a-patient"]
    {
        assert!(error.contains(words), "{words}: {error}");
    }
    let each = import(&ImportArgs { each_picture_is_a_patient: true, ..args.clone() }).unwrap().manifest;
    assert!(each.records.iter().all(Record::is_its_own_patient));
    let moved = Record { path: format!("sets/{}", each.records[0].path), ..each.records[0].clone() };
    assert!(moved.is_its_own_patient(), "beside other collections too");
    assert!(each.records.iter().all(|r| r.class == r.class.to_lowercase()), "`healthy` pictures are of class normal");
    let pattern = |text: &str| ImportArgs { patient_pattern: Some(text.parse().unwrap()), ..args.clone() };
    let told = import(&pattern(r"/(p\d+)_")).unwrap().manifest;
    assert_eq!(told.records.iter().map(|r| r.patient_id.as_str()).collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert!(!told.records.iter().any(Record::is_its_own_patient));
    assert!(static_problems_of(&told).is_empty());
    let error = import(&pattern("x[0-9]+")).unwrap_err().to_string();
    assert!(error.contains("x[0-9]+") && error.contains("COVID/p0_0.png"), "{error}");
}

fn static_problems_of(manifest: &Manifest) -> Vec<Problem> {
    super::check::static_problems(manifest)
}

#[test]
fn dicom_files_bring_their_patients() {
    let source = phantoms(4, ModalityChoice::Xray, &[Format::Dicom]);
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "dcm") {
            let class = if name.contains("positive") { "covid" } else { "normal" };
            // Without an extension, as archives write them.
            copy(&path, folder.path().join(class).join(name));
        }
    }
    let imported = import(&import_args(folder.path(), Layout::Auto));
    let manifest = imported.unwrap().manifest;
    assert!(manifest.records.len() >= 4);
    assert!(manifest.records.iter().all(|r| r.task == Task::Classify && r.patient_id != UNKNOWN_PATIENT));
}

#[cfg(unix)]
#[test]
fn odd_things_in_folders_are_left_out_and_listed() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, os::unix::fs::symlink};
    let folder = class_folders(3);
    let at = |name: &str| folder.path().join(name);
    symlink("..", at("covid/loop")).unwrap();
    symlink("/nonexistent", at("covid/dangling.png")).unwrap();
    symlink("../normal", at("covid/others")).unwrap();
    let film = at("normal/normal0__1.png");
    copy(&film, folder.path().join("covid").join(OsStr::from_bytes(b"n\xe4me__1.png")));
    copy(&film, at("covid/masks/covid0__0.png"));
    fs::write(at("normal/empty.jpg"), "").unwrap();
    fs::write(at("normal/notes.xlsx"), "x").unwrap();
    for name in [".DS_Store", "Thumbs.db", "._covid0__0.png", "__MACOSX/a.png"] {
        fs::create_dir_all(at("covid").join(name).parent().unwrap()).unwrap();
        fs::write(at("covid").join(name), "litter").unwrap();
    }
    let Imported { manifest, told, left_out, .. } = import(&import_args(folder.path(), Layout::Auto)).unwrap();
    assert_eq!(manifest.records.iter().filter(|r| r.class == "normal").count(), 6);
    let reasons: Vec<String> = left_out.iter().map(|(file, reason)| format!("{file}: {reason}")).collect();
    let listed = reasons.join("\n");
    for words in [
        "covid/loop: a link",
        "covid/dangling.png: No such file",
        "not UTF-8",
        "covid/masks/covid0__0.png: in a folder of masks",
        "normal/empty.jpg: the file is empty",
    ] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    assert!(listed.contains("covid/others: a link"), "normal pictures are none of covid's: {listed}");
    for words in ["4 files that systems leave", "1 other files are not read: normal/notes.xlsx"] {
        assert!(told.iter().any(|what| what.starts_with(words)), "{words}: {told:?}");
    }
}

#[test]
fn check_finds_masks_that_are_none_and_pictures_that_are_masks() {
    let folder = pairs(8);
    let at = |name: &str| folder.path().join(name);
    let mask = |name: &str, value: &dyn Fn(u32, u8) -> u8| {
        let mut image = image::open(at(name)).unwrap().into_luma8();
        image.enumerate_pixels_mut().for_each(|(x, _, pixel)| pixel.0[0] = value(x, pixel.0[0]));
        image.save(at(name)).unwrap();
    };
    let import_again = || import(&import_args(folder.path(), Layout::Pairs)).unwrap().manifest;
    mask("masks/p0__0.png", &|_, v| v.min(1));
    mask("masks/p1__0.png", &|x, v| if v > 0 { 1 + (x % 3) as u8 } else { 0 });
    let findings = check(&import_again());
    assert_eq!(findings.problems, vec![]);
    let told = findings.told.join("\n");
    assert!(told.contains("0 and 1 (1): masks/p0__0.png") && told.contains("labels 1, 2, 3"), "{told}");

    copy(&at("left_lung/p2__0.png"), at("masks/p2__0.png"));
    copy(&at("left_lung/p2__0.png"), at("right_lung/p2__0.png"));
    copy(&at("left_lung/p3__0.png"), at("images/p3__0.png"));
    image::GrayImage::new(SIZE.into(), SIZE.into()).save(at("images/p4__0.png")).unwrap();
    mask("masks/p5__0.png", &|_, v| if v > 0 { 255 } else { 90 });
    mask("masks/p6__0.png", &|_, _| 0);
    let findings = check(&import_again());
    let found: String = findings.problems.iter().map(|problem| format!("{problem}\n")).collect();
    for words in [
        "masks/p2__0.png: marks exactly the lungs",
        "images/p3__0.png: nearly all its pixels have one of two values",
        "images/p4__0.png: all its pixels are alike",
        "masks/p5__0.png: ",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    assert!(findings.told.iter().any(|what| what.contains("mark nothing (1): masks/p6__0.png")), "{:?}", findings.told);
    (0..8).for_each(|i| mask(&format!("masks/p{i}__0.png"), &|_, _| 0));
    let found = messages(&import_again());
    for split in Split::ALL {
        assert!(found.contains(&format!("xray pictures in {} marks anything", split.as_str())), "{found}");
    }
    let mut lungs = import_again();
    lungs.records[0].mask = "right_lung/p0__0.png".into();
    assert!(messages(&lungs).contains("by its name a mask of the lungs"), "{}", messages(&lungs));
}

#[test]
fn a_broken_film_is_found_though_its_header_is_whole() {
    let folder = class_folders(3);
    let film = folder.path().join("covid/covid0__0.png");
    let bytes = fs::read(&film).unwrap();
    fs::write(&film, &bytes[..bytes.len() / 2]).unwrap();
    let found = messages(&import(&import_args(folder.path(), Layout::Auto)).unwrap().manifest);
    assert!(found.contains("covid/covid0__0.png: "), "{found}");
}

#[test]
fn a_manifest_that_lies_is_not_opened_and_changed_files_are_not_read() {
    let folder = pairs(4);
    let path = folder.path().join("thorax.csv");
    let good = import(&import_args(folder.path(), Layout::Pairs)).unwrap().manifest;
    let opened = |spoil: &dyn Fn(&mut Vec<Record>)| {
        let mut manifest = good.clone();
        spoil(&mut manifest.records);
        manifest.save(&path).unwrap();
        open(&path).map_err(|error| error.to_string())
    };
    assert_eq!(opened(&|_| {}).unwrap().records, good.records);
    let other = |split| if split == Split::Train { Split::Test } else { Split::Train };
    for (spoil, words) in [
        (
            &(|r: &mut Vec<Record>| {
                r[1].split = other(r[0].split);
                r[1].patient_id = r[0].patient_id.clone();
            }) as &dyn Fn(&mut Vec<Record>),
            "more than one split",
        ),
        (
            &|r| {
                r[1].split = other(r[0].split);
                r[1].sha256 = r[0].sha256.clone();
            },
            "picture ",
        ),
        (&|r| r.push(r[0].clone()), "2 lines"),
        (&|r| r[0].mask = "left_lung/p0__0.png".into(), "lungs"),
        (
            &|r| {
                r[0].patient_id = UNKNOWN_PATIENT.into();
                r[0].split = Split::Val;
            },
            "patient is unknown",
        ),
        (
            &|r| {
                (r[0].task, r[0].label, r[0].class) = (Task::Classify, Label::Negative, "normal".into());
                r[1] = Record { class: "pneumonia".into(), path: r[1].path.clone(), ..r[0].clone() };
            },
            "several classes",
        ),
    ] {
        let error = opened(spoil).unwrap_err();
        assert!(
            error.contains("thorax.csv") && error.contains(words) && error.contains("data check"),
            "{words}: {error}"
        );
    }

    let verified = |file: &str| {
        let whole = fs::read(folder.path().join(file)).unwrap();
        fs::write(folder.path().join(file), b"another").unwrap();
        let result = verify(&good, Modality::Xray, &[Task::Segment]).map_err(|error| error.to_string());
        let elsewhere = verify(&good, Modality::Ct, &[Task::Segment]).is_ok();
        fs::write(folder.path().join(file), whole).unwrap();
        (result, elsewhere)
    };
    for file in ["images/p1__0.png", "masks/p2__0.png", "right_lung/p3__0.png"] {
        let (result, elsewhere) = verified(file);
        let error = result.unwrap_err();
        assert!(error.contains(file) && error.contains("not the file that was imported") && elsewhere, "{error}");
    }
    assert!(verify(&good, Modality::Xray, &[Task::Segment]).is_ok());
    // A manifest from before the masks' hashes.
    let mut old = good.clone();
    old.records.iter_mut().for_each(|record| record.masks_sha256.clear());
    old.save(&path).unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("masks_sha256"));
    assert_eq!(open(&path).unwrap().records, old.records);
    assert!(check(&old).told.iter().any(|what| what.contains("no SHA-256")));
}

/// The real collection, where it is at hand: its splits survive the import. That nothing is wrong with it, the tests of `spoilers` see.
#[test]
fn the_shared_collection_keeps_its_splits() {
    let Some(dir) = thorax_wanted::shared("data") else { return };
    let manifest = import(&ImportArgs { modality: None, ..import_args(&dir, Layout::Auto) }).unwrap().manifest;
    let count = |modality, task| Split::ALL.map(|split| manifest.select(modality, task, Some(split)).count());
    assert_eq!(count(Modality::Xray, Task::Classify), [2299, 294, 709]);
    assert_eq!(count(Modality::Ct, Task::Classify), [1075, 101, 208]);
    assert_eq!(count(Modality::Ct, Task::Segment), [518, 96, 120]);
    assert_eq!(count(Modality::Xray, Task::Segment), [55, 10, 14]);
}
