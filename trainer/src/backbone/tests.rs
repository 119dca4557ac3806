#![allow(clippy::unwrap_used)]
//! A net of drawn weights, its file, and what pictures are drawn.

use candle_core::{Device, Tensor};
use clap::Parser;
use rand::SeedableRng;
use thorax_nets::{
    Backbone,
    backbones::reduction::{Reduction, ReductionArgs},
    network::Pass,
    source::{Source, SourceKind},
};
use thorax_nn::{seeded, training::Dataset};
use thorax_shared::{
    modality::Modality,
    preprocess::spec::{Core, Normalise},
};

use super::{
    lesions::{LesionTask, Lesions},
    net::{Frozen, LOGITS, Shape},
    pictures::{Pictures, Preparation, Targets},
    run::{BackboneConfig, WEIGHTS},
    train::{doubt, from_their_mean, log_odds, rate_of_layer},
};
use crate::{
    changes::Copies,
    data::{Label, Manifest, Record, Split, Task, recipe::preprocess_spec},
    heads::{LAYER, TaughtHeads},
    segmentation::boxes::Boxes,
};

const SHAPE: Shape = Shape {
    backbone: Backbone::EfficientNetLite(0),
    reduction: Reduction::WHOLE,
    members: 3,
    frozen: Frozen::Stride16,
    batch_norms: false,
    dropout: 0.5,
};

/// As on a command line.
#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    reduction: ReductionArgs,
}

fn config() -> BackboneConfig {
    BackboneConfig {
        modality: Modality::Xray,
        shape: SHAPE,
        start: ["random:5".into(), "0".into()],
        teachers: vec![],
        teachers_see: vec![],
        classifiers: vec![],
        tempered: false,
        unlabelled_sha256: None,
        left_out: None,
        doubt: None,
        epochs: 1,
        batch: 4,
        peak_learning_rate: 1e-3,
        first_layer_rate: None,
        seed: 1,
        preprocess: preprocess_spec(Modality::Xray, 224, Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] }),
        lungs_sha256: None,
        manifest_sha256: "0".into(),
        copies: Copies { count: 3, seed: 1 },
        balance: 0.5,
        steadiness: 0.1,
        lesions: None,
        training: Default::default(),
    }
}

#[test]
fn what_is_frozen_stays_and_heads_say_nothing_at_first() {
    let weights = SHAPE.backbone.drawn_weights(5, &Device::Cpu).unwrap();
    let moved = |shape: Shape| -> Vec<String> {
        shape.network(&weights, false, &Device::Cpu).unwrap().trainable().into_iter().map(|(name, _)| name).collect()
    };
    let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
    let late = moved(SHAPE);
    assert!(has(&late, "conv_head.weight") && has(&late, "classifier.weight") && has(&late, "classifier.bias"));
    assert!(!has(&late, "conv_stem.weight") && !has(&late, "bn2.weight"), "{late:?}");
    // The last block of the fifth stage makes the last map at a sixteenth of the side.
    assert!(
        has(&late, "blocks.5.0.conv_pw.weight") && !late.iter().any(|name| name.starts_with("blocks.4.")),
        "{late:?}"
    );
    let all = moved(Shape { frozen: Frozen::None, batch_norms: true, ..SHAPE });
    assert!(has(&all, "conv_stem.weight") && has(&all, "bn2.weight") && !has(&all, "bn2.running_mean"));

    let net = SHAPE.network(&weights, false, &Device::Cpu).unwrap();
    let x = seeded::normal((2, 3, 64, 64), 1.0, 8, &Device::Cpu).unwrap();
    let logits = net.forward(&x, Pass::Infer).unwrap().remove(LOGITS).unwrap().remove(0);
    assert_eq!(logits.dims(), [2, 3, 1, 1]);
    assert!(logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|&logit| logit == 0.0));
}

