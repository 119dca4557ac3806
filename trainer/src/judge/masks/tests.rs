//! Pictures, patients and rounds that are judged as they should be, on nets whose masks are known to the pixel.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use thorax_nets::segmentation::{NetConfig, attention_unet::AttentionUnetConfig, unet::UnetConfig};
use thorax_shared::{mask::NAMES, modality::Modality, plane::Plane};

use super::{pool::pool, *};
use crate::{
    data::{Label, Task},
    segmentation::{
        run::SegmentConfig,
        tests::{BRIGHT, SIDE, grey_png, net},
    },
};

/// Pictures of 64 x 64 with a bright square, whose true mask is another square, and pictures without any.
fn manifest(root: &Path) -> Manifest {
    let square = |from: usize, side: usize, value: u8, ground: u8| {
        Plane::from_fn(SIDE, SIDE, |x, y| {
            if (from..from + side).contains(&x) && (from..from + side).contains(&y) { value } else { ground }
        })
    };
    let record = |path: &str, patient: &str, task, label, class: &str, mask: &str| Record {
        path: path.into(),
        modality: Modality::Ct,
        task,
        label,
        class: class.into(),
        patient_id: patient.into(),
        group: patient.into(),
        source: "made".into(),
        licence: "none".into(),
        split: Split::Test,
        mask: mask.into(),
        lung_mask: String::new(),
        sha256: String::new(),
        equalised: false,
        masks_sha256: String::new(),
    };
    let mut records = vec![];
    // Patient, the square that is found, and the true one: from and side.
    for (name, patient, found, truth) in [
        ("exact", "a", (10, 16), (10, 16)),
        ("nothing", "a", (10, 16), (10, 0)),
        ("larger", "b", (8, 16), (8, 8)),
        ("missed", "c", (8, 0), (20, 10)),
    ] {
        let (path, mask) = (format!("{name}.png"), format!("masks/{name}.png"));
        grey_png(&root.join(&path), &square(found.0, found.1, 230, 60));
        grey_png(&root.join(&mask), &square(truth.0, truth.1, 255, 0));
        records.push(record(&path, patient, Task::Segment, Label::Unlabelled, "seg", &mask));
    }
    // 0 % and 4 x 4 of 64 x 64.
    for (name, side) in [("clean", 0), ("speck", 4), ("other", 30)] {
        grey_png(&root.join(format!("{name}.png")), &square(5, side, 230, 60));
        let class = if name == "other" { "other" } else { "normal" };
        records.push(record(&format!("{name}.png"), name, Task::Classify, Label::Negative, class, ""));
    }
    Manifest::new(root.to_owned(), records)
}

fn judged(folder: &Path, run: &str) -> RunJudgement {
    let masks: Vec<_> = NAMES.iter().map(|name| (if *name == "infection" { BRIGHT } else { 30.5 }, [0, 0])).collect();
    let segmenter = net(&NAMES, &masks, Modality::Ct);
    let settings = Resampling { resamples: 100, level: 0.95, seed: 1 };
    let identity = Identity { run: run.into(), seed: 7, members: 1, rounds: 1, same_data: true };
    judge_run(&manifest(folder), Split::Test, &segmenter, identity, &settings).unwrap()
}

#[test]
fn a_run_is_judged_by_what_is_in_its_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = judged(folder.path(), "run");
    assert_eq!(run.pictures.len(), 6, "the picture of class other is not asked about");
    let infection = run.masks.iter().find(|mask| mask.mask == "infection").unwrap();
    assert_eq!(run.masks.len(), 1, "no lungs are known");
    assert_eq!((infection.pictures, infection.pictures_with_truth, infection.missed), (4, 3, 1));
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
    // Exact: 1. Larger: 2 * 64 / (256 + 64). Missed: 0. Patient a has 256 right and 256 false ones.
    close(infection.per_picture.dice.unwrap().value, (1.0 + 0.4 + 0.0) / 3.0);
    close(infection.per_patient.dice.unwrap().value, (2.0 / 3.0 + 0.4 + 0.0) / 3.0);
    close(infection.pooled.dice.unwrap().value, 640.0 / (640.0 + 256.0 + 192.0 + 100.0));
    close(
        infection.per_picture.hd95_pixels.unwrap().value,
        run.pictures.iter().find(|p| p.path == "larger.png").unwrap().masks[0].unwrap().hd95[0].unwrap() / 2.0,
    );
    let nothing = infection.false_positives.unwrap();
    close(nothing.mean_percent.unwrap().value, 100.0 * 256.0 / 4096.0);
    let negatives = run.negatives.unwrap();
    assert_eq!((negatives.pictures, negatives.patients, negatives.without_lungs), (2, 2, 0));
    close(negatives.mean_percent.unwrap().value, 100.0 * 16.0 / 4096.0 / 2.0);
    // The net takes the whole picture for lung.
    close(negatives.mean_percent_of_lungs.unwrap().value, 100.0 * 16.0 / 4096.0 / 2.0);
    close(negatives.clearly_false.unwrap().value, 0.0);
}

