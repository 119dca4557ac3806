//! What Thorax can say of a picture, and why it does not say more.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The four things Thorax can say of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The probability of the disease is at or above the upper threshold.
    Positive,
    /// The probability of the disease is below the lower threshold.
    Negative,
    /// The image was read, but a person has to decide.
    Refer(ReferReason),
    /// The image was not read, or its reading means nothing.
    Rejected(RejectReason),
}

impl Verdict {
    /// `positive`, `negative`, `refer` or `rejected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Refer(_) => "refer",
            Self::Rejected(_) => "rejected",
        }
    }

    /// Why a person has to decide, or why the image was not read; `None` for *positive* and *negative*.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Refer(why) => Some(why.reason()),
            Self::Rejected(why) => Some(why.reason()),
            Self::Positive | Self::Negative => None,
        }
    }
}

/// Why a person has to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReferReason {
    /// The probability lies between the two thresholds.
    AbstainZone,
    /// The ensemble's entropy is above the calibrated limit.
    HighEntropy,
    /// The image is at the border of what the models were trained on.
    Unfamiliar,
    /// The file does not say how the picture hangs, though files of its kind have to.
    OrientationUnknown,
    /// The file names a view of the chest that is not known to be a frontal one.
    ViewUnknown,
    /// The CT values are not those of a chest, which has air and soft tissue.
    NotOfAChest,
}

impl ReferReason {
    /// Every one, in the order of their numbers in the encoding.
    pub const ALL: [Self; 6] = [
        Self::AbstainZone,
        Self::HighEntropy,
        Self::Unfamiliar,
        Self::OrientationUnknown,
        Self::ViewUnknown,
        Self::NotOfAChest,
    ];

    /// In words. There is no remedy: another picture of the same chest may say no more.
    pub fn reason(self) -> Reason {
        Reason::without_remedy(match self {
            Self::AbstainZone => "probability between the two thresholds",
            Self::HighEntropy => "the ensemble is too uncertain",
            Self::Unfamiliar => "at the border of what the models were trained on",
            Self::OrientationUnknown => "the file does not say how the picture hangs",
            Self::NotOfAChest => "the CT values are not those of a chest",
            Self::ViewUnknown => "the file names no view known as frontal",
        })
    }
}

impl core::fmt::Display for ReferReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.reason().fmt(f)
    }
}

/// Why an image that could be decoded is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// Fewer pixels than anything can be seen in.
    TooSmall,
    /// Edges are washed out.
    Blurred,
    /// Nearly all pixels are dark.
    Underexposed,
    /// Nearly all pixels are bright.
    Overexposed,
    /// Hardly any difference between dark and bright.
    LowContrast,
    /// A handful of grey values: a mask, a drawing, a page of black and white dots.
    FewGreyLevels,
    /// Much longer than wide or wider than long: not a whole chest.
    Shape,
    /// A colour photograph.
    Colour,
    /// Air is bright and bone dark.
    Negative,
    /// On its side or upside down.
    Turned,
    /// Unlike anything that the models were trained on.
    OutOfDistribution,
    /// Most of it is a frame of one grey: a screenshot, a page with a small picture.
    Framed,
    /// A chest seen from the side.
    NotFrontal,
    /// A child's chest.
    Child,
    /// A CT slice in a window for soft tissue, in which lung is black.
    SoftTissueWindow,
}

impl RejectReason {
    /// Every one, in the order of their numbers in the encoding.
    pub const ALL: [Self; 15] = [
        Self::TooSmall,
        Self::Blurred,
        Self::Underexposed,
        Self::Overexposed,
        Self::LowContrast,
        Self::FewGreyLevels,
        Self::Shape,
        Self::Colour,
        Self::Negative,
        Self::Turned,
        Self::OutOfDistribution,
        Self::Framed,
        Self::NotFrontal,
        Self::Child,
        Self::SoftTissueWindow,
    ];

    /// In words: what is wrong with the image, and what to do.
    pub fn reason(self) -> Reason {
        let (cause, remedy) = match self {
            Self::TooSmall => ("too few pixels", "send the original, not a thumbnail"),
            Self::Blurred => ("too blurred", "take or scan the image again"),
            Self::Underexposed => ("too dark", "take or export it again with normal brightness"),
            Self::Overexposed => ("too bright", "take or export it again with normal brightness"),
            Self::LowContrast => ("too little contrast", "take or export it again with normal brightness"),
            Self::FewGreyLevels => ("few grey levels, as in a mask, a drawing or a fax", "send the image itself"),
            Self::Shape => ("not the shape of a whole chest image", "send it uncropped"),
            Self::Colour => ("a colour picture, not a radiograph", "send the image itself"),
            Self::Negative => ("looks like a negative", "send it with air dark and bone bright"),
            Self::Turned => ("looks turned on its side or upside down", "send it upright"),
            Self::Framed => ("a small picture in a wide frame", "send it without the frame, or the original"),
            Self::NotFrontal => ("looks like a film from the side", "send the frontal film"),
            Self::Child => ("looks like the film of a child", "have a person read it: the models know adults only"),
            Self::SoftTissueWindow => {
                ("looks like a slice in a soft-tissue window", "send it in a lung window, or with CT values")
            }
            Self::OutOfDistribution => {
                ("does not look like a chest X-ray or CT slice", "check that it is the right file")
            }
        };
        Reason::new(cause, remedy)
    }
}

impl core::fmt::Display for RejectReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.reason().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_reasons_are_complete() {
        for (number, reason) in ReferReason::ALL.iter().enumerate() {
            assert_eq!(postcard::to_allocvec(reason), Ok([number as u8].into()));
        }
        for (number, reason) in RejectReason::ALL.iter().enumerate() {
            assert_eq!(postcard::to_allocvec(reason), Ok([number as u8].into()));
        }
        // There is none behind the last.
        assert!(postcard::from_bytes::<ReferReason>(&[ReferReason::ALL.len() as u8]).is_err());
        assert!(postcard::from_bytes::<RejectReason>(&[RejectReason::ALL.len() as u8]).is_err());
    }
}
