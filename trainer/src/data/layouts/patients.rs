//! Who pictures are of.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use dicom_dictionary_std::tags;
use dicom_object::OpenFileOptions;
use regex::Regex;
use serde::Deserialize;

use super::{
    ImportArgs,
    files::stem,
    notes::{Notes, listed},
    problem,
    tree::{file_name, folder, join, parts},
    words::{known, sorts_files},
};
use crate::data::{
    DataError, UNKNOWN_PATIENT,
    check::{Kind, dimensions, kind},
    table::Table,
};

/// Who pictures are of, by what the user says, the files, or their names.
pub(super) struct Patients<'a> {
    table: Option<HashMap<String, String>>,
    pattern: Option<&'a Regex>,
    each: bool,
    /// Pictures of which nothing is known.
    unknown: BTreeSet<String>,
}

impl<'a> Patients<'a> {
    pub(super) fn new(args: &'a ImportArgs, notes: &mut Notes) -> Result<Self, DataError> {
        let table = args.patients.as_deref().map(|path| patient_table(path, notes)).transpose()?;
        let each = args.each_picture_is_a_patient;
        Ok(Self { table, pattern: args.patient_pattern.as_ref(), each, unknown: BTreeSet::new() })
    }

    /// The patient of the picture `relative`, which lies at `path`; whom nobody knows is noted.
    pub(super) fn of(&mut self, relative: &str, path: &Path) -> String {
        self.of_part(relative, relative, path)
    }

    /// [`Self::of`] `part`, a slice of the file `relative`, or all of it. The user's table and expression may speak of either.
    pub(super) fn of_part(&mut self, relative: &str, part: &str, path: &Path) -> String {
        let name = file_name(relative);
        let known = if let Some(table) = &self.table {
            [relative, name, part, file_name(part)].iter().find_map(|name| table.get(*name)).cloned()
        } else if let Some(pattern) = self.pattern {
            let found = [relative, part].iter().find_map(|name| pattern.captures(name));
            found.and_then(|found| Some(found.get(1).or(found.get(0))?.as_str().to_owned()))
        } else if self.each {
            Some(part.to_owned())
        } else if kind(path) == Kind::Dicom {
            dicom_patient(path)
        } else {
            let stem = stem(name);
            stem.split_once("__").map(|(patient, _)| patient.to_owned())
        };
        known.filter(|patient| !patient.is_empty()).unwrap_or_else(|| {
            // What cannot be opened is left out anyway.
            if dimensions(path).is_ok() {
                self.unknown.insert(if self.asked() { relative } else { part }.to_owned());
            }
            UNKNOWN_PATIENT.to_owned()
        })
    }

    /// Whether the user says who pictures are of, whatever files say; that no two pictures are of one patient is for those alone of
    /// which nothing is known.
    pub(super) fn asked(&self) -> bool {
        self.table.is_some() || self.pattern.is_some()
    }

    /// # Errors
    /// Pictures of which nothing is known.
    pub(super) fn all_known(self, args: &ImportArgs, notes: &mut Notes) -> Result<(), DataError> {
        self.known(args).or_else(|error| notes.untold(args, error))
    }

    fn known(&self, args: &ImportArgs) -> Result<(), DataError> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let files: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
        let examples = listed(&files);
        match (&args.patients, self.pattern) {
            (Some(table), _) => Err(problem(
                table,
                format!("no patient for {examples}; add a line file,patient (`{UNKNOWN_PATIENT}` where nobody knows)"),
            )),
            (_, Some(pattern)) => Err(problem(
                &args.dir,
                format!(
                    "--patient-pattern {pattern} finds no patient in {examples}; give one that does, or --patients"
                ),
            )),
            _ => Err(DataError::PatientsUnknown { path: args.dir.clone(), pictures: files.len(), examples }),
        }
    }
}