#[test]
fn a_judgement_is_four_files_that_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let runs = vec![judged(&folder.path().join("data"), "one"), judged(&folder.path().join("data"), "two")];
    let judgement = SegmentationJudgement {
        format: 1,
        notice: "Research use only, not a medical device.".into(),
        modality: Modality::Ct,
        split: Split::Test,
        source: None,
        settings: Resampling { resamples: 100, level: 0.95, seed: 1 },
        spread: spread(&runs),
        runs,
    };
    let out = folder.path().join("out");
    write(&judgement, &out).unwrap();
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let pictures = read("pictures.csv");
    assert_eq!(pictures.lines().count(), 1 + 2 * 6);
    assert!(pictures.contains("one,larger.png,b,made,false,infection,64,192,3840,0,0.4,"), "{pictures}");
    assert!(pictures.contains("one,speck.png,speck,made,true,infection,0,16,4080,0,,,"), "{pictures}");
    let patients = read("patients.csv");
    assert_eq!(patients.lines().count(), 1 + 2 * 3);
    assert!(patients.contains("two,infection,b,1,0.4,0.25,"), "{patients}");
    let json: serde_json::Value = serde_json::from_str(&read("judgement.json")).unwrap();
    assert_eq!(json["runs"][1]["masks"][0]["patients"][1]["figures"]["dice"], 0.4);
    assert_eq!(json["spread"][0]["per_patient"]["dice"]["standard_deviation"], 0.0);
    let markdown = read("judgement.md");
    for words in [
        "Research use only",
        "| infection | 4 (3) | 0.356 [",
        "| infection, pictures of class normal | 2 (2) | 0.195",
        "infection on 1 of 3 pictures that have some",
        "Two empty masks do not count as 1",
        "Spread of 2 runs",
        "0.356 ± 0.000 (0.356 to 0.356)",
    ] {
        assert!(markdown.contains(words), "`{words}` is not said:\n{markdown}");
    }
    // Again, byte by byte.
    let again = folder.path().join("again");
    write(&judgement, &again).unwrap();
    for name in ["pictures.csv", "patients.csv", "judgement.json", "judgement.md"] {
        assert_eq!(read(name), std::fs::read_to_string(again.join(name)).unwrap());
    }
}

