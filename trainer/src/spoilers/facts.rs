//! What a picture and its file tell without a look at the lungs.

use std::{fs::File, io::Read as _, path::Path};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use thorax_shared::preprocess::Pixels;

use crate::data::{Manifest, Record, address::Address, picture::Picture};

/// The fact that tells of blur.
pub(super) const SHARPNESS: &str = "sharpness";

/// A fact's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Word(String),
    Number(f64),
}

/// What a picture tells; `None` where it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Name and value, in one order for all pictures.
    pub(super) values: Vec<(&'static str, Option<Value>)>,
    /// Whether there is a line of letters.
    pub(super) letters: bool,
    /// How sharp it is, as the device's quality gate measures it.
    pub(super) sharpness: f32,
}

impl Facts {
    pub(super) fn of(manifest: &Manifest, record: &Record, picture: &Picture, sharpness: f32, letters: bool) -> Self {
        let path = manifest.locate(&record.path);
        let (width, height) = picture.frame.stored_size;
        let (width, height) = (width.max(1) as f64, height.max(1) as f64);
        let word = |word: &str| Some(Value::Word(word.to_owned()));
        let bits = match picture.frame.pixels {
            Pixels::Eight(_) => "8",
            Pixels::Sixteen(_) => "more than 8",
            Pixels::Hounsfield(_) => "Hounsfield units",
        };
        let whole = Address::of(&record.path).slice.is_none();
        let bytes = path.metadata().ok().filter(|_| whole).map(|metadata| metadata.len() as f64 / (width * height));
        let format = format(&path);
        let header = format.filter(|format| *format == DICOM).and_then(|_| Header::of(&path));
        let values = vec![
            ("source", word(&record.source)),
            ("longer side", Some(Value::Number(width.max(height)))),
            ("width to height", Some(Value::Number((width / height * 100.0).round() / 100.0))),
            ("bits", word(bits)),
            ("format", format.and_then(word)),
            ("bytes a pixel", bytes.map(|bytes| Value::Number((bytes * 100.0).round() / 100.0))),
            ("view", header.as_ref().and_then(|header| word(header.view.as_deref()?))),
            ("age", header.as_ref().and_then(|header| header.age.map(Value::Number))),
            ("sex", header.as_ref().and_then(|header| word(header.sex.as_deref()?))),
            ("burned-in text", word(if letters { "yes" } else { "no" })),
            (SHARPNESS, Some(Value::Number(f64::from(sharpness)))),
        ];
        Self { values, letters, sharpness }
    }
}

const DICOM: &str = "DICOM";

/// What a file is by its first bytes.
fn format(path: &Path) -> Option<&'static str> {
    let mut begin = [0; 132];
    let read = File::open(path).ok()?.take(132).read(&mut begin).ok()?;
    Some(match &begin[..read] {
        [0xFF, 0xD8, 0xFF, ..] => "JPEG",
        [0x89, b'P', b'N', b'G', ..] => "PNG",
        [b'I', b'I', b'*', ..] | [b'M', b'M', 0, b'*', ..] => "TIFF",
        [.., b'D', b'I', b'C', b'M'] => DICOM,
        [0x1F, 0x8B, ..] | [0x5C, 1, 0, 0, ..] | [0, 0, 1, 0x5C, ..] => "NIfTI",
        _ => return None,
    })
}

/// What a DICOM file says.
struct Header {
    view: Option<String>,
    age: Option<f64>,
    sex: Option<String>,
}

impl Header {
    fn of(path: &Path) -> Option<Self> {
        let header = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).ok()?;
        let text = |tag| {
            let text = header.element(tag).ok()?.to_str().ok()?.trim().trim_end_matches('\0').to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        // `043Y` (DICOM PS3.5, AS); months, weeks and days are less than a year.
        let age = text(tags::PATIENT_AGE).and_then(|age| match age.split_at_checked(3) {
            Some((number, "Y")) => number.parse().ok(),
            Some((_, "M" | "W" | "D")) => Some(0.0),
            _ => None,
        });
        Some(Self { view: text(tags::VIEW_POSITION), age, sex: text(tags::PATIENT_SEX) })
    }
}
