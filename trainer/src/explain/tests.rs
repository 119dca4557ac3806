//! Machines on stores of a few numbers: the gradient by differences, the maps by pytorch-grad-cam.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use safetensors::SafeTensors;
use thorax_nets::{Backbone, Layout};
use thorax_shared::preprocess::{QualityLimits, spec::Normalise};

use super::*;
use crate::{
    classifiers::{self, Kernel, Sigmoid, Svm, SvmConfig},
    data::{Label, Split},
    features::{FORMAT, FeatureRow, Opened, State, StoreWriter, WrittenRow, preprocess_sha256},
};

/// A store of pictures `[N, C, H, W]`: even ones are positive, the first two thirds are for training.
fn problem(folder: &Path, features: &[f32], shape: [usize; 3]) -> Problem {
    let columns: usize = shape.iter().product();
    let count = features.len() / columns;
    let preprocess =
        crate::data::recipe::preprocess_spec(Modality::Ct, 224, Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] });
    let row = |row: usize| FeatureRow {
        path: format!("{row:02}.png"),
        sha256: format!("{row:02x}").repeat(32),
        patient_id: format!("p{row}"),
        group: format!("p{row}"),
        source: "an example".into(),
        label: [Label::Positive, Label::Negative][row % 2],
        split: [Split::Train, Split::Train, Split::Val, Split::Test][(row * 6 / count).saturating_sub(2)],
        equalised: false,
        copy: 0,
    };
    let contents = Contents {
        format: FORMAT,
        program: "a test".into(),
        backbone: Backbone::EfficientNetLite(0).into(),
        weights: "random:1".into(),
        weights_sha256: "ab".repeat(32),
        layout: Some(Layout::Timm),
        device: "cpu".into(),
        dtype: Dtype::F32,
        unit: 4,
        modality: Modality::Ct,
        preprocess_sha256: preprocess_sha256(&preprocess),
        preprocess,
        quality: QualityLimits::default(),
        lungs_sha256: None,
        manifest_sha256: "cd".repeat(32),
        copies: 0,
        copies_seed: None,
        rows: (0..count).map(row).collect(),
    };
    let path = folder.join("a.features");
    let Opened::Unfinished(writer) = StoreWriter::open(&path, &contents, shape).unwrap() else { panic!("it is new") };
    for &unit in writer.pending() {
        let numbers = writer.unit(unit).map(|row| &features[row * columns..][..columns]);
        let rows = numbers.map(|row| WrittenRow { state: State::Extracted, bytes: bytemuck::cast_slice(row) });
        writer.write(unit, &rows.collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap();
    Problem::open(&path, None, None, 2, 1).unwrap()
}

fn config(kind: Kind, kernel: Kernel) -> SvmConfig {
    SvmConfig { kind, kernel, c: 1.0, tolerance: 1e-3 }
}

fn machine(coefficients: Vec<f64>, bias: f64) -> Svm {
    Svm { coefficients, bias, sigmoid: Sigmoid { slope: -1.0, offset: 0.0 } }
}

/// A file of a script of `trainer/references`.
struct Reference(Vec<u8>);

impl Reference {
    fn read(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/references").join(name).with_extension("safetensors");
        Self(std::fs::read(path).unwrap())
    }

    fn tensor<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(&self, name: &str) -> (Vec<usize>, Vec<T>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), bytemuck::pod_collect_to_vec(tensor.data()))
    }
}

