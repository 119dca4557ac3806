//! Where a backbone's weights come from, as the command line names it: a file, the Hugging Face Hub, or a seed.
//!
//! Whatever it was, the result is known by the SHA-256 of the file, which feature stores, runs and bundles keep, so that later
//! commands refuse other weights.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use candle_core::Device;
use sha2::{Digest, Sha256};
use thorax_files::{ReadError, file_sha256, hexadecimal};

use super::{
    backbones::{Backbone, BackboneWeights, Pretrained, reduction::Reduction},
    hub::{Hub, HubError},
    weights::{self, WeightsError},
};

/// Weights that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Hub, or what came from it.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// The option that names weights.
#[derive(Clone, Debug, clap::Args)]
pub struct WeightsArgs {
    /// The backbone's weights: a .safetensors file, `hub`, hub:OWNER/NAME[@REVISION], or random:SEED
    ///
    /// A file may have timm's, torchvision's or Keras's names (trainer/scripts/keras_to_safetensors.py converts .h5 files).
    /// `hub` is the backbone's repository on the Hugging Face Hub (`thorax-train backbones` lists them); REVISION is a branch, a
    /// tag, or a commit, which never changes. Files from the Hub are kept in its usual cache (HF_HOME, HF_HUB_CACHE) and their
    /// SHA-256 is checked; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are respected. random:SEED draws weights, for measuring and
    /// testing.
    // Commands that can do without weights flatten an `Option` of this; clap tells the others' users that it is missing.
    #[arg(long, value_name = "SOURCE", required = false)]
    weights: Wanted,
}

/// The option for the size of a backbone's pictures.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct SideArgs {
    /// Width and height of the backbone's pictures; smaller ones are faster, and show less [default: those that its weights learnt from; of
    /// published weights `thorax-train backbones` lists them]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=1024))]
    side: Option<u16>,
}

impl SideArgs {
    /// The side that was asked for.
    pub fn asked(self) -> Option<usize> {
        self.side.map(usize::from)
    }
}

/// What the option says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    File(PathBuf),
    /// A repository, the backbone's own if none is named, and its branch, tag or commit.
    Hub {
        repository: Option<String>,
        revision: String,
    },
    Drawn(u64),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(seed) = text.strip_prefix("random:") {
            return seed.parse().map(Self::Drawn).map_err(|_| "expected random:SEED, such as random:1".into());
        }
        let hub = |name: &str| {
            let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
            // They become parts of an address and of a path.
            let plain = |part: &str| {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                !part.is_empty() && part.bytes().all(allowed) && !part.contains("..") && part != "."
            };
            let named = repository.is_empty() || repository.split('/').count() == 2 && repository.split('/').all(plain);
            if !named || !revision.split('/').all(plain) {
                return Err("expected hub, hub:OWNER/NAME or hub:OWNER/NAME@REVISION".to_owned());
            }
            let repository = (!repository.is_empty()).then(|| repository.to_owned());
            Ok(Self::Hub { repository, revision: revision.to_owned() })
        };
        match text.strip_prefix("hub") {
            Some("") => return hub(""),
            Some(rest) if rest.starts_with('@') => return hub(rest),
            Some(rest) if rest.starts_with(':') => {
                return hub(&rest[1..]).and_then(|wanted| match wanted {
                    Self::Hub { repository: None, .. } => Err("expected hub:OWNER/NAME".to_owned()),
                    wanted => Ok(wanted),
                });
            }
            _ => {}
        }
        let path = PathBuf::from(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("h5" | "hdf5") => {
                Err("this is a Keras file; convert it with trainer/scripts/keras_to_safetensors.py".into())
            }
            Some("keras") => {
                Err("this is a whole Keras model; save its weights (model.save_weights) and convert them with \
                                  trainer/scripts/keras_to_safetensors.py"
                    .into())
            }
            Some("pt" | "pth" | "bin") => {
                Err("this is a pickle of PyTorch; save it with safetensors.torch.save_file(model.state_dict(), ...)"
                    .into())
            }
            _ => Ok(Self::File(path)),
        }
    }
}

/// Whether weights of this [origin](Source::origin) were drawn, and have seen no picture.
pub fn are_drawn(origin: &str) -> bool {
    origin.starts_with("random:")
}

/// Weights that are at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// In words: a file's name, `hub:OWNER/NAME@COMMIT`, or `random:SEED (random weights)`.
    pub origin: String,
    /// SHA-256 of the file, or of the words for drawn weights; hexadecimal.
    pub sha256: String,
    /// What they are made of.
    pub kind: SourceKind,
}

/// What weights are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A safetensors file.
    File(PathBuf),
    /// Drawn from a seed.
    Drawn(u64),
}

impl FromStr for WeightsArgs {
    type Err = String;

    /// For commands that take weights in options of other names.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { weights: text.parse()? })
    }
}

