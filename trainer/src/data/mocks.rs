//! Phantoms under the true names of public collections, as they are downloaded and unpacked, for tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "of tests alone")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use tempfile::TempDir;
use thorax_phantom::{Phantom, write_dicom, write_labels, write_mask, write_picture, write_volume};
use thorax_shared::{modality::Modality, plane::Plane};

use super::{Fractions, ImportArgs, Imported, Layout, Record, import};

/// `thorax-train data import DIR`, and nothing else.
pub(crate) fn bare(dir: &Path) -> ImportArgs {
    ImportArgs {
        dir: dir.to_owned(),
        out: Some(dir.join("thorax.csv")),
        dry_run: false,
        layout: Layout::Auto,
        modality: None,
        seed: 0,
        fractions: Fractions::default(),
        patients: None,
        patient_pattern: None,
        each_picture_is_a_patient: false,
        positive: vec![],
        negative: vec![],
        leave_out: vec![],
        masks: None,
        every: 1,
        source: Some("mock".into()),
        licence: "none".into(),
        equalised: vec![],
    }
}

pub(super) fn imported(args: &ImportArgs) -> Imported {
    import(args).unwrap_or_else(|error| panic!("{error}"))
}

/// Sees that the import is refused with these words.
pub(super) fn refused(args: &ImportArgs, words: &[&str]) {
    let error = import(args).unwrap_err().to_string();
    for words in words {
        assert!(error.contains(words), "{words}: {error}");
    }
}

/// How many lines of the manifest are such.
pub(super) fn count(imported: &Imported, of: impl Fn(&Record) -> bool) -> usize {
    imported.manifest.records.iter().filter(|record| of(record)).count()
}

/// Side of the phantoms.
pub(super) const SIDE: usize = 64;

/// A collection in a folder of its own.
pub(super) struct Mock {
    folder: TempDir,
}

impl Mock {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Where `name` lies; its folder is made.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A text of any encoding.
    pub(super) fn text(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(name), text).unwrap();
    }

    /// A film or slice as PNG; its phantom comes back.
    pub(super) fn picture(&self, name: &str, modality: Modality, seed: u64, positive: bool) -> Phantom {
        let phantom = Phantom::generate(modality, seed, SIDE, positive);
        write_picture(&self.at(name), &phantom).unwrap();
        phantom
    }

    /// What `mask` of a phantom marks, as PNG.
    pub(super) fn mask(&self, name: &str, phantom: &Phantom, mask: fn(&Phantom, usize) -> bool) {
        let marked = |x: usize, y: usize| mask(phantom, y * SIDE + x);
        write_mask(&self.at(name), &Plane::from_fn(SIDE, SIDE, marked), phantom.seed).unwrap();
    }

    /// Nine slices as NIfTI; their phantoms come back.
    pub(super) fn volume(&self, name: &str, seed: u64, positive: bool) -> Vec<Phantom> {
        let slices = Phantom::generate_volume(seed, SIDE, positive);
        write_volume(&self.at(name), &slices).unwrap();
        slices
    }

    /// Labels of a volume as NIfTI.
    pub(super) fn labels(&self, name: &str, slices: &[Phantom], label: fn(&Phantom, usize) -> u8) {
        write_labels(&self.at(name), slices, label).unwrap();
    }

    /// Writes another affine into the header of a NIfTI file that is not compressed.
    pub(super) fn affine(&self, name: &str, affine: [[f32; 4]; 3]) {
        let path = self.at(name);
        let mut bytes = fs::read(&path).unwrap();
        // qform_code, sform_code, srow_x to srow_z (nifti1.h).
        bytes[252..254].copy_from_slice(&0_i16.to_le_bytes());
        bytes[254..256].copy_from_slice(&2_i16.to_le_bytes());
        for (i, value) in affine.iter().flatten().enumerate() {
            bytes[280 + 4 * i..][..4].copy_from_slice(&value.to_le_bytes());
        }
        fs::write(path, bytes).unwrap();
    }

    /// A DICOM file; `change` what it says of itself.
    pub(super) fn dicom(&self, name: &str, phantom: &Phantom, change: &[(dicom_core::Tag, VR, &str)]) {
        let path = self.at(name);
        write_dicom(&path, phantom, false).unwrap();
        let mut object = dicom_object::open_file(&path).unwrap();
        for (tag, vr, value) in change {
            object.put(DataElement::new(*tag, *vr, *value));
        }
        object.write_to_file(&path).unwrap();
    }
}

