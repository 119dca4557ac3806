//! Why a file could not be decoded, and what to do about it.

/// Every way in which decoding can fail. Each message gives the reason and then the remedy; the caller puts the name of
/// the file before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There is nothing at that path.
    #[error("no such file: check the path")]
    Missing,
    /// The operating system does not let us read it.
    #[error("cannot be read ({0}): check the medium and the file's permissions")]
    Unreadable(#[from] std::io::Error),
    /// A folder.
    #[error("a folder, not a file: name one image in it")]
    Directory,
    /// A device, a pipe or a socket.
    #[error("not a regular file: copy the image to a disk first")]
    NotAFile,
    /// A file of no bytes.
    #[error("the file is empty: copy it again from where it came")]
    Empty,
    /// More bytes than [`Limits::max_file_bytes`](super::Limits::max_file_bytes).
    #[error("the file is larger than {limit} bytes: send one image or one volume a file")]
    FileTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Readable text.
    #[error("a text file, not an image: send the image as DICOM, NIfTI, PNG, JPEG or TIFF")]
    Text,
    /// A well-known format that is not decoded.
    #[error("{0}, which is not read: send the image as DICOM, NIfTI, PNG, JPEG or TIFF")]
    OtherFormat(&'static str),
    /// None of the formats that can be recognised.
    #[error("unknown format: send the image as DICOM, NIfTI, PNG, JPEG or TIFF")]
    UnknownFormat,
    /// More pixels than [`Limits::max_pixels`](super::Limits::max_pixels), or none.
    #[error("{width} x {height} pixels (1 to {limit} in all can be read): send the image at its original size")]
    Dimensions {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit, in pixels.
        limit: u64,
    },
    /// Would unpack to more than [`Limits::max_decoded_bytes`](super::Limits::max_decoded_bytes).
    #[error("unpacks to more than {limit} bytes: send fewer slices, or the image uncompressed")]
    TooMuchData {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file ends too early.
    #[error("the {format} file is cut short: copy it again from where it came")]
    Truncated {
        /// The file format.
        format: &'static str,
    },
    /// The bytes contradict the format.
    #[error("the {format} file is damaged ({reason}): copy or export it again")]
    Damaged {
        /// The file format.
        format: &'static str,
        /// What the parser or decoder says.
        reason: String,
    },
    /// Well formed, but of a kind that is not read.
    #[error("{format} with {feature} is not read: export the image as {instead}")]
    Unsupported {
        /// The file format.
        format: &'static str,
        /// What is in the way.
        feature: String,
        /// What would be read.
        instead: &'static str,
    },
    /// A third-party decoder panicked; the panic was contained.
    #[error("the {format} decoder gave up on damaged data: copy or export the file again")]
    DecoderFailed {
        /// The file format.
        format: &'static str,
    },
    /// A DICOM object without pixels: a report, a presentation state, a DICOMDIR ...
    #[error("a DICOM file without pixel data: send the image itself, not a report or a folder index")]
    NoPixelData,
    /// Pixel data in a transfer syntax that is not read.
    #[error(
        "the DICOM pixels are compressed as {name} ({uid}), which is not read: export as Explicit VR Little Endian, JPEG lossless or JPEG 2000"
    )]
    TransferSyntax {
        /// The transfer syntax's name in the standard.
        name: &'static str,
        /// Its UID.
        uid: String,
    },
    /// A DICOM modality other than CR, DX, RG and CT.
    #[error("DICOM modality {modality}: only chest radiographs (CR, DX, RG) and CT are read")]
    Modality {
        /// The value of the attribute Modality (0008,0060).
        modality: String,
    },
    /// Several frames in one DICOM file.
    #[error(
        "{frames} frames in one DICOM file: export the series as single-frame images, or the frame to be read alone"
    )]
    MultiFrame {
        /// The value of Number of Frames (0028,0008).
        frames: i64,
    },
    /// A CT image that is no axial slice.
    #[error("a {plane} CT image: only axial slices are read, send the axial series")]
    NotAxial {
        /// `coronal`, `sagittal` or `oblique`.
        plane: &'static str,
    },
    /// A chest film that is no frontal view.
    #[error("a lateral view ({evidence}): only frontal views (PA, AP) are read, send that film")]
    NotFrontal {
        /// The attribute that says so, with its value.
        evidence: String,
    },
}
