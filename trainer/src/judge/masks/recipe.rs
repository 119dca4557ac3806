//! How a net that was judged was trained: to draw masks, or to find single lesions.

use serde::{Deserialize, Serialize};

use thorax_shared::modality::Modality;

use crate::{instance::run::InstanceRunConfig, segmentation::run::SegmentConfig};

/// The configuration of a run; which of the two it is, its fields tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Recipe {
    /// Of `train instance`. It knows all its fields, so it is tried first.
    Instance(Box<InstanceRunConfig>),
    /// Of `train segment`.
    Segment(Box<SegmentConfig>),
}

impl From<InstanceRunConfig> for Recipe {
    fn from(config: InstanceRunConfig) -> Self {
        Self::Instance(Box::new(config))
    }
}

impl From<SegmentConfig> for Recipe {
    fn from(config: SegmentConfig) -> Self {
        Self::Segment(Box::new(config))
    }
}

impl Recipe {
    /// The net in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Instance(config) => config.instance_net.describe().to_owned(),
            Self::Segment(config) => config.net.describe(),
        }
    }

    /// That of a segmentation net.
    pub fn segment(&self) -> Option<&SegmentConfig> {
        match self {
            Self::Instance(_) => None,
            Self::Segment(config) => Some(config),
        }
    }

    /// Whose pictures.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Instance(config) => config.modality,
            Self::Segment(config) => config.modality,
        }
    }

    /// Passes over the training pictures.
    pub fn epochs(&self) -> usize {
        match self {
            Self::Instance(config) => config.epochs,
            Self::Segment(config) => config.epochs,
        }
    }

    /// Width and height of the net's input.
    pub fn side(&self) -> u32 {
        match self {
            Self::Instance(config) => config.preprocess.input_side,
            Self::Segment(config) => config.preprocess.input_side,
        }
    }

    /// Pictures that an epoch draws beside those with masks.
    pub fn drawn(&self) -> usize {
        match self {
            Self::Instance(config) => config.healthy,
            Self::Segment(config) => {
                config.healthy + config.boxed + config.taught.as_ref().map_or(0, |taught| taught.pictures)
            }
        }
    }

    /// Where the weights of its encoder or backbone are from; `None` for a net that has none of its own.
    pub fn weights(&self) -> Option<&str> {
        match self {
            Self::Instance(config) => Some(&config.backbone[0]),
            Self::Segment(config) => config.encoder.as_ref().map(|[origin, _]| origin.as_str()),
        }
    }

    /// Whether it began with the weights of another training of the whole net.
    pub fn started(&self) -> bool {
        match self {
            Self::Instance(config) => config.start_sha256.is_some(),
            Self::Segment(config) => config.start_sha256.is_some(),
        }
    }

    /// The hash of the manifest that it learnt from.
    pub fn manifest_sha256(&self) -> &str {
        match self {
            Self::Instance(config) => &config.manifest_sha256,
            Self::Segment(config) => &config.manifest_sha256,
        }
    }

    /// What the rounds of a cross-validation have in common: all but data and seed.
    pub fn of_a_round(&self) -> Self {
        let manifest_sha256 = String::new();
        match self {
            Self::Instance(config) => {
                InstanceRunConfig { manifest_sha256, healthy_sha256: None, ..config.without_seed() }.into()
            }
            Self::Segment(config) => {
                SegmentConfig { manifest_sha256, healthy_sha256: None, ..config.without_seed() }.into()
            }
        }
    }
}