pub(super) fn infection(phantom: &Phantom, pixel: usize) -> bool {
    phantom.infection.data()[pixel]
}

pub(super) fn lungs(phantom: &Phantom, pixel: usize) -> bool {
    phantom.left_lung.data()[pixel] || phantom.right_lung.data()[pixel]
}

/// 1 left lung, 2 right lung.
pub(super) fn lung_labels(phantom: &Phantom, pixel: usize) -> u8 {
    u8::from(phantom.left_lung.data()[pixel]) + 2 * u8::from(phantom.right_lung.data()[pixel])
}

pub(super) fn infection_label(phantom: &Phantom, pixel: usize) -> u8 {
    u8::from(infection(phantom, pixel))
}

/// The grey value of a picture that was exported, 0 to 255.
fn grey(phantom: &Phantom, pixel: usize) -> u8 {
    (phantom.picture.data()[pixel] * 255.0) as u8
}

/// 1 left lung, 2 right lung, 3 infection.
pub(super) fn all_labels(phantom: &Phantom, pixel: usize) -> u8 {
    if infection(phantom, pixel) { 3 } else { lung_labels(phantom, pixel) }
}

/// The paper's [2]: `large-covid19-ct-slice-dataset`; two slices of each of four patients a class.
pub(super) fn large_ct_slices() -> Mock {
    let mock = Mock::new();
    let classes = [
        ("1NonCOVID", "normal", "Normal", "Slice", false),
        ("2COVID", "covid", "COVID-19", "Slice", true),
        ("3CAP", "cap", "CAP", "Slices_x", false),
    ];
    for (number, (folder, word, diagnosis, slice, positive)) in (0..).zip(classes) {
        let mut table = format!("File name,Patient ID,Diagnosis,{slice},Institution\r\n");
        for i in 0..8_u64 {
            let name = format!("{word} ({i}).png");
            mock.picture(
                &format!("curated_data/curated_data/{folder}/{name}"),
                Modality::Ct,
                100 * number + i,
                positive,
            );
            let slice = if i == 3 { String::new() } else { format!("{i}") };
            table += &format!("{name},{diagnosis}_P{},{diagnosis},{slice},H\u{f4}pital\r\n", i / 2);
        }
        // ISO-8859-1.
        mock.text(&format!("meta_data_{word}.csv"), table.chars().map(|c| c as u8).collect::<Vec<u8>>());
    }
    mock
}

/// The paper's [3]: COVID-19 Radiography Database; lung masks smaller than the films.
pub(super) fn radiography() -> Mock {
    let mock = Mock::new();
    let root = "COVID-19_Radiography_Dataset";
    for (number, (class, positive)) in
        (0..).zip([("COVID", true), ("Normal", false), ("Lung_Opacity", false), ("Viral Pneumonia", false)])
    {
        for i in 1..=5_u64 {
            let film = mock.picture(
                &format!("{root}/{class}/images/{class}-{i}.png"),
                Modality::Xray,
                100 * number + i,
                positive,
            );
            let mask = mock.at(&format!("{root}/{class}/masks/{class}-{i}.png"));
            let half = Plane::from_fn(SIDE / 2, SIDE / 2, |x, y| lungs(&film, 2 * y * SIDE + 2 * x));
            write_mask(&mask, &half, film.seed).unwrap();
        }
        mock.text(&format!("{root}/{class}.metadata.xlsx"), "PK\u{3}\u{4} no table that is read");
    }
    mock.text(&format!("{root}/README.md.txt"), "As downloaded.");
    mock
}

/// The names of the twenty scans of the paper's [4], and of their masks.
fn twenty_scans() -> Vec<(String, String)> {
    let site = |i: usize| (format!("coronacases_org_{i:03}"), format!("coronacases_{i:03}"));
    let cases = [
        "4_85506_1",
        "7_85703_0",
        "10_85902_1",
        "10_85902_3",
        "14_85914_0",
        "27_86410_0",
        "29_86490_1",
        "29_86491_1",
        "36_86526_0",
        "40_86625_0",
    ];
    let other = |case: &str| (format!("radiopaedia_org_covid-19-pneumonia-{case}-dcm"), format!("radiopaedia_{case}"));
    (1..=10).map(site).chain(cases.map(other)).collect()
}