/// The rounds of a cross-validation are one judgement, and nothing else is.
#[test]
fn rounds_are_pooled() {
    let folder = tempfile::tempdir().unwrap();
    let whole = judged(folder.path(), "all");
    let settings = Resampling { resamples: 100, level: 0.95, seed: 1 };
    let round = |patients: &[&str], net: NetConfig, manifest: &str| {
        let pictures = whole.pictures.iter().filter(|picture| patients.contains(&picture.group.as_str()));
        let identity = Identity { run: "round".into(), seed: 7, members: 1, rounds: 1, same_data: true };
        let mut run =
            RunJudgement::new(identity, whole.mask_names.clone(), pictures.cloned().collect(), vec![], &settings);
        let config = SegmentConfig { manifest_sha256: manifest.into(), ..SegmentConfig::example(net, 1) };
        run.training = vec![Training { config: config.into(), curve: Curve::default(), pictures: None }];
        SegmentationJudgement {
            format: FORMAT,
            notice: "Research use only, not a medical device.".into(),
            modality: Modality::Ct,
            split: Split::Test,
            source: None,
            settings,
            runs: vec![run],
            spread: vec![],
        }
    };
    let unet = NetConfig::Unet(UnetConfig::default());
    let first = round(&["a", "clean"], unet, "01");
    let second = round(&["b", "c", "speck"], unet, "02");
    let [one, two] = ["one", "two"].map(Path::new);
    let pooled = pool(&[(one, first.clone()), (two, second.clone())], settings).unwrap();
    let sorted = |run: &RunJudgement| {
        let mut pictures = run.pictures.clone();
        pictures.sort_by(|a, b| a.path.cmp(&b.path));
        pictures
    };
    assert_eq!(sorted(&pooled.runs[0]), sorted(&whole));
    assert_eq!(pooled.runs[0].masks[0].per_patient, whole.masks[0].per_patient);
    assert_eq!(pooled.runs[0].masks[0].pooled, whole.masks[0].pooled);
    assert_eq!((pooled.runs[0].identity.run.as_str(), pooled.runs[0].identity.rounds), ("2 rounds", 2));
    assert_eq!(
        pooled.runs[0].training.iter().map(|training| training.config.manifest_sha256()).collect::<Vec<_>>(),
        ["01", "02"]
    );

    let refused = |other: SegmentationJudgement, words: &[&str]| {
        let error = format!("{:#}", pool(&[(one, first.clone()), (two, other)], settings).unwrap_err());
        words.iter().for_each(|word| assert!(error.contains(word), "`{word}` not said: {error}"));
    };
    refused(round(&["a", "b"], unet, "02"), &["two", "patient a is in one as well", "data split --fold"]);
    refused(round(&["b"], NetConfig::AttentionUnet(AttentionUnetConfig::default()), "02"), &["two", "another net"]);
    refused(SegmentationJudgement { split: Split::Val, ..second.clone() }, &["two", "not judged on the test split"]);
    let mut foreign = second.clone();
    foreign.runs[0].identity.same_data = false;
    refused(foreign, &["two", "not judged on the test split of the manifest"]);
    let twice = SegmentationJudgement { runs: vec![second.runs[0].clone(), second.runs[0].clone()], ..second };
    refused(twice, &["two", "2 runs"]);
}

/// A lesion that is found a slice too low: near in the volume, and in every slice exact or not there at all.
#[test]
fn slices_of_a_volume_are_judged_in_three_dimensions() {
    let folder = tempfile::tempdir().unwrap();
    let mut slices = thorax_phantom::Phantom::generate_volume(5, SIDE, true);
    // Twelve, since a manifest has slice 10 before slice 2.
    slices.extend(thorax_phantom::Phantom::generate_volume(6, SIDE, true).into_iter().take(3));
    let block = |x: usize, y: usize| (20..30).contains(&x) && (24..34).contains(&y);
    for (index, slice) in slices.iter_mut().enumerate() {
        let found = (2..5).contains(&index);
        slice.hounsfield = Some(Plane::from_fn(SIDE, SIDE, |x, y| if found && block(x, y) { 200.0 } else { -1000.0 }));
        slice.infection = Plane::from_fn(SIDE, SIDE, |x, y| (3..6).contains(&index) && block(x, y));
    }
    thorax_phantom::write_volume(&folder.path().join("scan.nii.gz"), &slices).unwrap();
    let marked = |slice: &thorax_phantom::Phantom, pixel: usize| u8::from(slice.infection.data()[pixel]);
    thorax_phantom::write_labels(&folder.path().join("infection.nii.gz"), &slices, marked).unwrap();
    let records = manifest(folder.path()).records;
    let record = records.iter().find(|record| record.task == Task::Segment && record.group == "a").unwrap();
    let judged = |places: &[usize]| {
        let line = |place: &usize| Record {
            path: format!("scan.nii.gz#slice={place}"),
            mask: "infection.nii.gz".into(),
            ..record.clone()
        };
        let manifest = Manifest::new(folder.path().to_owned(), places.iter().map(line).collect());
        let segmenter = net(&["infection"], &[(BRIGHT, [0, 0])], Modality::Ct);
        let settings = Resampling { resamples: 50, level: 0.95, seed: 1 };
        let identity = Identity { run: "run".into(), seed: 7, members: 1, rounds: 1, same_data: true };
        judge_run(&manifest, Split::Test, &segmenter, identity, &settings).unwrap()
    };
    let whole: Vec<usize> = (0..slices.len()).collect();
    let run = judged(&whole);
    assert_eq!((run.pictures.len(), run.volumes.len()), (slices.len(), 1));
    let volume = &run.volumes[0];
    assert_eq!((volume.file.as_str(), volume.slices), ("scan.nii.gz", slices.len()));
    let mask = volume.masks[0].unwrap();
    assert_eq!((mask.voxels.true_positives, mask.voxels.false_positives, mask.voxels.false_negatives), (200, 100, 100));
    // The faces at both ends lie a slice apart.
    let distance =
        f64::from(slice_distance_mm(&Manifest::new(folder.path().to_owned(), vec![]), "scan.nii.gz").unwrap().unwrap());
    assert!(distance > 1.0 && (mask.hd95_mm.unwrap() - distance).abs() < 1e-6, "{mask:?}, {distance}");
    let infection = &run.masks[0];
    assert!((infection.per_volume.dice.unwrap().value - 2.0 / 3.0).abs() < 1e-12);
    assert!((infection.per_volume.hd95_mm.unwrap().value - distance).abs() < 1e-6);
    assert_eq!(infection.per_volume.hd95_pixels, None);
    assert_eq!(infection.per_picture.hd95_mm.unwrap().value, 0.0, "slice by slice it is exact, or not there");
    // Slices that were picked out have no surface in space.
    let some = judged(&[0, 2, 4, 6, 8]);
    assert_eq!((some.volumes[0].slices, some.volumes[0].masks[0].unwrap().hd95_mm), (5, None));
    // Its files say so.
    let judgement = SegmentationJudgement {
        format: FORMAT,
        notice: NOTICE.into(),
        modality: Modality::Ct,
        split: Split::Test,
        source: None,
        settings: Resampling { resamples: 50, level: 0.95, seed: 1 },
        spread: vec![],
        runs: vec![judged(&whole)],
    };
    let out = folder.path().join("out");
    write(&judgement, &out).unwrap();
    assert_eq!(read(&out).unwrap(), judgement);
    let volumes = std::fs::read_to_string(out.join("volumes.csv")).unwrap();
    assert!(volumes.contains("run,scan.nii.gz,a,made,12,infection,0.66"), "{volumes}");
    let markdown = std::fs::read_to_string(out.join("judgement.md")).unwrap();
    assert!(markdown.contains("### Per volume") && markdown.contains("| infection | 1 (1) | 0.667 |"), "{markdown}");
    // A judgement of before has no volumes.
    let path = out.join("judgement.json");
    let mut old: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    old["runs"][0].as_object_mut().unwrap().remove("volumes");
    old["runs"][0]["masks"][0].as_object_mut().unwrap().remove("per_volume");
    std::fs::write(&path, old.to_string()).unwrap();
    assert!(read(&out).unwrap().runs[0].volumes.is_empty());
}

