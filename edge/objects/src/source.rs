//! A picture that was read: its data set, without the pixels.
//!
//! Objects refer to it, are of the same patient and study, and lie on its pixels. So what is asked here is who it is, how large it
//! is, and where in the patient each of its frames lies. Nothing of it is repaired: what a hospital's systems go by (names,
//! identifiers, dates) is handed on as it came.

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use crate::{
    ObjectError,
    code::{self, Code},
    part10,
    set::{Set, items, put, text, texts},
    uid::is_uid,
};

/// Where pixel data of any kind begins.
const PIXELS: Tag = Tag(0x7fe0, 0x0000);

/// A picture's data set, without pixels. It may have several frames.
#[derive(Clone, Debug)]
pub struct Source {
    set: InMemDicomObject,
    reference: Reference,
    study: String,
    series: String,
    frame_of_reference: Option<String>,
    columns: usize,
    rows: usize,
    frames: u32,
}

/// Who a patient is. What the file does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patient {
    /// Patient's Name (0010,0010), its parts apart by spaces.
    pub name: String,
    /// Patient ID (0010,0020).
    pub id: String,
    /// Patient's Birth Date (0010,0030), `YYYYMMDD`.
    pub birth_date: String,
}

/// An instance: its class and its UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) class: String,
    pub(crate) instance: String,
}

impl Reference {
    /// As the item of a sequence of references.
    pub(crate) fn item(&self) -> Set {
        let mut set = Set::new_empty();
        put(&mut set, tags::REFERENCED_SOP_CLASS_UID, self.class.as_str());
        put(&mut set, tags::REFERENCED_SOP_INSTANCE_UID, self.instance.as_str());
        set
    }
}

/// Where in the patient a frame lies: Image Position and Image Orientation (Patient), PS3.3, C.7.6.2.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// The six numbers of the orientation, as they were written.
    pub(crate) orientation: Vec<String>,
    /// The three of the position, in millimetres, as they were written.
    pub(crate) position: Vec<String>,
    /// How far along the normal of the first frame's plane it lies is told by these.
    cosines: [f64; 6],
    millimetres: [f64; 3],
}

impl Place {
    /// Millimetres along the normal of `plane`.
    pub(crate) fn along(&self, plane: &Self) -> f64 {
        let [a, b, c, d, e, f] = plane.cosines;
        let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
        normal.iter().zip(self.millimetres).map(|(n, p)| n * p).sum()
    }

    /// Whether the two planes are turned alike.
    pub(crate) fn is_parallel(&self, other: &Self) -> bool {
        self.orientation == other.orientation
    }
}

/// Numbers in words, which have to be `N` finite ones.
fn numbers<const N: usize>(texts: &[String]) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> =
        texts.iter().map(|text| text.parse().ok().filter(|number: &f64| number.is_finite())).collect();
    numbers?.try_into().ok()
}

impl Source {
    /// Reads the data set of the Part 10 file at `path`, up to its pixels.
    ///
    /// # Errors
    /// [`ObjectError`], whose message does not give `path`.
    pub fn open(path: &Path) -> Result<Self, ObjectError> {
        Self::read(BufReader::new(File::open(path)?))
    }

    /// Reads the data set of a Part 10 file, up to its pixels. The file may come from anywhere: sequences nested without end and
    /// lengths beyond its own are refused.
    ///
    /// # Errors
    /// [`ObjectError`] with cause and remedy.
    pub fn read(file: impl Read + Seek) -> Result<Self, ObjectError> {
        Self::new(part10::read(file, Some(PIXELS))?.into_inner())
    }

