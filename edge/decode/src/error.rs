//! Why a file could not be decoded, and what to do about it.
//!
//! Every error has a cause and a remedy, told once, side by side, in [`DecodeError::reason`]; the message is made of them.

use thorax_shared::reason::Reason;

/// Every way in which decoding can fail. Each message gives the cause and then the remedy; the caller puts the name of
/// the file before it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum DecodeError {
    /// There is nothing at that path.
    Missing,
    /// The operating system does not let us read it.
    Unreadable(#[from] std::io::Error),
    /// A folder.
    Directory,
    /// A folder in which there is no image.
    NoImages,
    /// A device, a pipe or a socket.
    NotAFile,
    /// A file of no bytes.
    Empty,
    /// More bytes than [`Limits::max_file_bytes`](super::Limits::max_file_bytes).
    FileTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Readable text.
    Text,
    /// A well-known format that is not decoded.
    OtherFormat(&'static str),
    /// None of the formats that can be recognised.
    UnknownFormat,
    /// More pixels than [`Limits::max_pixels`](super::Limits::max_pixels), or none.
    Dimensions {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit, in pixels.
        limit: u64,
    },
    /// Would unpack to more than [`Limits::max_decoded_bytes`](super::Limits::max_decoded_bytes).
    TooMuchData {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file ends too early.
    Truncated {
        /// The file format.
        format: &'static str,
    },
    /// The bytes contradict the format.
    Damaged {
        /// The file format.
        format: &'static str,
        /// What the parser or decoder says.
        reason: String,
    },
    /// Well formed, but of a kind that is not read.
    Unsupported {
        /// The file format.
        format: &'static str,
        /// What is in the way.
        feature: String,
        /// What would be read.
        instead: &'static str,
    },
    /// A third-party decoder panicked; the panic was contained.
    DecoderFailed {
        /// The file format.
        format: &'static str,
    },
    /// A DICOM object without pixels: a report, a presentation state, a DICOMDIR ...
    NoPixelData,
    /// Pixel data in a transfer syntax that is not read.
    TransferSyntax {
        /// The transfer syntax's name in the standard.
        name: &'static str,
        /// Its UID.
        uid: String,
    },
    /// A DICOM modality other than CR, DX, RG and CT.
    Modality {
        /// The value of the attribute Modality (0008,0060).
        modality: String,
    },
    /// Several frames in one DICOM file.
    MultiFrame {
        /// The value of Number of Frames (0028,0008).
        frames: i64,
    },
    /// A CT image that is no axial slice.
    NotAxial {
        /// `coronal`, `sagittal` or `oblique`.
        plane: &'static str,
    },
    /// A CT image whose values cannot be turned into Hounsfield units.
    NoHounsfield {
        /// What they are instead, or what is missing.
        evidence: &'static str,
    },
    /// What a detector counted, before it was made a picture.
    ForProcessing,
    /// One of the slices that make a volume cannot be read.
    Slice {
        /// The name of its file.
        file: String,
        /// What is wrong with it.
        error: Box<DecodeError>,
    },
    /// A chest film that is no frontal view.
    NotFrontal {
        /// The attribute that says so, with its value.
        evidence: String,
    },
}

/// The formats that are read, as a remedy.
const SEND_AS: &str = "send the image as DICOM, NIfTI, PNG, JPEG or TIFF";
/// For what was damaged on its way.
const COPY_AGAIN: &str = "copy it again from where it came";

impl DecodeError {
    /// What is wrong with the file, and what to do about it.
    pub fn reason(&self) -> Reason {
        let with = |cause: String, remedy: &'static str| Reason::new(cause, remedy);
        match self {
            Self::Missing => Reason::new("no such file", "check the path"),
            Self::Unreadable(error) => {
                with(format!("cannot be read ({error})"), "check the medium and the file's permissions")
            }
            Self::Directory => Reason::new("a folder, not a file", "name one image in it"),
            Self::NoImages => Reason::new("a folder without an image", SEND_AS),
            Self::Slice { file, error } => {
                let Reason { cause, remedy } = error.reason();
                Reason { cause: format!("slice {file}: {cause}").into(), remedy }
            }
            Self::NotAFile => Reason::new("not a regular file", "copy the image to a disk first"),
            Self::Empty => Reason::new("the file is empty", COPY_AGAIN),
            Self::FileTooLarge { limit } => {
                with(format!("the file is larger than {limit} bytes"), "send one image or one volume a file")
            }
            Self::Text => Reason::new("a text file, not an image", SEND_AS),
            Self::OtherFormat(what) => with(format!("{what}, which is not read"), SEND_AS),
            Self::UnknownFormat => Reason::new("unknown format", SEND_AS),
            Self::Dimensions { width, height, limit } => with(
                format!("{width} x {height} pixels (1 to {limit} in all can be read)"),
                "send the image at its original size",
            ),
            Self::TooMuchData { limit } => {
                with(format!("unpacks to more than {limit} bytes"), "send fewer slices, or the image uncompressed")
            }
            Self::Truncated { format } => with(format!("the {format} file is cut short"), COPY_AGAIN),
            Self::Damaged { format, reason } => {
                with(format!("the {format} file is damaged ({reason})"), "copy or export it again")
            }
            Self::Unsupported { format, feature, instead } => {
                Reason::new(format!("{format} with {feature} is not read"), format!("export the image as {instead}"))
            }
            Self::DecoderFailed { format } => {
                with(format!("the {format} decoder gave up on damaged data"), "copy or export the file again")
            }
            Self::NoPixelData => {
                Reason::new("a DICOM file without pixel data", "send the image itself, not a report or a folder index")
            }
            Self::TransferSyntax { name, uid } => with(
                format!("the DICOM pixels are compressed as {name} ({uid}), which is not read"),
                "export as Explicit VR Little Endian, JPEG lossless or JPEG 2000",
            ),
            Self::Modality { modality } => {
                with(format!("DICOM modality {modality}"), "only chest radiographs (CR, DX, RG) and CT are read")
            }
            Self::MultiFrame { frames } => with(
                format!("{frames} frames in one DICOM file"),
                "export the series as single-frame images, or the frame to be read alone",
            ),
            Self::NotAxial { plane } => {
                with(format!("a {plane} CT image"), "only axial slices are read, send the axial series")
            }
            Self::NotFrontal { evidence } => with(
                format!("no upright frontal view ({evidence})"),
                "only frontal views (PA, AP) are read, send that film",
            ),
            Self::NoHounsfield { evidence } => with(
                format!("the CT values are no Hounsfield units ({evidence})"),
                "export the original slices with Rescale Slope and Intercept",
            ),
            Self::ForProcessing => Reason::new(
                "raw detector data (Presentation Intent Type FOR PROCESSING)",
                "send the processed film (FOR PRESENTATION)",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each; a new variant does not compile before it stands here too.
    fn one_of_each() -> Vec<DecodeError> {
        // What parsers really say: with colons, parentheses and tags.
        let reason = || "element (0028,0010): undefined length: 0xFFFFFFFF".to_owned();
        let all = vec![
            DecodeError::Missing,
            DecodeError::Unreadable(std::io::Error::other("I/O error: medium (sda1): not ready")),
            DecodeError::Directory,
            DecodeError::NotAFile,
            DecodeError::Empty,
            DecodeError::FileTooLarge { limit: 7 },
            DecodeError::Text,
            DecodeError::OtherFormat("a GIF picture"),
            DecodeError::UnknownFormat,
            DecodeError::Dimensions { width: 0, height: 3, limit: 7 },
            DecodeError::TooMuchData { limit: 7 },
            DecodeError::Truncated { format: "PNG" },
            DecodeError::Damaged { format: "DICOM", reason: reason() },
            DecodeError::Unsupported { format: "DICOM", feature: reason(), instead: "MONOCHROME2" },
            DecodeError::DecoderFailed { format: "TIFF" },
            DecodeError::NoPixelData,
            DecodeError::TransferSyntax { name: "MPEG2: Main Profile", uid: "1.2.840.10008.1.2.4.100".into() },
            DecodeError::Modality { modality: "US: ultrasound".into() },
            DecodeError::MultiFrame { frames: 3 },
            DecodeError::NotAxial { plane: "coronal" },
            DecodeError::NotFrontal { evidence: "View Position: LL".into() },
            DecodeError::NoHounsfield { evidence: "they are colours: red" },
            DecodeError::ForProcessing,
            DecodeError::NoImages,
            DecodeError::Slice { file: "IM7".into(), error: Box::new(DecodeError::Truncated { format: "DICOM" }) },
        ];
        let number = |error: &DecodeError| match error {
            DecodeError::Missing => 0,
            DecodeError::Unreadable(_) => 1,
            DecodeError::Directory => 2,
            DecodeError::NotAFile => 3,
            DecodeError::Empty => 4,
            DecodeError::FileTooLarge { .. } => 5,
            DecodeError::Text => 6,
            DecodeError::OtherFormat(_) => 7,
            DecodeError::UnknownFormat => 8,
            DecodeError::Dimensions { .. } => 9,
            DecodeError::TooMuchData { .. } => 10,
            DecodeError::Truncated { .. } => 11,
            DecodeError::Damaged { .. } => 12,
            DecodeError::Unsupported { .. } => 13,
            DecodeError::DecoderFailed { .. } => 14,
            DecodeError::NoPixelData => 15,
            DecodeError::TransferSyntax { .. } => 16,
            DecodeError::Modality { .. } => 17,
            DecodeError::MultiFrame { .. } => 18,
            DecodeError::NotAxial { .. } => 19,
            DecodeError::NotFrontal { .. } => 20,
            DecodeError::NoHounsfield { .. } => 21,
            DecodeError::ForProcessing => 22,
            DecodeError::NoImages => 23,
            DecodeError::Slice { .. } => 24,
        };
        assert!(all.iter().map(number).eq(0..=24));
        all
    }

    #[test]
    fn every_error_has_a_cause_and_a_remedy_and_a_message_of_both() {
        for error in one_of_each() {
            let Reason { cause, remedy } = error.reason();
            let remedy = remedy.unwrap_or_default();
            assert!(!cause.is_empty() && !remedy.is_empty(), "{error:?}");
            assert!(!cause.contains(&*remedy) && !cause.ends_with([':', '.', ' ']), "{error:?}: {cause}");
            assert!(!remedy.ends_with('.'), "{error:?}: {remedy}");
            assert_eq!(error.to_string(), format!("{cause}: {remedy}"));
        }
    }

    #[test]
    fn what_a_parser_says_stays_whole_in_the_cause() {
        let reason = "(0028,0010): no rows".to_owned();
        let told = DecodeError::Damaged { format: "DICOM", reason }.reason();
        assert_eq!(told.cause, "the DICOM file is damaged ((0028,0010): no rows)");
        assert_eq!(told.remedy.as_deref(), Some("copy or export it again"));
    }
}