#[test]
fn the_maps_are_those_of_pytorch_grad_cam() {
    let reference = Reference::read("grad_cam");
    let (shape, features) = reference.tensor::<f32>("features");
    let shape = [shape[1], shape[2], shape[3]];
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(folder.path(), &features, shape);
    let gram = Gram::compute(&problem, true).unwrap();
    let (_, pictures) = reference.tensor::<f32>("pictures");
    for kind in [Kind::SvmRbf, Kind::SvmPolynomial] {
        let tensor = |name: &str| reference.tensor::<f64>(&format!("{kind}.{name}")).1;
        let gamma = tensor("gamma")[0];
        assert!((1.0 / (problem.columns() as f64 * gram.standard.variance) / gamma - 1.0).abs() < 1e-9);
        let kernel = match kind {
            Kind::SvmRbf => Kernel::Rbf { gamma },
            _ => Kernel::Polynomial { gamma, coef0: 0.5, degree: 3 },
        };
        let coefficients = tensor("coefficients");
        let runs = coefficients.chunks_exact(problem.len()).zip(tensor("biases"));
        let fitted: Vec<Svm> = runs.map(|(coefficients, bias)| machine(coefficients.to_vec(), bias)).collect();
        let count = fitted.len();
        let machines = Machines::new(&config(kind, kernel), fitted, &problem, &gram).unwrap();
        let (decisions, (sides, heats)) = (tensor("decisions"), reference.tensor::<f32>(&format!("{kind}.heat")));
        let side = sides[3];
        let mut heats = heats.chunks_exact(side * side);
        for (picture, decisions) in pictures.chunks_exact(problem.columns()).zip(decisions.chunks_exact(count)) {
            let answer = machines.answer(picture);
            let decision = decisions.iter().sum::<f64>() / count as f64;
            assert!((answer.decision - decision).abs() < 1e-5, "{} {decision}", answer.decision);
            for (said, decision) in answer.probabilities.iter().zip(decisions) {
                assert!((*said - 1.0 / (1.0 + (-decision).exp())).abs() < 1e-5);
            }
            for sign in [1.0, -1.0] {
                let gradient: Vec<f64> = answer.gradient.iter().map(|derivative| sign * derivative).collect();
                let found = grad_cam::heat(&grad_cam::activation_map(picture, &gradient, shape), side);
                for (found, expected) in found.data().iter().zip(heats.next().unwrap()) {
                    assert!((found - expected).abs() < 1e-5, "{kind}: {found} {expected}");
                }
            }
        }
        assert!(heats.next().is_none());
    }
}

/// Numbers that are neither too alike nor too far from each other for either kernel.
fn numbers(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-1.0f32..1.0, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The decision changes along any direction as the gradient says.
    #[test]
    fn the_gradient_is_that_of_central_differences(
        features in numbers(12 * 24),
        picture in numbers(24),
        direction in numbers(24),
        coefficients in prop::collection::vec(-1.0f64..1.0, 24),
        polynomial: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let problem = problem(folder.path(), &features, [6, 2, 2]);
        let gram = Gram::compute(&problem, true).unwrap();
        let config = if polynomial {
            config(Kind::SvmPolynomial, Kernel::Polynomial { gamma: 0.05, coef0: 0.5, degree: 3 })
        } else {
            config(Kind::SvmRbf, Kernel::Rbf { gamma: 0.05 })
        };
        let fitted = coefficients.chunks_exact(12).map(|run| machine(run.to_vec(), 0.3)).collect();
        let machines = Machines::new(&config, fitted, &problem, &gram).unwrap();
        let step = 2e-3f32;
        let decision = |step: f32| {
            let moved: Vec<f32> = picture.iter().zip(&direction).map(|(value, by)| value + step * by).collect();
            machines.answer(&moved).decision
        };
        let found = (decision(step) - decision(-step)) / f64::from(2.0 * step);
        let gradient = machines.answer(&picture).gradient;
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, &by)| g * f64::from(by)).sum();
        let size: f64 = gradient.iter().map(|g| g.abs()).sum();
        prop_assert!((found - expected).abs() < 1e-3 * (1.0 + size), "{found} {expected}");
    }
}

/// A side that the cells do not divide.
#[test]
fn every_place_is_covered_and_no_more_than_squares_are() {
    let input: Vec<f32> = (0..20 * 22).map(|at| at as f32).collect();
    let copies = occlusion::copies(&input, [1, 20, 22]);
    assert_eq!((copies.len(), &copies[0]), (occlusion::COPIES, &input));
    let grey = |copy: &Vec<f32>| copy.iter().zip(&input).filter(|(copy, input)| copy != input).count();
    assert!(copies[1..].iter().all(|copy| (1..=4 * 4).contains(&grey(copy))));
    assert!((0..input.len()).all(|at| copies[1..].iter().any(|copy| copy[at] == 219.5)), "the mean");
}

#[test]
fn occlusion_is_captums() {
    let reference = Reference::read("occlusion");
    let (shape, picture) = reference.tensor::<f32>("picture");
    let (_, weights) = reference.tensor::<f32>("weights");
    let (_, attribution) = reference.tensor::<f32>("attribution");
    let side = shape[2];
    let score = |copy: &Vec<f32>| {
        let sum: f64 = copy.iter().zip(&weights).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
        1.0 / (1.0 + (-sum).exp())
    };
    let copies = occlusion::copies(&picture, [shape[0], shape[1], side]);
    let scores: Vec<f64> = copies.iter().map(score).collect();
    assert_eq!(scores.len(), 170);
    let against: Vec<f64> = scores.iter().map(|score| 1.0 - score).collect();
    let [map, against] = [scores, against].map(|scores| occlusion::map(&scores));
    for (pixel, &expected) in attribution.iter().enumerate() {
        let [x, y] = [pixel % side, pixel / side].map(|at| at * occlusion::CELLS / side);
        assert!((map.get(x, y) - expected.max(0.0)).abs() < 1e-6, "{pixel}: {} {expected}", map.get(x, y));
        assert!((against.get(x, y) + expected.min(0.0)).abs() < 1e-6, "{pixel}: the other class");
    }
}