    /// Takes a data set. Pixels, should it have them, are dropped.
    ///
    /// # Errors
    /// [`ObjectError::Missing`] or [`ObjectError::Invalid`] where it has no classes, UIDs or size.
    pub fn new(mut set: InMemDicomObject) -> Result<Self, ObjectError> {
        set.retain(|element| element.header().tag < PIXELS);
        let uid = |tag: Tag, attribute: &'static str| match text(&set, tag) {
            None => Err(ObjectError::Missing(attribute)),
            Some(value) if !is_uid(&value) => Err(ObjectError::Invalid { attribute, value }),
            Some(uid) => Ok(uid),
        };
        let count = |tag: Tag, attribute: &'static str, most: u32| match text(&set, tag) {
            None => Err(ObjectError::Missing(attribute)),
            Some(value) => match value.parse() {
                Ok(count) if (1..=most).contains(&count) => Ok(count),
                _ => Err(ObjectError::Invalid { attribute, value }),
            },
        };
        Ok(Self {
            reference: Reference {
                class: uid(tags::SOP_CLASS_UID, "SOP Class UID")?,
                instance: uid(tags::SOP_INSTANCE_UID, "SOP Instance UID")?,
            },
            study: uid(tags::STUDY_INSTANCE_UID, "Study Instance UID")?,
            series: uid(tags::SERIES_INSTANCE_UID, "Series Instance UID")?,
            frame_of_reference: text(&set, tags::FRAME_OF_REFERENCE_UID).filter(|uid| is_uid(uid)),
            columns: count(tags::COLUMNS, "Columns", u32::from(u16::MAX))? as usize,
            rows: count(tags::ROWS, "Rows", u32::from(u16::MAX))? as usize,
            frames: match text(&set, tags::NUMBER_OF_FRAMES) {
                None => 1,
                Some(_) => count(tags::NUMBER_OF_FRAMES, "Number of Frames", i32::MAX as u32)?,
            },
            set,
        })
    }

    /// SOP Class UID.
    pub fn sop_class_uid(&self) -> &str {
        &self.reference.class
    }

    /// SOP Instance UID.
    pub fn sop_instance_uid(&self) -> &str {
        &self.reference.instance
    }

    /// Study Instance UID.
    pub fn study_instance_uid(&self) -> &str {
        &self.study
    }

    /// Series Instance UID.
    pub fn series_instance_uid(&self) -> &str {
        &self.series
    }

    /// Columns and rows, as stored.
    pub fn size(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Frames, one at least.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Body Part Examined (0018,0015), in capitals; `None` where it is not told.
    pub fn body_part(&self) -> Option<String> {
        text(&self.set, tags::BODY_PART_EXAMINED).map(|part| part.to_ascii_uppercase())
    }

    /// Who the patient is, as the file tells: for people to read, since it may be anything.
    pub fn patient(&self) -> Patient {
        let read = |tag| text(&self.set, tag).unwrap_or_default();
        Patient {
            // PS3.5, 6.2.1.2: parts of a name end with ^, and other ways to write all of it with =.
            name: read(tags::PATIENT_NAME).replace('^', " ").replace('=', " / ").trim().to_owned(),
            id: read(tags::PATIENT_ID),
            birth_date: read(tags::PATIENT_BIRTH_DATE),
        }
    }

    /// The patient's age when the picture was taken, in whole years: Patient's Age (0010,1010), or what birth date and study date
    /// tell. `None` where neither does, or where it is no age.
    pub fn patient_age_years(&self) -> Option<u32> {
        let told = || {
            // PS3.5, 6.2, VR AS: three digits and the unit.
            let age = text(&self.set, tags::PATIENT_AGE)?;
            let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
            let number: u32 = number.parse().ok()?;
            match unit {
                "Y" => Some(number),
                "M" => Some(number / 12),
                "W" => Some(number * 7 / 365),
                "D" => Some(number / 365),
                _ => None,
            }
        };
        let reckoned = || {
            let date = |tag| {
                let date = text(&self.set, tag)?;
                (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(date)?.parse::<u32>().ok()
            };
            // As YYYYMMDD, the difference counts whole years in its ten thousands.
            let birth = date(tags::PATIENT_BIRTH_DATE).filter(|birth| *birth >= 18_000_000)?;
            Some(date(tags::STUDY_DATE)?.checked_sub(birth)? / 10_000)
        };
        told().or_else(reckoned).filter(|years| *years <= 130)
    }

    /// The whole data set.
    pub(crate) fn set(&self) -> &Set {
        &self.set
    }

    /// How others refer to it.
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The frame of reference, where there is one.
    pub(crate) fn frame_of_reference(&self) -> Option<&str> {
        self.frame_of_reference.as_deref()
    }

    /// How the reader of a report calls its modality.
    pub(crate) fn modality(&self) -> Code {
        match text(&self.set, tags::MODALITY).as_deref() {
            Some("CT") => code::MODALITY_CT,
            Some("DX") => code::MODALITY_DX,
            Some("CR") => code::MODALITY_CR,
            _ => code::MODALITY_OT,
        }
    }

    /// Whether it is a computed tomography, by its class.
    pub(crate) fn is_ct(&self) -> bool {
        [uids::CT_IMAGE_STORAGE, uids::ENHANCED_CT_IMAGE_STORAGE, uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE]
            .contains(&&*self.reference.class)
            || self.modality() == code::MODALITY_CT
    }

    /// Whether its pixels went through a lossy compression, ever.
    pub(crate) fn is_lossy(&self) -> bool {
        text(&self.set, tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01")
    }

    /// The texts of `tag` for a frame counted from 1: from its functional groups (PS3.3, C.7.6.16), `group` the sequence in them, or
    /// from the data set itself.
    pub(crate) fn of_frame(&self, frame: u32, group: Tag, tag: Tag) -> Option<Vec<String>> {
        let place = (frame as usize).checked_sub(1)?;
        let own = items(&self.set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(place);
        let shared = items(&self.set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
        let grouped = [own, shared].into_iter().flatten().find_map(|groups| texts(items(groups, group).first()?, tag));
        grouped.or_else(|| texts(&self.set, tag))
    }

    /// Where a frame, counted from 1, lies; `None` where that is not said, or is no place.
    pub(crate) fn place(&self, frame: u32) -> Option<Place> {
        self.frame_of_reference.as_ref()?;
        let position = self.of_frame(frame, tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)?;
        let orientation = self.of_frame(frame, tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)?;
        let (cosines, millimetres) = (numbers(&orientation)?, numbers(&position)?);
        Some(Place { orientation, position, cosines, millimetres })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::set::put_items;

    fn set() -> Set {
        let mut set = Set::new_empty();
        put(&mut set, tags::SOP_CLASS_UID, uids::CT_IMAGE_STORAGE);
        put(&mut set, tags::SOP_INSTANCE_UID, "1.2.3");
        put(&mut set, tags::STUDY_INSTANCE_UID, "1.2.4");
        put(&mut set, tags::SERIES_INSTANCE_UID, "1.2.5\0");
        put(&mut set, tags::FRAME_OF_REFERENCE_UID, "1.2.6");
        put(&mut set, tags::ROWS, 4u16);
        put(&mut set, tags::COLUMNS, 5u16);
        set
    }

    #[test]
    fn a_source_says_who_and_how_large_it_is() {
        let source = Source::new(set()).unwrap();
        assert_eq!((source.series_instance_uid(), source.size(), source.frames()), ("1.2.5", (5, 4), 1));
        assert_eq!(source.place(1), None);
    }

    #[test]
    fn the_age_is_that_of_the_file_or_reckoned() {
        let with = |values: &[(Tag, &str)]| {
            let mut set = set();
            values.iter().for_each(|(tag, value)| put(&mut set, *tag, *value));
            Source::new(set).unwrap().patient_age_years()
        };
        for (age, years) in [("004Y", 4), ("030M", 2), ("051W", 0), ("120D", 0)] {
            assert_eq!(with(&[(tags::PATIENT_AGE, age)]), Some(years), "{age}");
        }
        let dates = |birth, study| with(&[(tags::PATIENT_BIRTH_DATE, birth), (tags::STUDY_DATE, study)]);
        assert_eq!(dates("20200301", "20260228"), Some(5));
        assert_eq!(dates("20200301", "20260301"), Some(6));
        for (birth, study) in [("20260301", "20200301"), ("00010101", "20260101"), ("2020", "20260101")] {
            assert_eq!(dates(birth, study), None, "{birth}");
        }
        assert_eq!(
            (with(&[]), with(&[(tags::PATIENT_AGE, "Y")]), with(&[(tags::PATIENT_AGE, "éé")])),
            (None, None, None)
        );
    }

    #[test]
    fn what_cannot_be_referred_to_is_refused() {
        let without = |tag| {
            let mut set = set();
            set.remove_element(tag);
            Source::new(set).unwrap_err().to_string()
        };
        assert!(without(tags::STUDY_INSTANCE_UID).contains("no Study Instance UID"));
        assert!(without(tags::ROWS).contains("no Rows"));
        let with = |tag, value: &str| {
            let mut set = set();
            put(&mut set, tag, value);
            Source::new(set).unwrap_err().to_string()
        };
        assert!(with(tags::SOP_INSTANCE_UID, "../../etc").contains("SOP Instance UID cannot be \"../../etc\""));
        assert!(with(tags::NUMBER_OF_FRAMES, "0").contains("Number of Frames"));
    }

    #[test]
    fn a_frame_s_own_group_comes_before_the_shared_one() {
        let groups = |sequence, tag, value: &str| {
            let mut inner = Set::new_empty();
            put(&mut inner, tag, value);
            let mut groups = Set::new_empty();
            put_items(&mut groups, sequence, vec![inner]);
            groups
        };
        let mut set = set();
        put(&mut set, tags::NUMBER_OF_FRAMES, "2");
        let shared = groups(tags::PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT, "1\\0\\0\\0\\0.6\\-0.8");
        put_items(&mut set, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
        let own = |value| groups(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT, value);
        put_items(&mut set, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, vec![own("0\\8\\6"), own("0\\0\\x")]);
        let source = Source::new(set).unwrap();
        let first = source.place(1).unwrap();
        assert_eq!(first.position, ["0", "8", "6"]);
        // The normal of (1, 0, 0) and (0, 0.6, -0.8) is (0, 0.8, 0.6).
        assert!((first.along(&first) - 10.0).abs() < 1e-12);
        assert_eq!(source.place(2), None, "x is no number");
        assert_eq!(source.place(3), None, "there is no such frame");
    }
}
