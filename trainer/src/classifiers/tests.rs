//! Classifiers against scikit-learn (trainer/references/classifiers_small.py), and all that is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use half::f16;
use safetensors::SafeTensors;
use thorax_nets::{Backbone, Layout};
use thorax_shared::{
    modality::Modality,
    preprocess::{QualityLimits, spec::Normalise},
};

use super::*;
use crate::{
    data::{Label, Split, recipe::preprocess_spec},
    features::{self, Contents, FeatureRow, Opened, State, StoreWriter, WrittenRow, preprocess_sha256},
};

const COLUMNS: usize = 24;
const SHAPE: [usize; 3] = [6, 2, 2];
const REFERENCE: &[u8] = include_bytes!("../../tests/references/classifiers.safetensors");

fn numbers(name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(SafeTensors::deserialize(REFERENCE).unwrap().tensor(name).unwrap().data())
}

fn whole_numbers(name: &str) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(SafeTensors::deserialize(REFERENCE).unwrap().tensor(name).unwrap().data())
}

/// Rows 0 to 39 are for training, 40 to 49 for validation, the others for the test; two of each patient.
fn rows() -> Vec<FeatureRow> {
    let row = |(index, &label): (usize, &u32)| FeatureRow {
        path: format!("films/{index:02}.png"),
        sha256: format!("{index:02x}").repeat(32),
        patient_id: format!("p{}", index / 2),
        group: format!("g{}", index / 2),
        source: ["one", "two", "three"][index / 2 % 3].into(),
        label: if label == 1 { Label::Positive } else { Label::Negative },
        split: [Split::Train, Split::Train, Split::Train, Split::Train, Split::Val, Split::Test][index / 10],
        equalised: false,
        copy: 0,
    };
    whole_numbers("labels").iter().enumerate().map(row).collect()
}

fn store(path: &Path, rows: Vec<FeatureRow>, values: &[f32]) {
    let preprocess = preprocess_spec(Modality::Xray, 224, Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] });
    let contents = Contents {
        format: features::FORMAT,
        program: "thorax-train 0.1.0".into(),
        backbone: Backbone::EfficientNetLite(0).into(),
        weights: "random:1".into(),
        weights_sha256: "ab".repeat(32),
        layout: Some(Layout::Timm),
        device: "cpu".into(),
        dtype: features::Dtype::F16,
        unit: rows.len(),
        modality: Modality::Xray,
        preprocess_sha256: preprocess_sha256(&preprocess),
        preprocess,
        quality: QualityLimits::default(),
        lungs_sha256: None,
        manifest_sha256: "cd".repeat(32),
        copies: 0,
        copies_seed: None,
        rows,
    };
    let Opened::Unfinished(writer) = StoreWriter::open(path, &contents, SHAPE).unwrap() else {
        panic!("a whole store")
    };
    let bytes: Vec<Vec<u8>> = values
        .chunks_exact(COLUMNS)
        .map(|row| row.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
        .collect();
    let rows: Vec<WrittenRow> = bytes.iter().map(|bytes| WrittenRow { state: State::Extracted, bytes }).collect();
    writer.write(0, &rows).unwrap();
    writer.finish().unwrap();
}

fn example(folder: &Path) -> PathBuf {
    let path = folder.join("films.features");
    store(&path, rows(), &numbers("features"));
    path
}

fn open(path: &Path) -> Result<Problem, ClassifierError> {
    Problem::open(path, None, None, 5, 1)
}

/// Why a store with these rows is refused.
fn refusal(rows: Vec<FeatureRow>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("films.features");
    store(&path, rows, &numbers("features"));
    open(&path).err().map_or_else(|| panic!("it was not refused"), |error| error.to_string())
}