/// Of every classifier, the runs that are fitted again beside the copies say what they said before, and of a copy of a known picture what
/// they say of that picture.
#[test]
fn pictures_beside_the_others_change_no_run() {
    check_pictures_beside([6, 2, 2], classifiers::Resample::Bootstrap);
}

/// More columns than are looked at together, and runs that deal the patients out anew.
#[test]
fn nor_do_they_with_many_columns_and_a_split_for_each_run() {
    check_pictures_beside([300, 2, 2], classifiers::Resample::Split);
}

fn check_pictures_beside(shape: [usize; 3], resample: classifiers::Resample) {
    let columns: usize = shape.iter().product();
    let mut random = thorax_nn::seeded::generator(3, 0);
    let mut draw = || rand::Rng::random_range(&mut random, -1.0f32..1.0);
    // Positive pictures, the even ones, are brighter.
    let features: Vec<f32> =
        (0..60 * columns).map(|index| draw() + if (index / columns).is_multiple_of(2) { 0.7 } else { 0.0 }).collect();
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(folder.path(), &features, shape);
    let parameters = classifiers::Configuration::load(None).unwrap().parameters;
    let gram = Gram::compute(&problem, parameters.standardise).unwrap();
    let protocol = classifiers::Protocol { resample, runs: 2, fewer: Default::default(), seed: 1, left_out: None };
    let format = classifiers::FORMAT;
    let configuration = RunConfiguration { format, store: StoreIdentity::of(&problem), protocol, parameters };
    let path = folder.path().join("run");
    let mut kept = classifiers::Folder::open(&path, &configuration).unwrap();
    let runs = problem.runs(configuration.protocol.resample, 2, 1).unwrap();
    kept.describe(&problem, &runs).unwrap();
    let fitter = classifiers::Fitter::new(&problem, &gram, problem.memory(), None);
    let asked: Vec<Vec<f32>> = [7, 40].iter().map(|&row| features[row * columns..][..columns].to_vec()).collect();
    let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Xgboost || classifiers::check_xgboost(None).is_ok());
    for kind in kinds {
        let keep = |run: &classifiers::ClassifierRun, said: &[f64], _: Option<&[bool]>| {
            kept.keep(kind, run.number, said, None)
        };
        fitter.fit(kind, &configuration.parameters, &runs.runs, &keep).unwrap();
        let again = Runs { kind, count: 2, folder: &path, configuration: &configuration, problem: &problem };
        let said = occlusion::ask(&again, &[asked.clone(), asked[..1].to_vec()], folder.path(), None).unwrap();
        assert_eq!(said.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        for (run, row, found) in [(0, 7, said[0][0][0]), (1, 40, said[0][1][1]), (1, 7, said[1][0][1])] {
            let bytes = std::fs::read(classifiers::predictions(&path, kind, run)).unwrap();
            let expected = classifiers::probabilities(&bytes, problem.len()).unwrap()[row];
            assert!((found - expected).abs() < 1e-4, "{kind}, run {run}, picture {row}: {found} {expected}");
        }
        if kind == Kind::Mlp {
            perceptrons_have_a_gradient(&again, &gram, &asked);
        }
        // What the folder keeps is of another program.
        let other = vec![0.31; problem.len()];
        kept.keep(kind, 1, &other, None).unwrap();
        let error = occlusion::ask(&again, std::slice::from_ref(&asked), folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("run 1, fitted again differs from what is kept there"), "{error}");
    }
}

