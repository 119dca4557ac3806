//! Ensembles of linear heads, each behind its backbone, asked picture by picture.
//!
//! What the infected share of the lungs adds to a teacher's logits is left out: the student's heads weigh it as the teacher's do.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use thorax_nets::source::WeightsArgs;
use thorax_nn::graph::Graph;
use thorax_shared::{
    decision::DecisionRule,
    lesions::LesionEvidence,
    modality::Modality,
    preprocess::spec::Core,
    uncertainty::{Ensemble, binary_entropy_bits, sigmoid},
};

use crate::{
    backbone::pictures::{Preparation, Targets},
    changes::Copies,
    data::{Manifest, Record, Task, fingerprint::fingerprint},
    features::Remade,
    heads::{self, ClassifyRun},
    progress::progress,
    segmentation::LungFinder,
};

/// Pictures that a teacher sees together.
const AT_ONCE: usize = 16;

/// A finished classifier.
struct Teacher {
    run: ClassifyRun,
    /// Its first output is a logit a member.
    graph: Graph,
    members: usize,
}

/// One or several, whose members are taken together.
pub struct Ensembles {
    modality: Modality,
    all: Vec<Teacher>,
    /// What finds the lungs for those that see these.
    lungs: Option<LungFinder>,
    /// How the infected share of the lungs moves the logits of all members.
    lesions: Option<LesionEvidence>,
}

impl Ensembles {
    /// Finished runs of `train classify` on pictures of `modality`, and the weights of their backbones; `lungs` finds the lungs for those
    /// that see these, and may be missing where none does.
    ///
    /// # Errors
    /// A folder without a run, other weights than the run's, other lungs than a run's, runs that do not agree on the lesions they weigh.
    pub fn open(
        runs: &[(PathBuf, WeightsArgs)],
        modality: Modality,
        lungs: Option<LungFinder>,
    ) -> anyhow::Result<Self> {
        let mut all = vec![];
        let mut wanted = vec![];
        for (folder, weights) in runs {
            let run = heads::load(folder)?;
            anyhow::ensure!(
                run.config.modality == modality,
                "{}: reads {} pictures; give --teacher runs of {modality}",
                folder.display(),
                run.config.modality
            );
            anyhow::ensure!(
                run.config.backbone.backbone().is_some(),
                "{}: a classifier whose trunk is a segmenter teaches no backbone; give --teacher runs with a backbone",
                folder.display()
            );
            wanted.extend(run.config.lungs_sha256.clone().map(|sha256| (folder, sha256)));
            let mut graph = run.whole(&Remade { weights: Some(weights), segmenter: None })?.graph;
            graph.outputs.retain(|(name, _)| name == "logits");
            let members = run.config.members;
            all.push(Teacher { run, graph, members });
        }
        match (&wanted[..], &lungs) {
            ([], Some(_)) => anyhow::bail!("--teacher-lungs: no --teacher was trained with --lungs; leave it out"),
            ([], None) => {}
            ([(folder, sha256), others @ ..], found) => {
                if let Some((other, _)) = others.iter().find(|(_, other)| other != sha256) {
                    anyhow::bail!(
                        "--teacher: {} and {} see the lungs that different segmenters find; give teachers of the same",
                        folder.display(),
                        other.display()
                    );
                }
                anyhow::ensure!(
                    found.as_ref().is_some_and(|lungs| lungs.sha256() == sha256),
                    "{}: sees the lungs that the segmenter {sha256} finds; give that one with --teacher-lungs",
                    folder.display()
                );
            }
        }
        let lesions = lesions(&all)?;
        Ok(Self { modality, all, lungs, lesions })
    }

    /// Hashes of the heads and of the backbone of each.
    pub fn sha256(&self) -> Vec<[String; 2]> {
        let of = |teacher: &Teacher| [teacher.run.sha256.clone(), teacher.run.config.backbone_sha256.clone()];
        self.all.iter().map(of).collect()
    }

    /// Sees that the lesions that they weigh are those of `segmenter`, by its hash; none where they weigh none.
    ///
    /// # Errors
    /// Another segmenter, or none.
    pub fn weigh_lesions_of(&self, segmenter: Option<&str>) -> anyhow::Result<()> {
        let weighed = self.all.first().and_then(|teacher| teacher.run.config.lesions_sha256.as_deref());
        match (weighed, segmenter) {
            (Some(weighed), None) => {
                anyhow::bail!(
                    "--teacher: weighs the lesions that the segmenter {weighed} finds; give it with --lesions"
                )
            }
            (None, Some(_)) => anyhow::bail!("--lesions: no --teacher weighs lesions; leave it out"),
            (Some(weighed), Some(given)) => anyhow::ensure!(
                weighed == given,
                "--lesions: not the segmenter whose lesions --teacher weighs (SHA-256 {given}, expected {weighed}); give that one"
            ),
            (None, None) => {}
        }
        Ok(())
    }

