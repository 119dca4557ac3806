//! How a net that was judged was trained: to draw masks, or to find single lesions.

use serde::{Deserialize, Serialize};

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
