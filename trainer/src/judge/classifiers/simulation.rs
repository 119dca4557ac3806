//! Run folders as classifiers of different skill would leave them, drawn from a seed; no picture is behind them.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use rand::{Rng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};
use thorax_nn::seeded::generator;
use thorax_shared::modality::Modality;

use crate::{
    classifiers::{
        ClassifierRuns, Configuration, FORMAT, Kind, PredictedRow, Protocol, Resample, RunConfiguration, RunFolder,
        StoreIdentity, note_not_run,
    },
    data::Split,
    features,
};
use thorax_nets::Backbone;

/// Sources, and the share of their patients that has the disease.
const SOURCES: [(&str, f64); 4] = [
    ("Hospital of the North", 0.5),
    ("Southern Clinics / collection B", 0.4),
    ("Screening centre", 0.0),
    ("Atlas of cases", 1.0),
];

/// How well the classifiers tell the classes apart, and how far they exaggerate, in the order of [`Kind::ALL`].
const SKILLS: [(f64, f64); 8] =
    [(1.0, 1.2), (1.15, 1.0), (0.9, 0.5), (1.3, 2.0), (0.85, 1.5), (0.8, 0.15), (0.4, 6.0), (1.1, 1.6)];

fn normal(random: &mut StdRng) -> f64 {
    let (u, v) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Runs of all classifiers on the pictures of `patients` patients.
pub(crate) fn simulate(
    modality: Modality,
    backbone: Backbone,
    resample: Resample,
    patients: usize,
    runs: usize,
) -> RunFolder {
    let seed = 11 + modality as u64 * 100 + backbone.name().len() as u64;
    let mut random = generator(seed, 0);
    let (mut rows, mut evidence) = (Vec::new(), Vec::new());
    for patient in 0..patients {
        let (source, share) = SOURCES[patient % SOURCES.len()];
        let positive = random.random::<f64>() < share;
        let split = match random.random_range(0..10) {
            0..5 => Split::Train,
            5..7 => Split::Val,
            _ => Split::Test,
        };
        let of_patient = normal(&mut random);
        for picture in 0..random.random_range(1..5) {
            rows.push(PredictedRow {
                path: format!("{modality}/{patient}_{picture}.png"),
                group: format!("patient {patient}"),
                source: source.to_owned(),
                split,
                positive,
            });
            evidence.push(if positive { 1.5 } else { -1.5 } + of_patient + 0.7 * normal(&mut random));
        }
    }
    let classifiers = Kind::ALL.into_iter().zip(SKILLS).enumerate().map(|(number, (kind, (skill, exaggeration)))| {
        let mut random = generator(seed, 1 + number as u64);
        let own: Vec<f64> = rows.iter().map(|_| normal(&mut random) / skill).collect();
        let run = |_| {
            let shift = 0.3 * normal(&mut random);
            let values = evidence.iter().zip(&own).map(|(evidence, own)| {
                let logit = exaggeration * (skill * (evidence + own) + shift + 0.5 * normal(&mut random));
                1.0 / (1.0 + (-logit).exp())
            });
            values.collect()
        };
        ClassifierRuns { kind, runs: (0..runs).map(run).collect(), answers: None }
    });
    let classifiers = classifiers.collect();
    let roles = (resample == Resample::Split).then(|| {
        let role = |random: &mut StdRng| match random.random_range(0..10) {
            0..7 => Split::Train,
            7 => Split::Val,
            _ => Split::Test,
        };
        let run = |_| {
            let mut of_patient = BTreeMap::new();
            rows.iter().map(|row| *of_patient.entry(&row.group).or_insert_with(|| role(&mut random))).collect()
        };
        (0..runs).map(run).collect()
    });
    let weights = "timm/simulated (no picture is behind these numbers)".to_owned();
    RunFolder {
        modality,
        backbone: backbone.into(),
        weights,
        resample,
        runs,
        fewer: BTreeMap::new(),
        seed: 1,
        parameters: Configuration::load(None).unwrap().parameters,
        not_run: BTreeMap::new(),
        left_out: None,
        rows,
        classifiers,
        roles,
    }
}

/// Writes it as `thorax-train classify` does.
pub(crate) fn write(run: &RunFolder, folder: &Path) {
    let configuration = RunConfiguration {
        format: FORMAT,
        store: StoreIdentity {
            modality: run.modality,
            backbone: run.backbone,
            weights: run.weights.clone(),
            weights_sha256: String::new(),
            dtype: features::Dtype::F16,
            shape: [2048, 7, 7],
            pictures: run.rows.len(),
            contents_sha256: String::new(),
        },
        protocol: Protocol {
            resample: run.resample,
            runs: run.runs,
            fewer: run.fewer.clone(),
            seed: run.seed,
            left_out: run.left_out.clone(),
        },
        parameters: run.parameters.clone(),
    };
    let configuration = serde_json::to_string(&configuration).unwrap();
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("configuration.json"), configuration).unwrap();
    let mut rows = csv::Writer::from_path(folder.join("rows.csv")).unwrap();
    rows.write_record(["row", "path", "group", "source", "split", "positive", "fold"]).unwrap();
    for (number, row) in run.rows.iter().enumerate() {
        let (number, positive) = (number.to_string(), row.positive.to_string());
        rows.write_record([&number, &row.path, &row.group, &row.source, row.split.as_str(), &positive, "0"]).unwrap();
    }
    rows.flush().unwrap();
    if let Some(roles) = &run.roles {
        let mut table = csv::Writer::from_path(folder.join("roles.csv")).unwrap();
        table.write_record((0..run.runs).map(|run| format!("run{run}"))).unwrap();
        (0..run.rows.len()).for_each(|row| table.write_record(roles.iter().map(|run| run[row].as_str())).unwrap());
        table.flush().unwrap();
    }
    for (kind, why) in &run.not_run {
        note_not_run(folder, *kind, Some(why.clone())).unwrap();
    }
    for ClassifierRuns { kind, runs, answers } in &run.classifiers {
        let folder = folder.join("predictions").join(kind.name());
        fs::create_dir_all(&folder).unwrap();
        for (number, probabilities) in runs.iter().enumerate() {
            let bytes: Vec<u8> = probabilities.iter().flat_map(|p| p.to_le_bytes()).collect();
            let tensor = TensorView::new(Dtype::F64, vec![probabilities.len()], &bytes).unwrap();
            let path = folder.join(format!("{number:04}.safetensors"));
            let answers: Option<Vec<u8>> =
                answers.as_ref().map(|runs| runs[number].iter().map(|&answer| answer.into()).collect());
            let answers =
                answers.iter().map(|bytes| ("answer", TensorView::new(Dtype::U8, vec![bytes.len()], bytes).unwrap()));
            let tensors: Vec<_> = [("probability", tensor)].into_iter().chain(answers).collect();
            safetensors::serialize_to_file(tensors, None, &path).unwrap();
        }
    }
}
