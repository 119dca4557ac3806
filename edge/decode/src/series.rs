//! Which of the files that somebody names make one volume.
//!
//! A scanner writes a file for each slice, in a folder with its overview, its index and what else was exported with it.
//! [`gather`] looks at every file of every folder and says what is to be read: a file, or a series of slices put together by
//! Series Instance UID, position and orientation. What is passed over is told, so that every file is accounted for.
//!
//! What a person names file by file is answered file by file, unless the files are the slices of a series and nothing else: there
//! nothing is left out. A folder may hold copies and overviews, which are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use thorax_shared::modality::Modality;

use super::{
    Affine, DecodeError, ENDINGS, Format, Limits, Study, Volume, contained, decode_as,
    dicom::{self, Kind, Place, SamePlace, Stack},
    open, read_whole, sniff,
};

/// A part of a series that lies otherwise is a volume of its own from this many slices on; fewer are an overview.
const OWN_VOLUME: usize = 3;

/// Something to be read.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// The slices of a series, each in a file of its own.
    Series(Series),
    /// A folder in which there is no image.
    Empty(PathBuf),
}

/// The slices of one series, from the feet to the head.
#[derive(Clone, Debug)]
pub struct Series {
    files: Vec<PathBuf>,
    affine: Affine,
    notes: Vec<String>,
    problem: Option<Problem>,
}

/// Why the slices of a series are no volume.
#[derive(Clone, Debug)]
enum Problem {
    /// What they are instead of axial.
    NotAxial(&'static str),
    /// Which two are at one place.
    SamePlace(String),
}

/// What is to be read of some files and folders.
#[derive(Debug, Default)]
pub struct Gathered {
    /// In the order in which it was found.
    pub inputs: Vec<Input>,
    /// Files of folders that are not read, and why.
    pub passed_over: Vec<(PathBuf, String)>,
}

impl Input {
    /// What it is called: the file, the file of a series' lowest slice, or the folder.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Empty(path) => path,
            Self::Series(series) => series.files.first().map_or(Path::new(""), PathBuf::as_path),
        }
    }

    /// The files it is read from, those of a series in the order of its slices; the folder itself where it holds no image.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::File(path) | Self::Empty(path) => std::slice::from_ref(path),
            Self::Series(series) => &series.files,
        }
    }

    /// How many files are put together; `None` where it is one.
    pub fn slices(&self) -> Option<usize> {
        match self {
            Self::Series(series) => Some(series.files.len()),
            Self::File(_) | Self::Empty(_) => None,
        }
    }

    /// What is to be told of how its files were put together, whether it can be read or not.
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Series(series) => &series.notes,
            Self::File(_) | Self::Empty(_) => &[],
        }
    }

    /// Reads it. `modality` is what a person says that it is, whatever the file says.
    ///
    /// # Errors
    /// [`DecodeError`], whose message gives reason and remedy; of a series, the slice as well.
    pub fn decode(&self, limits: &Limits, modality: Option<Modality>) -> Result<Study, DecodeError> {
        match self {
            Self::File(path) => decode_as(path, limits, modality),
            Self::Series(series) => series.decode(limits).map(Study::Volume),
            Self::Empty(_) => Err(DecodeError::NoImages),
        }
    }
}

impl Series {
    fn decode(&self, limits: &Limits) -> Result<Volume, DecodeError> {
        match &self.problem {
            Some(Problem::NotAxial(plane)) => return Err(DecodeError::NotAxial { plane }),
            Some(Problem::SamePlace(which)) => {
                let instead = "one series of axial slices";
                return Err(DecodeError::Unsupported { format: "a series", feature: which.clone(), instead });
            }
            None => {}
        }
        let mut refer = None;
        let slices = self.files.iter().enumerate().map(|(index, file)| {
            let read = || {
                let bytes = read_whole(file, limits)?;
                contained("DICOM", || dicom::slice(&bytes, limits))
            };
            let (plane, reason) =
                read().map_err(|error| DecodeError::Slice { file: name(file), error: Box::new(error) })?;
            let size = 2 * plane.data().len() as u64 * self.files.len() as u64;
            if index == 0 && size > limits.max_decoded_bytes {
                return Err(DecodeError::TooMuchData { limit: limits.max_decoded_bytes });
            }
            refer = refer.or(reason);
            Ok(plane)
        });
        let volume = Volume::from_slices(self.files.len(), self.affine, slices)?.with_notes(self.notes.clone());
        Ok(match refer {
            Some(reason) => volume.referred(reason),
            None => volume,
        })
    }
}

/// A file, and whether a person named it, or a folder that it is in.
struct Found {
    path: PathBuf,
    named: bool,
}

