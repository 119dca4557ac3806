//! The kind of picture that is looked at, its words, and their parsing.

use serde::{Deserialize, Serialize};

/// The kind of picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// A projection radiograph of the chest (DICOM modalities CR and DX).
    Xray,
    /// One axial slice of a computed tomography of the chest.
    Ct,
}

impl Modality {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xray, Self::Ct];

    /// `xray` or `ct`, as on the command line and in every file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xray => "xray",
            Self::Ct => "ct",
        }
    }

    /// `X-ray` or `CT`, as on the screen.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Xray => "X-ray",
            Self::Ct => "CT",
        }
    }
}

impl core::fmt::Display for Modality {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Modality`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected xray or ct")]
pub struct UnknownModality;

impl core::str::FromStr for Modality {
    type Err = UnknownModality;

    /// Reads [`Modality::as_str`].
    fn from_str(text: &str) -> Result<Self, UnknownModality> {
        Self::ALL.into_iter().find(|modality| modality.as_str() == text).ok_or(UnknownModality)
    }
}
