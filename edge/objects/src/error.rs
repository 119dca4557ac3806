//! Why an object could not be made, and what to do about it.

use thorax_shared::reason::Reason;

/// Every way in which making an object can fail. Each message gives the cause and then the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum ObjectError {
    /// The operating system does not let us read it.
    Io(#[from] std::io::Error),
    /// No Part 10 file.
    NotDicom,
    /// The file contradicts itself.
    Damaged(String),
    /// No DICOM file that can be read.
    Unreadable(#[from] Box<dicom_object::ReadError>),
    /// The source lacks an attribute without which nothing can refer to it.
    Missing(&'static str),
    /// An attribute of the source has a value that it cannot have.
    Invalid {
        /// The attribute.
        attribute: &'static str,
        /// Its value.
        value: String,
    },
    /// A mask has another size than the picture it was found in.
    MaskSize {
        /// Columns and rows of the mask.
        mask: (usize, usize),
        /// Columns and rows of the picture.
        picture: (usize, usize),
    },
    /// A frame that the source has not got.
    NoSuchFrame {
        /// The frame, counted from 1.
        frame: u32,
        /// Frames of the source.
        frames: u32,
    },
    /// One frame was given twice.
    FrameTwice {
        /// SOP Instance UID of the picture.
        instance: String,
        /// The frame, counted from 1.
        frame: u32,
    },
    /// Nothing was given to make an object of.
    Nothing(&'static str),
    /// Pictures of one object differ in what they must have in common.
    Differ(&'static str),
    /// Several pictures, and one of them does not say where in the patient it lies.
    NoPlace,
    /// A number that is none, or is out of its range.
    Number {
        /// What it tells.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// No date and time of the calendar.
    Moment,
    /// The pixels given do not fill the size given.
    PanelSize {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes given.
        bytes: usize,
    },
    /// More pixels than a DICOM object of this kind can have.
    TooLarge,
    /// De-identification was asked for something that is no picture.
    NotAPicture,
    /// The picture of a page is no PNG file.
    NotPng,
    /// The object could not be written.
    Write(#[from] Box<dicom_object::WriteError>),
    /// The object's head could not be made.
    Meta(#[from] Box<dicom_object::WithMetaError>),
}

impl ObjectError {
    /// Cause and remedy.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Io(error) => {
                Reason::new(format!("cannot be read ({error})"), "check that it is there, and the permissions")
            }
            Self::NotDicom => Reason::new(
                "not a DICOM file (no preamble with DICM behind it)",
                "send it from the device that took it, or from an archive",
            ),
            Self::Damaged(reason) => Reason::new(format!("a damaged DICOM file ({reason})"), "send it again"),
            Self::Unreadable(error) => {
                Reason::new(format!("not a DICOM file that can be read ({})", chain(error)), "send it again")
            }
            Self::Missing(attribute) => Reason::new(
                format!("the picture has no {attribute}"),
                "send it from the device that took it, or from an archive",
            ),
            Self::Invalid { attribute, value } => Reason::new(
                format!("the picture's {attribute} cannot be {value:?}"),
                "send it from the device that took it, or from an archive",
            ),
            Self::MaskSize { mask, picture } => Reason::new(
                format!("a mask of {} x {} pixels on a picture of {} x {}", mask.0, mask.1, picture.0, picture.1),
                "bring the mask to the picture's stored pixels first",
            ),
            Self::NoSuchFrame { frame, frames } => {
                Reason::new(format!("no frame {frame} in a picture of {frames}"), "count frames from 1")
            }
            Self::FrameTwice { instance, frame } => {
                Reason::new(format!("frame {frame} of {instance} was given twice"), "give each frame once")
            }
            Self::Nothing(what) => Reason::new(format!("no {what} was given"), "give one at least"),
            Self::Differ(what) => {
                Reason::new(format!("the pictures differ in {what}"), "make an object for each of them")
            }
            Self::NoPlace => Reason::new(
                "one of several pictures does not say where in the patient it lies",
                "make a segmentation for each of them",
            ),
            Self::Number { what, value } => {
                Reason::new(format!("{what} cannot be {value}"), "report this as a fault of Thorax")
            }
            Self::Moment => Reason::new("no date and time of the calendar", "set the device's clock"),
            Self::PanelSize { width, height, bytes } => Reason::new(
                format!("{bytes} bytes are no panel of {width} x {height} pixels"),
                "give three bytes a pixel, 1 to 65535 columns and rows, and panels of one size",
            ),
            Self::TooLarge => Reason::new("more pixels than one DICOM object can have", "give fewer frames"),
            Self::NotAPicture => Reason::new(
                "not a picture, and what other objects say in words cannot be cleaned",
                "export the pictures without it",
            ),
            Self::NotPng => Reason::new("a picture of the page is no PNG file", "give the bytes of a PNG file"),
            Self::Write(error) => {
                Reason::new(format!("the object could not be written ({})", chain(error)), "check that there is space")
            }
            Self::Meta(error) => Reason::new(
                format!("the object's head could not be made ({})", chain(error)),
                "report this as a fault of Thorax",
            ),
        }
    }
}

/// An error with those behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
