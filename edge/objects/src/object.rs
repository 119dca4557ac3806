//! What all objects have in common: patient and study of the source, a series of their own, the device, and their UIDs.

use std::{collections::BTreeMap, io::Write};

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    value::{DataSetSequence, DicomDate, DicomTime},
};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileDicomObject, InMemDicomObject, meta::FileMetaTableBuilder};
use sha2::{Digest, Sha256};

use crate::{
    ObjectError,
    set::{Set, is_text, plain, put, put_empty, put_items, standard_vr, texts},
    source::{Reference, Source},
    uid,
};

/// What every object says of itself.
pub const RESEARCH_USE: &str = "research use only, not a medical device";

/// Who made the device and its program.
pub(crate) const MANUFACTURER: &str = "Thorax project (research)";
/// What the device is called.
pub(crate) const MODEL: &str = "thorax-edge";

/// The device that makes the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// By which the device is known among its like.
    pub serial_number: String,
    /// Version of the program.
    pub software_version: String,
}

/// The bundle that read the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub sha256: [u8; 32],
}

impl Bundle {
    /// Its SHA-256 in lower-case hexadecimal.
    pub(crate) fn hexadecimal(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A date and a time of day, as the device's clock had it when the picture was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    date: DicomDate,
    time: DicomTime,
}

impl Moment {
    /// Year, month and day of the Gregorian calendar, hour, minute and second.
    ///
    /// # Errors
    /// [`ObjectError::Moment`] when there is no such moment.
    pub fn new(date: (u16, u8, u8), time: (u8, u8, u8)) -> Result<Self, ObjectError> {
        let (year, month, day) = date;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let made = (DicomDate::from_ymd(year, month, day), DicomTime::from_hms(time.0, time.1, time.2));
        match made {
            (Ok(date), Ok(time)) if day <= days && (1..=9999).contains(&year) => Ok(Self { date, time }),
            _ => Err(ObjectError::Moment),
        }
    }
}

/// Where objects come from: the same for all objects of one result.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// The device.
    pub device: Device,
    /// What read the picture.
    pub bundle: Bundle,
    /// When it was read. Keep it with the result: it is no part of what an object is known by, and the same object should not come
    /// with two times.
    pub moment: Moment,
}

/// A finished object.
#[derive(Clone, Debug)]
pub struct Object {
    reference: Reference,
    series: String,
    file: FileDicomObject<InMemDicomObject>,
}

impl Object {
    /// SOP Class UID.
    pub fn sop_class_uid(&self) -> &str {
        &self.reference.class
    }

    /// SOP Instance UID.
    pub fn sop_instance_uid(&self) -> &str {
        &self.reference.instance
    }

    /// Series Instance UID.
    pub fn series_instance_uid(&self) -> &str {
        &self.series
    }

    /// The data set, with its file meta information.
    pub fn file(&self) -> &FileDicomObject<InMemDicomObject> {
        &self.file
    }