#[test]
fn the_rate_grows_from_the_first_layer_to_the_heads() {
    let weights = SHAPE.backbone.drawn_weights(5, &Device::Cpu).unwrap();
    let net = Shape { frozen: Frozen::None, ..SHAPE }.network(&weights, false, &Device::Cpu).unwrap();
    let names: Vec<String> = net.trainable().into_iter().map(|(name, _)| name).collect();
    let rates: Vec<f64> = names.iter().map(|name| rate_of_layer(0.01, &net, name)).collect();
    assert!((rates[0] - 0.01).abs() < 1e-12 && names[0] == "conv_stem.weight", "{names:?}");
    assert!(rates.is_sorted() && rates.iter().all(|&rate| (0.01..=1.0).contains(&rate)), "{rates:?}");
    let of = |name: &str| rate_of_layer(0.01, &net, name);
    assert_eq!((of("classifier.weight"), of("classifier.bias")), (1.0, 1.0));
    // Half of the layers on the way, the square root of it.
    assert!((0.05..0.2).contains(&rates[rates.len() / 2]), "{rates:?}");
    assert_eq!(rate_of_layer(1.0, &net, "conv_stem.weight"), 1.0);
    // A map beside the heads is no layer behind them.
    let with_map = Shape { frozen: Frozen::None, ..SHAPE }.network(&weights, true, &Device::Cpu).unwrap();
    for (name, _) in with_map.trainable() {
        let alone = if name.starts_with("lesion_map.") { 1.0 } else { of(&name) };
        assert_eq!(rate_of_layer(0.01, &with_map, &name), alone, "{name}");
    }
}

