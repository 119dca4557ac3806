//! Heads that a student brings with it: behind its backbone they learnt what each member of its teachers says.
//!
//! They are not fitted again, but calibrated, and their thresholds are chosen, as any ensemble's.

use anyhow::Context;
use candle_core::Device;
use thorax_nets::{
    source::{Source, SourceKind},
    weights,
};
use thorax_shared::lesions::LesionEvidence;

use super::{Heads, Lesions, Standard};
use crate::features::Contents;

/// The layer of the heads in a file of weights, named as in timm's files, where a headless net is read without it.
pub const LAYER: &str = "classifier";

/// The names of the tensors beside the heads that say how the infected share of the lungs moves their logits: a weight a member, and mean
/// and standard deviation of the share, see [`LesionEvidence`].
pub const LESIONS: [&str; 2] = ["lesion_weights", "lesion_mean_std"];

/// The heads of a student's file of weights, on raw features.
pub struct TaughtHeads {
    /// `[members, columns]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    lesions: Option<LesionEvidence>,
    /// Hash of the file.
    sha256: String,
}

impl TaughtHeads {
    /// Those of a file that `thorax-train distill` wrote.
    ///
    /// # Errors
    /// A file without heads, or that cannot be read; weights that were drawn.
    pub fn open(source: &Source) -> anyhow::Result<Self> {
        let SourceKind::File(path) = &source.kind else {
            anyhow::bail!("--taught: weights that were drawn have no heads; give a student's file");
        };
        let tensors = weights::read(path, "a student", &Device::Cpu)?;
        let read = |name: &str| -> anyhow::Result<Option<Vec<f32>>> {
            let tensor = tensors.get(&format!("{LAYER}.{name}"));
            Ok(tensor.map(|tensor| tensor.flatten_all()?.to_vec1()).transpose()?)
        };
        let needed = |name: &str| {
            read(name)?.with_context(|| {
                format!(
                    "{}: no heads ({LAYER}.{name}); give the weights that thorax-train distill wrote",
                    path.display()
                )
            })
        };
        let lesions = match (read(LESIONS[0])?, read(LESIONS[1])?.as_deref()) {
            (Some(weights), Some(&[mean, std])) => Some(LesionEvidence { mean, std, weights }),
            _ => None,
        };
        let heads = Self { weights: needed("weight")?, bias: needed("bias")?, lesions, sha256: source.sha256.clone() };
        let members = heads.members();
        anyhow::ensure!(
            members > 0
                && heads.weights.len().is_multiple_of(members)
                && heads.lesions.as_ref().is_none_or(|of| of.weights.len() == members),
            "{}: heads of different numbers of members; distil again",
            path.display()
        );
        Ok(heads)
    }

    /// Heads.
    pub fn members(&self) -> usize {
        self.bias.len()
    }

    /// What each says of the pooled features of one picture, what the lesions add aside.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let heads = self.weights.chunks(features.len()).zip(&self.bias);
        heads.map(|(weights, bias)| weights.iter().zip(features).map(|(w, x)| w * x).sum::<f32>() + bias).collect()
    }

    /// Sees that features are those that the heads stand on.
    ///
    /// # Errors
    /// Features of other weights.
    pub fn belong_to(&self, contents: &Contents) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.sha256 == contents.weights_sha256,
            "--weights: not those of the features (SHA-256 {}, expected {}); give those",
            self.sha256,
            contents.weights_sha256
        );
        Ok(())
    }

    /// The same on standardised features, with the share of infected lung `beside` them.
    ///
    /// # Errors
    /// Features of another backbone, a share where the heads weigh none, or none where they do.
    pub(super) fn on(&self, standard: &Standard, beside: Option<&Lesions>) -> anyhow::Result<Heads> {
        let (members, columns) = (self.members(), standard.mean.len());
        anyhow::ensure!(
            self.weights.len() == members * columns,
            "the student's heads weigh {} features, the backbone has {columns}",
            self.weights.len() / members
        );
        let mut bias = self.bias.clone();
        for (bias, weights) in bias.iter_mut().zip(self.weights.chunks_exact(columns)) {
            *bias += weights.iter().zip(&standard.mean).map(|(weight, mean)| weight * mean).sum::<f32>();
        }
        // Standardised features are the raw ones, less the mean, times the inverse deviation.
        let of_column = |column: usize| {
            (0..members).map(move |member| self.weights[member * columns + column] / standard.inverse_std[column])
        };
        let weights: Vec<f32> = (0..columns).flat_map(of_column).collect();
        Heads { weights, bias }.weighing(self.lesions.as_ref(), beside)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::LESION_SCALE, *};

    const MEMBERS: usize = 2;

    fn taught(lesions: bool) -> TaughtHeads {
        TaughtHeads {
            weights: vec![1.0, -2.0, 0.5, 0.25, 3.0, -1.0],
            bias: vec![0.1, -0.2],
            lesions: lesions.then(|| LesionEvidence { mean: 1.0, std: 0.5, weights: vec![0.7, -0.3] }),
            sha256: String::new(),
        }
    }

    fn standard() -> Standard {
        Standard { mean: vec![0.3, -1.0, 2.0], inverse_std: vec![2.0, 0.5, 4.0] }
    }

    /// On standardised features, and with another mean and deviation of the lesions, they say what they said.
    #[test]
    fn heads_say_the_same_of_standardised_features() {
        let features = [0.9f32, 1.5, -0.7];
        let standard = standard();
        let standardised: Vec<f32> = standard.row(&features).collect();
        let percent = Some(6.4f32);
        let ours = Lesions { mean: 1.4, std: 0.8, values: vec![] };
        let value = LesionEvidence { mean: ours.mean, std: ours.std, weights: vec![] }.value(percent);
        for lesions in [false, true] {
            let taught = taught(lesions);
            let heads = taught.on(&standard, lesions.then_some(&ours)).unwrap();
            let mut row = standardised.clone();
            let mut expected = taught.logits(&features);
            if let Some(evidence) = &taught.lesions {
                evidence.add_to(&mut expected, percent);
                row.push((LESION_SCALE * value) as f32);
            }
            let told = heads.logits(&row, row.len()).remove(0);
            assert_eq!(told.len(), MEMBERS);
            assert!(told.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{told:?} {expected:?}");
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let ours = Lesions { mean: 1.0, std: 1.0, values: vec![] };
        let told = |taught: TaughtHeads, beside| taught.on(&standard(), beside).err().unwrap().to_string();
        assert!(told(taught(false), Some(&ours)).contains("leave it out"));
        assert!(told(taught(true), None).contains("give it with --lesions"));
        let wide = TaughtHeads { weights: vec![0.0; 8], ..taught(false) };
        assert!(told(wide, None).contains("4 features, the backbone has 3"));
    }
}