    /// Writes it as a Part 10 file (PS3.10), explicit VR little endian.
    ///
    /// # Errors
    /// [`ObjectError::Write`].
    pub fn write(&self, to: impl Write) -> Result<(), ObjectError> {
        Ok(self.file.write_all(to).map_err(Box::new)?)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`ObjectError::Write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ObjectError> {
        let mut bytes = vec![];
        self.write(&mut bytes)?;
        Ok(bytes)
    }

    /// How others refer to it.
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }
}

/// A kind of object.
pub(crate) struct Kind {
    /// SOP Class UID.
    pub(crate) class: &'static str,
    /// Modality of its series.
    pub(crate) modality: &'static str,
    /// Series Number: one for each kind, far above those of scanners, so that a list shows them last.
    pub(crate) series_number: u32,
    /// Series Description, LO.
    pub(crate) description: &'static str,
}

/// What is copied from the source: the modules Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial
/// Study (PS3.3, C.7.1 and C.7.2). Of type 2 are those marked: they stand empty where the source has not got them.
const PATIENT_AND_STUDY: [(Tag, bool); 42] = [
    (tags::SPECIFIC_CHARACTER_SET, false),
    (tags::PATIENT_NAME, true),
    (tags::PATIENT_ID, true),
    (tags::ISSUER_OF_PATIENT_ID, false),
    (tags::TYPE_OF_PATIENT_ID, false),
    (tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE, false),
    (tags::PATIENT_BIRTH_DATE, true),
    (tags::PATIENT_BIRTH_TIME, false),
    (tags::PATIENT_SEX, true),
    (tags::OTHER_PATIENT_I_DS_SEQUENCE, false),
    (tags::OTHER_PATIENT_NAMES, false),
    (tags::PATIENT_COMMENTS, false),
    (tags::PATIENT_SPECIES_DESCRIPTION, false),
    (tags::PATIENT_IDENTITY_REMOVED, false),
    (tags::DEIDENTIFICATION_METHOD, false),
    (tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE, false),
    (tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, false),
    (tags::CLINICAL_TRIAL_SPONSOR_NAME, false),
    (tags::CLINICAL_TRIAL_PROTOCOL_ID, false),
    (tags::CLINICAL_TRIAL_PROTOCOL_NAME, false),
    (tags::CLINICAL_TRIAL_SITE_ID, false),
    (tags::CLINICAL_TRIAL_SITE_NAME, false),
    (tags::CLINICAL_TRIAL_SUBJECT_ID, false),
    (tags::CLINICAL_TRIAL_SUBJECT_READING_ID, false),
    (tags::CLINICAL_TRIAL_TIME_POINT_ID, false),
    (tags::CLINICAL_TRIAL_TIME_POINT_DESCRIPTION, false),
    (tags::STUDY_DATE, true),
    (tags::STUDY_TIME, true),
    (tags::REFERRING_PHYSICIAN_NAME, true),
    (tags::CONSULTING_PHYSICIAN_NAME, false),
    (tags::STUDY_ID, true),
    (tags::ACCESSION_NUMBER, true),
    (tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, false),
    (tags::STUDY_DESCRIPTION, false),
    (tags::PHYSICIANS_OF_RECORD, false),
    (tags::PROCEDURE_CODE_SEQUENCE, false),
    (tags::PATIENT_AGE, false),
    (tags::PATIENT_SIZE, false),
    (tags::PATIENT_WEIGHT, false),
    (tags::OCCUPATION, false),
    (tags::ADDITIONAL_PATIENT_HISTORY, false),
    (tags::ADMISSION_ID, false),
];

/// A copy of an element under the VR that the standard gives it; `None` where it is not there, or is of a VR in which its value
/// cannot be understood.
fn copied(from: &Set, tag: Tag) -> Option<DataElement<InMemDicomObject>> {
    let element = from.get(tag)?;
    let (vr, own) = (standard_vr(tag)?, element.header().vr);
    match element.value().items() {
        // The length of sequences is told anew: that of the source may be of another transfer syntax.
        Some(items) if vr == VR::SQ => Some(DataElement::new(tag, vr, DataSetSequence::from(items.to_vec()))),
        None if own == vr => Some(element.clone()),
        // The bytes of a text, which are written as they are.
        None if is_text(vr) && (is_text(own) || own == VR::UN) => {
            Some(DataElement::new(tag, vr, element.value().primitive()?.clone()))
        }
        _ => None,
    }
}

/// Whether the values of an element have the form of its VR (PS3.5, 6.2), for the VRs in which it matters.
fn is_well_formed(set: &Set, element: &DataElement<InMemDicomObject>) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let check: &dyn Fn(&str) -> bool = match element.header().vr {
        VR::AS => &|text| text.len() == 4 && digits(&text[..3]) && text.ends_with(['D', 'W', 'M', 'Y']),
        VR::DA => &|text| text.len() == 8 && digits(text),
        VR::DS => &|text| text.len() <= 16 && text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => return true,
    };
    texts(set, element.header().tag).unwrap_or_default().iter().all(|text| text.is_ascii() && check(text))
}

/// The beginning of an object of `kind`, of the patient and study of `source`.
///
/// The source's character set is kept, and so are the bytes of names: dicom-rs turns them into text by the first character set that
/// is named, and back by the same one; one that it does not know, or a second one, passes as Latin-1, which has a character for
/// every byte. What we write ourselves is ASCII, which all of DICOM's character sets have.
pub(crate) fn begin(kind: &Kind, source: &Source, provenance: &Provenance) -> Set {
    let mut set = Set::new_empty();
    for (tag, always) in PATIENT_AND_STUDY {
        // What a study goes by is handed on whatever it looks like; nobody misses an age that is none.
        match copied(source.set(), tag).filter(|element| always || is_well_formed(source.set(), element)) {
            Some(element) => drop(set.put(element)),
            None if always => put_empty(&mut set, tag),
            None => {}
        }
    }
    put(&mut set, tags::STUDY_INSTANCE_UID, source.study_instance_uid());
    put(&mut set, tags::SOP_CLASS_UID, kind.class);
    put(&mut set, tags::MODALITY, kind.modality);
    put(&mut set, tags::SERIES_NUMBER, kind.series_number.to_string());
    put(&mut set, tags::SERIES_DESCRIPTION, kind.description);
    put(&mut set, tags::INSTANCE_NUMBER, "1");
    put(&mut set, tags::MANUFACTURER, MANUFACTURER);
    put(&mut set, tags::MANUFACTURER_MODEL_NAME, MODEL);
    let Provenance { device, bundle, .. } = provenance;
    // Of type 1 in Enhanced General Equipment.
    let serial = Some(plain(&device.serial_number, 64)).filter(|serial| !serial.is_empty());
    put(&mut set, tags::DEVICE_SERIAL_NUMBER, serial.unwrap_or_else(|| "unknown".into()));
    let versions = [plain(&device.software_version, 64), algorithm(bundle), bundle.hexadecimal()];
    put(&mut set, tags::SOFTWARE_VERSIONS, PrimitiveValue::Strs(versions.into_iter().collect()));
    set
}

/// Name and version of a bundle, as an algorithm's name (LO).
pub(crate) fn algorithm(bundle: &Bundle) -> String {
    plain(&format!("Thorax {} {}", bundle.name, bundle.version), 64)
}

/// What an object of pixels has besides: it was derived from `sources`, maybe through a lossy compression.
pub(crate) fn derived_from(set: &mut Set, sources: &[&Source]) {
    // Which is not one of a pair, so that no Laterality is asked for (PS3.3, C.7.3.1).
    put(set, tags::BODY_PART_EXAMINED, "CHEST");
    put(set, tags::IMAGE_COMMENTS, format!("Thorax: {RESEARCH_USE}"));
    put_items(set, tags::SOURCE_IMAGE_SEQUENCE, sources.iter().map(|source| source.reference().item()).collect());
    // Once lossy is always lossy (PS3.3, C.7.6.1.1.5).
    let lossy = sources.iter().find(|source| source.is_lossy());
    put(set, tags::LOSSY_IMAGE_COMPRESSION, if lossy.is_some() { "01" } else { "00" });
    for tag in [tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD] {
        lossy.and_then(|source| copied(source.set(), tag)).map(|element| set.put(element));
    }
}

/// The instances of `sources`, by series in the order in which they come, with `tag` as the sequence of instances in a series.
pub(crate) fn by_series<'a>(sources: impl IntoIterator<Item = (&'a str, &'a Reference)>, tag: Tag) -> Vec<Set> {
    let mut order = vec![];
    let mut series: BTreeMap<&str, Vec<&Reference>> = BTreeMap::new();
    for (uid, reference) in sources {
        let instances = series.entry(uid).or_insert_with(|| {
            order.push(uid);
            vec![]
        });
        if !instances.contains(&reference) {
            instances.push(reference);
        }
    }
    let item = |uid: &&str| {
        let mut set = Set::new_empty();
        put_items(&mut set, tag, series[uid].iter().map(|reference| reference.item()).collect());
        put(&mut set, tags::SERIES_INSTANCE_UID, *uid);
        set
    };
    order.iter().map(item).collect()
}

/// The end of an object: UIDs from all that it says, then the date and time.
pub(crate) fn finish(set: Set, kind: &Kind, provenance: &Provenance) -> Result<Object, ObjectError> {
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let nameless = set.with_meta(meta.clone().media_storage_sop_instance_uid("")).map_err(Box::new)?;
    let mut hash = Sha256::new();
    nameless.write_dataset(&mut hash).map_err(Box::new)?;
    let hash: [u8; 32] = hash.finalize().into();
    let mut set = nameless.into_inner();
    let reference = Reference { class: kind.class.to_owned(), instance: uid::derived("instance", &[&hash]) };
    let series = uid::derived("series", &[&hash]);
    put(&mut set, tags::SOP_INSTANCE_UID, reference.instance.as_str());
    put(&mut set, tags::SERIES_INSTANCE_UID, series.as_str());
    put(&mut set, tags::CONTENT_DATE, PrimitiveValue::from(provenance.moment.date));
    put(&mut set, tags::CONTENT_TIME, PrimitiveValue::from(provenance.moment.time));
    Ok(Object { reference, series, file: set.with_meta(meta).map_err(Box::new)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_moment_is_one_of_the_calendar() {
        for date in [(2024, 2, 29), (2000, 2, 29), (1, 1, 1), (9999, 12, 31)] {
            assert!(Moment::new(date, (23, 59, 59)).is_ok(), "{date:?}");
        }
        for date in [
            (2023, 2, 29),
            (1900, 2, 29),
            (2026, 4, 31),
            (2026, 13, 1),
            (2026, 0, 1),
            (2026, 1, 0),
            (0, 1, 1),
            (10_000, 1, 1),
        ] {
            assert!(
                Moment::new(date, (0, 0, 0)).unwrap_err().to_string().contains("set the device's clock"),
                "{date:?}"
            );
        }
        for time in [(24, 0, 0), (0, 60, 0), (0, 0, 61)] {
            assert!(Moment::new((2026, 1, 1), time).is_err(), "{time:?}");
        }
    }

    #[test]
    fn instances_are_listed_once_by_series() {
        let references: Vec<Reference> =
            ["1.1", "1.2", "1.1"].map(|uid| Reference { class: "1".into(), instance: uid.into() }).into();
        let listed = by_series(["2.1", "2.2", "2.1"].into_iter().zip(&references), tags::REFERENCED_INSTANCE_SEQUENCE);
        let counts: Vec<usize> =
            listed.iter().map(|series| crate::set::items(series, tags::REFERENCED_INSTANCE_SEQUENCE).len()).collect();
        assert_eq!(counts, [1, 1]);
    }
}
