//! The losses against PyTorch (trainer/references/losses.py) and against their definitions in f64, values and gradients.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Var};
use proptest::prelude::*;

use super::*;

/// A batch `[N, C, H, W]`, value by value.
#[derive(Clone, Debug, Deserialize)]
struct Batch {
    shape: [usize; 4],
    logits: Vec<f32>,
    truth: Vec<f32>,
    distance: Vec<f32>,
    known: Vec<f32>,
}

impl Batch {
    /// The loss, and its gradient to the logits.
    fn loss(&self, config: &LossConfig, epoch: usize) -> (f32, Vec<f32>) {
        let [n, c, _, _] = self.shape;
        let tensor = |values: &[f32], shape| Tensor::from_slice(values, &shape, &Device::Cpu).unwrap();
        let logits = Var::from_tensor(&tensor(&self.logits, self.shape)).unwrap();
        let truth = tensor(&self.truth, self.shape);
        let distance = config.boundary.map(|_| tensor(&self.distance, self.shape));
        let known = tensor(&self.known, [n, c, 1, 1]);
        let loss = config.loss(&logits, &truth, distance.as_ref(), &known, epoch).unwrap();
        let gradient = loss.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        (loss.to_scalar().unwrap(), gradient)
    }

    /// The definition, pixel by pixel in f64, of other logits than the batch's.
    fn definition(&self, config: &LossConfig, epoch: usize, logits: &[f64]) -> f64 {
        let [n, c, h, w] = self.shape;
        let (region, edge) = match config.boundary {
            None => (1.0, 0.0),
            Some(b) => {
                let alpha = b.highest.min(b.first + epoch as f64 * b.rise_per_epoch);
                (if b.balance == Balance::Rebalance { 1.0 - alpha } else { 1.0 }, alpha)
            }
        };
        let mut sum = 0.0;
        for mask in 0..c {
            let (mut cross_entropy, mut overlap, mut both, mut boundary, mut pixels) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for picture in (0..n).filter(|picture| self.known[picture * c + mask] > 0.0) {
                let plane = (picture * c + mask) * h * w;
                for (pixel, z) in logits.iter().enumerate().skip(plane).take(h * w) {
                    let (y, d) = (f64::from(self.truth[pixel]), f64::from(self.distance[pixel]));
                    let p = 1.0 / (1.0 + (-z).exp());
                    cross_entropy -= y * p.ln() + (1.0 - y) * (1.0 - p).ln();
                    overlap += p * y;
                    both += p + y;
                    boundary += p * d;
                    pixels += 1.0;
                }
            }
            if pixels > 0.0 {
                let dice = 1.0 - (2.0 * overlap + 1.0) / (both + 1.0);
                sum += region * (config.cross_entropy * cross_entropy / pixels + config.dice * dice);
                sum += edge * boundary / pixels;
            }
        }
        sum / c as f64
    }

    fn wide_logits(&self) -> Vec<f64> {
        self.logits.iter().map(|z| f64::from(*z)).collect()
    }
}

#[derive(Deserialize)]
struct Case {
    batch: usize,
    config: LossConfig,
    epoch: usize,
    loss: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct References {
    batches: Vec<Batch>,
    cases: Vec<Case>,
}

#[test]
fn losses_and_gradients_equal_pytorchs() {
    let References { batches, cases } =
        serde_json::from_str(include_str!("../../../tests/references/losses.json")).unwrap();
    assert_eq!((batches.len(), cases.len()), (3, 27));
    for (index, case) in cases.iter().enumerate() {
        case.config.check().unwrap();
        let (loss, gradient) = batches[case.batch].loss(&case.config, case.epoch);
        assert!((f64::from(loss) - case.loss).abs() <= 1e-5 * case.loss.abs(), "case {index}: {loss}, {}", case.loss);
        assert_eq!(gradient.len(), case.gradient.len());
        let largest = case.gradient.iter().fold(0f64, |most, g| most.max(g.abs()));
        for (found, expected) in gradient.iter().zip(&case.gradient) {
            let difference = (f64::from(*found) - expected).abs();
            assert!(difference <= 1e-5 * largest, "case {index}: gradient {found}, reference {expected}");
        }
    }
}

#[test]
fn the_default_is_cross_entropy_plus_dice_and_unknown_masks_do_not_count() {
    let batch = Batch {
        shape: [2, 2, 2, 2],
        logits: vec![1.5, -0.5, 0.2, -3.0, 9.0, 9.0, 9.0, 9.0, -1.0, 2.0, 0.0, 0.7, 0.3, -0.2, 1.1, 0.4],
        truth: vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0],
        distance: vec![0.0; 16],
        known: vec![1.0, 0.0, 1.0, 1.0],
    };
    let config = LossConfig { cross_entropy: 1.0, dice: 1.0, boundary: None };
    let (loss, gradient) = batch.loss(&LossConfig::default(), 0);
    let expected = batch.definition(&config, 0, &batch.wide_logits());
    assert!((f64::from(loss) - expected).abs() < 1e-5, "{loss} {expected}");
    let silent = |range: std::ops::Range<usize>| gradient[range].iter().all(|g| *g == 0.0);
    assert!(silent(4..8) && !silent(0..4) && !silent(8..12) && !silent(12..16), "{gradient:?}");
}