/// Their logit changes along features as the gradient says, where no unit ends on the way.
fn perceptrons_have_a_gradient(runs: &Runs, gram: &Gram, asked: &[Vec<f32>]) {
    const STEP: f32 = 1e-3;
    let columns = runs.problem.columns();
    let looked_at: Vec<usize> = (0..columns).step_by(columns / 24).collect();
    let perceptrons = Perceptrons::fit(runs, gram).unwrap();
    for answer in perceptrons.answer(asked) {
        assert_eq!((answer.probabilities.len(), answer.gradient.len()), (2, columns));
        assert!(answer.gradient.iter().any(|derivative| derivative.abs() > 1e-3), "{:?}", answer.gradient);
    }
    for picture in asked {
        let moved = looked_at.iter().flat_map(|&column| {
            [STEP, -STEP].map(|step| {
                let mut moved = picture.clone();
                moved[column] += step;
                moved
            })
        });
        let pictures: Vec<Vec<f32>> = std::iter::once(picture.clone()).chain(moved).collect();
        let answers = perceptrons.answer(&pictures);
        let mut smooth = 0;
        for (&column, sides) in looked_at.iter().zip(answers[1..].chunks_exact(2)) {
            let other = sides[0].gradient.iter().zip(&sides[1].gradient).any(|(up, down)| (up - down).abs() > 1e-6);
            if !other {
                smooth += 1;
                let found = (sides[0].decision - sides[1].decision) / f64::from(2.0 * STEP);
                let expected = answers[0].gradient[column];
                assert!((found - expected).abs() < 1e-3, "{column}: {found} {expected}");
            }
        }
        assert!(2 * smooth > looked_at.len(), "{smooth}");
    }
    // Of pictures that were there when they were fitted, they say what they said then.
    let number = [7, 40];
    for (answer, row) in perceptrons.answer(asked).iter().zip(number) {
        for (run, found) in answer.probabilities.iter().enumerate() {
            let bytes = std::fs::read(classifiers::predictions(runs.folder, Kind::Mlp, run)).unwrap();
            let expected = classifiers::probabilities(&bytes, runs.problem.len()).unwrap()[row];
            assert!((found - expected).abs() < 1e-4, "run {run}, picture {row}: {found} {expected}");
        }
    }
}

#[test]
fn a_picture_unlike_all_others_is_told() {
    let features: Vec<f32> = (0..12 * 24).map(|index| ((index * 37) % 101) as f32 / 101.0).collect();
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(folder.path(), &features, [6, 2, 2]);
    let gram = Gram::compute(&problem, true).unwrap();
    let coefficients = (0..12).map(|row| [1.0, -1.0][row % 2]).collect();
    let config = config(Kind::SvmRbf, Kernel::Rbf { gamma: 0.05 });
    let machines = Machines::new(&config, vec![machine(coefficients, 0.25)], &problem, &gram).unwrap();
    assert!(!machines.answer(&features[..24]).unfamiliar);
    let far = machines.answer(&[90.0; 24]);
    assert!(far.unfamiliar && (far.decision - 0.25).abs() < 1e-9);
}

#[test]
fn heat_is_scaled_and_nothing_stays_nothing() {
    // One channel that the score rises with, and one that it falls with twice as steeply.
    let map = grad_cam::activation_map(&[0.0, 4.0, 1.0, 0.0], &[1.0, 3.0, -4.0, -4.0], [2, 1, 2]);
    assert_eq!(map.data(), [0.0, 8.0]);
    let heat = grad_cam::heat(&map, 4);
    assert_eq!((heat.width(), heat.height(), heat.get(0, 0), heat.get(3, 3)), (4, 4, 0.0, 1.0));
    for flat in [0.0, 0.5] {
        assert!(grad_cam::heat(&Plane::filled(3, 3, flat), 9).data().iter().all(|&heat| heat == 0.0));
    }
}

#[test]
fn names_are_told_apart() {
    let names = names(&["a/1.png", "b/1.dcm", "c/2.nii.gz", "1-2.png", "d/1.jpg"].map(PathBuf::from));
    assert_eq!(names, ["1", "1-2", "2.nii", "1-2-2", "1-3"]);
}

#[test]
fn where_there_is_no_heat_the_picture_is_as_it_was() {
    let input = Plane::from_fn(3, 2, |x, y| (40 * x + 100 * y) as u8);
    assert_eq!(pictures::overlaid(&input, &Plane::filled(3, 2, 0.0)), pictures::grey(&input));
    let hottest = pictures::coloured(&Plane::filled(1, 1, 1.0)).get_pixel(0, 0).0;
    let coolest = pictures::coloured(&Plane::filled(1, 1, 0.0)).get_pixel(0, 0).0;
    let brightness = |colour: [u8; 3]| colour.map(u32::from).iter().sum::<u32>();
    assert!(brightness(hottest) > 2 * brightness(coolest), "{hottest:?} {coolest:?}");
}