#[test]
fn the_spread_of_runs() {
    let spread = RunSpread::new(&[0.5, 0.7, 0.6]).unwrap();
    assert!((spread.mean - 0.6).abs() < 1e-12 && (spread.standard_deviation.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!((spread.runs, spread.min, spread.max), (3, 0.5, 0.7));
    assert_eq!(RunSpread::new(&[0.5]).unwrap().standard_deviation, None);
    assert_eq!(RunSpread::new(&[]), None);
}

/// Both lungs are judged together where the net draws each by itself, and only where the truth of both is known.
#[test]
fn lungs_drawn_one_by_one_are_judged_together_too() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["infection", "left_lung", "right_lung"].map(str::to_owned);
    let judged = JudgedMasks::new(&names);
    let mask =
        |columns: std::ops::Range<usize>| Plane::from_fn(10, 1, |x, _| if columns.contains(&x) { 255u8 } else { 0 });
    let record = &manifest(folder.path()).records[0];
    let found = || vec![mask(2..3), mask(5..8), mask(1..4)];
    let truth = |left| vec![Some(mask(1..3)), left, Some(mask(1..5))];
    let (score, _) = judged.score(record, false, found(), truth(Some(mask(5..9))), 10, None).unwrap();
    let lungs = score.masks[3].unwrap().pixels;
    assert_eq!((lungs.true_positives, lungs.false_positives, lungs.false_negatives), (6, 0, 2));
    assert_eq!(score.involvement_percent, [Some(100.0 / 6.0), Some(25.0)]);
    let (score, _) = judged.score(record, false, found(), truth(None), 10, None).unwrap();
    assert!(score.masks[1].is_none() && score.masks[3].is_none() && score.masks[2].is_some());
    assert_eq!(score.involvement_percent, [Some(100.0 / 6.0), None]);
    assert!(judged.score(record, false, vec![mask(0..1)], truth(None), 10, None).is_err());
}
