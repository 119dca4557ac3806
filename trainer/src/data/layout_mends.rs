//! Folders that once were read wrongly without a word.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use thorax_phantom::Phantom;
use thorax_shared::modality::Modality;

use super::{
    mocks::{self, Mock, SIDE, bare, count, imported, refused},
    *,
};

fn args(mock: &Mock) -> ImportArgs {
    ImportArgs { out: None, modality: Some(Modality::Xray), each_picture_is_a_patient: true, ..bare(mock.dir()) }
}

fn told(imported: &Imported, words: &str) {
    assert!(imported.told.iter().any(|told| told.contains(words)), "{words}: {:?}", imported.told);
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Pictures in class folders.
fn class_folders(classes: &[&str]) -> Mock {
    let mock = Mock::new();
    for (seed, class) in (0..).step_by(10).zip(classes) {
        (0..3).for_each(|i| drop(mock.picture(&format!("{class}/{seed}_{i}.png"), Modality::Xray, seed + i, false)));
    }
    mock
}

#[test]
fn what_the_user_says_of_a_class_comes_before_its_sorting_number_and_known_words() {
    let positive = words(&["covid", "CAP"]);
    let folders = class_folders(&["1Normal", "2COVID", "3CAP"]);
    let found = imported(&ImportArgs { positive: positive.clone(), ..args(&folders) });
    assert!(found.layout.starts_with("folders"), "{}", found.layout);
    assert_eq!(count(&found, |r| r.label == Label::Positive && r.path.starts_with("3CAP/")), 3);
    assert_eq!(count(&found, |r| r.label == Label::Positive), 6);
    let tables = mocks::large_ct_slices();
    let slices = ImportArgs {
        modality: Some(Modality::Ct),
        positive: words(&["covid", "COVID-19", "CAP"]),
        negative: words(&["NonCOVID"]),
        ..args(&tables)
    };
    let found = imported(&slices);
    assert_eq!(count(&found, |r| r.label == Label::Positive && r.path.contains("/3CAP/")), 8);
    let volumes = Mock::new();
    (0..3).for_each(|i| drop(volumes.volume(&format!("2TB/case{i}.nii"), i, true)));
    let found = imported(&ImportArgs { positive: words(&["tb"]), modality: None, ..args(&volumes) });
    assert_eq!(count(&found, |r| r.label == Label::Positive), 27);
}

#[test]
fn classes_are_left_out_of_every_layout() {
    let leave_out = words(&["CAP"]);
    let folders = class_folders(&["Normal", "COVID", "3CAP"]);
    let found = imported(&ImportArgs { leave_out: leave_out.clone(), ..args(&folders) });
    assert_eq!((count(&found, |_| true), count(&found, |r| r.path.contains("CAP"))), (6, 0));
    told(&found, "class `3CAP` left out, as told (3)");
    let mut manifest = String::from("path,modality,class,patient_id,Task\n");
    for class in ["Normal", "COVID", "3CAP"] {
        let file = folders.dir().join(class);
        let file = fs::read_dir(file).unwrap().next().unwrap().unwrap().file_name();
        manifest += &format!("{class}/{},xray,{class},p-{class},classify\n", file.to_string_lossy());
    }
    folders.text("manifest.csv", manifest.replace(",3CAP,", ",CAP,"));
    let found = imported(&ImportArgs { leave_out, ..args(&folders) });
    assert_eq!((count(&found, |_| true), count(&found, |r| r.path.contains("CAP"))), (2, 0));
    told(&found, "columns that are not read: task");
}

/// Pictures in `images/` of `root`, lung masks in `masks/`, and a table of patients.
fn masks_and_a_table(root: &str) -> Mock {
    let mock = Mock::new();
    let mut table = String::from("file,patient,class\n");
    for i in 0..6_u64 {
        let film = mock.picture(&format!("{root}images/{i}.png"), Modality::Xray, i, i < 3);
        mock.mask(&format!("{root}masks/{i}.png"), &film, mocks::lungs);
        table += &format!("{i}.png,p{},{}\n", i / 2, if i < 4 { "COVID" } else { "Normal" });
    }
    mock.text("patients.csv", table);
    mock
}

#[test]
fn masks_beside_a_table_of_patients_are_no_pictures() {
    let mock = masks_and_a_table("");
    let lungs = ImportArgs { masks: Some(Marks::Lungs), each_picture_is_a_patient: false, ..args(&mock) };
    for mock in [&mock, &masks_and_a_table("COVID/")] {
        if mock.dir().join("COVID").exists() {
            let table = fs::read_to_string(mock.dir().join("patients.csv")).unwrap();
            mock.text("patients.csv", table.replace("Normal", "COVID"));
        }
        let found = imported(&ImportArgs { dir: mock.dir().to_owned(), ..lungs.clone() });
        assert_eq!(count(&found, |r| r.path.contains("masks/")), 0);
        assert_eq!(count(&found, |r| r.task == Task::Segment && r.lung_mask.contains("masks/")), 6);
        assert_eq!(count(&found, |r| r.task == Task::Classify), 6, "the table tells the class");
        assert_eq!(count(&found, |r| r.patient_id == "p1"), 4);
        told(&found, "patients.csv: read as the pictures' patients");
    }
    let found = imported(&lungs);
    assert_eq!(count(&found, |r| r.label == Label::Negative && r.class == "normal"), 4);
}

#[test]
fn the_users_table_of_patients_is_none_of_the_collections() {
    let mock = class_folders(&["Normal", "COVID"]);
    let mut table = String::from("file,patient\n");
    for (file, patient) in [("0_0", "a"), ("0_1", "a"), ("0_2", "b"), ("10_0", "c"), ("10_1", "d"), ("10_2", "e")] {
        table += &format!("{file}.png,{patient}\n");
    }
    mock.text("patients.csv", table);
    let patients = Some(mock.dir().join("patients.csv"));
    let found = imported(&ImportArgs { patients, each_picture_is_a_patient: false, ..args(&mock) });
    assert!(found.layout.starts_with("folders"), "{}", found.layout);
    assert_eq!(count(&found, |r| r.patient_id == "a"), 2);
}

#[test]
fn a_picture_of_two_classes_in_tables_is_refused_whatever_the_order() {
    let mock = Mock::new();
    (0..3).for_each(|i| drop(mock.picture(&format!("pictures/{i}.png"), Modality::Xray, i, false)));
    let one = "file,patient,class\n0.png,p0,COVID\n1.png,p1,Normal\n2.png,p2,Normal\n";
    let other = "file,patient,class\n0.png,p0,Normal\n";
    for (first, second) in [(one, other), (other, one)] {
        mock.text("a.csv", first);
        mock.text("b.csv", second);
        refused(&args(&mock), &["disagree on pictures/0.png", "class `COVID`", "class `Normal`"]);
    }
    // What says nothing contradicts nothing, whatever the order.
    let nothing = "file,patient,class\n0.png,p0,unknown\n";
    for (first, second) in [(one, nothing), (nothing, one)] {
        mock.text("a.csv", first);
        mock.text("b.csv", second);
        assert_eq!(count(&imported(&args(&mock)), |r| r.class == "covid" && r.label == Label::Positive), 1);
    }
}

#[test]
fn a_collections_train_and_val_are_kept_without_a_test() {
    let mock = mocks::covid_qu_ex();
    for part in ["Infection Segmentation Data", "Lung Segmentation Data"] {
        fs::remove_dir_all(mock.dir().join(part).join("Test")).unwrap();
    }
    let found = imported(&args(&mock));
    told(&found, "train and val, but no test, which is dealt out of train");
    assert!(count(&found, |r| r.path.contains("/Val/")) > 0);
    for record in &found.manifest.records {
        assert_eq!(record.split == Split::Val, record.path.contains("/Val/"), "{}", record.path);
    }
    assert!(count(&found, |r| r.split == Split::Test) > 0 && count(&found, |r| r.split == Split::Train) > 0);
    for part in ["Infection Segmentation Data", "Lung Segmentation Data"] {
        fs::remove_dir_all(mock.dir().join(part).join("Val")).unwrap();
    }
    told(&imported(&args(&mock)), "of splits it has train alone");
}

#[test]
fn listed_pairs_are_no_reason_to_pass_over_a_test() {
    let mock = mocks::decathlon();
    for i in 20..23_u64 {
        let slices = mock.volume(&format!("imagesTs/lung_{i:03}.nii.gz"), i, true);
        mock.labels(&format!("labelsTs/lung_{i:03}.nii.gz"), &slices, mocks::infection_label);
    }
    let found = imported(&ImportArgs { modality: None, ..args(&mock) });
    assert_eq!(count(&found, |r| r.split == Split::Test && r.task == Task::Segment), 27);
    assert!(found.manifest.records.iter().all(|r| (r.split == Split::Test) == r.path.starts_with("imagesTs/")));
}

#[test]
fn masks_of_the_left_and_the_right_lung_are_both_read() {
    let mock = Mock::new();
    let left = |phantom: &Phantom, pixel: usize| phantom.left_lung.data()[pixel];
    let right = |phantom: &Phantom, pixel: usize| phantom.right_lung.data()[pixel];
    for i in 0..3_u64 {
        let film = mock.picture(&format!("COVID/images/{i}.png"), Modality::Xray, i, true);
        mock.mask(&format!("COVID/left lung masks/{i}.png"), &film, left);
        mock.mask(&format!("COVID/right lung masks/{i}.png"), &film, right);
    }
    let found = imported(&args(&mock));
    let lungs = "COVID/left lung masks/1.png;COVID/right lung masks/1.png";
    assert_eq!(count(&found, |r| r.lung_mask == lungs && r.task == Task::Segment), 1);
    fs::rename(mock.dir().join("COVID/right lung masks"), mock.dir().join("COVID/left lung segmentation")).unwrap();
    refused(&args(&mock), &["0.png", "is a mask of the same picture and marks the same; keep one"]);
    fs::remove_dir_all(mock.dir().join("COVID/left lung segmentation")).unwrap();
    refused(&args(&mock), &["masks of one lung without the other's"]);
}

#[test]
fn of_a_short_series_the_middle_slice_is_taken() {
    let mock = mocks::dicom_studies(false);
    let found = imported(&ImportArgs { modality: None, every: 100, ..args(&mock) });
    assert_eq!(count(&found, |_| true), 6, "one of each series");
}

#[test]
fn a_table_with_a_ragged_line_is_not_passed_over() {
    let mock = class_folders(&["Normal", "COVID"]);
    mock.text("patients.csv", "file,patient\n0_0.png,a\n0_1.png\n");
    refused(&args(&mock), &["patients.csv", "line 3", "1 fields, the header has 2"]);
    let dry = imported(&ImportArgs { dry_run: true, ..args(&mock) });
    assert!(dry.open.iter().any(|open| open.contains("patients.csv")), "{:?}", dry.open);
    // A manifest that was written here before is none of the collection's.
    fs::remove_file(mock.dir().join("patients.csv")).unwrap();
    let found = imported(&args(&mock));
    found.manifest.save(&mock.dir().join("thorax.csv")).unwrap();
    assert_eq!(imported(&args(&mock)).manifest.records, found.manifest.records);
}

#[test]
fn what_modality_leaves_out_is_told() {
    let mock = mocks::bids();
    told(&imported(&args(&mock)), "modality ct left out, as --modality says (90)");
    let mock = Mock::new();
    let film = Phantom::generate(Modality::Ct, 1, SIDE, true);
    mock.dicom("1.dcm", &film, &[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3")]);
    mock.text("studies.csv", "StudyInstanceUID,class\n1.2.3,COVID\n");
    assert!(import(&args(&mock)).is_err(), "nothing is left");
}

#[test]
fn a_mask_of_one_run_is_not_given_to_another() {
    let mock = Mock::new();
    for (i, name) in (0..).zip(["sub-1_ct", "sub-1_run-2_ct"]) {
        let slices = mock.volume(&format!("sub-1/{name}.nii"), i, true);
        if name.contains("run") {
            let mask = "derivatives/m/sub-1/sub-1_run-2_desc-infection_mask.nii";
            mock.labels(mask, &slices, mocks::infection_label);
            let mask = "derivatives/m/sub-1/sub-1_run-3_desc-lung_mask.nii";
            mock.labels(mask, &slices, mocks::infection_label);
        }
    }
    mock.text("participants.tsv", "participant_id\tdiagnosis\nsub-1\tCOVID-19\n");
    let found = imported(&ImportArgs { modality: None, ..args(&mock) });
    assert_eq!(count(&found, |r| !r.mask.is_empty() && !r.path.contains("run-2")), 0);
    assert!(count(&found, |r| r.mask.contains("run-2") && r.path.contains("run-2")) > 0);
    assert!(found.left_out.iter().any(|(file, _)| file.contains("run-3")), "{:?}", found.left_out);
}

#[test]
fn each_data_set_has_its_own_participants() {
    let mock = Mock::new();
    for (seed, (root, class)) in (0..).zip([("a", "COVID-19"), ("b", "normal")]) {
        mock.volume(&format!("{root}/sub-1/sub-1_ct.nii"), seed, seed == 0);
        mock.text(&format!("{root}/participants.tsv"), format!("participant_id\tdiagnosis\nsub-1\t{class}\n"));
    }
    let found = imported(&ImportArgs { modality: None, ..args(&mock) });
    assert_eq!(count(&found, |r| r.label == Label::Positive && r.path.starts_with("a/")), 9);
    assert_eq!(count(&found, |r| r.label == Label::Negative && r.path.starts_with("b/")), 9);
    assert_eq!(count(&found, |r| r.patient_id == "b/sub-1"), 9);
}

#[test]
fn class_folders_may_lie_in_a_folder_of_all_and_have_folders_of_patients() {
    for (folders, positive, negative) in [
        (&["archive/COVID", "archive/Normal"][..], 3, 3),
        (&["COVID/P1", "COVID/P2", "Normal/P3"], 6, 3),
        (&["covid19/COVID/images", "covid19/Normal/images", "covid19/3CAP/images"], 3, 6),
    ] {
        let found = imported(&args(&class_folders(folders)));
        assert!(found.layout.starts_with("folders"), "{}", found.layout);
        let labelled = |label| count(&found, |r| r.task == Task::Classify && r.label == label);
        assert_eq!([labelled(Label::Positive), labelled(Label::Negative)], [positive, negative], "{folders:?}");
        assert!(found.manifest.records.iter().all(|r| ["covid", "normal", "other"].contains(&r.class.as_str())));
    }
    // Masks are no pictures, wherever their folder is.
    let found =
        imported(&args(&class_folders(&["a/films/COVID", "a/films/Normal", "a/masks/COVID", "a/masks/Normal"])));
    assert_eq!([count(&found, |_| true), count(&found, |r| r.path.contains("masks"))], [6, 0]);
    // The folder of all is no class, but where the user says so.
    let mock = class_folders(&["covid19/sick", "covid19/controls"]);
    refused(&args(&mock), &["is `covid19` the class of all pictures", "(controls, sick)", "--positive and --negative"]);
    let all = imported(&ImportArgs { positive: words(&["covid19"]), ..args(&mock) });
    assert_eq!(count(&all, |r| r.is_positive()), 6);
    let found = imported(&ImportArgs { positive: words(&["sick"]), negative: words(&["controls"]), ..args(&mock) });
    assert_eq!([count(&found, |r| r.is_positive()), count(&found, |r| r.label == Label::Negative)], [3, 3]);
    // A folder that may be a class by its word lies in another one's.
    let mock = class_folders(&["Normal/P1/CT1", "COVID/P2/CT1"]);
    refused(&args(&mock), &["Normal/P1/CT1/", "folders of two classes, `Normal` and `CT1`", "rename"]);
    let mock = mocks::radiography();
    for class in ["COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"] {
        fs::remove_dir_all(mock.dir().join("COVID-19_Radiography_Dataset").join(class).join("masks")).unwrap();
    }
    let found = imported(&args(&mock));
    assert_eq!([count(&found, |r| r.is_positive()), count(&found, |r| r.class == "viral pneumonia")], [5, 5]);
    assert_eq!(count(&found, |r| r.label == Label::Negative), 15);
}

#[test]
fn class_folders_in_splits_keep_them() {
    let mock = class_folders(&["train/COVID", "train/Normal", "test/COVID", "test/Normal"]);
    let found = imported(&args(&mock));
    told(&found, "it has train and test, but no val, which is dealt out of train");
    assert_eq!(count(&found, |r| r.split == Split::Test), 6);
    for record in &found.manifest.records {
        assert_eq!(record.split == Split::Test, record.path.starts_with("test/"), "{}", record.path);
        assert_eq!(record.is_positive(), record.path.contains("/COVID/"), "{}", record.path);
    }
    // What lies in no split is in train, and told.
    let aside = class_folders(&["train/COVID", "train/Normal", "test/COVID", "test/Normal", "Normal"]);
    told(&imported(&args(&aside)), "in no split, and so in train: Normal/40_0.png");
    // A class of which the words say nothing, in a split of its own.
    mock.picture("test/TB/99.png", Modality::Xray, 99, false);
    refused(&args(&mock), &["which of these classes are the disease", "not? TB: say"]);
    fs::remove_file(mock.dir().join("test/TB/99.png")).unwrap();
    refused(&args(&mock), &["test/TB", "this class has no pictures"]);
}

#[test]
fn a_dry_run_asks_which_folders_are_the_disease() {
    let mock = class_folders(&["archive/Foo", "archive/Bar"]);
    refused(&args(&mock), &["which of these classes are the disease", "not? Bar, Foo: say"]);
    let dry = imported(&ImportArgs { dry_run: true, ..args(&mock) });
    assert_eq!(dry.open.len(), 1, "{:?}", dry.open);
    assert!(dry.open[0].contains("not? Bar, Foo: say --positive, --negative or --leave-out"), "{:?}", dry.open);
    let found = imported(&ImportArgs { positive: words(&["foo"]), negative: words(&["bar"]), ..args(&mock) });
    assert_eq!([count(&found, |r| r.is_positive()), count(&found, |r| r.label == Label::Negative)], [3, 3]);
}

/// CT slices as DICOM, each of a patient of its own.
fn dicom_files(names: &[&str]) -> Mock {
    let mock = Mock::new();
    for (seed, name) in (0..).zip(names) {
        let slice = Phantom::generate(Modality::Ct, seed, SIDE, true);
        mock.dicom(name, &slice, &[(tags::PATIENT_ID, VR::LO, &format!("patient {seed}"))]);
    }
    mock
}

#[test]
fn dicom_files_without_a_table_say_what_is_lacking() {
    for names in [["1.dcm", "2.dcm"], ["P1/1.dcm", "P2/2.dcm"]] {
        let words = ["DICOM files, and nothing says what they show", "StudyInstanceUID (or PatientID) and class"];
        refused(&bare(dicom_files(&names).dir()), &words);
    }
    let mock = dicom_files(&["COVID/P1/1.dcm", "Normal/P2/2.dcm"]);
    let found = imported(&bare(mock.dir()));
    assert_eq!(count(&found, |r| r.modality == Modality::Ct && r.task == Task::Classify), 2, "the headers tell");
    assert_eq!([count(&found, |r| r.is_positive()), count(&found, |r| r.patient_id == "patient 1")], [1, 1]);
}