/// Rows run to the front and slices down: as half of the paper's [4], the scan is flipped.
const FLIPPED: [[f32; 4]; 3] = [[-0.8, 0.0, 0.0, 20.0], [0.0, 0.8, 0.0, -20.0], [0.0, 0.0, -5.0, 10.0]];

/// The paper's [4] as Kaggle has it: `covid19-ct-scans`, of which the table names each file by its place on another machine. Half of
/// the scans have greys of 0 to 255 instead of Hounsfield units, and are flipped.
pub(super) fn covid19_ct_scans(with_table: bool) -> Mock {
    let mock = Mock::new();
    let mut table = String::from("ct_scan,lung_mask,infection_mask,lung_and_infection_mask\n");
    for (seed, (scan, mask)) in (0..).zip(twenty_scans()) {
        let slices = mock.volume(&format!("ct_scans/{scan}.nii"), seed, true);
        mock.labels(&format!("lung_mask/{mask}.nii"), &slices, lung_labels);
        mock.labels(&format!("infection_mask/{mask}.nii"), &slices, infection_label);
        mock.labels(&format!("lung_and_infection_mask/{mask}.nii"), &slices, all_labels);
        if scan.starts_with("radiopaedia") {
            mock.labels(&format!("ct_scans/{scan}.nii"), &slices, grey);
            mock.affine(&format!("ct_scans/{scan}.nii"), FLIPPED);
            for masks in ["lung_mask", "infection_mask", "lung_and_infection_mask"] {
                mock.affine(&format!("{masks}/{mask}.nii"), FLIPPED);
            }
        }
        let input = "../input/covid19-ct-scans";
        table += &format!(
            "{input}/ct_scans/{scan}.nii,{input}/lung_mask/{mask}.nii,{input}/infection_mask/{mask}.nii,{input}/lung_and_infection_mask/{mask}.nii\n"
        );
    }
    if with_table {
        mock.text("metadata.csv", table);
    }
    mock
}

/// The same from Zenodo (3757476).
pub(super) fn ct_seg_20_cases() -> Mock {
    let mock = Mock::new();
    for (seed, (_, name)) in (0..).zip(twenty_scans()) {
        let slices = mock.volume(&format!("COVID-19-CT-Seg_20cases/{name}.nii.gz"), seed, true);
        mock.labels(&format!("Lung_Mask/{name}.nii.gz"), &slices, lung_labels);
        mock.labels(&format!("Infection_Mask/{name}.nii.gz"), &slices, infection_label);
        mock.labels(&format!("Lung_and_Infection_Mask/{name}.nii.gz"), &slices, all_labels);
    }
    mock
}

/// The paper's [31]: medicalsegmentation.com, pictures stacked in files, and nine volumes.
pub(super) fn medical_segmentation() -> Mock {
    let mock = Mock::new();
    // 1 ground glass, 2 consolidation; one slice a patient, so of nine phantoms.
    let ground_glass =
        |phantom: &Phantom, pixel: usize| u8::from(infection(phantom, pixel)) * (1 + u8::from(pixel.is_multiple_of(2)));
    let stack: Vec<Phantom> = (0..9).map(|seed| Phantom::generate(Modality::Ct, seed, SIDE, true)).collect();
    write_volume(&mock.at("tr_im.nii.gz"), &stack).unwrap();
    mock.labels("tr_mask.nii.gz", &stack, ground_glass);
    write_volume(&mock.at("val_im.nii.gz"), &stack[..5]).unwrap();
    for i in 1..=9_u64 {
        let slices = mock.volume(&format!("rp_im/{i}.nii"), 50 + i, true);
        mock.labels(&format!("rp_msk/{i}.nii"), &slices, ground_glass);
        mock.labels(&format!("rp_lung_msk/{i}.nii"), &slices, lung_labels);
    }
    mock
}

