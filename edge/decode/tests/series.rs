//! Folders of DICOM files, and which of them make a volume.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::path::{Path, PathBuf};

use thorax_decode::{DecodeError, Gathered, Input, Limits, Study, Volume, VolumeSource, gather};
use thorax_shared::{modality::Modality, preprocess::Pixels};

const SIDE: u16 = 8;

/// A CT slice of 8 x 8 pixels of one value: half of it air, half of it `value` Hounsfield units.
#[derive(Clone)]
struct Slice {
    series: &'static str,
    instance: String,
    image_type: &'static str,
    position: [f64; 3],
    orientation: &'static str,
    value: i16,
    intercept: i16,
    rows: u16,
    class: &'static str,
    modality: &'static str,
}

impl Slice {
    fn at(z: f64, value: i16) -> Self {
        Self {
            series: "1.2.3",
            instance: format!("1.2.3.{}", (z * 100.0) as i64 + 100_000),
            image_type: r"ORIGINAL\PRIMARY\AXIAL",
            position: [-50.0, -40.0, z],
            orientation: r"1\0\0\0\1\0",
            value,
            intercept: -1024,
            rows: SIDE,
            class: "1.2.840.10008.5.1.4.1.1.2",
            modality: "CT",
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        let mut element = |group: u16, number: u16, vr: &str, value: &[u8]| {
            let mut value = value.to_vec();
            if value.len() % 2 == 1 {
                value.push(if vr == "UI" { 0 } else { b' ' });
            }
            bytes.extend(group.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            bytes.extend(vr.as_bytes());
            if vr == "OW" {
                bytes.extend([0, 0]);
                bytes.extend((value.len() as u32).to_le_bytes());
            } else {
                bytes.extend((value.len() as u16).to_le_bytes());
            }
            bytes.extend(value);
        };
        let short = |value: u16| value.to_le_bytes();
        element(2, 0x10, "UI", b"1.2.840.10008.1.2.1");
        element(8, 8, "CS", self.image_type.as_bytes());
        element(8, 0x16, "UI", self.class.as_bytes());
        element(8, 0x18, "UI", self.instance.as_bytes());
        element(8, 0x60, "CS", self.modality.as_bytes());
        element(0x20, 0xe, "UI", self.series.as_bytes());
        let [x, y, z] = self.position;
        element(0x20, 0x32, "DS", format!(r"{x}\{y}\{z}").as_bytes());
        element(0x20, 0x37, "DS", self.orientation.as_bytes());
        element(0x28, 2, "US", &short(1));
        element(0x28, 4, "CS", b"MONOCHROME2");
        element(0x28, 0x10, "US", &short(self.rows));
        element(0x28, 0x11, "US", &short(SIDE));
        element(0x28, 0x30, "DS", br"0.7\0.6");
        element(0x28, 0x100, "US", &short(16));
        element(0x28, 0x101, "US", &short(16));
        element(0x28, 0x102, "US", &short(15));
        element(0x28, 0x103, "US", &short(1));
        element(0x28, 0x1052, "DS", self.intercept.to_string().as_bytes());
        element(0x28, 0x1053, "DS", b"1");
        let pixels = (0..self.rows * SIDE).map(|at| if at % SIDE < SIDE / 2 { -1000 } else { self.value });
        let stored: Vec<u8> = pixels.flat_map(|value| (value - self.intercept).to_le_bytes()).collect();
        element(0x7fe0, 0x10, "OW", &stored);
        bytes
    }

    fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// Five slices, 2 mm apart, whose names and numbers say nothing of where they lie.
fn five(folder: &Path) -> [Slice; 5] {
    let slices = [(4.0, 40), (-2.0, 10), (0.0, 20), (6.0, 50), (2.0, 30)].map(|(z, value)| Slice::at(z, value));
    for (slice, name) in slices.iter().zip(["IM1", "IM2", "IM3", "IM4", "IM5"]) {
        slice.write(folder, name);
    }
    slices
}

fn gathered(path: &Path) -> Gathered {
    gather(&[path.to_owned()], &Limits::default(), None)
}

fn volume(input: &Input) -> Volume {
    match input.decode(&Limits::default(), None).unwrap() {
        Study::Volume(volume) => volume,
        other => panic!("{other:?}"),
    }
}

/// The tissue of each slice, from the feet.
fn values(volume: &Volume) -> Vec<i16> {
    (0..volume.slices())
        .map(|index| match volume.slice_on_grid(index).unwrap().pixels {
            Pixels::Hounsfield(plane) => plane.get(usize::from(SIDE) - 1, 0),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn names(input: &Input) -> Vec<String> {
    input.files().iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn slices_are_put_together_by_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let mut slices = five(folder.path());
    // Every slice has a rescale of its own.
    slices[3].intercept = -2000;
    slices[3].write(folder.path(), "IM4");
    let Gathered { inputs, passed_over } = gathered(folder.path());
    assert_eq!(passed_over, []);
    let [input] = &inputs[..] else { panic!("{inputs:?}") };
    assert_eq!(names(input), ["IM2", "IM3", "IM5", "IM1", "IM4"]);
    let volume = volume(input);
    assert_eq!(values(&volume), [10, 20, 30, 40, 50]);
    assert_eq!((volume.slice_distance_mm(), volume.notes()), (Some(2.0), &[][..]));
    let affine = [[-0.6, 0.0, 0.0, 50.0], [0.0, -0.7, 0.0, 40.0], [0.0, 0.0, 2.0, -2.0]];
    assert_eq!(volume.source(), &VolumeSource::Series { affine });
    let frame = volume.slice(0).unwrap();
    assert!(frame.sides_known && frame.modality == Some(Modality::Ct));
    assert_eq!(volume.stored_index(0), 0, "the first file is the lowest slice");

    // File by file it is the same; one of them is one image.
    let files: Vec<PathBuf> = ["IM5", "IM4", "IM3", "IM2", "IM1"].map(|name| folder.path().join(name)).into();
    let Gathered { inputs, .. } = gather(&files, &Limits::default(), None);
    assert_eq!(inputs.iter().map(names).collect::<Vec<_>>(), [names(input)]);
    let Gathered { inputs, .. } = gather(&files[..1], &Limits::default(), None);
    assert!(matches!(&inputs[..], [Input::File(_)]));
    // Who says that they are films gets films.
    let Gathered { inputs, .. } = gather(&files, &Limits::default(), Some(Modality::Xray));
    assert_eq!(inputs.len(), 5);
}

#[test]
fn whatever_else_lies_in_a_folder_is_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    five(root);
    Slice { image_type: r"ORIGINAL\PRIMARY\LOCALIZER", series: "1.2.9", ..Slice::at(0.0, 0) }.write(root, "scout");
    Slice { orientation: r"1\0\0\0\0\-1", instance: "7".into(), ..Slice::at(0.0, 0) }.write(root, "overview");
    Slice { rows: 6, instance: "8".into(), ..Slice::at(8.0, 0) }.write(root, "small");
    Slice::at(2.0, 30).write(root, "copy");
    Slice { instance: "9".into(), ..Slice::at(2.0, 30) }.write(root, "exported again");
    // Another series, in a folder of its own, and a film.
    for (z, name) in [(0.0, "a"), (1.0, "b")] {
        Slice { series: "1.2.4", ..Slice::at(z, 5) }.write(root, &format!("deep/deeper/{name}.dcm"));
    }
    Slice { modality: "CR", series: "1.2.5", ..Slice::at(0.0, 3) }.write(root, "film");
    image::GrayImage::new(3, 3).save(root.join("grey.png")).unwrap();
    std::fs::write(root.join("README.txt"), "not an image").unwrap();
    std::fs::write(root.join("._IM1"), [0, 5, 22, 7, 0, 2]).unwrap();
    std::fs::write(root.join("broken.dcm"), [0u8; 7]).unwrap();
    let mut index = vec![0; 128];
    index.extend(b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0");
    std::fs::write(root.join("DICOMDIR"), index).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root, root.join("deep/circle")).unwrap();

    let Gathered { inputs, passed_over } = gathered(root);
    let mut read: Vec<Vec<String>> = inputs.iter().map(names).collect();
    read.sort();
    assert_eq!(
        read,
        [
            vec!["IM2", "IM3", "IM5", "IM1", "IM4"],
            vec!["a.dcm", "b.dcm"],
            vec!["broken.dcm"],
            vec!["film"],
            vec!["grey.png"],
        ]
    );
    let over: Vec<String> =
        passed_over.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(over, ["._IM1", "DICOMDIR", "README.txt", "circle", "scout"]);
    let notes = inputs.iter().flat_map(Input::notes).cloned().collect::<Vec<_>>();
    for (name, why) in [
        ("overview", "lies otherwise"),
        ("small", "another size"),
        ("copy", "the same object as IM5"),
        ("exported again", "the same picture as"),
    ] {
        assert!(notes.iter().any(|note| note.starts_with(name) && note.contains(why)), "{name}: {notes:?}");
    }
    let told = read.iter().map(Vec::len).sum::<usize>() + over.len() + notes.len();
    let files = walk(root);
    assert_eq!(told, files, "every file is read, passed over or left out: {notes:?}");
}

/// Files below a folder; a link counts as one.
fn walk(folder: &Path) -> usize {
    let of = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => walk(&entry.path()),
        false => 1,
    };
    std::fs::read_dir(folder).unwrap().map(|entry| of(entry.unwrap())).sum()
}

#[test]
fn missing_slices_are_told_and_two_times_at_one_place_are_no_volume() {
    let folder = tempfile::tempdir().unwrap();
    five(folder.path());
    std::fs::remove_file(folder.path().join("IM5")).unwrap();
    let Gathered { inputs, .. } = gathered(folder.path());
    let note = "1 slice is missing between IM3 and IM1 (4.00 mm apart, the others 2.00 mm)";
    assert_eq!(volume(&inputs[0]).notes(), [note]);

    let folder = tempfile::tempdir().unwrap();
    five(folder.path());
    Slice { instance: "other".into(), ..Slice::at(2.0, 77) }.write(folder.path(), "later");
    let Gathered { inputs, .. } = gathered(folder.path());
    let error = inputs[0].decode(&Limits::default(), None).unwrap_err();
    assert_eq!((inputs.len(), inputs[0].slices()), (1, Some(6)));
    assert!(error.to_string().contains("at one place"), "{error}");
    // Whoever names them file by file has an answer for each.
    let files = ["IM5", "later"].map(|name| folder.path().join(name));
    assert_eq!(gather(&files, &Limits::default(), None).inputs.len(), 2);
}

#[test]
fn a_coronal_series_is_refused_as_one_and_a_damaged_slice_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for y in 0..4 {
        let position = [0.0, f64::from(y), 0.0];
        let slice = Slice { orientation: r"1\0\0\0\0\-1", position, ..Slice::at(f64::from(y), 0) };
        slice.write(folder.path(), &format!("{y}"));
    }
    let Gathered { inputs, .. } = gathered(folder.path());
    assert_eq!(inputs.len(), 1);
    assert!(matches!(inputs[0].decode(&Limits::default(), None), Err(DecodeError::NotAxial { plane: "coronal" })));

    let folder = tempfile::tempdir().unwrap();
    five(folder.path());
    let path = folder.path().join("IM3");
    // Its pixels are fewer than its size says.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 128 - 4;
    bytes[at..at + 4].copy_from_slice(&100u32.to_le_bytes());
    bytes.truncate(at + 4 + 100);
    std::fs::write(&path, bytes).unwrap();
    let Gathered { inputs, .. } = gathered(folder.path());
    let error = inputs[0].decode(&Limits::default(), None).unwrap_err();
    assert_eq!(error.reason().cause, "slice IM3: the DICOM file is cut short");
}

#[test]
fn a_folder_without_images_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "nothing").unwrap();
    let Gathered { inputs, passed_over } = gathered(folder.path());
    assert!(matches!(&inputs[..], [Input::Empty(path)] if path == folder.path()), "{inputs:?}");
    assert_eq!(passed_over.len(), 1);
    assert!(matches!(inputs[0].decode(&Limits::default(), None), Err(DecodeError::NoImages)));
    let missing = gather(&["/nowhere/at/all".into()], &Limits::default(), None);
    assert!(matches!(&missing.inputs[..], [Input::File(_)]));
}
