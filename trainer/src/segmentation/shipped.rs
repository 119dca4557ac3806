//! The segmenter of a bundle, where no run of it is left: it finds lungs and lesions for a new classifier, and is shipped again as it
//! is.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use thorax_engine::trust::trusted_keys;
use thorax_files::hexadecimal;
use thorax_nn::{
    graph::Graph,
    onnx::{from_onnx, to_onnx},
    quantize::Census,
};
use thorax_shared::{
    bundle::{self, Bundle, Limits, TrustedKeys},
    mask,
    modality::Modality,
    preprocess::PreprocessSpec,
};

use super::segmenter::OUTPUT;
use crate::data::recipe::equalised_once;

/// The probability that graphs of this program have their chosen threshold at.
const MASK_THRESHOLD: f32 = 0.5;

/// A segmenter that comes out of a signed bundle.
pub struct Shipped {
    /// The bundle.
    pub path: PathBuf,
    /// The bundle's name and version.
    pub title: String,
    /// Whose pictures it reads.
    pub modality: Modality,
    /// How a picture is prepared for it, as recipes are today.
    pub preprocess: PreprocessSpec,
    /// The bundle equalises slices that were equalised before.
    pub equalises_twice: bool,
    /// The net.
    pub graph: Graph,
    /// SHA-256 of its file.
    pub sha256: String,
    /// What the bundle's card says of it; empty where it has no card.
    pub told: String,
}

impl Shipped {
    /// The segmenter of the bundle at `path`, which is signed by a key that is built in.
    ///
    /// # Errors
    /// A bundle that cannot be read, is not trusted, or has no segmenter for the masks that this program draws.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::read(path, &trusted_keys(None)?).with_context(|| path.display().to_string())
    }

    fn read(path: &Path, trusted: &TrustedKeys) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)?;
        let bundle = Bundle::read(&bytes, trusted, &Limits::default())?;
        let bundle::Manifest { name, version, modality, segmenter, extension, .. } = bundle.manifest();
        let segmenter = segmenter.as_ref().context("the bundle has no segmenter; give another")?;
        let channels: Vec<&str> = segmenter.channels.iter().map(|channel| &**channel).collect();
        ensure!(
            channels == mask::NAMES && segmenter.mask_threshold == MASK_THRESHOLD,
            "its segmenter draws {} from a probability of {} on, not {} from {MASK_THRESHOLD} on; train one",
            channels.join(", "),
            segmenter.mask_threshold,
            mask::NAMES.join(", "),
        );
        let file = bundle.parts().find(|(part, _)| *part.name == *segmenter.graph.part);
        let (part, onnx) = file.context("the bundle lacks its segmenter")?;
        ensure!(
            Census::of(onnx)?.integer_convolutions() == 0,
            "its segmenter calculates in 8-bit integers, which the device alone does; give the bundle of real numbers that it was made of{} (those \
             of shipped bundles are in models/teachers)",
            extension.teacher.as_ref().map_or_else(String::new, |teacher| format!(" ({})", teacher.name))
        );
        // Where it is one net with the classifier, what the classifier makes of it is left out.
        let recipe = &segmenter.graph.preprocess;
        let preprocess = equalised_once(*modality, recipe.clone());
        if preprocess != *recipe {
            eprintln!(
                "{}: slices that were equalised before are not equalised again for its segmenter; its own bundle does so",
                path.display()
            );
        }
        let graph = from_onnx(onnx)?.only(OUTPUT).with_context(|| format!("its segmenter has no output {OUTPUT}"))?;
        Ok(Self {
            path: path.to_owned(),
            title: format!("{name} {version}"),
            modality: *modality,
            equalises_twice: preprocess != *recipe,
            preprocess,
            sha256: match bundle.manifest().classifier.graph.part == segmenter.graph.part {
                // Other heads behind it make no other segmenter.
                true => hexadecimal(&Sha256::digest(to_onnx(&graph, "segmenter")?)),
                false => hexadecimal(&part.sha256),
            },
            graph,
            told: bundle.card().map(told).unwrap_or_default(),
        })
    }
}