/// Whose volumes are, each given by its path and class, by their names: `SITE_29_86490_1` and `SITE_29_86491_1` are taken for two volumes of one patient, as their names
/// are the same up to their first number. Where no two names are, each volume is a patient's.
///
/// # Errors
/// Names that leave it open: of few patients with many volumes each, or in folders that may be patients.
pub(super) fn patients_of_volumes<'a>(
    args: &ImportArgs,
    volumes: &[(&'a str, &str)],
    notes: &mut Notes,
) -> Result<HashMap<&'a str, String>, DataError> {
    let paths: Vec<&str> = volumes.iter().map(|(path, _)| *path).collect();
    let names = distinct_names(&paths);
    let begins = up_to_first_number(&names);
    let different: BTreeSet<&String> = begins.iter().collect();
    let joined = different.len() * 2 >= paths.len();
    let open = !joined || in_folders_of_patients(volumes);
    if open && !args.each_picture_is_a_patient {
        let error =
            DataError::PatientsUnknown { path: args.dir.clone(), pictures: paths.len(), examples: listed(&paths) };
        notes.untold(args, error)?;
    } else if !open && different.len() < paths.len() {
        let mut volumes: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        begins.iter().zip(&names).for_each(|(begin, name)| volumes.entry(begin).or_default().push(name));
        let several: Vec<String> =
            volumes.into_values().filter(|names| names.len() > 1).map(|names| names.join(" and ")).collect();
        let several: Vec<&str> = several.iter().map(String::as_str).collect();
        notes.told.push(format!(
            "taken for volumes of one patient, for their names are alike up to the first number: {}",
            listed(&several)
        ));
    } else if !paths.is_empty() {
        notes.told.push(format!(
            "each of {} volumes is taken for a patient's; say otherwise with --patient-pattern",
            paths.len()
        ));
    }
    let patients = if open { names } else { begins };
    Ok(paths.into_iter().zip(patients).collect())
}

/// Whether volumes lie in folders that may each be a patient's: in several, besides those of classes, splits and kinds of files, of
/// which some has more than one volume.
fn in_folders_of_patients(volumes: &[(&str, &str)]) -> bool {
    let sorts = |class: &str, name: &str| name == class || known(name) || sorts_files(name);
    let mut folders: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for (path, class) in volumes {
        let names = folder(path).split('/').filter(|name| !sorts(class, name));
        *folders.entry(names.collect()).or_default() += 1;
    }
    folders.len() > 1 && folders.values().any(|&volumes| volumes > 1)
}

/// The volumes' names without folders, where no two are alike, and with them otherwise.
fn distinct_names(paths: &[&str]) -> Vec<String> {
    let name = |path: &&str| stem(path.rsplit('/').next().unwrap_or(path));
    let names: Vec<String> = paths.iter().map(name).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    if different.len() == names.len() { names } else { paths.iter().map(|path| stem(path)).collect() }
}

/// The parts of each name up to the first that has a number, but for `covid-19` and for what all names begin with; the whole name
/// where there is none.
fn up_to_first_number(names: &[String]) -> Vec<String> {
    let begin = |name: &str, numbers: usize| {
        let parts = parts(file_name(name));
        let number = |i: &usize| {
            let covid = parts[*i] == "covid19" || (*i > 0 && parts[i - 1] == "covid" && parts[*i] == "19");
            !covid && parts[*i].bytes().any(|byte| byte.is_ascii_digit())
        };
        match (0..parts.len()).filter(number).nth(numbers) {
            Some(last) => join(folder(name), &parts[..=last].join("_")),
            None => name.to_owned(),
        }
    };
    let up_to = |numbers| names.iter().map(|name| begin(name, numbers)).collect::<Vec<String>>();
    let mut numbers = 0;
    let mut begins = up_to(numbers);
    // `ct2020_001`, `ct2020_002`.
    while names.len() > 1 && begins != names && begins.iter().all(|begin| *begin == begins[0]) {
        numbers += 1;
        begins = up_to(numbers);
    }
    begins
}

/// The patient that a DICOM file names, together with who issued the number.
pub(super) fn dicom_patient(path: &Path) -> Option<String> {
    let header = OpenFileOptions::new().read_until(tags::PIXEL_DATA).open_file(path).ok()?;
    let text = |tag| Some(header.element(tag).ok()?.to_str().ok()?.trim().trim_end_matches('\0').to_owned());
    let id = text(tags::PATIENT_ID).filter(|id| !id.is_empty())?;
    match text(tags::ISSUER_OF_PATIENT_ID).filter(|issuer| !issuer.is_empty()) {
        Some(issuer) => Some(format!("{issuer}/{id}")),
        None => Some(id),
    }
}

fn patient_table(path: &Path, notes: &mut Notes) -> Result<HashMap<String, String>, DataError> {
    #[derive(Deserialize)]
    struct PatientLine {
        #[serde(alias = "file_name", alias = "filename", alias = "path")]
        file: String,
        #[serde(alias = "patient_id")]
        patient: String,
    }
    let rows: Vec<(u64, PatientLine)> = Table::read(path, &mut notes.told)?.rows(path)?;
    let mut patients = HashMap::new();
    for (line, row) in rows {
        let other = patients.insert(row.file.clone(), row.patient.clone());
        if let Some(other) = other.filter(|other| *other != row.patient) {
            let reason = format!("{} belongs to {other} and to {}; keep one line", row.file, row.patient);
            return Err(DataError::Table { path: path.to_owned(), line, reason });
        }
    }
    Ok(patients)
}
