//! Folders that are watched, in a real file system.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use thorax_intake::{Config, Folder, FolderWatch, Tally};
use thorax_journal::{Journal, Kind, Settings, Source};
use thorax_phantom::{Format, ModalityChoice, PhantomArgs, generate_files};

struct Watched {
    watch: FolderWatch,
    journal: Arc<Journal>,
    tally: Arc<Tally>,
    place: tempfile::TempDir,
}

impl Watched {
    fn start(read_only: bool, settings: Settings) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("in");
        fs::create_dir_all(&path).unwrap();
        Self::over(place, path, read_only, settings)
    }

    fn over(place: tempfile::TempDir, path: PathBuf, read_only: bool, settings: Settings) -> Self {
        let journal = Arc::new(Journal::open(&place.path().join("journal"), settings).unwrap());
        let tally = Arc::new(Tally::default());
        let folder = Folder { name: "scanner".into(), path, read_only, settle_seconds: 1 };
        let watch = FolderWatch::start(folder, Config::default(), journal.clone(), tally.clone()).unwrap();
        Self { watch, journal, tally, place }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("in")
    }
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < until, "{what}: never");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn settings() -> Settings {
    Settings { reserve_bytes: 0, ..Settings::default() }
}

/// A film, as a picture and as two DICOM files.
fn phantoms(folder: &Path) -> Vec<PathBuf> {
    let args = PhantomArgs {
        out: folder.to_owned(),
        count: 1,
        seed: 3,
        modality: ModalityChoice::Xray,
        size: Some(96),
        formats: vec![Format::Dicom, Format::Png],
    };
    generate_files(&args).unwrap().into_iter().map(|truth| folder.join(truth.file)).collect()
}

fn of_kind(phantoms: &[PathBuf], extension: &str) -> Vec<PathBuf> {
    phantoms.iter().filter(|path| path.extension().is_some_and(|found| found == extension)).cloned().collect()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_complete_is_taken_and_the_rest_is_told_why_not() {
    let watched = Watched::start(false, settings());
    let elsewhere = tempfile::tempdir().unwrap();
    let phantoms = phantoms(elsewhere.path());
    let folder = watched.folder();
    fs::create_dir(folder.join("room 2")).unwrap();
    for path in &phantoms {
        fs::copy(path, folder.join("room 2").join(path.file_name().unwrap())).unwrap();
    }
    fs::write(folder.join("notes.txt"), "call Dr. X").unwrap();
    fs::write(folder.join("empty.dcm"), "").unwrap();
    let mut damaged = fs::read(&of_kind(&phantoms, "dcm")[0]).unwrap();
    damaged.truncate(200);
    fs::write(folder.join("cut.dcm"), damaged).unwrap();
    fs::write(folder.join(".hidden.png"), fs::read(phantoms.last().unwrap()).unwrap()).unwrap();
    wait_until("all is moved", || {
        names(&folder.join("refused")).len() == 6 && names(&folder.join("room 2")).is_empty()
    });
    assert_eq!(names(&folder.join("taken/room 2")).len(), phantoms.len());
    assert_eq!(
        names(&folder.join("refused")),
        ["cut.dcm", "cut.dcm.txt", "empty.dcm", "empty.dcm.txt", "notes.txt", "notes.txt.txt"]
    );
    let why = fs::read_to_string(folder.join("refused/notes.txt.txt")).unwrap();
    assert_eq!(why, "neither DICOM nor NIfTI, PNG, JPEG or TIFF\n");
    assert_eq!(names(&folder), [".hidden.png", "refused", "room 2", "taken"]);
    let figures = watched.tally.figures();
    assert_eq!((figures.accepted, figures.refused), (phantoms.len() as u64, 3));
    let objects: Vec<_> = watched.journal.studies().unwrap();
    let (_, object) = &watched.journal.objects_of(objects[0].0).unwrap()[0];
    let Source::Folder { folder: name, file } = &object.what.source else { panic!("{object:?}") };
    assert!(name == "scanner" && file.starts_with("room 2/"), "{file}");
    assert_eq!(watched.journal.verify().unwrap().problems, []);

    // The same again is a duplicate, and does not take another's place.
    fs::copy(&phantoms[0], folder.join("room 2").join(phantoms[0].file_name().unwrap())).unwrap();
    wait_until("it is there again", || watched.tally.figures().duplicates == 1);
    wait_until("it is moved", || names(&folder.join("taken/room 2")).len() == phantoms.len() + 1);
    watched.watch.stop();
}

#[test]
fn a_file_that_is_still_being_written_is_waited_for() {
    let watched = Watched::start(false, settings());
    let elsewhere = tempfile::tempdir().unwrap();
    let whole = fs::read(&of_kind(&phantoms(elsewhere.path()), "png")[0]).unwrap();
    let mut file = fs::File::create(watched.folder().join("slow.png")).unwrap();
    // Two and a half times as long as a file has to rest.
    for part in whole.chunks(whole.len().div_ceil(10)) {
        file.write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(watched.tally.figures().accepted + watched.tally.figures().refused, 0, "taken too early");
    }
    drop(file);
    wait_until("it is taken", || watched.tally.figures().accepted == 1);
    let (number, _) = watched.journal.studies().unwrap().remove(0);
    let (_, object) = watched.journal.objects_of(number).unwrap().remove(0);
    assert_eq!(object.what.kind, Kind::Picture);
    assert!(watched.journal.read_file(&object.sha256).unwrap() == whole);
}

#[test]
fn a_stick_is_only_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("in");
    let phantoms = phantoms(&path);
    fs::write(path.join("notes.txt"), "private").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", path.join("link.png")).unwrap();
    let before = names(&path);
    let watched = Watched::over(place, path.clone(), true, settings());
    wait_until("all is read", || watched.tally.figures().accepted >= phantoms.len() as u64);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(names(&path), before);
    let figures = watched.tally.figures();
    // Each once, however often it is looked at: masks beside the films are pictures too.
    assert_eq!((figures.duplicates, figures.other_content), (0, 0), "{figures:?}");
    assert_eq!(figures.refused, 2, "notes.txt and phantoms.csv: {figures:?}");
}

#[test]
fn what_has_no_room_stays_until_there_is() {
    let watched = Watched::start(false, Settings { most_waiting_objects: 1, quiet_seconds: 0, ..settings() });
    let elsewhere = tempfile::tempdir().unwrap();
    for path in of_kind(&phantoms(elsewhere.path()), "dcm") {
        fs::copy(&path, watched.folder().join(path.file_name().unwrap())).unwrap();
    }
    wait_until("one waits", || watched.tally.figures().accepted == 1 && watched.tally.figures().no_room > 0);
    assert_eq!(names(&watched.folder()).iter().filter(|name| name.ends_with(".dcm")).count(), 1);
    let taken = watched.journal.take().unwrap().unwrap();
    watched.journal.finish(taken.number, Default::default(), &[], &[]).unwrap();
    wait_until("the other is taken", || watched.tally.figures().accepted == 2);
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let place = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::open(&place.path().join("journal"), settings()).unwrap());
    let path = place.path().join("missing");
    let folder = Folder { name: "x".into(), path, read_only: true, settle_seconds: 1 };
    let told = FolderWatch::start(folder, Config::default(), journal, Arc::default()).unwrap_err().to_string();
    assert!(told.contains("missing") && told.contains("check that it is there"), "{told}");
}