#[test]
fn probabilities_are_those_of_scikit_learn() {
    let folder = tempfile::tempdir().unwrap();
    let mut problem = open(&example(folder.path())).unwrap();
    problem.folds = whole_numbers("folds").into_iter().map(|fold| fold as usize).collect();
    let gram = Gram::compute(&problem, true).unwrap();
    for (found, expected) in gram.values.iter().zip(numbers("gram")) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    let runs: Vec<ClassifierRun> = whole_numbers("counts")
        .chunks_exact(problem.len())
        .enumerate()
        .map(|(number, counts)| ClassifierRun { number, seed: 1, counts: counts.to_vec() })
        .collect();
    let mut parameters = Configuration::load(None).unwrap().parameters;
    let gamma = Gamma::Rule(GammaRule::Scale);
    let answer = Answer::Probability;
    parameters.svm_polynomial = PolynomialParameters { c: 2.0, coef0: 0.5, degree: 3, gamma, tolerance: 1e-8, answer };
    parameters.svm_rbf = RbfParameters { c: 2.0, gamma, tolerance: 1e-8, answer };
    parameters.naive_bayes.var_smoothing = 1e-3;
    let distance = {
        let mut parameters = parameters.clone();
        parameters.knn.weights = NeighbourWeights::Distance;
        parameters
    };
    let by_sign = {
        let mut parameters = parameters.clone();
        (parameters.svm_polynomial.answer, parameters.svm_rbf.answer) = (Answer::Sign, Answer::Sign);
        parameters
    };
    let fitter = Fitter::new(&problem, &gram, 1 << 30, None);
    for kind in [Kind::SvmPolynomial, Kind::SvmRbf] {
        let predicted = whole_numbers(&format!("{kind}-answers"));
        let compare = |run: &ClassifierRun, _: &[f64], answers: Option<&[bool]>| {
            let expected = &predicted[run.number * problem.len()..][..problem.len()];
            let answers: Vec<u32> = answers.unwrap().iter().map(|&answer| answer.into()).collect();
            assert_eq!(answers, expected, "{kind}, run {}: not what SVC.predict says", run.number);
            Ok(())
        };
        fitter.fit(kind, &by_sign, &runs, &compare).unwrap();
    }
    for (kind, parameters, name) in [
        (Kind::Knn, &parameters, "knn-uniform"),
        (Kind::Knn, &distance, "knn-distance"),
        (Kind::NaiveBayes, &parameters, "naive-bayes"),
        (Kind::SvmPolynomial, &parameters, "svm-polynomial"),
        (Kind::SvmRbf, &parameters, "svm-rbf"),
    ] {
        let expected = numbers(name);
        let told = std::sync::atomic::AtomicUsize::new(0);
        fitter
            .fit(kind, parameters, &runs, &|run, found, answers| {
                assert_eq!(answers, None, "{name}: its probability is its answer");
                for (row, (found, expected)) in found.iter().zip(&expected[run.number * problem.len()..]).enumerate() {
                    assert!(
                        (found - f64::from(*expected)).abs() < 1e-5,
                        "{name}, run {}, row {row}: {found} {expected}",
                        run.number
                    );
                }
                told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
        assert_eq!(told.into_inner(), runs.len(), "{name}");
    }
}

#[test]
fn draws_are_of_patients_and_always_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let problem = open(&example(folder.path())).unwrap();
    let drawn = problem.runs(Resample::Bootstrap, 20, 7).unwrap();
    assert!(drawn.roles.is_none());
    for run in &drawn.runs {
        assert_eq!(run.counts.iter().sum::<u32>(), 40, "as many patients as there are, each with both its pictures");
        assert!(run.counts.chunks_exact(2).all(|pair| pair[0] == pair[1]));
        assert!(run.counts[40..].iter().all(|&count| count == 0), "training pictures only");
    }
    let more = problem.runs(Resample::Bootstrap, 21, 7).unwrap();
    assert!(
        more.runs.iter().zip(&drawn.runs).all(|(a, b)| a.counts == b.counts),
        "more runs are the same and one more"
    );
    assert_ne!(drawn.runs[0].counts, drawn.runs[1].counts);
    assert!(problem.folds.chunks_exact(2).all(|pair| pair[0] == pair[1]), "a patient is in one fold");

    let dealt = problem.runs(Resample::Split, 5, 7).unwrap();
    for (run, roles) in dealt.runs.iter().zip(dealt.roles.unwrap()) {
        assert!(roles.chunks_exact(2).all(|pair| pair[0] == pair[1]), "a patient is on one side");
        assert!(roles.iter().zip(&run.counts).all(|(&role, &count)| count == u32::from(role == Split::Train)));
    }
}

#[test]
fn a_source_that_is_left_out_is_the_test_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = example(folder.path());
    let problem = Problem::open(&path, None, Some("two"), 5, 1).unwrap();
    for row in &problem.pictures {
        assert_eq!(row.split == Split::Test, row.source == "two", "{row:?}");
    }
    assert!(problem.pictures.iter().any(|row| row.split == Split::Val));
    let error = Problem::open(&path, None, Some("four"), 5, 1).err().unwrap().to_string();
    assert!(error.contains("\"four\"") && error.contains("\"one\", \"three\", \"two\""), "{error}");

    // Patients whom two sources share are not learnt from when one of these is left out.
    let mut shared = rows();
    shared[0].group = shared[2].group.clone();
    shared[1].group = shared[2].group.clone();
    let path = folder.path().join("shared.features");
    store(&path, shared, &numbers("features"));
    let problem = Problem::open(&path, None, Some("two"), 5, 1).unwrap();
    assert!(problem.pictures.iter().all(|row| row.group != "g1" || row.source == "two"));
}