/// What is trained is read as any published file is, and its heads say there what they said in training.
#[test]
fn the_file_is_the_backbones_and_the_heads_behind_it_are_found() {
    let device = Device::Cpu;
    let net = SHAPE.network(&SHAPE.backbone.drawn_weights(5, &device).unwrap(), true, &device).unwrap();
    for (name, var) in net.variables().into_iter().filter(|(name, _)| name.starts_with(LAYER)) {
        var.set(&seeded::normal(var.dims(), 0.1, name.len() as u64, &device).unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let tensors = net.variables().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    config().write(tensors, folder.path()).unwrap();
    let path = folder.path().join(WEIGHTS);
    let source = Source { origin: WEIGHTS.into(), sha256: String::new(), kind: SourceKind::File(path) };
    assert_eq!(BackboneConfig::of(&source), Some(config()));
    assert!(config().describe().contains("by 3 heads"), "{}", config().describe());
    let teachers = vec![["a".to_owned(), "b".to_owned()]; 2];
    let same = BackboneConfig { teachers, ..config() };
    assert!(same.describe().contains("what 2 teachers of 3 members in all say of the pictures"), "{}", same.describe());
    let others = vec![Core::Film { margin: 0.02 }, Core::LungsAlone { margin: 0.05, fade: 0.07 }];
    let told = BackboneConfig { teachers_see: others, ..same }.describe();
    assert!(
        told.contains(
            "in all (seeing the exposed film; the lungs that the segmenter finds, without what lies around them) say"
        ),
        "{told}"
    );
    let task = LesionTask {
        factor: 0.5,
        masks_sha256: Some("m".into()),
        boxes_sha256: Some(["b".into(), "u".into()]),
        healthy_sha256: None,
    };
    let told = BackboneConfig { lesions: Some(task), ..config() }.describe();
    assert!(told.contains("learnt beside it, from masks, boxes (factor 0.5)"), "{told}");

    let told = BackboneConfig { left_out: Some("2/5".parse().unwrap()), ..config() }.describe();
    assert!(told.contains("; without the patients of fold 2/5; "), "{told}");

    // A file with tensors that the backbone does not have would be refused here.
    assert!(net.variables().iter().any(|(name, _)| name == "lesion_map.weight"));
    let pretrained = source.open(SHAPE.backbone, 224, &device).unwrap();
    let x = seeded::normal((1, 3, 224, 224), 1.0, 9, &device).unwrap();
    let features = pretrained.graph.run(&x).unwrap().remove(0).flatten_from(2).unwrap().mean(2).unwrap();
    let told = net.forward(&x, Pass::Infer).unwrap().remove(LOGITS).unwrap().remove(0);
    let told = told.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let heads = TaughtHeads::open(&source).unwrap();
    let expected = heads.logits(&features.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_eq!(told.len(), 3);
    assert!(told.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())), "{told:?} {expected:?}");

    // What is left of a net is written beside its weights, and what reads them builds that.
    let reduction = Reduction { depth: 0.5, width: 0.75, plain: 1 };
    let shape = Shape { reduction, ..SHAPE };
    let options = Options::try_parse_from(["", "--depth", "0.5", "--width", "0.75", "--plain", "1"]).unwrap().reduction;
    let start = SHAPE.backbone.drawn_weights(5, &device).unwrap().reduced(options, 1).unwrap();
    let net = shape.network(&start, false, &device).unwrap();
    let tensors = net.variables().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    let config = BackboneConfig { shape, ..config() };
    config.write(tensors, folder.path()).unwrap();
    assert_eq!(BackboneConfig::of(&source), Some(config.clone()));
    assert_eq!(source.weights(SHAPE.backbone, &device).unwrap().reduction(), reduction);
    assert!(config.describe().starts_with("efficientnet-lite0 (depth 0.5, width 0.75, plain 1) trained from"));
    assert_eq!(source.open(SHAPE.backbone, 160, &device).unwrap().graph.shapes().unwrap().last(), Some(&[1280, 5, 5]));

    let drawn = Source { kind: SourceKind::Drawn(1), ..source };
    assert!(TaughtHeads::open(&drawn).err().unwrap().to_string().contains("student"));
}

fn record(index: usize, label: Label, source: &str) -> Record {
    let made = Record::made(&format!("{index}.png"), Task::Classify, label, Split::Train);
    Record { source: source.into(), sha256: format!("{index:064x}"), ..made }
}

#[test]
fn labels_become_targets_of_every_member() {
    let records = [record(1, Label::Positive, "a"), record(2, Label::Negative, "a")];
    let records: Vec<&Record> = records.iter().collect();
    let one = Targets::of_labels(&records, 1).resampled(&records, 7);
    assert_eq!((one.probabilities.as_slice(), one.weights.as_slice()), (&[1.0, 0.0][..], &[1.0, 1.0][..]));
    let three = Targets::of_labels(&records, 3);
    assert_eq!((three.members, three.probabilities), (3, vec![1.0, 1.0, 1.0, 0.0, 0.0, 0.0]));
    let many = Targets::of_labels(&records, 40).resampled(&records, 7);
    // Each member draws as many patients as there are.
    assert!((0..40).all(|member| many.weights[member] + many.weights[40 + member] == 2.0));
    assert!(many.weights.contains(&0.0) && many.weights.contains(&2.0));
}

/// Pictures with grey values that say who they are; a source of one picture is drawn as often as one of nine.
#[test]
fn an_epoch_draws_sources_alike_and_views_of_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vec![];
    for index in 0..10usize {
        let picture = image::GrayImage::from_fn(96, 96, |x, y| image::Luma([(x * y % 251) as u8]));
        picture.save(folder.path().join(format!("{index}.png"))).unwrap();
        let label = if index == 0 { Label::Positive } else { Label::Negative };
        records.push(record(index, label, if index == 0 { "few" } else { "many" }));
    }
    let manifest = Manifest::new(folder.path().to_owned(), records);
    let config = config();
    let preparation = Preparation {
        manifest: &manifest,
        spec: &config.preprocess,
        lungs: None,
        copies: Copies { count: 3, seed: 1 },
        lesions: None,
    };
    let records: Vec<&Record> = manifest.records.iter().collect();
    let pictures = |balance: f32, views: usize| {
        Pictures::new(preparation, records.clone(), Targets::of_labels(&records, 1), balance, views)
    };
    let positives = |balance: f32| {
        let pictures = pictures(balance, 1);
        let mut random = rand::rngs::StdRng::seed_from_u64(3);
        let batch: Vec<_> = (0..60).map(|index| pictures.load(index % 10, &mut random).unwrap()).collect();
        let tensors = pictures.collate(batch).unwrap();
        assert_eq!(tensors[0].dims(), [60, 3, 224, 224]);
        tensors[1].sum_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert_eq!(positives(0.0), 6.0, "each once");
    assert!((20.0..40.0).contains(&positives(1.0)), "half of them");
    assert!(pictures(1.0, 1).name(0).contains("drawn") && pictures(0.0, 1).name(4) == "4.png");

    // Two views: all first ones, then all second ones, and the same again from the same seed.
    let pictures = pictures(0.0, 2);
    let load = || {
        let mut random = rand::rngs::StdRng::seed_from_u64(4);
        let samples = (0..2).map(|index| pictures.load(index, &mut random).unwrap()).collect();
        pictures.collate(samples).unwrap()
    };
    let [a, b] = [load(), load()];
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!((a[0].dims(), a[1].dims(), a[2].dims()), (&[4, 3, 224, 224][..], &[2, 1, 1, 1][..], &[2, 1, 1, 1][..]));
    assert!(flat(&a[0]) == flat(&b[0]));
    let first = |row: usize| flat(&a[0].get(row).unwrap());
    assert!(first(0) != first(2) || first(1) != first(3), "the views are drawn each by itself");
}

/// Whatever part of the pictures has a label, and of whatever part lesions are known: in all, each counts as if it were all of them.
#[test]
fn labels_and_lesions_count_as_if_they_were_known_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let picture = image::GrayImage::from_fn(96, 96, |x, y| image::Luma([(x * y % 251) as u8]));
    // Two healthy ones and a positive of one source with labels, and of another six that are seen for their boxes alone.
    let mut table = String::from("path,x0,y0,x1,y1\n");
    let records: Vec<Record> = (0..9)
        .map(|index| {
            picture.save(folder.path().join(format!("{index}.png"))).unwrap();
            match index {
                0 | 1 => Record { class: "normal".into(), ..record(index, Label::Negative, "labelled") },
                2 => record(index, Label::Positive, "labelled"),
                _ => {
                    table += &format!("{index}.png,10,10,50,60\n");
                    Record { task: Task::None, ..record(index, Label::Unlabelled, "boxed") }
                }
            }
        })
        .collect();
    std::fs::write(folder.path().join("boxes.csv"), table).unwrap();
    let manifest = Manifest::new(folder.path().to_owned(), records);
    let lesions = Lesions { boxes: Some(Boxes::open(&folder.path().join("boxes.csv")).unwrap()) };
    let config = config();
    let preparation = Preparation {
        manifest: &manifest,
        spec: &config.preprocess,
        lungs: None,
        copies: Copies { count: 0, seed: 1 },
        lesions: Some((&lesions, 7)),
    };
    let records: Vec<&Record> = manifest.records.iter().collect();
    let batch = |balance: f32, count: usize| {
        let targets = Targets::of_labels(&records[..3], 1).unasked(6);
        assert_eq!(targets.asked(), 3);
        let pictures = Pictures::new(preparation, records.clone(), targets, balance, 1);
        let mut random = rand::rngs::StdRng::seed_from_u64(3);
        let samples = (0..count).map(|index| pictures.load(index % 9, &mut random).unwrap()).collect();
        let tensors = pictures.collate(samples).unwrap();
        [2, 4].map(|of| tensors[of].flatten_all().unwrap().to_vec1::<f32>().unwrap())
    };
    let [labels, cells] = batch(0.0, 9);
    assert_eq!(labels, [[3.0; 3], [0.0; 3], [0.0; 3]].concat(), "three of nine have a label");
    assert!(cells.iter().enumerate().all(|(at, &weight)| if at == 2 {
        weight == 0.0
    } else {
        (weight - 9.0 / 8.0).abs() < 1e-6
    }));
    for weights in batch(1.0, 360) {
        let mean = weights.iter().sum::<f32>() / weights.len() as f32;
        assert!((mean - 1.0).abs() < 0.15, "{mean}");
    }
}