/// A slice of a series.
struct Slice {
    /// Number of the file.
    file: usize,
    instance: Option<String>,
    place: Place,
}

/// Looks at `paths` and at every file in those that are folders, and in their folders.
pub fn gather(paths: &[PathBuf], limits: &Limits, modality: Option<Modality>) -> Gathered {
    let mut gathered = Gathered::default();
    // One file is itself, whatever it is: there is nothing that it could be put together with.
    if let [file] = paths
        && !file.is_dir()
    {
        gathered.inputs.push(Input::File(file.clone()));
        return gathered;
    }
    let mut found = Vec::new();
    // Folders, with the numbers of their files.
    let mut folders = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let first = found.len();
        if path.is_dir() {
            walk(path, &mut seen, &mut found, &mut gathered.passed_over);
            folders.push((path, first..found.len()));
        } else {
            found.push(Found { path: path.clone(), named: true });
        }
    }

    let mut inputs: Vec<(usize, Input)> = Vec::new();
    let mut series: BTreeMap<String, Vec<Slice>> = BTreeMap::new();
    for (file, Found { path, named }) in found.iter().enumerate() {
        match look(path, limits, modality) {
            Looked::Slice { uid, instance, place } => {
                series.entry(uid).or_default().push(Slice { file, instance, place });
            }
            Looked::PassedOver(why) if !named => gathered.passed_over.push((path.clone(), why)),
            Looked::Alone | Looked::PassedOver(_) => inputs.push((file, Input::File(path.clone()))),
        }
    }
    for slices in series.into_values() {
        put_together(slices, &found, limits, &mut inputs, &mut gathered.passed_over);
    }
    for (folder, files) in folders {
        let first = files.start;
        let any = found
            .get(files)
            .unwrap_or_default()
            .iter()
            .any(|file| inputs.iter().any(|(_, input)| input.files().contains(&file.path)));
        if !any {
            inputs.push((first, Input::Empty(folder.clone())));
        }
    }
    // In the order in which they were named; a folder without an image has no file, and stands before the next one.
    inputs.sort_by_key(|(first, input)| (*first, !matches!(input, Input::Empty(_))));
    gathered.inputs = inputs.into_iter().map(|(_, input)| input).collect();
    gathered.passed_over.sort();
    gathered
}

/// Finds the files in `folder` and its folders, sorted by name; a folder that was seen is passed over, so that links may lead in
/// circles.
fn walk(folder: &Path, seen: &mut BTreeSet<PathBuf>, found: &mut Vec<Found>, passed_over: &mut Vec<(PathBuf, String)>) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if !path.is_dir() {
            found.push(Found { path, named: false });
            continue;
        }
        match path.canonicalize().and_then(|real| Ok((seen.insert(real), std::fs::read_dir(&path)?))) {
            Ok((true, entries)) => {
                let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                // The last one is taken first.
                entries.sort_by(|a, b| b.cmp(a));
                waiting.extend(entries);
            }
            Ok((false, _)) => passed_over.push((path, "a link to a folder that was read already".into())),
            Err(error) => passed_over.push((path, DecodeError::Unreadable(error).reason().cause.into_owned())),
        }
    }
}

/// What a file is at a glance.
enum Looked {
    /// An image, or something that tries to be one.
    Alone,
    Slice {
        uid: String,
        instance: Option<String>,
        place: Place,
    },
    /// Nothing that anybody wants read, unless they name it.
    PassedOver(String),
}

fn look(path: &Path, limits: &Limits, modality: Option<Modality>) -> Looked {
    let passed_over = |error: &DecodeError| Looked::PassedOver(error.reason().cause.into_owned());
    let file_name = name(path);
    let format = match open(path) {
        Ok((_, _, head)) => sniff(&head),
        Err(error @ (DecodeError::Missing | DecodeError::NotAFile)) => return passed_over(&error),
        Err(_) => return Looked::Alone,
    };
    match format {
        Ok(Format::Dicom) => {}
        Ok(_) => return Looked::Alone,
        // What macOS writes beside a file has that file's ending.
        Err(error) if file_name.starts_with("._") => return passed_over(&error),
        Err(DecodeError::Empty | DecodeError::UnknownFormat)
            if ENDINGS.iter().any(|ending| file_name.to_ascii_lowercase().ends_with(ending)) =>
        {
            return Looked::Alone;
        }
        Err(error) => return passed_over(&error),
    }
    let header =
        read_whole(path, limits).and_then(|bytes| contained("DICOM", || dicom::header(&bytes, limits, modality)));
    match header {
        Ok(dicom::Header { series: Some(uid), instance, kind: Kind::Slice(Some(place)) }) => {
            Looked::Slice { uid, instance, place }
        }
        Ok(dicom::Header { kind: Kind::Localizer, .. }) => {
            Looked::PassedOver("an overview by which a scan was planned (localizer)".into())
        }
        Ok(_) => Looked::Alone,
        Err(error @ DecodeError::NoPixelData) => passed_over(&error),
        Err(_) => Looked::Alone,
    }
}

