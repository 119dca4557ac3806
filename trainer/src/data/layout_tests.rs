//! Each public collection's layout, mocked under its true names, imports by one command; its wrong twins are refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use thorax_phantom::Phantom;
use thorax_shared::{modality::Modality, plane::Plane, preprocess::Pixels};

use super::{
    mocks::{self, Mock, SIDE, bare, count, imported, refused},
    picture::{Picture, truth},
    *,
};

/// `thorax-train data import DIR`, and nothing else.
fn args(mock: &Mock) -> ImportArgs {
    bare(mock.dir())
}

fn films(mock: &Mock) -> ImportArgs {
    ImportArgs { modality: Some(Modality::Xray), ..args(mock) }
}

/// How many lines there are of each class and label, and of how many patients.
fn classes(imported: &Imported, task: Task) -> Vec<(String, Label, usize, usize)> {
    let mut classes: BTreeMap<(String, Label), Vec<&str>> = BTreeMap::new();
    for record in imported.manifest.records.iter().filter(|record| record.task == task) {
        classes.entry((record.class.clone(), record.label)).or_default().push(&record.group);
    }
    let patients = |groups: &[&str]| groups.iter().collect::<BTreeSet<_>>().len();
    classes.into_iter().map(|((class, label), groups)| (class, label, groups.len(), patients(&groups))).collect()
}

fn class(word: &str, label: Label, lines: usize, patients: usize) -> (String, Label, usize, usize) {
    (word.into(), label, lines, patients)
}

/// Nobody is on two sides of a split, and, where there are enough of them, each split has some.
fn sound(imported: &Imported) {
    assert_eq!(super::check::static_problems(&imported.manifest), vec![]);
    for split in Split::ALL {
        assert!(count(imported, |record| record.split == split) > 0, "{}", split.as_str());
    }
    assert!(imported.manifest.records.iter().all(|record| record.sha256.len() == 64));
}