#[test]
fn what_members_disagree_in_does_not_know_what_they_say_together() {
    let of = |logits: &[f32]| Tensor::new(logits, &Device::Cpu).unwrap().reshape((2, 3, 1, 1)).unwrap();
    let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    let apart = flat(from_their_mean(&of(&[1.0, 2.0, 6.0, -4.0, -4.0, -1.0])).unwrap());
    assert!(near(&apart, &[-2.0, -1.0, 3.0, -1.0, -1.0, 2.0]), "{apart:?}");
    // As sigmoid has them; what is surer than 1 in 1000 is not taken for surer.
    let logits = flat(log_odds(&of(&[0.5, 0.75, 0.25, 1.0, 0.0, 0.999])).unwrap());
    let surest = 999f32.ln();
    assert!(near(&logits, &[0.0, 3f32.ln(), -(3f32.ln()), surest, -surest, surest]), "{logits:?}");

    // Three pictures of two members that disagree more and more, whatever they say together.
    let teachers = [0.5, 0.5, 0.4, 0.6, 0.1, 0.9];
    assert!((doubt(&[0.2, 0.2, 0.2, 0.3, 0.2, 0.6], &teachers, 2) - 1.0).abs() < 1e-9);
    assert!((doubt(&[0.2, 0.6, 0.2, 0.3, 0.2, 0.2], &teachers, 2) + 1.0).abs() < 1e-9);
    assert_eq!(doubt(&[0.5; 6], &teachers, 2), 0.0, "who never disagrees is like nobody");
}