#[test]
fn alpha_rises_to_its_highest_value() {
    let rebalance = BoundaryConfig::default();
    let increase = BoundaryConfig { balance: Balance::Increase, highest: 1.5, ..rebalance };
    for (epoch, alpha) in [(0, 0.01), (1, 0.02), (49, 0.5), (89, 0.9), (90, 0.9), (1000, 0.9)] {
        let (region, edge) = rebalance.weights(epoch);
        assert!((edge - alpha).abs() < 1e-12 && (region - (1.0 - alpha)).abs() < 1e-12, "{epoch}: {region} {edge}");
    }
    for (epoch, alpha) in [(0, 0.01), (89, 0.9), (148, 1.49), (1000, 1.5)] {
        let (region, edge) = increase.weights(epoch);
        assert!((edge - alpha).abs() < 1e-12 && region == 1.0, "{epoch}: {region} {edge}");
    }
}

#[test]
fn a_configuration_is_written_and_read_and_a_misspelt_one_is_refused() {
    for boundary in [None, Some(BoundaryConfig { balance: Balance::Increase, ..Default::default() })] {
        let config = LossConfig { cross_entropy: 0.5, dice: 0.0, boundary };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LossConfig>(&text).unwrap(), config);
    }
    assert_eq!(serde_json::from_str::<LossConfig>("{}").unwrap(), LossConfig::default());
    let boundary = serde_json::from_str::<LossConfig>(r#"{"boundary": {"balance": "rebalance"}}"#).unwrap().boundary;
    assert_eq!(boundary, Some(BoundaryConfig::default()));
    assert!(serde_json::from_str::<LossConfig>(r#"{"dise": 2}"#).is_err());
    assert!(serde_json::from_str::<LossConfig>(r#"{"boundary": {"rise": 2}}"#).is_err());
}

#[test]
fn a_boundary_loss_without_distances_is_refused() {
    let config = LossConfig { boundary: Some(BoundaryConfig::default()), ..Default::default() };
    let x = Tensor::zeros((1, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let known = Tensor::ones((1, 1, 1, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let error = config.loss(&x, &x, None, &known, 0).unwrap_err().to_string();
    assert!(error.contains("signed distance"), "{error}");
    let narrow = x.narrow(3, 0, 1).unwrap();
    for (truth, distance) in [(&narrow, &x), (&x, &narrow)] {
        assert!(config.loss(&x, truth, Some(distance), &known, 0).is_err());
    }
}

fn batches() -> impl Strategy<Value = Batch> {
    (1usize..4, 1usize..4, 1usize..5, 1usize..5).prop_flat_map(|(n, c, h, w)| {
        let (planes, values) = (n * c, n * c * h * w);
        let flags = |count| prop::collection::vec(prop::bool::ANY.prop_map(|flag| f32::from(u8::from(flag))), count);
        let numbers = |most: f32| prop::collection::vec(-most..most, values);
        (numbers(6.0), flags(values), numbers(9.0), flags(planes)).prop_map(move |(logits, truth, distance, known)| {
            Batch { shape: [n, c, h, w], logits, truth, distance, known }
        })
    })
}

fn configs() -> impl Strategy<Value = LossConfig> {
    let boundary =
        (0.0..0.5, 0.0..0.1, 0.5..1.0, any::<bool>()).prop_map(|(first, rise_per_epoch, highest, gives_way)| {
            let balance = if gives_way { Balance::Rebalance } else { Balance::Increase };
            BoundaryConfig { first, rise_per_epoch, highest, balance }
        });
    (0.1..2.0, 0.1..2.0, prop::option::of(boundary)).prop_map(|(cross_entropy, dice, boundary)| LossConfig {
        cross_entropy,
        dice,
        boundary,
    })
}

proptest! {
    #[test]
    fn losses_are_their_definition_and_gradients_its_differences(batch in batches(), config in configs(), epoch in 0usize..20) {
        let (loss, gradient) = batch.loss(&config, epoch);
        let logits = batch.wide_logits();
        let expected = batch.definition(&config, epoch, &logits);
        // The boundary's share grows with the distances, and so does its rounding.
        prop_assert!((f64::from(loss) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{} {}", loss, expected);
        let pixels = batch.shape[2] * batch.shape[3];
        for (pixel, gradient) in gradient.into_iter().enumerate() {
            const STEP: f64 = 1e-4;
            let moved = |by: f64| {
                let mut moved = logits.clone();
                moved[pixel] += by;
                batch.definition(&config, epoch, &moved)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            prop_assert!((f64::from(gradient) - slope).abs() < 1e-5 * slope.abs().max(1.0), "{} {}", gradient, slope);
            prop_assert!(batch.known[pixel / pixels] > 0.0 || gradient == 0.0);
        }
    }
}