/// Makes volumes of the slices of one series.
fn put_together(
    slices: Vec<Slice>,
    found: &[Found],
    limits: &Limits,
    inputs: &mut Vec<(usize, Input)>,
    passed_over: &mut Vec<(PathBuf, String)>,
) {
    let path = |slice: &Slice| &found[slice.file].path;
    let alone = |slice: &Slice| (slice.file, Input::File(path(slice).clone()));
    let named = slices.iter().all(|slice| found[slice.file].named);
    let mut parts: Vec<Vec<Slice>> = Vec::new();
    for slice in slices {
        match parts.iter_mut().find(|part| part[0].place.fits(&slice.place)) {
            Some(part) => part.push(slice),
            None => parts.push(vec![slice]),
        }
    }
    let largest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut left_out: Vec<(PathBuf, String)> = Vec::new();
    let mut volumes: Vec<(usize, Series)> = Vec::new();
    for mut part in parts {
        if named && (part.len() == 1 || !all_distinct(&part)) {
            inputs.extend(part.iter().map(alone));
            continue;
        }
        if part.len() < OWN_VOLUME.min(largest) {
            let why = "left out of its series, in which it lies otherwise or has another size (an overview?)";
            left_out.extend(part.iter().map(|slice| (path(slice).clone(), why.to_owned())));
            continue;
        }
        let mut instances = BTreeMap::new();
        part.retain(|slice| {
            let Some(instance) = slice.instance.clone() else { return true };
            let first = instances.entry(instance).or_insert(slice.file);
            let new = *first == slice.file;
            if !new {
                left_out.push((path(slice).clone(), format!("the same object as {}", name(&found[*first].path))));
            }
            new
        });
        let first = part[0].file;
        let (order, affine, notes, problem) = loop {
            let places: Vec<Place> = part.iter().map(|slice| slice.place.clone()).collect();
            match dicom::stack(&places, |index| name(path(&part[index]))) {
                Ok(Stack { order, affine, notes }) => {
                    break (order, affine, notes, part[0].place.not_axial.map(Problem::NotAxial));
                }
                Err(SamePlace(one, other)) if same_picture(path(&part[one]), path(&part[other]), limits) => {
                    let copy = part.remove(other);
                    left_out.push((path(&copy).clone(), format!("the same picture as {}", name(path(&part[one])))));
                }
                Err(SamePlace(one, other)) => {
                    let problem = format!(
                        "{} and {} at one place (two times, energies or reconstructions)",
                        name(path(&part[one])),
                        name(path(&part[other]))
                    );
                    break ((0..part.len()).collect(), [[0.0; 4]; 3], vec![], Some(Problem::SamePlace(problem)));
                }
            }
        };
        if part.len() == 1 {
            inputs.push(alone(&part[0]));
            continue;
        }
        let files = order.into_iter().map(|index| path(&part[index]).clone()).collect();
        volumes.push((first, Series { files, affine, notes, problem }));
    }
    // What was left out is told with the volume, or by itself where there is none.
    match volumes.iter_mut().max_by_key(|(_, series)| series.files.len()) {
        Some((_, series)) => series.notes.extend(left_out.iter().map(|(path, why)| format!("{}: {why}", name(path)))),
        None => passed_over.extend(left_out),
    }
    inputs.extend(volumes.into_iter().map(|(first, series)| (first, Input::Series(series))));
}

/// Whether each slice is an object of its own, at a place of its own.
fn all_distinct(part: &[Slice]) -> bool {
    let places: Vec<Place> = part.iter().map(|slice| slice.place.clone()).collect();
    let instances: BTreeSet<_> = part.iter().filter_map(|slice| slice.instance.as_ref()).collect();
    let told = part.iter().filter(|slice| slice.instance.is_some()).count();
    instances.len() == told && dicom::stack(&places, |_| String::new()).is_ok()
}

/// Whether two slices have the same Hounsfield units.
fn same_picture(one: &Path, other: &Path, limits: &Limits) -> bool {
    let read = |path: &Path| {
        let bytes = read_whole(path, limits).ok()?;
        contained("DICOM", || dicom::slice(&bytes, limits)).ok().map(|(plane, _)| plane)
    };
    read(one).is_some_and(|plane| read(other) == Some(plane))
}

/// A file's name, for people.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