#[test]
fn what_would_make_a_figure_a_lie_is_refused() {
    let mut one_class = rows();
    one_class[50..].iter_mut().for_each(|row| row.label = Label::Negative);
    let error = refusal(one_class);
    assert!(error.contains("test split has no positive xray picture"), "{error}");

    let mut group = rows();
    group[45].group = group[0].group.clone();
    let error = refusal(group);
    assert!(error.contains("group g0") && error.contains("films/00.png") && error.contains("films/45.png"), "{error}");

    let mut patient = rows();
    (patient[55].patient_id, patient[55].source) = (patient[0].patient_id.clone(), patient[0].source.clone());
    let error = refusal(patient);
    assert!(error.contains("patient p0 of one") && error.contains("train") && error.contains("test"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("films.features");
    let mut values = numbers("features");
    values[31 * COLUMNS + 5] = f32::NAN;
    store(&path, rows(), &values);
    let error = Gram::compute(&open(&path).unwrap(), true).err().unwrap().to_string();
    assert!(error.contains("feature 5 of films/31.png is NaN"), "{error}");

    let error = Problem::open(&path, Some(Backbone::ResNet50.into()), None, 5, 1).err().unwrap().to_string();
    assert!(error.contains("features of efficientnet-lite0, not of resnet50"), "{error}");
}

fn configuration(problem: &Problem, runs: usize, seed: u64) -> RunConfiguration {
    RunConfiguration {
        format: FORMAT,
        store: StoreIdentity::of(problem),
        protocol: Protocol { resample: Resample::Bootstrap, runs, fewer: BTreeMap::new(), seed, left_out: None },
        parameters: Configuration::load(None).unwrap().parameters,
    }
}

#[test]
fn a_folder_goes_on_with_its_own_configuration_only() {
    let directory = tempfile::tempdir().unwrap();
    let problem = open(&example(directory.path())).unwrap();
    let path = directory.path().join("run");
    let begin = |runs, seed| Folder::open(&path, &configuration(&problem, runs, seed));
    let runs = problem.runs(Resample::Bootstrap, 3, 1).unwrap();
    let mut folder = begin(3, 1).unwrap();
    folder.describe(&problem, &runs).unwrap();
    let probabilities: Vec<f64> = (0..problem.len()).map(|index| index as f64 / 100.0).collect();
    folder.keep(Kind::Knn, 1, &probabilities, None).unwrap();
    assert!(folder.has(Kind::Knn, 1) && !folder.has(Kind::Knn, 0) && !folder.has(Kind::SvmRbf, 1));

    let error = begin(3, 2).err().unwrap().to_string();
    assert!(error.contains("protocol.seed is 1 there and 2 here"), "{error}");
    let mut other = configuration(&problem, 3, 1);
    other.parameters.knn.neighbours = 9;
    other.store.weights_sha256 = "ef".repeat(32);
    let error = Folder::open(&path, &other).err().unwrap().to_string();
    assert!(error.contains("parameters.knn.neighbours is 5 there and 9 here"), "{error}");
    assert!(error.contains("store.weights_sha256"), "{error}");

    // More runs go on from those that are there; fewer would not know what to do with them.
    let mut more = begin(4, 1).unwrap();
    more.describe(&problem, &problem.runs(Resample::Bootstrap, 4, 1).unwrap()).unwrap();
    assert!(more.has(Kind::Knn, 1));
    assert!(begin(2, 1).err().unwrap().to_string().contains("protocol.runs is 4 there and 2 here"));

    // How many there are of one of them changes what is asked for, not what a run says.
    let mut few = configuration(&problem, 4, 1);
    few.protocol.fewer.insert(Kind::Knn, 2);
    let mut few_of_knn = Folder::open(&path, &few).unwrap();
    few_of_knn.describe(&problem, &problem.runs(Resample::Bootstrap, 4, 1).unwrap()).unwrap();
    assert!(few_of_knn.has(Kind::Knn, 1));
    assert_eq!(RunConfiguration::read(&path).unwrap(), few);
    few_of_knn.keep(Kind::Knn, 0, &probabilities, None).unwrap();
    let read = read_run(&path).unwrap();
    assert_eq!((read.runs, read.classifiers[0].runs.len(), read.fewer), (4, 2, [(Kind::Knn, 2)].into()));
    few.protocol.runs = 5;
    Folder::open(&path, &few).unwrap();
    let read = read_run(&path).unwrap();
    assert_eq!((read.runs, read.classifiers[0].runs.len()), (5, 2), "of the others there are more");
    few.protocol.fewer = [(Kind::Knn, 9)].into();
    assert_eq!(few.protocol.runs_of(Kind::Knn), 5, "not more than there are");
    begin(5, 1).unwrap();
    assert!(read_run(&path).is_err(), "now five are wanted, and two are there");

    // A file that is damaged, or of something else, is fitted anew.
    let file = more.predictions(Kind::Knn, 1);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!more.has(Kind::Knn, 1));
}

#[test]
fn the_gram_matrix_of_a_folder_is_of_its_pictures_only() {
    let directory = tempfile::tempdir().unwrap();
    let problem = open(&example(directory.path())).unwrap();
    let path = directory.path().join("gram.safetensors");
    let gram = Gram::open(&path, &problem, true).unwrap();
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(Gram::open(&path, &problem, true).unwrap(), gram);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written, "it was read");
    assert_ne!(Gram::open(&path, &problem, false).unwrap(), gram, "in other terms it is another");
    std::fs::write(&path, b"no matrix").unwrap();
    assert_eq!(Gram::open(&path, &problem, true).unwrap(), gram, "a damaged one is computed anew");
}