impl WeightsArgs {
    /// Sees that the weights of `backbone` are at hand, fetches them if need be, and notes on standard error where they are from.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn resolve(&self, backbone: Backbone) -> Result<Source, SourceError> {
        let source = match &self.weights {
            Wanted::File(path) => Source::file(path)?,
            Wanted::Hub { repository, revision } => {
                let repository = repository.as_deref().unwrap_or(backbone.hub_repository());
                let fetched = Hub::from_environment()?.fetch(repository, revision)?;
                Source {
                    origin: format!("hub:{repository}@{}", fetched.commit),
                    sha256: fetched.sha256,
                    kind: SourceKind::File(fetched.path),
                }
            }
            &Wanted::Drawn(seed) => Source::drawn(backbone, seed),
        };
        eprintln!("weights of {backbone}: {}, SHA-256 {}", source.origin, source.sha256);
        Ok(source)
    }
}

impl Source {
    fn file(path: &Path) -> Result<Self, ReadError> {
        let sha256 = hexadecimal(&file_sha256(path)?);
        let origin = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { origin, sha256, kind: SourceKind::File(path.to_owned()) })
    }

    fn drawn(backbone: Backbone, seed: u64) -> Self {
        let sha256 = hexadecimal(&Sha256::digest(format!("{backbone} random:{seed}")));
        Self { origin: format!("random:{seed} (random weights)"), sha256, kind: SourceKind::Drawn(seed) }
    }

    /// The weights, of as much of the net as the file says.
    ///
    /// # Errors
    /// [`WeightsError`] when they are another net's.
    pub fn weights(&self, backbone: Backbone, device: &Device) -> Result<BackboneWeights, WeightsError> {
        match &self.kind {
            SourceKind::File(path) => {
                let tensors = weights::read(path, backbone.name(), device)?;
                backbone.weights_of(&tensors, Reduction::of(path)?).map_err(|error| error.in_file(path))
            }
            SourceKind::Drawn(seed) => backbone.drawn_weights(*seed, device),
        }
    }

    /// The net with these weights, for inference on pictures of `side` x `side`.
    ///
    /// # Errors
    /// [`WeightsError`] when they are another net's, and a side that is too small for it.
    pub fn open(&self, backbone: Backbone, side: usize, device: &Device) -> Result<Pretrained, WeightsError> {
        self.weights(backbone, device)?.pretrained(side)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_mistakes_told() {
        let hub = |repository: Option<&str>, revision: &str| Wanted::Hub {
            repository: repository.map(str::to_owned),
            revision: revision.into(),
        };
        for (text, expected) in [
            ("hub", hub(None, "main")),
            ("hub@refs/pr/1", hub(None, "refs/pr/1")),
            ("hub:timm/resnet50.a1_in1k", hub(Some("timm/resnet50.a1_in1k"), "main")),
            ("hub:timm/resnet50.a1_in1k@0123abcd", hub(Some("timm/resnet50.a1_in1k"), "0123abcd")),
            ("random:7", Wanted::Drawn(7)),
            ("./hub", Wanted::File("./hub".into())),
            ("weights/net.safetensors", Wanted::File("weights/net.safetensors".into())),
            ("hubble.safetensors", Wanted::File("hubble.safetensors".into())),
        ] {
            assert_eq!(text.parse::<Wanted>().as_ref(), Ok(&expected), "{text}");
        }
        for (text, words) in [
            ("random:", "random:SEED"),
            ("random:x", "random:SEED"),
            ("hub:", "OWNER/NAME"),
            ("hub:@main", "OWNER/NAME"),
            ("hub:resnet50", "OWNER/NAME"),
            ("hub:a/b/c", "OWNER/NAME"),
            ("hub:../..", "OWNER/NAME"),
            ("hub:timm/resnet50@", "REVISION"),
            ("hub:timm/resnet50@../x", "REVISION"),
            ("hub:timm/res net", "OWNER/NAME"),
            ("net.h5", "keras_to_safetensors.py"),
            ("net.keras", "save_weights"),
            ("net.pth", "safetensors.torch"),
        ] {
            let error = text.parse::<Wanted>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_source_is_known_by_its_hash() {
        let resolve = |text: &str, backbone| WeightsArgs { weights: text.parse().unwrap() }.resolve(backbone);
        let drawn = resolve("random:1", Backbone::EfficientNetLite(0)).unwrap();
        assert!(drawn.origin.contains("random weights") && are_drawn(&drawn.origin) && !are_drawn("net.safetensors"));
        for other in [
            resolve("random:2", Backbone::EfficientNetLite(0)).unwrap(),
            resolve("random:1", Backbone::ResNet50).unwrap(),
        ] {
            assert_ne!(drawn.sha256, other.sha256);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        let error = resolve(path.to_str().unwrap(), Backbone::ResNet50).unwrap_err().to_string();
        assert!(error.contains("net.safetensors"), "{error}");
        std::fs::write(&path, b"abc").unwrap();
        let file = resolve(path.to_str().unwrap(), Backbone::ResNet50).unwrap();
        assert_eq!(file.origin, "net.safetensors");
        assert_eq!(file.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(file.open(Backbone::ResNet50, 224, &Device::Cpu).is_err());
    }

    #[test]
    fn drawn_weights_are_the_backbones() {
        let source = Source::drawn(Backbone::EfficientNetLite(0), 3);
        let net = source.open(Backbone::EfficientNetLite(0), 96, &Device::Cpu).unwrap();
        assert_eq!((net.backbone, net.graph.input_shape), (Backbone::EfficientNetLite(0), [3, 96, 96]));
    }
}