/// COVIDx: lists of patient, file, class and source.
pub(super) fn covidx() -> Mock {
    let mock = Mock::new();
    for (number, (split, count)) in (0..).zip([("train", 24_u64), ("test", 8)]) {
        let mut list = String::new();
        for i in 0..count {
            let (class, positive) = if i % 4 < 2 { ("positive", true) } else { ("negative", false) };
            let name = format!("{split}-{i}.png");
            mock.picture(&format!("{split}/{name}"), Modality::Xray, 100 * number + i, positive);
            list += &format!("{split}{} {name} {class} {}\n", i / 2, ["cohen", "rsna"][i as usize / 2 % 2]);
        }
        mock.text(&format!("{split}_COVIDx9A.txt"), list);
    }
    mock
}

/// COVID-QU-Ex: the pictures of the infection's part stand in the lungs' part as well, in another split.
pub(super) fn covid_qu_ex() -> Mock {
    let mock = Mock::new();
    let classes = [("COVID-19", "covid", true), ("Non-COVID", "non_COVID", false), ("Normal", "Normal", false)];
    for (part, masks) in [("Infection Segmentation Data", 2), ("Lung Segmentation Data", 1)] {
        for (number, (split, shifted)) in (0..).zip([("Train", "Val"), ("Val", "Test"), ("Test", "Train")]) {
            for (kind, (class, word, positive)) in (0..).zip(classes) {
                for i in 0..2_u64 {
                    let split = if masks == 1 { shifted } else { split };
                    let seed = 100 * kind + 10 * number + i;
                    let (folder, name) = (format!("{part}/{split}/{class}"), format!("{word}_{seed}.png"));
                    let film = mock.picture(&format!("{folder}/images/{name}"), Modality::Xray, seed, positive);
                    mock.mask(&format!("{folder}/lung masks/{name}"), &film, lungs);
                    if masks == 2 {
                        mock.mask(&format!("{folder}/infection masks/{name}"), &film, infection);
                    }
                }
            }
        }
    }
    mock
}

/// MosMedData: studies in folders CT-0 to CT-4, masks of some of CT-1.
pub(super) fn mosmed() -> Mock {
    let mock = Mock::new();
    for i in 1..=12_u64 {
        let grade = (i - 1) % 4;
        let mut slices = mock.volume(&format!("studies/CT-{grade}/study_{i:04}.nii.gz"), i, grade > 0);
        if grade == 1 {
            // Three slices without infection.
            slices.iter_mut().take(3).for_each(|slice| slice.infection = Plane::filled(SIDE, SIDE, false));
            mock.labels(&format!("masks/study_{i:04}_mask.nii.gz"), &slices, infection_label);
        }
    }
    mock
}

/// SIIM-FISABIO-RSNA: DICOM films, a table of studies with a 1 in one of four columns.
pub(super) fn siim() -> Mock {
    let mock = Mock::new();
    let mut studies =
        String::from("id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance\n");
    let mut images = String::from("id,boxes,label,StudyInstanceUID\n");
    for i in 0..16_u64 {
        let (study, series) = (format!("1.2.{}", 1000 + i), format!("1.3.{}", 1000 + i));
        let kind = (i % 4) as usize;
        let film = Phantom::generate(Modality::Xray, i, SIDE, kind == 1);
        let patient = format!("patient-{}", i / 2);
        mock.dicom(
            &format!("train/{study}/{series}/{i:012x}.dcm"),
            &film,
            &[
                (tags::STUDY_INSTANCE_UID, VR::UI, &study),
                (tags::SERIES_INSTANCE_UID, VR::UI, &series),
                (tags::PATIENT_ID, VR::LO, &patient),
            ],
        );
        let ones = (0..4).map(|column| if column == kind { "1" } else { "0" }).collect::<Vec<_>>().join(",");
        studies += &format!("{study}_study,{ones}\n");
        images += &format!("{i:012x}_image,,none 1 0 0 1 1,{study}\n");
    }
    mock.text("train_study_level.csv", studies);
    mock.text("train_image_level.csv", images);
    mock
}