fn told(imported: &Imported, words: &[&str]) {
    let text = imported.told.join("\n");
    for words in words {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn class_folders_with_tables_of_patients() {
    let mock = mocks::large_ct_slices();
    let slices = ImportArgs { modality: Some(Modality::Ct), ..args(&mock) };
    let found = imported(&slices);
    assert!(found.layout.starts_with("patient-tables"), "{}", found.layout);
    assert_eq!(
        classes(&found, Task::Classify),
        [
            class("covid-19", Label::Positive, 8, 4),
            class("normal", Label::Negative, 8, 4),
            class("other", Label::Negative, 8, 4)
        ]
    );
    sound(&found);
    told(&found, &["Latin-1", "class `CAP` read as `other` (8)"]);
    told(&found, &["meta_data_covid.csv: columns that are not read: slice, institution"]);
    let without = imported(&ImportArgs { leave_out: vec!["CAP".into()], ..slices.clone() });
    assert_eq!(classes(&without, Task::Classify).len(), 2);

    // Without the doubled folder; a picture of which no table knows.
    fs::rename(mock.dir().join("curated_data/curated_data"), mock.dir().join("slices")).unwrap();
    mock.picture("slices/2COVID/another.png", Modality::Ct, 999, true);
    let found = imported(&slices);
    assert_eq!(count(&found, |r| r.patient_id == UNKNOWN_PATIENT && r.split == Split::Train), 1);
    told(&found, &["1 pictures of which no table says the patient", "slices/2COVID/another.png"]);
}

#[test]
fn tables_of_patients_that_disagree_are_refused() {
    let mock = mocks::large_ct_slices();
    let slices = ImportArgs { modality: Some(Modality::Ct), ..args(&mock) };
    mock.text("more.csv", "File name,Patient ID,Diagnosis\ncovid (1).png,somebody else,COVID-19\n");
    refused(&slices, &["disagree on", "covid (1).png", "COVID-19_P0", "somebody else", "line 2"]);
    mock.text("more.csv", "File name,Patient ID,Diagnosis\nstranger.png,p,Normal\n");
    mock.picture("curated_data/curated_data/2COVID/stranger.png", Modality::Ct, 998, true);
    refused(&slices, &["stranger.png lies in `2COVID`", "class `Normal`", "more.csv"]);
    mock.text("more.csv", "File name,Patient ID,Diagnosis\nstranger.png,,COVID-19\n");
    refused(&slices, &["no patient for", "stranger.png"]);
    mock.text("more.csv", "File name,Patient ID\n");
    fs::create_dir_all(mock.dir().join("curated_data/curated_data/4MARS")).unwrap();
    mock.picture("curated_data/curated_data/4MARS/x.png", Modality::Ct, 997, true);
    refused(&slices, &["4MARS", "--leave-out"]);
}

#[test]
fn class_folders_of_images_and_lung_masks() {
    let mock = mocks::radiography();
    refused(&films(&mock), &["--each-picture-is-a-patient", "20 of the pictures"]);
    let dry = imported(&ImportArgs { dry_run: true, ..args(&mock) });
    assert_eq!(dry.open.len(), 2, "{:?}", dry.open);
    assert!(dry.open[0].contains("--modality") && dry.open[1].contains("--each-picture-is-a-patient"));
    let found = imported(&ImportArgs { each_picture_is_a_patient: true, ..films(&mock) });
    assert!(found.layout.starts_with("class-masks"), "{}", found.layout);
    let expected = [
        class("covid", Label::Positive, 5, 5),
        class("lung_opacity", Label::Negative, 5, 5),
        class("normal", Label::Negative, 5, 5),
        class("viral pneumonia", Label::Negative, 5, 5),
    ];
    assert_eq!(classes(&found, Task::Classify), expected);
    assert_eq!(classes(&found, Task::Segment), expected);
    assert!(found.manifest.records.iter().all(|r| r.mask.is_empty() && r.lung_mask.contains("/masks/")));
    told(&found, &["folders called masks are read as lung masks", "5 other files are not read"]);
    sound(&found);
    // Smaller masks are brought to their film's size.
    let record = found.manifest.records.iter().find(|r| r.task == Task::Segment).unwrap();
    let read = truth(&found.manifest, record, &Plane::filled(SIDE, SIDE, 0)).unwrap();
    assert!(read.masks[0].is_none() && read.masks[1].as_ref().unwrap().width() == SIDE);
    assert!(read.told.iter().any(|what| what.contains("32 x 32 brought to")), "{:?}", read.told);
    let checked = check(&found.manifest);
    assert!(checked.told.iter().any(|what| what.contains("32 x 32 brought to their pictures' 64 x 64 (20)")));

    fs::remove_file(mock.dir().join("COVID-19_Radiography_Dataset/Normal/masks/Normal-2.png")).unwrap();
    let found = imported(&ImportArgs { each_picture_is_a_patient: true, ..films(&mock) });
    assert!(found.left_out.iter().any(|(file, why)| file.ends_with("images/Normal-2.png") && why.contains("no mask")));
    // One class alone does not show what its masks mark.
    for class in ["Normal", "Lung_Opacity", "Viral Pneumonia"] {
        fs::remove_dir_all(mock.dir().join("COVID-19_Radiography_Dataset").join(class)).unwrap();
    }
    let alone = ImportArgs { each_picture_is_a_patient: true, ..films(&mock) };
    refused(&alone, &["--masks infection or --masks lungs"]);
    let alone = imported(&ImportArgs { masks: Some(Marks::Lungs), ..alone });
    assert!(alone.manifest.records.iter().all(|r| r.mask.is_empty() && !r.lung_mask.is_empty()));
}

#[test]
fn a_table_of_scans_and_their_masks() {
    let mock = mocks::covid19_ct_scans(true);
    let found = imported(&args(&mock));
    assert!(found.layout.starts_with("scan-table: scans and their masks in metadata.csv"), "{}", found.layout);
    // 20 volumes of nine slices, all of which show lung; two of one patient.
    assert_eq!(classes(&found, Task::Segment), [class("", Label::Unlabelled, 180, 18)]);
    told(
        &found,
        &["radiopaedia_org_covid-19-pneumonia-29_86490_1-dcm and radiopaedia_org_covid-19-pneumonia-29_86491_1-dcm"],
    );
    sound(&found);
    let record = &found.manifest.records[0];
    assert_eq!(
        [record.path.as_str(), &record.mask, &record.lung_mask],
        [
            "ct_scans/coronacases_org_001.nii#slice=0",
            "infection_mask/coronacases_001.nii",
            "lung_mask/coronacases_001.nii"
        ]
    );
    let some = imported(&ImportArgs { every: 4, ..args(&mock) });
    assert_eq!(count(&some, |_| true), 40, "the third and the seventh of nine");
    // Scans in greys, stored upside down, and those in Hounsfield units: the lung masks lie on the dark of both.
    for (scan, hounsfield) in
        [("coronacases_org_002", true), ("radiopaedia_org_covid-19-pneumonia-27_86410_0-dcm", false)]
    {
        let path = format!("ct_scans/{scan}.nii#slice=4");
        let record = found.manifest.records.iter().find(|record| record.path == path).unwrap();
        let picture = Picture::of(&found.manifest, record).unwrap();
        let grey: Vec<f32> = match &picture.frame.pixels {
            Pixels::Hounsfield(plane) if hounsfield => plane.data().iter().map(|&value| f32::from(value)).collect(),
            Pixels::Eight(plane) if !hounsfield => plane.data().iter().map(|&value| f32::from(value)).collect(),
            _ => panic!("{scan} has other pixels"),
        };
        let [width, height] = picture.size();
        let masks = truth(&found.manifest, record, &Plane::filled(width, height, 0)).unwrap().masks;
        let [left, right] = [1, 2].map(|lung| masks[lung].as_ref().unwrap().data());
        let mean = |inside: bool| {
            let of = (0..grey.len()).filter(|&i| (left[i] > 0 || right[i] > 0) == inside).map(|i| grey[i]);
            let of: Vec<f32> = of.collect();
            of.iter().sum::<f32>() / of.len() as f32
        };
        assert!(mean(true) < mean(false), "{scan}: {} in the lungs, {} outside", mean(true), mean(false));
    }

    let table = fs::read_to_string(mock.dir().join("metadata.csv")).unwrap();
    fs::remove_file(mock.dir().join("infection_mask/coronacases_003.nii")).unwrap();
    refused(&args(&mock), &["metadata.csv, line 4", "infection_mask/coronacases_003.nii is not there"]);
    let line = table.lines().nth(1).unwrap();
    mock.text(
        "metadata.csv",
        format!(
            "{}{}\n",
            table.replace("coronacases_003", "coronacases_002"),
            line.replace("infection_mask/coronacases_001", "infection_mask/coronacases_004")
        ),
    );
    refused(&args(&mock), &["has the masks", "in a line before", "keep one"]);
}

#[test]
fn volumes_find_their_masks_by_names() {
    for (mock, scan, lung) in [
        (
            mocks::ct_seg_20_cases(),
            "COVID-19-CT-Seg_20cases/radiopaedia_10_85902_1.nii.gz",
            "Lung_Mask/radiopaedia_10_85902_1.nii.gz",
        ),
        (
            mocks::covid19_ct_scans(false),
            "ct_scans/radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm.nii",
            "lung_mask/radiopaedia_10_85902_1.nii",
        ),
    ] {
        let dry = imported(&ImportArgs { dry_run: true, ..args(&mock) });
        assert_eq!(dry.open, Vec::<String>::new());
        let found = imported(&args(&mock));
        assert!(found.layout.starts_with("volumes"), "{}", found.layout);
        assert_eq!(classes(&found, Task::Segment), [class("", Label::Unlabelled, 180, 18)]);
        sound(&found);
        let record = found.manifest.records.iter().find(|r| r.path.starts_with(scan)).unwrap();
        assert_eq!(record.lung_mask, lung);
        told(&found, &["infection masks by their names: ", "lung masks by their names: "]);
        // Without a mask of its own, the infection is the third label of both.
        for (_, folder) in [(0, "Infection_Mask"), (1, "infection_mask")] {
            let _ = fs::remove_dir_all(mock.dir().join(folder));
        }
        let found = imported(&args(&mock));
        assert!(found.manifest.records.iter().all(|r| r.mask.ends_with("#label=3")), "{:?}", found.manifest.records[0]);
        // A mask that may be of two, and one of another size.
        let folder = scan.split('/').next().unwrap();
        mock.volume(&format!("{folder}/twice_a_1.nii"), 90, true);
        let slices = mock.volume(&format!("{folder}/twice_b_1.nii"), 91, true);
        mock.labels("lung_mask/twice_1.nii", &slices, mocks::lung_labels);
        mock.labels(&format!("{}/other_mask.nii", folder), &slices, mocks::lung_labels);
        mock.volume(&format!("{folder}/short_7.nii"), 92, true);
        mock.labels("lung_mask/short_7.nii", &slices[..4], mocks::lung_labels);
        let found = imported(&args(&mock));
        let left_out: BTreeMap<&str, &str> =
            found.left_out.iter().map(|(file, why)| (file.as_str(), why.as_str())).collect();
        assert!(left_out["lung_mask/twice_1.nii"].contains("may belong to"), "{left_out:?}");
        assert!(left_out[format!("{folder}/other_mask.nii").as_str()].contains("no scan of such a name"));
        assert!(left_out[format!("{folder}/short_7.nii").as_str()].contains("64 x 64 x 4 voxels, it has 64 x 64 x 9"));
    }
}

#[test]
fn pictures_stacked_in_a_file_and_volumes_beside_them() {
    let mock = mocks::medical_segmentation();
    refused(&args(&mock), &["14 of the pictures", "tr_im.nii.gz#slice=0", "--each-picture-is-a-patient"]);
    let found = imported(&ImportArgs { each_picture_is_a_patient: true, ..args(&mock) });
    // Nine stacked slices, and nine volumes of nine.
    assert_eq!(count(&found, |r| r.path.starts_with("tr_im.nii.gz#slice=") && r.mask == "tr_mask.nii.gz"), 9);
    assert_eq!(count(&found, |r| r.path.starts_with("val_im.nii.gz#slice=") && r.task == Task::None), 5);
    assert_eq!(count(&found, |r| r.lung_mask == "rp_lung_msk/3.nii" && r.mask == "rp_msk/3.nii"), 9);
    assert_eq!(classes(&found, Task::Segment), [class("", Label::Unlabelled, 90, 18)]);
    sound(&found);
    told(&found, &["tr_im.nii.gz: read as pictures of several patients in one file"]);
    // The slices of the stack are of one file, but nine pictures.
    let splits: BTreeSet<Split> =
        found.manifest.records.iter().filter(|r| r.path.starts_with("tr_im.nii.gz#")).map(|r| r.split).collect();
    assert!(splits.len() > 1, "{splits:?}");

    // Two masks of one volume, and one of fewer slices than its pictures.
    let slices = Phantom::generate_volume(53, SIDE, true);
    mock.labels("rp_msk/3.nii.gz", &slices, mocks::infection_label);
    mock.labels("tr_mask.nii.gz", &slices[..8], mocks::infection_label);
    let found = imported(&ImportArgs { each_picture_is_a_patient: true, ..args(&mock) });
    let why = |name: &str| {
        let left_out = found.left_out.iter().find(|(file, _)| file == name);
        left_out.map_or("", |(_, why)| why.as_str())
    };
    assert!(why("rp_msk/3.nii.gz").contains("rp_im/3.nii has the mask rp_msk/3.nii already; keep one"));
    let reason = why("tr_im.nii.gz");
    assert!(reason.contains("its mask tr_mask.nii.gz has 64 x 64 x 8 voxels, it has 64 x 64 x 9"), "{reason}");
    assert_eq!(count(&found, |r| r.path.starts_with("tr_im.nii.gz")), 0);
}

#[test]
fn lists_of_patients_files_classes_and_sources() {
    let mock = mocks::covidx();
    let found = imported(&films(&mock));
    assert!(
        found.layout.starts_with("lists: patient, file, class and source in test_COVIDx9A.txt"),
        "{}",
        found.layout
    );
    assert_eq!(
        classes(&found, Task::Classify),
        [class("negative", Label::Negative, 16, 8), class("positive", Label::Positive, 16, 8)]
    );
    sound(&found);
    assert_eq!(count(&found, |r| r.split == Split::Test), 8);
    assert!(found.manifest.records.iter().all(|r| (r.split == Split::Test) == r.path.starts_with("test/")));
    assert_eq!(found.manifest.records.iter().map(|r| r.source.as_str()).collect::<BTreeSet<_>>().len(), 2);
    told(&found, &["val, which is dealt out of train"]);

    let list = fs::read_to_string(mock.dir().join("train_COVIDx9A.txt")).unwrap();
    mock.text("train_COVIDx9B.txt", list.replacen("train0 train-0.png positive", "train0 train-0.png negative", 1));
    refused(&films(&mock), &["train_COVIDx9B.txt, line 1", "disagree on train/train-0.png"]);
    mock.text("train_COVIDx9B.txt", "train0 train-0.png\n");
    refused(
        &films(&mock),
        &["train_COVIDx9B.txt, line 1", "three words"]
            .map(|w| if w == "three words" { "patient, file, class and source" } else { w }),
    );
    fs::remove_file(mock.dir().join("train_COVIDx9B.txt")).unwrap();
    fs::remove_file(mock.dir().join("train/train-3.png")).unwrap();
    told(&imported(&films(&mock)), &["1 pictures of the lists are not there: train/train-3.png"]);
}

#[test]
fn splits_classes_and_masks_in_folders_of_folders() {
    let mock = mocks::covid_qu_ex();
    let found = imported(&ImportArgs { each_picture_is_a_patient: true, ..films(&mock) });
    assert!(found.layout.starts_with("class-masks"), "{}", found.layout);
    let expected = [
        class("covid-19", Label::Positive, 6, 6),
        class("non-covid", Label::Negative, 6, 6),
        class("normal", Label::Negative, 6, 6),
    ];
    assert_eq!(classes(&found, Task::Classify), expected);
    assert_eq!(classes(&found, Task::Segment), expected);
    sound(&found);
    for record in &found.manifest.records {
        let split = record.path.split('/').nth(1).unwrap().to_lowercase();
        assert_eq!((record.split.as_str(), record.path.starts_with("Infection")), (split.as_str(), true));
        assert!(record.mask.contains("/infection masks/") && record.lung_mask.contains("/lung masks/"));
    }
    told(&found, &["18 pictures stand in two parts of the collection"]);
    assert_eq!(check(&found.manifest).problems, vec![]);
}

#[test]
fn class_folders_of_volumes_with_masks_of_some() {
    let mock = mocks::mosmed();
    refused(&args(&mock), &["--masks infection", "masks/study_0002_mask.nii.gz"]);
    let found = imported(&ImportArgs { masks: Some(Marks::Infection), ..args(&mock) });
    assert!(found.layout.starts_with("volumes"), "{}", found.layout);
    let labelled = classes(&found, Task::Classify);
    assert_eq!(labelled[0], class("ct-0", Label::Negative, 27, 3));
    assert_eq!(labelled[2..], [class("ct-2", Label::Positive, 27, 3), class("ct-3", Label::Positive, 27, 3)]);
    assert_eq!(
        labelled[1],
        class("ct-1", Label::Positive, 18, 3),
        "of patients with masks, the slices that show infection"
    );
    assert_eq!(classes(&found, Task::Segment), [class("ct-1", Label::Positive, 27, 3)]);
    sound(&found);
    let slices = Phantom::generate_volume(99, SIDE, true);
    mock.labels("masks/study_0099_mask.nii.gz", &slices, mocks::infection_label);
    let stray = imported(&ImportArgs { masks: Some(Marks::Infection), ..args(&mock) });
    assert_eq!(stray.manifest.records, found.manifest.records);
    let stranger = |(file, why): &(String, String)| {
        file == "masks/study_0099_mask.nii.gz" && why.contains("no scan of such a name")
    };
    assert!(stray.left_out.iter().any(stranger), "{:?}", stray.left_out);
    // What is healthy by its class is so for training and for false areas as well.
    let healthy = |split| found.manifest.healthy(Modality::Ct, split).map(|r| r.class.as_str()).collect::<Vec<_>>();
    assert_eq!(Split::ALL.map(healthy).concat(), ["ct-0"; 27]);
}

#[test]
fn one_function_says_which_classes_are_healthy() {
    let record = |class: &str, label| Record {
        class: class.into(),
        ..Record::made("a.png", Task::Classify, label, Split::Train)
    };
    for class in ["normal", "1Normal", "healthy", "No Finding", "no_finding", "CT-0", "ct0"] {
        assert!(record(class, Label::Negative).is_healthy(), "{class}");
        assert!(!record(class, Label::Positive).is_healthy(), "{class} as the disease");
    }
    for class in ["other", "CAP", "pneumonia", "non-covid", "negative", "CT-1", ""] {
        assert!(!record(class, Label::Negative).is_healthy(), "{class}");
    }
}

#[test]
fn dicom_films_and_a_table_of_studies_with_a_one_in_a_column() {
    let mock = mocks::siim();
    let found = imported(&args(&mock));
    assert!(
        found.layout.starts_with("studies: DICOM files, classes by study in train_study_level.csv"),
        "{}",
        found.layout
    );
    assert_eq!(
        classes(&found, Task::Classify),
        [class("negative for pneumonia", Label::Negative, 4, 4), class("typical appearance", Label::Positive, 4, 4)]
    );
    assert_eq!(count(&found, |r| r.task == Task::None && r.label == Label::Unlabelled), 8);
    assert!(
        found.manifest.records.iter().all(|r| r.modality == Modality::Xray && r.patient_id.starts_with("patient-"))
    );
    let kept = imported(&ImportArgs { negative: vec!["atypical appearance".into()], ..args(&mock) });
    assert_eq!(count(&kept, |r| r.label == Label::Negative), 8);
    let studies = fs::read_to_string(mock.dir().join("train_study_level.csv")).unwrap();
    mock.text("train_study_level.csv", format!("{studies}1.2.1000_study,0,1,0,0\n"));
    refused(
        &args(&mock),
        &["train_study_level.csv, line 18", "1.2.1000 is `negative for pneumonia` and `typical appearance`"],
    );
}

#[test]
fn dicom_studies_and_a_table_by_study_or_patient() {
    for by_patient in [false, true] {
        let mock = mocks::dicom_studies(by_patient);
        let found = imported(&args(&mock));
        assert_eq!(
            classes(&found, Task::Classify),
            [class("covid-19", Label::Positive, 27, 3), class("normal", Label::Negative, 27, 3)],
            "the overviews are no slices"
        );
        sound(&found);
        assert!(found.manifest.records.iter().all(|r| r.modality == Modality::Ct));
        assert!(
            found.left_out.iter().filter(|(file, why)| file.ends_with("/SCOUT") && why.contains("overview")).count()
                == 6
        );
        let picture = Picture::of(&found.manifest, &found.manifest.records[0]).unwrap();
        assert!(matches!(picture.frame.pixels, Pixels::Hounsfield(_)));
        let table = mock.dir().join(if by_patient { "labels.csv" } else { "studies.csv" });
        let text = fs::read_to_string(&table).unwrap();
        let header = text.lines().next().unwrap();
        let separator = if by_patient { ',' } else { ';' };
        let more = text.lines().map(|line| {
            let cell = if line == header { "age" } else { "40" };
            format!("{line}{separator}{cell}\n")
        });
        fs::write(&table, more.collect::<String>()).unwrap();
        told(&imported(&args(&mock)), &["columns that are not read: age"]);
        fs::write(&table, text.replace("HOSPITAL", "PRACTICE").replace("1.2.840.", "1.2.841.")).unwrap();
        refused(
            &args(&mock),
            &["none of the 54 DICOM files", if by_patient { "PatientID" } else { "StudyInstanceUID" }],
        );
        fs::write(&table, format!("{text}{}", text.lines().nth(1).unwrap().replace("COVID-19", "Normal"))).unwrap();
        refused(&args(&mock), &["is `COVID-19` and `Normal`"]);
    }
}

#[test]
fn data_sets_that_name_their_labels() {
    let mock = mocks::nn_unet();
    let found = imported(&args(&mock));
    assert!(found.layout.starts_with("tasks: names of labels in Dataset115_COVID/dataset.json"), "{}", found.layout);
    assert_eq!(classes(&found, Task::Segment), [class("", Label::Unlabelled, 108, 12)]);
    sound(&found);
    assert!(found.manifest.records.iter().all(|r| (r.split == Split::Test) == r.path.contains("/imagesTs/")));
    let record = &found.manifest.records[0];
    assert!(record.mask.ends_with("covid_000.nii.gz#label=3"));
    assert_eq!(record.lung_mask, "Dataset115_COVID/labelsTr/covid_000.nii.gz#label=1+2+3", "no holes in the lungs");
    told(&found, &["infection [3], left lung [1], right lung [2]"]);
    let masks = truth(&found.manifest, record, &Plane::filled(SIDE, SIDE, 0)).unwrap().masks;
    assert!(masks.iter().all(|mask| mask.as_ref().is_some_and(|mask| mask.width() == SIDE)));
    assert_eq!(count(&imported(&ImportArgs { every: 100, ..args(&mock) }), |_| true), 12, "the middle slice of each");
    fs::rename(mock.dir().join("Dataset115_COVID/labelsTs"), mock.dir().join("elsewhere")).unwrap();
    let untested = imported(&args(&mock));
    assert_eq!(count(&untested, |r| r.task == Task::None && r.path.contains("/imagesTs/")), 27);
    assert!(count(&untested, |r| r.task == Task::Segment && r.split == Split::Test) > 0, "dealt out");
    fs::remove_file(mock.dir().join("Dataset115_COVID/labelsTr/covid_004.nii.gz")).unwrap();
    let found = imported(&args(&mock));
    assert!(found.left_out.iter().any(|(file, why)| file.ends_with("covid_004_0000.nii.gz") && why.contains("labels")));
    mock.text(
        "Dataset115_COVID/dataset.json",
        r#"{"labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}"#,
    );
    refused(&args(&mock), &["no label speaks of lungs or infection (liver)"]);

    let mock = mocks::decathlon();
    let found = imported(&args(&mock));
    assert_eq!(classes(&found, Task::Segment), [class("", Label::Unlabelled, 90, 10)]);
    sound(&found);
    assert!(found.manifest.records.iter().all(|r| r.mask.ends_with(".nii.gz#label=1") && r.lung_mask.is_empty()));
    fs::remove_file(mock.dir().join("labelsTr/lung_004.nii.gz")).unwrap();
    fs::remove_file(mock.dir().join("imagesTr/lung_007.nii.gz")).unwrap();
    let found = imported(&args(&mock));
    assert_eq!(count(&found, |_| true), 72);
    for name in ["imagesTr/lung_004.nii.gz", "imagesTr/lung_007.nii.gz"] {
        let missing = |(file, why): &(String, String)| file == name && why.contains("it or its labels are not there");
        assert!(found.left_out.iter().any(missing), "{name}: {:?}", found.left_out);
    }
}

#[test]
fn participants_and_their_derivatives() {
    let mock = mocks::bids();
    let found = imported(&args(&mock));
    assert!(found.layout.starts_with("bids"), "{}", found.layout);
    let slices = imported(&ImportArgs { modality: Some(Modality::Ct), ..args(&mock) });
    assert_eq!(
        classes(&slices, Task::Segment),
        [class("covid-19", Label::Positive, 45, 5), class("normal", Label::Negative, 45, 5)]
    );
    let films = imported(&films(&mock));
    assert_eq!(
        classes(&films, Task::Classify),
        [class("covid-19", Label::Positive, 5, 5), class("normal", Label::Negative, 5, 5)]
    );
    assert_eq!(found.manifest.records.len(), slices.manifest.records.len() + films.manifest.records.len());
    sound(&found);
    told(&found, &["participants.tsv: columns that are not read: age, sex"]);
    assert!(
        slices.manifest.records.iter().all(|r| r.lung_mask.contains("desc-lung") && r.mask.contains("desc-infection"))
    );
    let table = fs::read_to_string(mock.dir().join("participants.tsv")).unwrap();
    mock.text("participants.tsv", format!("{table}sub-003\t43\tM\tCOVID-19\n"));
    refused(&args(&mock), &["sub-003 is `normal` and `COVID-19`"]);
    mock.text("participants.tsv", table.replace("sub-004\t44\tM\tCOVID-19\n", ""));
    refused(&args(&mock), &["participants.tsv", "no line for sub-004"]);
}

/// A unit matrix, as programs write that know no orientation.
const UNIT: [[f32; 4]; 3] = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];

#[test]
fn a_mask_of_which_nobody_knows_how_it_lies_is_left_out() {
    let mock = Mock::new();
    for i in 0..4_u64 {
        let slices = mock.volume(&format!("scans/case_{i}.nii"), i, true);
        mock.labels(&format!("lung_mask/case_{i}.nii"), &slices, mocks::lung_labels);
    }
    let found = imported(&args(&mock));
    assert_eq!(count(&found, |_| true), 36);
    // Stored from the left, the front and the head on; the mask's header says nothing.
    let turned = [[-0.8, 0.0, 0.0, 20.0], [0.0, -0.8, 0.0, 20.0], [0.0, 0.0, -5.0, 10.0]];
    mock.affine("scans/case_1.nii", turned);
    mock.affine("lung_mask/case_1.nii", UNIT);
    let record = found.manifest.records.iter().find(|r| r.path.starts_with("scans/case_1.nii")).unwrap();
    let error = truth(&found.manifest, record, &Plane::filled(SIDE, SIDE, 0)).err().unwrap();
    assert!(format!("{error:#}").contains("the mask's header tells no orientation"), "{error:#}");
    let found = imported(&args(&mock));
    assert_eq!(count(&found, |r| r.path.starts_with("scans/case_1.nii")), 0);
    let (file, why) = found.left_out.iter().find(|(file, _)| file == "scans/case_1.nii").unwrap();
    assert!(why.contains("lung_mask/case_1.nii") && why.contains("its scan's affine"), "{file}: {why}");
    // Where neither says anything, they are stored alike.
    mock.affine("scans/case_1.nii", UNIT);
    assert_eq!(count(&imported(&args(&mock)), |_| true), 36);
}

#[test]
fn volumes_whose_names_leave_their_patients_open_are_asked_for() {
    let names = |name: fn(u64, u64) -> String| (0..12_u64).map(|i| name(i / 3, i % 3)).collect::<Vec<String>>();
    for paths in [
        names(|patient, scan| format!("patient_{patient:02}_scan_{scan}.nii")),
        names(|patient, scan| format!("p{patient:02}_t{scan}.nii")),
        names(|patient, scan| format!("p{patient:02}_t{scan}_{scan}.nii")),
        names(|patient, scan| format!("patient{patient:02}/CT_{scan}.nii")),
        names(|patient, scan| format!("patient{patient:02}/ct_{}.nii", 3 * patient + scan)),
        names(|patient, scan| {
            format!("train/anna{}/{}.nii", ["a", "b", "c", "d"][patient as usize], 3 * patient + scan)
        }),
    ] {
        let mock = Mock::new();
        for (seed, path) in (0..).zip(&paths) {
            mock.volume(path, seed, true);
        }
        refused(&args(&mock), &["12 of the pictures", &paths[0], "--patient-pattern", "--each-picture-is-a-patient"]);
        let dry = imported(&ImportArgs { dry_run: true, ..args(&mock) });
        assert_eq!(dry.open.len(), 1, "{:?}", dry.open);
        let each = imported(&ImportArgs { each_picture_is_a_patient: true, ..args(&mock) });
        assert_eq!(each.manifest.records.iter().map(|r| &r.patient_id).collect::<BTreeSet<_>>().len(), 12);
    }
    // Two volumes a patient, and a number that all begin with.
    for (paths, patients) in [
        ((0..12_u64).map(|i| format!("p{:02}_t{}.nii", i / 2, i % 2)).collect::<Vec<String>>(), 6),
        ((0..12_u64).map(|i| format!("ct2020_{i:03}.nii")).collect(), 12),
        ((0..12_u64).map(|i| format!("{}/{i:03}.nii", ["Normal", "COVID"][i as usize % 2])).collect(), 12),
    ] {
        let mock = Mock::new();
        for (seed, path) in (0..).zip(&paths) {
            mock.volume(path, seed, true);
        }
        let found = imported(&args(&mock));
        let different = found.manifest.records.iter().map(|r| &r.patient_id).collect::<BTreeSet<_>>();
        assert_eq!(different.len(), patients, "{different:?}");
    }
}

#[test]
fn masks_that_do_not_say_what_they_mark() {
    let volumes = |folder: &str, lungs: bool| {
        let mock = Mock::new();
        for i in 0..6_u64 {
            let folder = if i % 2 == 0 { "scans/Normal" } else { folder };
            let slices = mock.volume(&format!("{folder}/{i}.nii"), i, i % 2 == 1);
            let label = if lungs { mocks::lung_labels } else { mocks::infection_label };
            mock.labels(&format!("masks/{i}.nii"), &slices, label);
        }
        mock
    };
    let found = imported(&args(&volumes("scans/COVID", true)));
    assert!(found.manifest.records.iter().all(|r| r.mask.is_empty() && r.lung_mask.starts_with("masks/")));
    told(&found, &["read as lung masks, for scans of healthy lungs have some that mark something"]);
    let found = imported(&args(&volumes("scans/COVID", false)));
    assert!(found.manifest.records.iter().all(|r| r.lung_mask.is_empty() && r.mask.starts_with("masks/")));
    // Without healthy lungs nobody knows. Other lungs without the disease are no healthy ones.
    let mock = volumes("scans/COVID", true);
    fs::rename(mock.dir().join("scans/Normal"), mock.dir().join("scans/Pneumonia")).unwrap();
    refused(&args(&mock), &["infection or the lungs", "--masks lungs", "masks/0.nii"]);
    let found = imported(&ImportArgs { masks: Some(Marks::Lungs), ..args(&mock) });
    assert!(found.manifest.records.iter().all(|r| r.mask.is_empty() && r.lung_mask.starts_with("masks/")));

    let mock = mocks::radiography();
    for class in ["Normal", "Viral Pneumonia"] {
        fs::remove_dir_all(mock.dir().join("COVID-19_Radiography_Dataset").join(class)).unwrap();
    }
    refused(&ImportArgs { each_picture_is_a_patient: true, ..films(&mock) }, &["--masks infection or --masks lungs"]);
}

#[test]
fn a_table_of_scans_says_patients_splits_and_classes() {
    let names = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay", "kiwi", "lynx"];
    let mock = Mock::new();
    let mut table = String::from("image,mask,patient_id,split,class,age\n");
    for (i, name) in names.iter().enumerate() {
        let slices = mock.volume(&format!("im/{name}.nii"), i as u64, true);
        mock.labels(&format!("inf/{name}.nii"), &slices, mocks::infection_label);
        let split = ["test", "test", "val", "val"].get(i).unwrap_or(&"train");
        let class = ["COVID-19", "COVID-19", "CAP", "CAP"][i % 4];
        table += &format!("im/{name}.nii,inf/{name}.nii,P{},{split},{class},40\n", i / 2);
    }
    mock.text("metadata.csv", &table);
    let found = imported(&args(&mock));
    assert!(found.layout.starts_with("scan-table"), "{}", found.layout);
    assert_eq!(
        classes(&found, Task::Segment),
        [class("covid-19", Label::Positive, 54, 3), class("other", Label::Negative, 54, 3)]
    );
    let split = |name: &str| {
        let mut records = found.manifest.records.iter().filter(|r| r.path.starts_with(&format!("im/{name}.nii")));
        records.next().map(|r| (r.patient_id.as_str(), r.split)).unwrap()
    };
    assert_eq!(
        [split("bee"), split("cat"), split("lynx")],
        [("P0", Split::Test), ("P1", Split::Val), ("P5", Split::Train)]
    );
    told(&found, &["metadata.csv: columns that are not read: age"]);
    mock.text("metadata.csv", table.replace("P5,train", ",train"));
    refused(&args(&mock), &["metadata.csv, line 12", "no patient for im/kiwi.nii"]);
    mock.text("metadata.csv", table.replace("P5,train", "P5,some"));
    refused(&args(&mock), &["metadata.csv, line 12", "split `some`"]);
    mock.text("metadata.csv", format!("{table}im/lynx.nii,inf/lynx.nii,P4,train,CAP,40\n"));
    refused(&args(&mock), &["im/lynx.nii has", "patient `P4`", "patient `P5`"]);
}

#[test]
fn whose_volumes_are_a_table_or_an_expression_says() {
    let mock = Mock::new();
    let mut table = String::from("file,patient\n");
    for i in 0..12_u64 {
        mock.volume(&format!("scans/a_{i}.nii"), i, true);
        table += &format!("a_{i}.nii,P{}\n", i / 3);
    }
    mock.text("who.csv", &table);
    let asked = ImportArgs { patients: Some(mock.dir().join("who.csv")), ..args(&mock) };
    let patient = |found: &Imported, file: &str| {
        let record = found.manifest.records.iter().find(|r| r.path.starts_with(file)).unwrap();
        record.patient_id.clone()
    };
    let found = imported(&asked);
    assert_eq!([patient(&found, "scans/a_2.nii"), patient(&found, "scans/a_3.nii")], ["P0", "P1"]);
    mock.text("who.csv", table.replace("a_7.nii", "b_7.nii"));
    refused(&asked, &["who.csv", "no patient for scans/a_7.nii;"]);
    let anchored = regex::Regex::new(r"a_\d*(\d)\.nii$").unwrap();
    let found = imported(&ImportArgs { patient_pattern: Some(anchored), ..args(&mock) });
    assert_eq!([patient(&found, "scans/a_11.nii"), patient(&found, "scans/a_3.nii")], ["1", "3"]);
}

#[test]
fn a_dry_run_shows_all_pairs() {
    let mock = mocks::ct_seg_20_cases();
    let pair = "Lung_Mask/radiopaedia_7_85703_0.nii.gz of COVID-19-CT-Seg_20cases/radiopaedia_7_85703_0.nii.gz";
    assert!(!imported(&args(&mock)).told.join("\n").contains(pair));
    told(&imported(&ImportArgs { dry_run: true, ..args(&mock) }), &[pair]);
    // The infection's label lies in the lungs.
    for folder in ["Lung_Mask", "Infection_Mask"] {
        fs::remove_dir_all(mock.dir().join(folder)).unwrap();
    }
    let found = imported(&args(&mock));
    assert!(
        found.manifest.records.iter().all(|r| r.lung_mask.ends_with("#label=1+2+3") && r.mask.ends_with("#label=3"))
    );
}

#[test]
fn a_folder_of_volumes_beside_a_class_is_a_class() {
    let mock = Mock::new();
    for i in 0..4_u64 {
        mock.volume(&format!("scans/TB/tb_{i}.nii"), i, true);
        mock.volume(&format!("scans/Normal/n_{i}.nii"), 10 + i, false);
    }
    refused(&args(&mock), &["which of these classes are the disease", "TB"]);
    let found = imported(&ImportArgs { positive: vec!["tb".into()], ..args(&mock) });
    assert_eq!(
        classes(&found, Task::Classify),
        [class("normal", Label::Negative, 36, 4), class("tb", Label::Positive, 36, 4)]
    );
}