    /// What each sees of a picture.
    pub fn see(&self) -> Vec<Core> {
        self.all.iter().map(|teacher| teacher.run.config.preprocess.core).collect()
    }

    /// Members of all.
    pub fn members(&self) -> usize {
        self.all.iter().map(|teacher| teacher.members).sum()
    }

    /// What finds the lungs for those that see these.
    pub fn lungs(&self) -> Option<&LungFinder> {
        self.lungs.as_ref()
    }

    /// What they read.
    pub fn modality(&self) -> Modality {
        self.modality
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The thresholds of their runs, of several their means.
    pub fn rule(&self) -> DecisionRule {
        let mean = |of: fn(&DecisionRule) -> f32| {
            let sum: f64 = self.all.iter().map(|teacher| f64::from(of(&teacher.run.outcome.decision))).sum();
            (sum / self.all.len() as f64) as f32
        };
        DecisionRule {
            positive_at: mean(|rule| rule.positive_at),
            negative_at: mean(|rule| rule.negative_at),
            entropy_limit_bits: mean(|rule| rule.entropy_limit_bits),
            novelty_refer: f32::MAX,
            novelty_reject: f32::MAX,
        }
    }

    /// What all members say of `records`, each by its teacher's temperature as [`Self::ask`] has it, so that no teacher is surer than it may be;
    /// what the infected share of the lungs adds is left to [`Self::weighed`], and what a calibration makes of a teacher's mean to nobody.
    ///
    /// # Errors
    /// Pictures that cannot be read; a net that fails.
    pub fn targets(&self, manifest: &Manifest, records: &[&Record]) -> anyhow::Result<Targets> {
        let logits = self.logits(manifest, records)?;
        Ok(Targets::new(self.members(), tempered(&logits, &self.temperatures())))
    }

    /// How the infected share of the lungs moves the logits of all members, each divided by its teacher's temperature.
    pub fn weighed(&self) -> Option<LesionEvidence> {
        Some(weighed(self.lesions.as_ref()?, &self.temperatures()))
    }

    /// One a member.
    fn temperatures(&self) -> Vec<f32> {
        let of = |teacher: &Teacher| std::iter::repeat_n(teacher.run.outcome.temperature, teacher.members);
        self.all.iter().flat_map(of).collect()
    }

    /// What all members together say of `records` (equations 1 and 2), each teacher's by its temperature and what its calibration makes of its
    /// mean. `shares` are the infected shares of the lungs in percent, for those that weigh them.
    ///
    /// # Errors
    /// Pictures that cannot be read; a net that fails.
    pub fn ask(
        &self,
        manifest: &Manifest,
        records: &[&Record],
        shares: &[Option<f32>],
    ) -> anyhow::Result<Vec<Ensemble>> {
        let mut logits = self.logits(manifest, records)?;
        let together = |(logits, share): (&mut [f32], &Option<f32>)| {
            self.lesions.iter().for_each(|lesions| lesions.add_to(logits, *share));
            let (mut rest, mut sum) = (&mut *logits, 0.0);
            for Teacher { run, members, .. } in &self.all {
                let (own, others) = rest.split_at_mut(*members);
                own.iter_mut().for_each(|logit| *logit /= run.outcome.temperature);
                let said = Ensemble::from_logits(own, 1.0)?.mapped(run.outcome.probability_map.as_ref());
                sum += f64::from(said.probability) * *members as f64;
                rest = others;
            }
            let probability = (sum / self.members() as f64) as f32;
            let all = Ensemble::from_logits(logits, 1.0)?;
            Ok(Ensemble { probability, entropy_bits: binary_entropy_bits(probability), ..all })
        };
        logits.chunks_exact_mut(self.members()).zip(shares).map(together).collect()
    }

    /// Sees that all of them learnt from the pictures and splits of `manifest`.
    ///
    /// # Errors
    /// One that did not; lungs that are found by a segmenter of other splits.
    pub fn learnt_from(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let expected = fingerprint(manifest, self.modality, Task::Classify)?;
        anyhow::ensure!(
            self.all.iter().all(|teacher| teacher.run.config.manifest_sha256 == expected),
            "--teacher: one of the runs learnt from other pictures or splits than this manifest's, so it may have learnt from those that it is \
             judged on; give runs that were trained with this manifest"
        );
        self.lungs.iter().try_for_each(|finder| finder.learnt_from("--teacher-lungs", manifest))
    }

    /// The logits of all members for `records`, `[records, members]`, without what the infected share adds.
    fn logits(&self, manifest: &Manifest, records: &[&Record]) -> anyhow::Result<Vec<f32>> {
        let members = self.members();
        let mut all = vec![0f32; records.len() * members];
        let bar = progress(records.len() * self.all.len(), "what the teachers say");
        let mut first = 0;
        for teacher in &self.all {
            let spec = &teacher.run.config.preprocess;
            let lungs = self.lungs.as_ref();
            let preparation = Preparation { manifest, spec, lungs, copies: Copies::default(), lesions: None };
            for (chunk, some) in records.chunks(AT_ONCE).enumerate() {
                let pictures: Vec<_> = some.iter().map(|&record| (record, 0)).collect();
                let told = teacher.logits(&preparation.batch(&pictures)?.0)?;
                for (at, logits) in told.chunks(teacher.members).enumerate() {
                    all[(chunk * AT_ONCE + at) * members + first..][..teacher.members].copy_from_slice(logits);
                }
                bar.inc(some.len() as u64);
            }
            first += teacher.members;
        }
        bar.finish_and_clear();
        Ok(all)
    }

    /// What a student's file keeps beside its heads.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn evidence(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
        let Some(LesionEvidence { mean, std, weights }) = self.weighed() else { return Ok(vec![]) };
        let device = Device::Cpu;
        let tensors = [Tensor::new(weights.as_slice(), &device)?, Tensor::new(&[mean, std], &device)?];
        Ok(heads::LESIONS.iter().map(|name| format!("{}.{name}", heads::LAYER)).zip(tensors).collect())
    }
}