/// CT studies of nine slices and an overview each, and a table of patients.
pub(super) fn dicom_studies(by_patient: bool) -> Mock {
    let mock = Mock::new();
    let mut table = String::from(if by_patient { "PatientID,Diagnosis\n" } else { "StudyInstanceUID;Class\n" });
    for i in 0..6_u64 {
        let study = format!("1.2.840.{i}");
        let patient = format!("HOSPITAL-{i}");
        for (place, slice) in Phantom::generate_volume(i, SIDE, i % 2 == 0).iter().enumerate() {
            let instance = format!("1.2.840.{i}.1.{place}");
            mock.dicom(
                &format!("studies/{i}/{instance}"),
                slice,
                &[
                    (tags::STUDY_INSTANCE_UID, VR::UI, &study),
                    (tags::SOP_INSTANCE_UID, VR::UI, &instance),
                    (tags::PATIENT_ID, VR::LO, &patient),
                ],
            );
        }
        let overview = Phantom::generate(Modality::Ct, i, SIDE, false);
        mock.dicom(
            &format!("studies/{i}/SCOUT"),
            &overview,
            &[
                (tags::STUDY_INSTANCE_UID, VR::UI, &study),
                (tags::SERIES_INSTANCE_UID, VR::UI, &format!("1.2.840.{i}.2")),
                (tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.840.{i}.2.1")),
                (tags::PATIENT_ID, VR::LO, &patient),
                (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER"),
            ],
        );
        let class = if i % 2 == 0 { "COVID-19" } else { "Normal" };
        table += &if by_patient { format!("{patient},{class}\n") } else { format!("{study};{class}\n") };
    }
    mock.text(if by_patient { "labels.csv" } else { "studies.csv" }, table);
    mock
}

/// nnU-Net of the second version.
pub(super) fn nn_unet() -> Mock {
    let mock = Mock::new();
    let root = "Dataset115_COVID";
    for i in 0..12_u64 {
        let (pictures, labels) = if i < 9 { ("imagesTr", "labelsTr") } else { ("imagesTs", "labelsTs") };
        let slices = mock.volume(&format!("{root}/{pictures}/covid_{i:03}_0000.nii.gz"), i, true);
        mock.labels(&format!("{root}/{labels}/covid_{i:03}.nii.gz"), &slices, all_labels);
    }
    mock.text(
        &format!("{root}/dataset.json"),
        r#"{"channel_names": {"0": "CT"}, "labels": {"background": 0, "left lung": 1, "right lung": 2, "infection": 3},
            "numTraining": 9, "file_ending": ".nii.gz"}"#,
    );
    mock
}

/// The Medical Segmentation Decathlon's `dataset.json`, which lists pairs.
pub(super) fn decathlon() -> Mock {
    let mock = Mock::new();
    let mut pairs = vec![];
    for i in 0..10_u64 {
        let slices = mock.volume(&format!("imagesTr/lung_{i:03}.nii.gz"), i, true);
        mock.labels(&format!("labelsTr/lung_{i:03}.nii.gz"), &slices, infection_label);
        pairs
            .push(format!(r#"{{"image": "./imagesTr/lung_{i:03}.nii.gz", "label": "./labelsTr/lung_{i:03}.nii.gz"}}"#));
    }
    mock.text(
        "dataset.json",
        format!(
            r#"{{"name": "COVID", "modality": {{"0": "CT"}}, "labels": {{"0": "background", "1": "lesion"}}, "training": [{}]}}"#,
            pairs.join(", ")
        ),
    );
    mock
}

/// BIDS: a film and a scan of each participant, masks among the derivatives.
pub(super) fn bids() -> Mock {
    let mock = Mock::new();
    let mut table = String::from("participant_id\tage\tsex\tdiagnosis\n");
    for i in 1..=10_u64 {
        let (subject, positive) = (format!("sub-{i:03}"), i % 2 == 0);
        let scan = format!("{subject}/ses-1/ct/{subject}_ses-1_ct.nii.gz");
        let slices = mock.volume(&scan, i, positive);
        for (what, label) in [("infection", infection_label as fn(&Phantom, usize) -> u8), ("lung", lung_labels)] {
            let mask = format!("derivatives/masks/{subject}/ses-1/ct/{subject}_ses-1_desc-{what}_mask.nii.gz");
            mock.labels(&mask, &slices, label);
        }
        mock.picture(&format!("{subject}/ses-1/xray/{subject}_ses-1_dx.png"), Modality::Xray, i, positive);
        table += &format!("{subject}\t{}\tM\t{}\n", 40 + i, if positive { "COVID-19" } else { "normal" });
    }
    mock.text("participants.tsv", table);
    mock.text("dataset_description.json", r#"{"Name": "phantoms", "BIDSVersion": "1.9.0"}"#);
    mock
}