#[test]
fn those_that_draw_learn_what_they_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let problem = open(&example(directory.path())).unwrap();
    let gram = Gram::compute(&problem, true).unwrap();
    let mut parameters = Configuration::load(None).unwrap().parameters;
    parameters.mlp.learning_rate = 0.05;
    let fitter = Fitter::new(&problem, &gram, 1 << 30, None);
    for kind in Kind::ALL {
        // A folder that is whole is gone on with as well.
        fitter.fit(kind, &parameters, &[], &|_, _, _| panic!("there was no run")).unwrap();
    }
    let runs = problem.runs(Resample::Bootstrap, 3, 1).unwrap().runs;
    for kind in [Kind::RandomForest, Kind::Mlp, Kind::AdaBoost] {
        fitter
            .fit(kind, &parameters, &runs, &|run, probabilities, _| {
                let learnt: Vec<usize> = (0..problem.len()).filter(|&index| run.counts[index] > 0).collect();
                let right =
                    learnt.iter().filter(|&&index| (probabilities[index] >= 0.5) == problem.labels[index]).count();
                assert!(3 * right > 2 * learnt.len(), "{kind}: {right} of {}", learnt.len());
                assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{kind}: {probabilities:?}");
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn tuning_looks_at_training_pictures_only_and_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let problem = open(&example(directory.path())).unwrap();
    let gram = Gram::compute(&problem, true).unwrap();
    let configuration = Configuration::load(None).unwrap();
    let path = directory.path().join("tuning.json");
    let fitter = Fitter::new(&problem, &gram, 1 << 30, None);
    let best = tune::tune(&fitter, &configuration, &[Kind::Knn], 1, &path).unwrap();
    let tried = std::fs::read(&path).unwrap();
    assert_eq!(tune::tune(&fitter, &configuration, &[Kind::Knn], 1, &path).unwrap(), best);
    assert_eq!(std::fs::read(&path).unwrap(), tried);
    // Other labels of validation and test pictures change nothing.
    let mut other = problem.clone();
    other.labels[40..].iter_mut().for_each(|label| *label = !*label);
    let again = directory.path().join("again.json");
    let fitter = Fitter::new(&other, &gram, 1 << 30, None);
    assert_eq!(tune::tune(&fitter, &configuration, &[Kind::Knn], 1, &again).unwrap(), best);
    assert_eq!(std::fs::read(&again).unwrap(), tried);
}