impl Teacher {
    /// `[N * members]` of `x` `[N, C, S, S]`.
    fn logits(&self, x: &Tensor) -> anyhow::Result<Vec<f32>> {
        Ok(self.graph.run(x)?.swap_remove(0).flatten_all()?.to_vec1()?)
    }
}

/// The probabilities of `logits`, `[N, members]`, each by its member's temperature.
fn tempered(logits: &[f32], temperatures: &[f32]) -> Vec<f32> {
    let said = |logits: &[f32]| -> Vec<f32> {
        logits.iter().zip(temperatures).map(|(&logit, &temperature)| sigmoid(logit, temperature)).collect()
    };
    logits.chunks_exact(temperatures.len()).flat_map(said).collect()
}

/// The same evidence for logits that are divided by these temperatures.
fn weighed(evidence: &LesionEvidence, temperatures: &[f32]) -> LesionEvidence {
    let weights = evidence.weights.iter().zip(temperatures).map(|(weight, temperature)| weight / temperature);
    LesionEvidence { weights: weights.collect(), ..*evidence }
}

/// How the infected share of the lungs moves the logits of all teachers' members, in the first teacher's units.
fn lesions(all: &[Teacher]) -> anyhow::Result<Option<LesionEvidence>> {
    let Some(first) = all.first() else { return Ok(None) };
    let segmenter = &first.run.config.lesions_sha256;
    anyhow::ensure!(
        all.iter().all(|teacher| teacher.run.config.lesions_sha256 == *segmenter),
        "--teacher: the runs weigh the lesions of different segmenters, or one of them none; give runs with the same --lesions"
    );
    let evidences = all.iter().map(|teacher| teacher.run.lesions()).collect::<anyhow::Result<Vec<_>>>()?;
    let Some(Some(LesionEvidence { mean, std, .. })) = evidences.first().cloned() else { return Ok(None) };
    // Means and deviations of runs on the same pictures hardly differ; that of the mean is left to the heads' constants.
    let scaled = evidences.iter().flatten().flat_map(|of| of.weights.iter().map(move |weight| weight * std / of.std));
    Ok(Some(LesionEvidence { mean, std, weights: scaled.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taught, with the lesions beside it, is what the members say by their temperatures.
    #[test]
    fn targets_and_evidence_are_those_of_divided_logits() {
        let temperatures = [0.5f32, 2.0, 1.0];
        let evidence = LesionEvidence { mean: 1.0, std: 0.5, weights: vec![0.4, -0.2, 0.0] };
        let logits = [1.0f32, -2.0, 0.5, 0.0, 3.0, -1.0];
        for percent in [None, Some(0.0), Some(20.0)] {
            for of_picture in logits.chunks_exact(3) {
                let mut whole = of_picture.to_vec();
                evidence.add_to(&mut whole, percent);
                let expected = tempered(&whole, &temperatures);
                let mut taught: Vec<f32> =
                    tempered(of_picture, &temperatures).iter().map(|p| (p / (1.0 - p)).ln()).collect();
                weighed(&evidence, &temperatures).add_to(&mut taught, percent);
                for (taught, expected) in taught.iter().zip(&expected) {
                    assert!((sigmoid(*taught, 1.0) - expected).abs() < 1e-5, "{taught} {expected}");
                }
            }
        }
        assert_eq!(tempered(&logits, &temperatures).len(), logits.len());
        assert!(tempered(&logits, &temperatures)[0] > sigmoid(1.0, 1.0), "a low temperature makes surer");
    }
}
