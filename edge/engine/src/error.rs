//! What can go wrong between a picture and its verdict, and whose fault it is.
//!
//! A picture that cannot be read is that picture's answer, and screening goes on with the next one ([`PictureError`]). A graph
//! that cannot run would refuse every picture to come, one after the other, as if the hospital's images were bad: that is the
//! device's failure, and ends the program ([`DeviceError`]). The two are types of their own, so that nobody mistakes one for the
//! other; [`ScreenError`] is the one or the other.

use std::path::PathBuf;

use thorax_shared::{
    bundle::BundleError, modality::Modality, preprocess::PreprocessError, reason::Reason, uncertainty::UncertaintyError,
};

/// What is wrong with a picture, or with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum PictureError {
    /// It has no pixels.
    NoPixels,
    /// The volume has no slices.
    NoSlices,
    /// No bundle of this device reads this kind of image; others may still be read.
    NoBundle(Modality),
}

impl PictureError {
    /// What is wrong, and what to do about it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoPixels => Reason::new("the picture has no pixels", "send it again"),
            Self::NoSlices => Reason::new("the volume has no slices", "export it again"),
            Self::NoBundle(modality) => {
                Reason::new(format!("no bundle for {modality} images is loaded"), "give one with --bundle")
            }
        }
    }
}

/// What is wrong with the device: no picture can be read before somebody has mended it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum DeviceError {
    /// The file of a bundle cannot be read.
    Read {
        /// The bundle.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file is no bundle to be trusted.
    Bundle {
        /// The bundle.
        path: PathBuf,
        /// What is wrong with it, with its remedy.
        reason: BundleError,
    },
    /// The device has no bundle at all.
    NoBundles,
    /// A bundle's recipe cannot be followed.
    Recipe {
        /// Name and version of the bundle.
        bundle: String,
        /// What is wrong with it.
        reason: PreprocessError,
    },
    /// tract cannot run a graph, or the graph answers something else than its manifest says.
    Graph {
        /// Name and version of the bundle.
        bundle: String,
        /// Its file.
        path: PathBuf,
        /// Which graph.
        graph: &'static str,
        /// What tract said, or what is wrong with the answer.
        reason: String,
    },
    /// A bundle answers otherwise than its signer's machine did.
    Golden {
        /// Name and version of the bundle.
        bundle: String,
        /// Of the phantom.
        seed: u64,
        /// The probability that its signer's machine gave.
        expected: String,
        /// The one of this device.
        found: String,
    },
    /// A model's answer is no probability.
    Answer {
        /// Name and version of the bundle.
        bundle: String,
        /// What is wrong with it.
        reason: UncertaintyError,
    },
}

impl DeviceError {
    /// What is wrong, and what to do about it.
    pub fn reason(&self) -> Reason {
        let another = "install a bundle made for this version";
        match self {
            Self::Read { path, reason } => {
                Reason::new(format!("{} cannot be read ({reason})", path.display()), "check the path of the bundle")
            }
            // A bundle's errors tell their remedy themselves.
            Self::Bundle { path, reason } => Reason::without_remedy(format!("{}: {reason}", path.display())),
            Self::NoBundles => Reason::new("the device has no bundle", "give one with --bundle"),
            Self::Recipe { bundle, reason } => {
                Reason::new(format!("the recipe of bundle {bundle} cannot be followed ({reason})"), another)
            }
            Self::Graph { bundle, path, graph, reason } => Reason::new(
                format!("the {graph} of bundle {bundle} ({}) cannot be run ({reason})", path.display()),
                another,
            ),
            Self::Golden { bundle, seed, expected, found } => Reason::new(
                format!("bundle {bundle} fails its self-test (phantom {seed}: {found}, not {expected})"),
                "use no verdict of this device; install the program and the bundle anew, and report it if it fails again",
            ),
            Self::Answer { bundle, reason } => Reason::new(
                format!("the answer of bundle {bundle} means nothing ({reason})"),
                "install another bundle, and report this one with the file",
            ),
        }
    }
}

/// Why a picture has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The picture's fault: its row says so, and the next picture is read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The device's fault: nothing more is read.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