/// A segmenter that calculates in integers, as a bundle has it: the device runs it, and nothing else does.
pub struct Integers {
    /// The bundle's name and version.
    pub title: String,
    /// What the bundle says of it.
    pub segmenter: bundle::Segmenter,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// SHA-256 of that.
    pub sha256: [u8; 32],
    /// Hash of the splits that the bundle was judged on.
    pub split_sha256: [u8; 32],
    /// What the bundle's card says of it; empty where it has no card.
    pub told: String,
}

impl Integers {
    /// The segmenter of the bundle at `path`, which is signed by one of `trusted`.
    ///
    /// # Errors
    /// A bundle that cannot be read, or reads other pictures than those of `modality`; one without a segmenter, one whose segmenter is its
    /// classifier's net too, or calculates in real numbers.
    pub fn open(path: &Path, trusted: &TrustedKeys, modality: Modality) -> anyhow::Result<Self> {
        Self::read(path, trusted, modality).with_context(|| path.display().to_string())
    }

    fn read(path: &Path, trusted: &TrustedKeys, modality: Modality) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path)?;
        let bundle = Bundle::read(&bytes, trusted, &Limits::default())?;
        let bundle::Manifest { name, version, modality: of, segmenter, classifier, provenance, .. } = bundle.manifest();
        ensure!(*of == modality, "reads {of} pictures; give a bundle that reads {modality}");
        let segmenter = segmenter.clone().context("the bundle has no segmenter; give another")?;
        ensure!(
            segmenter.graph.part != classifier.graph.part,
            "its segmenter is one net with its classifier; give a bundle that has two"
        );
        let file = bundle.parts().find(|(part, _)| *part.name == *segmenter.graph.part);
        let (part, onnx) = file.context("the bundle lacks its segmenter")?;
        ensure!(
            Census::of(onnx)?.integer_convolutions() > 0,
            "its segmenter calculates in real numbers; give a bundle that thorax-train quantize made"
        );
        Ok(Self {
            title: format!("{name} {version}"),
            sha256: part.sha256,
            split_sha256: provenance.split_sha256,
            onnx: onnx.to_vec(),
            told: bundle.card().map(told).unwrap_or_default(),
            segmenter,
        })
    }
}

/// What a card says of its segmenter: the item of its list, with what belongs to it up to the next empty line.
fn told(card: &str) -> String {
    let lines = card.lines().skip_while(|line| !line.starts_with("- Segmenter: "));
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use thorax_shared::preprocess::spec::Equalisation;

    use super::*;

    #[test]
    fn a_card_tells_of_its_segmenter_and_nothing_else() {
        let card = "# Card\n\n- Decision: this.\n- Segmenter: a net.\n- Training:\n  - 3 epochs\n\n## Data\n";
        assert_eq!(told(card), "- Segmenter: a net.\n- Training:\n  - 3 epochs");
        assert_eq!(told("# Card\n"), "");
    }

    #[test]
    fn the_shipped_teacher_lends_its_segmenter_to_those_who_trust_it_alone() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/teachers/ct/thorax-ct.thorax");
        let shipped = Shipped::open(&path).unwrap();
        assert_eq!(shipped.modality, Modality::Ct);
        // Slices are equalised once, whatever its bundle did.
        assert!(matches!(shipped.preprocess.clahe, Equalisation::Once { .. }), "{:?}", shipped.preprocess);
        let side = shipped.preprocess.input_side as usize;
        assert_eq!(shipped.graph.input_shape, [1, side, side]);
        assert!(
            shipped.title.starts_with("thorax-ct ") && shipped.told.contains("input 256 x 256"),
            "{}",
            shipped.told
        );
        let stranger = bundle::SecretKey::from_seed(&mut [7; 32]).public_key();
        assert!(Shipped::read(&path, &TrustedKeys::only(stranger)).is_err());
        // What the device runs is of integers.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/ct/thorax-ct.thorax");
        let error = format!("{:#}", Shipped::open(&path).err().unwrap());
        assert!(error.contains("8-bit integers") && error.contains(&shipped.title), "{error}");
    }
}
